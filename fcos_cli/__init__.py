"""The programs: arguments and exit codes, nothing else.

They are a package of their own because importing ``fcos`` registers its classes with detectron2,
which imports torch; ``fcos --help`` should not wait for it.
"""

"""Print docs/CONFIG.md: ``python -m fcos.config.keys > docs/CONFIG.md``."""

from fcos.config.keys.page import reference_page

print(reference_page(), end="")

"""Two processes for a test."""

from detectron2.engine import launch
from fcos.utils.processes import end_process


def run_in_two(function, *args):
    """Call the function, of a module's top level, in two processes that share gloo."""
    launch(_call_and_end, 2, dist_url="auto", args=(function, args))


def _call_and_end(function, args):
    function(*args)
    end_process(0)

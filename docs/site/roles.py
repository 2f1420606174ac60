"""Docstrings as Markdown: Sphinx's roles, such as :func:`fcos.x`, become code."""

import re

import griffe


class Roles(griffe.Extension):
    """Rewrite docstrings as they are read."""

    def on_instance(self, *, obj, **_):
        """Called for each module, class, function and attribute."""
        if obj.docstring:
            text = re.sub(
                r":(?:func|meth|class|mod|data|attr):`~?([^`]+)`", r"`\1`", obj.docstring.value
            )
            obj.docstring.value = re.sub(r"(?<=\w)\*(?=\w)", r"\*", text)  # a product, not emphasis

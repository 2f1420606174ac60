"""The table of published models in docs/MODEL_ZOO.md: python -m fcos.checkpoint.zoo_page FILE."""

from __future__ import annotations

import sys

from fcos.checkpoint.published import MODELS
from fcos.utils.files import write_text

__all__ = ["markdown", "page_with_table"]

_PAGE_START, _PAGE_END = "<!-- models: make docs writes them -->\n", "<!-- end of models -->\n"


def markdown() -> str:
    """Return the table of docs/MODEL_ZOO.md."""
    lines = [
        "| family | config in `configs/published/` | published AP | stated in | inference time as "
        "published | reproduced here |",
        "|---|---|---|---|---|---|",
    ]
    for model in MODELS:
        link = f"[`{model.name}`](../{model.config})"
        cells = [model.source.title, link, model.figures, model.source.stated_in]
        lines.append(f"| {' | '.join([*cells, model.speed or '-'])} | |")
    return "\n".join(lines) + "\n"


def page_with_table(page: str) -> str:
    """Return a page of Markdown with the table between its two marks."""
    before, _, rest = page.partition(_PAGE_START)
    _, _, after = rest.partition(_PAGE_END)
    return f"{before}{_PAGE_START}\n{markdown()}\n{_PAGE_END}{after}"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        text = page_with_table(file.read())
    write_text(sys.argv[1], [text])

"""Cells of tables: no line break parts a number from its interval (``124 [91, 158]``), and long texts are marked."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

# the space before or after ±, the one before an interval, and the one within it
GAP = re.compile(r"(?<=\d) (?=±)|(?<=±) (?=\d)|(?<=\d) (?=\[[-\d.]+,)|(?<=\d,) (?=[-\d.]+\])")

LONG, LONG_NAME = 40, 36  # characters from which a cell and a name of code have the class "long" of the style sheet


def setup(app: Any) -> dict[str, bool]:
    """Connect this module to Sphinx."""
    app.add_post_transform(WholeNumbers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def unbroken(text: str) -> str:
    """Replace the spaces between a number and its interval by spaces at which no line breaks."""
    return GAP.sub("\N{NO-BREAK SPACE}", text)


class WholeNumbers(SphinxPostTransform):
    """Keep numbers and their intervals on one line in the cells of tables, and mark the cells with long texts."""

    default_priority = 700
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Replace the texts of a page's tables, and mark what is long."""
        for name in self.document.findall(nodes.literal):
            if any(len(word) >= LONG_NAME for word in name.astext().split()):
                name["classes"].append("long")
        for cell in list(self.document.findall(nodes.entry)):
            if len(cell.astext()) >= LONG:
                cell["classes"].append("long")
            for text in list(cell.findall(nodes.Text)):
                if (whole := unbroken(text.astext())) != text.astext():
                    text.parent.replace(text, nodes.Text(whole))

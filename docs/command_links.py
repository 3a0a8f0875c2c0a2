"""Links from every ``rlkit COMMAND`` in the text of a page to the help of that command."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

from rlkit.experiments.cli import COMMANDS

PAGE = "reference/commands"
COMMAND = re.compile(r"rlkit (?P<name>[a-z]+)\b")


def setup(app: Any) -> dict[str, bool]:
    """Connect this module to Sphinx."""
    app.add_post_transform(CommandLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class CommandLinks(SphinxPostTransform):
    """Turn literals that begin with a command into links, except in headings and where they are links already."""

    default_priority = 200
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Replace the literals of a page."""
        if self.env.docname == PAGE:
            return
        for literal in list(self.document.findall(nodes.literal)):
            found = COMMAND.match(literal.astext())
            if found is None or found["name"] not in COMMANDS or within_link_or_title(literal):
                continue
            address = self.app.builder.get_relative_uri(self.env.docname, PAGE) + f"#rlkit-{found['name']}"
            literal.replace_self(nodes.reference("", "", literal.deepcopy(), internal=True, refuri=address))


def within_link_or_title(node: nodes.Node) -> bool:
    """Whether a node stands in a link or in a heading."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, (nodes.reference, nodes.title)):
            return True
    return False

"""The tutorials as Jupyter notebooks to download, written beside their pages when the pages have been built."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jupytext
from nbformat import NotebookNode

# links to other pages, and the link to the notebook itself, lead nowhere from a downloaded file
PAGE_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?!https?:)[^)]+\)")
OWN_LINK = re.compile(r"<a href=\"[\w-]+\.ipynb\".*?</a>\n*", re.DOTALL)


def setup(app: Any) -> dict[str, bool]:
    """Connect this module to Sphinx."""
    app.connect("build-finished", write_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_notebooks(app: Any, exception: Exception | None) -> None:
    """Write every tutorial as ``.ipynb`` into the folder of its page."""
    if exception is not None or app.builder.name != "html":
        return
    for page in tutorials(Path(app.srcdir)):
        jupytext.write(as_notebook(page), Path(app.outdir, "tutorials", f"{page.stem}.ipynb"))


def tutorials(docs: Path) -> list[Path]:
    """Return the tutorials of a folder of pages, in the order of their names."""
    return sorted(page for page in (docs / "tutorials").glob("*.md") if page.name != "index.md")


def as_notebook(page: Path) -> NotebookNode:
    """Read a tutorial as a notebook without outputs, whose links to other pages are plain text."""
    notebook = jupytext.read(page, fmt="md:myst")
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = PAGE_LINK.sub(lambda found: found["text"], OWN_LINK.sub("", cell.source))
    return notebook

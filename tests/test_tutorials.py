"""Every tutorial runs from its first cell to its last, and can be downloaded as a notebook."""

import os
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from source_tree import ROOT

sys.path.insert(0, str(ROOT / "docs"))

from notebook_files import as_notebook, tutorials

PAGES = tutorials(ROOT / "docs")
IDS = [page.stem for page in PAGES]
CODE_COLUMNS = 96


def cells(page: Path) -> list[str]:
    """The code cells of a tutorial."""
    return [cell.source for cell in as_notebook(page).cells if cell.cell_type == "code"]


def test_the_overview_lists_every_tutorial():
    overview = (ROOT / "docs" / "tutorials" / "index.md").read_text(encoding="utf-8")
    assert len(PAGES) == 8
    for name in IDS:
        assert f"({name}.md)" in overview
        assert f"\n{name}\n" in overview  # in the list of contents


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_notebook_has_code_questions_and_no_link_to_a_page(page):
    notebook = as_notebook(page)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert len(cells(page)) >= 3
    assert "## Try" in text
    assert "assert " in "\n".join(cells(page))  # what the page shows is checked
    assert ".md)" not in text
    assert ".ipynb" not in text
    assert f'href="{page.stem}.ipynb"' in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_lines_of_code_fit_a_page_of_800_pixels(page):
    assert [line for cell in cells(page) for line in cell.splitlines() if len(line) > CODE_COLUMNS] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_its_cells_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    with patch.dict(os.environ):
        for number, cell in enumerate(cells(page), start=1):
            exec(compile(cell, f"{page.name}, cell {number}", "exec"), namespace)


def test_where_ray_is_missing_the_tutorial_on_sweeps_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    namespace = {"__name__": "__main__"}
    with_ray = [cell for cell in cells(ROOT / "docs" / "tutorials" / "sweep.md") if "has_ray" in cell]
    assert len(with_ray) == 2
    for cell in with_ray:
        exec(cell, namespace)
    assert capsys.readouterr().out == "Ray is not installed, so this cell runs no sweep: pip install ray\n"

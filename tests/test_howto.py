"""Every how-to page is a change that applies to the tree, and a program that then runs."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from source_tree import FOLDERS, ROOT

PAGES = sorted(page for page in (ROOT / "docs" / "howto").glob("*.md") if page.name != "index.md")
IDS = [page.stem for page in PAGES]


def blocks(page, language):
    """The code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def apply(page, folder, *options):
    """Apply the change of a page to a folder."""
    command = ["git", "apply", *options, "-"]
    (change,) = blocks(page, "diff")
    # outside any repository git applies a change to the folder as it is
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    result = subprocess.run(command, cwd=folder, env=environment, input=change.encode(), capture_output=True)
    assert result.returncode == 0, result.stderr.decode()


@pytest.fixture
def clone(tmp_path):
    """A copy of the package's folders, links as links."""
    folder = tmp_path / "clone"
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_there_is_a_page_for_each_kind_of_piece():
    assert IDS == ["agent", "attack", "environment", "solver"]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_change_applies_and_passes_the_linter(page, clone):
    apply(page, clone)
    changed = re.findall(r"^\+\+\+ b/(.+)$", blocks(page, "diff")[0], re.MULTILINE)
    assert len(changed) >= 3
    for check in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *check, "--no-cache", *changed]
        result = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_program_runs_after_the_change(page, clone, tmp_path):
    apply(page, clone)
    (program,) = blocks(page, "python")
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    command = [sys.executable, "-W", "error", "-c", program]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr

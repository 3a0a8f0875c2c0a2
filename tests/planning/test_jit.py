"""Where compiled loops are kept, and that changed sources are compiled again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from finite_problems import needs_numba
from source_tree import ROOT, source_files

from rlkit.compiled import jit

KERNELS = Path("rlkit/planning/kernels")

CALLEE = """
from .jit import compiled

@compiled
def cost(x):
    return x + {added}
"""
CALLER = """
from .callee import cost
from .jit import compiled

@compiled
def total(x):
    return 2 * x + cost(x)
"""
PROGRAM = """
from loops.caller import total
print(total(40), sum(total.stats.cache_hits.values()))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package of three files: ``jit.py``, and a compiled function that calls one of another file."""
    loops = tmp_path / "tree" / "loops"
    loops.mkdir(parents=True)
    shutil.copy(ROOT / KERNELS / "jit.py", loops)
    (loops / "__init__.py").touch()
    (loops / "caller.py").write_text(CALLER, encoding="utf-8")
    (loops / "callee.py").write_text(CALLEE.format(added=2), encoding="utf-8")
    return loops.parent


def run(tree: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own, whose cache is where ``environment`` says."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    return subprocess.run(
        [sys.executable, "-B", *options, "-c", PROGRAM],
        cwd=tree,
        env=inherited | {"PYTHONPATH": str(tree)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.slow
@needs_numba
def test_a_changed_callee_of_another_file_is_compiled_again(tree: Path, tmp_path: Path) -> None:
    def answer() -> list[int]:
        return [int(number) for number in run(tree, NUMBA_CACHE_DIR=str(tmp_path / "cache")).stdout.split()]

    assert answer() == [122, 0]
    assert answer() == [122, 1]  # a second process finds the machine code
    (tree / "loops" / "callee.py").write_text(CALLEE.format(added=57), encoding="utf-8")
    assert answer() == [177, 0]
    assert answer() == [177, 1]


@pytest.mark.slow
@needs_numba
@pytest.mark.skipif(sys.platform != "linux", reason="the rule of Linux")
def test_machine_code_lies_in_the_users_cache_and_not_beside_the_sources(tree: Path, tmp_path: Path) -> None:
    run(tree, XDG_CACHE_HOME=str(tmp_path / "mine"))
    folders = list((tmp_path / "mine" / "rlkit").iterdir())
    assert [re.fullmatch(r"numba-[0-9a-f]{16}", folder.name) is not None for folder in folders] == [True]
    assert list(folders[0].rglob("caller.total-*.nbi"))
    assert not [path for path in tree.rglob("*") if path.suffix in (".nbi", ".nbc")]


@pytest.mark.slow
@needs_numba
@pytest.mark.parametrize(
    ("options", "label"), [((), r"RuntimeWarning: "), (("-W", "error"), r"^RuntimeWarning: ")], ids=["warn", "error"]
)
def test_a_folder_that_cannot_be_written_costs_one_warning(
    tree: Path, tmp_path: Path, options: tuple[str, ...], label: str
) -> None:
    (tmp_path / "file").touch()  # a folder below a file cannot be made, not even by root
    result = run(tree, *options, NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache"))
    assert result.stdout.split() == ["122", "0"]
    assert result.stderr.count("RuntimeWarning") == 1
    assert re.search(label + "compiled loops are not kept .*: set NUMBA_CACHE_DIR to a folder", result.stderr)


@needs_numba
def test_a_user_without_a_home_has_no_cache_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(jit.numba_settings, "CACHE_DIR", "")
    with pytest.warns(RuntimeWarning, match=r"not kept .*Could not determine home directory"):
        assert jit.cache_folder() is None


@needs_numba
def test_an_installation_without_sources_has_no_cache(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no Python sources"):
        jit.sources_hash(tmp_path, "1")


def test_the_folder_is_named_by_every_source_and_by_the_version(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1", encoding="utf-8")
    (tmp_path / "b.py").write_text("2", encoding="utf-8")
    names = [jit.sources_hash(tmp_path, "1"), jit.sources_hash(tmp_path, "2")]
    (tmp_path / "b.py").write_text("3", encoding="utf-8")
    names.append(jit.sources_hash(tmp_path, "1"))
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    names.append(jit.sources_hash(tmp_path, "1"))
    assert len(set(names)) == 4


@pytest.mark.parametrize(
    ("platform", "environment", "folder"),
    [
        ("linux", {}, "home/.cache"),
        ("linux", {"XDG_CACHE_HOME": "/data/cache"}, "/data/cache"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "home/.cache"),
        ("darwin", {}, "home/Library/Caches"),
        ("win32", {}, "home/AppData/Local"),
        ("win32", {"LOCALAPPDATA": "/c/Local"}, "/c/Local"),
    ],
)
def test_the_users_cache_lies_where_the_platform_keeps_it(
    monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], folder: str
) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("home"))
    assert jit.user_cache(environment, platform) == Path(folder)


def test_all_compiled_loops_lie_in_the_folder_whose_sources_name_the_cache() -> None:
    compiled = {
        source
        for source in source_files()
        if re.search(r"^@(compiled|inlined)$", (ROOT / source).read_text(encoding="utf-8"), re.M)
    }
    outside = {source for source in compiled if source.parent != KERNELS}
    assert outside == {Path("experiments/benchmarks/growth.py")}  # one loop, which calls no other
    assert {source.stem for source in compiled - outside} == {"cells", "stencil", "sweeps"}
    imported = set()
    for source in compiled - outside:
        imported |= set(re.findall(r"^from rlkit\S* import .+$", (ROOT / source).read_text(encoding="utf-8"), re.M))
    assert imported == {"from rlkit.mdp import GridMDP", "from rlkit.mdp import LatticeMDP"}  # types, no numbers

"""Where compiled loops are kept, that changed sources are compiled again, and what is chosen by type."""

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

COMPILED, KERNELS = Path("rlkit/compiled"), Path("rlkit/planning/kernels")

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
    shutil.copy(ROOT / COMPILED / "jit.py", loops)
    (loops / "__init__.py").touch()
    (loops / "caller.py").write_text(CALLER, encoding="utf-8")
    (loops / "callee.py").write_text(CALLEE.format(added=2), encoding="utf-8")
    return loops.parent


def run(tree: Path, *options: str, program: str = PROGRAM, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, whose cache is where ``environment`` says."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    return subprocess.run(
        [sys.executable, "-B", *options, "-c", program],
        cwd=tree,
        env=inherited | {"PYTHONPATH": str(tree)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.slow
@needs_numba
def test_a_changed_callee_of_another_file_is_compiled_again(tree: Path, tmp_path: Path) -> None:
    def answer(tree: Path = tree) -> list[int]:
        return [int(number) for number in run(tree, NUMBA_CACHE_DIR=str(tmp_path / "cache")).stdout.split()]

    assert answer() == [122, 0]
    assert answer() == [122, 1]  # a second process finds the machine code
    shutil.copytree(tree, tmp_path / "copy")
    assert answer(tmp_path / "copy") == [122, 1]  # and so does a copy of the sources
    (tree / "loops" / "callee.py").write_text(CALLEE.format(added=57), encoding="utf-8")
    assert answer() == [177, 0]
    assert answer(tmp_path / "copy") == [122, 1]
    assert answer() == [177, 1]


@pytest.mark.slow
@needs_numba
def test_a_compilation_is_announced_once_and_machine_code_that_is_found_is_not(tree: Path, tmp_path: Path) -> None:
    def announced(program: str) -> int:
        done = run(tree, program=program, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
        return done.stderr.count("compiling loops once, for up to a minute: later processes find them\n")

    assert [announced(PROGRAM) for _ in range(2)] == [1, 0]
    assert announced(PROGRAM.replace("40", "4.0")) == 1  # numbers of another type
    assert announced("import numba; numba.njit(lambda x: 2 * x)(1)\nimport loops.caller") == 0  # a function of others


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
        jit.sources_hash("1", tmp_path)


def test_the_folder_is_named_by_every_source_and_by_the_version(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1", encoding="utf-8")
    (tmp_path / "b.py").write_text("2", encoding="utf-8")
    names = [jit.sources_hash("1", tmp_path), jit.sources_hash("2", tmp_path)]
    (tmp_path / "b.py").write_text("3", encoding="utf-8")
    names.append(jit.sources_hash("1", tmp_path))
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    names.append(jit.sources_hash("1", tmp_path))
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


def test_all_compiled_loops_lie_in_the_folders_whose_sources_name_the_cache() -> None:
    decorated = re.compile(r"^@(compiled|inlined|reassociated|implementation\(.*\))$", re.M)
    compiled = {source for source in source_files() if decorated.search((ROOT / source).read_text(encoding="utf-8"))}
    outside = {source for source in compiled if source.parent not in (COMPILED, KERNELS)}
    assert outside == {Path("experiments/benchmarks/growth.py")}  # one loop, which calls no other
    assert {source.stem for source in compiled if source.parent == KERNELS} == {"cells", "stencil", "sweeps"}
    assert {ROOT / COMPILED, ROOT / KERNELS} == {folder.resolve() for folder in jit.FOLDERS}
    imported = set()
    for source in compiled - outside:
        imported |= set(re.findall(r"^from rlkit\S* import .+$", (ROOT / source).read_text(encoding="utf-8"), re.M))
    assert imported == {
        "from rlkit.compiled.jit import compiled",
        "from rlkit.compiled.jit import compiled, inlined",
        "from rlkit.mdp import GridMDP",  # types, no numbers
        "from rlkit.mdp import LatticeMDP",
        "from rlkit.streams import MULTIPLIERS, ROUNDS, WEYL",  # constants of a published generator
    }


BY_TYPE = """
from typing import NamedTuple
from .jit import compiled, implementation, of

class Cat(NamedTuple):
    lives: int

class Dog(NamedTuple):
    lives: int

def sound(animal):
    raise NotImplementedError

@implementation(sound, of(Cat))
def meow(animal):
    return 10 * animal.lives

@implementation(sound, of(Dog))
def bark(animal):
    return animal.lives

@compiled
def heard(animal):
    return sound(animal)
"""


@pytest.mark.slow
@needs_numba
def test_what_is_chosen_by_type_is_found_in_the_cache_by_another_process(tree: Path, tmp_path: Path) -> None:
    (tree / "loops" / "caller.py").write_text(BY_TYPE, encoding="utf-8")
    shown = "print(heard(Cat(9)), heard(Dog(1)), sum(heard.stats.cache_hits.values()))"
    program = f"from loops.caller import Cat, Dog, heard; {shown}"
    answers = [run(tree, program=program, NUMBA_CACHE_DIR=str(tmp_path / "cache")).stdout.split() for _ in range(2)]
    assert answers == [["90", "1", "0"], ["90", "1", "2"]]

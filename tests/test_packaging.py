"""One tree: the same ``rlkit`` is imported from everywhere, in the clone, in an editable install and in the wheel."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from source_tree import FOLDERS, ROOT, installed_path, module_name, source_files

import rlkit

IMPORT_ALL = """
import importlib, os, sys
names = sys.argv[1:]
for name in names:
    importlib.import_module(name)
home = os.path.dirname(os.path.dirname(os.path.realpath(sys.modules["rlkit"].__file__)))
files = {}
for name, module in list(sys.modules.items()):
    path = os.path.realpath(getattr(module, "__file__", None) or "")
    if path.startswith(home + os.sep) and name.split(".")[0] in ("rlkit", "envs", "agents", "experiments"):
        files.setdefault(path, set()).add(name)
twice = {path: names for path, names in files.items() if len(names) > 1}
assert len(files) >= len(names) and not twice, twice
outside = [name for name in sys.modules if name.split(".")[0] in ("envs", "agents", "experiments")]
assert not outside, outside
print(home)
"""
MODULES = [module_name(source) for source in source_files() if source.name != "__main__.py"]
LIGHT = ["rlkit", "rlkit.mdp", "rlkit.experiments"]  # a link among them, and nothing that imports torch
METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def home_of_modules(names: list[str], cwd: Path, *search_path: Path) -> Path:
    """The folder that modules were imported from, by an interpreter started in ``cwd``."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, search_path))}
    command = [sys.executable, "-c", IMPORT_ALL, *names]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return Path(result.stdout.rstrip("\n"))


def copy_of_the_tree(folder: Path) -> Path:
    """The files that a clone holds of the package, links as links."""
    skipped = shutil.ignore_patterns("__pycache__")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, folder)
    return folder


def build(source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "build", "--no-isolation", *arguments, str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the wheel and of the source distribution."""
    folder = tmp_path_factory.mktemp("built")
    result = build(copy_of_the_tree(tmp_path_factory.mktemp("source")), "--outdir", str(folder))
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_the_list_of_packages_is_the_tree():
    found = {module_name(source) for source in source_files() if source.name == "__init__.py"}
    listed = METADATA["tool"]["setuptools"]["packages"]
    assert listed == sorted(found)


def test_the_links_are_relative_links():
    for name in ("envs", "agents", "experiments"):
        link = ROOT / "rlkit" / name
        assert link.is_symlink(), f"{link} is no link: clone with core.symlinks=true"
        assert os.readlink(link) == f"../{name}"


def test_no_source_file_is_ignored():
    """Every pattern of a path is rooted, so a folder called ``build`` or ``runs`` inside the package is not ignored."""
    patterns = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert [pattern for pattern in patterns if not pattern.startswith("/")] == ["__pycache__/"]
    ignored = {pattern.strip("/") for pattern in patterns}
    assert not [source for source in source_files() if ignored & set(source.parts)]
    for name in ("results", "docs", "tests"):
        assert f"/{name}/" not in patterns


@pytest.mark.slow
def test_the_wheel_holds_every_file_under_one_name_and_nothing_else(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name for name in names if name.endswith(".py")} == {str(installed_path(file)) for file in source_files()}
    assert {
        "rlkit/py.typed",
        "rlkit/adversarial/threats/CartPole-v1.toml",
        "rlkit/experiments/report/report.html.j2",
        "rlkit/experiments/report/report.css",
        "rlkit/experiments/report/tables.js",
    } <= names
    assert {name.split("/")[0] for name in names} == {"rlkit"}


@pytest.mark.slow
def test_the_source_distribution_holds_every_file(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {str(installed_path(source)) for source in source_files()} <= names


@pytest.mark.slow
def test_the_wheel_works_from_elsewhere(built, tmp_path):
    site = tmp_path / "site"
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        archive.extractall(site)
    assert home_of_modules(MODULES, tmp_path, site) == site.resolve()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "names"), [("rlkit", LIGHT), ("envs/rlkit", LIGHT), ("agents/Änderungen und mehr/rlkit", MODULES)]
)
def test_a_clone_works_from_above_and_from_inside_whatever_its_folder_is_called(path, names, tmp_path):
    clone = tmp_path / path
    clone.mkdir(parents=True)
    copy_of_the_tree(clone)
    assert home_of_modules(names, clone.parent, clone) == clone.resolve()
    for cwd in (clone, clone / "envs", tmp_path):
        assert home_of_modules(LIGHT, cwd, clone) == clone.resolve()


@pytest.mark.slow
def test_an_archive_without_links_fails_to_build(tmp_path):
    source = copy_of_the_tree(tmp_path)
    for name in ("envs", "agents", "experiments"):  # as an archive writes a link where it cannot make one
        (source / "rlkit" / name).unlink()
        (source / "rlkit" / name).write_text(f"../{name}", encoding="utf-8")
    result = build(source, "--wheel", "--outdir", str(tmp_path / "out"))
    assert result.returncode != 0
    assert "rlkit" in result.stdout + result.stderr
    assert not list(tmp_path.glob("out/*.whl"))


@pytest.mark.slow
def test_the_installed_package_works_from_elsewhere(tmp_path):
    """Every module is imported from a clone and from the wheel, above."""
    home_of_modules(LIGHT, tmp_path, *filter(None, [os.environ.get("PYTHONPATH")]))


@pytest.mark.parametrize("name", ["envs", "agents", "experiments"])
def test_a_part_alone_cannot_be_imported(name):
    command = [sys.executable, "-c", f"import {name}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"ImportError: import rlkit.{name}, not {name}" in result.stderr


@pytest.mark.slow
def test_the_type_check_counts_every_file():
    command = [sys.executable, "-m", "mypy", "-p", "rlkit"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"in {len(source_files())} source files" in result.stdout


@pytest.mark.slow
def test_a_type_checker_finds_the_parts_from_a_file_of_the_user(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import rlkit.agents\nrlkit.agents.DQN(1, 2, 3, 4, 5, 6, 7, 8, 9)\n", encoding="utf-8"
    )
    parts = ["adversarial", "planning", "mdp", "nn", "replay", "evaluation", "envs", "compiled", "statistics"]
    others = ["torch", "numpy", "scipy", "gymnasium", "matplotlib", "rich"]
    names = [*others, *(f"rlkit.{name}" for name in parts)]
    skipped = "".join(f"[mypy-{name}.*]\nfollow_imports = skip\n" for name in names)
    (tmp_path / "mypy.ini").write_text(f"[mypy]\n{skipped}", encoding="utf-8")  # what takes longest to read
    command = [sys.executable, "-m", "mypy", "--cache-dir", os.devnull, "mine.py"]
    environment = {**os.environ, "MYPYPATH": os.environ.get("PYTHONPATH", "")}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "mine.py:2: error: Too many positional arguments" in result.stdout
    assert "import" not in result.stdout


def test_the_version_is_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", rlkit.__version__)
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert rlkit.__version__ not in re.sub(r">=[\d.]+", "", pyproject)
    assert f"## {rlkit.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_distribution_is_not_called_as_another_project_is():
    assert METADATA["project"]["name"] == "rlkit-exact"
    assert METADATA["project"]["optional-dependencies"]["all"][0].startswith("rlkit-exact[")
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *(ROOT / source for source in source_files())]
    advice = re.compile(r"pip install[^\n`]*['\" ]rlkit(?![-\w])")
    assert not [str(page) for page in pages if advice.search(page.read_text(encoding="utf-8"))]


@pytest.mark.slow
def test_import_registers_the_ids_without_importing_environments():
    program = (
        "import sys, rlkit, gymnasium; print('rlkit/CartPole-v1' in gymnasium.registry, 'rlkit.envs' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "False"]

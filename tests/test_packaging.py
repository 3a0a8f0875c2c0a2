"""The mapped layout: every file is in the wheel, imports as rlkit.* and is counted by the type check."""

import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from typecheck import FOLDERS, ROOT, check, installed_path, source_files

import rlkit

IMPORT_ALL = """
import importlib, sys
names = sys.argv[1:]
for name in names:
    importlib.import_module(name)
files = {}
for name, module in list(sys.modules.items()):
    path = getattr(module, "__file__", None)
    if path and any(part in path for part in ("/rlkit/", "/envs/", "/agents/", "/experiments/")) and name != "__main__":
        files.setdefault(path, set()).add(name)
twice = {path: names for path, names in files.items() if len(names) > 1}
assert not twice, twice
outside = [name for name in sys.modules if name.split(".")[0] in ("envs", "agents", "experiments")]
assert not outside, outside
print(sys.modules["rlkit"].__file__, sys.modules["rlkit.envs"].__file__)
"""


def module_names():
    names = [".".join(installed_path(source).with_suffix("").parts) for source in source_files()]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in FOLDERS:  # a copy: setuptools would pack what an earlier build left behind
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_file_under_one_name_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {str(installed_path(source)) for source in source_files()}
    assert {name for name in names if name.endswith(".py")} == expected
    assert "rlkit/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"rlkit"}


@pytest.mark.slow
def test_the_wheel_works_from_elsewhere_and_from_the_repository_root(wheel, tmp_path):
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for cwd, shadowed in ((tmp_path, False), (ROOT, True)):
        # -P and PYTHONPATH leave the editable install's finder out only if site comes first
        environment = {"PYTHONPATH": f"{ROOT}:{site}" if shadowed else str(site), "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-c", IMPORT_ALL, *module_names()]
        result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        home, envs_home = result.stdout.split()
        assert home.startswith(str(ROOT if shadowed else site))
        assert envs_home.startswith(str(ROOT if shadowed else site))


def test_the_installed_package_works_from_elsewhere(tmp_path):
    command = [sys.executable, "-c", IMPORT_ALL, *module_names()]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_type_check_counts_every_file():
    code, report, number = check()
    assert code == 0, report
    assert number == len(source_files())


def test_the_version_is_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", rlkit.__version__)
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert rlkit.__version__ not in re.sub(r">=[\d.]+", "", pyproject)
    assert f"## {rlkit.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_import_registers_the_ids_without_importing_environments():
    program = (
        "import sys, rlkit, gymnasium; print('rlkit/CartPole-v1' in gymnasium.registry, 'rlkit.envs' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "False"]

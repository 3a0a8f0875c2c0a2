"""Without the packages of the optional extras everything imports, and what needs one says how to install it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import module_name, source_files

import rlkit.sb3
from rlkit.optional_packages import require

OPTIONAL = (
    "stable_baselines3",
    "numba",
    "flint",
    "tensorboard",
    "ray",
    "submitit",
    "optuna",
    "wandb",
    "mlflow",
    "quantecon",
    "stormpy",
    "mdptoolbox",
    "jax",
    "foolbox",
    "sklearn",
)
PROGRAMS = {"rlkit.experiments.workflows.compare.sb3_worker"}  # run in processes of stable-baselines3 alone


@pytest.mark.slow
def test_every_module_imports_without_the_optional_packages() -> None:
    modules = [module_name(source) for source in source_files() if source.name != "__main__.py"]
    code = f"""
import importlib, sys, warnings
sys.modules.update(dict.fromkeys({OPTIONAL}))  # as if they were not installed
for name in {sorted(set(modules) - PROGRAMS)}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_needs_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.zip").touch()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"stable-baselines3 is not installed: pip install 'rlkit-exact\[sb3\]'"
    ):
        rlkit.sb3.load(tmp_path / "model.zip", "DQN", trust=True)
    monkeypatch.undo()
    require("json", "json", "none")  # one that is there

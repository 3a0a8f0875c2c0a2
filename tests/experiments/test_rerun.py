"""A recorded command that is run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_sweep import TOML, InProcess

from rlkit.experiments import command_line
from rlkit.experiments.cli import main
from rlkit.experiments.report import ledger
from rlkit.experiments.workflows.rerun import differences
from rlkit.experiments.workflows.sweep import executors as executors_module

LAKE = ("--env", "rlkit/GridWorld-v0", "--env-kwargs", "map=frozenlake-4x4", "observation=index", "--preset", "sb3")
TRAIN = ("train", "--algo", "tabularq", *LAKE, "--seeds", "2", "--steps", "100", "--episodes", "2")


def test_the_arguments_of_a_command_are_kept_without_its_place() -> None:
    given = ["train", "--out", "runs/a", "--seeds", "2", "--out=runs/b", "--resume", "--json", "--overwrite"]
    assert command_line.kept(given) == ("train", "--seeds", "2")
    with command_line.running(given, main):
        with command_line.running(["solve", "4x4"], main):
            assert command_line.arguments() == ("solve", "4x4")
        assert command_line.arguments() == ("train", "--seeds", "2")
    assert command_line.arguments() == ()


def test_another_command_runs_on_the_command_line_of_the_running_one() -> None:
    with command_line.running(["rerun", "runs/a"], len):
        assert command_line.run(["train", "--seeds", "2"]) == 3
    with pytest.raises(RuntimeError, match="no command runs"):
        command_line.run(["train"])


def test_differences_are_named_and_times_are_none() -> None:
    one = {"return": 1.0, "cpu_seconds": 3.0, "cells": [{"seeds": [1, 2]}, {"seeds": [3]}]}
    assert differences(one, {**one, "cpu_seconds": 4.0}) == []
    assert differences(one, {**one, "return": 2.0, "new": 1}) == ["return", "new"]
    assert differences(one, {**one, "cells": [{"seeds": [1, 5]}, {"seeds": [3]}]}) == ["cells[0].seeds[1]"]
    assert differences({"x": list(range(12))}, {"x": list(range(1, 13))})[-1] == "and 2 more"


def saved(folder: Path, **changes: object) -> None:
    """Change a record."""
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


@pytest.mark.slow
def test_a_training_runs_again_with_the_same_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "lake"
    assert main([*TRAIN, "--out", str(folder)]) == 0
    assert ledger.read(folder).arguments == TRAIN
    assert main(["rerun", str(folder)]) == 0
    assert f"The results equal those in {folder}" in capsys.readouterr().out
    assert ledger.read(tmp_path / "lake-again").arguments == TRAIN
    assert main(["rerun", str(folder)]) == 2
    assert "holds a run already" in capsys.readouterr().err
    results = json.loads((folder / "run.json").read_text(encoding="utf-8"))["results"]
    saved(folder, results={**results, "timesteps": 99})
    assert main(["rerun", str(folder), "--out", str(tmp_path / "third"), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["results"]["timesteps"] == 100
    assert f"The results differ from those in {folder}: timesteps." in said.err
    saved(folder, arguments=[*TRAIN, "--trust"])
    assert main(["rerun", str(folder)]) == 2
    assert "pass --trust" in capsys.readouterr().err
    saved(folder, arguments=["rerun", "."])
    assert main(["rerun", str(folder)]) == 2
    assert "cannot be run again" in capsys.readouterr().err
    saved(folder, arguments=[])
    assert main(["rerun", str(folder)]) == 2
    assert "does not say which command wrote it" in capsys.readouterr().err
    saved(folder, arguments=[1])
    assert main(["rerun", str(folder)]) == 2
    assert "is not the record of a run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_runs_again_from_its_own_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors_module, "LocalExecutor", InProcess)
    file, folder = tmp_path / "lake.toml", tmp_path / "out"
    file.write_text(f"steps = 50\n{TOML}", encoding="utf-8")
    assert main(["sweep", str(file), "--out", str(folder)]) == 0
    file.unlink()
    assert main(["rerun", str(folder)]) == 0
    assert f"The results equal those in {folder}" in capsys.readouterr().out
    one, other = ledger.read(folder), ledger.read(tmp_path / "out-again")
    assert one.title == other.title == "lake: Which learning rate is best?"
    assert main(["rerun", str(folder)]) == 2
    assert capsys.readouterr().err.endswith("out-again holds a run already: choose another folder with --out\n")

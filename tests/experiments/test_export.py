"""Copies of a finished run for Weights & Biases and MLflow, whose packages are replaced by ones that record calls."""

from __future__ import annotations

import importlib.machinery
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rlkit.experiments.cli import main
from rlkit.experiments.report import ledger
from rlkit.statistics import mean_interval


class Recorder(ModuleType):
    """A module whose functions, and whatever they return, write down how they are called."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        self.calls: list[tuple[str, tuple, dict]] = []

    def __getattr__(self, name: str) -> Recorder:
        if name.startswith("__"):
            raise AttributeError(name)
        found = Recorder(f"{self.__name__}.{name}")
        found.calls = self.calls
        setattr(self, name, found)
        return found

    def __call__(self, *args: object, **options: object) -> Recorder:
        self.calls.append((self.__name__, args, options))
        return self

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        self.calls.append((f"{self.__name__} ends", (), {}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run."""
    folder = tmp_path / "lake"
    folder.mkdir()
    run = ledger.RunRecord(
        kind="train",
        title="A run",
        settings={"steps": 20, "hyperparameters": {"gamma": 0.9, "net_arch": (64, 64)}},
        results={"return": mean_interval([1.0, 3.0]), "finished": True, "unknown": None, "seeds": [0, 1]},
    )
    ledger.write(run, folder)
    text = "timesteps,seed,episode_return\n10,0,1.5\n10,1,nan\n20,0,2.5\n20,1,3.5\n"
    (folder / "training.csv").write_text(text, encoding="utf-8")
    return folder


LOGGED = [
    ({"seed-0/episode_return": 1.5}, 10),
    ({"seed-0/episode_return": 2.5, "seed-1/episode_return": 3.5}, 20),
]
PARAMETERS = {"steps": "20", "hyperparameters.gamma": "0.9", "hyperparameters.net_arch": "(64, 64)"}


def calls_of(module: Recorder, name: str) -> list[tuple[tuple, dict]]:
    return [(args, options) for called, args, options in module.calls if called == name]


def test_weights_and_biases_gets_settings_log_results_and_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Recorder("wandb")
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    assert main(["export", str(folder), "--to", "wandb", "--project", "lakes"]) == 0
    ((_, options),) = calls_of(wandb, "wandb.init")
    assert options == {"project": "lakes", "name": "lake", "job_type": "train", "config": PARAMETERS}
    assert [(args[0], options["step"]) for args, options in calls_of(wandb, "wandb.init.log")] == LOGGED
    (((summary,), _),) = calls_of(wandb, "wandb.init.summary.update")
    assert summary["return.value"] == 2.0
    assert not {"finished", "unknown", "seeds"} & set(summary)
    added = [args[0] for args, _ in calls_of(wandb, "wandb.Artifact.add_file")]
    assert added == [str(folder / "run.json"), str(folder / "training.csv")]
    assert wandb.calls[-1][0] == "wandb.init.finish"


def test_mlflow_gets_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = Recorder("mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    assert main(["export", str(folder), "--to", "mlflow"]) == 0
    assert calls_of(mlflow, "mlflow.set_experiment") == [(("rlkit",), {})]
    assert calls_of(mlflow, "mlflow.start_run") == [((), {"run_name": "lake", "tags": {"kind": "train"}})]
    assert calls_of(mlflow, "mlflow.log_params") == [((PARAMETERS,), {})]
    logged = [(args[0], options.get("step")) for args, options in calls_of(mlflow, "mlflow.log_metrics")]
    assert logged[:2] == LOGGED
    assert logged[2][0]["return.value"] == 2.0
    assert [args[0] for args, _ in calls_of(mlflow, "mlflow.log_artifact")] == [
        str(folder / "run.json"),
        str(folder / "training.csv"),
    ]
    assert mlflow.calls[-1][0] == "mlflow.start_run ends"


def test_what_cannot_be_copied_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", Recorder("wandb"))
    assert main(["export", str(folder.parent), "--to", "wandb"]) == 2
    assert "holds no run.json" in capsys.readouterr().err
    (folder / "training.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert main(["export", str(folder), "--to", "wandb"]) == 2
    assert "is no training log" in capsys.readouterr().err

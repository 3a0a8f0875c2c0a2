"""Hyper-parameter search, and the preset file that it freezes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_sweep import LAKE, InProcess

from rlkit.experiments.cli import main
from rlkit.experiments.workflows.preset_file import PresetFile, read_preset, with_preset
from rlkit.experiments.workflows.sweep import executors as executors_module
from rlkit.experiments.workflows.sweep.experiment import experiment_of
from rlkit.experiments.workflows.sweep.sweep_ledger import SweepLedger
from rlkit.experiments.workflows.train import Training
from rlkit.experiments.workflows.tune import Trial, search_of, tuning_record

SEARCH = {
    **LAKE,
    "name": "lake",
    "algo": "tabularq",
    "preset": "sb3",
    "steps": 90,
    "seeds": 2,
    "configurations": 4,
    "rounds": 1,
    "episodes": 2,
    "set": {"initial_value": 0.5},
    "search": {"learning_rate": {"low": 0.01, "high": 1.0, "log": True}},
}


def test_a_rung_passes_the_best_share_on_to_more_steps() -> None:
    search = search_of({**SEARCH, "steps": 900, "configurations": 20, "rungs": 3})
    assert [search.steps_of(rung) for rung in range(3)] == [100, 300, 900]
    assert [search.promoted(rung) for rung in range(3)] == [20, 7, 3]
    assert search.seeds == (1000, 1001)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"configuration": 3}, "unknown key 'configuration': did you mean 'configurations'"),
        ({"search": {}}, "the search is empty"),
        ({"search": {"gamma": [0.9]}}, "the search is empty: gamma has 1 values"),
        ({"search": {"initial_value": [0.1, 0.2]}}, "initial_value is set to 0.5 and searched: keep one"),
        ({"search": {"gamma": {"low": 0.9, "hig": 1.0}}}, "unknown key 'hig': did you mean 'high'"),
        ({"search": {"gamma": {"low": 0.9, "high": 0.8}}}, "low < high"),
        ({"search": {"gamma": {"low": 0, "high": 1, "log": True}}}, "low must be above 0, got 0"),
        ({"search": {"gamma": 0.9}}, "gamma in search must be a table"),
        ({"seeds": 0}, "seeds must be an integer at least 1"),
        ({"reduction": 1}, "reduction must be an integer at least 2, got 1"),
        ({"name": "a/b"}, "the name of the search"),
        ({"first_seed": -1}, "first_seed must be an integer at least 0"),
    ],
    ids=range(12),
)
def test_a_search_that_is_wrong_is_refused_in_words(change: dict, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        search_of({**SEARCH, **change})


def frozen(folder: Path) -> Path:
    """A preset file."""
    path = folder / "preset.json"
    PresetFile("tabularq", LAKE["env"], 3, {"learning_rate": 0.25, "gamma": 0.9}, (1000, 1001), {}).write(path)
    return path


def test_the_intervals_of_a_search_are_cut_to_possible_returns() -> None:
    trial = Trial(0, 0, {"learning_rate": 0.1}, [(0.0, 1.0)])
    tuning = SimpleNamespace(search=search_of(SEARCH), trials=[trial])
    (row,) = tuning_record(tuning, trial).tables[0].rows
    assert row[2][:3] == (0.5, 0.0, 1.0)  # of two seeds, from -5.9 to 6.9 without limits


def test_a_preset_file_is_for_its_task_and_never_for_its_tuning_seeds(tmp_path: Path) -> None:
    file = frozen(tmp_path)
    asked = Training(env=LAKE["env"], algo="tabularq", seeds=(0, 1), steps=9, preset=str(file), num_envs=None)
    made = with_preset(asked)
    assert (made.preset, made.num_envs) == (None, 3)
    assert made.hyperparameters == {"learning_rate": 0.25, "gamma": 0.9}
    agent = {"algo": "tabularq", "preset": str(file)}
    sweep = {"question": "q", "hypothesis": "h", "agents": [agent], "environments": [LAKE], "steps": 9}
    (run,) = experiment_of({**sweep, "name": "x", "seeds": 1}).runs
    assert (run.configuration["num_envs"], run.configuration["hyperparameters"]["learning_rate"]) == (3, 0.25)
    with pytest.raises(ValueError, match="chosen on the seed 1001"):
        experiment_of({**sweep, "name": "x", "seeds": [5, 1001]})
    with pytest.raises(ValueError, match="a preset of tabularq for rlkit/GridWorld-v0, not of dqn"):
        with_preset(Training(env=LAKE["env"], algo="dqn", seeds=(0,), steps=9, preset=str(file)))


def test_a_file_that_is_no_preset_is_refused(tmp_path: Path) -> None:
    file = frozen(tmp_path)
    saved = json.loads(file.read_text(encoding="utf-8"))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_preset(tmp_path / "none.json")
    for damaged, said in (
        ({**saved, "schema": 2}, "update rlkit"),
        ({"schema": 1}, "is no preset of rlkit tune"),
        ({**saved, "num_envs": "3"}, "num_envs"),
        ({**saved, "tuning_seeds": ["a"]}, "tuning_seeds"),
        ([], "is no preset of rlkit tune"),
    ):
        file.write_text(json.dumps(damaged), encoding="utf-8")
        with pytest.raises(ValueError, match=said):
            read_preset(file)


FILE = """
algo = "tabularq"
env = "rlkit/GridWorld-v0"
env_kwargs = { map = "frozenlake-4x4", observation = "index" }
preset = "sb3"
steps = 90
seeds = 2
configurations = 4
rounds = 2
episodes = 2
set = { initial_value = 0.5 }

[search]
learning_rate = { low = 0.01, high = 1.0, log = true }
"""


@pytest.mark.slow
def test_a_search_keeps_the_best_goes_on_where_it_was_and_freezes_the_winner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.setattr(executors_module, "LocalExecutor", InProcess)
    (tmp_path / "lake.toml").write_text(FILE, encoding="utf-8")
    out = tmp_path / "out"
    command = ["tune", str(tmp_path / "lake.toml"), "--out", str(out)]
    assert main([*command, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    for number in range(2):
        first, second = (SweepLedger(out / f"round-{number}-rung-{rung}").experiment for rung in range(2))
        assert (len(first.runs), len(first.batches)) == (8, 1)  # rows of one computation
        assert (len(second.runs), len(second.batches)) == (4, 1)
        assert {run.configuration["steps"] for run in first.runs} == {30}
        trials = results["trials"][4 * number : 4 * number + 4]
        scores = [sum(trial["returns"][0]) for trial in trials]
        kept = [score for trial, score in zip(trials, scores, strict=True) if len(trial["returns"]) == 2]
        assert sorted(kept) == sorted(scores)[-2:]
    whole = {number: sum(trial["returns"][1]) for number, trial in enumerate(results["trials"]) if trial["returns"][1:]}
    assert whole[results["best"]] == max(whole.values())
    preset = read_preset(out / "preset.json")
    best = results["trials"][results["best"]]["values"]
    assert preset.hyperparameters["learning_rate"] == best["learning_rate"]
    assert preset.tuning_seeds == (1000, 1001)
    attempts = sorted(out.glob("*/batches/*/attempt-*"))
    assert main(command) == 2
    assert "pass --resume" in capsys.readouterr().err
    assert main([*command, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"] == results
    assert sorted(out.glob("*/batches/*/attempt-*")) == attempts
    train = ["train", "--algo", "tabularq", "--env", LAKE["env"], "--env-kwargs", "map=frozenlake-4x4"]
    train += ["observation=index", "--preset", str(out / "preset.json"), "--seeds", "2", "--steps", "300", "--json"]
    assert main([*train, "--out", str(tmp_path / "run")]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["hyperparameters"]["learning_rate"] == best["learning_rate"]
    assert main([*train, "--first-seed", "999", "--out", str(tmp_path / "refused")]) == 2
    assert "was chosen on the seed 1000" in capsys.readouterr().err

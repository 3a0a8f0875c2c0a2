"""Why replay: the arms, the choice of their learning rates, and the table, at tiny sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_sweep import SMALL, outcome

from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.outcomes import OutcomeRow
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.common.sweeps import Part
from rlkit.experiments.studies.replay import run as study
from rlkit.experiments.workflows.sweep.experiment import experiment_of

ARMS, REUSE = study.CASES


def test_arms_make_equal_updates_and_differ_in_where_minibatches_come_from() -> None:
    found = {run.agent: run.configuration for run in ARMS.experiment.runs}
    assert len(found) == 6
    for configuration in found.values():
        of = configuration["hyperparameters"]
        assert of["batch_size"] == of["train_freq"] * configuration["num_envs"] == 32
        assert of["gradient_steps"] == 1
    memory = found["memory"]["hyperparameters"]
    assert memory["buffer_size"] == found["memory"]["steps"]
    assert {
        name for arm in found.values() for name, value in arm["hyperparameters"].items() if value != memory[name]
    } == {"learning_rate", "buffer_size", "replay", "train_freq"} - {"learning_rate"}


def test_every_transition_is_used_32_times_by_arms_that_differ_in_where_minibatches_come_from() -> None:
    found = {run.agent: run.configuration for run in REUSE.experiment.runs}
    assert list(found) == ["memory", "window", "parallel", "memory-1000"]
    for configuration in found.values():
        of = configuration["hyperparameters"]
        samples = of["gradient_steps"] * of["batch_size"]
        assert samples == 32 * of["train_freq"] * configuration["num_envs"]
    memory = found["memory"]["hyperparameters"]
    assert memory["buffer_size"] == found["memory"]["steps"]
    assert {
        name for arm in found.values() for name, value in arm["hyperparameters"].items() if value != memory[name]
    } == {"buffer_size", "replay", "gradient_steps"}
    assert {run.environment for run in REUSE.experiment.runs} == {run.environment for run in ARMS.experiment.runs}


def test_a_task_is_solved_five_percent_below_its_optimum_or_at_the_threshold_of_gymnasium() -> None:
    cliff = next(run for run in ARMS.experiment.runs if run.environment == "cliff")
    assert study.goal_of(cliff) == pytest.approx(-13.65)
    cartpole = experiment_of({**SMALL, "agents": ["dqn"], "environments": ["CartPole-v1"], "settings": {}})
    assert study.goal_of(cartpole.runs[0]) == 475.0


def test_the_rate_with_the_best_mean_is_chosen_and_tested_on_other_seeds() -> None:
    known = [
        outcome(run.cell, run.seed, 1.0 if (run.agent == "latest") == (run.settings["learning_rate"] == 1e-2) else 0.0)
        for run in ARMS.experiment.runs
    ]
    rates = study.best_rates(ARMS.experiment, known)
    assert {arm: rate for (arm, _), rate in rates.items()} == {
        arm: 1e-2 if arm == "latest" else 3e-3 for arm, _ in rates
    }
    flat = study.best_rates(ARMS.experiment, [outcome(run.cell, run.seed) for run in ARMS.experiment.runs])
    assert set(flat.values()) == {3e-3}  # the smaller one of a tie
    made = study.tests(ARMS, rates)
    assert len(made) == 3
    for experiment in made:
        assert len({run.environment for run in experiment.runs}) == 1
        assert {run.seed for run in experiment.runs} == set(study.TEST_SEEDS)
        used = {run.agent: run.configuration["hyperparameters"]["learning_rate"] for run in experiment.runs}
        assert used == {arm: 1e-2 if arm == "latest" else 3e-3 for arm in used}
    assert not set(study.TEST_SEEDS) & {run.seed for run in ARMS.experiment.runs}


def test_the_table_compares_every_arm_with_the_memory() -> None:
    rates = {(arm, "cliff"): 1e-2 for arm in ("memory", "latest", "parallel")}
    found = [(arm, "cliff", -13.0 if arm != "latest" else -200.0 - seed) for arm, _ in rates for seed in range(10)]
    memory, latest, parallel = study.outcome_table(ARMS, rates, found).rows
    assert memory[6:] == (10, None, None)
    assert parallel[8] == 1.0
    assert latest[6] == 0
    assert latest[7].value == pytest.approx(-191.5)
    assert 0.0 < latest[8] < 0.001


@pytest.mark.slow
def test_the_study_tunes_tests_and_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ARMS.folder / "arms.toml").read_text(encoding="utf-8").replace("60_000", "1_088")
    text = text.replace("[3e-3, 1e-2]", "[3e-3]")
    (tmp_path / "arms.toml").write_text(text.replace("[1000, 1001]", "[1000]"), encoding="utf-8")
    monkeypatch.setattr(study, "TEST_SEEDS", [0, 1])
    tiny, options = [Part("arms", tmp_path)], StudyOptions(tmp_path / "results")
    (table,) = study.run(tiny, options)
    assert [line[3] for line in table.rows] == [2] * 18
    assert len(rows.read(tmp_path / "results" / "arms-tuning.csv", OutcomeRow)) == 18
    known = rows.read(tmp_path / "results" / "arms.csv", OutcomeRow)
    assert len(known) == 36
    assert (tmp_path / "results" / "arms.svg").read_bytes().startswith(b"<?xml")
    assert study.run(tiny, options) == [table]
    assert rows.read(tmp_path / "results" / "arms.csv", OutcomeRow) == known

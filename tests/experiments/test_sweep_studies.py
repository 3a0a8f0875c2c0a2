"""Studies whose settings are experiments: what is trained, what is kept, and the outcomes of runs."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from small_sweep import SMALL, outcome

from rlkit.experiments.studies.ablations import run as ablations
from rlkit.experiments.studies.agreement import run as agreement
from rlkit.experiments.studies.baselines import run as baselines
from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.outcomes import OutcomeRow, optimum_of, steps_to, train_and_score
from rlkit.experiments.studies.common.sweeps import by_cell, train_missing_runs, with_rows
from rlkit.experiments.studies.ensembles import run as ensembles
from rlkit.experiments.studies.grids import settings as grids
from rlkit.experiments.studies.matched import settings as matched
from rlkit.experiments.studies.networks import run as networks
from rlkit.experiments.studies.overestimation import run as overestimation
from rlkit.experiments.studies.replay import run as replay
from rlkit.experiments.studies.robustness import settings as robustness
from rlkit.experiments.studies.transfer import settings as transfer
from rlkit.experiments.studies.tuned import settings as tuned
from rlkit.experiments.workflows.sweep.experiment import batch_training, experiment_of

STUDIES = (baselines, ablations, agreement, ensembles, networks, overestimation, replay)
PARTS = [*(part for study in STUDIES for part in study.CASES), *grids.PARTS, *matched.PARTS, *tuned.PARTS]
PARTS += [*robustness.PARTS, robustness.SB3_PART, *transfer.EXPERIMENTS]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.folder.name}-{part.name}")
def test_settings_are_toml_with_a_question_and_a_hypothesis(part) -> None:
    given = tomllib.loads((part.folder / f"{part.name}.toml").read_text(encoding="utf-8"))
    assert given["question"].endswith("?")
    assert len(given["hypothesis"]) > 50
    readme = (part.folder / "README.md").read_text(encoding="utf-8")
    assert f"`{part.name}.toml`" in readme
    assert "*supported*" in readme.lower()


def test_the_cells_of_a_part_are_its_runs_with_presets_by_name() -> None:
    part = next(part for part in grids.PARTS if part.name == "sutton-barto-5x5")
    assert [(cell.agent, cell.environment) for cell in part.cells] == list(
        dict.fromkeys((run.agent, run.environment) for run in part.experiment.runs)
    )
    for cell in part.cells:
        runs = [run for run in part.experiment.runs if run.agent == cell.agent]
        assert cell.training.seeds == tuple(run.seed for run in runs)
        assert (cell.training.preset, cell.training.hyperparameters) == ("tuned", {"gamma": 0.9})
        assert asdict(replace(cell.training, seeds=(0,)).make_agent().config) == asdict(
            batch_training([runs[0].configuration]).make_agent().config
        )


def test_runs_without_a_row_are_trained_and_no_others(tmp_path: Path) -> None:
    experiment, file = experiment_of(SMALL), tmp_path / "rows.csv"
    trained: list[list[tuple[str, int]]] = []

    def measure(batch, training):
        trained.append([(run.cell, run.seed) for run in batch])
        assert training.seeds == tuple(run.seed for run in batch)
        return [outcome(run.cell, run.seed) for run in batch]

    first = experiment.runs[1]
    rows.append(file, [outcome(first.cell, first.seed, 7.0)])
    train_missing_runs(experiment, file, OutcomeRow, measure)
    others = [(run.cell, run.seed) for run in experiment.runs if run is not first]
    assert trained == [others]
    train_missing_runs(experiment, file, OutcomeRow, measure)
    assert trained == [others]
    known = rows.read(file, OutcomeRow)
    assert [(run.id, row.seed) for run, row in with_rows(experiment, known)] == [
        (r.id, r.seed) for r in experiment.runs
    ]
    assert [len(found) for found in by_cell(experiment, [*known, outcome("another cell", 0)]).values()] == [2, 2]


def test_steps_to_a_return_are_the_first_row_that_reaches_it() -> None:
    history = {
        "timesteps": np.array([[10, 10, 10], [20, 20, 20], [30, 30, 30]]),
        "episode_return": np.array([[np.nan, 5.0, 1.0], [4.0, 1.0, 2.0], [9.0, 9.0, np.nan]]),
    }
    assert steps_to(history, 4.0) == [20, 10, None]


@pytest.mark.slow
def test_an_outcome_is_the_exact_return_of_the_trained_policy(tmp_path: Path) -> None:
    experiment, file = experiment_of(SMALL), tmp_path / "rows.csv"
    train_missing_runs(experiment, file, OutcomeRow, train_and_score)
    known = rows.read(file, OutcomeRow)
    best = optimum_of(experiment.runs[0])
    assert best == pytest.approx(0.7442, abs=1e-4)
    assert [row.steps for row in known] == [300] * 4
    assert all(0.0 <= row.greedy <= best and row.sampled is None and row.diverged == 0 for row in known)


def test_a_variant_of_an_ablation_is_near_within_five_percent_of_the_optimum() -> None:
    lakes = ablations.CASES[0].experiment
    cells = list(dict.fromkeys(run.cell for run in lakes.runs))
    known = [outcome(cells[0], seed, 0.72 if seed < 707 else 0.70) for seed in range(700, 710)]
    (line,) = ablations.outcome_table("lakes", lakes, known).rows
    assert line[:2] == ("reinforce ent_coef=0.1", 10)
    assert line[3:5] == (0.70, 7)  # the least return, and the seeds within 5 % of 0.7442


def test_a_variant_of_an_ablation_changes_one_factor() -> None:
    for part in ablations.CASES:
        base = {run.configuration["algorithm"]: run.configuration for run in reversed(part.experiment.runs)}
        for run in part.experiment.runs:
            own, of_base = run.configuration["hyperparameters"], base[run.configuration["algorithm"]]["hyperparameters"]
            assert sum(own[name] != of_base[name] for name in own) <= 1, run.cell

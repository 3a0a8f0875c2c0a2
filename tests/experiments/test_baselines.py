"""The variance of REINFORCE's gradient by baseline, and its tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_sweep import outcome

from rlkit.experiments.studies.baselines import run as study
from rlkit.experiments.studies.baselines.figure import variance_figure
from rlkit.experiments.studies.baselines.variance import VarianceRow, gradients, stages
from rlkit.experiments.workflows.sweep.experiment import batch_training

NAMES = ["none", "average", "time", "leave-one-out", "optimal", "value"]
ROWS = [VarianceRow(name, seed, 0, 2.0 * (seed + 1) / (1 + NAMES.index(name)), 0.5) for name in NAMES
        for seed in range(8)]  # fmt: skip


def value_training():
    runs = [run for run in study.BASELINES.experiment.runs if run.settings.get("baseline") == "value"]
    return replace(batch_training([run.configuration for run in runs[:2]]), steps=4096)


def test_the_table_divides_by_the_variance_without_a_baseline() -> None:
    table = study.variance_table(ROWS)
    assert [line[3].value for line in table.rows] == pytest.approx([1.0 / (1 + place) for place in range(6)])
    assert table.rows[0][4] == pytest.approx(np.median([4.0 * (seed + 1) for seed in range(8)]))
    (axes,) = variance_figure(ROWS).axes
    assert axes.get_legend_handles_labels()[1] == ["without baseline", *NAMES[1:]]


def test_a_seed_that_never_reaches_475_counts_with_all_its_steps() -> None:
    experiment = study.GAMMA.experiment
    cell = experiment.runs[0].cell
    reached = {run.seed: 40 if run.seed < 533 else None for run in experiment.runs if run.cell == cell}
    known = [outcome(cell, seed, 1.0, sampled=2.0, steps_to_475=steps) for seed, steps in reached.items()]
    ((_, seeds, count, _, steps, greedy, sampled),) = study.outcome_table("gamma", "", experiment, known).rows
    assert (seeds, count, steps.value, greedy.value, sampled.value) == (10, 3, 100.0, 1.0, 2.0)


@pytest.mark.slow
def test_baselines_see_equal_batches_and_have_equal_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlkit.experiments.studies.baselines.variance.STAGES", (0, 2048))
    training = value_training()
    found = dict(stages(training))
    assert list(found) == [0, 2048]
    assert not found[0]["policy"].equal(found[2048]["policy"])
    estimates = gradients(training, found[0], ["none", "leave-one-out", "value"], batches=20)
    again = gradients(training, found[0], ["none"], batches=20)["none"]
    np.testing.assert_array_equal(estimates["none"], again)
    for name in ("leave-one-out", "value"):  # baselines leave the mean alone: the means differ by their error
        gap = estimates[name] - estimates["none"]  # [K, S, P]
        error = gap.std(axis=0, ddof=1) / np.sqrt(20)
        assert np.abs(gap.mean(axis=0) / np.where(error > 0, error, 1.0)).mean() < 1.2
    assert estimates["leave-one-out"].var(axis=0).sum() < estimates["none"].var(axis=0).sum()

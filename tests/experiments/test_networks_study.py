"""Linear policies and radial basis functions under attack, beside multilayer perceptrons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rlkit.adversarial import FGSM
from rlkit.experiments.studies.networks import run as study
from rlkit.experiments.studies.networks.run import NetworkRow
from rlkit.experiments.workflows.sweep.experiment import batch_training

EARNED = {"mlp": (500.0, 300.0, 240.0, 9.0), "linear": (500.0, 300.0, 241.0, 9.0), "rbf": (500.0, 400.0, 380.0, 99.0)}
EPSILONS = (0.0, 0.1, 0.2, 0.4)


def found_with(flips: dict[str, float]) -> study.Found:
    """Ten seeds of each network; returns fall with epsilon, the same share of actions is flipped at each."""
    known = [
        NetworkRow(run.cell, run.seed, "best", epsilon, earned + run.seed % 10, flips[run.agent])
        for part in study.CASES
        for run in part.experiment.runs
        for epsilon, earned in zip(EPSILONS, EARNED[run.agent], strict=True)
    ]
    return study.by_epsilon(known)


def test_the_decisive_epsilon_is_where_multilayer_perceptrons_lose_half() -> None:
    found = found_with({"mlp": 0.4, "linear": 0.4, "rbf": 0.1})
    assert study.decisive(found) == 0.2  # 244.5 of 504.5
    tests = {line[:2]: line[2:] for line in study.test_table(found).rows}
    assert set(tests) == {(network, name) for network in ("linear", "rbf") for name in study.MEASURES}
    assert {epsilon for epsilon, _ in tests.values()} == {0.2}
    assert max(tests["rbf", name][1] for name in study.MEASURES) < 0.001
    assert min(tests["linear", name][1] for name in study.MEASURES) > 0.05


def test_differences_are_those_from_multilayer_perceptrons_at_the_same_epsilon() -> None:
    lines = {line[:2]: line for line in study.outcome_table(found_with({"mlp": 0.4, "linear": 0.5, "rbf": 0.1})).rows}
    assert lines["mlp", 0.2][6:] == (None, None)
    assert lines["rbf", 0.2][6].value == pytest.approx(140.0)
    assert lines["linear", 0.2][7].value == pytest.approx(0.1)
    assert lines["rbf", 0.4][4] == 99.0  # the least


def test_curves_have_a_row_per_epsilon_and_a_column_per_seed() -> None:
    drawn = study.curves(found_with({"mlp": 0.4, "linear": 0.5, "rbf": 0.1}), "earned")
    assert list(drawn) == ["mlp", "linear", "rbf"]
    assert list(drawn["rbf"].x) == list(EPSILONS)
    np.testing.assert_array_equal(drawn["rbf"].y, np.add.outer(EARNED["rbf"], np.arange(10)))


def test_nothing_is_tested_where_nothing_is_lost() -> None:
    found = {key: of for key, of in found_with({"mlp": 0.0, "linear": 0.0, "rbf": 0.0}).items() if key[1] < 0.2}
    assert study.decisive(found) is None
    assert study.test_table(found).rows == ()


@pytest.mark.slow
def test_every_policy_plays_without_attack_and_at_every_epsilon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "EPISODES", 2)
    monkeypatch.setattr(study, "ATTACKS", {study.BEST: FGSM()})
    monkeypatch.setattr(study, "CARTPOLE", study.CARTPOLE._replace(epsilons=(0.1, 1.6)))
    linear = next(part for part in study.CASES if part.name == "linear")
    batch = linear.experiment.batches[0][:2]
    rows = study.measure(batch, replace(batch_training([run.configuration for run in batch]), steps=4096))
    assert [(row.attack, row.epsilon) for row in rows[::2]] == [("natural", 0.0), ("best", 0.1), ("best", 1.6)]
    assert [row.seed for row in rows] == [run.seed for run in batch] * 3
    assert [row.flips for row in rows[:2]] == [0.0, 0.0]
    for natural, weak, strong in zip(rows[:2], rows[2:4], rows[4:], strict=True):
        assert 0.0 < weak.flips < strong.flips <= 1.0
        assert natural.earned > strong.earned

"""Runs beside each other: names, curves, tests of differences with Holm's correction, and warnings of few seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from rlkit.experiments.report.comparison import COLUMNS, compared, differences_in_words, labels, with_different_titles
from rlkit.experiments.report.ledger import RunRecord
from rlkit.statistics import holm, sign_flip_test


def run(returns: list[float], seeds: tuple[int, ...], env: str = "CartPole-v1", rate: float = 1e-3) -> RunRecord:
    curve = {"timesteps": np.array([0, 100]), "returns": np.array([returns, returns])}
    hyperparameters = {"learning_rate": rate, "gamma": 0.99}
    settings = {"environment": env, "algorithm": "DQN", "training_seeds": seeds, "hyperparameters": hyperparameters}
    return RunRecord("train", f"DQN {rate}", settings, {"seed_returns": np.array(returns), "training_curve": curve})


HIGH = [10.0, 12.0, 11.0, 13.0, 12.5, 11.5, 12.2]
LOW = [1.0, 2.5, 1.5, 2.0, 2.2, 1.8, 1.1]
NEAR = [10.4, 11.8, 11.9, 12.4, 12.9, 11.0, 12.1]


def test_runs_with_the_same_seeds_are_tested_in_pairs_and_others_by_welch() -> None:
    same, other = tuple(range(7)), tuple(range(10, 17))
    found = compared([run(HIGH, same), run(LOW, same, rate=1e-4), run(NEAR, other, rate=1e-5)])
    (table,) = found.tables
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in table.rows]
    assert [row["test"] for row in rows] == ["paired", "Welch", "Welch"]
    raw = [
        sign_flip_test(np.subtract(HIGH, LOW)),
        stats.ttest_ind(HIGH, NEAR, equal_var=False).pvalue,
        stats.ttest_ind(LOW, NEAR, equal_var=False).pvalue,
    ]
    np.testing.assert_allclose([row["p"] for row in rows], raw)
    np.testing.assert_allclose([row["p by Holm"] for row in rows], holm(raw))
    assert [row["conclusion"] for row in rows] == ["differ", "not shown", "differ"]
    assert rows[0]["difference"].value == pytest.approx(np.mean(HIGH) - np.mean(LOW))
    (warning,) = found.warnings
    assert warning.startswith("DQN, learning rate 0.001 and DQN, learning rate 1e-05: 7 seeds are too few.")
    (picture,) = found.pictures
    assert b"learning rate 0.0001" in picture.image


def test_few_pairs_cannot_show_anything_and_the_warning_says_how_many_can() -> None:
    seeds = (0, 1, 2, 3)
    found = compared([run(HIGH[:4], seeds), run(LOW[:4], seeds, rate=1e-4)])
    row = dict(zip(COLUMNS, found.tables[0].rows[0], strict=True))
    assert row["p"] == 0.125
    assert row["conclusion"] == "not shown"
    assert row["seeds needed"] == 6  # 2^(1 - 6) is below 0.05
    assert "about 6 seeds of each are needed" in found.warnings[0]


def test_what_has_no_spread_or_one_seed_is_not_tested() -> None:
    constant = compared([run([5.0, 5.0], (0, 1)), run([5.0, 5.0], (2, 3), rate=1e-4)])
    alone = compared([run([5.0], (0,)), run([6.0], (0,), rate=1e-4)])
    for found, reason in ((constant, "no spread"), (alone, "one seed")):
        row = dict(zip(COLUMNS, found.tables[0].rows[0], strict=True))
        assert (row["test"], row["p"], row["p by Holm"], row["conclusion"]) == (reason, None, None, "not tested")


def test_environments_are_not_mixed_and_a_single_run_has_no_rival() -> None:
    assert compared([run(HIGH, tuple(range(7))), run(LOW, tuple(range(7)), env="Acrobot-v1")]) == ((), (), ())


def test_the_summary_says_what_the_tests_of_a_few_runs_found() -> None:
    same, other = tuple(range(7)), tuple(range(10, 17))
    found = compared([run(HIGH, same), run(LOW, same, rate=1e-4), run(NEAR, other, rate=1e-5)])
    first, second, third = differences_in_words(found.tables[0])
    assert first.startswith("DQN, learning rate 0.001 minus DQN, learning rate 0.0001: 10.01 [")
    assert first.endswith("; they differ.")
    assert second.endswith("; a difference is not shown.")
    assert third.endswith("; they differ.")
    alone = compared([run([5.0], (0,)), run([6.0], (0,), rate=1e-4)]).tables[0]
    assert differences_in_words(alone)[0].endswith(": -1; not tested.")
    many = compared([run(HIGH, same, rate=rate) for rate in (1e-2, 1e-3, 1e-4, 1e-5)]).tables[0]
    assert differences_in_words(many) == []


def test_of_many_runs_each_is_tested_against_the_best() -> None:
    runs = [run([float(i), i + 1.0, i + 3.0], (0, 1, 2), rate=10.0**-i) for i in range(9)]
    rows = compared(runs).tables[0].rows
    assert len(rows) == 8
    assert {row[0] for row in rows} == {labels(runs)[8]}


def test_labels_are_different_and_name_what_differs() -> None:
    twins = [run(HIGH, (0,)), run(HIGH, (0,)), run(HIGH, (0,), rate=0.5)]
    assert labels(twins) == ["DQN, learning rate 0.001 (1)", "DQN, learning rate 0.001 (2)", "DQN, learning rate 0.5"]


def test_runs_of_one_title_get_the_settings_in_which_they_differ() -> None:
    seeds = (0, 1)
    alike = [replace(run([1.0, 2.0], seeds, rate=rate), title="DQN") for rate in (1e-3, 1e-4)]
    other = replace(run([1.0, 2.0], seeds, rate=1e-3), title="another DQN")
    titles = [each.title for each in with_different_titles([*alike, other])]
    assert titles == ["DQN, learning rate 0.001", "DQN, learning rate 0.0001", "another DQN"]
    assert [each.title for each in with_different_titles([alike[0], alike[0]])] == ["DQN (1)", "DQN (2)"]

"""The simulation of coverage, at small sizes: known distributions, and one committed list of returns."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from source_tree import ROOT

from rlkit.experiments.benchmarks import coverage as module
from rlkit.experiments.benchmarks.coverage import (
    CoverageRow,
    Population,
    bootstrap_means,
    coverage,
    figure,
    least_return,
    main,
)
from rlkit.experiments.studies.common import rows


def test_the_figure_has_a_panel_for_each_number_of_seeds_and_a_box_for_each_interval() -> None:
    found = [
        CoverageRow(name, 10, 1.0, 0.0, 2.0, n, share, share / 2, 1.0, 1.0, 1.0, 1.0)
        for n in (10, 30)
        for name, share in (("a", 0.2), ("b", 0.6), ("c", 0.9))
    ]
    drawn = figure(found)
    assert [axes.get_title(loc="left") for axes in drawn.axes] == ["10 seeds", "30 seeds"]
    for axes in drawn.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["t", "bootstrap", "DKW"]
        drawn_at = {round(float(y), 6) for line in axes.lines for y in line.get_ydata()}
        assert {60.0, 30.0, 100.0, 20.0, 90.0, 95.0} <= drawn_at  # medians; the range of t; the nominal 95 %


def test_the_means_of_resamples_are_those_of_all_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 4000)
    means = bootstrap_means(np.array([[0.0, 1.0, 5.0], [2.0, 2.0, 2.0]]), np.random.default_rng(0))
    assert means.shape == (2, 4000)
    exact = [np.mean(each) for each in itertools.product([0.0, 1.0, 5.0], repeat=3)]
    assert means[0].mean(axis=0) == pytest.approx(2.0, abs=0.06)  # 3 sigma
    assert np.quantile(means[0], (0.1, 0.9), axis=0) == pytest.approx(np.quantile(exact, (0.1, 0.9), axis=0))
    assert means[1] == pytest.approx(2.0)


def test_coverage_of_two_returns_is_that_of_the_binomial() -> None:
    """Of 10 seeds that fail with probability 1/10 each, .9^10 of the samples are constant, and there t has width 0."""
    population = Population("nine of ten", np.array([500.0] * 9 + [0.0]), 0.0, 500.0)
    row = coverage(population, 10, 4000)
    # with one to four failures t's interval contains 450; five or more have probability .0016
    assert 1.0 - row.t_coverage == pytest.approx(0.9**10, abs=0.023)  # 3 sigma
    assert row.dkw_coverage == 1.0
    assert row.mean == 450.0
    assert row.t_width < row.dkw_width
    assert row.bootstrap_width < row.t_width
    assert coverage(population, 10, 4000) == row


def test_t_covers_normal_returns() -> None:
    quantiles = np.random.default_rng(1).normal(size=2000)
    row = coverage(Population("normal", quantiles, -10.0, 10.0), 10, 3000)
    assert row.t_coverage == pytest.approx(0.95, abs=0.012)  # 3 sigma
    assert row.bootstrap_coverage < 0.93


def test_the_least_return_of_maps() -> None:
    assert least_return("frozenlake-4x4", 100) == 0.0
    assert least_return("cliff", 200) == pytest.approx(-20_000.0)  # -100 for every step into the cliff, from its start


@pytest.mark.slow
def test_the_command_prints_and_keeps_the_rows(tmp_path, capsys) -> None:
    name, out = "matched acrobot-ppo-short rlkit greedy", tmp_path / "coverage.csv"
    words = [name, "--data", str(ROOT / "results"), "--replications", "500", "--out", str(out)]
    words += ["--figure", str(tmp_path / "coverage.svg")]
    assert main(words) == 0
    assert main(words) == 0  # replaces the file
    assert "100 seeds" in (tmp_path / "coverage.svg").read_text(encoding="utf-8")
    found = rows.read(out, CoverageRow)
    assert [row.n for row in found] == [10, 30, 100]
    assert all(row.dkw_coverage >= 0.94 for row in found)
    assert found[0].t_coverage == pytest.approx(0.5, abs=0.07)
    assert [row.dkw_width for row in found] == pytest.approx([225, 134, 77], abs=5)
    printed = capsys.readouterr().out
    assert f"| {name} | 30 | -93.12 | 5" in printed
    assert "| 10 | 5" in printed
    with pytest.raises(SystemExit):
        main(["nothing", "--data", str(ROOT / "results")])

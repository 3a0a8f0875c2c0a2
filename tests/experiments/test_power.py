"""How often few seeds say the opposite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_ind

from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.power import run as power
from rlkit.experiments.studies.power.settings import CLAIMS, COUNTS
from rlkit.statistics import welch_test

X, Y = np.array([0.0, 1.0, 2.0, 5.0]), np.array([1.0, 1.5, 2.5])


def test_the_fractions_are_those_of_all_samples() -> None:
    """Two seeds of each side: 16 x 9 samples can be written down."""
    means = [(a + b) / 2 - (c + d) / 2 for a in X for b in X for c in Y for d in Y]
    found = power.resampled(X, Y, 2, np.random.default_rng(0), 40_000)
    assert found.opposite == pytest.approx(np.mean(np.array(means) < 0), abs=0.01)
    assert found.equal == pytest.approx(np.mean(np.array(means) == 0), abs=0.01)


def test_significance_is_welchs() -> None:
    x, y = np.arange(20.0), np.arange(20.0) + 4.0
    found = power.resampled(x, y, 5, np.random.default_rng(1), 500)
    again = np.random.default_rng(1)
    a, b = again.choice(x, (500, 5)), again.choice(y, (500, 5))
    test = ttest_ind(a, b, axis=1, equal_var=False)
    assert found.significant == np.mean((test.pvalue < 0.05) & (test.statistic > 0))
    assert found.significantly_opposite == np.mean((test.pvalue < 0.05) & (test.statistic < 0)) > 0.05


def test_samples_without_spread_are_not_significant() -> None:
    found = power.resampled(np.full(3, 2.0), np.full(3, 1.0), 3, np.random.default_rng(2), 10)
    assert found == (0.0, 0.0, 0.0, 0.0)


def test_the_claims_are_resampled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "REPLICATIONS", 100)
    monkeypatch.setattr(power.resampled, "__defaults__", (100,))
    (table,) = power.run(CLAIMS[:2], StudyOptions(tmp_path))
    assert [line[0] for line in table.rows] == [claim.name for claim in CLAIMS[:2]]
    known = rows.read(tmp_path / "power.csv", power.PowerRow)
    assert [row.seeds for row in known] == [*COUNTS, *COUNTS]
    assert power.run(CLAIMS[:2], StudyOptions(tmp_path)) == (table,)


def test_the_committed_rows_refute_the_hypothesis() -> None:
    known = rows.read(Path("results/power/power.csv"), power.PowerRow)
    assert {row.claim for row in known} == {claim.name for claim in CLAIMS}
    three = [row.opposite > 0.1 for row in known if row.seeds == 3]
    assert sum(three) >= len(three) / 2
    claim = next(claim for claim in CLAIMS if claim.name == "A2C acts better greedily than sampled, short runs")
    (ten,) = (row for row in known if (row.claim, row.seeds) == (claim.name, 10))
    assert welch_test(power.returns_of(claim.x), power.returns_of(claim.y)) < 0.05  # with all seeds
    assert ten.opposite > 0.05

"""Ensembles of disjoint seeds beside their members."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.experiments.studies.ensembles import run as study
from rlkit.experiments.studies.ensembles.run import MemberRow


def rows_of(part, gains: list[float]) -> list[MemberRow]:
    """Ten ensembles whose members earn 98, 99, 100, 101 and 102, and which earn 100 + their gain."""
    return [
        MemberRow(run.cell, run.seed, 98.0 + n % 5, n // 5, 100.0 + gains[n // 5])
        for n, run in enumerate(part.experiment.runs)
    ]


def test_every_part_has_ten_ensembles_of_disjoint_seeds_in_one_batch() -> None:
    seeds = [run.seed for part in study.CASES for run in part.experiment.runs]
    assert len(set(seeds)) == len(seeds) == 200
    for part in study.CASES:
        (batch,) = part.experiment.batches
        assert len(batch) == 10 * study.MEMBERS


def test_the_gain_is_a_share_of_the_members_mean_and_paired_by_ensemble() -> None:
    gains = [2.0, 3.0, 4.0, 2.0, 3.0, 4.0, 2.0, 3.0, 4.0, 3.0]
    known = rows_of(study.CASES[1], gains) + rows_of(study.CASES[2], [-g for g in gains])
    ppo, a2c = study.outcome_table(known).rows
    assert (ppo[0], ppo[1], a2c[0]) == ("ppo", 10, "a2c")
    assert (ppo[2].value, ppo[3].value) == (pytest.approx(100.0), pytest.approx(103.0))
    error = 2.2621572 * np.std(gains, ddof=1) / np.sqrt(10) / 100.0  # Student's quantile for nine degrees of freedom
    assert ppo[4][:3] == pytest.approx((0.03, 0.03 - error, 0.03 + error))
    assert a2c[4].value == pytest.approx(-0.03)
    assert (ppo[5], a2c[5]) == (10, 0)
    assert ppo[6] == a2c[6] == pytest.approx(2 * 2**-9)  # the smallest p of ten signs, times two tests


def test_rows_without_an_ensemble_of_a_part_leave_it_out() -> None:
    assert study.outcome_table([]).rows == ()

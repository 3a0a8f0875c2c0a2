"""Equivalence of both libraries' short runs: the sample size is fixed, and a stopped study goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.scores import Score, of_case
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.equivalence import run as study
from rlkit.experiments.studies.equivalence.settings import CASES, MARGIN, SEEDS
from rlkit.statistics import equivalence_test


def scored(case: str, maker: str, returns: np.ndarray) -> list[Score]:
    return [Score(case, maker, seed, 1, float(earned), None, 1.0) for seed, earned in enumerate(returns)]


def test_the_settings_are_those_that_were_announced() -> None:
    assert len(SEEDS) == len(set(SEEDS)) == 600
    assert MARGIN == 25.0
    assert [case.training.steps for case in CASES] == [25_000, 50_000]
    for case in CASES:
        assert case.training.seeds == SEEDS
    assert not set(SEEDS) & set(range(1100))  # of training and tuning elsewhere


def test_there_is_no_number_before_all_rows_are_there() -> None:
    generator = np.random.default_rng(0)
    known = [row for case in CASES for maker in ("rlkit", "stable-baselines3")
             for row in scored(case.name, maker, generator.normal(350.0, 20.0, 40))]  # fmt: skip
    table = study.verdict_table(known[:-1], planned=40)
    assert [line[2:] for line in table.rows] == [(None, None, study.UNFINISHED)] * 2
    table = study.verdict_table(known, planned=40)
    raw = []
    for case, line in zip(CASES, table.rows, strict=True):
        x, y = ([row.greedy for row in of_case(known, case.name, m)] for m in ("rlkit", "stable-baselines3"))
        test = equivalence_test(x, y, margin=25.0)
        assert line[2] == test.difference
        raw.append(test.p_value)
    assert sorted(line[3] for line in table.rows) == pytest.approx([2 * min(raw), max(2 * min(raw), max(raw))])
    assert [line[4] for line in table.rows] == ["equivalent"] * 2
    apart = [replace(row, greedy=row.greedy + 30.0 * (row.maker == "rlkit")) for row in known]
    assert [line[4] for line in study.verdict_table(apart, planned=40).rows] == ["undecided"] * 2


def test_chunks_hold_every_seed_once() -> None:
    assert list(study.chunks(range(7), 3)) == [(0, 1, 2), (3, 4, 5), (6,)]


@pytest.mark.slow
def test_seeds_of_both_libraries_are_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = replace(CASES[0].training, seeds=(1,), steps=256)
    case = CASES[0]._replace(training=tiny)
    (table,) = study.run([case], StudyOptions(tmp_path))
    assert table.rows[0][1] == "1, 1 of 600"
    known = rows.read(tmp_path / "equivalence.csv", Score)
    assert [(row.maker, row.seed) for row in known] == [("rlkit", 1), ("stable-baselines3", 1)]
    monkeypatch.setattr(study, "SB3Process", None)
    assert study.run([case], StudyOptions(tmp_path)) == (table,)

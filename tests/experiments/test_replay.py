"""What replay buys, at tiny sizes."""

from dataclasses import replace

import pytest

from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common import scores as final_scores
from rlkit.experiments.studies.common.scores import Score
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.replay import run
from rlkit.experiments.studies.replay.run import LABELS, gain, outcome_table
from rlkit.experiments.studies.replay.settings import CASES, WITH, WITHOUT


def test_the_two_differ_in_replay_alone():
    with_replay, without = (case.training.hyperparameters for case in CASES)
    assert {name for name in with_replay if with_replay[name] != without[name]} == {"replay"}
    first, second = (replace(case.training, hyperparameters={}) for case in CASES)
    assert first == second
    assert len(first.seeds) == 10


def test_the_gain_is_the_difference_of_means():
    known = [Score(name, "rlkit", seed, 1, earned + seed, None, 1.0) for name, earned in ((WITH, 9.0), (WITHOUT, 2.0))
             for seed in range(3)]  # fmt: skip
    assert gain(known).value == pytest.approx(7.0)
    assert outcome_table(known).rows[-1] == ("difference", None, gain(known))


@pytest.mark.slow
def test_both_are_trained_once_and_drawn(tmp_path, monkeypatch):
    tiny = [case._replace(training=replace(case.training, seeds=(0, 1, 2), steps=1200)) for case in CASES]
    options = StudyOptions(tmp_path)
    (one,) = run.run(tiny[:1], options)
    assert [row[:2] for row in one.rows] == [(LABELS[WITH], 3)]
    (both,) = run.run(tiny, options)
    assert [row[0] for row in both.rows] == [LABELS[WITH], LABELS[WITHOUT], "difference"]
    known = rows.read(tmp_path / "replay.csv", Score)
    assert [(row.case, row.seed) for row in known] == [(name, seed) for name in (WITH, WITHOUT) for seed in range(3)]
    assert (tmp_path / "replay.svg").read_bytes().startswith(b"<?xml")
    monkeypatch.setattr(final_scores, "trained", None)
    assert run.run(tiny, options) == (both,)
    assert rows.read(tmp_path / "replay.csv", Score) == known

"""What replay buys, at tiny sizes."""

from dataclasses import replace

import pytest

from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.scores import Score
from rlkit.experiments.studies.replay import run
from rlkit.experiments.studies.replay.run import gain, main, outcome_table
from rlkit.experiments.studies.replay.settings import TRAININGS, WITH, WITHOUT


def test_the_two_differ_in_replay_alone():
    with_replay, without = (training.hyperparameters for training in TRAININGS.values())
    assert {name for name in with_replay if with_replay[name] != without[name]} == {"replay"}
    assert replace(TRAININGS[WITH], hyperparameters={}) == replace(TRAININGS[WITHOUT], hyperparameters={})
    assert len(TRAININGS[WITH].seeds) == 10


def test_the_gain_is_the_difference_of_means():
    known = [Score(name, "rlkit", seed, 1, earned + seed, None, 1.0) for name, earned in ((WITH, 9.0), (WITHOUT, 2.0))
             for seed in range(3)]  # fmt: skip
    assert gain(known).value == pytest.approx(7.0)
    assert outcome_table(known).rows[-1] == ("difference", gain(known))


def test_both_are_trained_once_and_drawn(tmp_path, monkeypatch):
    tiny = {name: replace(training, seeds=(0, 1, 2), steps=1200) for name, training in TRAININGS.items()}
    monkeypatch.setattr(run, "TRAININGS", tiny)
    arguments = ["--data", str(tmp_path), "--figure", str(tmp_path / "replay.png")]
    assert main(arguments) == 0
    known = rows.read(tmp_path / "replay.csv", Score)
    assert [(row.case, row.seed) for row in known] == [(name, seed) for name in (WITH, WITHOUT) for seed in range(3)]
    assert (tmp_path / "replay.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(run, "train", None)
    assert main(arguments) == 0
    assert rows.read(tmp_path / "replay.csv", Score) == known

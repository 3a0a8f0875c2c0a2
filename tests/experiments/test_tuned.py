"""The evaluation of the tuned presets at tiny sizes."""

import numpy as np
import pytest

from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common import scores as final_scores
from rlkit.experiments.studies.common.scores import Point, Score, curve
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.tuned import run
from rlkit.experiments.studies.tuned.run import is_met, verdict
from rlkit.experiments.studies.tuned.settings import CASES, Target, TunedCase
from rlkit.experiments.workflows.train import Training


def test_the_seeds_had_no_part_in_tuning():
    assert all(seed < 1000 for case in CASES for seed in case.training.seeds)
    assert all((case.training.preset == "tuned") != case.name.endswith(("-first", "-second")) for case in CASES)
    for case in CASES:
        assert len(case.training.seeds) == (30 if any(target.solved for target in case.targets) else 10)


def test_a_target_is_a_number_of_seeds_or_the_median():
    returns = np.array([500.0, 500.0, 475.0, 474.9])
    assert is_met(Target(475.0, solved=3), returns)
    assert not is_met(Target(475.0, solved=4), returns)
    assert is_met(Target(487.5), returns)
    assert not is_met(Target(487.6), returns)
    assert str(Target(475.0, solved=3)) == "475 by 3 seeds"
    assert str(Target(-80.0)) == "-80 by the median"


def test_failures_are_named():
    case = TunedCase("c", Training("CartPole-v1", "ppo", (0, 1), 10), (Target(475.0, solved=2), Target(400.0)))
    known = [Score("c", "rlkit", seed, 10, earned, None, 1.0) for seed, earned in ((0, 500.0), (1, 321.5))]
    counted, median = verdict([case, case._replace(name="no rows yet")], known).rows
    assert counted[-3:] == ("1: 321.5", "475 by 2 seeds", "missed")
    assert median[-1] == "met"


@pytest.mark.slow
def test_cases_are_trained_once_and_drawn(tmp_path, monkeypatch):
    case = TunedCase("tiny", Training("CartPole-v1", "a2c", (0, 1), 800, "tuned", num_envs=None), (Target(1.0),))
    monkeypatch.setattr(run, "CASES", (case,))
    (table,) = run.run([case], StudyOptions(tmp_path))
    assert [row[0] for row in table.rows] == ["tiny"]
    known = rows.read(tmp_path / "tuned.csv", Score)
    assert [(row.case, row.seed) for row in known] == [("tiny", 0), ("tiny", 1)]
    assert np.asarray(curve(rows.read(tmp_path / "curve-tiny.csv", Point)).y).shape[1] == 2
    assert (tmp_path / "curve-tiny.svg").read_bytes().startswith(b"<?xml")
    monkeypatch.setattr(final_scores, "trained", None)
    run.run([case], StudyOptions(tmp_path))
    assert rows.read(tmp_path / "tuned.csv", Score) == known

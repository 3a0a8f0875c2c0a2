"""The matched comparison at tiny sizes, and its statistics on rows that are made up."""

from dataclasses import replace

import numpy as np
import pytest

from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common import scores as final_scores
from rlkit.experiments.studies.common.scores import Score
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.matched import run
from rlkit.experiments.studies.matched.run import SB3, answer_of, difference_table, picture
from rlkit.experiments.studies.matched.settings import CASES, MatchedCase
from rlkit.experiments.workflows.compare import sb3_job_for
from rlkit.experiments.workflows.train import Training
from rlkit.statistics import difference_interval

ROWS = [
    Score("one", maker, seed, 10, float(seed + shift), None if shift else float(seed), 1.0)
    for maker, shift, count in (("rlkit", 0, 4), (SB3, 2, 3))
    for seed in range(count)
]


def test_the_difference_is_welchs_over_seeds():
    (line,) = difference_table(ROWS).rows  # nothing sampled on one side: one line
    assert line[:3] == ("one", "greedy", "4, 3")
    assert line[5:] == (difference_interval([0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 4.0]), None, None)  # a case without margin


def test_equal_means_are_equivalent_only_if_the_seeds_show_it():
    assert answer_of([99.0, 100.0, 101.0], [99.0, 100.0, 102.0], margin=25.0) == "equivalent"
    assert answer_of([0.0, 100.0, 200.0], [0.0, 100.0, 201.0], margin=25.0) == "undecided"
    assert answer_of([0.0, 1.0, 2.0], [99.0, 100.0, 102.0], margin=25.0) == "different"
    assert answer_of([500.0, 500.0], [500.0, 500.0], margin=25.0) == "undecided"  # no spread, no t


def test_margins_are_five_percent_of_the_range_of_returns():
    assert {case.name.partition("-")[0]: case.margin for case in CASES} == {"cartpole": 25.0, "acrobot": 20.0}
    (line,) = difference_table([replace(row, case="acrobot-dqn", sampled=None) for row in ROWS]).rows
    assert line[-2:] == (20.0, "equivalent")
    assert run.limits()["acrobot-dqn"] == (-500.0, 0.0)


def test_the_picture_has_a_panel_per_case_and_a_strip_per_side():
    others = [replace(row, case="two", sampled=5.0) for row in ROWS]
    panels = picture([*ROWS, *others]).axes
    assert [panel.get_title(loc="left") for panel in panels] == ["one", "two"]
    assert [len(panel.get_xticks()) for panel in panels] == [3, 4]


def test_every_case_can_be_ordered_and_has_the_seeds_asked_for():
    for case in CASES:
        agent = replace(case.training, seeds=(0,)).make_agent()
        assert sb3_job_for(case.training, agent.config, case.sb3_seeds).num_envs == agent.env.num_envs
        assert case.training.seeds == tuple(range(30))
        assert len(case.sb3_seeds) in (10, 30)
        assert case.sb3_seeds == case.training.seeds[: len(case.sb3_seeds)]


@pytest.mark.slow
def test_both_sides_are_trained_once(tmp_path, monkeypatch, capsys):
    tiny = MatchedCase("tiny", Training("CartPole-v1", "ppo", (0, 1), 512, "rl-zoo", num_envs=8), (5,), 25.0)
    options = StudyOptions(tmp_path)
    (table,) = run.run([tiny], options)
    known = rows.read(tmp_path / "matched.csv", Score)
    assert [(row.maker, row.seed, row.steps) for row in known] == [("rlkit", 0, 512), ("rlkit", 1, 512), (SB3, 5, 512)]
    assert all(np.isfinite([row.greedy, row.sampled, row.cpu_seconds]).all() for row in known)
    assert "progress -> 0.001 max(progress, 0)" in capsys.readouterr().out
    assert (tmp_path / "matched.svg").read_bytes().startswith(b"<?xml")
    monkeypatch.setattr(final_scores, "trained", None)  # nothing is left to train
    monkeypatch.setattr(run, "sb3_score", None)
    assert run.run([tiny], options) == (table,)
    assert rows.read(tmp_path / "matched.csv", Score) == known


@pytest.mark.slow
def test_one_side_alone_is_trained(tmp_path, monkeypatch):
    tiny = MatchedCase("tiny", Training("CartPole-v1", "ppo", (0, 1), 256, "rl-zoo", num_envs=8), (5,), 25.0)
    monkeypatch.setattr(run, "sb3_score", None)
    (table,) = run.run([tiny], StudyOptions(tmp_path, makers=("rlkit",)))
    assert [(row.maker, row.seed) for row in rows.read(tmp_path / "matched.csv", Score)] == [("rlkit", 0), ("rlkit", 1)]
    assert table.rows == ()  # nothing to compare with yet

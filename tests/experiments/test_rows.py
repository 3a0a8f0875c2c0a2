"""Rows of long experiments: written once, read as they were, and what they are made of."""

import numpy as np
import pytest
import torch

from rlkit.agents import A2C
from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.case_selection import chosen
from rlkit.experiments.studies.common.scores import (
    Point,
    Sampled,
    Score,
    curve,
    missing,
    of_case,
    points,
    rlkit_scores,
    scores,
)
from rlkit.experiments.studies.tuned.settings import CASES
from rlkit.experiments.workflows.policies import of_agent
from rlkit.experiments.workflows.train import Training, train

FIRST = Score("a", "rlkit", 3, 100, 0.1 + 0.2, None, 1.5)
SECOND = Score("a", "stable-baselines3", 3, 100, -80.0, 12.25, 1.5)


def test_what_is_appended_is_what_is_read(tmp_path):
    path = tmp_path / "new" / "rows.csv"
    assert rows.read(path, Score) == []
    rows.append(path, [FIRST])
    rows.append(path, [SECOND])
    assert rows.read(path, Score) == [FIRST, SECOND]  # to the bit
    assert path.read_text(encoding="utf-8").count("case,maker") == 1


def test_a_file_of_other_columns_is_refused(tmp_path):
    rows.append(tmp_path / "rows.csv", [Point(0, 10, None)])
    assert rows.read(tmp_path / "rows.csv", Point) == [Point(0, 10, None)]
    with pytest.raises(ValueError, match="move it away"):
        rows.read(tmp_path / "rows.csv", Score)


def test_what_has_a_row_is_not_missing():
    assert missing(range(2, 6), [FIRST, SECOND], "a", "rlkit") == (2, 4, 5)
    assert missing((3,), [FIRST], "b", "rlkit") == (3,)
    assert of_case([SECOND, FIRST], "a") == [FIRST]


def test_points_of_all_seeds_are_one_curve():
    measured = curve([Point(1, 20, 3.0), Point(0, 10, 1.0), Point(0, 20, None), Point(1, 10, 2.0)])
    assert measured.x == [10, 20]
    np.testing.assert_array_equal(measured.y, [[1.0, 2.0], [np.nan, 3.0]])


def test_cases_are_chosen_by_name():
    assert chosen([], CASES) == CASES
    assert [case.name for case in chosen(["ppo", "dqn"], CASES)] == ["ppo", "dqn"]
    with pytest.raises(ValueError, match="did you mean 'reinforce'"):
        chosen(["reinfroce"], CASES)
    with pytest.raises(ValueError, match="known are dqn"):
        chosen(["xyz"], CASES)


@pytest.mark.slow
def test_sampled_actions_follow_the_probabilities_and_are_drawn_anew():
    agent = A2C("CartPole-v1", seeds=(0, 1), device="cpu")
    obs = torch.zeros(2, 2000, 4)
    policy = Sampled(agent, agent.seeds, 2000)
    first, second = policy.act(obs), policy.act(obs)
    assert not torch.equal(first, second)
    share = torch.stack([first, second]).double().mean(dim=(0, 2))  # [S]
    torch.testing.assert_close(share, agent.action_probabilities(obs)[:, 0, 1].double(), atol=0.04, rtol=0.0)
    again = Sampled(agent, agent.seeds, 2000)
    assert torch.equal(again.act(obs), first)


@pytest.mark.slow
def test_a_row_is_what_evaluate_says_and_its_curve_is_the_history():
    training = Training("CartPole-v1", "a2c", (4, 5), 400, "tuned", num_envs=None)
    trained = train(training, training.make_agent())
    made = rlkit_scores("case", training, trained)
    assert [row.seed for row in made] == [4, 5]
    assert [row.greedy for row in made] == trained.agent.evaluate(100).mean(axis=1).tolist()
    assert all(row.sampled is not None and row.maker == "rlkit" and row.steps == 400 for row in made)
    measured, history = points(trained), trained.agent.history
    np.testing.assert_array_equal(np.round(history["episode_return"], 2), curve(measured).y)
    subject = of_agent(trained.agent, "CartPole-v1", {})
    assert [row.sampled for row in scores("case", subject, 400, [0.0, 0.0], stochastic=False, episodes=2)] == [None] * 2

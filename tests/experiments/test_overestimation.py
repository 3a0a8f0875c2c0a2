"""Action values beside what any policy can earn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlkit.agents import DQN
from rlkit.experiments.studies.overestimation import run as study
from rlkit.experiments.workflows.train import Training
from rlkit.planning import solve


def constant(agent: DQN, value: float) -> None:
    """Give every action this value in every state."""
    with torch.no_grad():
        agent.network.flat.zero_()
        list(agent.network.blocks.values())[-1].fill_(value)


def test_the_bound_is_v_star_on_a_lake_and_the_sum_of_rewards_for_ever_elsewhere() -> None:
    lake = Training("rlkit/GridWorld-v0", "dqn", (0, 1), 10, env_kwargs={"map": "frozenlake-4x4"})
    agent = lake.make_agent()
    constant(agent, 0.5)
    problem = study.finite_of(lake)
    states = [n for n in range(problem.mdp.num_states) if not problem.mdp.ended[n]]
    best = solve(problem.mdp, 0.99).value[states]
    np.testing.assert_allclose(study.excesses(agent, lake), np.tile(0.5 - best, (2, 1)), atol=1e-6)
    cartpole = Training("CartPole-v1", "dqn", (0, 1), 10)
    agent = cartpole.make_agent()
    constant(agent, 103.0)
    excess = study.excesses(agent, cartpole)
    assert excess.shape == (2, study.STATES)
    np.testing.assert_allclose(excess, 3.0, atol=1e-4)


def test_a_seed_has_most_states_above_if_more_than_half_are() -> None:
    experiment = study.CASES[1].experiment
    known = [
        study.ValueRow(run.cell, run.seed, 400.0, -1.0 if run.settings["double"] else 2.0, (run.seed - 1210) / 10)
        for run in experiment.runs
    ]
    plain, double, gap = study.outcome_table(known).rows
    assert plain[:3] == ("cartpole", "plain", 10)
    assert plain[3].value == pytest.approx(2.0)
    assert plain[5] == double[5] == 4  # 0.6 to 0.9
    assert gap[3].value == pytest.approx(-3.0)

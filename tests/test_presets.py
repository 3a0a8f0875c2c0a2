"""The tuned settings solve what they were tuned for, on seeds that they were not tuned on."""

import pytest

from rlkit.agents import A2C, DQN, PPO, REINFORCE


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "steps"), [(DQN, 100_000), (PPO, 100_000), (A2C, 300_000), (REINFORCE, 300_000)])
def test_the_tuned_preset_solves_cartpole(algorithm, steps):
    agent = algorithm("CartPole-v1", seeds=range(50, 54), device="cpu", preset="tuned").learn(steps)
    solved = agent.evaluate(100).mean(axis=1) >= 475
    assert solved.sum(axis=0) >= 3, agent.evaluate(100).mean(axis=1)

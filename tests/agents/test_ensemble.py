"""Many seeds as one policy."""

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy as sb3_evaluate_policy

from rlkit.agents import A2C, DQN, TabularQ
from rlkit.envs import GridWorld


def observations(count=50):
    return torch.randn(1, count, 4, generator=torch.Generator().manual_seed(0))


def test_action_values_are_averaged():
    agent = DQN("CartPole-v1", seeds=range(3), device="cpu")
    ensemble, obs = agent.ensemble(), observations()
    expected = agent.q_values(obs.expand(3, -1, -1)).mean(dim=0, keepdim=True)
    torch.testing.assert_close(ensemble.scores(obs).detach(), expected)
    assert torch.equal(ensemble.act(obs), expected.argmax(dim=-1))
    with pytest.raises(ValueError, match="greedy"):
        ensemble.act(obs, deterministic=False)


@pytest.mark.slow
def test_probabilities_are_averaged():
    agent = A2C("CartPole-v1", seeds=range(3), device="cpu", ortho_init=False)
    ensemble, obs = agent.ensemble(), observations()
    expected = agent.action_probabilities(obs.expand(3, -1, -1)).mean(dim=0, keepdim=True)
    torch.testing.assert_close(ensemble.scores(obs).exp().detach(), expected)
    many = obs[:, :1].expand(1, 20_000, 4)
    share = ensemble.act(many, deterministic=False).float().mean(dim=1)
    torch.testing.assert_close(share, expected[:, 0, 1], atol=0.015, rtol=0.0)


def test_an_ensemble_answers_what_an_agent_answers():
    obs = observations()
    values = DQN("CartPole-v1", seeds=range(3), device="cpu").ensemble()
    assert torch.equal(values.values(obs), values.q_values(obs).amax(dim=-1))
    with pytest.raises(ValueError, match="greedy"):
        values.action_probabilities(obs)
    agent = A2C("CartPole-v1", seeds=range(3), device="cpu", ortho_init=False)
    mean = agent.action_probabilities(obs.expand(3, -1, -1)).mean(dim=0, keepdim=True)
    torch.testing.assert_close(agent.ensemble().action_probabilities(obs), mean)
    with pytest.raises(RuntimeError, match="no action values"):
        agent.ensemble().q_values(obs)
    with pytest.raises(ValueError, match="at least 1"):
        agent.ensemble().evaluate(0)


@pytest.mark.parametrize("kind", [DQN, A2C])
def test_successive_rows_make_an_ensemble_each(kind):
    agent = kind("CartPole-v1", seeds=range(6), device="cpu")
    pairs, obs = agent.ensemble(members=2), observations()
    assert (pairs.num_seeds, pairs.seeds) == (3, (0, 2, 4))
    scores = pairs.scores(obs.expand(3, -1, -1)).detach()
    for row in range(3):
        alone = kind("CartPole-v1", seeds=(2 * row, 2 * row + 1), device="cpu").ensemble()
        torch.testing.assert_close(scores[row : row + 1], alone.scores(obs).detach())
    assert pairs.evaluate(2).shape == (3, 2)
    assert torch.equal(agent.ensemble(members=6).scores(obs), agent.ensemble().scores(obs))


@pytest.mark.parametrize("members", [0, 4, -1])
def test_groups_that_leave_rows_over_are_refused(members):
    with pytest.raises(ValueError, match=f"divide the number of seeds, which is 6, got {members}"):
        DQN("CartPole-v1", seeds=range(6), device="cpu").ensemble(members)


@pytest.mark.slow
def test_an_ensemble_of_one_is_its_agent():
    agent = A2C("CartPole-v1", seeds=[4], device="cpu").learn(500)
    np.testing.assert_array_equal(agent.ensemble().evaluate(5), agent.evaluate(5))


def test_an_ensemble_is_evaluated_by_stable_baselines3_and_attacked():
    ensemble = A2C("CartPole-v1", seeds=range(3), device="cpu").ensemble()
    assert ensemble.evaluate(4).shape == (1, 4)
    mean, _ = sb3_evaluate_policy(ensemble, gymnasium.make("CartPole-v1"), n_eval_episodes=2, warn=False)
    assert mean > 0
    obs = observations(5)
    scores = ensemble.scores(obs.requires_grad_())
    assert (torch.autograd.grad(scores.sum(), obs)[0] != 0).any()


@pytest.mark.slow
def test_what_agents_of_action_values_say_of_their_policy():
    agent = DQN("CartPole-v1", seeds=range(2), device="cpu", exploration_fraction=0.0, exploration_final_eps=0.2,
                learning_starts=0)  # fmt: skip
    obs = observations().expand(2, -1, -1)
    torch.testing.assert_close(agent.values(obs), agent.q_values(obs).amax(dim=-1))
    probabilities = agent.action_probabilities(obs)
    torch.testing.assert_close(probabilities.amax(dim=-1), torch.full((2, 50), 0.9))
    table = TabularQ(GridWorld("frozenlake-4x4"), seeds=range(3), device="cpu").learn(300)
    states = torch.arange(16)[None]
    expected = table.q_values(states.expand(3, -1)).mean(dim=0, keepdim=True)
    assert torch.equal(table.ensemble().scores(states), expected)

"""The seed axis: row s of a run of many seeds is, to the bit, the run of seed s alone."""

import math

import pytest
import torch

from rlkit.agents import DQN
from rlkit.envs import CartPole

SMALL = {
    "learning_rate": 1e-3,
    "learning_starts": 64,
    "batch_size": 16,
    "train_freq": 4,
    "gradient_steps": 2,
    "target_update_interval": 50,
    "net_arch": (32, 32),
    "buffer_size": 500,
}
STEPS = 1500


def trained(seeds, env="CartPole-v1", num_envs=1, **settings):
    agent = DQN(env, seeds=seeds, num_envs=num_envs, device="cpu", **{**SMALL, **settings})
    agent.learn(STEPS)
    return agent


def assert_same_run(agent, row, other, other_row):
    """Weights, target, moments, replay and returns of two rows are equal to the bit."""
    pairs = [
        (agent.network.flat, other.network.flat),
        (agent.target_network.flat, other.target_network.flat),
        (agent.optimizer.second, other.optimizer.second),
        *zip(agent.replay.state_dict().values(), other.replay.state_dict().values(), strict=True),
    ]
    for ours, theirs in pairs:
        if ours.dim() > 0:
            assert torch.equal(ours[row], theirs[other_row])
    ours, theirs = agent.history["episode_return"][:, row], other.history["episode_return"][:, other_row]
    assert ((ours == theirs) | ((ours != ours) & (theirs != theirs))).all()
    assert agent.evaluate(3)[row].tolist() == other.evaluate(3)[other_row].tolist()


@pytest.mark.parametrize(
    ("env", "num_envs", "settings"),
    [
        ("CartPole-v1", 1, {}),
        ("CartPole-v1", 3, {"train_freq": 5}),
        ("Acrobot-v1", 1, {"tau": 0.5}),
        ("CartPole-v1", 2, {"n_steps": 3, "gamma": 0.9}),
    ],
)
def test_a_row_of_eight_is_the_run_of_its_seed_alone(env, num_envs, settings):
    many = trained(range(8), env, num_envs, **settings)
    for row in (0, 3, 7):
        assert_same_run(many, row, trained([row], env, num_envs, **settings), 0)


def test_seeds_differ():
    flat = trained(range(8)).network.flat
    assert len(torch.unique(flat, dim=0)) == 8


def test_permuted_seeds_permute_the_results():
    order = [5, 0, 7, 2]
    forward, permuted = trained(range(8)), trained(order)
    for row, seed in enumerate(order):
        assert_same_run(permuted, row, forward, seed)


def test_rows_with_their_own_hyper_parameters_are_their_single_runs():
    own = {
        "learning_rate": [1e-3, 3e-4, 3e-3],
        "gamma": [0.99, 0.9, 0.95],
        "exploration_final_eps": [0.05, 0.2, 0.0],
        "exploration_fraction": [0.5, 0.0, 1.0],
        "tau": [1.0, 0.5, 0.1],
        "max_grad_norm": [10.0, 0.1, 1.0],
    }
    many = trained([4, 4, 9], **own)
    for row, seed in enumerate([4, 4, 9]):
        assert_same_run(many, row, trained([seed], **{name: values[row] for name, values in own.items()}), 0)


class Poisoned:
    """CartPole whose reward or observation turns NaN in the copies of one row from some step on."""

    def __init__(self, what):
        self.pole, self.what, self.steps = CartPole(), what, 0

    def __getattr__(self, name):
        return getattr(self.__dict__["pole"], name)

    observation_space = property(lambda self: self.pole.observation_space)
    action_space = property(lambda self: self.pole.action_space)
    initial_noise, transition_noise, max_steps = 4, 0, 500

    def initial(self, u):
        return self.pole.initial(u)

    def transition(self, state, action, u):
        self.steps += 1
        state, reward, terminated = self.pole.transition(state, action, u)
        if self.what == "reward" and self.steps == 500:
            reward[0] = math.nan
        return state, reward, terminated

    def observe(self, state):
        obs = self.pole.observe(state).copy()
        if self.what == "observation" and self.steps == 500:
            obs[0] = math.nan
        return obs


@pytest.mark.parametrize("what", ["parameter", "reward", "observation"])
def test_a_nan_stays_in_its_row_and_stops_it(what):
    clean = trained(range(4))
    agent = DQN(Poisoned(what), seeds=range(4), device="cpu", **SMALL)
    training = agent.training(STEPS, every=500)
    next(training)
    if what == "parameter":
        agent.network.flat[0, 10] = math.nan
    with pytest.warns(RuntimeWarning, match=r"seed 0 diverged at step \d+"):
        list(training)
    assert agent.active.tolist() == [False, True, True, True]
    assert 500 <= int(agent.diverged_at[0]) <= STEPS
    assert torch.equal(agent.network.flat[1:], clean.network.flat[1:])
    for name, value in agent.replay.state_dict().items():
        if value.dim() > 0:
            assert torch.equal(value[1:], clean.replay.state_dict()[name][1:])
    assert torch.isfinite(agent.network.flat[1:]).all()
    if what != "parameter":
        assert torch.isfinite(agent.network.flat[0]).all()  # frozen before the update that would have spoilt it

"""Tabular learners against exact values and against the rates that theory gives."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv

from rlkit.adversarial import OneHot
from rlkit.agents import TabularQ, load
from rlkit.envs import GridWorld, TabularDynamics
from rlkit.evaluation import evaluate_policy
from rlkit.exploration import epsilon_greedy_probs
from rlkit.mdp import TabularMDP
from rlkit.planning import evaluate, q_backup, solve
from rlkit.types import Transition


def garnet(seed, states=5, actions=3):
    """A random MDP whose every state can be reached from every other."""
    rng = np.random.default_rng(seed)
    shape = (states, actions, 3)
    chance = rng.dirichlet(np.ones(3), size=shape[:2])
    return TabularMDP(rng.integers(states, size=shape), chance, rng.normal(size=shape), np.zeros(shape, bool))


def at(state, action):
    """Transitions ``[S, B]`` from states by actions; where they lead and what they earn is in no update."""
    state, nothing = torch.tensor(state), torch.zeros_like(torch.tensor(state), dtype=torch.bool)
    return Transition(state, torch.tensor(action), nothing.float(), state, nothing, nothing)


def everywhere(agent):
    """Action values of all states, ``[S, N, A]``."""
    states = torch.arange(int(agent.observation_space.n)).expand(agent.num_seeds, -1)
    return agent.q_values(states).numpy()


EXPLORES = {"exploration_initial_eps": 1.0, "exploration_final_eps": 1.0}


@pytest.mark.slow
def test_q_learning_converges_to_the_exact_optimum():
    mdp, gamma = garnet(0), 0.7
    settings = {"gamma": gamma, "power": 0.7, "learning_rate": 1.0, **EXPLORES}
    agent = TabularQ(TabularDynamics(mdp), seeds=range(20), num_envs=4, device="cpu", **settings)
    exact = solve(mdp, gamma).q
    errors = [abs(everywhere(agent) - exact).max(axis=(1, 2)).mean() for _ in agent.training(20_000, every=4000)]
    assert errors[-1] < 0.15
    assert errors[-1] < 0.7 * errors[0]


@pytest.mark.slow
def test_the_error_of_averaged_updates_shrinks_as_n_to_the_gamma_minus_one():
    """One state that pays 1 for ever: e_n = e_(n-1) (1 - (1 - gamma) / n), so e_n / e_0 ~ n^-(1 - gamma)."""
    mdp = TabularMDP([[[0]]], [[[1.0]]], [[[1.0]]], [[[False]]])
    gammas = [0.5, 0.75]
    agent = TabularQ(TabularDynamics(mdp), seeds=[0, 0], device="cpu", gamma=gammas, power=1.0, learning_rate=1.0)
    for n in agent.training(400, every=100):
        for row, gamma in enumerate(gammas):
            expected = math.exp(math.lgamma(n + gamma) - math.lgamma(n + 1) - math.lgamma(gamma)) / (1 - gamma)
            assert 1 / (1 - gamma) - everywhere(agent)[row, 0, 0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_the_error_of_a_mean_shrinks_as_one_over_root_n():
    """gamma = 0 and rate 1 / n: the table is the mean of the rewards, whose error is sigma / sqrt(n)."""
    mdp = TabularMDP([[[0, 0]]], [[[0.5, 0.5]]], [[[-1.0, 1.0]]], [[[False, False]]])
    agent = TabularQ(TabularDynamics(mdp), seeds=range(400), device="cpu", gamma=0.0, power=1.0, learning_rate=1.0)
    for n in agent.training(400, every=100):
        rms = np.sqrt(np.square(everywhere(agent)[:, 0, 0]).mean(axis=0))
        assert rms == pytest.approx(1 / math.sqrt(n), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["sarsa", "expected-sarsa"])
def test_sarsa_converges_to_the_values_of_its_own_policy(algorithm):
    mdp, gamma, epsilon = garnet(1, states=3, actions=2), 0.6, 0.4
    settings = {
        "exploration_initial_eps": epsilon,
        "exploration_final_eps": epsilon,
        "power": 0.8,
        "learning_rate": 1.0,
    }
    agent = TabularQ(TabularDynamics(mdp), seeds=range(20), device="cpu", algorithm=algorithm, gamma=gamma, **settings)
    agent.learn(10_000)
    states = torch.arange(3).expand(20, -1)
    policy = agent.action_probabilities(states).numpy()
    own = np.stack([q_backup(mdp, evaluate(mdp, pi, gamma), gamma) for pi in policy])
    ours = abs(everywhere(agent) - own).max(axis=(1, 2)).mean()
    assert ours < 0.1
    assert ours < 0.5 * abs(everywhere(agent) - solve(mdp, gamma).q).max(axis=(1, 2)).mean()


@pytest.mark.parametrize("algorithm", ["q-learning", "sarsa", "expected-sarsa"])
def test_an_update_by_hand(algorithm):
    """Two states: 0 -(r 1)-> 1 -(r 2, ends)-> 0; a single action, so the three agree."""
    mdp = TabularMDP([[[1]], [[0]]], [[[1.0]]] * 2, [[[1.0]], [[2.0]]], [[[False]], [[True]]], [1.0, 0.0])
    agent = TabularQ(TabularDynamics(mdp), device="cpu", algorithm=algorithm, gamma=0.5, learning_rate=0.5)
    seen = []
    for _ in agent.training(4, every=1):
        seen.append(everywhere(agent)[0, :, 0].tolist())
    assert seen == [[0.5, 0.0], [0.5, 1.0], [1.0, 1.0], [1.0, 1.5]]


def test_a_time_limit_keeps_its_bootstrap():
    mdp = TabularMDP([[[0]]], [[[1.0]]], [[[1.0]]], [[[False]]], max_steps=2)
    agent = TabularQ(TabularDynamics(mdp), device="cpu", gamma=0.5, learning_rate=1.0).learn(40)
    assert everywhere(agent)[0, 0, 0] == pytest.approx(2.0)


@pytest.mark.slow
def test_a_row_of_eight_is_the_run_of_its_seed_alone():
    def trained(seeds, **own):
        settings = {"algorithm": "sarsa", "gamma": 0.95, "exploration_fraction": 0.5, **own}
        return TabularQ(TabularDynamics(garnet(2)), seeds=seeds, num_envs=3, device="cpu", **settings).learn(1500)

    many = trained(range(8))
    for row in (0, 5):
        alone = trained([row])
        assert torch.equal(alone.table.flat[0], many.table.flat[row])
        assert torch.equal(alone.updates[0], many.updates[row])
    assert len(torch.unique(many.table.flat, dim=0)) == 8
    own = trained([3, 3], learning_rate=[0.1, 0.5])
    assert torch.equal(own.table.flat[0], many.table.flat[3])
    assert torch.equal(own.table.flat[1], trained([3], learning_rate=0.5).table.flat[0])


def test_copies_that_meet_in_an_entry_move_it_by_their_mean():
    agent = TabularQ(GridWorld("frozenlake-4x4"), num_envs=3, device="cpu", learning_rate=0.5)
    agent.update(at([[1, 1, 2]], [[3, 3, 1]]), torch.tensor([[1.0, 3.0, 4.0]]).double())
    assert agent.table.flat[0, 7] == 1.0
    assert agent.table.flat[0, 9] == 2.0
    assert agent.updates[0, [7, 9]].tolist() == [1.0, 1.0]


def test_a_nan_stops_its_row_alone():
    agent = TabularQ(GridWorld("frozenlake-4x4"), seeds=range(2), device="cpu")
    agent.update(at([[0], [0]], [[0], [0]]), torch.tensor([[math.nan], [1.0]]).double())
    assert agent.active.tolist() == [False, True]
    assert torch.isfinite(agent.table.flat).all()
    assert float(agent.table.flat[1, 0]) == pytest.approx(0.1)


def test_greedy_mixture_by_hand():
    q = torch.tensor([[0.0, 3.0], [2.0, 1.0]])
    torch.testing.assert_close(
        epsilon_greedy_probs(q, torch.tensor([0.2, 1.0])), torch.tensor([[0.1, 0.9], [0.5, 0.5]])
    )


def test_a_table_from_a_file_and_that_of_a_row_learn_on_at_their_rate(tmp_path, monkeypatch):
    """gamma = 0 and rate 1 / n: the table is the mean of the rewards, also across the file."""
    mdp = TabularMDP([[[0, 0]]], [[[0.5, 0.5]]], [[[-1.0, 1.0]]], [[[False, False]]])
    env, path = TabularDynamics(mdp), tmp_path / "table.safetensors"
    agent = TabularQ(env, seeds=range(3), device="cpu", gamma=0.0, power=1.0, learning_rate=1.0).learn(100)
    agent.save(path)
    loaded, row = TabularQ.load(path, env, device="cpu"), agent[2]
    assert torch.equal(loaded.updates, agent.updates)
    assert torch.equal(row.updates, agent.updates[2:])
    for again, before in ((loaded, everywhere(agent)), (row, everywhere(agent)[2:])):
        np.testing.assert_array_less(abs(everywhere(again.learn(1)) - before), 2.0 / 101.0 + 1e-12)
    monkeypatch.setattr(TabularQ, "saved", ())  # as before files had counts
    agent.save(path)
    monkeypatch.undo()
    without = TabularQ.load(path, env, device="cpu")
    assert np.array_equal(everywhere(without), everywhere(agent))
    assert without.updates.sum() == 0.0


def test_it_saves_and_refuses(tmp_path):
    agent = TabularQ(GridWorld("frozenlake-4x4"), seeds=range(2), device="cpu").learn(200)
    agent.save(tmp_path / "table.safetensors")
    again = load(tmp_path / "table.safetensors", env=GridWorld("frozenlake-4x4"), device="cpu")
    assert np.array_equal(everywhere(again), everywhere(agent))
    assert agent[1].evaluate(3).tolist() == agent.evaluate(3)[1:].tolist()
    with pytest.raises(ValueError, match="Discrete"):
        TabularQ("CartPole-v1", device="cpu")
    with pytest.raises(ValueError, match="algorithm"):
        TabularQ(GridWorld("frozenlake-4x4"), algorithm="q", device="cpu")
    with pytest.raises(ValueError, match="learning_rate"):
        TabularQ(GridWorld("frozenlake-4x4"), learning_rate=1.5, device="cpu")


def test_what_is_no_state_is_refused():
    agent = TabularQ(GridWorld("frozenlake-4x4"), seeds=[0, 1], device="cpu")
    with pytest.raises(ValueError, match="obs must have one row per seed, 2, got 1"):
        agent.act([[3]])
    for wrong in ([[3.7]], torch.tensor([[3.7], [2.0]]), torch.zeros(2, 1, 15)):
        with pytest.raises(ValueError, match=r"which does not fit Discrete\(16\)"):
            agent.act(wrong)
    for wrong in (-1, 16):
        with pytest.raises(ValueError, match=rf"obs has state {wrong}, which is not in Discrete\(16\)"):
            agent.q_values(torch.tensor([[0], [wrong]]))
    with pytest.raises(ValueError, match="action_mask allows no action in row 1, copy 0"):
        agent.act(torch.zeros(2, 1, dtype=torch.int64), action_mask=torch.tensor([[[True] * 4], [[False] * 4]]))


def test_a_state_may_be_given_as_its_code():
    agent = TabularQ(GridWorld("frozenlake-4x4"), seeds=[0, 1], device="cpu").learn(500)
    states = torch.arange(16).expand(2, -1)
    victim = OneHot(agent)
    assert torch.equal(victim.act(states), agent.act(states))
    assert torch.equal(victim.scores(states), agent.scores(states))
    half = 0.5 * (victim.encode(states[:, :1]) + victim.encode(states[:, 1:2])).double()
    torch.testing.assert_close(agent.scores(half), agent.scores(states[:, :2]).mean(dim=1, keepdim=True))


@pytest.mark.slow
def test_components_are_the_digits_of_a_state():
    class Grid(gymnasium.Env):
        """Every state of three components once, the last one fastest."""

        observation_space = spaces.Tuple([spaces.Discrete(3, start=1), spaces.Discrete(2), spaces.Discrete(4)])
        action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            self.time = 0
            return (1, 0, 0), {}

        def step(self, action):
            self.time += 1
            first, second, third = np.unravel_index(self.time, (3, 2, 4))
            return (1 + first, second, third), float(action), self.time == 23, False, {}

    agent = TabularQ(Grid, device="cpu", exploration_fraction=1.0)
    assert agent.observation_space == spaces.MultiDiscrete([3, 2, 4], start=[1, 0, 0])
    seen = torch.stack(
        [agent.env.obs[0, 0], *(agent.env.step(torch.zeros(1, 1).long()).next_obs[0, 0] for _ in range(23))]
    )
    agent.table.flat.view(1, 24, 2)[0, :, 0] = torch.arange(24.0)
    assert agent.scores(seen[None])[0, :, 0].tolist() == list(range(24))
    agent = TabularQ(Grid, device="cpu", exploration_fraction=1.0).learn(2000)
    assert evaluate_policy(agent, Grid(), 1) == evaluate_policy(agent, SyncVectorEnv([Grid] * 2), 2) == (23.0, 0.0)
    assert agent.predict((3, 1, 2), deterministic=True)[0] == 1
    with pytest.raises(ValueError, match=r"obs has state \[0, 0, 0\], which is not in MultiDiscrete"):
        agent.predict((0, 0, 0), deterministic=True)
    Grid.observation_space = spaces.MultiDiscrete([10_000, 10_000, 1])
    with pytest.raises(ValueError, match="has 100,000,000 states, too many for a table: use DQN"):
        TabularQ(Grid, device="cpu")


@pytest.mark.parametrize("target", [float("inf"), float("-inf"), float("nan")])
def test_a_target_that_is_not_finite_stops_its_row_whatever_its_sign(target):
    agent = TabularQ(GridWorld("cliff"), seeds=2, num_envs=2, device="cpu")
    transition, targets = agent.play()
    targets[1] = target
    agent.update(transition, targets)
    assert agent.active.tolist() == [True, False]

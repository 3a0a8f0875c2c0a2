"""WocaR-DQN: DQN where the worst case has no weight, its targets by hand, and worst cases in closed form."""

import numpy as np
import pytest
import torch
from trained_rows import kept, trained

from rlkit.adversarial import Budget, bracket
from rlkit.agents import DQN, WocaRDQN, load
from rlkit.envs import GridWorld, TabularDynamics
from rlkit.mdp import TabularMDP


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"double": True},
        {"dueling": True, "priority_exponent": 0.6, "n_steps": 3},
        {"tau": 0.5, "target_clock": "updates", "target_update_interval": 5, "loss": "squared"},
        {"normalize_observations": True, "normalize_rewards": True},
    ],
)
def test_without_weight_it_is_dqn_to_the_bit_with_an_attack_and_without(settings):
    plain = trained(DQN, range(2), **settings)
    found = trained(WocaRDQN, range(2), **{"attack_epsilon": [0.0, 0.1], "worst_case_weight": 0.0, **settings})
    kept_by_dqn = kept(plain)
    for name, tensor in kept(found).items():
        if name in kept_by_dqn:
            assert torch.equal(tensor, kept_by_dqn[name]), name
    for name, logged in plain.history.items():
        np.testing.assert_array_equal(found.history[name], logged, err_msg=name)
    moved = found.worst_network.flat - found.make_network(network_index=2).flat
    assert (moved != 0).any(dim=1).all()


def test_the_worst_case_target_network_follows_its_own_network():
    agent = WocaRDQN("CartPole-v1", seeds=2, device="cpu", tau=[0.3, 1.0])
    before = agent.worst_target_network.flat.clone()
    agent.worst_network.flat += 1.0
    agent._update_target(2)
    moved = agent.worst_target_network.flat - before
    torch.testing.assert_close(moved, torch.tensor([[1.0 - 0.7**2], [1.0]]).expand_as(moved))
    assert torch.equal(agent.target_network.flat[1], agent.network.flat[1])
    assert (agent.worst_network.flat - 1.0 - agent.network.flat != 0).any(dim=1).all()  # drawn by another stream


def test_the_weight_grows_linearly():
    agent = WocaRDQN("CartPole-v1", seeds=3, device="cpu", worst_case_weight=[0.5, 1.0, 0.2],
                     worst_case_fraction=[0.5, 1.0, 0.0])  # fmt: skip
    agent.training_state.end = 100
    found = []
    for done in (0, 25, 50, 100):
        agent.training_state.timesteps = done
        found.append(agent.weight().tolist())
    expected = [[0.0, 0.0, 0.2], [0.25, 0.25, 0.2], [0.5, 0.5, 0.2], [0.5, 1.0, 0.2]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("double", [False, True])
def test_targets_are_those_of_a_loop_by_hand(double):
    """Linear networks, whose bounds over a ball are ``Q(x) -+ epsilon |scale w|_1``."""
    epsilon, scale, kappa = [0.1, 1.0], (0.44, 0.33, 0.037, 0.23), [0.3, 0.8]
    settings = {"network": "linear", "double": double, "attack_epsilon": epsilon, "attack_scale": scale}
    agent = WocaRDQN("CartPole-v1", seeds=2, device="cpu", learning_starts=0, worst_case_weight=kappa,
                     worst_case_fraction=0.0, batch_size=64, **settings)  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    networks = (agent.network, agent.target_network, agent.worst_network, agent.worst_target_network)
    for network in networks:
        network.flat.copy_(torch.randn(network.flat.shape, generator=generator))
    agent.training_state.end = 1000
    agent._start()
    agent.collect(200)
    sampled = agent.sample(1)
    batch, y, worst = sampled.transition, agent.target(*sampled[:2]), agent.worst_target(*sampled[:2])
    assert batch.terminated.any()
    sizes = set()
    for row in range(2):
        online, target, worst_online, worst_target = (affine(network, row) for network in networks)
        choosing, choosing_worst = (online, worst_online) if double else (target, worst_target)
        radius = epsilon[row] * (np.array(scale)[:, None] * np.abs(choosing[0])).sum(axis=0)
        for m, x in enumerate(batch.next_obs[row].double().numpy()):
            q, q_worst = (x @ w + b for w, b in (choosing, choosing_worst))
            provoked = [a for a in range(2) if q[a] + radius[a] >= (q - radius).max()]
            chosen = ((1 - kappa[row]) * q + kappa[row] * q_worst).argmax()
            reward, going_on = float(batch.reward[row, m]), 0.99 * (not batch.terminated[row, m])
            expected = reward + going_on * (x @ target[0] + target[1])[chosen]
            expected_worst = reward + going_on * (x @ worst_target[0] + worst_target[1])[provoked].min()
            assert float(y[row, m]) == pytest.approx(expected, abs=1e-4)
            assert float(worst[row, m]) == pytest.approx(expected_worst, abs=1e-4)
            sizes.add(len(provoked))
    assert sizes == {1, 2}


def affine(network, row):
    """Weights ``[D, A]`` and biases ``[A]`` of a row of linear networks."""
    weights, biases = (parameter[row].detach().double().numpy() for parameter in network.parameters)
    return weights, biases[0]


# From state 2 one may end with 0.3, or go on to state 0; there end with 0.5, or earn 1 and go on to state 1, where the
# two actions end with 1 and -5.
RISK = TabularMDP(
    successor=np.array([[1, 0], [1, 1], [0, 2]])[..., None],
    probability=np.ones((3, 2, 1)),
    reward=np.array([[1.0, 0.5], [1.0, -5.0], [0.0, 0.3]])[..., None],
    terminated=np.array([[False, True], [True, True], [False, True]])[..., None],
)


@pytest.mark.slow
def test_worst_case_values_of_a_table_reach_their_closed_forms():
    """Rows: no attack; every action can be provoked; and the worst case decides half of the choice."""
    settings = {"network": "linear", "loss": "squared", "learning_rate": 0.02, "learning_rate_schedule": "linear"}
    clock = {"learning_starts": 50, "train_freq": 1, "num_envs": 4, "target_update_interval": 100}
    agent = WocaRDQN(
        TabularDynamics(RISK), seeds=[0, 0, 0], device="cpu", gamma=0.9, exploration_fraction=1.0,
        exploration_final_eps=1.0, attack_epsilon=[0.0, 10.0, 10.0], worst_case_weight=[0.0, 0.0, 0.5],
        worst_case_fraction=0.0, **settings, **clock,
    ).learn(12_000)  # fmt: skip
    states = torch.arange(3).expand(3, -1)
    risky = [[1.9, 0.5], [1.0, -5.0], [0.9 * 1.9, 0.3]]
    aware = [[1.9, 0.5], [1.0, -5.0], [0.9 * 0.5, 0.3]]  # the action of the target in state 0 is the second one
    torch.testing.assert_close(agent.q_values(states), torch.tensor([risky, risky, aware]), atol=0.03, rtol=0)
    worst = [[1.0 - 4.5, 0.5], [1.0, -5.0], [0.9 * (1.0 - 4.5), 0.3]]
    torch.testing.assert_close(agent.worst_q_values(states), torch.tensor([risky, worst, worst]), atol=0.06, rtol=0)
    assert agent.act(states).tolist() == [[0, 0, 0]] * 3  # greedy in Q alone


@pytest.mark.slow
def test_the_worst_case_learned_lies_below_the_exact_one():
    """Interval bounds allow an attack more than it can do, so what is learned is lower."""
    world = GridWorld("S..G", observation="coordinates", max_steps=20)
    settings = {"net_arch": (16,), "learning_rate": 3e-3, "batch_size": 32, "target_update_interval": 100}
    agent = WocaRDQN(world, seeds=2, device="cpu", gamma=0.9, exploration_fraction=1.0, exploration_final_eps=0.5,
                     attack_epsilon=0.2, worst_case_weight=0.0, **settings).learn(8_000)  # fmt: skip
    obs = agent.evaluation_env(1).obs
    learned = agent.worst_q_values(obs).gather(-1, agent.act(obs)[..., None]).flatten()
    exact = torch.as_tensor(bracket(world, agent, Budget(0.2), gamma=0.9).at_start()["lower"])
    assert (learned <= exact + 0.05).all()
    assert (learned <= agent.values(obs).flatten() + 0.05).all()


def test_a_policy_that_is_loaded_has_both_networks_and_acts_alike(tmp_path):
    agent = trained(WocaRDQN, [3, 8])
    agent.save(tmp_path / "policy")
    loaded, obs = load(tmp_path / "policy", device="cpu"), torch.linspace(-1, 1, 40).reshape(2, 5, 4)
    assert isinstance(loaded, WocaRDQN)
    for each in (loaded, agent[1]):
        rows = slice(0, 2) if each is loaded else slice(1, 2)
        assert torch.equal(each.worst_q_values(obs[rows]), agent.worst_q_values(obs)[rows])
        assert torch.equal(each.act(obs[rows]), agent.act(obs)[rows])

"""The variants of DQN: each piece by hand or by brute force, and each option at work."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlkit.agents import DQN
from rlkit.envs.probes import PROBES
from rlkit.losses import double_q_target, q_learning_target
from rlkit.nn import MLP, Dueling
from rlkit.replay import Priorities, ReplayBuffer
from rlkit.types import Transition, segment

# Targets, losses and the dueling network


def test_double_q_learning_by_hand():
    reward, terminated = torch.tensor([1.0, 1.0]), torch.tensor([False, True])
    online = torch.tensor([[5.0, 4.0], [math.nan, 0.0]])
    target = torch.tensor([[2.0, 8.0], [math.nan, math.nan]])
    assert double_q_target(reward, terminated, online, target, 0.5).tolist() == [2.0, 1.0]
    assert q_learning_target(reward, terminated, target, 0.5).tolist() == [5.0, 1.0]
    agreed = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    zeros = torch.zeros(7)
    plain = q_learning_target(zeros, zeros.bool(), agreed, 0.9)
    torch.testing.assert_close(double_q_target(zeros, zeros.bool(), agreed, agreed, 0.9), plain)


def test_a_dueling_network_is_value_plus_centered_advantage():
    network = Dueling(MLP((4, 8, 3), range(2)), MLP((4, 8, 1), range(2), network_index=1))
    x = torch.randn(2, 20, 4, generator=torch.Generator().manual_seed(0))
    q, pullback = network.vjp(x)
    torch.testing.assert_close(q, network(x).detach())
    torch.testing.assert_close(q.mean(dim=2), network.value(x)[..., 0].detach())
    loss = network(x).square().sum()
    parts = [network.advantage.gradient, network.value.gradient]
    expected = torch.cat([parts[0](loss), parts[1](network(x).square().sum())], dim=1)
    torch.testing.assert_close(network.gradient(network(x).square().sum()), expected)
    torch.testing.assert_close(pullback(2.0 * q), expected)
    twin = network.copy()
    network.flat.add_(1.0)
    assert torch.equal(twin(x).detach(), q)


# Priorities


@pytest.mark.slow
@given(st.integers(1, 30), st.integers(0, 70), st.floats(0, 1), st.integers(0, 10**6))
def test_slots_are_chosen_in_proportion_to_their_priorities(capacity, added, alpha, seed):
    rng = np.random.default_rng(seed)
    priorities = Priorities(capacity, torch.tensor([alpha, 1.0], dtype=torch.float64))
    added = max(added, 1)
    for count in rng.multinomial(added, [0.5, 0.3, 0.2]):
        if count:
            priorities.add(int(count))
    size = min(added, capacity)
    slots = rng.choice(size, max(size // 2, 1), replace=False)
    p = np.ones((2, size))
    p[:, slots] = rng.uniform(0.01, 3.0, (2, len(slots)))
    priorities.update(torch.from_numpy(slots).expand(2, -1), torch.from_numpy(p[:, slots]))
    chance = p ** np.array([[alpha], [1.0]])
    chance /= chance.sum(axis=1, keepdims=True)
    u = np.sort(rng.random((2, 40)), axis=1)
    slot, probability = priorities.choose(torch.from_numpy(u))
    for s in range(2):
        expected = np.minimum(np.searchsorted(np.cumsum(chance[s]), u[s], side="right"), size - 1)
        assert slot[s].tolist() == expected.tolist()
        np.testing.assert_allclose(probability[s], chance[s, expected], rtol=1e-9)
    ends = priorities.choose(torch.tensor([[0.0, 1 - 2.0**-53]] * 2, dtype=torch.float64))[1]
    assert (ends > 0).all()


@pytest.mark.parametrize("steps", [2, 5, 9])
def test_a_slot_is_read_from_the_replay_that_it_stands_for(steps):
    def transition(t):
        value = torch.arange(4).view(2, 2) + 10.0 * t
        false = torch.zeros(2, 2, dtype=torch.bool)
        return Transition(value[..., None], value.long(), value, value[..., None], false, false)

    replay, priorities = ReplayBuffer(7, transition(0)), Priorities(7, torch.ones(2))
    for t in range(steps):
        replay.add(segment([transition(t)]))
        priorities.add(2)
    slots = torch.arange(min(2 * steps, 7)).expand(2, -1)
    read = replay.at(priorities.number(slots))
    ring = replay.state_dict()["reward"][:, : slots.shape[1]]
    assert torch.equal(read.reward, ring)


def test_importance_weights_by_hand():
    priorities = Priorities(10, torch.ones(2))
    priorities.add(4)
    weight = priorities.importance(torch.tensor([[0.1, 0.4]] * 2), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(weight, torch.tensor([[1.0, 0.25], [1.0, 1.0]]), check_dtype=False)


def test_with_full_correction_the_expected_gradient_is_the_uniform_one():
    """sum P w f = max-scaled mean of f, whatever the priorities."""
    priorities = Priorities(6, torch.ones(1))
    priorities.add(6)
    p = torch.tensor([[0.5, 2.0, 1.0, 4.0, 0.1, 3.0]], dtype=torch.float64)
    priorities.update(torch.arange(6)[None], p)
    probability = p / p.sum(dim=1, keepdim=True)
    f = torch.tensor([[3.0, -1.0, 4.0, 1.0, -5.0, 9.0]], dtype=torch.float64)
    weight = priorities.importance(probability, torch.ones(1))
    scale = (6 * probability.min()) ** -1
    torch.testing.assert_close((probability * weight * scale * f).sum(dim=1), f.mean(dim=1))


def test_importance_weights_scale_the_gradient(monkeypatch):
    agent = DQN("CartPole-v1", seeds=range(2), device="cpu", priority_exponent=0.6, learning_starts=0, batch_size=8)
    agent.training_state.end = 1000
    agent._start()
    agent.collect(20)
    batch, gradients = agent.memory.sample(agent._sample.take(1)), []

    def kept(optimizer, gradient, *_):
        gradients.append(gradient.clone())
        return gradient.norm(dim=1)

    monkeypatch.setattr(agent, "gradient_step", kept)
    for weights in ([1.0, 1.0], [0.25, 0.5]):
        weighted = batch._replace(importance=torch.tensor(weights).double()[:, None].expand(2, 8))
        monkeypatch.setattr(agent.memory, "sample", lambda *_, weighted=weighted: weighted)
        agent.update()
    assert (gradients[0].norm(dim=1) > 0).all()
    torch.testing.assert_close(gradients[1], torch.tensor([[0.25], [0.5]]) * gradients[0])


def test_priorities_grow_and_come_back():
    priorities = Priorities(5, torch.tensor([0.5]))
    priorities.add(3)
    priorities.update(torch.tensor([[1]]), torch.tensor([[4.0]]))
    u = torch.linspace(0, 0.99, 50, dtype=torch.float64)[None]
    before = priorities.choose(u)
    again = Priorities(5, torch.tensor([0.5]))
    again.load_state(priorities.state_dict())
    priorities.grow(40)
    for other in (priorities, again):
        assert torch.equal(other.choose(u)[0], before[0])
        assert float(other.largest) == 4.0
    priorities.add(1)
    assert float(priorities.choose(torch.tensor([[0.9]]).double())[1]) == pytest.approx(2 / 6)


# Options at work

VARIANTS = [
    {"double": True},
    {"dueling": True},
    {"priority_exponent": 0.6},
    {"loss": "squared"},
    {"target_clock": "updates"},
    {"double": True, "dueling": True, "priority_exponent": (0.6, 0.0, 1.0), "n_steps": 2},
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in PROBES),
        ("delayed-reward", {"n_steps": 3}),
        *((name, settings) for name in ("action-observation-reward", "truncation") for settings in VARIANTS),
    ],
    ids=str,
)
def test_the_probes_are_learned_to_their_exact_values(name, settings):
    probe = PROBES[name]()
    agent = DQN(
        f"rlkit/probe-{name}",
        seeds=range(3),
        device="cpu",
        learning_rate=3e-3,
        learning_rate_schedule="linear",
        gamma=0.8,
        learning_starts=64,
        train_freq=1,
        target_update_interval=20,
        exploration_fraction=1.0,
        exploration_final_eps=0.5,
        net_arch=(32,),
        **settings,
    ).learn(1200 if settings in ({}, {"n_steps": 3}) else 800)
    observations = torch.from_numpy(probe.observations()).expand(3, -1, -1)
    exact = np.broadcast_to(probe.q_values(0.8), (3, *probe.q_values(0.8).shape))
    np.testing.assert_allclose(
        agent.q_values(observations).numpy(), exact, atol=0.15 if settings in ({}, {"n_steps": 3}) else 0.2
    )


def test_without_replay_a_minibatch_is_the_latest_transitions():
    agent = DQN("CartPole-v1", seeds=range(2), num_envs=2, device="cpu", replay=False, batch_size=6, buffer_size=20)
    agent.training_state.end = 1000
    agent._start()
    agent.collect(13)  # the ring has wrapped
    batch = agent.memory.sample(torch.empty(2, 2, 6)).transition
    stored = agent.memory.replay.state_dict()["obs"]
    newest = [(26 - 6 + i) % 20 for i in range(6)] * 2
    assert torch.equal(batch.obs, stored[:, newest])
    assert torch.equal(batch.next_obs[:, -2:], agent.env.obs)


def test_one_coin_for_all_copies_or_one_for_each():
    def explored(single):
        chance = {"learning_starts": 0, "exploration_fraction": 0.0, "exploration_final_eps": 0.5}
        agent = DQN("CartPole-v1", num_envs=8, device="cpu", single_coin=single, **chance)
        agent.training_state.end = 1000
        agent._start()
        agent.network.flat.zero_()  # the greedy action is 0
        agent.collect(40)
        action = agent.memory.replay.state_dict()["action"][0, :320].view(40, 8)
        return (action == 1).any(dim=1).float().mean(dim=0)  # steps at which some copy left the greedy action

    assert 0.35 < float(explored(True)) < 0.65
    assert float(explored(False)) > 0.85


def test_the_target_network_counts_updates_if_asked_to():
    agent = DQN("CartPole-v1", device="cpu", target_clock="updates", target_update_interval=5, learning_starts=8,
                train_freq=8, gradient_steps=7, batch_size=4, engine="torch")  # fmt: skip
    moved = []
    move = agent._update_target
    agent._update_target = lambda ticks: (moved.append((agent._updates, ticks)), move(ticks))
    agent.learn(40)  # updates begin after 16 steps: 4 x 7
    assert [updates for updates, ticks in moved if ticks] == [5, 10, 15, 20, 25]
    assert agent._updates == 28
    assert agent.history["td_error"].shape[1] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"priority_exponent": 0.5, "replay": False}, "needs a replay"),
        ({"priority_exponent": 1.5}, "priority_exponent"),
        ({"priority_beta": -0.1}, "priority_beta"),
        ({"loss": "absolute"}, "loss"),
        ({"target_clock": "hours"}, "target_clock"),
    ],
)
def test_bad_settings_are_refused_when_the_agent_is_made(settings, message):
    with pytest.raises(ValueError, match=message):
        DQN("CartPole-v1", device="cpu", **settings)

"""DQN against known values, hand-computed updates and stable-baselines3's clocks."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_updates import linear_layers, sb3_in_double
from stable_baselines3 import DQN as SB3DQN
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from rlkit.agents import DQN
from rlkit.envs import GridWorld
from rlkit.losses import huber, td_error
from rlkit.nn import Adam
from rlkit.planning import backward_induction, evaluate_finite, start_value
from rlkit.replay import ReplayBuffer, as_observed, as_stored
from rlkit.replay.buffer import TERMINATED, TRUNCATED
from rlkit.types import Transition, segment

FIELDS = ("obs", "action", "reward", "next_obs", "terminated", "truncated")


def test_the_loss_by_hand():
    q = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    action, target = torch.tensor([[1, 0]]), torch.tensor([[2.5, 13.0]])
    # errors -0.5 and -10: 0.5 * 0.25 and 10 - 0.5, mean over the minibatch
    assert huber(td_error(q, action, target)).mean(dim=1).tolist() == [(0.125 + 9.5) / 2]


@pytest.mark.slow
def test_epsilon_and_target_clock_are_stable_baselines3s():
    """stable-baselines3 is stepped; at every step its exploration rate and its count of target updates are read."""
    settings = {
        "learning_starts": 0,
        "train_freq": 4,
        "target_update_interval": 30,
        "exploration_fraction": 0.3,
        "exploration_final_eps": 0.1,
    }
    rates, updates = [], []
    reference = SB3DQN("MlpPolicy", gymnasium.make("CartPole-v1"), device="cpu", seed=0, **settings)
    on_step = reference._on_step

    def watched():
        before = next(iter(reference.q_net_target.parameters())).clone()
        on_step()
        rates.append(reference.exploration_rate)
        updates.append(not torch.equal(before, next(iter(reference.q_net_target.parameters()))))

    reference._on_step = watched
    reference.learn(200)

    agent = DQN("CartPole-v1", device="cpu", **settings)
    agent.training_state.end = 200
    agent._start()
    ours, ours_updates = [], []
    for step in range(200):
        before = agent.target_network.flat.clone()
        agent.collect()
        ours.append(float(agent.epsilon()))
        ours_updates.append(not torch.equal(before, agent.target_network.flat))
        if step % 4 == 3:
            agent.update()
    np.testing.assert_allclose(ours, rates, atol=1e-6)
    assert ours_updates == updates
    assert sum(updates) == 6


def test_an_update_is_the_formula():
    """Loss, clipped gradient and Adam's first step, with autograd on a plain torch module as the oracle."""
    agent = DQN("CartPole-v1", seeds=[3], device="cpu", learning_starts=0, max_grad_norm=0.5, learning_rate=1e-2)
    agent.training_state.end = 1000
    agent._start()
    for _ in range(40):
        agent.collect()
    agent.network.flat += 0.1  # away from the target network
    online, target = agent.network.as_module(0), agent.target_network.as_module(0)
    for module, stack in ((online, agent.network), (target, agent.target_network)):
        probe = torch.randn(5, 4)
        torch.testing.assert_close(module(probe), stack(probe[None])[0].detach())
    counter = agent._sample.state_dict()
    batch = agent.memory.replay.sample(agent._sample.next())
    agent._sample.load_state(counter)

    y = batch.reward[0] + 0.99 * ~batch.terminated[0] * target(batch.next_obs[0]).max(dim=1).values
    chosen = online(batch.obs[0])[torch.arange(32), batch.action[0]]
    loss = torch.nn.functional.smooth_l1_loss(chosen, y.detach())
    adam = torch.optim.Adam(online.parameters(), lr=1e-2)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(online.parameters(), 0.5)
    adam.step()
    agent.record_updates(agent.update())
    probe = torch.randn(50, 4)
    torch.testing.assert_close(agent.network(probe[None])[0].detach(), online(probe).detach(), atol=1e-4, rtol=1e-4)
    assert float(agent.training_state.means.read()["loss"][0]) == pytest.approx(float(loss.detach()), rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"max_grad_norm": 0.05}, {"n_steps": 3, "gamma": 0.9}])
def test_an_update_is_stable_baselines3s(settings, monkeypatch):
    """With its weights and the same minibatches: targets, losses and all parameters after each of three updates."""
    settings = {"learning_starts": 0, "batch_size": 64, "learning_rate": 1e-2, **settings}
    agent = DQN("CartPole-v1", env_kwargs={"max_steps": 18}, seeds=[3], device="cpu", **settings)
    agent.training_state.end = 1000
    agent._start()
    agent.collect(200)
    assert (agent.memory.replay.state_dict()["flags"][0, :200] & TRUNCATED).any()
    reference = sb3_in_double(SB3DQN, target_update_interval=10**6, **settings)
    for network in (agent.network, agent.target_network):  # the SB3 weights, in the order of rlkit and in double
        network.place(network.flat.double())
    for network, module in ((agent.network, reference.q_net), (agent.target_network, reference.q_net_target)):
        with torch.no_grad():
            for layer, weights, biases in zip(
                linear_layers(module.q_net), *[iter(network.blocks.values())] * 2, strict=True
            ):
                weights[0].copy_(layer.weight.T)
                biases[0, 0].copy_(layer.bias)
    agent.target_network.flat += 0.1
    with torch.no_grad():
        for parameter in reference.q_net_target.parameters():
            parameter += 0.1
    agent.optimizer = Adam(agent.network.flat)
    for name in vars(agent.per_row):
        setattr(agent.per_row, name, torch.tensor([getattr(agent.config, name)], dtype=torch.float64))
    agent.memory.gamma = agent.per_row.gamma
    agent.features = lambda obs: obs.double()

    seen = []
    smooth_l1_loss = torch.nn.functional.smooth_l1_loss
    monkeypatch.setattr(
        "stable_baselines3.dqn.dqn.F.smooth_l1_loss", lambda q, y: seen.append(y) or smooth_l1_loss(q, y)
    )
    for _ in range(3):
        counter = agent._sample.state_dict()
        u, gamma = agent._sample.next(), agent.per_row.gamma
        agent._sample.load_state(counter)
        if agent.config.n_steps == 1:
            batch, discount = agent.memory.replay.sample(u), gamma[:, None]
        else:
            batch, discount = agent.memory.replay.sample_n_step(u, agent.config.n_steps, gamma)
        column = (batch.action, batch.terminated.double(), batch.reward.double(), discount.expand(1, 64))
        action, done, reward, discounts = (field[0, :, None] for field in column)
        samples = ReplayBufferSamples(batch.obs[0], action, batch.next_obs[0], done, reward, discounts)
        monkeypatch.setattr(reference.replay_buffer, "sample", lambda *_, samples=samples, **__: samples)
        target = agent.target(batch, discount)
        agent.record_updates(agent.update())
        reference.train(gradient_steps=1, batch_size=64)
        torch.testing.assert_close(target[0], seen[-1][:, 0], atol=1e-9, rtol=0.0)
        loss = reference.logger.name_to_value["train/loss"]
        assert float(agent.training_state.means.read()["loss"][0]) == pytest.approx(loss, abs=1e-9)
        ours = [p for layer in agent.network.as_module(0) for p in layer.parameters()]
        for own, theirs in zip(ours, reference.q_net.q_net.parameters(), strict=True):
            torch.testing.assert_close(own, theirs, atol=1e-5, rtol=0.0)


def test_moves_of_the_target_network_multiply_what_is_left():
    agent = DQN("CartPole-v1", seeds=range(2), device="cpu", tau=[0.1, 0.5])
    agent.network.flat += 1.0
    agent._update_target(3)
    left = agent.network.flat - agent.target_network.flat
    torch.testing.assert_close(left, torch.tensor([[0.9**3], [0.5**3]]).expand_as(left))


def test_before_learning_starts_every_action_is_random():
    chances = {"exploration_fraction": 0.8, "exploration_initial_eps": 0.9, "exploration_final_eps": 0.1}
    agent = DQN("CartPole-v1", num_envs=2, device="cpu", learning_starts=40, **chances)
    agent.training_state.end = 100
    assert agent.epsilons(50)[:, 0].tolist() == pytest.approx(
        [1.0 if step < 40 else max(0.9 - step / 100, 0.1) for step in range(0, 100, 2)]
    )


def test_a_timeout_keeps_its_bootstrap():
    agent = DQN("CartPole-v1", env_kwargs={"max_steps": 5}, device="cpu", learning_starts=0)
    agent.training_state.end = 100
    agent._start()
    for _ in range(50):
        agent.collect()
    stored = agent.memory.replay.state_dict()
    assert not (stored["flags"][0, :50] & TERMINATED).any()  # five steps never fall, and a timeout is not an end


@pytest.mark.slow
def test_linear_learning_rate_reaches_zero():
    agents = [
        DQN("CartPole-v1", device="cpu", learning_starts=0, learning_rate=1e-3, learning_rate_schedule=schedule)
        for schedule in ("constant", "linear")
    ]
    moved = []
    for agent in agents:
        before = None
        for done in agent.training(1000, every=960):
            if done == 960:
                before = agent.network.flat.clone()
        moved.append(float((agent.network.flat - before).norm()))
    assert moved[1] < 0.2 * moved[0]


@pytest.mark.slow
def test_a_slippery_grid_is_learned_to_within_five_percent_of_the_exact_optimum():
    world = GridWorld("frozenlake-4x4", observation="onehot")
    best = start_value(world.mdp, backward_induction(world.mdp).value[0])
    agent = DQN(
        world,
        seeds=range(5),
        device="cpu",
        learning_rate=2e-3,
        learning_rate_schedule="linear",
        learning_starts=500,
        batch_size=64,
        target_update_interval=200,
        exploration_fraction=1.0,
        exploration_final_eps=0.3,
    ).learn(15_000)
    observations = torch.tensor(world.observations()).expand(5, -1, -1)
    greedy = agent.q_values(observations).argmax(dim=2).numpy()  # [S, N]
    exact = start_value(world.mdp, evaluate_finite(world.mdp, greedy)[..., 0, :])  # [S]
    assert np.median(exact) >= 0.95 * best


def test_n_step_samples_are_stable_baselines3s():
    """The same CartPole episodes, time limits included, through a ring that wraps."""
    env = gymnasium.make("CartPole-v1", max_episode_steps=15)
    reference = NStepReplayBuffer(200, env.observation_space, env.action_space, "cpu", n_steps=5, gamma=0.9)
    ours, rng = None, np.random.default_rng(0)
    obs, _ = env.reset(seed=0)
    for step in range(300):
        action = int(rng.integers(2))
        next_obs, reward, terminated, truncated, _ = env.step(action)
        reward = float(reward) + step
        timeout = {"TimeLimit.truncated": truncated and not terminated}
        done = terminated or truncated
        reference.add(obs[None], next_obs[None], np.array([[action]]), np.array([reward]), np.array([done]), [timeout])
        values = (obs, action, reward, next_obs, terminated, truncated)
        transition = Transition(*(torch.as_tensor(value)[None, None] for value in values))
        ours = ours or ReplayBuffer(200, transition)
        ours.add(segment([transition]))
        obs = env.reset()[0] if done else next_obs
    oldest_first = (np.arange(200) + reference.pos) % 200
    expected = reference._get_samples(oldest_first)
    batch, discount = ours.sample_n_step((torch.arange(200)[None] + 0.5).double() / 200, 5, torch.tensor([0.9]))
    assert torch.equal(batch.obs[0], expected.observations)
    assert torch.equal(batch.action[0], expected.actions[:, 0])
    assert torch.equal(batch.next_obs[0], expected.next_observations)
    assert torch.equal(batch.terminated[0], expected.dones[:, 0].bool())
    torch.testing.assert_close(batch.reward[0].float(), expected.rewards[:, 0])
    torch.testing.assert_close(discount[0], expected.discounts[:, 0])


class Counter(gymnasium.Env):
    """Shows a large number minus the steps so far."""

    action_space = spaces.Discrete(2)

    def __init__(self, dtype, most):
        self.most = most
        self.observation_space = spaces.Box(0, self.most, (1,), dtype)

    def seen(self):
        return np.array([self.most - self.steps], self.observation_space.dtype)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.seen(), {}

    def step(self, action):
        self.steps += 1
        return self.seen(), 1.0, self.steps == 5, False, {}


@pytest.mark.parametrize(("dtype", "most"), [(np.uint16, 2**16 - 1), (np.uint32, 2**32 - 1), (np.uint64, 2**40)])
def test_wide_unsigned_observations_are_replayed_as_they_were(dtype, most):
    agent = DQN(lambda: Counter(dtype, most), seeds=2, device="cpu", learning_starts=8, batch_size=8).learn(40)
    assert torch.isfinite(agent.network.flat).all()
    batch = segment([agent.env.step(torch.zeros(2, 1, dtype=torch.int64)) for _ in range(5)])
    stored = as_stored(batch)
    assert not stored.obs.dtype.is_floating_point
    buffer = ReplayBuffer(5, stored._replace(**{name: getattr(stored, name)[:, 0] for name in FIELDS}))
    buffer.add(stored)
    back = as_observed(buffer.sample(((torch.arange(5) + 0.5) / 5).double().expand(2, -1)), agent.env.obs.dtype)
    for name in ("obs", "next_obs"):
        expected = getattr(batch, name)[:, :, 0]
        assert getattr(back, name).dtype == expected.dtype
        np.testing.assert_array_equal(getattr(back, name).numpy(), expected.numpy())

"""A2C and PPO against stable-baselines3, against each other, and on problems whose values are known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sb3_updates import fill, in_double, parameters, sb3_of, their_parameters
from stable_baselines3 import A2C as SB3A2C
from stable_baselines3 import PPO as SB3PPO
from torch import nn

from rlkit.agents import A2C, PPO
from rlkit.agents.ppo import Experience
from rlkit.envs.probes import PROBES
from rlkit.exploration import categorical
from rlkit.losses import clipped_squared, clipped_surrogate, entropy, explained_variance, standardized
from rlkit.nn import MLP, ActorCritic, RMSprop
from rlkit.nn.heads import StackedActorCritic, can_stack
from rlkit.schedules import SCHEDULES, factor

# One update against stable-baselines3's


COMMON = {"gamma": 0.9, "gae_lambda": 0.8, "ent_coef": 0.02, "vf_coef": 0.7, "learning_rate": 1e-2}


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"normalize_advantage": True, "max_grad_norm": 100.0}, {"use_rms_prop": False}],
)
def test_an_update_of_a2c_is_stable_baselines3s(settings):
    settings = {**COMMON, "n_steps": 80, **settings}
    agent = A2C("CartPole-v1", env_kwargs={"max_steps": 18}, seeds=[5], device="cpu", ortho_init=False, **settings)
    in_double(agent)
    reference = sb3_of(agent, SB3A2C, **settings)
    ends = torch.zeros(2)  # by time limit, by falling
    for _ in range(3):  # moments and all
        batch = agent.play(80)
        ends += torch.stack([batch.truncated.sum(), batch.terminated.sum()])
        fill(reference, batch, agent.config.gamma)
        agent.update(batch)
        reference.train()
        torch.testing.assert_close(parameters(agent), their_parameters(reference), atol=1e-6, rtol=0.0)
    assert (ends > 0).all()
    logged, ours = reference.logger.name_to_value, agent.training_state.means
    ours.read()
    agent.update(batch := agent.play(80))
    fill(reference, batch, agent.config.gamma)
    reference.train()
    means = ours.read()
    assert float(means["policy_loss"][0]) == pytest.approx(logged["train/policy_loss"], abs=1e-6)
    assert float(means["value_loss"][0]) == pytest.approx(logged["train/value_loss"], rel=1e-6)
    assert float(means["entropy"][0]) == pytest.approx(-logged["train/entropy_loss"], rel=1e-6)
    assert float(means["explained_variance"][0]) == pytest.approx(logged["train/explained_variance"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"normalize_advantage": False, "max_grad_norm": 100.0, "clip_range": 0.02},
        {"clip_range_vf": 0.01},
        {"target_kl": 1e-4},
    ],
)
def test_an_update_of_ppo_is_stable_baselines3s(settings):
    """One minibatch an epoch: stable-baselines3 shuffles by a global generator."""
    settings = {**COMMON, "n_steps": 80, "batch_size": 80, "n_epochs": 4, **settings}
    agent = PPO("CartPole-v1", env_kwargs={"max_steps": 18}, seeds=[5], device="cpu", ortho_init=False, **settings)
    in_double(agent)
    reference = sb3_of(agent, SB3PPO, **settings)
    ends = torch.zeros(2)  # by time limit, by falling
    for _ in range(3):
        batch = agent.play(80)
        ends += torch.stack([batch.truncated.sum(), batch.terminated.sum()])
        fill(reference, batch, agent.config.gamma)
        experience = agent.experience(batch)
        np.testing.assert_allclose(experience.advantage[0], reference.rollout_buffer.advantages[:, 0], atol=1e-8)
        np.testing.assert_allclose(experience.target[0], reference.rollout_buffer.returns[:, 0], atol=1e-8)
        going_on = torch.tensor([True])
        for minibatch in agent.minibatches(experience):
            going_on, update = agent.update(minibatch, going_on)
            agent.record_updates([update])
        assert bool(going_on) == ("target_kl" not in settings)
        reference.train()
        torch.testing.assert_close(parameters(agent), their_parameters(reference), atol=1e-6, rtol=0.0)
    assert (ends > 0).all()
    means, logged = agent.training_state.means.read(), reference.logger.name_to_value
    assert set(means) >= {"approx_kl", "clip_fraction", "entropy", "gradient_norm"}
    assert "train/approx_kl" in logged


def test_ppo_stops_above_one_and_a_half_times_the_target():
    agent = PPO("CartPole-v1", seeds=range(3), device="cpu", n_steps=8, batch_size=8, target_kl=0.02)
    batch = agent.experience(agent.play(8))
    log_ratio = torch.tensor([[0.1], [0.2], [0.3]])  # (r - 1) - log r is 0.005, 0.021 and 0.050
    batch = batch._replace(old_log_p=batch.old_log_p - log_ratio)
    assert agent.update(batch, torch.ones(3, dtype=torch.bool))[0].tolist() == [True, True, False]


@pytest.mark.parametrize("algorithm", [A2C, PPO])
def test_defaults_are_stable_baselines3s(algorithm):
    import inspect

    reference = {A2C: SB3A2C, PPO: SB3PPO}[algorithm]
    theirs = {name: p.default for name, p in inspect.signature(reference.__init__).parameters.items()}
    ours = algorithm.config_class()
    shared = [name for name in vars(ours) if name in theirs]
    assert len(shared) >= 10
    assert {name: getattr(ours, name) for name in shared} == {name: theirs[name] for name in shared}


# The two algorithms agree where they should


@pytest.mark.slow
def test_a2c_is_ppo_with_one_epoch_of_one_minibatch():
    shared = {"n_steps": 6, "gae_lambda": 1.0, "learning_rate": 1e-3, "normalize_advantage": False, "ent_coef": 0.01}
    a2c = A2C("CartPole-v1", seeds=range(3), num_envs=2, device="cpu", use_rms_prop=False, **shared)
    ppo = PPO("CartPole-v1", seeds=range(3), num_envs=2, device="cpu", n_epochs=1, batch_size=12, **shared)
    assert torch.equal(a2c.actor_critic.flat, ppo.actor_critic.flat)
    a2c.learn(600)
    ppo.learn(600)
    torch.testing.assert_close(a2c.actor_critic.flat, ppo.actor_critic.flat, atol=1e-6, rtol=1e-5)
    np.testing.assert_array_equal(a2c.history["episode_return"], ppo.history["episode_return"])


@pytest.mark.slow
def test_a2c_is_ppo_with_a2cs_optimizer():
    shared = {"n_steps": 5, "gae_lambda": 1.0, "learning_rate": 7e-4, "normalize_advantage": False}
    a2c = A2C("CartPole-v1", seeds=range(2), device="cpu", **shared)
    ppo = PPO("CartPole-v1", seeds=range(2), device="cpu", n_epochs=1, batch_size=5, **shared)
    ppo.optimizer = RMSprop(ppo.actor_critic.flat, eps=1e-5)
    a2c.learn(300)
    ppo.learn(300)
    torch.testing.assert_close(a2c.actor_critic.flat, ppo.actor_critic.flat, atol=1e-6, rtol=1e-5)


# Losses


def derivative(loss, by):
    """The derivative of a loss, elementwise."""
    return torch.autograd.grad(loss, by, torch.ones_like(loss))[0]


def test_the_clipped_surrogate_by_hand():
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1, math.nan, math.inf, math.inf])
    advantage = torch.tensor([2.0, -2.0, 2.0, -2.0, 3.0, 1.0, 1.0, -1.0])
    log_ratio = ratio.log().requires_grad_()
    loss = clipped_surrogate(log_ratio, advantage, torch.tensor(0.2))
    expected = torch.tensor([-2.4, 3.0, -1.0, 1.6, -3.3, math.nan, -1.2, math.inf])
    torch.testing.assert_close(loss, expected, equal_nan=True)
    by_log_ratio = torch.tensor([0.0, 3.0, -1.0, 0.0, -3.3, math.nan, 0.0, math.inf])
    torch.testing.assert_close(derivative(loss, log_ratio), by_log_ratio, equal_nan=True)


def test_the_clipped_value_by_hand():
    value, old, target = torch.tensor([1.0, 1.0]).requires_grad_(), torch.tensor([0.0, 0.9]), torch.tensor([3.0, 3.0])
    loss = clipped_squared(value, old, target, torch.tensor(0.5))
    torch.testing.assert_close(loss, torch.tensor([6.25, 4.0]))
    torch.testing.assert_close(derivative(loss, value), torch.tensor([0.0, -4.0]))
    assert clipped_squared(value, old, target, None).tolist() == [4.0, 4.0]


def test_entropy_by_hand():
    log_p = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]).log()
    torch.testing.assert_close(entropy(log_p), torch.tensor([math.log(2.0), 0.0]))


def test_standardized_and_explained_variance_are_by_row():
    x = torch.tensor([[1.0, 3.0], [10.0, 30.0]])
    torch.testing.assert_close(standardized(x), torch.tensor([[-1.0, 1.0]] * 2) / math.sqrt(2))
    assert explained_variance(torch.zeros(2, 2), x).tolist() == [1.0, 1.0]
    assert explained_variance(x, x).tolist() == [0.0, 0.0]


# Sampling


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
def test_a_sampled_action_is_the_interval_that_u_falls_in(logits, u):
    logits = torch.tensor(logits, dtype=torch.float64)
    ends = torch.softmax(logits, dim=0).cumsum(dim=0)
    action = int(categorical(logits, torch.tensor(u, dtype=torch.float64)))
    assert (0.0 if action == 0 else float(ends[action - 1])) <= u
    assert action == len(logits) - 1 or u < float(ends[action])


@pytest.mark.slow
def test_sampled_actions_have_the_policys_probabilities():
    agent = PPO("CartPole-v1", seeds=range(2), device="cpu", ortho_init=False)
    obs = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(1)).expand(2, 20_000, 4) * 3
    probabilities = agent.action_probabilities(obs)[:, 0]  # [S, A]
    share = agent.act(obs, deterministic=False).float().mean(dim=1)
    torch.testing.assert_close(share, probabilities[:, 1], atol=0.015, rtol=0.0)
    assert torch.equal(agent.act(obs)[:, 0], probabilities.argmax(dim=1))
    sampled, greedy = agent.evaluate(5, deterministic=False), agent.evaluate(5)
    assert not np.array_equal(sampled, greedy)
    np.testing.assert_array_equal(sampled, agent.evaluate(5, deterministic=False))


# Tools


def test_rmsprop_on_rows_is_torchs_on_each_row():
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(3, 7, dtype=torch.float64, generator=generator)
    rates = torch.tensor([1e-3, 1e-2, 0.1], dtype=torch.float64)
    rows = [nn.Parameter(row.clone()) for row in flat]
    references = [torch.optim.RMSprop([row], lr=float(rate), alpha=0.99, eps=1e-5) for row, rate in zip(rows, rates)]  # noqa: B905
    ours = RMSprop(flat, eps=1e-5)
    for _ in range(30):
        gradient = torch.randn(3, 7, dtype=torch.float64, generator=generator)
        ours.step(gradient.clone(), rates, torch.ones(3, dtype=torch.bool))
        for row, reference, g in zip(rows, references, gradient, strict=True):
            row.grad = g
            reference.step()
    torch.testing.assert_close(flat, torch.stack([row.detach() for row in rows]))
    before = flat.clone()
    ours.step(torch.full((3, 7), torch.nan, dtype=torch.float64), rates, torch.tensor([False] * 3))
    assert torch.equal(flat, before)
    assert torch.isfinite(ours.second).all()


@pytest.mark.parametrize("sizes", [(4, 64, 64, 2), (64, 8, 1), (3, 3)])
def test_orthogonal_weights_have_orthonormal_rows_or_columns_and_zero_biases(sizes):
    gains = [2.0] * (len(sizes) - 1)
    stack = MLP(sizes, range(3), gains=gains)
    for layer in [layer for row in range(3) for layer in stack.as_module(row) if isinstance(layer, nn.Linear)]:
        short = layer.weight if layer.out_features <= layer.in_features else layer.weight.T
        torch.testing.assert_close((short @ short.T).detach(), 4.0 * torch.eye(len(short)), atol=1e-5, rtol=0.0)
        assert (layer.bias == 0.0).all()
    assert torch.equal(MLP(sizes, [2], gains=gains).flat[0], stack.flat[2])
    assert not torch.equal(MLP(sizes, [2], gains=gains, network_index=1).flat, MLP(sizes, [2], gains=gains).flat)


def test_orthogonal_weights_are_uniform_over_rotations():
    weights = MLP((2, 2), range(4000), gains=[1.0]).parameters[0].detach()  # [S, 2, 2]
    angle = torch.atan2(weights[:, 0, 1], weights[:, 0, 0]) / (2 * math.pi) + 0.5
    quantiles = (torch.arange(4000) + 0.5) / 4000
    assert float((angle.sort().values - quantiles).abs().max()) < 0.026  # Kolmogorov-Smirnov at 99 %
    assert abs(float((torch.det(weights) > 0).float().mean(dim=0)) - 0.5) < 0.03


def test_an_actor_critic_is_two_networks_in_one_matrix():
    both = ActorCritic(MLP((4, 8, 2), range(3), "tanh"), MLP((4, 8, 1), range(3), "tanh", network_index=1))
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    logits, values, pullback = both.vjp(x)
    torch.testing.assert_close(logits, both.policy(x).detach())
    torch.testing.assert_close(values, both.value(x)[..., 0].detach())
    loss = both.policy(x).square().sum(), both.value(x).square().sum()
    expected = torch.cat([both.policy.gradient(loss[0]), both.value.gradient(loss[1])], dim=1)
    torch.testing.assert_close(pullback(2 * logits, 2 * values), expected)
    both.flat.zero_()
    assert (both.policy(x) == 0).all()
    assert float(MLP((4, 8, 2), range(3), "tanh", gains=[math.sqrt(2), 0.01])(x).detach().abs().max()) < 0.05


@pytest.mark.parametrize(("hidden", "actions"), [((8,), 2), ((16, 32), 3), ((), 1)])
def test_a_stacked_actor_critic_is_the_two_networks_side_by_side(hidden, actions):
    networks = (MLP((4, *hidden, n), range(3), "tanh", network_index=i) for i, n in enumerate((actions, 1)))
    both = ActorCritic(*networks)
    stacked = StackedActorCritic(both.policy, both.value)
    both.flat.mul_(1.5)  # the stack reads the parameters as they are
    generator = torch.Generator().manual_seed(0)
    x, by_logits, by_values = (torch.randn(3, 20, *n, generator=generator) for n in ((4,), (actions,), ()))
    expected, found = both.vjp(x), stacked.vjp(both.flat, x)
    for one, other, plain in zip(found[:2], expected[:2], stacked(both.flat, x), strict=True):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(plain, other)
    out = torch.full_like(both.flat, torch.nan)
    gradient = found[2](by_logits.clone(), by_values.clone(), out)
    torch.testing.assert_close(gradient, expected[2](by_logits.clone(), by_values.clone()))
    assert gradient is out


def test_networks_of_other_hidden_layers_are_not_stacked():
    policy = MLP((4, 8, 2), [0], "tanh")
    assert can_stack(policy, MLP((4, 8, 1), [0], "tanh"))
    assert not can_stack(policy, MLP((4, 8, 8, 1), [0], "tanh"))
    assert not can_stack(policy, MLP((4, 8, 1), [0], "relu"))


def test_schedules_at_their_ends_and_in_between():
    assert [factor(name, 0.0) for name in SCHEDULES] == [1.0] * 5
    assert [factor(name, 1.0) for name in SCHEDULES] == pytest.approx([1.0, 0.0, 0.1, 0.1, 0.1])
    assert factor("linear", 0.25) == 0.75
    assert factor("exponential", 0.5) == pytest.approx(10**-0.5)
    assert factor("inverse", 0.5) == pytest.approx(1 / 5.5)
    assert [factor("step", x) for x in (0.3, 0.4, 0.6, 0.7)] == pytest.approx([1, 10**-0.5, 10**-0.5, 0.1])
    with pytest.raises(ValueError, match="cosine"):
        factor("cosine", 0.5)


# Learning


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (A2C, {"learning_rate": 5e-3, "n_steps": 8, "use_rms_prop": False}),
        (
            PPO,
            {"learning_rate": 1e-2, "n_steps": 32, "batch_size": 64, "n_epochs": 4, "learning_rate_schedule": "linear"},
        ),
    ],
)
def test_the_probes_are_learned_to_their_exact_values(name, algorithm, settings):
    probe = PROBES[name]()
    common = {"gamma": 0.8, "net_arch": (32,), "gae_lambda": 0.9}
    agent = algorithm(f"rlkit/probe-{name}", seeds=range(3), num_envs=4, device="cpu", **common, **settings)
    agent.learn(6000)
    observations = torch.from_numpy(probe.observations()).expand(3, -1, -1)
    q = probe.q_values(0.8)
    np.testing.assert_allclose(
        agent.values(observations).numpy(), np.broadcast_to(q.max(axis=1), (3, len(q))), atol=0.2
    )
    right = (q == q.max(axis=1, keepdims=True)).astype(float)
    assert ((agent.action_probabilities(observations).numpy() * right).sum(axis=2) > 0.9).all()


def test_minibatches_are_a_partition_of_each_rows_own_batch():
    settings = {"n_steps": 8, "batch_size": 4, "n_epochs": 3, "normalize_advantage": False}
    agent = PPO("CartPole-v1", seeds=range(3), num_envs=2, device="cpu", **settings)
    number = torch.arange(48.0).view(3, 16)
    batch = Experience(number[..., None], number.long(), number, number, number, number)
    parts = list(agent.minibatches(batch))
    assert len(parts) == 12
    assert all(torch.equal(part.features[..., 0], part.advantage) for part in parts)
    epochs = [torch.cat([part.advantage for part in parts[i : i + 4]], dim=1) for i in (0, 4, 8)]
    for whole, other in zip(epochs, [number, *epochs], strict=False):
        assert torch.equal(whole.sort(dim=1).values, number)
        assert not torch.equal(whole, other)


@pytest.mark.parametrize(
    ("algorithm", "settings", "message"),
    [
        (PPO, {"batch_size": 100}, "does not divide"),
        (PPO, {"batch_size": 1}, "batch_size"),
        (PPO, {"clip_range": 0.0}, "clip_range"),
        (PPO, {"clip_range_vf": -1.0}, "clip_range_vf"),
        (PPO, {"target_kl": 0.0}, "target_kl"),
        (PPO, {"n_epochs": 0}, "n_epochs"),
        (PPO, {"clip_range_schedule": "cosine"}, "clip_range_schedule"),
        (A2C, {"n_steps": 0}, "n_steps"),
        (A2C, {"n_steps": 1, "normalize_advantage": True}, "two transitions"),
        (A2C, {"learning_rate_schedule": "cosine"}, "learning_rate_schedule"),
        (A2C, {"gae_lambda": 1.1}, "gae_lambda"),
        (A2C, {"ent_coef": -0.1}, "ent_coef"),
        (A2C, {"n_epochs": 3}, "unknown hyper-parameter"),
    ],
)
def test_bad_settings_are_refused_when_the_agent_is_made(algorithm, settings, message):
    with pytest.raises(ValueError, match=message):
        algorithm("CartPole-v1", device="cpu", **settings)


@pytest.mark.parametrize("algorithm", [A2C, PPO])
def test_a_saved_agent_comes_back(algorithm, tmp_path):
    from rlkit.agents import load

    agent = algorithm("CartPole-v1", seeds=range(2), num_envs=2, device="cpu", n_steps=32).learn(200)
    path = tmp_path / "agent.safetensors"
    agent.save(path)
    loaded = load(path, device="cpu")
    obs = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.scores(obs), agent.scores(obs))
    assert torch.equal(loaded.values(obs), agent.values(obs))
    assert torch.equal(agent[1].values(obs[1:]), agent.values(obs)[1:])
    with pytest.raises(ValueError, match="another environment"):
        algorithm.load(path, "Acrobot-v1", device="cpu")


@pytest.mark.parametrize("algorithm", [A2C, PPO])
def test_a_preset_may_say_how_many_copies(algorithm):
    assert algorithm("CartPole-v1", device="cpu").env.num_envs == 1
    assert algorithm("CartPole-v1", device="cpu", preset="tuned").env.num_envs == 8
    assert algorithm("CartPole-v1", device="cpu", preset="rl-zoo", num_envs=16).env.num_envs == 16

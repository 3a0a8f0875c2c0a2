"""Running normalization, held to stable-baselines3's VecNormalize, to finite differences and to one row."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from trained_rows import SMALL, Poisoned, assert_same_run

from rlkit.adversarial import FGSM, AttackedPolicy, Budget
from rlkit.agents import DQN, PPO, load
from rlkit.nn.normalization import Moments, Normalizer, merged

BOTH = {"normalize_observations": True, "normalize_rewards": True}
ALL = pytest.mark.parametrize("algorithm", SMALL, ids=lambda algorithm: algorithm.__name__)


def trained(algorithm, seeds, **chosen):
    return algorithm("CartPole-v1", seeds=seeds, device="cpu", **{**SMALL[algorithm], **chosen}).learn(192)


def normalizer(features=4, copies=3, gamma=(0.9, 0.99)):
    return Normalizer(features, copies, torch.tensor(gamma), True, True)


@settings(max_examples=10)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 10**6))
def test_moments_merged_piece_by_piece_are_those_of_the_whole(sizes, seed):
    data = torch.from_numpy(np.random.default_rng(seed).normal(3.0, 2.0, (2, sum(sizes), 3)))
    moments = Moments(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 1))
    for piece in data.split(sizes, dim=1):
        moments = merged(moments, piece)
    torch.testing.assert_close(moments.mean, data.mean(dim=1))
    torch.testing.assert_close(moments.variance, data.var(dim=1, correction=0))
    assert (moments.weight == sum(sizes)).all()


@pytest.fixture(scope="module")
def streams():
    """What three copies of CartPole showed and paid for 200 steps, and stable-baselines3's statistics of it."""
    reference = VecNormalize(DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * 3), gamma=0.9)
    reference.seed(0)
    reference.reset()
    obs, rewards, dones = [reference.get_original_obs()], [], []
    rng = np.random.default_rng(0)
    for _ in range(200):
        _, _, done, _ = reference.step(rng.integers(0, 2, 3))
        obs.append(reference.get_original_obs())
        rewards.append(reference.get_original_reward())
        dones.append(done)
    # stable-baselines3 has also seen the observation after the last step
    return reference, np.array(obs[1:]), obs[0], np.array(rewards), np.array(dones)


@pytest.mark.parametrize("pieces", [(200,), (1,) * 200, (7, 93, 100)])
def test_statistics_and_outputs_are_stable_baselines3s(streams, pieces):
    reference, obs, first, rewards, dones = streams
    ours = normalizer(gamma=(0.9, 0.99))
    active = torch.tensor([True, True])

    def both_rows(array):
        return torch.from_numpy(array)[None].expand(2, *array.shape)

    # stable-baselines3 saw the first observation of all at its reset
    width = ours.flat.shape[1] // 2
    begun = merged(ours.moments, torch.cat([both_rows(first).double(), torch.zeros(2, 3, 1)], dim=-1))
    ours.flat.copy_(torch.cat(begun, dim=1))
    start = 0
    for length in pieces:
        part = slice(start, start + length)
        ours.update(both_rows(obs[part]), both_rows(rewards[part]), both_rows(dones[part]), active)
        start += length
    np.testing.assert_allclose(ours.moments.mean[0, :-1], reference.obs_rms.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.moments.variance[0, :-1], reference.obs_rms.var, rtol=1e-5)
    assert float(ours.moments.weight[0]) == pytest.approx(reference.obs_rms.count)
    assert width == 5
    shown = np.random.default_rng(1).normal(0, 3, (50, 4)).astype(np.float32)
    np.testing.assert_allclose(
        ours.observations(both_rows(shown))[0], reference.normalize_obs(shown), rtol=1e-5, atol=1e-5
    )
    assert float(ours.observations(both_rows(shown * 100)).abs().max()) == 10.0


def test_the_scale_of_rewards_is_stable_baselines3s(streams):
    reference, obs, _, rewards, dones = streams
    ours = normalizer(gamma=(0.9, 0.99))
    arrays = (torch.from_numpy(array)[None].expand(2, *array.shape) for array in (obs, rewards, dones))
    ours.update(*arrays, torch.tensor([True, True]))
    np.testing.assert_allclose(ours.moments.variance[0, -1], reference.ret_rms.var, rtol=1e-6)
    np.testing.assert_allclose(ours.moments.mean[0, -1], reference.ret_rms.mean, rtol=1e-6)
    assert ours.moments.variance[1, -1] > ours.moments.variance[0, -1]  # the longer horizon
    paid = np.array([1.0, -2.0, 0.5, 100.0], dtype=np.float32)
    np.testing.assert_allclose(
        ours.rewards(torch.from_numpy(paid).expand(2, -1))[0], reference.normalize_reward(paid), 1e-6
    )
    assert ours.rewards(torch.full((2, 1), 1e4), summed=3).tolist() == [[30.0], [30.0]]


def test_a_row_that_is_not_finite_or_not_active_keeps_its_moments():
    ours = Normalizer(2, 1, torch.full((4,), 0.9), True, True)
    before = ours.flat.clone()
    features, reward, done = torch.randn(4, 6, 1, 2), torch.ones(4, 6, 1), torch.zeros(4, 6, 1, dtype=torch.bool)
    features[0, 3, 0, 1] = math.nan
    reward[1, 2] = math.inf
    ours.update(features, reward, done, torch.tensor([True, True, False, True]))
    assert torch.equal(ours.flat[:3], before[:3])
    assert not torch.equal(ours.flat[3], before[3])
    only = Normalizer(2, 1, torch.full((1,), 0.9), False, True)
    assert only.observations(features) is features
    assert Normalizer(2, 1, torch.full((1,), 0.9), True, False).rewards(reward) is reward


def test_a_normalizer_goes_on_where_another_stopped():
    one, two = normalizer(), normalizer()
    generator = torch.Generator().manual_seed(0)
    parts = [(torch.randn(2, 5, 3, 4, generator=generator), torch.ones(2, 5, 3), torch.zeros(2, 5, 3).bool())] * 2
    active = torch.tensor([True, True])
    one.update(*parts[0], active)
    two.load_state(one.state_dict())
    for each in (one, two):
        each.update(*parts[1], active)
    assert torch.equal(one.flat, two.flat)
    assert not torch.equal(one.flat[0], normalizer().flat[0])


# Agents


@pytest.mark.slow
@ALL
def test_a_row_of_a_normalized_run_is_the_run_of_its_seed_alone(algorithm):
    many = trained(algorithm, range(4), num_envs=2, **BOTH)
    for row in (0, 3):
        alone = trained(algorithm, [row], num_envs=2, **BOTH)
        assert_same_run(many, row, alone, 0)
        assert torch.equal(many.normalizer.flat[row], alone.normalizer.flat[0])
    assert float(many.normalizer.moments.weight[0]) == pytest.approx(many.num_timesteps)


@pytest.mark.slow
@ALL
def test_statistics_are_saved_and_stand_still_in_evaluation_and_under_attack(algorithm, tmp_path):
    agent = trained(algorithm, range(2), **BOTH)
    agent.save(tmp_path / "agent.safetensors")
    before = agent.normalizer.flat.clone()
    going_on = load(tmp_path / "agent.safetensors", device="cpu").learn(192)
    assert (going_on.normalizer.moments.weight > agent.normalizer.moments.weight + 191).all()
    obs = agent.env.obs.repeat(1, 5, 1)
    for loaded in (load(tmp_path / "agent.safetensors", device="cpu"), agent):
        returns = loaded.evaluate(3)
        assert torch.equal(loaded.scores(obs), agent.scores(obs))
        AttackedPolicy(loaded, FGSM(), Budget(0.1)).act(obs)
        assert torch.equal(loaded.normalizer.flat, before)
        assert returns.tolist() == agent.evaluate(3).tolist()
    assert torch.equal(agent[1].normalizer.flat[0], before[1])
    torch.testing.assert_close(agent[1].scores(obs[1:]), agent.scores(obs)[1:])
    plain = trained(algorithm, range(2))
    assert plain.normalizer is None
    assert "normalizer" not in plain.networks


@pytest.mark.slow
@ALL
def test_the_gradient_by_the_raw_observation_is_the_finite_difference(algorithm):
    agent = trained(algorithm, range(2), **BOTH)
    network = agent.network if issubclass(algorithm, DQN) else agent.networks["policy"]
    network.place(network.flat.double())
    obs = agent.env.obs.double().requires_grad_()
    (gradient,) = torch.autograd.grad(agent.scores(obs)[..., 0].sum(), obs)
    for feature in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[feature] = 1e-6
        with torch.no_grad():
            rise = agent.scores(obs + step)[..., 0] - agent.scores(obs - step)[..., 0]  # [S, B]
        torch.testing.assert_close(rise / 2e-6, gradient[..., feature], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@ALL
@pytest.mark.parametrize("what", ["reward", "observation"])
def test_a_nan_stays_in_its_row_and_spoils_no_statistics(algorithm, what):
    clean = algorithm(Poisoned("nothing"), seeds=range(3), device="cpu", **SMALL[algorithm], **BOTH).learn(360)
    agent = algorithm(Poisoned(what), seeds=range(3), device="cpu", **SMALL[algorithm], **BOTH)
    with pytest.warns(RuntimeWarning, match="seed 0 diverged"):
        agent.learn(360)
    assert agent.active.tolist() == [False, True, True]
    for name, network in agent.networks.items():
        assert torch.equal(network.flat[1:], clean.networks[name].flat[1:]), name
        assert torch.isfinite(network.flat).all(), name


@pytest.mark.slow
def test_the_reward_that_is_logged_is_the_environments():
    agent = trained(PPO, [0], **BOTH)
    assert np.nanmax(agent.history["episode_return"]) > 10.0  # CartPole pays one for every step


@pytest.mark.slow
@ALL
def test_one_hot_codes_are_not_normalized(algorithm):
    with pytest.raises(ValueError, match="needs Box observations, got Discrete"):
        algorithm("rlkit/GridWorld-v0", device="cpu", normalize_observations=True)
    agent = algorithm("rlkit/GridWorld-v0", device="cpu", normalize_rewards=True, **SMALL[algorithm])
    assert agent.learn(72).normalizer.of_rewards


def test_gaussians_of_normalized_observations_have_no_bounds():
    agent = PPO("CartPole-v1", device="cpu", network="rbf", normalize_observations=True)
    assert (agent.actor_critic.policy.basis.scale == 1.0).all()


def test_a_dropped_episode_has_no_return():
    gamma = torch.tensor([0.5, 0.5])
    one, other = (Normalizer(1, 2, gamma, of_observations=False, of_rewards=True) for _ in range(2))
    reward, done = torch.ones(2, 1, 2), torch.zeros(2, 1, 2, dtype=torch.bool)
    active = torch.ones(2, dtype=torch.bool)
    for each in (one, other):
        each.update(torch.zeros(2, 1, 2, 1), reward, done, active)
    one.drop(torch.tensor([[False, True], [False, False]]))
    assert one.state_dict()["return"].tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert torch.equal(one.flat, other.flat)

"""Models of stable-baselines3 as policies and victims, against the models themselves."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import rlkit.envs
import rlkit.sb3
from rlkit.adversarial import OneHot, ValueGuided
from rlkit.evaluation import evaluate_policy
from rlkit.sb3 import SB3Policy

OBSERVATIONS = np.random.default_rng(0).normal(scale=[1, 1, 0.2, 1], size=(1000, 4)).astype(np.float32)
MODELS: list[type[BaseAlgorithm]] = [DQN, A2C, PPO]


def make(algorithm: Any, env: str = "CartPole-v1", seed: int = 0) -> Any:
    # not PPO's and A2C's own initial policy head: with its gain of 0.01 one action would win nearly everywhere
    kwargs = {"net_arch": [16]} if algorithm is DQN else {"net_arch": [16], "ortho_init": False}
    return algorithm("MlpPolicy", env, seed=seed, device="cpu", policy_kwargs=kwargs)


class Pixels(gymnasium.Env):
    """A channel-last image, which stable-baselines3 transposes."""

    observation_space = spaces.Box(0, 255, (36, 40, 3), np.uint8)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


class Channels(BaseFeaturesExtractor):
    """The mean of every channel and corner: small, and wrong if channels and columns are mixed up."""

    def __init__(self, observation_space: spaces.Space) -> None:
        super().__init__(observation_space, 6)
        assert observation_space.shape == (3, 36, 40)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return torch.cat([obs.mean(dim=(2, 3)), obs[:, :, 0, 0]], dim=1)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", MODELS)
def test_actions_are_those_of_predict(algorithm: type[BaseAlgorithm]) -> None:
    model = make(algorithm)
    actions = SB3Policy(model).act(torch.from_numpy(OBSERVATIONS)[None])  # [1, 1000]
    theirs, _ = model.predict(OBSERVATIONS, deterministic=True)
    assert actions.shape == (1, 1000)
    assert actions[0].tolist() == theirs.tolist()
    assert 20 < theirs.sum(axis=0) < 980, "both actions should occur, or the test says little"


@pytest.mark.parametrize("algorithm", MODELS)
def test_several_models_are_rows(algorithm: type[BaseAlgorithm]) -> None:
    models = [make(algorithm, seed=seed) for seed in (4, 5)]
    policy = SB3Policy(models)
    obs = torch.from_numpy(OBSERVATIONS[:40]).reshape(2, 20, 4)
    assert policy.num_seeds == 2
    assert policy.seeds == (4, 5)
    for s in range(2):
        assert policy.act(obs)[s].tolist() == models[s].predict(obs[s].numpy(), deterministic=True)[0].tolist()
        assert torch.equal(policy[s].scores(obs[s : s + 1])[0], policy.scores(obs)[s])
    with pytest.raises(ValueError, match=r"use policy\[i\]\.predict"):
        policy.predict(OBSERVATIONS)
    with pytest.raises(ValueError, match="one row per seed, 2, got 1"):
        policy.act(obs[:1])


def test_scores_are_q_values_and_log_probabilities() -> None:
    obs = torch.from_numpy(OBSERVATIONS[:5])
    dqn, ppo = make(DQN), make(PPO)
    assert torch.equal(SB3Policy(dqn).scores(obs[None])[0], dqn.q_net(obs))
    probabilities = ppo.policy.get_distribution(obs).distribution.probs
    torch.testing.assert_close(SB3Policy(ppo).scores(obs[None])[0].softmax(dim=-1), probabilities)


@pytest.mark.parametrize("algorithm", MODELS)
def test_scores_have_the_gradient_of_finite_differences(algorithm: type[BaseAlgorithm]) -> None:
    policy = SB3Policy(make(algorithm))
    x = torch.from_numpy(OBSERVATIONS[:1])[None].requires_grad_()
    (gradient,) = torch.autograd.grad(policy.scores(x)[..., 0].sum(dim=(0, 1)), x)
    for j in range(4):
        step = torch.zeros(4).index_fill(0, torch.tensor(j), 1e-2)
        with torch.no_grad():
            grad = (policy.scores(x + step) - policy.scores(x - step))[0, 0, 0] / 2e-2
        assert gradient[0, 0, j].item() == pytest.approx(grad.item(), abs=5e-3)
    assert gradient.abs().sum(dim=-1).item() > 0.01


@pytest.mark.parametrize("algorithm", MODELS)
def test_discrete_observations_are_one_hot_inside(algorithm: type[BaseAlgorithm]) -> None:
    model = make(algorithm, "FrozenLake-v1")
    states = np.arange(16)
    actions = SB3Policy(model).act(torch.from_numpy(states)[None])
    assert actions[0].tolist() == model.predict(states, deterministic=True)[0].tolist()


def test_channel_last_images_are_transposed_and_scaled_inside() -> None:
    kwargs = {"features_extractor_class": Channels, "net_arch": [8]}
    model = PPO("CnnPolicy", Pixels(), policy_kwargs=kwargs, device="cpu", seed=0)
    images = np.random.default_rng(1).integers(0, 256, size=(50, 36, 40, 3), dtype=np.uint8)
    policy = SB3Policy(model)
    assert (
        policy.act(torch.from_numpy(images)[None])[0].tolist() == model.predict(images, deterministic=True)[0].tolist()
    )
    x = torch.from_numpy(images[:2])[None].float().requires_grad_()
    assert torch.equal(policy.scores(x), policy.scores(torch.from_numpy(images[:2])[None]))
    (gradient,) = torch.autograd.grad(policy.scores(x)[..., 0].sum(dim=(0, 1)), x)
    assert gradient.shape == x.shape
    assert gradient.abs().amax().item() > 0


def test_dropout_is_off_as_in_predict() -> None:
    model = make(DQN)
    model.policy.q_net.q_net.insert(1, torch.nn.Dropout(0.5))
    model.policy.set_training_mode(True)
    policy = SB3Policy(model)
    obs = torch.from_numpy(OBSERVATIONS[:50])[None]
    assert torch.equal(policy.scores(obs), policy.scores(obs))


def test_a_saved_model_comes_back_only_if_trusted(tmp_path: Path) -> None:
    model = make(PPO)
    model.save(tmp_path / "ppo.zip")
    with pytest.raises(ValueError, match=r"can run any code\. Pass trust=True"):
        rlkit.sb3.load(tmp_path / "ppo.zip", "PPO")
    for name in ("ppo.zip", "ppo"):
        policy = rlkit.sb3.load(tmp_path / name, "PPO", trust=True)
        actions = policy.act(torch.from_numpy(OBSERVATIONS)[None])[0]
        assert actions.tolist() == model.predict(OBSERVATIONS, deterministic=True)[0].tolist()


def test_nothing_is_unpickled_without_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(DQN).save(tmp_path / "dqn.zip")
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("the file was opened"))
    with pytest.raises(ValueError, match="was not opened"):
        rlkit.sb3.load(tmp_path / "dqn.zip", "DQN")


def test_files_that_are_not_models_are_refused(tmp_path: Path) -> None:
    make(DQN).save(tmp_path / "dqn.zip")
    whole = (tmp_path / "dqn.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.zip").write_text("hello", encoding="utf-8")
    damaged = bytearray(whole)
    damaged[whole.index(b"policy.pth") + 200] ^= 255
    (tmp_path / "damaged.zip").write_bytes(damaged)
    for name in ("cut.zip", "text.zip", "damaged.zip"):
        with pytest.raises(ValueError, match="is not a model saved by stable-baselines3, or it was truncated"):
            rlkit.sb3.load(tmp_path / name, "DQN", trust=True)
    with pytest.raises(ValueError, match="could not be read as PPO, was it saved by another algorithm"):
        rlkit.sb3.load(tmp_path / "dqn.zip", "PPO", trust=True)
    with pytest.raises(FileNotFoundError, match="no stable-baselines3 model"):
        rlkit.sb3.load(tmp_path / "none.zip", "DQN", trust=True)
    with pytest.raises(ValueError, match="algo must be one of DQN, A2C, PPO, got 'SAC'"):
        rlkit.sb3.load(tmp_path / "dqn.zip", "SAC", trust=True)


def test_what_is_not_supported_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        SB3Policy([])
    with pytest.raises(ValueError, match="must be one of DQN, A2C, PPO, got SAC"):
        SB3Policy(SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [4]}, device="cpu", buffer_size=10))
    with pytest.raises(ValueError, match="only Discrete actions"):
        SB3Policy(make(A2C, "Pendulum-v1"))
    with pytest.raises(ValueError, match="share their spaces"):
        SB3Policy([make(DQN), make(DQN, "Acrobot-v1")])
    with pytest.raises(ValueError, match="global generators"):
        SB3Policy(make(PPO)).act(torch.zeros(1, 1, 4), deterministic=False)


def test_a_model_trained_with_n_steps_loads_without_a_warning(tmp_path: Path) -> None:
    model = DQN("MlpPolicy", "CartPole-v1", n_steps=3, device="cpu")
    model.save(tmp_path / "model.zip")
    policy = rlkit.sb3.load(tmp_path / "model.zip", "DQN", trust=True)  # warnings are errors here
    obs = np.zeros(4, np.float32)
    assert policy.predict(obs, deterministic=True)[0] == model.predict(obs, deterministic=True)[0]


# Values


def their_values(model: Any, obs: torch.Tensor) -> torch.Tensor:
    """V of ``[B, *observation]``, ``[B]``, by stable-baselines3's own call."""
    with torch.no_grad():
        if isinstance(model, DQN):
            return model.q_net(obs).amax(dim=-1)
        return model.policy.predict_values(obs)[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", MODELS)
@pytest.mark.parametrize("normalized", [False, True], ids=["bare", "normalized"])
def test_values_are_those_of_the_models_own_critic(algorithm: type[BaseAlgorithm], normalized: bool) -> None:
    models = [make(algorithm, seed=seed) for seed in (4, 5)]
    envs = normalizing() if normalized else None
    values = SB3Policy(models, envs).values(torch.from_numpy(OBSERVATIONS).expand(2, -1, -1))
    shown = OBSERVATIONS if envs is None else envs.normalize_obs(OBSERVATIONS)
    assert values.shape == (2, 1000)
    for s in range(2):
        assert torch.equal(values[s], their_values(models[s], torch.from_numpy(shown)))
    assert values.std(dim=1).min(dim=0).values > 0.01, "values should differ, or the test says little"


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", MODELS)
def test_values_have_the_gradient_of_finite_differences(algorithm: type[BaseAlgorithm]) -> None:
    policy = SB3Policy(make(algorithm), normalizing(clip_obs=10.0))
    x = torch.from_numpy(OBSERVATIONS[:1])[None].requires_grad_()
    (gradient,) = torch.autograd.grad(policy.values(x).sum(dim=(0, 1)), x)
    for j in range(4):
        step = torch.zeros(4).index_fill(0, torch.tensor(j), 1e-3)
        with torch.no_grad():
            grad = (policy.values(x + step) - policy.values(x - step))[0, 0] / 2e-3
        assert gradient[0, 0, j].item() == pytest.approx(grad.item(), abs=5e-3)
    assert gradient.abs().sum(dim=-1).item() > 0.01
    assert all(parameter.grad is None for parameter in policy.models[0].policy.parameters())


@pytest.mark.parametrize("algorithm", MODELS)
def test_values_of_integers_are_those_of_their_codes(algorithm: type[BaseAlgorithm]) -> None:
    model = make(algorithm, "FrozenLake-v1")
    states = torch.arange(16)
    values = SB3Policy(model).values(states[None])
    assert torch.equal(values[0], their_values(model, states))
    assert torch.equal(OneHot(SB3Policy(model)).values(states[None]), values)


@pytest.mark.parametrize("algorithm", MODELS)
def test_a_value_guided_timing_asks_the_models(algorithm: type[BaseAlgorithm]) -> None:
    policy, obs = SB3Policy(make(algorithm)), torch.from_numpy(OBSERVATIONS[:50])[None]
    threshold = policy.values(obs).median().item()
    assert torch.equal(ValueGuided(threshold).urgency(policy, obs), policy.values(obs))
    assert 15 <= ValueGuided(threshold).when(policy, obs, *[torch.zeros(1, 50)] * 2).sum(dim=1).item() <= 35
    with pytest.raises(ValueError, match="one row per seed, 1, got 2"):
        policy.values(obs.expand(2, -1, -1))


# Behind VecNormalize


def normalizing(env: str = "CartPole-v1", **settings: Any) -> VecNormalize:
    """With statistics of a few random steps, far from mean 0 and variance 1, and cuts that bite."""
    envs = VecNormalize(DummyVecEnv([lambda: gymnasium.make(env)] * 2), **{"clip_obs": 1.5, **settings})
    envs.seed(0)
    envs.reset()
    actions = np.random.default_rng(0).integers(2, size=(200, 2))
    for action in actions:
        envs.step(action)
    return envs


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", MODELS)
def test_behind_vec_normalize_actions_are_those_of_predict(algorithm: type[BaseAlgorithm], tmp_path: Path) -> None:
    model, envs = make(algorithm), normalizing()
    model.save(tmp_path / "model.zip")
    envs.save(str(tmp_path / "normalize.pkl"))
    theirs = model.predict(envs.normalize_obs(OBSERVATIONS), deterministic=True)[0].tolist()
    assert theirs != model.predict(OBSERVATIONS, deterministic=True)[0].tolist()
    name = algorithm.__name__
    for given in (envs, tmp_path / "normalize.pkl", str(tmp_path / "normalize.pkl")):
        policy = rlkit.sb3.load(tmp_path / "model.zip", name, trust=True, vec_normalize=given)
        assert policy.act(torch.from_numpy(OBSERVATIONS)[None])[0].tolist() == theirs
        assert policy.predict(OBSERVATIONS, deterministic=True)[0].tolist() == theirs
        assert policy[0].act(torch.from_numpy(OBSERVATIONS)[None])[0].tolist() == theirs
    shown = torch.from_numpy(envs.normalize_obs(OBSERVATIONS))[None]
    assert torch.equal(policy.scores(torch.from_numpy(OBSERVATIONS)[None]), SB3Policy(model).scores(shown))


def test_the_normalization_is_inside_the_graph() -> None:
    model, envs = make(PPO), normalizing(clip_obs=2.0)
    policy = SB3Policy(model, envs)
    x = torch.from_numpy(0.3 * OBSERVATIONS[:20])[None].requires_grad_()
    (gradient,) = torch.autograd.grad(policy.scores(x)[..., 0].sum(dim=(0, 1)), x)
    z = torch.from_numpy(envs.normalize_obs(x.detach()[0].numpy())).requires_grad_()
    (inner,) = torch.autograd.grad(SB3Policy(model).scores(z[None])[..., 0].sum(dim=(0, 1)), z)
    deviation = np.sqrt(envs.obs_rms.var + envs.epsilon)
    expected = torch.where(z.detach().abs() < 2.0, inner / torch.from_numpy(deviation), 0.0)
    torch.testing.assert_close(gradient[0], expected.float(), rtol=1e-4, atol=1e-6)
    assert (gradient == 0).any()
    assert (gradient != 0).any()


@pytest.mark.slow
def test_statistics_stand_still_and_rows_have_their_own() -> None:
    models, envs = [make(DQN, seed=seed) for seed in (1, 2)], [normalizing(), normalizing(clip_obs=0.5)]
    policy = SB3Policy(models, envs)
    obs = torch.from_numpy(OBSERVATIONS[:50]).expand(2, -1, -1)
    before = envs[0].obs_rms.mean.copy()
    for s in range(2):
        theirs = models[s].predict(envs[s].normalize_obs(OBSERVATIONS[:50]), deterministic=True)[0]
        assert policy.act(obs)[s].tolist() == theirs.tolist()
    assert (envs[0].obs_rms.mean == before).all()
    rewards_only = SB3Policy(models[0], normalizing(norm_obs=False))
    assert torch.equal(rewards_only.scores(obs[:1]), SB3Policy(models[0]).scores(obs[:1]))


@pytest.mark.slow
def test_a_normalization_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    make(DQN).save(tmp_path / "model.zip")
    envs = normalizing()
    envs.save(str(tmp_path / "normalize.pkl"))
    with pytest.raises(ValueError, match="was not opened"):
        rlkit.sb3.load(tmp_path / "model.zip", "DQN", vec_normalize=tmp_path / "normalize.pkl")
    with pytest.raises(FileNotFoundError, match="no VecNormalize"):
        rlkit.sb3.load(tmp_path / "model.zip", "DQN", trust=True, vec_normalize=tmp_path / "none.pkl")
    (tmp_path / "text.pkl").write_text("hello", encoding="utf-8")
    with pytest.raises(ValueError, match="could not be read as a VecNormalize"):
        rlkit.sb3.load(tmp_path / "model.zip", "DQN", trust=True, vec_normalize=tmp_path / "text.pkl")
    (tmp_path / "other.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="holds a list, not a VecNormalize"):
        rlkit.sb3.load(tmp_path / "model.zip", "DQN", trust=True, vec_normalize=tmp_path / "other.pkl")
    with pytest.raises(ValueError, match=r"vec_normalize is of observations of shape \(4,\), the models are of \(6,\)"):
        SB3Policy(make(DQN, "Acrobot-v1"), envs)
    with pytest.raises(ValueError, match="vec_normalize has 3 for 2 models"):
        SB3Policy([make(DQN), make(DQN)], [envs] * 3)


def test_no_observations_are_refused() -> None:
    policy = SB3Policy(A2C("MlpPolicy", "CartPole-v1"))
    for ask in (policy.scores, policy.values, policy.act):
        with pytest.raises(ValueError, match="obs holds no observation, B is 0"):
            ask(torch.zeros(1, 0, 4))


def test_a_recurrent_policy_is_refused_at_the_door():
    class RecurrentPPO:
        """As sb3-contrib's: it answers as an actor-critic, and its policy has an LSTM."""

        observation_space, action_space = spaces.Box(-1.0, 1.0, (4,)), spaces.Discrete(2)
        policy = SimpleNamespace(get_distribution=None, lstm_actor=torch.nn.LSTM(4, 8))

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            state = np.zeros(len(observation)) if state is None else state * ~episode_start + 1.0
            return (state > 3).astype(np.int64), state

    with pytest.raises(ValueError, match="RecurrentPPO is recurrent, and its actions follow from the whole episode"):
        SB3Policy(RecurrentPPO())
    with pytest.raises(ValueError, match="RecurrentPPO is recurrent, and a batched Env passes no states on"):
        evaluate_policy(RecurrentPPO(), rlkit.envs.make("CartPole-v1", num_envs=2), 2)
    mean, _ = evaluate_policy(RecurrentPPO(), gymnasium.make("CartPole-v1"), 2)
    assert mean > 8

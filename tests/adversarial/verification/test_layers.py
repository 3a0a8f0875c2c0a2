"""Extracted layers give the victim's own scores; what verification does not cover is refused."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from verified_networks import assert_consistent, network, provoked, samples
from victims import NORMS, Linear, normal

from rlkit.adversarial import (
    Budget,
    DecisionTrees,
    LabelVictim,
    ModuleVictim,
    OneHot,
    Stacked,
    local_lipschitz_bound,
    probability_bounds,
    reachable_actions,
)
from rlkit.adversarial.verification.bounds import TileLayers, scores_at
from rlkit.adversarial.verification.layers import extract_layers
from rlkit.adversarial.verification.region import normalized
from rlkit.agents import A2C, DQN, PPO
from rlkit.sb3 import SB3Policy


def extracted_scores(victim: Any, obs: Tensor) -> Tensor:
    stack = extract_layers(victim)
    return scores_at(TileLayers.of(stack), normalized(stack, obs)).mT


def assert_extracted(victim: Any, obs: Tensor, log_softmax: bool = False) -> None:
    found = extracted_scores(victim, obs)
    found = torch.log_softmax(found, dim=-1) if log_softmax else found
    torch.testing.assert_close(found, victim.scores(obs).detach().double(), atol=2e-5, rtol=2e-5)


def assert_sound(victim: Any, obs: Tensor, budget: Budget, actions: int) -> None:
    found = reachable_actions(victim, obs, budget)
    assert_consistent(found, victim, obs, budget)
    assert not (provoked(victim, samples(obs, budget, 200), actions) & found.excluded).any()
    assert found.open.double().mean(dim=(0, 1, 2)) < 0.05


def with_statistics(agent: Any) -> Any:
    """An agent whose normalizer has seen observations of other means and deviations."""
    seen = normal(agent.num_seeds, 50, 4, seed=9)[:, :, None] * torch.tensor([2.0, 0.1, 1.0, 5.0]) + 0.5
    agent.normalizer.update(seen, torch.ones(seen.shape[:3]), torch.zeros(seen.shape[:3]).bool(), torch.ones(2).bool())
    return agent


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("algorithm", [DQN, A2C, PPO])
def test_agents_are_read(algorithm: Any, activation: str) -> None:
    settings = {} if algorithm is DQN else {"ortho_init": False}
    agent = algorithm("CartPole-v1", seeds=[0, 1], net_arch=(20, 33), activation=activation, **settings)
    obs = normal(2, 30, 4)
    assert_extracted(agent, obs)
    assert_sound(agent, obs, Budget(0.5), 2)


def test_a_normalizer_and_its_clip_are_read() -> None:
    agent = with_statistics(PPO("CartPole-v1", seeds=[0, 1], normalize_observations=True, ortho_init=False))
    obs = 3.0 * normal(2, 40, 4)
    obs[:, :5] *= 50.0  # beyond the clip
    assert_extracted(agent, obs)
    assert_sound(agent, obs, Budget(2.0), 2)
    for norm in NORMS:  # other balls are contained in the region, which may leave more open beyond the clip
        found = reachable_actions(agent, obs, Budget(2.0, norm=norm), max_boxes=50)
        assert_consistent(found, agent, obs, Budget(2.0, norm=norm))
        assert not (provoked(agent, samples(obs, Budget(2.0, norm=norm), 200), 2) & found.excluded).any()


def test_dueling_networks_are_read() -> None:
    agent = DQN("CartPole-v1", seeds=[0, 1], net_arch=(16, 16), dueling=True)
    obs = normal(2, 30, 4)
    assert_extracted(agent, obs)
    assert_sound(agent, obs, Budget(0.5), 2)


def test_codes_of_integers_are_verified() -> None:
    agent = DQN("rlkit/GridWorld-v0", seeds=[3, 4], env_kwargs={"map": "frozenlake-4x4"}, net_arch=(16,))
    victim = OneHot(agent)
    codes = victim.encode(torch.arange(16).expand(2, 16))
    assert_extracted(victim, codes)
    found = reachable_actions(victim, codes, Budget(0.02))
    assert_consistent(found, victim, codes, Budget(0.02))
    assert not (provoked(victim, samples(codes, Budget(0.02), 100), 4) & found.excluded).any()
    with pytest.raises(ValueError, match="integers have no gradient"):
        reachable_actions(agent, torch.arange(16).expand(2, 16), Budget(0.02))


def test_modules_are_read() -> None:
    first = (nn.Flatten(), nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8, bias=False))
    mixed = nn.Sequential(*first, nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))
    obs = normal(1, 20, 3)
    assert_extracted(ModuleVictim(mixed), obs)
    assert extract_layers(ModuleVictim(mixed)).activations == ("tanh", "none", "relu")
    assert_sound(ModuleVictim(mixed), obs, Budget(0.4), 3)
    plain = [network(3, 16, 16, 2, seed=seed) for seed in range(2)]
    assert_extracted(Stacked(plain), normal(2, 20, 3))
    double = ModuleVictim(network(3, 16, 2).double())
    assert extract_layers(double).dtype == torch.float64
    assert_sound(double, obs.double(), Budget(0.4), 2)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["DQN", "PPO", "A2C"])
def test_models_of_stable_baselines3_are_read(algorithm: str) -> None:
    import stable_baselines3
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    envs = VecNormalize(DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]), clip_obs=1.5)
    envs.obs_rms.mean, envs.obs_rms.var = np.array([0.5, 0.0, 0.1, 0.0]), np.array([0.2, 1.0, 0.05, 2.0])
    kwargs = {"net_arch": [24, 24]} if algorithm == "DQN" else {"net_arch": [24, 24], "ortho_init": False}
    model = getattr(stable_baselines3, algorithm)("MlpPolicy", envs, seed=0, device="cpu", policy_kwargs=kwargs)
    obs = normal(1, 40, 4)
    for victim in (SB3Policy(model), SB3Policy(model, envs), SB3Policy([model, model], [envs, None])):
        rows = obs.expand(victim.num_seeds, -1, -1).contiguous()
        assert_extracted(victim, rows, log_softmax=algorithm != "DQN")
        assert_sound(victim, rows, Budget(0.3), 2)


def test_what_is_not_covered_is_refused() -> None:
    obs = normal(1, 5, 4)
    for victim, words in (
        (Linear(normal(1, 4, 2)), "Linear cannot be verified: verification covers agents"),
        (LabelVictim(lambda x: np.zeros(len(x), dtype=int)), "LabelVictim cannot be verified"),
        (ModuleVictim(nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2))), r"GELU.* cannot be verified"),
        (ModuleVictim(nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 2))), r"Dropout.* cannot be verified"),
        (ModuleVictim(nn.Sequential(nn.Linear(4, 2), nn.ReLU())), "must begin and end with nn.Linear"),
        (ModuleVictim(nn.Sequential(nn.Tanh(), nn.Linear(4, 2))), r"Tanh.* cannot be verified"),
        (DQN("CartPole-v1", network="rbf"), "a radial basis"),
        (DQN("CartPole-v1").ensemble(), "Ensemble cannot be verified"),
    ):
        with pytest.raises(ValueError, match=words):
            reachable_actions(victim, obs, Budget(0.1))
    with pytest.raises(ValueError, match="of one shape to be verified together"):
        reachable_actions(ModuleVictim([network(4, 8, 2), network(4, 9, 2)]), normal(2, 5, 4), Budget(0.1))
    with pytest.raises(ValueError, match=r"float32 or float64, got torch.float16"):
        extract_layers(ModuleVictim(network(4, 8, 2).half()))
    for measure in (local_lipschitz_bound, probability_bounds):
        with pytest.raises(ValueError, match="DecisionTrees cannot be verified"):
            measure(
                DecisionTrees(torch.zeros(1, 1).long(), torch.zeros(1, 1), torch.zeros(1, 2).long()), obs, Budget(0.1)
            )


def test_lower_precision_of_products_is_refused() -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        with pytest.raises(ValueError, match="precision is 'medium', and certificates hold for 'highest'"):
            extract_layers(ModuleVictim(network(4, 8, 2)))
    finally:
        torch.set_float32_matmul_precision("highest")

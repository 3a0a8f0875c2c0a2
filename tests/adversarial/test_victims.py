"""Whom attacks may be run on: nobody is changed, everybody is asked what they can answer."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from grid_search import GridSearch
from gymnasium import spaces
from torch import Tensor, nn
from victims import DIMS, Linear, mlp, normal, uniform

import rlkit.envs
from rlkit.adversarial import (
    FGSM,
    PGD,
    Attack,
    AttackedPolicy,
    Boundary,
    Budget,
    DeepFool,
    LabelVictim,
    ModuleVictim,
    Noise,
    OneHot,
    RandomSearch,
    execute,
    perturb,
    universal_offset,
)
from rlkit.agents import DQN, PPO
from rlkit.evaluation import rollout
from rlkit.sb3 import SB3Policy

ATTACKS: tuple[Attack, ...] = (
    Noise(),
    FGSM(),
    PGD(3, restarts=2),
    DeepFool(),
    RandomSearch(10),
    Boundary(rays=6, directions=4, rounds=1),
    GridSearch(2),
)


def numbers(attack: Attack, obs: Tensor) -> Tensor | None:
    width = attack.noise_width(obs[0, 0].numel())
    return uniform(*obs.shape[:2], width) if width > 0 else None


# torch modules


def test_a_module_lives_where_its_parameters_do() -> None:
    assert ModuleVictim([nn.Linear(2, 2, device="meta"), nn.Linear(2, 2)]).device == torch.device("meta")
    assert ModuleVictim(nn.Identity()).device == torch.device("cpu")


def batch_normalized() -> nn.Sequential:
    module = nn.Sequential(nn.Linear(DIMS, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    for i, parameter in enumerate(module.parameters()):
        parameter.data = normal(*parameter.shape, seed=i)
    return module


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_module_is_left_as_it_was(attack: Attack) -> None:
    module = batch_normalized()
    module[1].eval()
    next(module.parameters()).requires_grad_(False)
    module[4].bias.grad = torch.full((3,), 7.0)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    flags = [(part.training, [p.requires_grad for p in part.parameters(recurse=False)]) for part in module.modules()]
    obs = normal(1, 30, DIMS)
    execute(attack, ModuleVictim(module), obs, Budget(0.5), numbers(attack, obs))
    universal_offset(ModuleVictim(module), obs, Budget(0.5), steps=2)
    now = [(part.training, [p.requires_grad for p in part.parameters(recurse=False)]) for part in module.modules()]
    assert now == flags
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert [p.grad is None for p in module.parameters()] == [True] * 5 + [False]
    assert module[4].bias.grad.tolist() == [7.0] * 3
    assert torch.equal(obs, normal(1, 30, DIMS)), "the observation was changed in place"


def test_modules_in_training_mode_answer_as_in_evaluation_mode() -> None:
    module = batch_normalized().train()
    obs = normal(1, 30, DIMS)
    victim = ModuleVictim(module)
    assert torch.equal(victim.scores(obs), victim.scores(obs))
    assert torch.equal(victim.scores(obs)[0], module.eval()(obs[0]))


def test_a_normalizer_in_the_module_is_in_the_graph() -> None:
    # the same policy with and without a normaliser of features of very different size
    scale = torch.tensor([100.0, 0.01, 1.0, 10.0])

    class Normalized(nn.Module):
        def __init__(self, policy: nn.Module) -> None:
            super().__init__()
            self.policy = policy

        def forward(self, obs: Tensor) -> Tensor:
            scores: Tensor = self.policy(obs / scale)
            return scores

    plain = mlp(3)
    wrapped = ModuleVictim([Normalized(module) for module in plain.modules])
    obs = normal(2, 30, DIMS, seed=1)
    for attack in (FGSM(), PGD(5)):
        one = execute(attack, plain, obs, Budget(0.3))
        other = execute(attack, wrapped, obs * scale, Budget(0.3, scale=scale))
        torch.testing.assert_close(other.obs / scale, one.obs)
        assert torch.equal(other.success, one.success)


def test_modules_that_do_not_fit_are_refused() -> None:
    obs = normal(1, 5, DIMS)
    with pytest.raises(ValueError, match="modules must hold at least one torch module"):
        ModuleVictim([])
    with pytest.raises(ValueError, match="one row per seed, 2, got 1"):
        mlp(3).scores(obs)
    with pytest.raises(ValueError, match=r"must be \[S, B, A\], got \[1, 5\]"):
        perturb(FGSM(), ModuleVictim(nn.Flatten(0)), obs[..., :1], Budget(0.1))
    with pytest.raises(ValueError, match="does not define how to sample"):
        mlp(3).act(normal(2, 5, DIMS), deterministic=False)


# labels


class Tree:
    """A decision tree with scikit-learn's predict."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.where(x[:, 0] > 0.5, np.where(x[:, 1] > 0.0, 2, 0), 1)


def test_a_tree_is_attacked_by_labels_and_by_nothing_else() -> None:
    obs, budget = normal(1, 100, 2), Budget(0.4)
    for victim in (LabelVictim(Tree()), LabelVictim(Tree().predict)):
        flips = execute(GridSearch(5), victim, obs, budget).success
        found = execute(Boundary(), victim, obs, budget, numbers(Boundary(), obs))
        assert (found.success & flips).sum(dim=(0, 1)) >= 0.95 * flips.sum(dim=(0, 1))
        assert found.margin.isnan().all()
        for attack in (FGSM(), PGD(), DeepFool(), RandomSearch(5)):
            with pytest.raises(
                ValueError, match=rf"{attack.name}.* needs the victim's scores\(obs\), which LabelVictim"
            ):
                execute(attack, victim, obs, budget, numbers(attack, obs))


@pytest.mark.slow
def test_models_with_predict_are_victims_by_their_actions() -> None:
    from stable_baselines3 import PPO as PeerPPO

    model = PeerPPO("MlpPolicy", "CartPole-v1", seed=0, device="cpu", policy_kwargs={"net_arch": [16]})

    def predict(obs: np.ndarray) -> Any:
        return model.predict(obs, deterministic=True)

    obs = normal(1, 50, 4)
    assert torch.equal(LabelVictim(predict).act(obs), SB3Policy(model).act(obs))


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="predict or to be callable, got int"):
        LabelVictim(3)
    with pytest.raises(ValueError, match="model must hold at least one model"):
        LabelVictim([])
    obs = normal(2, 5, DIMS)
    with pytest.raises(ValueError, match="one row per seed, 1, got 2"):
        LabelVictim(Tree()).act(obs)
    with pytest.raises(ValueError, match=r"one action per observation, \[5\], got \(5, 4\)"):
        LabelVictim([lambda x: x] * 2).act(obs)
    with pytest.raises(ValueError, match="does not define how to sample"):
        LabelVictim(Tree()).act(obs[:1], deterministic=False)


# integers


def test_integers_are_attacked_by_their_codes() -> None:
    for make in (DQN, PPO):
        agent = make("rlkit/GridWorld-v0", seeds=[3, 4], env_kwargs={"map": "frozenlake-4x4"}, num_envs=2)
        victim, states = OneHot(agent), torch.arange(16).expand(2, 16)
        codes = victim.encode(states)
        assert codes.shape == (2, 16, 16)
        assert torch.equal(victim.encode(codes), codes)
        assert torch.equal(victim.scores(states), agent.scores(states))
        assert torch.equal(victim.values(states), agent.values(states))
        with pytest.raises(ValueError, match="integers have no gradient"):
            execute(FGSM(), agent, states, Budget(0.3))
        result = execute(PGD(), victim, codes, Budget(0.5))
        assert result.success.any()
        assert torch.equal(agent.act(result.obs) != agent.act(states), result.success)
        assert (victim.num_seeds, victim.seeds) == (2, (3, 4))


def test_attacked_integers_play() -> None:
    agent = DQN("rlkit/GridWorld-v0", seeds=[3, 4], env_kwargs={"map": "frozenlake-4x4"})
    env = agent.evaluation_env(5)
    assert isinstance(env.observation_space, spaces.Discrete)
    attacked = AttackedPolicy(OneHot(agent), FGSM(), Budget(0.5))
    assert rollout(attacked.policy, env, perturb=attacked).flips.sum(dim=(0, 1)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["DQN", "A2C", "PPO"])
def test_the_peers_integers_are_attacked_by_their_codes(algorithm: str) -> None:
    import stable_baselines3

    make = getattr(stable_baselines3, algorithm)
    model = make("MlpPolicy", gymnasium.make("FrozenLake-v1"), seed=0, device="cpu", policy_kwargs={"net_arch": [16]})
    victim, states = OneHot(SB3Policy(model)), torch.arange(16)[None]
    codes = victim.encode(states)
    torch.testing.assert_close(victim.scores(codes), SB3Policy(model).scores(states))
    assert torch.equal(victim.act(states)[0], torch.from_numpy(model.predict(states[0].numpy(), deterministic=True)[0]))
    training = [part.training for part in model.policy.modules()]
    result = execute(FGSM(), victim, codes, Budget(1.0))
    assert result.success.any()
    assert torch.equal(SB3Policy(model).act(result.obs) != SB3Policy(model).act(states), result.success)
    assert [part.training for part in model.policy.modules()] == training


def test_codes_are_for_integers() -> None:
    with pytest.raises(ValueError, match=r"one-hot codes are for Discrete observations, got None"):
        OneHot(Linear(normal(1, DIMS, 2)))
    with pytest.raises(ValueError, match="one-hot codes are for Discrete observations, got Box"):
        OneHot(DQN("CartPole-v1"))
    assert OneHot(Linear(normal(1, 3, 2)), spaces.Discrete(3, start=5)).encode(torch.tensor([[7]])).tolist() == [
        [[0.0, 0.0, 1.0]]
    ]


# stochastic victims


class Restless(Linear):
    """Acts at random whatever it is asked."""

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        self.asked = getattr(self, "asked", 0) + 1
        return torch.full(obs.shape[:2], self.asked % 2)


def test_a_stochastic_victim_is_noticed() -> None:
    victim, obs = Restless(normal(1, DIMS, 2)), normal(1, 6, DIMS)
    with pytest.warns(RuntimeWarning, match="Restless gave two answers to 6 of 6 same observations"):
        execute(FGSM(), victim, obs, Budget(0.1))
    with pytest.warns(RuntimeWarning, match="attacked as if it were deterministic"):
        AttackedPolicy(victim, FGSM(), Budget(0.1)).perturb(obs)


def test_sampling_under_an_attack_on_the_greedy_action_is_noticed() -> None:
    agent = PPO("CartPole-v1", seeds=[0])
    obs = normal(1, 6, 4)
    with pytest.warns(RuntimeWarning, match="FGSM attacks its greedy ones"):
        AttackedPolicy(agent, FGSM(), Budget(0.1)).act(obs, deterministic=False)
    AttackedPolicy(agent, Noise(), Budget(0.1)).act(obs, deterministic=False)


# agents


def test_our_agents_and_ensembles_are_victims_as_they_are() -> None:
    env = rlkit.envs.make("CartPole-v1", seeds=[0, 1], num_envs=20)
    agent = PPO("CartPole-v1", seeds=[0, 1], ortho_init=False)
    before = agent.actor_critic.flat.clone()
    for victim, obs in ((agent, env.obs), (agent.ensemble(), env.obs[:1])):
        fgsm = execute(FGSM(), victim, obs, Budget(5.0))
        pgd = execute(PGD(10), victim, obs, Budget(5.0))
        assert (pgd.margin >= fgsm.margin - 1e-6).all()
        assert fgsm.success.any()
    assert torch.equal(agent.actor_critic.flat, before)
    assert all(parameter.grad is None for parameter in agent.actor_critic.policy.parameters)


def test_what_is_shown_belongs_to_the_present_observation() -> None:
    # neither an old observation nor an old offset is shown again
    victim, budget = mlp(3), Budget(0.4)
    attacked = AttackedPolicy(victim, PGD(3), budget)
    for seed in range(4):
        obs = normal(2, 20, DIMS, seed=seed)
        assert torch.equal(attacked.perturb(obs), perturb(PGD(3), victim, obs, budget))

"""Gradients by the observation that are written out by hand, held to autograd; networks stacked for an attack."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from victims import normal

from rlkit.adversarial import PGD, Budget, Stacked, execute
from rlkit.adversarial.victims.base import QueryCounter, linearize
from rlkit.agents import A2C, DQN, PPO, REINFORCE
from rlkit.nn import MLP
from rlkit.sb3 import SB3Policy, layers_of

DIMS = 4


def by_autograd(victim: Any, obs: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = obs.clone().requires_grad_()
        scores = victim.scores(x)
    return scores.detach(), torch.autograd.grad(scores, x, grad)[0]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("sizes", [(DIMS, 3), (DIMS, 24, 3), (DIMS, 64, 32, 2)])
@pytest.mark.parametrize("copies", [3, 200])
def test_the_gradient_by_the_input_is_autograds(activation: Any, sizes: tuple[int, ...], copies: int) -> None:
    network = MLP(sizes, seeds=[1, 2], activation=activation)
    x, grad = normal(2, copies, DIMS), normal(2, copies, sizes[-1], seed=1)
    with torch.no_grad():
        output, pullback = network.input_vjp(x)
        gradient = pullback(grad)
    z = x.clone().requires_grad_()
    found = network(z)
    assert torch.allclose(output, found, atol=1e-6)
    assert torch.allclose(gradient, torch.autograd.grad(found, z, grad)[0], atol=1e-6)
    alone = MLP(sizes, seeds=[2], activation=activation).input_vjp(x[1:])
    assert torch.equal(alone[0], output[1:])
    assert torch.equal(alone[1](grad[1:]), gradient[1:])


@pytest.mark.parametrize("make", [A2C, DQN, PPO, REINFORCE])
def test_agents_know_their_gradients(make: Any) -> None:
    agent = make("CartPole-v1", seeds=[0, 1], device="cpu")
    obs, grad = normal(2, 20, DIMS), normal(2, 20, 2, seed=1)
    scores, gradient = by_autograd(agent, obs, grad)
    by_hand = agent.scores_and_pullback(obs)
    assert by_hand is not None
    assert torch.allclose(by_hand[0], scores, atol=1e-6)
    assert torch.allclose(by_hand[1](grad), gradient, atol=1e-6)
    counted = QueryCounter(agent)
    linearize(counted, obs)
    assert counted.asked == 40


def test_other_networks_decline_and_are_differentiated() -> None:
    obs, grad = normal(1, 20, DIMS), normal(1, 20, 2, seed=1)
    agent = DQN("CartPole-v1", seeds=[0], device="cpu", dueling=True)
    assert agent.scores_and_pullback(obs) is None
    counted = QueryCounter(agent)
    _, pullback = linearize(counted, obs)
    assert counted.asked == 20
    assert torch.equal(pullback(grad), by_autograd(agent, obs, grad)[1])
    radial = DQN("CartPole-v1", seeds=[0], device="cpu", network="rbf")
    assert radial.scores_and_pullback(obs) is None
    with pytest.raises(ValueError, match="for layers without convolutions or a basis"):
        radial.network.input_vjp(obs)


def plain(seed: int, *sizes: int, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        linear = nn.Linear(n_in, n_out)
        linear.weight.data, linear.bias.data = normal(n_out, n_in, seed=seed + i), normal(n_out, seed=seed - i)
        layers += [linear, activation()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("sizes", [(DIMS, 3), (DIMS, 20, 3), (DIMS, 32, 16, 2)])
def test_stacked_networks_give_the_networks_scores(sizes: tuple[int, ...]) -> None:
    networks = [plain(10, *sizes), plain(20, *sizes)]
    stack, obs = Stacked(networks, seeds=[5, 6]), normal(2, 30, DIMS)
    expected = torch.stack([network(row) for network, row in zip(networks, obs, strict=True)])
    assert torch.allclose(stack.scores(obs), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(stack.act(obs), expected.argmax(dim=-1))
    assert (stack.num_seeds, stack.seeds) == (2, (5, 6))
    grad = normal(2, 30, sizes[-1], seed=3)
    assert torch.allclose(stack.scores_and_pullback(obs)[1](grad), by_autograd(stack, obs, grad)[1], atol=1e-4)


def test_what_cannot_be_stacked() -> None:
    with pytest.raises(ValueError, match="at least one network"):
        Stacked([])
    with pytest.raises(ValueError, match="one shape"):
        Stacked([plain(10, DIMS, 8, 2), plain(10, DIMS, 16, 2)])
    for odd in (plain(10, DIMS, 8, 2, activation=nn.GELU), nn.Sequential(nn.Tanh(), nn.Linear(DIMS, 2), nn.Tanh())):
        with pytest.raises(ValueError, match="linear layers with ReLU or Tanh"):
            Stacked([odd])
    with pytest.raises(ValueError, match="deterministic=True"):
        Stacked([plain(10, DIMS, 2)]).act(normal(1, 2, DIMS), deterministic=False)


@pytest.mark.parametrize("algorithm", ["DQN", "A2C", "PPO"])
def test_models_of_stable_baselines3_stacked(algorithm: str) -> None:
    import stable_baselines3

    models = [getattr(stable_baselines3, algorithm)("MlpPolicy", "CartPole-v1", seed=s, device="cpu") for s in (0, 1)]
    policy = SB3Policy(models)
    stack, obs = Stacked([layers_of(model) for model in models]), normal(2, 30, DIMS)
    scores = stack.scores(obs)
    expected = policy.scores(obs)  # logits are normalized there
    if algorithm != "DQN":
        scores = scores.log_softmax(dim=-1)
    assert torch.allclose(scores, expected, atol=1e-5)
    budget = Budget(0.3)
    assert torch.equal(execute(PGD(3), stack, obs, budget).success, execute(PGD(3), policy, obs, budget).success)


def test_only_flat_observations_have_layers() -> None:
    from stable_baselines3 import DQN as PeerDQN

    with pytest.raises(ValueError, match="flat floating"):
        layers_of(PeerDQN("MlpPolicy", "FrozenLake-v1", device="cpu"))
    extracted = PeerDQN("MlpPolicy", "CartPole-v1", device="cpu")
    extracted.policy.q_net.features_extractor = nn.Identity()
    with pytest.raises(ValueError, match="Identity extracts"):
        layers_of(extracted)

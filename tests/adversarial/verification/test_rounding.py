"""Rounding errors of victims stay within the slack, whatever the order of summation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from verified_networks import linear, network
from victims import normal

from rlkit.adversarial import Budget, ModuleVictim, local_margin_radius, reachable_actions
from rlkit.adversarial.verification.bounds import TileLayers, scores_at
from rlkit.adversarial.verification.layers import LayerStack, extract_layers
from rlkit.adversarial.verification.rounding import score_slack
from rlkit.sb3 import SB3Policy


def in_any_order(stack: LayerStack, obs: Tensor, rng: np.random.Generator) -> np.ndarray:
    """Scores ``[A, B]`` in float32, every product summed one by one in a random order."""
    h = obs[0].numpy().T.astype(np.float32)
    for i, (weight, bias) in enumerate(zip(stack.weights, stack.biases, strict=True)):
        w, total = weight[0].numpy().astype(np.float32), np.zeros((weight.shape[1], h.shape[1]), dtype=np.float32)
        for k in rng.permutation(w.shape[1]):
            total = total + w[:, k : k + 1] * h[k]
        h = total + bias[0].numpy().astype(np.float32)
        if i < len(stack.activations):
            h = np.maximum(h, 0) if stack.activations[i] == "relu" else np.tanh(h)
    return h


def slack_at(stack: LayerStack, obs: Tensor) -> Tensor:
    points = obs.double().mT
    return score_slack(stack, torch.arange(len(obs)), points, points)[0]  # [A, A, B]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("size", [1.0, 100.0])
def test_float32_scores_are_within_the_slack_in_any_order(activation: type[nn.Module], size: float) -> None:
    stack = extract_layers(ModuleVictim(network(4, 64, 64, 3, seed=1, activation=activation)))
    obs = size * normal(1, 50, 4)
    exact = scores_at(TileLayers.of(stack), obs.double().mT)[0]
    slack, rng = slack_at(stack, obs), np.random.default_rng(0)
    worst = torch.zeros_like(slack)
    for _ in range(30):
        found = torch.from_numpy(in_any_order(stack, obs, rng)).double()
        off = ((found[:, None] - found[None]) - (exact[:, None] - exact[None])).abs()
        assert (off <= slack).all()
        worst = torch.maximum(worst, off)
    pairs = ~torch.eye(3).bool()
    assert (worst[pairs] > 1e-4 * slack[pairs]).all(), "the slack is idle"


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_margins_that_float32_turns_around_are_not_excluded(hidden: int) -> None:
    # s = 2^24 + 1 - 2^24: 1 in real numbers, 0 or 1 in float32, by the order; action 1 scores s, action 0 scores 0.5
    big = 2.0**24
    module = nn.Sequential(linear([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], [0.5, 0.0]))
    if hidden:  # the error is made in the first layer, and carried to the scores
        same = [layer for _ in range(hidden - 1) for layer in (linear([[1.0]], [0.0]), nn.ReLU())]
        first, last = linear([[1.0, 1.0, 1.0]], [0.0]), linear([[0.0], [1.0]], [0.5, 0.0])
        module = nn.Sequential(first, nn.ReLU(), *same, last)
    victim = ModuleVictim(module)
    obs = torch.tensor([[[big, 1.0, -big], [1.0, big, -big], [big, -big, 1.0]]])
    stack = extract_layers(victim)
    rng = np.random.default_rng(0)
    chosen = {tuple(in_any_order(stack, obs, rng).argmax(axis=0).tolist()) for _ in range(40)}
    assert len(chosen) > 1, "the order of summation matters"
    assert not reachable_actions(victim, obs, Budget(0.0)).excluded.any()


def test_leads_within_rounding_have_no_radius() -> None:
    # the scores 1000 x + 1e-9 and 1000 x have one slope, and one value in float32
    victim = ModuleVictim(nn.Sequential(linear([[1e3], [1e3]], [1e-9, 0.0])))
    assert local_margin_radius(victim, torch.tensor([[[1.0], [2.0]]]), Budget(1.0)).tolist() == [[0.0, 0.0]]
    far = ModuleVictim(nn.Sequential(linear([[1e3], [1e3]], [1.0, 0.0])))
    assert local_margin_radius(far, torch.tensor([[[1.0], [2.0]]]), Budget(1.0)).amin(dim=(0, 1)) > 0.99


def test_scores_far_apart_in_float32_are_excluded() -> None:
    victim = ModuleVictim(network(4, 64, 64, 2, seed=2))
    obs = normal(1, 200, 4)
    found = reachable_actions(victim, obs, Budget(0.0))
    lead = (victim.scores(obs)[..., 0] - victim.scores(obs)[..., 1]).abs()
    assert found.excluded.any(dim=-1)[lead > 1e-3].all()


def test_dead_units_round_nothing() -> None:
    # 1,000 units that are 0 at the observation do not add to the slack
    small = nn.Sequential(linear([[1.0]], [0.0]), nn.ReLU(), linear([[1.0], [0.5]], [0.0, 0.0]))
    last = linear(np.outer([1.0, 0.5], np.ones(1001)), [0.0, 0.0])
    wide = nn.Sequential(linear(np.ones((1001, 1)), [0.0] + [-10.0] * 1000), nn.ReLU(), last)
    obs = torch.tensor([[[2.0]]])
    few, many = (slack_at(extract_layers(ModuleVictim(module)), obs)[1, 0] for module in (small, wide))
    torch.testing.assert_close(few, many, rtol=0.2, atol=0.0)


def test_the_normalization_of_observations_is_rounded_too() -> None:
    # the product of one feature is rounded up to three times, and the feature itself up to twice
    stack = extract_layers(ModuleVictim(nn.Sequential(linear([[0.0], [1.0]], [0.0, 0.0]))))
    assert slack_at(stack, torch.tensor([[[1e4]]]))[1, 0].item() >= 4.99 * 1e4 * 2.0**-24


@pytest.mark.slow
def test_the_subtraction_of_log_sum_exp_may_tie_scores() -> None:
    # logits 1e-6 x and 0: less than float32 resolves beside log 2 where x is small, and ties are the first action's
    from stable_baselines3 import PPO

    model = PPO("MlpPolicy", "CartPole-v1", seed=0, device="cpu", policy_kwargs={"net_arch": []})
    layer = model.policy.action_net
    layer.weight.data = torch.tensor([[0.0] * 4, [1e-6, 0.0, 0.0, 0.0]])
    layer.bias.data.zero_()
    victim, obs = SB3Policy(model), torch.tensor([[[1.0, 0.0, 0.0, 0.0], [1e-3, 0.0, 0.0, 0.0]]])
    assert victim.act(obs).tolist() == [[1, 0]]
    found = reachable_actions(
        victim, obs[:, :1], Budget(1.0, mask=[True, False, False, False], low=[1e-3, 0.0, 0.0, 0.0])
    )
    assert not found.excluded[0, 0, 0]

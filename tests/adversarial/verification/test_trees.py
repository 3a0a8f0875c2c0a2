"""Trees against every float32 neighbor, brute force over a grid, and scikit-learn's predictions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor
from verified_networks import assert_consistent, provoked, samples
from victims import NORMS, normal

from rlkit.adversarial import Budget, DecisionTrees, reachable_actions
from rlkit.adversarial.budget import Norm
from rlkit.adversarial.verification.trees import leaves_of


def grown(rows: int = 2, depth: int = 5, features: int = 2, actions: int = 4) -> DecisionTrees:
    models = []
    for row in range(rows):
        rng = np.random.default_rng(row)
        x = rng.normal(size=(300, features)).astype(np.float32)
        action = (np.floor(2 * x[:, 0]) + np.floor(3 * x[:, 1])).astype(int) % actions
        models.append(DecisionTreeClassifier(max_depth=depth, random_state=0).fit(x, action))
    return DecisionTrees.from_sklearn(models)


def stump(threshold: float) -> DecisionTrees:
    """Action 0 at most the threshold, 1 above it."""
    return DecisionTrees(
        torch.zeros(1, 1).long(), torch.tensor([[threshold]], dtype=torch.float64), torch.tensor([[0, 1]])
    )


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_action_of_a_tree_is_decided(norm: Norm, dtype: torch.dtype) -> None:
    trees, obs = grown(), normal(2, 60, 2).to(dtype).clamp(-1.0, 1.0)
    budget = Budget(0.3, norm=norm, scale=[1.0, 0.6], low=-1.1, high=1.05)
    found = reachable_actions(trees, obs, budget)
    assert_consistent(found, trees, obs, budget)
    assert not found.open.any()
    seen = provoked(trees, samples(obs, budget, 4000), 4)
    assert not (seen & found.excluded).any()
    assert (found.reachable & ~seen).double().mean(dim=(0, 1, 2)) < 0.08, "samples reach nearly all"
    assert found.excluded.any()
    masked = reachable_actions(trees, obs, Budget(0.3, norm=norm, mask=[False, False]))
    assert masked.reachable.sum(dim=-1).eq(1).all()
    assert not masked.open.any()


@pytest.mark.parametrize("threshold", [0.1, 0.5, -0.3, 1 / 3, 1e-30])
def test_leaves_are_half_open_to_the_last_float(threshold: float) -> None:
    trees = stump(threshold)
    below = torch.tensor(threshold, dtype=torch.float64).float()
    if below.double() > threshold:
        below = torch.nextafter(below, torch.tensor(-torch.inf))
    above = torch.nextafter(below, torch.tensor(torch.inf))
    assert trees.act(torch.stack([below, above])[None, :, None]).tolist() == [[0, 1]]
    leaves = leaves_of(trees, 1)
    assert (leaves.high[0, 0, 0], leaves.low[0, 1, 0]) == (below, above)
    # within a factor of 2 of the threshold offsets are exact, so that every float can be shown
    obs = (below * (0.75 if threshold > 0 else 1.5)).view(1, 1, 1)
    for bound, reached in ((below, False), (above, True)):
        found = reachable_actions(trees, obs, Budget(9.0, high=float(bound)))
        assert found.reachable[0, 0].tolist() == [True, reached]
        assert found.excluded[0, 0].tolist() == [False, not reached]
    obs = (above * (1.5 if threshold > 0 else 0.75)).view(1, 1, 1)
    for bound, reached in ((above, False), (below, True)):
        found = reachable_actions(trees, obs, Budget(9.0, low=float(bound)))
        assert found.reachable[0, 0].tolist() == [reached, True]
        assert found.excluded[0, 0].tolist() == [not reached, False]


def test_float64_observations_are_rounded_before_they_are_compared() -> None:
    # 0.5 + 2^-40 is 0.5 in float32, hence not above the threshold
    trees, obs = stump(0.5), torch.full((1, 1, 1), 0.25, dtype=torch.float64)
    assert reachable_actions(trees, obs, Budget(0.25 + 2.0**-40)).reachable[0, 0].tolist() == [True, False]
    assert reachable_actions(trees, obs, Budget(0.25 + 2.0**-20)).reachable[0, 0].tolist() == [True, True]


@pytest.mark.parametrize("norm", NORMS)
def test_distances_of_leaves_are_those_of_the_norm(norm: Norm) -> None:
    # action 1 only for x > 0.3 and y > 0.4: from 0 that is 0.4, 0.5 and 0.7 in the three norms
    trees = DecisionTrees(
        torch.tensor([[0, 0, 1]]),
        torch.tensor([[0.3, np.inf, 0.4]], dtype=torch.float64),
        torch.tensor([[0, 0, 0, 1]]),
    )
    obs, distance = torch.zeros(1, 1, 2), {"inf": 0.4, "2": 0.5, "1": 0.7}[norm]
    for epsilon, reached in ((distance - 1e-4, False), (distance + 1e-4, True)):
        found = reachable_actions(trees, obs, Budget(epsilon, norm=norm))
        assert found.reachable[0, 0].tolist() == [True, reached]
        assert not found.open.any()


def test_leaves_partition_all_observations() -> None:
    trees = grown(rows=1, depth=4)
    leaves = leaves_of(trees, 2)
    grid: Tensor = torch.tensor(list(itertools.product(np.linspace(-3, 3, 61), repeat=2))).float()
    inside = ((leaves.low[0] <= grid[:, None]) & (grid[:, None] <= leaves.high[0])).all(dim=-1)  # [n, L]
    assert (inside.sum(dim=1) == 1).all()
    assert torch.equal(leaves.action[0][inside.long().argmax(dim=1)], trees.act(grid[None])[0])


def test_trees_of_other_observations_are_refused() -> None:
    with pytest.raises(ValueError, match="the trees compare feature 1, and obs have 1 features"):
        reachable_actions(grown(rows=1), normal(1, 3, 1), Budget(0.1))

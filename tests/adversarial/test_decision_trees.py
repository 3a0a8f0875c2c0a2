"""Decision trees: every split against all others, and policies that they imitate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from victims import DIMS, Linear, normal

import rlkit.envs
from rlkit.adversarial import FGSM, Budget, DecisionTrees, Noise, execute, grow, imitate
from rlkit.adversarial.victims.decision_trees import best_split
from rlkit.evaluation import rollout
from rlkit.types import Env

BALANCER = Linear(torch.tensor([[0.0, 0.0], [0.0, 0.1], [-3.0, 3.0], [-0.5, 0.5]]).repeat(2, 1, 1))


def mixed(action: NDArray) -> float:
    """Gini's impurity, times the number of observations."""
    share = np.bincount(action) / max(len(action), 1)
    return float(len(action) * (1 - (share**2).sum()))


def best_by_trying(x: NDArray, action: NDArray) -> float:
    """The least impurity that any threshold on any feature leaves."""
    tried = [
        mixed(action[column > threshold]) + mixed(action[column <= threshold])
        for column in x.T
        for threshold in column[column < column.max()]
    ]
    return min(tried, default=math.inf)


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_no_other_threshold_parts_the_actions_better(decimals: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, action = rng.normal(size=(30, 3)).round(decimals).astype(np.float32), rng.integers(0, 3, size=30)
        feature, threshold = best_split(x, np.eye(3)[action])
        above = x[:, feature] > threshold
        assert 0 < above.sum() < 30
        assert mixed(action[above]) + mixed(action[~above]) == pytest.approx(best_by_trying(x, action))


def walked(trees: DecisionTrees, row: int, x: Tensor) -> int:
    node = 0
    for _ in range(trees.depth):
        node = 2 * node + 1 + int(x[trees.feature[row, node]] > trees.threshold[row, node])
    return int(trees.action[row, node - (2**trees.depth - 1)])


def test_a_tree_asks_its_questions_in_order() -> None:
    obs, action = normal(2, 200, DIMS), (normal(2, 200, seed=1) > 0).long()
    trees = grow(obs, action, 5)
    fresh = normal(2, 30, DIMS, seed=2)
    acted = trees.act(fresh)
    assert trees.num_seeds == 2
    assert acted.tolist() == [[walked(trees, row, x) for x in fresh[row]] for row in range(2)]
    alone = grow(obs[1:], action[1:], 5)  # a row's tree is its own
    assert torch.equal(alone.threshold[0], trees.threshold[1])
    assert torch.equal(alone.action[0], trees.action[1])


def test_a_tree_deep_enough_says_what_it_was_told() -> None:
    obs = normal(2, 60, DIMS)
    action = (obs[..., 0] > 0.2).long() + (obs[..., 1] > 0).long()
    shares = [(grow(obs, action, depth).act(obs) == action).double().mean().item() for depth in range(8)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    alike = torch.tensor([[[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]])
    either = torch.tensor([[0, 1, 1, 0]])  # no first question helps by itself
    assert torch.equal(grow(alike, either, 2).act(alike), either)
    same = torch.zeros(1, 3, 2)  # nothing to ask: the most frequent action
    assert grow(same, torch.tensor([[1, 0, 1]]), 2).act(same).tolist() == [[1, 1, 1]]
    below = torch.tensor([1.0])
    near = torch.stack([below, torch.nextafter(below, torch.tensor([2.0]))])[None]  # no number lies between
    assert grow(near, torch.tensor([[0, 1]]), 1).act(near).tolist() == [[0, 1]]


def episodes(i: int, copies: int = 4) -> Env:
    seeds = [100 * i, 100 * i]
    return rlkit.envs.make("CartPole-v1", seeds=seeds, num_envs=copies, restart=False, noise="gymnasium", double=True)


def test_trees_learn_to_balance_from_a_policy_that_does() -> None:
    trees = imitate(BALANCER, episodes, depth=6, rounds=4, count=200)
    earned = rollout(trees, episodes(9)).returns.mean(dim=1)
    assert (earned > 300).all(), earned
    obs = episodes(9, 50).obs
    budget = Budget(0.5)
    shown = execute(Noise(), trees, obs, budget, torch.full((2, 50, DIMS), 0.7, dtype=torch.float64))
    assert shown.success.any()
    assert shown.margin.isnan().all()  # a tree has no scores
    with pytest.raises(ValueError, match="FGSM needs the victim's scores"):
        execute(FGSM(), trees, obs, budget)  # type: ignore[arg-type]  # that is what is tested


def test_trees_that_cannot_be_grown_are_refused() -> None:
    obs, action = normal(2, 5, DIMS), torch.zeros(2, 5, dtype=torch.int64)
    with pytest.raises(ValueError, match="depth must be from 0 to 16, got 17"):
        grow(obs, action, 17)
    with pytest.raises(ValueError, match=r"got \[2, 5, 4\] and \[2, 4\]"):
        grow(obs, action[:, :4], 2)
    with pytest.raises(ValueError, match=r"got \[2, 0, 4\]"):
        grow(obs[:, :0], action[:, :0], 2)
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        imitate(BALANCER, episodes, rounds=0)
    with pytest.raises(ValueError, match=r"action \[S, 2\^depth\], got \[\[2, 3\], \[2, 3\], \[2, 5\]\]"):
        DecisionTrees(action[:, :3], obs[:, :3, 0], action)

"""Decision trees: scikit-learn's own predictions are the oracle, and policies are imitated."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor
from victims import DIMS, Linear, normal

import rlkit.envs
from rlkit.adversarial import FGSM, Budget, DecisionTrees, Noise, execute, grow, imitate
from rlkit.evaluation import rollout
from rlkit.types import Env

BALANCER = Linear(torch.tensor([[0.0, 0.0], [0.0, 0.1], [-3.0, 3.0], [-0.5, 0.5]]).repeat(2, 1, 1))


def fitted(obs: Tensor, action: Tensor, depth: int) -> list[DecisionTreeClassifier]:
    return [
        DecisionTreeClassifier(max_depth=depth, random_state=0).fit(x.numpy(), taken.numpy())
        for x, taken in zip(obs, action, strict=True)
    ]


def predicted(models: list[DecisionTreeClassifier], obs: Tensor) -> list[list[int]]:
    return [model.predict(x.numpy()).tolist() for model, x in zip(models, obs, strict=True)]


def at_the_thresholds(models: list[DecisionTreeClassifier], obs: Tensor) -> Tensor:
    """Observations with one feature at a threshold of the tree, or at its neighbors in float32 and in float64."""
    rows = []
    for model, x in zip(models, obs.double().numpy(), strict=True):
        tree, points = model.tree_, []
        for feature, threshold in zip(tree.feature, tree.threshold, strict=True):
            if feature < 0:
                continue
            near = np.float32(threshold)
            for value in (
                threshold,
                *(np.nextafter(threshold, side) for side in (-np.inf, np.inf)),
                *(float(np.nextafter(near, np.float32(side))) for side in (-np.inf, np.inf)),
            ):
                point = x[len(points) % len(x)].copy()
                point[feature] = value
                points.append(point)
        rows.append(np.stack(points))
    count = min(len(row) for row in rows)
    return torch.from_numpy(np.stack([row[:count] for row in rows]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7), st.sampled_from([0, 1, 6]), st.booleans())
def test_stacked_trees_act_as_scikit_learn_predicts(seed: int, depth: int, decimals: int, double: bool) -> None:
    obs = normal(2, 80, 3, seed=seed).round(decimals=decimals)
    obs = obs.double() + (1e-9 if double else 0.0) if double else obs
    action = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, size=(2, 80)))
    models, trees = fitted(obs, action, depth), grow(obs, action, depth)
    fresh = normal(2, 200, 3, seed=seed + 1)
    edges = at_the_thresholds(models, obs)
    for shown in (obs, fresh, fresh.double(), edges, edges.float()):
        assert trees.act(shown).tolist() == predicted(models, shown)


def test_an_observation_at_the_threshold_goes_left() -> None:
    obs, action = torch.tensor([[[0.0], [1.0]]]), torch.tensor([[4, 7]])
    trees = grow(obs, action, 1)
    assert trees.threshold.tolist() == [[0.5]]
    shown = torch.tensor([[[0.5], [np.nextafter(0.5, 1.0)], [0.5 + 2**-24]]], dtype=torch.float64)
    assert trees.act(shown).tolist() == [[4, 4, 7]]  # the second is 0.5 in float32


def test_rows_are_independent_and_branches_may_end_early() -> None:
    obs, action = normal(2, 200, DIMS), (normal(2, 200, seed=1) > 0).long()
    action[1] = (obs[1, :, 0] > 0).long()  # one comparison is enough
    trees = grow(obs, action, 5)
    fresh = normal(2, 30, DIMS, seed=2)
    assert trees.num_seeds == 2
    assert trees.depth == 5
    alone = grow(obs[1:], action[1:], 5)
    assert alone.depth == 1
    assert torch.equal(alone.act(fresh[1:])[0], trees.act(fresh)[1])


def test_trees_of_scikit_learn_are_victims() -> None:
    obs, action = normal(2, 100, DIMS), (normal(2, 100, seed=1) > 0).long() + 1
    models = fitted(obs, action, 4)
    trees = DecisionTrees.from_sklearn(models)
    assert trees.act(obs).tolist() == predicted(models, obs)
    with pytest.raises(ValueError, match="models must hold at least one decision tree"):
        DecisionTrees.from_sklearn([])
    with pytest.raises(ValueError, match="classes must be integers"):
        DecisionTrees.from_sklearn([DecisionTreeClassifier(max_depth=2).fit(obs[0].numpy(), obs[0, :, 0] > 0)])
    chain = np.arange(40.0)[:, None]
    with pytest.raises(ValueError, match="at most 16 deep, got 39: set max_depth"):
        DecisionTrees.from_sklearn([DecisionTreeClassifier(random_state=0).fit(chain, np.arange(40) % 2)])


def test_a_tree_deep_enough_repeats_its_data() -> None:
    obs = normal(2, 60, DIMS)
    action = (obs[..., 0] > 0.2).long() + (obs[..., 1] > 0).long()
    shares = [(grow(obs, action, depth).act(obs) == action).double().mean().item() for depth in range(1, 8)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    alike = torch.tensor([[[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]])
    either = torch.tensor([[0, 1, 1, 0]])  # no first comparison helps by itself
    assert torch.equal(grow(alike, either, 2).act(alike), either)
    same = torch.zeros(1, 3, 2)  # nothing to compare: the most frequent action
    assert grow(same, torch.tensor([[1, 0, 1]]), 2).act(same).tolist() == [[1, 1, 1]]


def episodes(i: int, copies: int = 4) -> Env:
    seeds = [100 * i, 100 * i]
    return rlkit.envs.make("CartPole-v1", seeds=seeds, num_envs=copies, restart=False, noise="gymnasium", double=True)


@pytest.mark.slow
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
    for depth in (0, 17):
        with pytest.raises(ValueError, match=f"depth must be from 1 to 16, got {depth}"):
            grow(obs, action, depth)
    with pytest.raises(ValueError, match=r"got \[2, 5, 4\] and \[2, 4\]"):
        grow(obs, action[:, :4], 2)
    with pytest.raises(ValueError, match=r"got \[2, 0, 4\]"):
        grow(obs[:, :0], action[:, :0], 2)
    with pytest.raises(ValueError, match="obs must be finite"):
        grow(obs.index_fill(1, torch.tensor([2]), torch.nan), action, 2)
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        imitate(BALANCER, episodes, rounds=0)
    with pytest.raises(ValueError, match=r"action \[S, 2\^depth\], got \[\[2, 3\], \[2, 3\], \[2, 5\]\]"):
        DecisionTrees(action[:, :3], obs[:, :3, 0], action)


@pytest.mark.slow
def test_without_scikit_learn_only_growing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """That everything imports without it is tested with the other optional packages."""
    for name in ("sklearn", "sklearn.tree"):
        monkeypatch.setitem(sys.modules, name, None)
    sentence = "grown by scikit-learn, which is not installed: pip install 'rlkit-exact[trees]'"
    with pytest.raises(ModuleNotFoundError, match=re.escape(sentence)):
        grow(torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.int64), 1)

"""Decision trees as policies: thresholds on single features, without gradients.

scikit-learn grows the trees (CART; Breiman, Friedman, Olshen & Stone 1984, "Classification and regression trees"), and
``DecisionTrees`` evaluates all rows and copies at once. Trees can be attacked by attacks that see actions, and by
attacks that were computed on another policy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.arrays import Given, as_observations, as_whole_number
from rlkit.types import Env, Policy

from ..checks import made_env
from ..visited_states import visited
from .base import isolated

OTHER_EPISODES = "lambda number: agent.evaluation_env(100, seed=10_000 + 100 * number)"  # in every round
LARGEST_DEPTH = 16  # stacked trees are complete: 2^16 leaves


class DecisionTrees:
    """S binary trees as a policy of flat observations.

    The trees are stacked as complete trees of one depth. Node k compares one feature with a threshold and goes to node
    2 k + 1 (at most the threshold) or 2 k + 2 (above it); after ``depth`` comparisons a leaf gives the action. A
    branch that ends earlier is continued by infinite thresholds. Observations are rounded to float32 before they are
    compared with the float64 thresholds, as scikit-learn does.

    Use ``grow``, ``imitate`` or ``from_sklearn`` to make them.

    Args:
        feature: the feature that every node compares, ``[S, 2^depth - 1]`` int64.
        threshold: the threshold of every node, ``[S, 2^depth - 1]`` float64.
        action: actions of the leaves from left to right, ``[S, 2^depth]`` int64.

    Raises:
        ValueError: the shapes are not those of complete trees.
    """

    def __init__(self, feature: Tensor, threshold: Tensor, action: Tensor) -> None:
        rows, leaves = action.shape
        if leaves & (leaves - 1) or not feature.shape == threshold.shape == (rows, leaves - 1):
            shapes = [list(part.shape) for part in (feature, threshold, action)]
            raise ValueError(f"feature and threshold must be [S, 2^depth - 1] and action [S, 2^depth], got {shapes}")
        self.feature, self.threshold, self.action = feature, threshold, action

    @classmethod
    def from_sklearn(cls, models: Sequence[Any]) -> DecisionTrees:
        """Stack fitted ``DecisionTreeClassifier`` of scikit-learn, one per row.

        The result gives exactly the actions of the models' ``predict``.

        Args:
            models: fitted on float features and integer classes, each of depth at most 16.

        Raises:
            ValueError: there is no model, one is deeper, or its classes are not integers.
        """
        if not models:
            raise ValueError("models must hold at least one decision tree, got none")
        depth = max(model.get_depth() for model in models)
        if depth > LARGEST_DEPTH:
            raise ValueError(f"trees can be at most {LARGEST_DEPTH} deep, got {depth}: set max_depth")
        parts = zip(*(_complete(model, depth) for model in models), strict=True)
        return cls(*(torch.from_numpy(np.stack(part)) for part in parts))

    @property
    def num_seeds(self) -> int:
        """Number of rows S."""
        return len(self.action)

    @property
    def depth(self) -> int:
        """Number of comparisons per observation."""
        return self.action.shape[1].bit_length() - 1

    def to(self, device: torch.device | str) -> DecisionTrees:
        """Return the trees on a device."""
        return DecisionTrees(self.feature.to(device), self.threshold.to(device), self.action.to(device))

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """Return actions ``[S, B]`` int64 for observations ``[S, B, D]``; ``deterministic`` makes no difference."""
        obs = as_observations(obs, self)
        features = obs.to(torch.float32)
        node = torch.zeros(obs.shape[:2], dtype=torch.int64, device=obs.device)
        for _ in range(self.depth):
            value = features.gather(2, self.feature.gather(1, node)[..., None])[..., 0]
            node = 2 * node + 1 + (value.to(torch.float64) > self.threshold.gather(1, node)).long()
        return self.action.gather(1, node - self.feature.shape[1])


@torch.no_grad()
def imitate(
    expert: Policy, make_env: Callable[[int], Env], depth: int = 8, rounds: int = 10, count: int = 1000
) -> DecisionTrees:
    """Grow trees that imitate an expert, including at states that their own mistakes lead to (DAgger).

    The first trees are grown from the expert's actions at states that the expert visits. In every further round the
    trees play, the expert gives its actions at the states that they visit, and new trees are grown from all data.

    Args:
        expert: policy of S rows; it is queried at ``rounds * count`` observations per row.
        make_env: number of the round 0, 1, ... -> a new environment, with other episodes in every round.
        depth: largest depth of the trees, from 1 to 16.
        rounds: at least 1; with 1 the trees see only states of the expert.
        count: states per round.

    Raises:
        ValueError: rounds or count is below 1 or not a whole number, make_env returns no environment, or ``grow``
            refuses the data.
        ModuleNotFoundError: scikit-learn is not installed.

    Source: Ross, Gordon & Bagnell 2011, "A reduction of imitation learning and structured prediction to no-regret
    online learning", algorithm 3.1; for trees Bastani, Pu & Solar-Lezama 2018, "Verifiable reinforcement learning via
    policy extraction".
    """
    expert = isolated(expert)
    rounds = as_whole_number(rounds, "rounds")
    obs = visited(expert, made_env(make_env, OTHER_EPISODES, number=0), count)
    trees = grow(obs, expert.act(obs, True), depth)
    for i in range(1, rounds):
        obs = torch.cat([obs, visited(trees, made_env(make_env, OTHER_EPISODES, number=i), count)], dim=1)
        trees = grow(obs, expert.act(obs, True), depth)
    return trees


def grow(obs: Tensor, action: Tensor, depth: int) -> DecisionTrees:
    """Grow one tree per row from observations and the actions taken there, with scikit-learn.

    It is ``DecisionTreeClassifier(max_depth=depth, random_state=0)``: Gini impurity, best threshold over all features.
    Values of a feature that differ by less than about 1e-7 are never separated.

    Args:
        obs: ``[S, N, D]``, finite.
        action: actions taken, ``[S, N]`` int64.
        depth: largest depth, from 1 to 16.

    Raises:
        ValueError: depth is out of range, there is no observation, or observations are not finite or of another shape.
        ModuleNotFoundError: scikit-learn is not installed.
    """
    if not 1 <= depth <= LARGEST_DEPTH:
        raise ValueError(f"depth must be from 1 to {LARGEST_DEPTH}, got {depth}")
    if obs.dim() != 3 or obs.shape[1] == 0 or action.shape != obs.shape[:2]:
        raise ValueError(f"obs must be [S, N, D] and action [S, N], got {list(obs.shape)} and {list(action.shape)}")
    if not obs.isfinite().all():
        raise ValueError("obs must be finite: trees cannot be grown from NaN or infinite observations")
    try:
        from sklearn.tree import DecisionTreeClassifier
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "decision trees are grown by scikit-learn, which is not installed: pip install 'rlkit-exact[trees]'"
        ) from error
    rows = zip(obs.cpu().numpy(), action.cpu().numpy(), strict=True)
    models = [DecisionTreeClassifier(max_depth=depth, random_state=0).fit(x, taken) for x, taken in rows]
    return DecisionTrees.from_sklearn(models).to(obs.device)


def _complete(model: Any, depth: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Convert a fitted classifier to the features, thresholds and actions of a complete tree of this depth."""
    if model.classes_.dtype.kind not in "iu":
        raise ValueError(f"classes must be integers, the actions, got {model.classes_.dtype}")
    tree = model.tree_
    nodes = 2**depth - 1
    feature, threshold = np.zeros(nodes, dtype=np.int64), np.full(nodes, np.inf)
    here = np.zeros(2 * nodes + 1, dtype=np.int64)  # the classifier's node at every node of the complete tree
    for k in range(nodes):
        node = here[k]
        left, right = tree.children_left[node], tree.children_right[node]
        if left == right:  # a leaf
            here[2 * k + 1 : 2 * k + 3] = node
        else:
            feature[k], threshold[k] = tree.feature[node], tree.threshold[node]
            here[2 * k + 1 : 2 * k + 3] = left, right
    action = model.classes_[tree.value[here[nodes:], 0].argmax(axis=-1)].astype(np.int64)
    return feature, threshold, action

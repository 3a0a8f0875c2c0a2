"""Decision trees as policies: thresholds on single features, and nothing to differentiate.

A victim of attacks that see actions, and a policy of another kind for attacks that were made elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.types import Env, Policy

from ..visited_states import visited

LARGEST_DEPTH = 16  # trees are complete


class DecisionTrees:
    """S binary trees of one depth, each complete, as a policy of flat observations.

    Node k asks whether a feature is above a threshold and goes to node 2 k + 1 (no) or 2 k + 2 (yes); after ``depth``
    questions a leaf says the action. A node that has nothing to ask has an infinite threshold. Made by ``grow``.

    Args:
        feature: which feature a node asks about, ``[S, 2^depth - 1]`` int64.
        threshold: and what it must exceed, the same shape.
        action: of the leaves from left to right, ``[S, 2^depth]`` int64.

    Raises:
        ValueError: shapes that are not those of complete trees.
    """

    def __init__(self, feature: Tensor, threshold: Tensor, action: Tensor) -> None:
        rows, leaves = action.shape
        if leaves & (leaves - 1) or not feature.shape == threshold.shape == (rows, leaves - 1):
            shapes = [list(part.shape) for part in (feature, threshold, action)]
            raise ValueError(f"feature and threshold must be [S, 2^depth - 1] and action [S, 2^depth], got {shapes}")
        self.feature, self.threshold, self.action = feature, threshold, action

    @property
    def num_seeds(self) -> int:
        """S."""
        return len(self.action)

    @property
    def depth(self) -> int:
        """How many questions are asked."""
        return self.action.shape[1].bit_length() - 1

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        """Actions ``[S, B]`` of ``[S, B, D]``, whatever ``deterministic``."""
        node = torch.zeros(obs.shape[:2], dtype=torch.int64, device=obs.device)
        for _ in range(self.depth):
            value = obs.gather(2, self.feature.gather(1, node)[..., None])[..., 0]
            node = 2 * node + 1 + (value > self.threshold.gather(1, node)).long()
        return self.action.gather(1, node - self.feature.shape[1])


@torch.no_grad()
def imitate(
    expert: Policy, make_env: Callable[[int], Env], depth: int = 8, rounds: int = 10, count: int = 1000
) -> DecisionTrees:
    """Trees that act as an expert does, also where they come to by their own mistakes.

    The expert says what it does at states that it visits; trees are grown of that, play, and the expert is asked about
    the states that they visit; and so on, always growing from all that was asked.

    Args:
        expert: of S rows, asked about ``rounds * count`` observations in every row.
        make_env: a new environment for every round 0, 1, ..., of other episodes than the rounds before.
        depth: of the trees.
        rounds: at least 1, which imitates without the trees' own states.
        count: states of a round.

    Raises:
        ValueError: rounds or count below 1, and what ``grow`` refuses.

    Source: Ross, Gordon & Bagnell 2011, "A reduction of imitation learning and structured prediction to no-regret
    online learning" (DAgger); Bastani, Pu & Solar-Lezama 2018, "Verifiable reinforcement learning via policy
    extraction", for trees.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    obs = visited(expert, make_env(0), count)
    trees = grow(obs, expert.act(obs, True), depth)
    for i in range(1, rounds):
        obs = torch.cat([obs, visited(trees, make_env(i), count)], dim=1)
        trees = grow(obs, expert.act(obs, True), depth)
    return trees


def grow(obs: Tensor, action: Tensor, depth: int) -> DecisionTrees:
    """Trees that imitate what was done at observations: CART with Gini's impurity, grown to a depth.

    Every node takes the feature and the threshold, halfway between two neighbouring values, after which the actions on
    both sides are least mixed; of equal ones the first. A leaf says the action that is most frequent there.

    Args:
        obs: ``[S, N, D]``.
        action: what was done there, ``[S, N]`` int64.
        depth: at least 0, at most 16.

    Raises:
        ValueError: another depth, no observation, or shapes that do not fit.

    Source: Breiman, Friedman, Olshen & Stone 1984, "Classification and regression trees", chapters 2 and 4.
    """
    if not 0 <= depth <= LARGEST_DEPTH:
        raise ValueError(f"depth must be from 0 to {LARGEST_DEPTH}, got {depth}")
    if obs.dim() != 3 or obs.shape[1] == 0 or action.shape != obs.shape[:2]:
        raise ValueError(f"obs must be [S, N, D] and action [S, N], got {list(obs.shape)} and {list(action.shape)}")
    trees = [_grown(x, taken, depth) for x, taken in zip(obs.cpu().numpy(), action.cpu().numpy(), strict=True)]
    feature, threshold, leaf = (torch.from_numpy(np.stack(part)).to(obs.device) for part in zip(*trees, strict=True))
    return DecisionTrees(feature, threshold, leaf)


def _grown(x: NDArray, action: NDArray, depth: int) -> tuple[NDArray, NDArray, NDArray]:
    """Features, thresholds and actions of one tree, of observations ``[N, D]`` and actions ``[N]``."""
    taken = np.eye(action.max(axis=0) + 1)[action]  # [N, A], one-hot
    feature = np.zeros(2**depth - 1, dtype=np.int64)
    threshold = np.full(2**depth - 1, np.inf, dtype=x.dtype)
    here = [np.arange(len(x))]  # which observations come to each node of the level
    for node in range(2**depth - 1):
        mine = here[node]
        feature[node], threshold[node] = best_split(x[mine], taken[mine])
        above = x[mine, feature[node]] > threshold[node]
        here += [mine[~above], mine[above]]
    leaf = np.zeros(2**depth, dtype=np.int64)
    for i, mine in enumerate(here[2**depth - 1 :]):
        leaf[i] = taken[mine].sum(axis=0).argmax(axis=0)
    return feature, threshold, leaf


def best_split(x: NDArray, taken: NDArray) -> tuple[int, float]:
    """The feature and threshold that part the actions best; feature 0 and infinity where there is nothing to part.

    Least ``sum over sides of n (1 - sum_a p_a^2)``, which is n less ``sum over sides of sum_a n_a^2 / n``.

    Args:
        x: observations ``[N, D]``.
        taken: actions, one-hot ``[N, A]``.
    """
    count = taken.sum(axis=0)
    if (count > 0).sum(axis=0) < 2:
        return 0, np.inf
    order = x.argsort(axis=0, kind="stable")
    value = np.take_along_axis(x, order, axis=0)  # [N, D]
    left = taken[order[:-1]].cumsum(axis=0)  # [N - 1, D, A]
    number = np.arange(1, len(x))[:, None]
    purity = (left**2).sum(axis=-1) / number + ((count - left) ** 2).sum(axis=-1) / (len(x) - number)
    purity[value[1:] == value[:-1]] = -np.inf
    i, d = np.unravel_index(purity.argmax(axis=None), purity.shape)
    below, above = value[i, d], value[i + 1, d]
    if below == above:
        return 0, np.inf  # the same observation, and different actions
    middle = below / 2 + above / 2
    return int(d), float(middle if middle < above else below)

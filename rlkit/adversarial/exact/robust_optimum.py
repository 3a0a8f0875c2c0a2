"""Bounds on the return of the best robust policy of a finite problem, however it is trained.

The policy sees only what the adversary shows. To find the best memoryless one exactly is NP-hard, so the result is an
interval; it is exact only where its ends meet.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlkit.arrays import Given, as_tensor, refuse_nonfinite
from rlkit.mdp import TabularMDP
from rlkit.planning import Problem, backward_induction, q_backup
from rlkit.planning.discount import verified_discount
from rlkit.planning.evaluation import verified_horizon
from rlkit.planning.operators import as_table

from ..budget import Budget, as_budget
from .choices import Array, Flags, choices_of_distributions
from .worst_case import worst_case

MOST_STATES = 12  # for branch and bound
MOST_CELLS = 200_000  # of the grid that ``observation_cells`` samples
SLACK = 1e-9  # relative, for rounding of values and beliefs


@dataclass(frozen=True, eq=False)
class RobustOptimum:
    """``lower <= best robust return <= upper`` from the start distribution, over all policies, with memory or without.

    ``lower`` is the exact worst case of ``policy``. The return of the best deterministic memoryless policy lies between
    ``deterministic_lower`` and ``deterministic_upper``.
    """

    lower: float
    upper: float
    policy: Array = field(repr=False)  # [M, A], distribution at every class of observations
    deterministic_lower: float
    deterministic_upper: float
    stochastic_lower: float  # the best that local search found; no bound from above
    optimum: float  # of the problem without an adversary
    nodes: int  # of branch and bound
    beliefs: int  # of the upper bound

    @property
    def exact(self) -> bool:
        """Whether the ends meet, up to 1e-6 of the optimum."""
        return self.upper - self.lower <= 1e-6 * max(1.0, abs(self.optimum))


def observation_cells(observations: Given, budget: Budget | float) -> Flags:
    """Partition what can be shown by the balls that cover it: ``[N, M]`` bool, whether class m can be shown in state n.

    Two observations that can be shown in the same states are one class: a policy loses nothing by acting alike there,
    because the adversary could choose between them. Balls of the norm "inf" are boxes, and every class has a point on
    the grid of their ends and the middles between them.

    Args:
        observations: the observation of every state, ``[N, D]``.
        budget: a budget with the norm "inf"; a number is its epsilon in raw units.

    Raises:
        ValueError: another norm, observations that are not finite vectors, or a grid of more than 200,000 points.
    """
    obs, budget = as_tensor(observations, "observations", double=True), as_budget(budget)
    if obs.dim() != 2 or not obs.is_floating_point():
        raise ValueError(f"observations have shape {list(obs.shape)}, {obs.dtype}: expected floats [N, D]")
    if budget.norm != "inf":
        raise ValueError(f"classes are found for boxes, the norm 'inf', got {budget.norm!r}")
    refuse_nonfinite(obs, "observations")
    exact = obs.double()[None]
    budget.check(exact)
    radius = (budget.per_example(exact) * budget.extent(exact))[0]  # [N or 1, D]
    low, high = budget.cut(exact - radius)[0].numpy(), budget.cut(exact + radius)[0].numpy()
    axes = []
    for feature in range(obs.shape[1]):
        ends = np.unique(np.concatenate([low[:, feature], high[:, feature]]))
        axes.append(np.concatenate([ends, (ends[1:] + ends[:-1]) / 2]))
    if np.prod([float(len(axis)) for axis in axes]) > MOST_CELLS:
        raise ValueError(f"the boxes cut space into {[len(axis) for axis in axes]} pieces, too many: give the classes")
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, obs.shape[1])  # [P, D]
    covers: Flags = np.asarray(((points >= low[:, None]) & (points <= high[:, None])).all(axis=2))  # [N, P]
    return np.unique(covers[:, covers.any(axis=0)], axis=1)


def robust_optimum(
    mdp: Problem,
    shows: ArrayLike,
    horizon: int | None = None,
    gamma: float = 1.0,
    *,
    max_nodes: int = 2000,
    max_beliefs: int = 20_000,
    trials: int = 200,
    seed: int = 0,
) -> RobustOptimum:
    """Bound the largest return, under the worst adversary, of any policy of shown observations.

    Where no class can be shown in two states the policy knows the state, and the optimum of the MDP is attained. Else
    the lower end is the best of branch and bound over deterministic memoryless policies and of a local search over
    stochastic ones. The upper end gives the adversary one fixed rule, which shows in every state the class that most
    others share: the policy then faces a POMDP, whose value, expanded belief by belief from the start and completed
    by the values of a policy that sees the state, no policy exceeds, with memory or without.

    Args:
        mdp: a ``TabularMDP``, ``GridMDP`` or ``LatticeMDP`` of at most 12 states.
        shows: booleans ``[N, M]``, whether class m of observations can be shown in state n; see ``observation_cells``.
        horizon: step limit; None for ``mdp.max_steps``.
        gamma: discount in [0, 1].
        max_nodes: most partial policies that branch and bound evaluates.
        max_beliefs: most beliefs of the upper bound.
        trials: steps of the local search.
        seed: seed of the local search.

    Raises:
        ValueError: more than 12 states, shapes that disagree, a state in which nothing can be shown, no step limit.
    """
    gamma, table, classes = verified_discount(gamma), as_table(mdp), np.asarray(shows)
    steps = verified_horizon(table, horizon)
    if table.num_states > MOST_STATES:
        raise ValueError(f"{table.num_states} states: the best robust policy is bounded for at most {MOST_STATES}")
    if classes.dtype != np.bool_ or classes.ndim != 2 or len(classes) != table.num_states:
        raise ValueError(f"shows has dtype {classes.dtype} and shape {classes.shape}: expected booleans [N, M]")
    if not classes.any(axis=1).all():
        raise ValueError(f"nothing can be shown in state {int(np.flatnonzero(~classes.any(axis=1))[0])}")
    if not table.available.all():
        raise ValueError("states have different actions, which a policy that sees observations alone cannot know")
    game = _Game(table, np.unique(classes[:, classes.any(axis=0)], axis=1), steps, gamma)
    found, bound, nodes = _branch_and_bound(game, max_nodes)
    deterministic = float(game.worst(found[None])[0])
    better = _local_search(game, found, trials, np.random.default_rng(seed))
    stochastic = float(game.worst(better[None])[0])
    optimum = float(table.start @ game.best[0])
    ceiling, beliefs = _pomdp_bound(game, max_beliefs)
    margin = SLACK * max(1.0, float(np.abs(game.best).max()))
    upper = min(ceiling, optimum) + margin
    policy = better if stochastic > deterministic else found
    return RobustOptimum(
        lower=max(deterministic, stochastic),
        upper=max(upper, deterministic, stochastic),
        policy=policy,
        deterministic_lower=deterministic,
        deterministic_upper=max(min(bound, upper), deterministic),
        stochastic_lower=stochastic,
        optimum=optimum,
        nodes=nodes,
        beliefs=beliefs,
    )


class _Game:
    """A problem, its classes of observations ``[N, M]``, and exact values of policies under the worst adversary."""

    def __init__(self, mdp: TabularMDP, shows: Flags, steps: int, gamma: float) -> None:
        self.mdp, self.shows, self.steps, self.gamma = mdp, shows, steps, gamma
        self.best = backward_induction(mdp, steps, gamma).value  # [H + 1, N]
        width = int(shows.sum(axis=1).max())
        order = np.argsort(~shows, axis=1, kind="stable")[:, :width]
        self.classes, self.possible = order, np.take_along_axis(shows, order, axis=1)  # [N, K] both

    def worst(self, policies: Array) -> Array:
        """Compute the exact worst case of memoryless policies ``[C, M, A]`` from the start: ``[C]``."""
        provoked = policies[:, self.classes]  # [C, N, K, A]
        flags = np.broadcast_to(self.possible, provoked.shape[:3])
        choices = choices_of_distributions(provoked[:, :, 0], provoked, flags)
        return worst_case(self.mdp, choices, self.gamma, self.steps).at_start()[0]

    def relaxed(self, partial: NDArray[np.int64]) -> Array:
        """Bound from above what completions of partial policies ``[C, M]``, -1 where undecided, can earn: ``[C]``.

        The adversary shows decided classes only; where there is none, the policy sees the state and acts best.
        """
        actions = np.arange(self.mdp.num_actions)
        chosen = partial[:, :, None] == actions  # [C, M, A]
        forced = np.einsum("nm,cma->cna", self.shows.astype(np.int64), chosen.astype(np.int64)) > 0  # [C, N, A]
        free = ~forced.any(axis=2)  # [C, N]
        value = np.zeros(free.shape)
        for _ in range(self.steps):
            q = q_backup(self.mdp, value, self.gamma)
            value = np.where(free, q.max(axis=2), np.where(forced, q, np.inf).min(axis=2))
        return np.asarray(value @ self.mdp.start)


def _branch_and_bound(game: _Game, max_nodes: int) -> tuple[Array, float, int]:
    """The best deterministic policy found ``[M, A]``, a bound on all of them, and the nodes evaluated.

    Best first; the class that most states share is decided first.
    """
    num_classes, num_actions = game.shows.shape[1], game.mdp.num_actions
    order = np.argsort(-game.shows.sum(axis=0), kind="stable")
    root = np.full(num_classes, -1)
    ties = itertools.count()
    queue = [(-float(game.relaxed(root[None])[0]), next(ties), 0, root)]
    best, value, nodes = np.zeros(num_classes, np.int64), -np.inf, 1
    while queue and -queue[0][0] > value and nodes < max_nodes:
        _, _, depth, partial = heapq.heappop(queue)
        children = np.repeat(partial[None], num_actions, axis=0)
        children[:, order[depth]] = np.arange(num_actions)
        bounds = game.relaxed(children)
        nodes += num_actions
        for child, bound in zip(children, bounds, strict=True):
            if depth + 1 == num_classes and bound > value:
                best, value = child, float(bound)
            elif depth + 1 < num_classes and bound > value:
                heapq.heappush(queue, (-float(bound), next(ties), depth + 1, child))
    if np.isneginf(value):  # no policy was completed: the first of the best partial one
        best = np.maximum(queue[0][3], 0)
        value = float(game.relaxed(best[None])[0])
    open_bound = -queue[0][0] if queue else -np.inf
    return np.eye(num_actions)[best], max(value, open_bound), nodes


def _local_search(game: _Game, start: Array, trials: int, rng: np.random.Generator) -> Array:
    """A stochastic policy ``[M, A]`` that earns at least what ``start`` does, by moves towards random distributions."""
    num_classes, num_actions = start.shape
    uniform = np.full_like(start, 1 / num_actions)
    pair = np.stack([start, uniform])
    worth = game.worst(pair)
    best, value = pair[worth.argmax()], float(worth.max())
    shares = (0.5, 0.2, 0.05, 0.01)
    for _ in range(trials):
        towards = np.eye(num_actions)[rng.integers(0, num_actions, num_classes)]
        towards = np.where(rng.random((num_classes, 1)) < 0.5, towards, best)
        moved = np.stack([(1 - share) * best + share * towards for share in shares])
        worth = game.worst(moved)
        if worth.max() > value:
            best, value = moved[worth.argmax()], float(worth.max())
    return np.asarray(best)


def _pomdp_bound(game: _Game, max_beliefs: int) -> tuple[float, int]:
    """Bound the return of every policy from above by the POMDP under one fixed adversary; also the beliefs expanded.

    Beliefs that agree to 12 digits are one. Where the number of beliefs runs out, the state is taken to be seen.
    """
    mdp, gamma = game.mdp, game.gamma
    shown = np.argmax(game.shows * game.shows.sum(axis=0), axis=1)  # [N], the class that most states share
    step = np.zeros((mdp.num_states, mdp.num_actions, mdp.num_states))
    going_on = mdp.probability * ~mdp.terminated
    for k in range(mdp.num_successors):
        np.add.at(step, (*np.indices(step.shape[:2]), mdp.successor[:, :, k]), going_on[:, :, k])
    seen = np.eye(game.shows.shape[1], dtype=np.bool_)[shown].T  # [M, N]
    seen = seen[seen.any(axis=1)]
    layers: list[list[Array]] = [[mdp.start * group for group in seen if mdp.start[group].sum() > 0]]
    links: list[list[list[list[tuple[int, float]]]]] = []  # of every layer, belief and action: the beliefs that follow
    total = len(layers[0])
    while len(layers) <= game.steps:
        keys: dict[bytes, int] = {}
        following: list[Array] = []
        weights: list[list[list[tuple[int, float]]]] = []
        for belief in layers[-1]:
            by_action = []
            for action in range(mdp.num_actions):
                ahead = belief @ step[:, action]  # [N], not normalized
                by_action.append(
                    [_numbered(ahead * group, keys, following) for group in seen if ahead[group].sum() > 0]
                )
            weights.append(by_action)
        total += len(following)
        if total > max_beliefs or not following:
            break
        links.append(weights)
        layers.append(following)
    depth = len(links)
    value = np.array([belief @ game.best[depth] for belief in layers[depth]])
    for layer in reversed(range(depth)):
        now = []
        for belief, by_action in zip(layers[layer], links[layer], strict=True):
            gains = [
                belief @ mdp.expected_reward[:, action]
                + gamma * sum(weight * value[number] for number, weight in by_action[action])
                for action in range(mdp.num_actions)
            ]
            now.append(max(gains))
        value = np.array(now)
    return float(value.sum()), total


def _numbered(belief: Array, keys: dict[bytes, int], following: list[Array]) -> tuple[int, float]:
    """The number of a belief among those that follow, and its weight: they are kept as distributions."""
    weight = float(belief.sum())
    normal = belief / weight
    key = np.round(normal, 12).tobytes()
    if key not in keys:
        keys[key] = len(following)
        following.append(normal)
    return keys[key], weight

"""The choices of an adversary: what it can make a memoryless victim do in every state of a finite MDP.

Letters: S rows of the victim, N states, A actions, K choices of the adversary in a state, I cases. A case is what the
adversary knows beyond the state before it chooses: nothing (I = 1), or on which interval the number lies from which the
victim draws its action.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from rlkit.arrays import Given, as_tensor, refuse_nonfinite

from ..budget import Budget, as_budget

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

SUM_TOLERANCE = 1e-6  # how far the probabilities of a float32 softmax may sum from one
BOX_TOLERANCE = 1e-12  # how far outside its interval the last probability of a corner may lie, by rounding
MOST_BOX_ACTIONS = 7  # whose boxes have at most 7 * 2^6 corners


@dataclass(frozen=True, eq=False)
class ProvokableChoices:
    """The action distributions that an adversary can cause in every state, and the one without an attack.

    Functions that make them: ``choices_of_actions``, ``choices_of_distributions``, ``choices_of_neighbors``,
    ``choices_of_intervals``, ``known_draw``, ``known_draw_within``.
    """

    natural: Array  # [S, N, I, A], distribution of the action without an attack
    allowed: Flags  # [S, N, I, K], whether choice k exists there
    provoked: Array | None = None  # [S, N, I, K, A]; None where choice k is action k for sure
    chance: Array | None = None  # [S, N, I], probability of a case; None for I = 1
    shown: NDArray[np.int64] | None = None  # [S, N, I, K], a state whose observation provokes the choice, -1 for none

    @property
    def num_seeds(self) -> int:
        """S."""
        return int(self.natural.shape[0])

    @property
    def num_states(self) -> int:
        """N."""
        return int(self.natural.shape[1])

    @property
    def num_cases(self) -> int:
        """I."""
        return int(self.natural.shape[2])

    @property
    def num_actions(self) -> int:
        """A."""
        return int(self.natural.shape[3])

    @property
    def num_choices(self) -> int:
        """K, padding included."""
        return int(self.allowed.shape[3])

    def distributions(self) -> Array:
        """Give every choice as a distribution over actions, ``[S, N, I, K, A]``; not to be written to."""
        if self.provoked is not None:
            return self.provoked
        return np.broadcast_to(np.eye(self.num_actions), (*self.allowed.shape, self.num_actions))

    def values(self, q: Array) -> Array:
        """Compute the expected action value of every choice: q ``[S, L, N, A]`` -> ``[S, L, N, I, K]``.

        Sums run over actions in order, so a row's numbers do not depend on S.
        """
        if self.provoked is None:
            return np.broadcast_to(q[:, :, :, None, :], (*q.shape[:3], self.num_cases, self.num_actions))
        return _mean(self.provoked[:, None], q[:, :, :, None, None, :])

    def natural_values(self, q: Array) -> Array:
        """Compute the expected action value without an attack: q ``[S, L, N, A]`` -> ``[S, L, N, I]``."""
        return _mean(self.natural[:, None], q[:, :, :, None, :])

    def witnesses(self, observations: Given) -> Tensor:
        """Give an observation that causes each choice, ``[N, *observation]`` -> ``[S, N, K, *observation]``.

        Raises:
            ValueError: choices that were not made from neighbors, or that depend on the draw.
        """
        if self.shown is None or self.num_cases != 1:
            raise ValueError("only choices_of_neighbors knows which state's observation provokes a choice")
        return as_tensor(observations, "observations")[torch.from_numpy(np.maximum(self.shown[:, :, 0], 0))]

    def mean_over_cases(self, value: Array) -> Array:
        """Average over the cases: ``[S, L, N, I]`` -> ``[S, L, N]``."""
        return value[..., 0] if self.chance is None else _mean(self.chance[:, None], value)

    def natural_policy(self) -> Array:
        """Give the distribution of the victim's action without an attack, ``[S, N, A]``."""
        if self.chance is None:
            return self.natural[:, :, 0]
        mixed: Array = (self.chance[..., None] * self.natural).sum(axis=2)
        return np.asarray(mixed / mixed.sum(axis=-1, keepdims=True))


def choices_of_actions(actions: ArrayLike, reachable: ArrayLike) -> ProvokableChoices:
    """Describe a deterministic victim by the actions that the adversary can make it choose.

    Args:
        actions: the victim's actions at the true observations, integers ``[S, N]`` or ``[N]``.
        reachable: booleans ``[S, N, A]`` or ``[N, A]``, whether some allowed observation causes the action.

    Raises:
        ValueError: shapes that disagree, actions that are no integers from 0 to A - 1, a state without a reachable
            action.

    Warns:
        RuntimeWarning: the victim's own action is not reachable somewhere: the set excludes the true observation.
    """
    flags = np.asarray(reachable)
    if flags.dtype != np.bool_ or flags.ndim not in (2, 3):
        raise ValueError(f"reachable has dtype {flags.dtype} and shape {flags.shape}: expected booleans [S, N, A]")
    flags = flags.reshape(-1, *flags.shape[-2:])  # [S, N, A]
    own = _integers(actions, "actions", flags.shape[2])
    own = own.reshape(-1, own.shape[-1])
    if own.shape != flags.shape[:2]:
        raise ValueError(f"actions have shape {own.shape} and reachable {flags.shape}: expected [S, N] and [S, N, A]")
    _verify_nonempty(flags)
    natural = np.eye(flags.shape[2])[own]
    kept = np.take_along_axis(flags, own[..., None], axis=2)[..., 0]
    _warn_if_excluded(kept)
    return ProvokableChoices(natural[:, :, None], flags[:, :, None])


def choices_of_distributions(
    natural: ArrayLike, provoked: ArrayLike, allowed: ArrayLike | None = None
) -> ProvokableChoices:
    """Describe a victim that samples its actions by the distributions that the adversary can cause.

    Args:
        natural: distribution of the action at the true observation, ``[S, N, A]`` or ``[N, A]``.
        provoked: distributions at K allowed observations, ``[S, N, K, A]`` or ``[N, K, A]``.
        allowed: booleans ``[S, N, K]`` or ``[N, K]``, false for padding; None for none.

    Raises:
        ValueError: shapes that disagree, probabilities that are negative, not finite or do not sum to one, a state
            without a choice.

    Warns:
        RuntimeWarning: the natural distribution is not among those caused somewhere.
    """
    own = np.asarray(natural, dtype=np.float64)
    sets = np.asarray(provoked, dtype=np.float64)
    own, sets = own.reshape(-1, *own.shape[-2:]), sets.reshape(-1, *sets.shape[-3:])
    flags = np.ones(sets.shape[:3], np.bool_) if allowed is None else np.asarray(allowed)
    flags = flags.reshape(-1, *flags.shape[-2:])
    if flags.dtype != np.bool_ or sets.shape[:2] + sets.shape[3:] != own.shape or flags.shape != sets.shape[:3]:
        raise ValueError(
            f"natural has shape {own.shape}, provoked {sets.shape} and allowed {flags.dtype} {flags.shape}: expected "
            "[S, N, A], [S, N, K, A] and booleans [S, N, K]"
        )
    _verify_nonempty(flags)
    sets = np.where(flags[..., None], sets, own[:, :, None])  # padding holds a distribution too
    own, sets = _distributions(own, "natural"), _distributions(sets, "provoked")
    same = (np.abs(sets - own[:, :, None]) <= SUM_TOLERANCE).all(axis=3)  # [S, N, K]
    _warn_if_excluded(np.asarray((same & flags).any(axis=2)))
    return ProvokableChoices(own[:, :, None], flags[:, :, None], sets[:, :, None])


def choices_of_neighbors(policy: ArrayLike, neighbors: ArrayLike, num_actions: int | None = None) -> ProvokableChoices:
    """Describe a victim to which the adversary may show the observations of some other states.

    Args:
        policy: actions, integers ``[S, N]`` or ``[N]``, or probabilities, floats ``[S, N, A]`` or ``[N, A]``.
        neighbors: booleans ``[N, N]``, whether state j's observation may be shown in state i; see ``neighbors_within``.
        num_actions: A for a policy of integers; None for the largest action plus one.

    Raises:
        ValueError: shapes that disagree, an invalid policy, a state without a neighbor.

    Warns:
        RuntimeWarning: a state is not its own neighbor: the set excludes the true state.
    """
    given, near = np.asarray(policy), np.asarray(neighbors)
    if near.dtype != np.bool_ or near.ndim != 2 or near.shape[0] != near.shape[1]:
        raise ValueError(f"neighbors has dtype {near.dtype} and shape {near.shape}: expected booleans [N, N]")
    if not near.any(axis=1).all():
        state = int(np.flatnonzero(~near.any(axis=1))[0])
        raise ValueError(f"state {state} has no neighbor: an adversary must show something, at least the truth")
    if given.dtype.kind in "iu":
        if given.ndim not in (1, 2) or given.shape[-1] != len(near):
            raise ValueError(f"policy has shape {given.shape}: expected actions [S, {len(near)}]")
        return _neighbors_of_actions(given.reshape(-1, len(near)), near, num_actions)
    if given.dtype.kind != "f" or given.ndim not in (2, 3) or given.shape[-2] != len(near):
        raise ValueError(
            f"policy has dtype {given.dtype} and shape {given.shape}: expected actions, integers [S, {len(near)}], or "
            f"probabilities, floats [S, {len(near)}, A]"
        )
    own = _distributions(given.reshape(-1, *given.shape[-2:]), "policy")
    order = _itself_first(near)
    flags = np.take_along_axis(near, order, axis=1)[:, : near.sum(axis=1).max()]  # [N, K]
    states = order[:, : flags.shape[1]]
    _warn_if_excluded(np.diagonal(near)[None])
    shown = np.broadcast_to(np.where(flags, states, -1), (len(own), *states.shape))
    allowed = np.broadcast_to(flags, shown.shape)
    return ProvokableChoices(own[:, :, None], allowed[:, :, None], own[:, states][:, :, None], shown=shown[:, :, None])


def choices_of_intervals(natural: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> ProvokableChoices:
    """Describe a victim by bounds on the probability of each action: all distributions within them may be caused.

    A linear function is least at a corner of the box intersected with the simplex, where all probabilities but one are
    at a bound (interval MDPs: Givan, Leach & Dean 2000, "Bounded-parameter Markov decision processes"). The choices
    are these corners; with two actions they are the two extremes. Intervals are widened by 1e-12, never narrowed.

    Args:
        natural: distribution of the action at the true observation, ``[S, N, A]`` or ``[N, A]``.
        lower: least probability of every action, of the same shape.
        upper: greatest probability of every action.

    Raises:
        ValueError: more than 7 actions, shapes that disagree, lower above upper, bounds that hold no distribution.
    """
    own, low, high = (np.asarray(each, dtype=np.float64) for each in (natural, lower, upper))
    own, low, high = (each.reshape(-1, *each.shape[-2:]) for each in (own, low, high))
    if not own.shape == low.shape == high.shape or own.ndim != 3:
        raise ValueError(
            f"natural, lower and upper have shapes {own.shape}, {low.shape} and {high.shape}: make them agree"
        )
    num_actions = own.shape[2]
    if num_actions > MOST_BOX_ACTIONS:
        raise ValueError(f"{num_actions} actions have too many corners: intervals are for at most {MOST_BOX_ACTIONS}")
    low, high = np.clip(low, 0.0, None), np.clip(high, None, 1.0)
    if not (low <= high).all():  # NaN included
        row, state, action = np.argwhere(~(low <= high))[0]
        raise ValueError(
            f"action {action} of state {state}, row {row}: lower {low[row, state, action]} is not below upper"
        )
    corners, inside = [], []
    for free in range(num_actions):
        others = [action for action in range(num_actions) if action != free]
        for ends in itertools.product((low, high), repeat=num_actions - 1):
            corner = np.zeros_like(own)
            for action, end in zip(others, ends, strict=True):
                corner[..., action] = end[..., action]
            rest = 1.0 - corner.sum(axis=-1)  # [S, N]
            fits = (rest >= low[..., free] - BOX_TOLERANCE) & (rest <= high[..., free] + BOX_TOLERANCE)
            corner[..., free] = np.clip(rest, 0.0, 1.0)
            corners.append(corner)
            inside.append(fits)
    provoked, allowed = np.stack(corners, axis=2), np.stack(inside, axis=2)
    if not allowed.any(axis=2).all():
        row, state = np.argwhere(~allowed.any(axis=2))[0]
        raise ValueError(f"the intervals of state {state}, row {row}, hold no distribution: their sums exclude 1")
    provoked = np.where(allowed[..., None], provoked, own[:, :, None])
    own, provoked = _distributions(own, "natural"), _distributions(provoked, "corners")
    width = int(allowed.sum(axis=2).max())
    kept = np.argsort(~allowed, axis=2, kind="stable")[:, :, :width]  # [S, N, K]
    allowed = np.take_along_axis(allowed, kept, axis=2)
    provoked = np.take_along_axis(provoked, kept[..., None], axis=2)
    return ProvokableChoices(own[:, :, None], allowed[:, :, None], provoked[:, :, None])


def known_draw(choices: ProvokableChoices) -> ProvokableChoices:
    """Let the adversary know the uniform number u from which the victim will draw its action.

    The victim takes the first action whose cumulative probability exceeds u (inverse transform). The worst case is then
    ``E_u min_x'``, never above ``min_x' E_u``. With two actions and any number of attacks the two are equal. With three
    they are not, nor with a limit on attacks, which an adversary saves for draws at which they flip the action.

    The cases of a state are the intervals of u on which the same actions can be caused and the same one is natural.

    Args:
        choices: with one case, as the other functions make them.

    Raises:
        ValueError: the draw is known already.
    """
    if choices.num_cases != 1:
        raise ValueError(f"the choices have {choices.num_cases} cases: the draw is known already")
    if choices.provoked is None:
        return choices
    num_actions = choices.num_actions
    every = np.concatenate([choices.natural[:, :, 0, None], choices.provoked[:, :, 0]], axis=2)  # [S, N, 1 + K, A]
    tables = [
        _cases_of(
            every[index], choices.allowed[(*index, 0)], None if choices.shown is None else choices.shown[(*index, 0)]
        )
        for index in np.ndindex(every.shape[:2])
    ]
    width = max(len(table) for table in tables)
    shape = (*every.shape[:2], width)
    chance, natural = np.zeros(shape), np.zeros((*shape, num_actions))
    allowed, shown = np.zeros((*shape, num_actions), np.bool_), np.full((*shape, num_actions), -1)
    natural[..., 0], allowed[..., 0] = 1.0, True  # padding, of chance 0
    for index, table in zip(np.ndindex(every.shape[:2]), tables, strict=True):
        for case, ((own, _), (length, provokers)) in enumerate(table.items()):
            place = (*index, case)
            chance[place], natural[place] = length, np.eye(num_actions)[own]
            allowed[place] = False
            for action, state in provokers.items():
                allowed[(*place, action)], shown[(*place, action)] = True, state
    return ProvokableChoices(natural, allowed, None, chance, None if choices.shown is None else shown)


def known_draw_within(natural: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> ProvokableChoices:
    """Describe a victim whose draw u is known, by bounds on the cumulative probabilities of its actions.

    With ``F_a = pi_0 + ... + pi_a`` the victim takes action a at u where ``F_(a-1) <= u < F_a``. So no observation
    causes it unless ``min F_(a-1) <= u < max F_a``. With two actions this decides, because one observation that
    attains a bound of ``F_0`` is enough. With more the two bounds may belong to different observations, and what is
    returned may hold actions that none causes: its worst case is a lower bound. The cases of a state are the
    intervals between the bounds. Bounds are widened by 1e-12, never narrowed.

    Args:
        natural: distribution of the action at the true observation, ``[S, N, A]``.
        lower: least cumulative probability up to every action but the last, ``[S, N, A - 1]``.
        upper: greatest one, of the same shape.

    Raises:
        ValueError: shapes that disagree, lower above upper, NaN included.
    """
    own, low, high = (np.asarray(each, dtype=np.float64) for each in (natural, lower, upper))
    if own.ndim != 3 or low.shape != high.shape or low.shape != (*own.shape[:2], own.shape[2] - 1):
        raise ValueError(
            f"natural, lower and upper have shapes {own.shape}, {low.shape} and {high.shape}: expected [S, N, A], "
            "[S, N, A - 1] and [S, N, A - 1]"
        )
    if not (low <= high).all():  # NaN included
        row, state, action = np.argwhere(~(low <= high))[0]
        raise ValueError(f"up to action {action} of state {state}, row {row}: lower is not below upper")
    true = np.minimum(np.cumsum(_distributions(own, "natural"), axis=2), 1.0)[..., :-1]
    low = np.clip(np.minimum(low, true) - BOX_TOLERANCE, 0.0, 1.0)
    high = np.clip(np.maximum(high, true) + BOX_TOLERANCE, 0.0, 1.0)
    ends = np.zeros((*own.shape[:2], 1))
    edges = np.sort(np.concatenate([ends, low, true, high, ends + 1.0], axis=2), axis=2)  # [S, N, I + 1]
    u = edges[..., :-1, None]  # [S, N, I, 1], the least number of every case
    allowed = (np.concatenate([ends, low], axis=2)[:, :, None] <= u) & (
        u < np.concatenate([high, ends + np.inf], axis=2)[:, :, None]
    )
    taken = (true[:, :, None] <= u).sum(axis=-1)  # [S, N, I]
    return ProvokableChoices(np.eye(own.shape[2])[taken], allowed, None, np.diff(edges, axis=2))


def neighbors_within(observations: Given, budget: Budget | float) -> Flags:
    """Find the states whose observations may be shown for those of others: ``[N, N]`` bool, row the true state.

    State j's observation is allowed in state i if the budget's distance of the two, computed in float64, is at most
    epsilon. Where a distance equals epsilon but for rounding, give ``choices_of_neighbors`` a matrix of your own.

    Args:
        observations: the observation of every state, ``[N, *observation]``, floating.
        budget: a number is epsilon of the norm "inf" in raw units.

    Raises:
        ValueError: observations that are integers, not finite or without features, or that the budget does not fit.
    """
    obs, budget = as_tensor(observations, "observations"), as_budget(budget)
    if obs.dim() < 2 or not obs.is_floating_point():
        raise ValueError(f"observations have shape {list(obs.shape)}, {obs.dtype}: expected floats [N, *observation]")
    refuse_nonfinite(obs, "observations")
    if torch.as_tensor(budget.epsilon).numel() != 1:
        raise ValueError("epsilon must be one number: neighbors are a matrix for one budget")
    exact = obs.to(torch.float64)
    budget.check(exact[None])
    rows = [budget.distance(one.expand_as(exact)[None], exact[None])[0] for one in exact]
    near: Flags = (torch.stack(rows) <= torch.as_tensor(budget.epsilon, dtype=torch.float64).reshape(())).numpy()
    return near


def _cases_of(
    every: Array, allowed: Flags, shown: NDArray[np.int64] | None
) -> dict[tuple[int, tuple[int, ...]], tuple[float, dict[int, int]]]:
    """The cases of one state: (natural action, provokable actions) -> (length, action -> a state shown)."""
    width = every.shape[1]
    complete = np.arange(width) >= width - 1 - np.argmax(every[:, ::-1] > 0, axis=1)[:, None]  # [1 + K, A]
    # exactly 1 from the last positive entry on: rounding must not draw an action of probability 0
    cumulative = np.where(complete, 1.0, np.minimum(np.cumsum(every, axis=1), 1.0))[:, :-1]
    used = np.concatenate([[True], allowed])
    edges = np.unique(np.concatenate([[0.0, 1.0], cumulative[used].ravel()]))
    cases: dict[tuple[int, tuple[int, ...]], tuple[float, dict[int, int]]] = {}
    for start, end in itertools.pairwise(edges):
        actions = (cumulative <= start).sum(axis=1)  # the same for every u in [start, end)
        provokers: dict[int, int] = {}
        for choice in np.flatnonzero(allowed):
            provokers.setdefault(int(actions[1 + choice]), -1 if shown is None else int(shown[choice]))
        key = int(actions[0]), tuple(sorted(provokers))
        length, known = cases.get(key, (0.0, provokers))
        cases[key] = length + float(end - start), known
    return cases


def _neighbors_of_actions(actions: NDArray[np.integer], near: Flags, num_actions: int | None) -> ProvokableChoices:
    """``choices_of_neighbors`` of deterministic policies ``[S, N]``."""
    num_actions = int(actions.max()) + 1 if num_actions is None else num_actions
    own = _integers(actions, "policy", num_actions)
    order = _itself_first(near)
    ordered = np.take_along_axis(near, order, axis=1)  # [N, N]
    provokes = (own[:, order][..., None] == np.arange(num_actions)) & ordered[..., None]  # [S, N, N, A]
    reachable, first = provokes.any(axis=2), provokes.argmax(axis=2)  # [S, N, A]
    shown = np.where(reachable, order[np.arange(len(near))[None, :, None], first], -1)
    _warn_if_excluded(np.diagonal(near)[None])
    return ProvokableChoices(np.eye(num_actions)[own][:, :, None], reachable[:, :, None], shown=shown[:, :, None])


def _itself_first(near: Flags) -> NDArray[np.int64]:
    """The neighbors of every state before the other states, itself the first of all: ``[N, N]``."""
    rank = np.where(near, 1, 2)
    rank[np.arange(len(near)), np.arange(len(near))] = np.where(np.diagonal(near), 0, 2)
    return np.argsort(rank, axis=1, kind="stable")


def _mean(weights: Array, values: Array) -> Array:
    """``sum_j w_j v_j`` over the last axis, in order; ``-inf`` of an action without probability counts nothing."""
    total = np.zeros(np.broadcast_shapes(weights.shape[:-1], values.shape[:-1]))
    for index in range(weights.shape[-1]):
        weight, value = weights[..., index], values[..., index]
        total += weight * np.where(np.isneginf(value), 0.0, value)
    return total


def _distributions(given: Array, name: str) -> Array:
    """Rows ``[..., A]`` divided by their sums, else a ValueError."""
    total = given.sum(axis=-1)
    wrong = ~(np.abs(total - 1) <= SUM_TOLERANCE) | ~(given >= 0).all(axis=-1)
    if wrong.any():
        index = tuple(np.argwhere(wrong)[0])
        raise ValueError(
            f"{name} has probabilities {given[index]} in state {index[1]}, row {index[0]}: they must be finite, not "
            "negative and sum to one"
        )
    return np.asarray(given / total[..., None])


def _integers(given: ArrayLike, name: str, num_actions: int) -> NDArray[np.int64]:
    """Actions as int64, else a ValueError."""
    actions = np.asarray(given)
    if actions.dtype.kind not in "iu" or actions.ndim < 1:
        raise ValueError(f"{name} has dtype {actions.dtype} and shape {actions.shape}: expected integers [S, N]")
    if actions.size and (actions.min() < 0 or actions.max() >= num_actions):
        raise ValueError(f"{name} holds actions {actions.min()} to {actions.max()}: expected 0 to {num_actions - 1}")
    return actions.astype(np.int64)


def _verify_nonempty(flags: Flags) -> None:
    """Raise ValueError at the first state of ``flags [S, N, K]`` without a choice."""
    if not flags.any(axis=2).all():
        row, state = np.argwhere(~flags.any(axis=2))[0]
        raise ValueError(f"nothing can be provoked in state {state}, row {row}: allow at least the true observation")


def _warn_if_excluded(kept: Flags) -> None:
    """Warn where ``kept [S, N]`` says that the true observation is not among the choices."""
    if not kept.all():
        row, state = np.argwhere(~kept)[0]
        warnings.warn(
            f"the adversary may not show the truth in {np.count_nonzero(~kept)} of {kept.size} states, such as state "
            f"{state} of row {row}: the set excludes the true state, and the worst case may exceed the natural return",
            RuntimeWarning,
            stacklevel=3,
        )

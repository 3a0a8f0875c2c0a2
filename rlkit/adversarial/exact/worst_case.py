"""The exact worst case of a memoryless victim in a finite MDP, over all adversaries.

Against a memoryless victim the adversary faces an MDP: its actions are the observations that it may show, and it pays
the victim's rewards. So a deterministic Markov adversary is optimal (Zhang et al. 2020, "Robust deep reinforcement
learning against adversarial perturbations on state observations", theorem 1; Puterman 1994, theorems 4.4.2 and
6.2.10): stationary with gamma < 1 and no limit, else a function of the state, the steps left and the attacks left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.mdp import TabularMDP
from rlkit.planning import Problem, evaluate, evaluate_finite, q_backup, solve
from rlkit.planning.discount import verified_discount
from rlkit.planning.evaluation import verified_horizon
from rlkit.planning.operators import Extents, as_table, extents, relative_rounding, rounding_bound

from .choices import Array, ProvokableChoices

CLEAN = -1  # the choice of not attacking
LARGEST_INDUCED = 2**27  # outcomes of the adversary's MDP, 2.8 GB, up to which it is made


@dataclass(frozen=True, eq=False)
class WorstCase:
    """The least return of the victim under any adversary, with proven bounds, and an adversary that attains it.

    L is 1 where every step may be attacked, else the number of attacks plus 1; index l is the number of attacks left.
    ``lower_left <= exact <= upper_left`` holds for the table and the choices as stored, rounding included.
    """

    lower_left: Array  # [S, L, N]
    upper_left: Array  # [S, L, N]
    natural: Array  # [S, N], the victim's return without an attack
    choice: NDArray[np.int64]  # [S, L, N, I], or [H, S, L, N, I] by steps taken; CLEAN where it does not attack
    gamma: float
    horizon: int | None  # H, None without a step limit
    attacks: int | None  # most attacks of an episode, None for any number
    start: Array = field(repr=False)  # [N], of the MDP

    @property
    def lower(self) -> Array:
        """A lower bound on the exact worst case with all attacks left, ``[S, N]``."""
        return self.lower_left[:, -1]

    @property
    def upper(self) -> Array:
        """An upper bound on the exact worst case with all attacks left, ``[S, N]``."""
        return self.upper_left[:, -1]

    def at_start(self) -> tuple[Array, Array, Array]:
        """Give the lower and the upper bound and the natural return from the start distribution, ``[S]`` each."""
        return mean_at(self.start, self.lower), mean_at(self.start, self.upper), mean_at(self.start, self.natural)


def worst_case(
    mdp: Problem,
    choices: ProvokableChoices,
    gamma: float = 1.0,
    horizon: int | None = None,
    attacks: int | None = None,
    tolerance: float = 1e-6,
) -> WorstCase:
    """Find the least return of a victim over all adversaries, for all S rows of the victim.

    Without attacks to count, ``V(s) = E_i min_k sum_a pi_k(a) sum p (r + gamma V(s'))``. With l attacks left,
    ``V_l = E_i min(clean step into V_l, attacked step into V_(l-1))``, which times the attacks optimally.

    With gamma < 1 and no ``horizon`` episodes have no step limit; the adversary is stationary, and ``solve`` proves the
    bounds. With ``horizon``, and always with gamma = 1, episodes are cut after this number of steps, and backward
    induction finds the adversary by steps taken.

    Args:
        mdp: a ``TabularMDP``, ``GridMDP`` or ``LatticeMDP``.
        choices: actions that the adversary can cause.
        gamma: discount in [0, 1].
        horizon: step limit of an episode; None for none, and for ``mdp.max_steps`` with gamma = 1.
        attacks: most attacks of an episode; None for any number. An attack that shows nothing new counts.
        tolerance: largest distance of the bounds, in units of return, without a step limit.

    Raises:
        ValueError: choices that do not fit the MDP; gamma = 1 without a step limit; a negative number of attacks; an
            adversary's problem that is too large; whatever ``solve`` refuses.
    """
    gamma, table = verified_discount(gamma), as_table(mdp)
    verify_fit(table, choices)
    if attacks is not None and (isinstance(attacks, bool) or int(attacks) != attacks or attacks < 0):
        raise ValueError(f"attacks {attacks!r}: give a number of at least 0, or None for any number")
    if gamma == 1 and horizon is None and table.max_steps is None:
        raise ValueError(
            "gamma is 1 and episodes have no step limit, so that the worst case need not exist: give a horizon, or "
            "gamma < 1"
        )
    if gamma == 1 or horizon is not None:
        return _by_backward_induction(table, choices, gamma, verified_horizon(table, horizon), attacks)
    return _without_limit(table, choices, gamma, attacks, tolerance)


def induced_mdp(mdp: TabularMDP, choices: ProvokableChoices, row: int = 0, attacks: int | None = None) -> TabularMDP:
    """Make the adversary's own problem against one row of the victim, whose rewards are minus the victim's.

    Its state is ``(l I + i) N + s``, of l attacks left, case i and state s. Action k is choice k; with attacks to
    count, the last action is not to attack. Rows with one certain action keep the victim's outcomes as they are.

    Args:
        mdp: the victim's problem.
        choices: actions that the adversary can cause.
        row: row of the victim.
        attacks: most attacks of an episode; None for any number.

    Raises:
        ValueError: the problem has more than 2^27 outcomes.
    """
    num_states, cases, levels = mdp.num_states, choices.num_cases, 1 if attacks is None else attacks + 1
    options = choices.distributions()[row]  # [N, I, K, A]
    allowed = choices.allowed[row]  # [N, I, K]
    if attacks is not None:
        options = np.concatenate([options, choices.natural[row][:, :, None]], axis=2)
        allowed = np.concatenate([allowed, np.ones((num_states, cases, 1), np.bool_)], axis=2)
    options = np.where(allowed[..., None], options, 0.0)
    support = max(1, int(np.count_nonzero(options, axis=-1).max()))
    outcomes = levels * options.shape[0] * cases * options.shape[2] * support * mdp.num_successors * cases
    if outcomes > LARGEST_INDUCED:
        raise ValueError(
            f"the adversary's problem has {outcomes} outcomes, more than {LARGEST_INDUCED}: give a horizon, which "
            "needs no table of it, fewer attacks, or fewer choices per state"
        )
    taken = np.argsort(options == 0, axis=-1, kind="stable")[..., :support]  # [N, I, K, W], the actions that may happen
    weight = np.take_along_axis(options, taken, axis=-1)[..., None]  # [N, I, K, W, 1]
    here = np.arange(num_states)[:, None, None, None]
    probability = weight * mdp.probability[here, taken]  # [N, I, K, W, J]
    successor = mdp.successor[here, taken].astype(np.int64)
    reward: NDArray[Any] = -mdp.reward[here, taken]
    terminated: NDArray[Any] = mdp.terminated[here, taken]
    if choices.chance is not None:  # the next case is drawn with the next state
        probability = probability[..., None] * choices.chance[row][successor]  # [N, I, K, W, J, I]
        successor = successor[..., None] + num_states * np.arange(cases)
        reward, terminated = (np.broadcast_to(each[..., None], successor.shape) for each in (reward, terminated))
    actions, size = options.shape[2], num_states * cases

    def by_case(outcome: NDArray[Any]) -> NDArray[Any]:  # [N, I, K, ...] -> [I N, K, outcomes]
        return np.moveaxis(outcome.reshape(num_states, cases, actions, -1), 1, 0).reshape(size, actions, -1)

    successor, probability, reward, terminated = map(by_case, (successor, probability, reward, terminated))
    flags = np.moveaxis(allowed, 1, 0).reshape(size, actions)
    if attacks is None:
        return TabularMDP(successor, probability, reward, terminated, available=flags)
    last = actions - 1  # not to attack
    level = np.arange(levels)[:, None] - ((np.arange(levels) > 0)[:, None] & (np.arange(actions) < last))  # [L, K]
    moved = (successor + size * level[:, None, :, None]).reshape(levels * size, actions, -1)
    repeated = (np.tile(each, (levels, 1, 1)) for each in (probability, reward, terminated))
    available = np.tile(flags, (levels, 1))
    available[:size, :last] = False  # no attack left
    probability, reward, terminated = repeated
    return TabularMDP(moved, probability, reward, terminated, available=available)


def mean_at(start: Array, value: Array) -> Array:
    """Average values ``[S, N]`` over a start distribution ``[N]``, each row separately: ``[S]``."""
    return np.array([float(start @ row) for row in value])


def verify_fit(mdp: TabularMDP, choices: ProvokableChoices) -> None:
    """Raise ValueError unless the choices are of the MDP's states and actions."""
    if (choices.num_states, choices.num_actions) != (mdp.num_states, mdp.num_actions):
        raise ValueError(
            f"the policy is of {choices.num_states} states and {choices.num_actions} actions, and the MDP has "
            f"{mdp.num_states} states and {mdp.num_actions} actions: they do not fit"
        )
    missing = ~mdp.available  # [N, A]
    if not missing.any():
        return
    asked = choices.natural.max(axis=2) > 0  # [S, N, A]
    if choices.provoked is None:
        asked |= choices.allowed.any(axis=2)
    else:
        asked |= (np.where(choices.allowed[..., None], choices.provoked, 0.0) > 0).any(axis=(2, 3))
    wrong = np.argwhere(asked & missing)
    if len(wrong):
        row, state, action = wrong[0]
        raise ValueError(f"row {row} can be made to take action {action} in state {state}, which does not have it")


def _without_limit(
    mdp: TabularMDP, choices: ProvokableChoices, gamma: float, attacks: int | None, tolerance: float
) -> WorstCase:
    """``worst_case`` with gamma < 1 and no step limit: one solve per row, so that a row's bits do not depend on S."""
    levels = 1 if attacks is None else attacks + 1
    shape = (levels, choices.num_cases, mdp.num_states)
    lower, upper, policies = [], [], []
    for row in range(choices.num_seeds):
        problem = induced_mdp(mdp, choices, row, attacks)
        solution = solve(problem, gamma, tolerance)
        size, largest = extents(problem), max(float(np.abs(solution.lower).max()), float(np.abs(solution.upper).max()))
        # probabilities of the problem are products, and averages over cases are sums, both rounded
        scale = size.reward + gamma * size.continuation_high * largest + largest
        slack = relative_rounding(choices.num_cases + 5) * scale / (1 - gamma * size.continuation_high)
        lower.append(_case_mean(choices, row, -solution.upper.reshape(shape)) - slack)
        upper.append(_case_mean(choices, row, -solution.lower.reshape(shape)) + slack)
        policy = solution.policy.reshape(shape)
        policies.append(np.where(policy == choices.num_choices, CLEAN, policy))
    return WorstCase(
        lower_left=np.nextafter(np.stack(lower), -np.inf),
        upper_left=np.nextafter(np.stack(upper), np.inf),
        natural=evaluate(mdp, choices.natural_policy(), gamma),
        choice=np.stack(policies).swapaxes(2, 3),
        gamma=gamma,
        horizon=None,
        attacks=attacks,
        start=mdp.start,
    )


def _case_mean(choices: ProvokableChoices, row: int, value: Array) -> Array:
    """Average one row's ``value [L, I, N]`` over the cases: ``[L, N]``."""
    if choices.chance is None:
        return value[:, 0]
    mean = np.zeros((len(value), value.shape[2]))
    for case in range(choices.num_cases):
        mean += choices.chance[row, :, case] * value[:, case]
    return mean


def _by_backward_induction(
    mdp: TabularMDP, choices: ProvokableChoices, gamma: float, horizon: int, attacks: int | None
) -> WorstCase:
    """``worst_case`` under a step limit, all rows and numbers of attacks left at once."""
    size, levels = extents(mdp), 1 if attacks is None else attacks + 1
    value = np.zeros((choices.num_seeds, levels, mdp.num_states))
    chosen = np.empty((horizon, *value.shape, choices.num_cases), np.min_scalar_type(-choices.num_choices - 1))
    mixing = relative_rounding(2 * (choices.num_actions + choices.num_cases) + 4)
    error = np.zeros(len(value))  # [S], by rounding
    for step in reversed(range(horizon)):
        error = np.array(
            [_carried_error(size, each, gamma, mixing, float(known)) for each, known in zip(value, error, strict=True)]
        )
        q = q_backup(mdp, value, gamma)  # [S, L, N, A]
        after_attack = q if attacks is None else q[:, :-1]
        options = choices.values(after_attack)  # [S, L or L - 1, N, I, K]
        options = np.where(choices.allowed[:, None], options, np.inf)
        best, choice = options.min(axis=-1), options.argmin(axis=-1)
        if attacks is not None:
            clean = choices.natural_values(q)  # [S, L, N, I]
            attack = best < clean[:, 1:]
            best = np.concatenate([clean[:, :1], np.where(attack, best, clean[:, 1:])], axis=1)
            choice = np.concatenate([np.full_like(clean[:, :1], CLEAN), np.where(attack, choice, CLEAN)], axis=1)
        value, chosen[step] = choices.mean_over_cases(best), choice
    widened = error[:, None, None]
    return WorstCase(
        lower_left=np.nextafter(value - widened, -np.inf),
        upper_left=np.nextafter(value + widened, np.inf),
        natural=evaluate_finite(mdp, choices.natural_policy(), horizon, gamma)[:, 0],
        choice=chosen,
        gamma=gamma,
        horizon=horizon,
        attacks=attacks,
        start=mdp.start,
    )


def _carried_error(size: Extents, value: Array, gamma: float, mixing: float, error: float) -> float:
    """A bound on the rounding error after one more step, of one row's computed ``value [L, N]``."""
    flat = value.ravel()
    own = rounding_bound(size, flat, gamma)
    largest = size.reward + gamma * size.continuation_high * float(np.abs(flat).max()) + own
    carried = gamma * size.continuation_high * error
    return math.nextafter((carried + own) * (1 + mixing) + mixing * largest, math.inf)

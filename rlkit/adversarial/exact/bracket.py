"""Lower and upper bounds on the exact worst case where observations are real vectors in a ball."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.arrays import Given
from rlkit.mdp import TabularMDP

from ..budget import Budget, as_budget, per_feature
from ..timing import Timing
from .attacked_value import attacked_value
from .choices import ProvokableChoices
from .observed import ObservedProblem, observed
from .verdicts import GreedyVerdicts, SampledVerdicts, Verdicts
from .witness_attack import WorstCaseAdversary, WorstCaseAttack, WorstCaseTiming
from .worst_case import WorstCase, mean_at, worst_case

FIRST_BOXES = 256  # per state, before the refinement
GROWTH = 8  # of the boxes per state, from one refinement to the next
MAX_BOXES = 2**17


@dataclass(frozen=True, eq=False)
class Bracket:
    """``lower <= exact worst case <= upper <= natural`` in expectation, in every state and for all S rows.

    ``lower`` is certified: no observation within the budget provokes what it excludes. ``upper`` is attained by
    ``adversary``, which plays by steps and attacks left, and where neither counts by ``attack`` too.
    """

    lower: NDArray[np.float64]  # [S, N]
    upper: NDArray[np.float64]  # [S, N]
    natural: NDArray[np.float64]  # [S, N]
    closed: NDArray[np.bool_]  # [S], whether no choice that the lower bound relies on from the start is undecided
    undecided: NDArray[np.int64]  # [S], pairs of state and choice that remain open
    boxes: NDArray[np.int64]  # [S], that the verification bounded
    attack: WorstCaseAttack = field(repr=False)  # by state alone, for every curve
    timing: Timing | None = field(repr=False)  # of the attack, where attacks are limited
    attack_value: NDArray[np.float64]  # [S, N], exact return under ``attack``; at least ``upper`` but for rounding
    adversary: WorstCaseAdversary = field(repr=False)
    start: NDArray[np.float64] = field(repr=False)  # [N]
    rounds: int  # of verification
    seconds: float

    def at_start(self) -> dict[str, NDArray[np.float64]]:
        """Give lower, upper, the return under ``attack`` and the natural one from the start distribution, ``[S]``."""
        each = {"lower": self.lower, "upper": self.upper, "attack": self.attack_value, "natural": self.natural}
        return {name: mean_at(self.start, value) for name, value in each.items()}


def bracket(
    problem: Any,
    victim: Any,
    budget: Budget | float,
    gamma: float = 1.0,
    horizon: int | None = None,
    attacks: int | None = None,
    *,
    observations: Given | None = None,
    sampled: bool = False,
    tolerance: float = 1e-6,
    max_boxes: int = MAX_BOXES,
) -> Bracket:
    """Enclose the exact worst case of a victim of real observations in a finite problem.

    The lower bound solves the adversary's problem with every choice that verification has not excluded, the upper one
    with those that an observation is known to provoke. Then the states that the lower bound's adversary visits from
    the start and where it makes an undecided choice are verified with more boxes, until there are none: the bounds
    then meet at the start, up to the solver's.

    Of a victim that samples, verification bounds the probability of every action. With two actions the extremes are
    all that matters, and the bounds meet but for 1e-4 in probability. With more the lower bound is that of an interval
    MDP (Givan, Leach & Dean 2000), whose mixtures no observation need provoke.

    Args:
        problem: a table with the observations of its states, such as ``rlkit.envs.GridWorld``; or a ``TabularMDP``
            together with ``observations``.
        victim: acts on what it is shown, S rows; of a kind that ``reachable_actions`` takes.
        budget: a number is epsilon of the norm "inf" in raw units.
        gamma: discount in [0, 1].
        horizon: step limit of an episode; None for none, and for ``mdp.max_steps`` with gamma = 1.
        attacks: most attacks of an episode; None for any number.
        observations: of every state, ``[N, *observation]``; None for the problem's own.
        sampled: whether the victim samples from the softmax of its scores instead of acting greedily.
        tolerance: largest distance of the solver's bounds, in units of return.
        max_boxes: most boxes per state; what needs more stays undecided.

    Raises:
        ValueError: observations, a victim or a budget that do not fit; two states with the same observation; whatever
            ``reachable_actions`` and ``worst_case`` refuse.
    """
    began = time.perf_counter()
    if attacks is not None and gamma < 1 and horizon is None:
        raise ValueError("a limit of attacks counts within an episode: give a horizon")
    posed, limit = observed(problem, victim, observations), as_budget(budget)
    limit.check(posed.obs)
    verdicts: Verdicts = (SampledVerdicts if sampled else GreedyVerdicts)(posed, limit)

    def solved(choices: ProvokableChoices) -> WorstCase:
        return worst_case(posed.mdp, choices, gamma, horizon, attacks, tolerance)

    wanted = np.broadcast_to(~posed.mdp.ended, posed.obs.shape[:2])
    boxes, rounds = min(FIRST_BOXES, max_boxes), 0
    while True:
        verdicts.refine(wanted, boxes)
        rounds += 1
        choices, undecided = verdicts.outer()
        least = solved(choices)
        wanted = _relied_on(posed.mdp, choices, least, undecided)  # [S, N]
        if boxes >= max_boxes or not wanted.any():
            break
        boxes = min(boxes * GROWTH, max_boxes)
    attained, witness = verdicts.inner()
    most = solved(attained)
    attack, timing, value = _best_by_state(posed, limit, witness, most, gamma, sampled)
    return Bracket(
        lower=least.lower,
        upper=most.upper,
        natural=most.natural,
        closed=np.asarray(~wanted.any(axis=1)),
        undecided=undecided.sum(axis=(1, 2)),
        boxes=verdicts.boxes.sum(axis=1),
        attack=attack,
        timing=timing,
        attack_value=value,
        adversary=WorstCaseAdversary(posed.obs[0], witness, most),
        start=posed.mdp.start,
        rounds=rounds,
        seconds=time.perf_counter() - began,
    )


def _relied_on(
    mdp: TabularMDP, choices: ProvokableChoices, found: WorstCase, undecided: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The states ``[S, N]`` that the adversary visits from the start and where it makes an undecided choice."""
    stationary = found.horizon is None
    choice = (found.choice[None] if stationary else found.choice)[..., 0]  # [H, S, L, N]
    relied = np.zeros(undecided.shape[:2], np.bool_)
    happens, options = mdp.probability > 0, choices.distributions()[:, :, 0] > 0  # [N, A, J], [S, N, K, A]
    for row in range(len(relied)):
        if not undecided[row].any():
            continue
        here = np.zeros((choice.shape[2], mdp.num_states), np.bool_)
        here[-1] = mdp.start > 0
        seen, step = here.copy(), 0
        while here.any() and (stationary or step < len(choice)):
            left, state = np.nonzero(here)
            taken = choice[0 if stationary else step, row][left, state]  # [M]
            attacked, option = taken >= 0, np.maximum(taken, 0)
            relied[row, state[attacked & undecided[row, state, option]]] = True
            acts = np.where(
                attacked[:, None], options[row, state, option], choices.natural[row, state, 0] > 0
            )  # [M, A]
            follows = happens[state] & ~mdp.terminated[state] & acts[..., None]  # [M, A, J]
            after = left - attacked if found.attacks is not None else left
            ahead = np.zeros_like(here)
            ahead[np.broadcast_to(after[:, None, None], follows.shape)[follows], mdp.successor[state][follows]] = True
            here = ahead & ~seen if stationary else ahead
            seen |= ahead
            step += 1
    return relied


def _best_by_state(
    posed: ObservedProblem,
    budget: Budget,
    witness: Tensor,
    found: WorstCase,
    gamma: float,
    sampled: bool,
) -> tuple[WorstCaseAttack, Timing | None, NDArray[np.float64]]:
    """The attack by state alone that does most from the start, its timing, and its exact value ``[S, N]``.

    Candidates show what the adversary shows at the first step and after a quarter, a half and three quarters of them.
    """
    stationary = found.horizon is None
    choice = (found.choice[None] if stationary else found.choice)[:, :, -1, :, 0]  # [H, S, N]
    timing = None if found.attacks is None else WorstCaseTiming(posed.obs[0], found)
    steps = sorted({len(choice) * quarter // 4 for quarter in range(4)})
    rows, states = np.arange(choice.shape[1])[:, None], np.arange(choice.shape[2])
    shown, values = [], []
    for step in steps:
        chosen = choice[step]
        where = torch.from_numpy(chosen >= 0)
        table = torch.where(per_feature(where, posed.obs), witness[rows, states, np.maximum(chosen, 0)], posed.obs)
        attack = WorstCaseAttack(posed.obs[0], table)
        result = attacked_value(
            posed.mdp,
            posed.victim,
            attack,
            budget,
            gamma,
            found.horizon,
            observations=posed.obs,
            sampled=sampled,
            timing=timing,
            attacks_per_episode=found.attacks,
        )
        shown.append(table)
        values.append(result)
    best = np.stack([each.start for each in values]).argmin(axis=0)  # [S]
    table = torch.stack([shown[index][row] for row, index in enumerate(best)])
    value = np.stack([values[index].value[row] for row, index in enumerate(best)])
    return WorstCaseAttack(posed.obs[0], table), timing, value

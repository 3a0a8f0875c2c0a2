"""Lower and upper bounds on the exact worst case where observations are real vectors in a ball."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.arrays import Given
from rlkit.mdp import TabularMDP
from rlkit.planning import evaluate

from ..budget import Budget, as_budget
from ..threat import Threat
from ..timing import Timing
from .choices import ProvokableChoices
from .observed import observed
from .verdicts import GreedyVerdicts, KnownDrawVerdicts, SampledVerdicts, Verdicts
from .witness_attack import WorstCaseAttack, WorstCaseTiming
from .worst_case import WorstCase, mean_at, worst_case

FIRST_BOXES = 256  # per state, before the refinement
GROWTH = 8  # of the boxes per state, from one refinement to the next
MAX_BOXES = 2**17


@dataclass(frozen=True, eq=False)
class Bracket:
    """``lower <= exact worst case <= upper <= natural`` in expectation, in every state and for all S rows.

    ``lower`` is certified: no observation within the budget causes what it excludes. ``upper`` is attained, up to
    rounding, by ``AttackedPolicy(victim, attack, budget, timing=timing, attacks_per_episode=attacks)``. An adversary
    that knows the victim's draw is no function of observations: then there is no attack, and ``timing`` is None.
    """

    lower: NDArray[np.float64]  # [S, N]
    upper: NDArray[np.float64]  # [S, N]
    natural: NDArray[np.float64]  # [S, N]
    closed: NDArray[np.bool_]  # [S], whether no choice that the lower bound relies on from the start is undecided
    undecided: NDArray[np.int64]  # [S], pairs of state and choice that remain open
    boxes: NDArray[np.int64]  # [S], that the verification bounded
    adversary: WorstCaseAttack | None = field(repr=False)  # None if it knows the draw
    timing: Timing | None = field(repr=False)  # of the attack, where attacks are limited
    start: NDArray[np.float64] = field(repr=False)  # [N]
    rounds: int  # of verification
    seconds: float

    @property
    def attack(self) -> WorstCaseAttack:
        """The attack that attains ``upper``, for curves, like FGSM.

        Raises:
            ValueError: the adversary knows the draw of the victim's action.
        """
        if self.adversary is None:
            raise ValueError("the adversary knows the draw of the victim's action, and no attack on observations does")
        return self.adversary

    def at_start(self) -> dict[str, NDArray[np.float64]]:
        """Give lower, upper and natural return from the start distribution, ``[S]`` each."""
        each = {"lower": self.lower, "upper": self.upper, "natural": self.natural}
        return {name: mean_at(self.start, value) for name, value in each.items()}


def bracket(
    problem: Any,
    victim: Any,
    budget: Budget | Threat | float,
    gamma: float = 1.0,
    horizon: int | None = None,
    attacks: int | None = None,
    *,
    observations: Given | None = None,
    sampled: bool = False,
    knows_draw: bool = False,
    tolerance: float = 1e-6,
    max_boxes: int = MAX_BOXES,
) -> Bracket:
    """Enclose the exact worst case of a victim of real observations in a finite problem.

    The lower bound solves the adversary's problem with every choice that verification has not excluded, the upper one
    with those that an observation is known to cause. Then the states that the lower bound's adversary visits from
    the start and where it makes an undecided choice are verified with more boxes, until there are none: the bounds
    then meet at the start, up to the solver's.

    For a victim that samples, verification bounds the probability of every action. With two actions only the extremes
    matter, and the bounds meet up to 1e-4 in probability. With more actions the lower bound is that of an interval MDP
    (Givan, Leach & Dean 2000), whose mixtures need not be caused by any observation.

    Under an adversary that knows the draw u of the action the return is ``E_u min_x'``, never more than ``min_x' E_u``.
    With two actions and any number of attacks the two are equal.

    Args:
        problem: a table with the observations of its states, such as ``rlkit.envs.GridWorld``; or a ``TabularMDP``
            together with ``observations``.
        victim: acts on the shown observations, S rows; of a kind that ``reachable_actions`` takes.
        budget: a number is epsilon of the norm "inf" in raw units. A threat of one epsilon also says ``horizon``,
            ``attacks``, ``sampled`` and ``knows_draw``.
        gamma: discount in [0, 1].
        horizon: step limit of an episode; None for none, and for ``mdp.max_steps`` with gamma = 1.
        attacks: most attacks of an episode; None for any number.
        observations: observations of every state, ``[N, *observation]``; None for the problem's own.
        sampled: whether the victim samples from the softmax of its scores instead of acting greedily.
        knows_draw: whether the adversary knows the number that a sampled action is drawn with before it chooses.
        tolerance: largest distance of the solver's bounds, in units of return.
        max_boxes: maximum number of boxes per state; choices that need more stay undecided.

    Raises:
        ValueError: observations, a victim or a budget that do not fit; two states with the same observation; a draw of
            a greedy victim; a threat of several epsilons, of an epsilon per episode, or whose adversary does not know
            the policy or the step; whatever ``reachable_actions`` and ``worst_case`` refuse.
    """
    began = time.perf_counter()
    if isinstance(budget, Threat):
        if (horizon, attacks, sampled, knows_draw) != (None, None, False, False):
            raise ValueError("a threat says horizon, attacks, sampled and knows_draw: leave them out, or pass a budget")
        threat = budget
        horizon, attacks = threat.horizon, threat.attacks_per_episode
        budget = _budget_of(threat, by_steps=gamma == 1 or horizon is not None)
        sampled, knows_draw = threat.victim == "sampled", "draw" in threat.knows
    if knows_draw and not sampled:
        raise ValueError("a greedy victim draws no numbers: use knows_draw with sampled=True")
    if attacks is not None and gamma < 1 and horizon is None:
        raise ValueError("a limit of attacks counts within an episode: give a horizon")
    posed, limit = observed(problem, victim, observations), as_budget(budget)
    limit.check(posed.obs)
    if torch.as_tensor(limit.epsilon).numel() != 1:
        raise ValueError("epsilon must be one number: a worst case is of one budget")
    kind = KnownDrawVerdicts if knows_draw else SampledVerdicts if sampled else GreedyVerdicts
    verdicts: Verdicts = kind(posed, limit)

    def solved(choices: ProvokableChoices) -> WorstCase:
        return worst_case(posed.mdp, choices, gamma, horizon, attacks, tolerance)

    wanted = np.broadcast_to(~posed.mdp.ended, posed.obs.shape[:2])
    boxes, rounds = min(FIRST_BOXES, max_boxes), 0
    while True:
        verdicts.refine(wanted, boxes)
        rounds += 1
        choices, undecided = verdicts.outer()
        least = solved(choices)
        wanted = relied_on(posed.mdp, choices, least, undecided)  # [S, N]
        if boxes >= max_boxes or not wanted.any():
            break
        boxes = min(boxes * GROWTH, max_boxes)
    attained, witness = verdicts.inner()
    most = solved(attained)
    value = _attacked(attained, posed.mdp, most)
    return Bracket(
        lower=least.lower,
        upper=np.maximum(most.upper, value),
        natural=most.natural,
        closed=np.asarray(~wanted.any(axis=1)),
        undecided=undecided.sum(axis=(1, 2)),
        boxes=verdicts.boxes.sum(axis=1),
        adversary=None if knows_draw else WorstCaseAttack(posed.obs[0], witness, most),
        timing=None if knows_draw or attacks is None else WorstCaseTiming(posed.obs[0], most),
        start=posed.mdp.start,
        rounds=rounds,
        seconds=time.perf_counter() - began,
    )


def relied_on(
    mdp: TabularMDP, choices: ProvokableChoices, found: WorstCase, undecided: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The states ``[S, N]`` that the adversary visits from the start and where it makes an undecided choice."""
    stationary = found.horizon is None
    choice = found.choice[None] if stationary else found.choice  # [H, S, L, N, I]
    relied = np.zeros(undecided.shape[:2], np.bool_)
    happens, options = mdp.probability > 0, choices.distributions() > 0  # [N, A, J], [S, N, I, K, A]
    for row in range(len(relied)):
        if not undecided[row].any():
            continue
        here = np.zeros((choice.shape[2], mdp.num_states), np.bool_)
        here[-1] = mdp.start > 0
        seen, step = here.copy(), 0
        while here.any() and (stationary or step < len(choice)):
            ahead = np.zeros_like(here)
            for case in range(choices.num_cases):
                occurs = here if choices.chance is None else here & (choices.chance[row, :, case] > 0)
                left, state = np.nonzero(occurs)
                taken = choice[0 if stationary else step, row][left, state, case]  # [M]
                attacked, option = taken >= 0, np.maximum(taken, 0)
                relied[row, state[attacked & undecided[row, state, option]]] = True
                acts = np.where(
                    attacked[:, None], options[row, state, case, option], choices.natural[row, state, case] > 0
                )  # [M, A]
                follows = happens[state] & ~mdp.terminated[state] & acts[..., None]  # [M, A, J]
                after = left - attacked if found.attacks is not None else left
                to = np.broadcast_to(after[:, None, None], follows.shape)[follows]
                ahead[to, mdp.successor[state][follows]] = True
            here = ahead & ~seen if stationary else ahead
            seen |= ahead
            step += 1
    return relied


def _budget_of(threat: Threat, by_steps: bool) -> Budget:
    """The budget of a threat whose worst case is exact; ``by_steps`` says whether its adversary depends on the step."""
    if len(threat.epsilons) != 1:
        raise ValueError(
            f"a worst case is of one epsilon, and the threat has {list(threat.epsilons)}: use "
            f"dataclasses.replace(threat, epsilons=({threat.epsilons[0]:g},))"
        )
    if threat.epsilon_per == "episode":
        raise ValueError("worst cases are of an epsilon per step, and this threat has one per episode")
    for known in ("weights", "step")[: 1 + by_steps]:
        if known not in threat.knows:
            raise ValueError(
                f"the exact worst case is of an adversary that knows the {known}, which this threat's does not: pass "
                "threat.budget(epsilon) for a bound that holds for it too"
            )
    return threat.budget(threat.epsilons[0])


def _attacked(choices: ProvokableChoices, mdp: TabularMDP, found: WorstCase) -> NDArray[np.float64]:
    """The exact value of the adversary itself, ``[S, N]``: it attains its bound but for rounding and the tolerance."""
    if found.horizon is not None:
        return found.upper
    chosen = found.choice[:, 0]  # [S, N, I]
    policy = np.take_along_axis(choices.distributions(), chosen[..., None, None], axis=3)[:, :, :, 0]  # [S, N, I, A]
    if choices.chance is None:
        return evaluate(mdp, policy[:, :, 0], found.gamma)
    mixed = (choices.chance[..., None] * policy).sum(axis=2)
    return evaluate(mdp, mixed / mixed.sum(axis=-1, keepdims=True), found.gamma)

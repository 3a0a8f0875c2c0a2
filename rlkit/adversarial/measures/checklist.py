"""The checklist of Carlini et al.: is the victim robust, or is the attack weak?

Typical signs of a weak attack: a weaker attack succeeds more often, noise succeeds more often than gradients, and more
steps still help. ``examine`` runs these attacks at the same states, and ``warnings_of`` reports the signs.

Source: Carlini, Athalye, Papernot et al. 2019, "On evaluating adversarial robustness", section 5; Athalye, Carlini &
Wagner 2018, "Obfuscated gradients give a false sense of security", section 3.1.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.arrays import Given, as_numbers
from rlkit.statistics import difference_interval
from rlkit.streams import Stream

from ..attacks.base import Attack, nonfinite_scores, posed, sweep
from ..attacks.best_of import BestOf
from ..attacks.gradient import FGSM, PGD
from ..attacks.noise import Noise
from ..attacks.transfer import Transfer
from ..budget import Budget, as_budget
from ..objectives import MARGIN, cross_entropy, pose
from ..victims.base import Victim, scores_of, value_and_gradient
from .robustness_curve import RobustnessCurve

Shares = NDArray[np.float64]  # [L], shares of all states and rows at every epsilon

TOLERANCE = 0.01  # largest difference between shares of states that gives no warning
ENOUGH = 0.05  # largest share of states with zero gradient, or with saturated output, that gives no warning
DRAWS = 20  # draws of noise, the best of which is compared with one gradient attack


class Checked(NamedTuple):
    """The attacks that the checklist compares."""

    steps: Attack = PGD(20)  # the attack that is examined
    step: Attack = FGSM()  # one step
    more: Attack = PGD(100)  # as ``steps``, with more steps
    noise: Attack = BestOf((Noise("sign"), Noise("uniform")) * (DRAWS // 2))


class ChecklistResult(NamedTuple):
    """Results of the attacks at the same states: shares of states whose action changes, at L epsilons."""

    epsilons: tuple[float, ...]  # L, ascending
    attacks: Checked  # the attacks compared
    steps: Shares  # [L]
    step: Shares  # [L]
    more: Shares  # [L]
    noise: Shares  # [L]
    transferred: Mapping[str, Shares]  # [L] by name of the source
    without_gradient: float  # share of states at which the gradient of the margin is zero
    saturated: float  # share of states at which the cross-entropy rounds to 0
    nonfinite: float = 0.0  # share of states at which the scores are NaN or infinite


class ChecklistWarning(NamedTuple):
    """A sign that an attack is weak or a result is undefined."""

    check: str  # name of the check
    message: str  # for people, with numbers


def examine(
    victim: Victim,
    obs: Given,
    budget: Budget | float,
    epsilons: Sequence[float] | float,
    sources: Mapping[str, Victim] | None = None,
    seeds: Sequence[int] | None = None,
    attacks: Checked | None = None,
) -> ChecklistResult:
    """Run every attack of the checklist at the same states.

    Args:
        victim: a victim with scores.
        obs: true observations ``[S, B, *observation]``, for example of ``visited``.
        budget: norm, scale, mask and bounds; its epsilon is not used.
        epsilons: L numbers, in units of the budget's scale.
        sources: other victims of S rows, by name, from which the attack is also transferred; None for none.
        seeds: seeds of the random numbers, one per row; None for 0, 1, ...
        attacks: the attacks to compare; None for the defaults of ``Checked``.

    Raises:
        ValueError: attacks are no ``Checked``, or ``sweep`` refuses an argument.
    """
    which = Checked() if attacks is None else attacks
    if not isinstance(which, Checked):
        raise ValueError(f"attacks must be Checked(...) of the checklist, or None for its defaults, got {which!r:.80}")
    rising = tuple(sorted(as_numbers(epsilons, "epsilons")))
    victim, obs, budget, _, _ = posed(victim, obs, replace(as_budget(budget), epsilon=0.0))
    features = math.prod(obs.shape[2:])

    def share(attack: Attack) -> Shares:
        width = attack.noise_width(features)
        u = Stream(range(len(obs)) if seeds is None else seeds, "attack", width, obs.shape[1], obs.device).next()
        with warnings.catch_warnings():
            # the states are counted below, and ``warnings_of`` reports them
            warnings.filterwarnings("ignore", message="the scores of .* are NaN or infinite", category=RuntimeWarning)
            success = sweep(attack, victim, obs, budget, rising, u if width else None).success  # [L, S, B]
        found: Shares = success.to(torch.float64).mean(dim=(1, 2)).cpu().numpy()
        return found

    scores = scores_of(victim, obs)
    _, gradient = value_and_gradient(victim, pose(MARGIN, victim, obs, scores), obs)
    flat = (budget.extent(obs) * gradient == 0).flatten(2).all(dim=-1)  # [S, B]
    certain = cross_entropy(scores, scores.argmax(dim=-1)) == 0  # [S, B]
    return ChecklistResult(
        rising,
        which,
        share(which.steps),
        share(which.step),
        share(which.more),
        share(which.noise),
        {name: share(Transfer(which.steps, source)) for name, source in (sources or {}).items()},
        float(flat.to(torch.float64).mean(dim=(0, 1))),
        float(certain.to(torch.float64).mean(dim=(0, 1))),
        float(nonfinite_scores(scores).to(torch.float64).mean(dim=(0, 1))),
    )


def warnings_of(examined: ChecklistResult) -> tuple[ChecklistWarning, ...]:
    """List the signs of weak attacks in the results of ``examine``; empty if there is none.

    Differences of at most 1 % of the states give no warning, and neither do up to 5 % of states with zero gradient or
    saturated output.
    """
    attacks = examined.attacks
    name = attacks.steps.name
    found = [
        _stronger(
            "PGD weaker than FGSM", attacks.step.name, examined.step, "may be caught in a local optimum", examined
        ),
        _falling(examined),
        _stronger("more steps still help", attacks.more.name, examined.more, "has not converged: use more", examined),
        *(
            _stronger(
                "transfer beats white-box",
                f"{name} made on {source}",
                shares,
                "is misled by the victim's own gradient",
                examined,
            )
            for source, shares in examined.transferred.items()
        ),
        _common(
            "scores not finite",
            examined.nonfinite,
            "the victim's scores are NaN or infinite: its actions there are undefined, and so are the results",
            enough=0.0,
        ),
        _common(
            "zero gradients",
            examined.without_gradient,
            "the gradient is exactly zero: attacks that follow it do not move. Use RandomSearch, Boundary or a "
            "transferred attack",
        ),
        _common(
            "saturated outputs",
            examined.saturated,
            "the cross-entropy of the scores is exactly 0, and so is its gradient. Use the margin",
        ),
        _stronger(
            "noise beats gradients", attacks.noise.name, examined.noise, "misses what random offsets find", examined
        ),
    ]
    return tuple(warned for warned in found if warned is not None)


def curve_warnings(curve: RobustnessCurve, confidence: float = 0.95) -> tuple[ChecklistWarning, ...]:
    """Warn where the return under an attack rises with epsilon, beyond the interval over training seeds.

    A larger budget contains the smaller one. The return may still rise, because an attack on single steps does not
    minimize the return; then the smaller epsilon is the stronger attack.

    Args:
        curve: with two or more seeds; with one seed no rise is beyond its interval.
        confidence: coverage of the interval.
    """
    order = np.argsort(curve.epsilons)
    means = curve.returns.mean(axis=-1)[:, order]  # [K, L, S]
    epsilons = np.asarray(curve.epsilons)[order]
    found = []
    for attack, levels in zip(curve.attacks, means, strict=True):
        for i, (less, more) in enumerate(pairwise(levels)):
            gain = difference_interval(more, less, confidence, paired=True)
            if gain.lower > 0:
                found.append(
                    ChecklistWarning(
                        "curve not monotone",
                        f"the return under {attack} rises by {gain.value:.4g} from epsilon {epsilons[i]:g} to "
                        f"{epsilons[i + 1]:g}: the attack does not use its budget, read the lower return for both",
                    )
                )
    return tuple(found)


def _stronger(check: str, other: str, shares: Shares, why: str, examined: ChecklistResult) -> ChecklistWarning | None:
    """Warn if another attack changes more actions than ``steps`` at some epsilon, and name the worst one."""
    lead = shares - examined.steps
    worst = int(lead.argmax(axis=0))
    if lead[worst] <= TOLERANCE:
        return None
    name = examined.attacks.steps.name
    return ChecklistWarning(
        check,
        f"at epsilon {examined.epsilons[worst]:g} {other} changes {shares[worst]:.1%} of the actions and {name} only "
        f"{examined.steps[worst]:.1%}: {name} {why}",
    )


def _falling(examined: ChecklistResult) -> ChecklistWarning | None:
    """Warn if fewer actions change at a larger epsilon."""
    steps = examined.steps
    falls = np.maximum.accumulate(steps, axis=0) - steps
    worst = int(falls.argmax(axis=0))
    if falls[worst] <= TOLERANCE:
        return None
    name = examined.attacks.steps.name
    return ChecklistWarning(
        "curve not monotone",
        f"{name} changes {steps[worst]:.1%} of the actions at epsilon {examined.epsilons[worst]:g} and "
        f"{steps[:worst].max(axis=0):.1%} at a smaller one: a larger budget contains the smaller",
    )


def _common(check: str, share: float, what: str, enough: float = ENOUGH) -> ChecklistWarning | None:
    """Warn if something holds at more than a share ``enough`` of the states."""
    return ChecklistWarning(check, f"at {share:.1%} of the states {what}") if share > enough else None

"""The strongest of several attacks, selected on some episodes and reported on others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .robustness_curve import RobustnessCurve

STRONGEST = "strongest"


def strongest(selection: RobustnessCurve, reported: RobustnessCurve) -> RobustnessCurve:
    """Return the curve of the attack with the lowest mean return, for every seed and epsilon.

    It is selected among all attacks at this epsilon or a smaller one, whose balls are contained in this one's, and no
    attack. Whole attacks are compared by return on the episodes of ``selection``; the result holds the episodes of
    ``reported``, which were not used for the selection, so its mean is an unbiased estimate of the return under the
    selected attack. An attack that chooses anew at every step (``BestOf``) has no such guarantee; the return under it
    can be higher than without attack. A selection costs as much as all candidates together, so the result has no cost:
    its queries and seconds are NaN.

    Args:
        selection, reported: curves of the same attacks, epsilons and seeds on different episodes.

    Raises:
        ValueError: attacks, epsilons or seeds differ.
    """
    same = (selection.attacks, selection.epsilons, len(selection.natural))
    if same != (reported.attacks, reported.epsilons, len(reported.natural)):
        raise ValueError(
            f"selection and reported must have the same attacks, epsilons and number of seeds, got {list(same)} and "
            f"{[reported.attacks, reported.epsilons, len(reported.natural)]}"
        )
    choice = _choices(selection)
    none = np.zeros_like(reported.natural_lengths)
    return reported._replace(
        attacks=(STRONGEST,),
        returns=_chosen(choice, reported.returns, reported.natural),
        lengths=_chosen(choice, reported.lengths, reported.natural_lengths),
        flips=_chosen(choice, reported.flips, none),
        attacked=_chosen(choice, reported.attacked, none),
        capped=_chosen(choice, reported.capped, reported.natural_capped),
        queries=np.full((1, len(reported.epsilons)), np.nan),
        seconds=np.full((1, len(reported.epsilons)), np.nan),
    )


def _choices(curve: RobustnessCurve) -> NDArray[np.int64]:
    """Return the index of the best candidate, ``[L, S]``: 0 is no attack, 1 + k L + l attack k at epsilon l."""
    means = curve.returns.mean(axis=-1)  # [K, L, S]
    count = len(curve.epsilons)
    candidates = np.concatenate([curve.natural.mean(axis=-1)[None], means.reshape(-1, means.shape[-1])])  # [1 + K L, S]
    place = np.concatenate([[0], np.tile(np.arange(count), len(means))])  # of the epsilon of every candidate
    allowed = place[None] <= np.arange(count)[:, None]  # [L, 1 + K L]
    chosen: NDArray[np.int64] = np.where(allowed[..., None], candidates[None], np.inf).argmin(axis=1)
    return chosen


def _chosen(choice: NDArray[np.int64], attacked: NDArray, natural: NDArray) -> NDArray:
    """Select from ``attacked [K, L, S, E]`` and ``natural [S, E]`` by ``choice [L, S]``: ``[1, L, S, E]``."""
    candidates = np.concatenate([natural[None], attacked.reshape(-1, *attacked.shape[2:])])  # [1 + K L, S, E]
    selected: NDArray = candidates[choice, np.arange(choice.shape[1])][None]
    return selected

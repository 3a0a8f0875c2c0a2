"""Two-sided bounds on the optimal value, from one backup of any value function, rounding included."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rlkit.mdp import chunks

from .operators import UNIT_ROUNDOFF, Array, Extents, rounding_bound


class Shifts(NamedTuple):
    """``V + lower <= V* <= V + upper`` in every state."""

    lower: float
    upper: float
    rounding: float  # upper - lower at the computed fixed point: no further backup reduces it


def macqueen_shifts(size: Extents, value: Array, backed_up: Array, gamma: float) -> Shifts:
    """How far the fixed point of a backup can lie from ``value [N]``, whose computed backup is ``backed_up [N]``.

    With ``b = BV - V`` and probabilities of going on between m_low and m_high, ``c = max(b) / (1 - gamma m)``
    satisfies ``B(V + c) <= V + c`` where m is m_high if c is positive and m_low if it is negative. Any U with
    ``BU <= U`` is an upper bound, and the lower one mirrors it (MacQueen 1966; Porteus 1971; Puterman 1994,
    section 6.6). Where an outcome may end the episode m_low < 1; with m_low = 0 a negative max(b) gives just
    ``V + max(b)``. The same holds of a policy's own backup and its value.

    ``b`` is widened by its rounding error, and every operation here is rounded outwards. Needs gamma m_high < 1.
    """
    least, largest = span(backed_up, value)
    error = _up(rounding_bound(size, value, gamma) + UNIT_ROUNDOFF * max(abs(largest), abs(least)))
    return Shifts(
        lower=-largest_shift(size, _up(error - least), gamma),
        upper=largest_shift(size, _up(error + largest), gamma),
        rounding=2 * largest_shift(size, error, gamma),
    )


def largest_shift(size: Extents, residual: float, gamma: float) -> float:
    """``residual / (1 - gamma m)`` rounded upwards, m chosen by the sign of the residual."""
    if residual > 0:
        return _up(residual / _down(1 - _up(gamma * size.continuation_high)))
    return _up(residual / _up(1 - _down(gamma * size.continuation_low)))


def shifted(value: Array, shifts: Shifts) -> tuple[Array, Array]:
    """``(V + lower, V + upper)``, rounded outwards, ``[N]`` each."""
    lower, upper = value + shifts.lower, value + shifts.upper
    return np.nextafter(lower, -np.inf, out=lower), np.nextafter(upper, np.inf, out=upper)


def widest(lower: Array, upper: Array) -> float:
    """The largest ``upper - lower``, rounded upwards."""
    return _up(span(upper, lower)[1])


def span(new: Array, old: Array) -> tuple[float, float]:
    """The least and the largest of ``new - old``, ``[N]`` each, found in pieces that fit a cache.

    Raises:
        ValueError: arrays that are not ``[N]``, of the same N.
    """
    if new.ndim != 1 or new.shape != old.shape:
        raise ValueError(f"values have shapes {new.shape} and {old.shape}: expected the same [N]")
    changes = (new[part] - old[part] for part in chunks(len(new)))
    ends = [(change.min(axis=0), change.max(axis=0)) for change in changes]
    least, largest = ends[0] if len(ends) == 1 else (np.min(ends, axis=None), np.max(ends, axis=None))
    return float(least), float(largest)


def doubt(size: Extents, value: Array, lower: Array, upper: Array, gamma: float) -> float:
    """The lag of an action's q behind the best one's beyond which ``lower <= V* <= upper`` prove the action worse.

    q is the computed backup of any ``value [N]``: that of ``lower [N]`` is smaller by at most ``gamma M max(value -
    lower)``, that of ``upper [N]`` larger by at most ``gamma M max(upper - value)``, M the greatest probability of
    going on. An action is excluded where its upper q-bound lies below the best lower one, both widened by their
    rounding error, so no optimal action is excluded (MacQueen 1967).
    """
    below = 0.0 if value is lower else max(span(value, lower)[1], 0.0)
    above = max(span(upper, value)[1], 0.0)
    apart = gamma * size.continuation_high * (below + above) + 2 * rounding_bound(size, value, gamma)
    return apart * (1 + 8 * UNIT_ROUNDOFF)


def _up(number: float) -> float:
    """The next float64 above: at least the exact result of the operation that gave ``number``."""
    return math.nextafter(number, math.inf)


def _down(number: float) -> float:
    """The next float64 below."""
    return math.nextafter(number, -math.inf)

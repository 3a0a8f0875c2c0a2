"""Two-sided bounds on the optimal value, from one backup of any value function, rounding included."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .operators import UNIT_ROUNDOFF, Array, Extents, Problem, highest, q_backup, rounding_bound


class Shifts(NamedTuple):
    """``V + lower <= V* <= V + upper`` in every state."""

    lower: float
    upper: float
    rounding: float  # what upper - lower would be if V were the computed fixed point: no backup helps beyond this


def macqueen_shifts(size: Extents, value: Array, backed_up: Array, gamma: float) -> Shifts:
    """How far the fixed point of a backup can lie from ``value [N]``, whose computed backup is ``backed_up [N]``.

    With ``b = BV - V`` and probabilities of going on between m_low and m_high, ``c = max(b) / (1 - gamma m)``
    satisfies ``B(V + c) <= V + c`` where m is m_high if c is positive and m_low if it is negative. Any U with
    ``BU <= U`` is an upper bound, and the lower one mirrors it (MacQueen 1966; Porteus 1971; Puterman 1994,
    section 6.6). Where an outcome may end the episode m_low < 1; with m_low = 0 a negative max(b) gives just
    ``V + max(b)``. The same holds of a policy's own backup and its value.

    ``b`` is widened by its rounding error, and every operation here is rounded outwards. Needs gamma m_high < 1.
    """
    residual = backed_up - value  # [N]
    largest, least = float(residual.max(axis=0)), float(residual.min(axis=0))
    error = _up(rounding_bound(size, value, gamma) + UNIT_ROUNDOFF * max(abs(largest), abs(least)))
    return Shifts(
        lower=-_largest_shift(size, _up(error - least), gamma),
        upper=_largest_shift(size, _up(error + largest), gamma),
        rounding=2 * _largest_shift(size, error, gamma),
    )


def _largest_shift(size: Extents, residual: float, gamma: float) -> float:
    """``residual / (1 - gamma m)`` rounded upwards, m chosen by the sign of the residual."""
    if residual > 0:
        return _up(residual / _down(1 - _up(gamma * size.continuation_high)))
    return _up(residual / _up(1 - _down(gamma * size.continuation_low)))


def shifted(value: Array, shifts: Shifts) -> tuple[Array, Array]:
    """``(V + lower, V + upper)``, rounded outwards, ``[N]`` each."""
    return np.nextafter(value + shifts.lower, -np.inf), np.nextafter(value + shifts.upper, np.inf)


def widest(lower: Array, upper: Array) -> float:
    """The largest ``upper - lower``, rounded upwards."""
    return _up(float((upper - lower).max(axis=0)))


def possibly_optimal(mdp: Problem, size: Extents, lower: Array, upper: Array, gamma: float) -> NDArray[np.bool_]:
    """The actions that ``lower <= V* <= upper``, ``[N]`` each, do not prove worse than another, ``[N, A]``.

    An action falls out where its upper q-bound lies below the best lower q-bound, each widened by its rounding
    error: every optimal action stays (MacQueen 1967).
    """
    least = highest(q_backup(mdp, lower, gamma)) - rounding_bound(size, lower, gamma)  # [N]
    np.nextafter(least, -np.inf, out=least)
    most = q_backup(mdp, upper, gamma)  # [N, A]
    most += rounding_bound(size, upper, gamma)
    np.nextafter(most, np.inf, out=most)
    return np.asarray(most >= least[:, None])


def _up(number: float) -> float:
    """The next float64 above: at least the exact result of the operation that gave ``number``."""
    return math.nextafter(number, math.inf)


def _down(number: float) -> float:
    """The next float64 below."""
    return math.nextafter(number, -math.inf)

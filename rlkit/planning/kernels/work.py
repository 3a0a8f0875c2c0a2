"""How much one compiled call does at most.

Python runs a signal's handler between two operations of the interpreter, so a compiled loop is deaf to Ctrl-C until it
returns. Every compiled loop is therefore called for at most ``WORK`` units at a time. The unit is the backup of one
outcome, ``p V(s')`` of a state, an action and a successor. Cutting the work changes no bit: the pieces follow each
other in the order of the whole.
"""

from __future__ import annotations

WORK = 2**23  # outcomes of a call; the smallest piece is a state, or a row of a map, whatever it takes


def fits(outcomes: int) -> bool:
    """Whether one call may do so much."""
    return outcomes <= WORK


def pieces(count: int, each: int, backwards: bool = False) -> list[slice]:
    """As few ranges of ``count`` things as have at most ``WORK`` outcomes each, with ``each`` outcomes a thing.

    Sizes differ by at most one. ``backwards`` lists the last range first.
    """
    number = -(-count // max(WORK // each, 1))
    found = [slice(count * k // number, count * (k + 1) // number) for k in range(number)]
    return found[::-1] if backwards else found


def repeats(size: int) -> int:
    """How many sweeps of ``size`` outcomes fit one call, at least one."""
    return max(WORK // size, 1)

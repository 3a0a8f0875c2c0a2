"""Selection of cases by name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Protocol, TypeVar


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """The name."""
        ...


N = TypeVar("N", bound=Named)


def chosen(names: Sequence[str], cases: Sequence[N]) -> tuple[N, ...]:
    """Select cases by name, in the given sequence; all cases if no name is given.

    Raises:
        ValueError: an unknown name; the nearest is suggested.
    """
    known = {case.name: case for case in cases}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"unknown case {name!r}: {hint}")
    return tuple(known[name] for name in names) or tuple(cases)

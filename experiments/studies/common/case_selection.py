"""Choosing some of an experiment's cases by their names."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Protocol, TypeVar


class Named(Protocol):
    """What has a name."""

    @property
    def name(self) -> str:
        """By which it is chosen."""
        ...


N = TypeVar("N", bound=Named)


def chosen(names: Sequence[str], cases: Sequence[N]) -> tuple[N, ...]:
    """The cases of these names, in their order; all without any.

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


def parsed(
    parser: argparse.ArgumentParser, args: Sequence[str] | None, cases: Sequence[N]
) -> tuple[argparse.Namespace, tuple[N, ...]]:
    """The options of a command with ``names``, and the cases that these choose; an unknown name is misuse (exit 2)."""
    options = parser.parse_args(args)
    try:
        return options, chosen(options.names, cases)
    except ValueError as error:
        parser.error(str(error))

"""Packages that only some commands need."""

from __future__ import annotations

import importlib.util


def require(module: str, name: str, extra: str) -> None:
    """Refuse at once what would fail after minutes of training.

    Args:
        module: that will be imported.
        name: of its package.
        extra: of ours that brings it.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise ModuleNotFoundError(f"{name} is not installed: pip install 'rlkit-exact[{extra}]'")

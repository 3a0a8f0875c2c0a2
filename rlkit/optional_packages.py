"""Packages that only some functions and commands need; rlkit itself imports without them."""

from __future__ import annotations

import importlib.util


def require(module: str, name: str, extra: str) -> None:
    """Refuse a missing package at once, with the command that installs it.

    Args:
        module: the module that will be imported.
        name: name of its package.
        extra: the extra of rlkit-exact that installs it.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise ModuleNotFoundError(f"{name} is not installed: pip install 'rlkit-exact[{extra}]'")

"""``python -m rlkit.experiments`` is the command ``rlkit``."""

from .cli import run

run()

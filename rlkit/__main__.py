"""``python -m rlkit`` is the command ``rlkit``."""

from rlkit.experiments.cli import run

run()

"""The main job, end to end: train, check against the exact answer, compare, attack, report."""

from .demo import run_demo

__all__ = ["run_demo"]

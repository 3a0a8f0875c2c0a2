"""``rlkit demo``."""

from __future__ import annotations

from pathlib import Path

from .options import DONE, FAILED, Json


def demo(
    out: Path = Path("runs/demo"),
    quick: bool = False,
    resume: bool = False,
    json: Json = False,
) -> int:
    """Run the main job: train, check against the exact answer, compare with stable-baselines3, attack, report.

    A slippery grid world against its exact optimum, CartPole beside stable-baselines3, both under attack: at most
    thirteen minutes on two cores. Exits with 1 if a target is missed. The first Ctrl-C or SIGTERM saves a checkpoint
    and leaves; the second one leaves at once. The same command with --resume trains only what is not trained yet.

    Example: rlkit demo --out runs/demo

    Args:
        out: Folder to write to; a demo in it is replaced.
        quick: The same in seconds with far too little training and no targets: a test of the plumbing.
        resume: Continue the demo that was stopped or killed in the folder.
    """
    from ..demo import run_demo

    return DONE if run_demo(out, quick, resume, json) else FAILED

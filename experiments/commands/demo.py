"""``rlkit demo``."""

from __future__ import annotations

from pathlib import Path

from .options import DONE, FAILED, Device, Json


def demo(
    out: Path = Path("runs/demo"),
    quick: bool = False,
    resume: bool = False,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Run the main job: train, compare with the exact optimum and with stable-baselines3, attack, report.

    Agents on a slippery grid world are compared with the exact optimum, agents on CartPole-v1 with stable-baselines3,
    and all of them are attacked. This takes at most thirteen minutes on two cores. With --device the agents of rlkit
    compute on a GPU; stable-baselines3 and exact solvers stay on the CPU. The exit code is 1 if a target is missed. The
    first Ctrl-C or SIGTERM saves a checkpoint and stops; the second one stops at once. The same command with --resume
    trains only the agents that are not trained yet.

    Example: rlkit demo --out runs/demo

    Args:
        out: Folder of the results; an existing demo in it is replaced.
        quick: Run the same steps in seconds, with very little training and no targets, as a test.
        resume: Continue the demo that was stopped or killed in the folder.
    """
    from ..demo import run_demo

    return DONE if run_demo(out, quick, resume, json, device) else FAILED

"""``rlkit train``."""

from __future__ import annotations

from typing import Annotated, Literal

from .options import DONE, INTERRUPTED, Algorithm, Device, Output, TrainingOptions, at_least_one, unset


def train(
    training: TrainingOptions,
    output: Output,
    algo: Algorithm = "dqn",
    backend: Literal["auto", "gymnasium"] = "auto",
    device: Device = "auto",
    episodes: int = 100,
    tensorboard: bool = False,
    step_timeout: Annotated[float | None, unset("SECONDS", "no limit")] = None,
) -> int:
    """Train several seeds of an agent as one computation, save them as one file, and evaluate their greedy policies.

    Writes agent.safetensors, training.csv, run.json and a figure to --out (default: runs/ALGO-ENV). The first Ctrl-C
    stops after the current logging interval and saves partial results; the second one stops at once.

    Example: rlkit train --env CartPole-v1 --seeds 8 --steps 50000 --set learning_rate=1e-3 --out runs/cartpole

    Args:
        algo: Algorithm.
        backend: Implementation of the environment: auto uses rlkit's own CartPole-v1; gymnasium uses gymnasium's.
        episodes: Evaluation episodes per seed after training.
        tensorboard: Also write the log for TensorBoard, one run per seed, to the folder tensorboard below --out.
        step_timeout: Time limit of a step of a gymnasium environment. The environments of a seed then step in a process
            of their own, which is killed when a step takes longer; the seed is frozen and the others go on.
    """
    from rlkit.optional_packages import require

    from ..report import ledger, terminal
    from ..workflows.train import train_and_write

    if tensorboard:
        require("tensorboard", "TensorBoard", "tensorboard")
    job = training.training(algo, backend, device, step_timeout)
    at_least_one("episodes", episodes)
    agent = job.make_agent()
    training.tell_preset(job, output)
    with output.folder(algo, training.env) as folder:
        run, finished = train_and_write(job, agent, folder, episodes, terminal.watch(output.json), tensorboard)
        ledger.write(run, folder)
    output.show(run)
    output.tell(f"written to {folder}" if finished else f"interrupted; partial results saved to {folder}")
    return DONE if finished else INTERRUPTED

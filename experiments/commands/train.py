"""``rlkit train``."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Literal

from .options import DONE, Algorithm, ContinuedOutput, DefenseOptions, TrainingOptions, at_least_one, unset


def train(
    training: TrainingOptions,
    defense: DefenseOptions,
    output: ContinuedOutput,
    algo: Algorithm = "dqn",
    backend: Literal["auto", "gymnasium"] = "auto",
    episodes: int = 100,
    tensorboard: bool = False,
    checkpoint_every: Annotated[int | None, unset("STEPS", "as often as takes at most 3 % of the time")] = None,
    step_timeout: Annotated[float | None, unset("SECONDS", "no limit")] = None,
    engine: Literal["auto", "compiled", "torch", "captured"] = "auto",
) -> int:
    """Train several seeds of an agent as one computation, save them as one file, and evaluate their greedy policies.

    Writes agent.safetensors, training.csv, run.json and a figure to --out (default: runs/ALGO-ENV), and checkpoints
    during training. The first Ctrl-C or SIGTERM saves a checkpoint and stops; the second one stops at once. The same
    command with --resume continues a run that was stopped or killed, and ends with the same numbers.

    Example: rlkit train --env CartPole-v1 --seeds 8 --steps 50000 --set learning_rate=1e-3 --out runs/cartpole

    Args:
        algo: Algorithm.
        backend: Implementation of the environment: auto uses rlkit's own CartPole-v1; gymnasium uses gymnasium's.
        episodes: Evaluation episodes per seed after training.
        tensorboard: Also write the log for TensorBoard, one run per seed, to the folder tensorboard below --out.
        checkpoint_every: Environment steps per seed between two checkpoints; slightly more where one call makes several
            iterations.
        step_timeout: Time limit of a step of a gymnasium environment. The environments of a seed then run in a separate
            process, which is killed when a step takes longer; the seed is frozen and the other seeds continue.
        engine: compiled runs loops in machine code on the CPU; torch runs plain torch on any device; captured replays
            recorded iterations of torch on a GPU; auto uses the compiled engine where it covers the agent. A resumed
            run keeps its engine unless this option is given.
    """
    from rlkit.optional_packages import require

    from ..report import ledger, terminal
    from ..workflows.train import KeptTraining, train_and_write

    if tensorboard:
        require("tensorboard", "TensorBoard", "tensorboard")
    made = training.training(algo, backend, step_timeout)
    job = replace(made, defense=defense.settings(), engine=engine)
    at_least_one("episodes", episodes)
    if checkpoint_every is not None:
        at_least_one("checkpoint-every", checkpoint_every)
    fresh = job.make_agent()  # refuses bad input before a folder is made
    training.tell_preset(job, output)
    settings = {"command": "train", **asdict(job), "episodes": episodes, "tensorboard": tensorboard}
    del settings["engine"]  # a run may be resumed on another one
    with output.folder(algo, training.env, settings) as folder:
        kept = KeptTraining(fresh, folder, checkpoint_every, output.resume, None if engine == "auto" else engine)
        if not output.silent:
            output.tell(kept.told_engine())
        for text in kept.told(job):
            output.tell(text)
        run = train_and_write(job, kept, folder, episodes, terminal.watch(output.silent), tensorboard)
        ledger.write(run, folder)
    output.show(run)
    output.end(run, folder)
    return DONE

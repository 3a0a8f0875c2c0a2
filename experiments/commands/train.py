"""``rlkit train``."""

from __future__ import annotations

from typing import Literal

from .options import DONE, INTERRUPTED, Algorithm, Output, TrainingOptions, at_least_one


def train(
    training_options: TrainingOptions,
    output: Output,
    algo: Algorithm = "dqn",
    backend: Literal["auto", "gymnasium"] = "auto",
    device: str = "cpu",
    episodes: int = 100,
    tensorboard: bool = False,
) -> int:
    """Train several seeds of an agent side by side, save them as one policy file, and evaluate them greedily.

    Leaves agent.safetensors, training.csv, run.json and a picture in the folder --out, runs/ALGO-ENV by default. Ctrl-C
    stops after the present logging interval and keeps what there is; a second one stops at once.

    Example: rlkit train --env CartPole-v1 --seeds 8 --steps 50000 --set learning_rate=1e-3 --out runs/cartpole

    Args:
        algo: Algorithm.
        backend: auto replaces CartPole-v1 by its native twin; gymnasium never does.
        device: Where to compute, for example cpu or cuda.
        episodes: Evaluation episodes per seed afterwards.
        tensorboard: Write the log for TensorBoard too, a run per seed, into the folder tensorboard beside the rest.
    """
    from rlkit.agents import progress

    from ..optional_packages import require
    from ..report import ledger, terminal
    from ..workflows.train import train_and_write

    if tensorboard:
        require("tensorboard", "TensorBoard", "tensorboard")
    training = training_options.training(algo, backend, device)
    at_least_one("episodes", episodes)
    agent = training.make_agent()
    training_options.tell_preset(training, output)
    folder = output.folder(algo, training_options.env)
    run, finished = train_and_write(training, agent, folder, episodes, None if output.json else progress, tensorboard)
    ledger.write(run, folder)
    terminal.show(run, output.json)
    output.tell(f"{'written to' if finished else 'interrupted; what there is was written to'} {folder}")
    return DONE if finished else INTERRUPTED

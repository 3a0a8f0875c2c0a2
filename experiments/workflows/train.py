"""Train S seeds of an agent; save the log and the policy, and evaluate the greedy policy."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from rlkit.agents import ALGORITHMS as BY_NAME
from rlkit.agents import Agent
from rlkit.plotting import Curve, learning_curves, png

from ..report.ledger import Picture, RunRecord, write_csv
from .evaluate import Played, capped_note, mean_note, play, returns_of, seed_table
from .exact import CURVE_WORK, Exact, ExactPart, Floats, all_scores, exact_of, exact_part, returns_of_policy
from .policies import backend_of, made_with, of_agent

ALGORITHMS = {name.lower(): agent for name, agent in BY_NAME.items()}
LOG_ROWS = 50  # of the training log, for any number of steps
Watch = Callable[[Agent, Iterator[int], int], Iterator[int]]  # draws a bar while steps pass through


@dataclass(frozen=True)
class Training:
    """A training: environment, algorithm, seeds, steps and settings."""

    env: str
    algo: str
    seeds: tuple[int, ...]
    steps: int
    preset: str | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    num_envs: int | None = 1  # None: the preset's
    backend: str = "auto"
    device: str = "cpu"
    step_timeout: float | None = None

    def make_agent(self) -> Agent:
        """The untrained agent.

        Raises:
            ValueError: an unknown algorithm, environment, preset or hyper-parameter, or fewer than one step or seed.
        """
        if self.algo not in ALGORITHMS:
            raise ValueError(f"unknown algorithm {self.algo!r}: known are {', '.join(ALGORITHMS)}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        with made_with(f"{self.algo} on {self.env}", {**self.hyperparameters, **self.env_kwargs}):
            return ALGORITHMS[self.algo](
                self.env,
                seeds=self.seeds,
                num_envs=self.num_envs,
                device=self.device,
                backend=self.backend,
                env_kwargs=dict(self.env_kwargs),
                step_timeout=self.step_timeout,
                preset=self.preset,
                **self.hyperparameters,
            )


def usual_preset(algo: str, env: str) -> str:
    """The default preset: "tuned" where that preset knows the environment, else "sb3"."""
    return "tuned" if "tuned" in ALGORITHMS[algo].presets_for(env) else "sb3"


class TrainingResult(NamedTuple):
    """The outcome of a training."""

    agent: Agent
    finished: bool  # False if it was interrupted
    cpu_seconds: float  # of all seeds together
    wall_seconds: float


def train(
    training: Training, agent: Agent, watch: Watch | None = None, stop: Callable[[], bool] | None = None
) -> TrainingResult:
    """Train until the steps are done or ``stop()`` is true; ``watch`` draws a progress bar."""
    steps = agent.training(training.steps, every=max(training.steps // LOG_ROWS, 1))
    cpu, wall = time.process_time(), time.perf_counter()
    finished = True
    for _ in watch(agent, steps, training.steps) if watch is not None else steps:
        if stop is not None and stop() and agent.num_timesteps < training.steps:
            finished = False
            break
    return TrainingResult(agent, finished, time.process_time() - cpu, time.perf_counter() - wall)


class ExactCurve:
    """Record the exact return of every seed during training."""

    def __init__(self, exact: Exact, watch: Watch | None = None) -> None:
        self.exact, self._watch = exact, watch
        self.cpu_seconds = 0.0  # of exact evaluation, which is no part of training
        self.timesteps: list[int] = []
        self.returns: list[Floats] = []  # [S] each

    def __call__(self, agent: Agent, steps: Iterator[int], total: int) -> Iterator[int]:
        """A ``Watch``: passes steps on to the other watch and evaluates at each of them."""
        for done in steps if self._watch is None else self._watch(agent, steps, total):
            began = time.process_time()
            self.timesteps.append(done)
            self.returns.append(returns_of_policy(self.exact, all_scores(agent, self.exact.problem).argmax(axis=-1)))
            self.cpu_seconds += time.process_time() - began
            yield done

    @property
    def curve(self) -> Curve:
        """Timesteps ``[T]`` and exact returns ``[T, S]``."""
        return Curve(self.timesteps, np.stack(self.returns))


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns True after the first Ctrl-C; the second one raises ``KeyboardInterrupt``.

    Outside the main thread, where Python delivers no signals, the function always returns False.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def training_run(
    training: Training, trained: TrainingResult, played: Played, exact: ExactCurve | None = None
) -> RunRecord:
    """The record of a training with its evaluation, and with exact values if there are any."""
    agent = trained.agent
    subject = of_agent(agent, training.env, training.env_kwargs)
    interrupted = () if trained.finished else (f"Interrupted after {agent.num_timesteps} of {training.steps} steps.",)
    diverged = agent.divergences
    part = ExactPart()
    if exact is not None:
        part = exact_part(subject.name, agent.seeds, agent, exact.exact, exact.curve if exact.timesteps else None)
    return RunRecord(
        kind="train",
        title=f"{subject.name} trained on {training.env}",
        settings={
            "environment": training.env,
            "env_kwargs": training.env_kwargs,
            "backend": backend_of(agent.env),
            "algorithm": subject.name,
            "training_seeds": agent.seeds,
            "copies_per_seed": agent.env.num_envs,
            "preset": training.preset,
            "hyperparameters": asdict(agent.config),
            "steps_per_seed": training.steps,
        },
        results={
            **returns_of(agent.seeds, played),
            "timesteps": agent.num_timesteps,
            "finished": trained.finished,
            "diverged_seeds": [one.seed for one in diverged],
            "divergences": [one._asdict() for one in diverged],
            "cpu_seconds_per_seed": trained.cpu_seconds / agent.num_seeds,
            "wall_seconds": trained.wall_seconds,
            **part.results,
        },
        tables=(seed_table(agent.seeds, played), *part.tables),
        pictures=(*training_picture(agent, subject.name), *part.pictures),
        notes=(
            *interrupted,
            mean_note(played),
            *(
                f"Seed {seed} diverged at step {step}: {what} was not finite, and the seed was not updated any more."
                for seed, step, what in diverged
            ),
            *capped_note(played),
        ),
    )


def training_picture(agent: Agent, name: str) -> tuple[Picture, ...]:
    """Training returns by step; empty if no episode has ended."""
    history = agent.history
    if not history or np.isnan(history["episode_return"]).all():
        return ()
    figure = learning_curves(
        {name: Curve(history["timesteps"][:, 0], history["episode_return"])}, ylabel="return of training episodes"
    )
    caption = "Returns during training, with exploration; the table shows returns without exploration."
    return (Picture("training", caption, png(figure)),)


def write_log(path: Path, seeds: Sequence[int], history: Mapping[str, np.ndarray]) -> None:
    """Write the training log as CSV: one line per logging interval and seed."""
    names = [name for name in history if name != "timesteps"]
    rows = (
        [int(history["timesteps"][t, s]), seed, *(float(history[name][t, s]) for name in names)]
        for t in range(len(history.get("timesteps", ())))
        for s, seed in enumerate(seeds)
    )
    write_csv(path, ["timesteps", "seed", *names], rows)


def write_events(folder: Path, seeds: Sequence[int], history: Mapping[str, np.ndarray]) -> None:
    """Write the training log for TensorBoard: one run per seed, one scalar per logged name."""
    from torch.utils.tensorboard import SummaryWriter

    for s, seed in enumerate(seeds):
        with SummaryWriter(str(folder / f"seed-{seed}")) as writer:
            for name in (name for name in history if name != "timesteps"):
                for timesteps, value in zip(history["timesteps"][:, s], history[name][:, s], strict=True):
                    if np.isfinite(value):
                        writer.add_scalar(name, float(value), int(timesteps))


def train_and_write(
    training: Training,
    agent: Agent,
    folder: Path,
    episodes: int,
    watch: Watch | None = None,
    tensorboard: bool = False,
) -> tuple[RunRecord, bool]:
    """Train, save the policy and the log, and evaluate; return the record and whether training finished.

    After the first Ctrl-C, training stops at the end of the logging interval; partial results are saved and evaluated.
    """
    exact = exact_of(agent, training.env, training.env_kwargs, CURVE_WORK)
    recorded = None if exact is None else ExactCurve(exact, watch)
    with interruptible() as stop:
        trained = train(training, agent, watch if recorded is None else recorded, stop)
    if recorded is not None:
        trained = trained._replace(cpu_seconds=trained.cpu_seconds - recorded.cpu_seconds)
    agent.save(folder / "agent.safetensors")
    write_log(folder / "training.csv", agent.seeds, agent.history)
    if tensorboard:
        write_events(folder / "tensorboard", agent.seeds, agent.history)
    played = play(agent, agent.evaluation_env(episodes))
    return training_run(training, trained, played, recorded), trained.finished

"""Train S seeds of an agent; save the log and the policy, and evaluate the greedy policy."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.adversarial import Threat
from rlkit.agents import ALGORITHMS as BY_NAME
from rlkit.agents import Agent, Checkpoints, EngineName
from rlkit.figure_style import svg
from rlkit.planning import start_value
from rlkit.plotting import Curve, learning_curves

from ..report.grid_panel import GridPanel, Slider, shares
from ..report.ledger import Picture, RunRecord, write_csv
from ..stopping import interruptible
from .defense import DefenseSettings, DistillationSettings
from .evaluate import Played, capped_note, mean_note, played_by, returns_of, seed_table
from .exact import (
    CURVE_WORK,
    Exact,
    ExactPart,
    Floats,
    all_scores,
    exact_of,
    exact_part,
    greedy_under_fgsm,
    is_pictured,
    map_panel,
    pictured_threat,
    values_of_policy,
)
from .policies import AGENT_FILE, backend_of, made_with, of_agent

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
    defense: DefenseSettings | DistillationSettings | None = None
    engine: EngineName = "auto"

    def make_agent(self) -> Agent:
        """The untrained agent.

        Raises:
            ValueError: an unknown algorithm, environment, preset, hyper-parameter or defense, or fewer than one step or
                seed.
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
                terms=() if self.defense is None else self.defense.terms(self.device),
                engine=self.engine,
                **self.hyperparameters,
            )


def usual_preset(algo: str, env: str) -> str:
    """The default preset: "tuned" where that preset knows the environment, else "sb3"."""
    return "tuned" if "tuned" in ALGORITHMS[algo].presets_for(env) else "sb3"


class TrainingResult(NamedTuple):
    """The outcome of a training."""

    agent: Agent
    cpu_seconds: float  # of all seeds together
    wall_seconds: float

    @property
    def finished(self) -> bool:
        """Whether all steps are done; False after a stop."""
        return self.agent.timesteps_left == 0


def train(
    training: Training,
    agent: Agent,
    watch: Watch | None = None,
    kept: KeptTraining | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainingResult:
    """Train until the steps are done or ``stop()`` is true, which is looked at after every iteration.

    Args:
        training: the training.
        agent: ``training.make_agent()``, or ``kept.agent``.
        watch: draws a progress bar.
        kept: writes checkpoints when they are due, and at the stop or the end.
        stop: whether to stop.
    """
    spent = Spent() if kept is None else kept.spent
    cpu, wall = time.process_time() - spent.cpu_seconds, time.perf_counter() - spent.wall_seconds

    def result() -> TrainingResult:
        saving = 0.0 if kept is None else kept.cpu_seconds_of_saving
        return TrainingResult(agent, time.process_time() - cpu - saving, time.perf_counter() - wall)

    left = agent.timesteps_left if kept is not None and kept.resumed else training.steps
    steps = iter(()) if left == 0 else _logged_steps(training, agent, left, result, kept, stop)
    for _ in watch(agent, steps, left) if watch is not None else steps:
        pass
    trained = result()
    if kept is not None and agent.num_timesteps != kept.checkpoints.saved_at and not kept.short(trained):
        kept.save(trained)
    return trained


def _logged_steps(
    training: Training,
    agent: Agent,
    left: int,
    so_far: Callable[[], TrainingResult],
    kept: KeptTraining | None,
    stop: Callable[[], bool] | None,
) -> Iterator[int]:
    """Train for ``left`` steps; yield the timesteps done at every row of the log, and save when it is due."""
    iterations = agent.iterations(left, every=max(training.steps // LOG_ROWS, 1))
    due = agent.training_state.due
    for done in iterations:
        if agent.training_state.due > due:
            due = agent.training_state.due
            yield done  # first, so that what is recorded of this row is in the checkpoint
        if stop is not None and stop():
            return
        if kept is not None and agent.timesteps_left and kept.checkpoints.due(done):
            kept.save(so_far())


class ExactCurve:
    """Record the exact return of every seed during training.

    Args:
        exact: the solutions of the problem.
        watch: draws a progress bar.
        threat: for the values and policies under FGSM at its epsilons, which the report shows; None for none.
    """

    def __init__(self, exact: Exact, watch: Watch | None = None, threat: Threat | None = None) -> None:
        self.exact, self._watch, self._threat = exact, watch, threat
        self.cpu_seconds = 0.0  # of exact evaluation, which is no part of training
        self.timesteps: list[int] = []
        self.returns: list[Floats] = []  # [S] each
        self._pictured = is_pictured(exact.problem)
        self.values: list[Floats] = []  # [1 + L, N] each, means over seeds, without attack first; if pictured
        self.shares: list[Floats] = []  # [1 + L, N, A] each, of seeds that choose the action

    def __call__(self, agent: Agent, steps: Iterator[int], total: int) -> Iterator[int]:
        """A ``Watch``: passes steps on to the other watch and evaluates at each of them."""
        for done in steps if self._watch is None else self._watch(agent, steps, total):
            began = time.process_time()
            self.timesteps.append(done)
            scores = all_scores(agent, self.exact.problem)  # [S, N, A]
            greedy = scores.argmax(axis=-1)
            values = values_of_policy(self.exact, greedy)
            self.returns.append(start_value(self.exact.problem.mdp, values))
            if self._pictured:
                self._picture(agent, greedy, values)
            self.cpu_seconds += time.process_time() - began
            yield done

    def _picture(self, agent: Agent, greedy: NDArray[np.int64], values: Floats) -> None:
        """Keep values ``[S, N]`` and actions ``[S, N]``, and those under attack."""
        followed, worth = greedy[None], values[None]
        if self._threat is not None:
            attacked = greedy_under_fgsm(agent, self.exact.problem, self._threat)  # [L, S, N]
            followed = np.concatenate([followed, attacked])
            worth = np.concatenate([worth, values_of_policy(self.exact, attacked)])
        self.values.append(worth.mean(axis=1))
        self.shares.append(shares(followed, self.exact.problem.mdp.num_actions))

    @property
    def curve(self) -> Curve:
        """Timesteps ``[T]`` and exact returns ``[T, S]``."""
        return Curve(self.timesteps, np.stack(self.returns))

    def notes(self) -> dict[str, Any]:
        """The curve so far, for a checkpoint."""
        parts = {"returns": self.returns, "values": self.values, "shares": self.shares}
        lists = {name: [each.tolist() for each in arrays] for name, arrays in parts.items()}
        return {"timesteps": self.timesteps, **lists, "cpu_seconds": self.cpu_seconds}

    def restore(self, notes: Mapping[str, Any]) -> None:
        """Continue from the notes of a checkpoint."""
        self.timesteps, self.cpu_seconds = list(notes["timesteps"]), notes["cpu_seconds"]
        parts = [notes["returns"], notes.get("values", []), notes.get("shares", [])]  # 0.1.0 kept returns alone
        self.returns, self.values, self.shares = (
            [np.asarray(each, dtype=np.float64) for each in arrays] for arrays in parts
        )
        frame = (1 if self._threat is None else 1 + len(self._threat.epsilons), self.exact.problem.mdp.num_states)
        whole = len(self.values) == len(self.returns) and all(each.shape == frame for each in self.values)
        self._pictured = self._pictured and whole

    def panels(self) -> tuple[GridPanel, ...]:
        """The values and policies of training by step, for the report; empty where the problem is no small map."""
        if not self._pictured or not self.values:
            return ()
        title, shown = "Values and policy during training", "Learned: exact value of the policies, mean of seeds"
        value, policy = np.stack(self.values), np.stack(self.shares)  # [T, 1 + L, N], [T, 1 + L, N, A]
        steps = Slider("environment steps per seed", tuple(map(float, self.timesteps)))
        if self._threat is None:
            return (map_panel(self.exact, title, [steps], value[:, 0], policy[:, 0], shown),)
        title = f"{title}, with observations attacked by FGSM"
        epsilon = Slider(f"epsilon [{self._threat.unit}]", (0.0, *self._threat.epsilons))
        return (map_panel(self.exact, title, [steps, epsilon], value, policy, shown),)


class Spent(NamedTuple):
    """The cost of a training before it was taken up again."""

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0


class KeptTraining:
    """A training that is kept in the folder of its run, and taken up again from there.

    Args:
        fresh: an untrained agent; trained if there is nothing to continue.
        folder: folder of the run.
        every_steps: environment steps between two checkpoints; None decides by time.
        resume: whether to continue from the newest whole checkpoint, if there is one.
        engine: to continue on; None for that of the checkpoint.
        short_seconds: a training that finishes in less writes no checkpoint at its end.

    Raises:
        ValueError: no checkpoint can be read.
    """

    def __init__(
        self,
        fresh: Agent,
        folder: Path,
        every_steps: int | None = None,
        resume: bool = False,
        engine: EngineName | None = None,
        short_seconds: float = 0.0,
    ) -> None:
        self.short_seconds = short_seconds
        self.checkpoints = Checkpoints(folder, every_steps=every_steps)
        options: dict[str, Any] = {"device": fresh.device, "terms": fresh.terms.terms, "engine": engine}
        found = self.checkpoints.newest(**options) if resume else None
        self.asked, self.resumed = resume, found is not None
        if self.resumed:
            self.checkpoints.tidy()
        self.skipped = () if found is None else found.skipped
        self.agent = fresh if found is None else found.agent
        self.curve: ExactCurve | None = None
        self.cpu_seconds_of_saving = 0.0
        self._notes = {"spent": {}, "exact": None} if found is None else found.notes
        try:
            self.spent = Spent(**self._notes["spent"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{self.checkpoints.folder} was not written by a training: {error!r}") from error

    def told_engine(self) -> str:
        """Return the sentence to tell the user about the engine, which then does not announce itself."""
        self.agent.engine.announced = False
        return f"Engine {self.agent.engine!r}."

    def told(self, training: Training) -> Iterator[str]:
        """Yield the sentences to tell the user before the training begins or continues."""
        for reason in self.skipped:
            yield f"Skipped a checkpoint: {reason}."
        if self.resumed and self.agent.timesteps_left == 0:
            yield "The training is done; continuing after it."
        elif self.resumed:
            yield f"Continuing at step {self.agent.num_timesteps:,} of {training.steps:,}."
        elif self.asked:
            yield f"There is no checkpoint in {self.checkpoints.folder}: training starts at the beginning."

    def with_curve(self, curve: ExactCurve) -> ExactCurve:
        """Keep an exact curve beside the agent; continues it if the training is taken up again."""
        if self._notes["exact"] is not None:
            curve.restore(self._notes["exact"])
        self.curve = curve
        return curve

    def short(self, trained: TrainingResult) -> bool:
        """Whether a training has finished so soon that training again costs little more than a checkpoint."""
        return trained.finished and trained.wall_seconds < self.short_seconds

    def save(self, so_far: TrainingResult) -> None:
        """Write a checkpoint; warn where it cannot be written."""
        began = time.process_time()
        spent = Spent(so_far.cpu_seconds, so_far.wall_seconds)
        exact = None if self.curve is None else self.curve.notes()
        try:
            self.checkpoints.save(so_far.agent, {"spent": spent._asdict(), "exact": exact})
        except OSError as error:
            text = f"no checkpoint at step {so_far.agent.num_timesteps:,}, the run continues without it: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        self.cpu_seconds_of_saving += time.process_time() - began


def training_run(
    training: Training, trained: TrainingResult, played: Played, exact: ExactCurve | None = None
) -> RunRecord:
    """The record of a training with its evaluation, and with exact values if there are any."""
    agent = trained.agent
    subject = of_agent(agent, training.env, training.env_kwargs)
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
            "engine": agent.engine.name,
            **({} if training.defense is None else {"defense": asdict(training.defense)}),
        },
        results={
            **returns_of(agent.seeds, played),
            "timesteps": agent.num_timesteps,
            "finished": trained.finished,
            "diverged_seeds": [one.seed for one in diverged],
            "divergences": [one._asdict() for one in diverged],
            "cpu_seconds_per_seed": trained.cpu_seconds / agent.num_seeds,
            "wall_seconds": trained.wall_seconds,
            **training_curve(agent),
            **part.results,
        },
        panels=() if exact is None else exact.panels(),
        tables=(seed_table(agent.seeds, played), *part.tables),
        pictures=(*training_picture(agent, subject.name), *part.pictures),
        notes=(
            mean_note(played),
            *(
                f"Seed {seed} diverged at step {step}: {what} was not finite, and the seed was not updated any more."
                for seed, step, what in diverged
            ),
            *capped_note(played),
        ),
    )


def training_returns(agent: Agent) -> Curve | None:
    """Training returns by step; None if no episode has ended."""
    history = agent.history
    if not history or np.isnan(history["episode_return"]).all():
        return None
    return Curve(history["timesteps"][:, 0], history["episode_return"])


def training_curve(agent: Agent) -> dict[str, Any]:
    """The learning curve for scripts and for reports of several runs; empty if no episode has ended."""
    curve = training_returns(agent)
    return {} if curve is None else {"training_curve": {"timesteps": curve.x, "returns": curve.y}}


def training_picture(agent: Agent, name: str) -> tuple[Picture, ...]:
    """A picture of ``training_returns``; empty if no episode has ended."""
    curve = training_returns(agent)
    if curve is None:
        return ()
    figure = learning_curves({name: curve}, ylabel="return of training episodes")
    caption = "Returns during training, with exploration; the table shows returns without exploration."
    return (Picture("training", caption, svg(figure)),)


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
        for older in (folder / f"seed-{seed}").glob("events.out.tfevents.*"):  # of a stopped run
            older.unlink()
        with SummaryWriter(str(folder / f"seed-{seed}")) as writer:
            for name in (name for name in history if name != "timesteps"):
                for timesteps, value in zip(history["timesteps"][:, s], history[name][:, s], strict=True):
                    if np.isfinite(value):
                        writer.add_scalar(name, float(value), int(timesteps))


def save(agent: Agent, folder: Path) -> None:
    """Write the policy and the log of a training into its folder."""
    agent.save(folder / AGENT_FILE)
    write_log(folder / "training.csv", agent.seeds, agent.history)


def train_and_save(
    training: Training, kept: KeptTraining, folder: Path, watch: Watch | None = None, of: str = ""
) -> TrainingResult:
    """Train, and write the policy and the log, also after a SIGINT or SIGTERM at the end of its iteration.

    Args:
        training: the training.
        kept: the training, begun or continued.
        folder: folder of the run.
        watch: shows the progress.
        of: end of the message of a stop, where others train too.

    Raises:
        Stopped: a signal asked to stop; a checkpoint is written too.
    """
    agent = kept.agent
    with interruptible() as stop:
        trained = train(training, agent, watch, kept, stop)
        save(agent, folder)
    if stop():
        raise stop.stopped(f"interrupted at step {agent.num_timesteps:,} of {training.steps:,}{of}")
    return trained


def train_and_write(
    training: Training,
    kept: KeptTraining,
    folder: Path,
    episodes: int,
    watch: Watch | None = None,
    tensorboard: bool = False,
) -> RunRecord:
    """Train, save the policy and the log, and evaluate; return the record.

    After the first SIGINT or SIGTERM training stops at the end of the iteration; a checkpoint, the policy and the log
    are saved. A trained agent is saved before its evaluation, which a signal stops at once.

    Raises:
        Stopped: a signal asked to stop.
    """
    agent = kept.agent
    exact = exact_of(agent, training.env, training.env_kwargs, CURVE_WORK)
    recorded = None
    if exact is not None:
        threat = pictured_threat(exact.problem, training.env, training.env_kwargs)
        recorded = kept.with_curve(ExactCurve(exact, watch, threat))
    trained = train_and_save(training, kept, folder, watch if recorded is None else recorded)
    if recorded is not None:
        trained = trained._replace(cpu_seconds=trained.cpu_seconds - recorded.cpu_seconds)
    if tensorboard:
        write_events(folder / "tensorboard", agent.seeds, agent.history)
    played = played_by(of_agent(agent, training.env, training.env_kwargs), episodes)
    return training_run(training, trained, played, recorded)

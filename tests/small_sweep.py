"""A small sweep, and an executor that runs its attempts in the process of the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlkit.experiments.studies.common.outcomes import OutcomeRow
from rlkit.experiments.workflows.sweep.driver import SweepDriver
from rlkit.experiments.workflows.sweep.executors import Ended, Executor
from rlkit.experiments.workflows.sweep.experiment import Experiment
from rlkit.experiments.workflows.sweep.sweep_ledger import SweepAttempt, SweepLedger
from rlkit.experiments.workflows.sweep.worker import run_attempt

LAKE = {"env": "rlkit/GridWorld-v0", "env_kwargs": {"map": "frozenlake-4x4", "observation": "index"}}
SMALL = {
    "name": "lake",
    "question": "Which learning rate is best?",
    "hypothesis": "The greatest.",
    "agents": [{"algo": "tabularq", "preset": "sb3", "set": {"initial_value": 0.5}}],  # so that tables change at once
    "environments": [LAKE],
    "settings": {"learning_rate": [0.1, 0.5]},
    "seeds": 2,
    "steps": 300,
    "episodes": 2,
}
TOML = """
question = "Which learning rate is best?"
hypothesis = "The greatest."
agents = [{ algo = "tabularq", preset = "sb3", set = { initial_value = 0.5 } }]
environments = [{ env = "rlkit/GridWorld-v0", env_kwargs = { map = "frozenlake-4x4", observation = "index" } }]
settings = { learning_rate = [0.1, 0.5] }
seeds = 2
episodes = 2
"""


class InProcess:
    """An executor that runs an attempt where it is submitted."""

    parts = 1

    def __init__(self, workers: int = 1, gpus: Sequence[int] = ()) -> None:
        self.submitted: list[SweepAttempt] = []
        self._ended: list[Ended] = []

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def free(self) -> int:
        return 1 - len(self._ended)

    def submit(self, attempt: SweepAttempt) -> None:
        self.submitted.append(attempt)
        run_attempt(attempt)
        self._ended.append(Ended(attempt))

    def wait(self, seconds: float) -> list[Ended]:
        ended, self._ended = self._ended, []
        return ended

    def stop(self) -> None:
        pass


def never() -> bool:
    return False


def run_all(folder: Path, experiment: Experiment, executor: Executor | None = None) -> SweepLedger:
    """A sweep in this process, to its end."""
    sweep = SweepLedger.begin(folder, experiment, resume=True)
    assert SweepDriver(sweep, executor or InProcess(), print).run(never)
    return sweep


def outcomes(sweep: SweepLedger) -> dict[str, object]:
    """What every run resulted in, without costs and places."""
    return {run.id: sweep.result(run.id)["results"] for run in sweep.experiment.runs}


def doing(sweep: SweepLedger) -> list[str]:
    return [each.state for each in sweep.states().values()]


def outcome(cell: str, seed: int, greedy: float = 0.0, **fields: Any) -> OutcomeRow:
    """A row of a study, with numbers that do not matter unless they are given."""
    return replace(OutcomeRow(cell, seed, 100, greedy, None, None, None, 0, 0.1), **fields)

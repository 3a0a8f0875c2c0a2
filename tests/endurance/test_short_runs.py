"""Many short runs of a sweep: none is lost, none trains twice, and each costs little beside its own training.

``make endurance`` runs a thousand. With ``-s`` the figures are printed. Wall time is printed alone: it says something
on an idle machine only.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from counts import repeats
from small_sweep import SMALL, doing, never

from rlkit.experiments.workflows.evaluate import play
from rlkit.experiments.workflows.sweep.driver import SweepDriver
from rlkit.experiments.workflows.sweep.executors import Ended, LocalExecutor
from rlkit.experiments.workflows.sweep.experiment import PlannedRun, batch_training, experiment_of
from rlkit.experiments.workflows.sweep.sweep_ledger import SweepLedger
from rlkit.experiments.workflows.train import train

RUNS = repeats(1000, 24)
MOST_SECONDS = 0.05  # of the CPU for each run, beside its training and evaluation
MOST_MB = 8.0  # that the memory of the worker may grow by


class Watched(LocalExecutor):
    """Notes the wall time, and the CPU seconds and the memory of its only worker, after each run."""

    def __init__(self) -> None:
        super().__init__(1)
        self.wall_seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.megabytes: list[float] = []

    def wait(self, seconds: float) -> list[Ended]:
        ended = super().wait(seconds)
        for worker in self._idle if ended else ():
            process = Path(f"/proc/{worker.pid}")
            fields = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            self.wall_seconds.append(time.perf_counter())
            self.cpu_seconds.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
            pages = int((process / "statm").read_text(encoding="utf-8").split()[1])
            self.megabytes.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        return ended


class Seconds(NamedTuple):
    """Time of one run."""

    cpu: float
    wall: float


def seconds_alone(runs: tuple[PlannedRun, ...]) -> Seconds:
    """Time of a run's training and evaluation in this process, without a sweep."""
    began = Seconds(0.0, 0.0)
    for number, run in enumerate(runs):
        if number == 1:  # the first one compiles
            began = Seconds(time.process_time(), time.perf_counter())
        training = batch_training([run.configuration])
        agent = training.make_agent()
        train(training, agent)
        play(agent, agent.evaluation_env(1))
    count = len(runs) - 1
    return Seconds((time.process_time() - began.cpu) / count, (time.perf_counter() - began.wall) / count)


@pytest.mark.slow
def test_short_runs_cost_little_and_none_is_lost_or_run_twice(tmp_path: Path) -> None:
    given = {**SMALL, "settings": {}, "seeds": RUNS, "rows": 1, "steps": 16, "episodes": 1}
    experiment = experiment_of(given)
    sweep = SweepLedger.begin(tmp_path, experiment)
    began = time.process_time()
    with Watched() as executor:
        assert SweepDriver(sweep, executor, print).run(never)
    driving = (time.process_time() - began) / RUNS
    assert doing(sweep) == ["done"] * RUNS
    assert len(list(sweep.attempts())) == RUNS
    assert len(list(tmp_path.glob("batches/*/attempt-*/results/*.json"))) == RUNS
    working = (executor.cpu_seconds[-1] - executor.cpu_seconds[0]) / (RUNS - 1)
    wall = (executor.wall_seconds[-1] - executor.wall_seconds[0]) / (RUNS - 1)
    alone = seconds_alone(experiment.runs[:9])
    growth = executor.megabytes[-1] - executor.megabytes[RUNS // 4]
    parts = f"driver {1e3 * driving:.1f}, worker {1e3 * working:.1f}, without a sweep {1e3 * alone.cpu:.1f}"
    print(f"CPU ms of a run: {parts}; growth {growth:.1f} MB")
    print(f"wall ms of a run: {1e3 * wall:.1f}, without a sweep {1e3 * alone.wall:.1f}")
    assert driving + working - alone.cpu < MOST_SECONDS
    assert growth < MOST_MB

"""Training stable-baselines3 in a separate process, so that time and threads of both libraries stay apart."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from rlkit.optional_packages import require
from rlkit.plotting import Curve

from ...report.ledger import to_json, write_text
from ..threads import one_thread_environment
from .sb3_job import SB3Job


class SB3Failed(RuntimeError):
    """The process of stable-baselines3 failed."""


class SB3Result(NamedTuple):
    """One trained seed of stable-baselines3."""

    seed: int
    model: Path
    normalization: Path | None  # what VecNormalize saved
    cpu_seconds: float
    wall_seconds: float
    timesteps: int
    episodes: tuple[tuple[int, float], ...]  # timesteps at the end of a training episode, and its return


def require_sb3() -> None:
    """Refuse a comparison at once if stable-baselines3 is not installed.

    Raises:
        ModuleNotFoundError: stable-baselines3 is not installed.
    """
    require("stable_baselines3", "stable-baselines3", "sb3")


class SB3Process:
    """A training job of stable-baselines3 in a separate process; leaving the ``with`` block ends it.

    Args:
        job: the training of stable-baselines3.
        folder: where models and costs are written; it must exist.
        resume: whether finished seeds in the folder are kept; otherwise they are trained again.

    Raises:
        ModuleNotFoundError: stable-baselines3 is not installed.
    """

    def __init__(self, job: SB3Job, folder: Path, resume: bool = False) -> None:
        require_sb3()
        self.job, self.folder = job, folder
        finished = {seed: job.steps for seed in job.seeds if resume and _costs(folder, seed).is_file()}
        self._done = dict.fromkeys(job.seeds, 0) | finished  # timesteps by seed
        for seed in job.seeds:
            if seed not in finished:
                _costs(folder, seed).unlink(missing_ok=True)  # the last file of a seed: it says that one is finished
        left = tuple(seed for seed in job.seeds if seed not in finished)
        write_text(folder / "job.json", to_json(asdict(replace(job, seeds=left))))
        self._errors = (folder / "sb3.log").open("wb")
        worker = ["-m", "rlkit.experiments.workflows.compare.sb3_worker", str(folder)]
        self._process = subprocess.Popen(
            [sys.executable, *(worker if left else ["-c", ""])],  # with nothing left a process that ends at once
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=one_thread_environment(),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._reader.join()
        self._errors.close()

    @property
    def timesteps(self) -> int:
        """Environment steps so far, summed over seeds."""
        return sum(self._done.values())

    @property
    def running(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end, for at most this number of seconds; whether the process has ended."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def results(self) -> tuple[SB3Result, ...]:
        """Wait for the end and read what every seed left.

        Raises:
            SB3Failed: the process failed; the error holds the last line of its log.
        """
        self._process.wait()
        self._reader.join()
        if self._process.returncode != 0:
            lines = (self.folder / "sb3.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            last = lines[-1] if lines else "no output"
            code, log = self._process.returncode, self.folder / "sb3.log"
            raise SB3Failed(f"the process of stable-baselines3 ended with {code}: {last} (see {log})")
        return tuple(_result(self.folder, seed) for seed in self.job.seeds)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                seed, timesteps = map(int, line.split())
                self._done[seed] = timesteps


def _costs(folder: Path, seed: int) -> Path:
    return folder / f"sb3-seed{seed}.json"


def _result(folder: Path, seed: int) -> SB3Result:
    cost = json.loads(_costs(folder, seed).read_text(encoding="utf-8"))
    episodes = tuple((int(step), float(earned)) for step, earned in cost.pop("episodes"))
    model, moments = folder / f"sb3-seed{seed}.zip", folder / f"sb3-seed{seed}.pkl"
    normalization = moments if cost.pop("normalized") else None
    return SB3Result(model=model, normalization=normalization, episodes=episodes, **cost)


def training_curve(results: tuple[SB3Result, ...], timesteps: np.ndarray) -> Curve:
    """Mean return of the training episodes that ended in each interval of ``timesteps [T]``; NaN where none did."""
    edges = np.concatenate([[0], timesteps])  # [T + 1]
    y = np.full((len(timesteps), len(results)), np.nan)
    for s, result in enumerate(results):
        if not result.episodes:
            continue
        ends, earned = np.array(result.episodes).T
        interval = np.searchsorted(edges, ends, side="left") - 1  # an episode ending at an edge belongs before it
        count = np.bincount(interval, minlength=len(timesteps))[: len(timesteps)]
        total = np.bincount(interval, earned, minlength=len(timesteps))[: len(timesteps)]
        np.divide(total, count, out=y[:, s], where=count > 0)
    return Curve(timesteps, y)

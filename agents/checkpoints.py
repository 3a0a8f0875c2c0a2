"""The checkpoints of a run in its folder: written when they are due, the newest and the best kept.

``FOLDER/checkpoints/STEPS.safetensors`` is a run after STEPS environment steps per seed, and ``LATEST``, written after
it, is a JSON object that names the newest one. Each file is written whole or not at all.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from rlkit.arrays import as_whole_number
from rlkit.atomic_files import remove_leftovers, whole_file
from rlkit.types import Term

from .core.agent import Agent
from .core.compiled_engine import EngineName
from .core.env_source import EnvSource
from .core.serialization import CHECKPOINT, read_header
from .load import resume

FOLDER, LATEST = "checkpoints", "LATEST"
SHARE = 0.03  # of the elapsed time, for saving
LEAST_SECONDS = 10.0  # between two checkpoints by time
_NAME = re.compile(r"(?P<timesteps>0|[1-9]\d{0,17})\.safetensors")
_SCORE, _NOTES = "mean_return", "caller"  # in the notes of a checkpoint


class Resumed(NamedTuple):
    """A run that was read from its newest whole checkpoint."""

    agent: Agent
    notes: dict[str, Any]  # what ``save`` was given
    path: Path
    skipped: tuple[str, ...]  # newer checkpoints that could not be read: a sentence each, with the reason


class Checkpoints:
    """Write the checkpoints of a run when they are due, and keep the newest and the best.

    A checkpoint is due by time: 10 seconds after the last one at the earliest, and so that saving takes at most
    ``share`` of the time since this object was made. The next save is assumed to take as long as the last one, and
    another one is reserved for the end of the training. One process at a time may write to a folder;
    ``rlkit.atomic_files.only_writer`` holds it.

    Example::

        checkpoints = Checkpoints("runs/mine")
        found = checkpoints.newest()
        agent = DQN("CartPole-v1") if found is None else found.agent
        for timesteps in agent.iterations(agent.timesteps_left or 50_000):
            if checkpoints.due(timesteps):
                checkpoints.save(agent)
        checkpoints.save(agent)

    Args:
        folder: folder of the run; the checkpoints are written to the folder ``checkpoints`` below it.
        keep_last: newest checkpoints to keep. With 2, little is lost if the newest one is damaged.
        keep_best: checkpoints with the greatest mean training return to keep in addition.
        every_steps: environment steps per seed between two checkpoints; None decides by time. The compiled engine makes
            several iterations in a call, and a checkpoint is written at the end of the call in which it is due.
        share: greatest share of the elapsed time for saving.
        clock: seconds since an arbitrary origin.

    Raises:
        ValueError: keep_last or every_steps below 1, keep_best below 0, or one of them not a whole number; or a share
            outside (0, 1].
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        keep_last: int = 2,
        keep_best: int = 1,
        every_steps: int | None = None,
        share: float = SHARE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        keep_last, keep_best = as_whole_number(keep_last, "keep_last"), as_whole_number(keep_best, "keep_best", 0)
        every_steps = None if every_steps is None else as_whole_number(every_steps, "every_steps")
        if not 0.0 < share <= 1.0:
            raise ValueError(f"the share of time for saving must be above 0 and at most 1, got {share}")
        self.folder = Path(folder) / FOLDER
        self.keep_last, self.keep_best, self.every_steps, self.share = keep_last, keep_best, every_steps, share
        self.saved_at: int | None = None  # timesteps of the checkpoint that was written or read last
        self.seconds = 0.0  # spent on saving so far
        self._clock = clock
        self._began = self._ended = clock()  # the end of the last save
        self._last_seconds = 0.0  # that it took
        self._attempted_at = 0  # timesteps of the last save, done or failed
        self._damaged: set[int] = set()
        self._scores: dict[int, float] = {}  # mean training return by timesteps, of files whose header was read

    def timesteps(self) -> list[int]:
        """Return the timesteps of the checkpoints in the folder, ascending."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(each["timesteps"]) for each in found if each is not None)

    def path(self, timesteps: int) -> Path:
        """Return the file of the checkpoint after this number of timesteps."""
        return self.folder / f"{timesteps}.safetensors"

    def due(self, timesteps: int) -> bool:
        """Return whether a checkpoint should be written now, after ``timesteps`` environment steps per seed."""
        if self.every_steps is not None:
            return timesteps // self.every_steps > self._attempted_at // self.every_steps
        now = self._clock()
        affordable = self.seconds + 2 * self._last_seconds <= self.share * (now - self._began)
        return affordable and now - self._ended >= LEAST_SECONDS

    def save(self, agent: Agent, notes: Mapping[str, Any] | None = None) -> Path:
        """Write a checkpoint, and remove those that are neither among the newest nor among the best.

        Args:
            agent: the run.
            notes: data of the caller, as JSON; ``newest`` returns it.

        Returns:
            the file.

        Raises:
            ValueError: the folder holds checkpoints of a run that is further.
            OSError: the file could not be written; older checkpoints are unchanged.
        """
        timesteps = agent.num_timesteps
        further = [each for each in self.timesteps() if each > timesteps and each not in self._damaged]
        if further:
            raise ValueError(
                f"{self.folder} holds checkpoints of a run that is at step {further[-1]:,}, and this one is at step "
                f"{timesteps:,}: continue that run from newest(), call clear(), or choose another folder"
            )
        began = self._clock()
        self._attempted_at = timesteps
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            score = mean_return(agent)
            known = None if math.isnan(score) else score
            agent.checkpoint(self.path(timesteps), {_SCORE: known, _NOTES: dict(notes or {})})
            self._scores[timesteps] = -math.inf if known is None else known
            self.saved_at = timesteps
            self._write_latest(timesteps)
            self._remove_others()
        finally:
            self._ended = self._clock()
            self._last_seconds = self._ended - began
            self.seconds += self._last_seconds
        return self.path(timesteps)

    def newest(
        self,
        env: EnvSource | None = None,
        device: str | torch.device = "auto",
        terms: Sequence[Term] = (),
        engine: EngineName | None = None,
    ) -> Resumed | None:
        """Read the newest checkpoint that is whole, and continue from it; None if the folder has no checkpoint.

        Args:
            env: the environment; required where the agent was not made from an id.
            device: as in the constructor of an agent.
            terms: those that the run was made with.
            engine: None for that of the run; see ``Agent.resume``.

        Raises:
            ValueError: no checkpoint can be read; the message has the reason of each.
        """
        skipped: list[str] = []
        for timesteps in reversed(self.timesteps()):
            path = self.path(timesteps)
            try:
                agent = resume(path, env, device, terms, engine)
                notes = _notes_of(path)
            except (ValueError, OSError) as error:
                skipped.append(str(error))
                self._damaged.add(timesteps)
                continue
            self.saved_at = self._attempted_at = timesteps
            return Resumed(agent, notes[_NOTES], path, tuple(skipped))
        if skipped:
            raise ValueError(f"no checkpoint in {self.folder} can be read: {'; '.join(skipped)}")
        return None

    def tidy(self) -> None:
        """Complete what a killed save began: name the newest checkpoint, and remove others and damaged ones."""
        whole = [each for each in self.timesteps() if each not in self._damaged]
        if whole:
            self._write_latest(whole[-1])
            self._remove_others()

    def clear(self) -> None:
        """Remove the checkpoints and what killed saves left of them."""
        if not self.folder.is_dir():
            return
        (self.folder / LATEST).unlink(missing_ok=True)
        for timesteps in self.timesteps():
            self.path(timesteps).unlink(missing_ok=True)
        remove_leftovers(self.folder)
        self._scores.clear()
        self._damaged.clear()

    def _write_latest(self, timesteps: int) -> None:
        with whole_file(self.folder / LATEST) as file:
            file.write(json.dumps({"checkpoint": self.path(timesteps).name, "timesteps": timesteps}).encode())

    def _remove_others(self) -> None:
        """Remove what is damaged, and what is neither among the newest nor among the best."""
        whole = [each for each in self.timesteps() if each not in self._damaged]
        best = sorted(whole, key=lambda each: (self._score(each), each))[max(len(whole) - self.keep_best, 0) :]
        kept = {*whole[-self.keep_last :], *best}
        for timesteps in {*whole, *self._damaged} - kept:
            self.path(timesteps).unlink(missing_ok=True)
            self._scores.pop(timesteps, None)
        self._damaged.clear()
        remove_leftovers(self.folder)

    def _score(self, timesteps: int) -> float:
        """Mean training return of a checkpoint; the least of all if none is known."""
        if timesteps not in self._scores:
            try:
                known = _notes_of(self.path(timesteps))[_SCORE]
            except (ValueError, OSError):
                known = None
            self._scores[timesteps] = -math.inf if known is None else known
        return self._scores[timesteps]


def mean_return(agent: Agent) -> float:
    """Return the mean over seeds of the latest training returns in the log; NaN before an episode has ended."""
    for row in reversed(agent.history.get("episode_return", np.empty((0, 1)))):  # [S]
        known = row[~np.isnan(row)]
        if len(known):
            return float(known.mean(axis=0))
    return math.nan


def _notes_of(path: Path) -> dict[str, Any]:
    """The notes of a checkpoint, those of ``Checkpoints`` among them.

    Raises:
        ValueError: the file is damaged, or was not written by ``Checkpoints``.
    """
    notes = read_header(path, CHECKPOINT).get("notes")
    if not isinstance(notes, dict) or set(notes) != {_SCORE, _NOTES} or not isinstance(notes[_NOTES], dict):
        raise ValueError(f"{path} was not written by Checkpoints: read it with rlkit.agents.resume")
    score = notes[_SCORE]
    if not (score is None or isinstance(score, float)):
        raise ValueError(f"{path} has a mean return of {str(score)[:100]}")
    return notes

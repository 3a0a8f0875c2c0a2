"""The ledger of a sweep, the only truth about its runs, on a file system that many machines may share.

It needs no lock. Every attempt at a batch of runs writes into its own folder, and a result becomes the result of its
run by ``os.link``, which succeeds for one attempt only::

    FOLDER/sweep.json                                   the experiment, resolved; never changed
    FOLDER/batches/BATCH/attempt-UUID/job.json          the runs of the attempt
                                      HEARTBEAT         written again while it runs
                                      STOP              the driver asks it to stop
                                      checkpoints/      of the batch
                                      results/RUN.json  one for each run
                                      END               how it ended, with the traceback of a failure
    FOLDER/runs/RUN/DONE                                a link to the result that was committed first

A run without DONE is missing, whatever else there is. Nobody changes or removes the file of another attempt.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import socket
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from rlkit.agents.checkpoints import FOLDER as CHECKPOINTS
from rlkit.atomic_files import flush_folder, process_runs, whole_file

from ...report import ledger
from .experiment import Batch, Experiment, PlannedRun, batch_id, run_id

SCHEMA = 1  # of the ledger
SWEEP, DONE, RESULTS = "sweep.json", "DONE", "results"
JOB, HEARTBEAT, STOP, END, LOG = "job.json", "HEARTBEAT", "STOP", "END", "log.txt"  # of an attempt
STALE_SECONDS = 60.0  # age of a heartbeat from which an attempt counts as abandoned
PAUSES = (0.05, 0.2, 1.0)  # seconds before a call is made again that met a stale handle of a network file system
_STEPS = re.compile(r"(0|[1-9]\d{0,17})\.safetensors")

T = TypeVar("T")
State = Literal["done", "damaged", "running", "failed", "missing"]
EndState = Literal["done", "failed", "stopped"]


class DamagedResult(ValueError):
    """A committed result that cannot be read."""


class NewerLedger(ValueError):
    """A file of a newer version of rlkit."""


class RunState(NamedTuple):
    """The state of a run in the ledger."""

    state: State
    reason: str = ""  # of a failure or a damage
    steps: int = 0  # of a running one, per seed


class AttemptProgress(NamedTuple):
    """How far the training of an attempt is."""

    steps: int = 0  # environment steps per run
    rows: int = 0  # runs that train as one computation; 0 before the first row of the log
    rate: float = 0.0  # environment steps per second of all its runs together
    mean_return: float | None = None  # latest mean training return; None before an episode has ended


@dataclass(frozen=True)
class SweepAttempt:
    """One attempt at a batch.

    Args:
        folder: its own.
    """

    folder: Path

    def job(self) -> dict[str, Any]:
        """Return the runs: ``{"runs": {id: configuration}, "checkpoint_every": steps or None}``.

        Raises:
            ValueError: another schema, or no JSON object.
        """
        return _checked(self.folder / JOB)

    def beat(self, progress: AttemptProgress | None = None) -> None:
        """Write that the attempt runs in this process, and how far it is."""
        place = {"host": socket.gethostname(), "process": os.getpid()}
        with whole_file(self.folder / HEARTBEAT, durable=False) as file:
            file.write(json.dumps({**place, **(progress or AttemptProgress())._asdict()}).encode())

    def begun(self) -> bool:
        """Whether a worker has taken the attempt; else it waits where it was submitted."""
        return (self.folder / LOG).exists()

    def ask_to_stop(self) -> None:
        """Ask the attempt, wherever it runs, to stop in order with a checkpoint."""
        (self.folder / STOP).touch()

    def stop_asked(self) -> bool:
        """Whether the attempt was asked to stop."""
        return (self.folder / STOP).exists()

    def progress(self) -> AttemptProgress | None:
        """How far the attempt is; None if it does not run."""
        last = self.heartbeat()
        known = AttemptProgress._fields
        return None if last is None else AttemptProgress(**{name: last[name] for name in known if name in last})

    def heartbeat(self) -> dict[str, Any] | None:
        """The last heartbeat if the attempt runs: it has not ended, and the heartbeat is not stale."""
        path = self.folder / HEARTBEAT
        try:
            if (self.folder / END).exists() or time.time() - path.stat().st_mtime > STALE_SECONDS:
                return None
            last: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            gone = last["host"] == socket.gethostname() and not process_runs(last["process"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return None if gone else last

    def finish(self, state: EndState, reason: str = "") -> None:
        """Write how the attempt ended."""
        with whole_file(self.folder / END, durable=False) as file:
            file.write(json.dumps({"state": state, "reason": reason, "time": time.time()}).encode())

    def end(self) -> dict[str, Any] | None:
        """How the attempt ended: ``state``, ``reason`` and ``time``; None while it runs or if it was killed."""
        try:
            found: dict[str, Any] = json.loads((self.folder / END).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if {"state", "reason", "time"} <= set(found) else None


class SweepLedger:
    """The ledger in a folder.

    Args:
        folder: folder of the sweep.

    Raises:
        FileNotFoundError: the folder holds no sweep.
        ValueError: its sweep.json is damaged, or of a newer version of rlkit.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / SWEEP
        if not path.is_file():
            inside = sorted(each.parent.name for each in folder.glob(f"*/{SWEEP}"))
            there = f", such as {folder / inside[-1]}" if inside else ""
            raise FileNotFoundError(f"{folder} holds no {SWEEP}: give the folder of a sweep{there}")
        saved = _checked(path)
        try:
            self.experiment = _experiment(saved)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{path} is not the ledger of a sweep ({error!r}): was it edited?") from error

    @classmethod
    def begin(cls, folder: Path, experiment: Experiment, resume: bool = False) -> SweepLedger:
        """Make the ledger of an experiment, or open it again.

        Args:
            folder: folder of the sweep.
            experiment: the experiment to run.
            resume: continue the sweep that the folder holds; a folder without one begins it.

        Raises:
            ValueError: the folder is a file, holds a sweep and ``resume`` is False, or holds one of another experiment;
                or see the class.
        """
        ledger.made_folder(folder)
        if (folder / SWEEP).exists() and not resume:
            raise ValueError(f"{folder} holds a sweep already: pass --resume to continue it, or choose another --out")
        if not (folder / SWEEP).exists() and (folder / ledger.RECORD).exists():
            raise ValueError(f"{folder} holds a run of another command: choose another --out")
        own = folder / f".{uuid.uuid4().hex}.json"
        with whole_file(own) as file:
            file.write(json.dumps(_saved(experiment), indent=1).encode())
        try:
            publish(own, folder / SWEEP)
        finally:
            own.unlink()
        made = cls(folder)
        if [run.id for run in made.experiment.runs] != [run.id for run in experiment.runs]:
            here, asked = ({run.id for run in each.runs} for each in (made.experiment, experiment))
            raise ValueError(
                f"{folder} holds a sweep of other runs ({len(asked - here)} are new, {len(here - asked)} are gone): "
                "restore the file of the experiment, or choose another --out"
            )
        return made

    def begun_at(self) -> float:
        """When the sweep was made, in seconds since the epoch."""
        return (self.folder / SWEEP).stat().st_mtime

    def result(self, run: str) -> dict[str, Any] | None:
        """The committed result of a run; None if it is missing.

        Raises:
            DamagedResult: DONE cannot be read, is not what was written, or belongs to another run.
        """
        path = self.folder / "runs" / run / DONE
        try:
            content = _again(path.read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedResult(f"{path} cannot be read: {error}") from error
        try:
            record: dict[str, Any] = _unsealed(content)
            if record["id"] != run or run_id(record["configuration"]) != run:
                raise ValueError("it belongs to another run")
        except NewerLedger as error:
            raise NewerLedger(f"{path} cannot be used: {error}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedResult(
                f"{path} is damaged ({error}): restore it, or remove it so that the run is missing"
            ) from error
        return record

    def is_done(self, run: str) -> bool:
        """Whether a run has a committed result, damaged or not."""
        return self.done_at(run) is not None

    def done_at(self, run: str) -> float | None:
        """When the result of a run was written, in seconds of the file system's clock; None if it is missing."""
        try:
            return (self.folder / "runs" / run / DONE).stat().st_mtime
        except FileNotFoundError:
            return None

    def batch_folder(self, batch: Sequence[PlannedRun]) -> Path:
        """The folder of all attempts at a batch."""
        return self.folder / "batches" / batch_id(run.id for run in batch)

    def new_attempt(self, batch: Sequence[PlannedRun]) -> SweepAttempt:
        """Make the folder of an attempt, with its runs and a heartbeat of this process."""
        attempt = SweepAttempt(self.batch_folder(batch) / f"attempt-{uuid.uuid4().hex}")
        attempt.folder.mkdir(parents=True)
        job = {
            "schema": SCHEMA,
            "runs": {run.id: run.configuration for run in batch},
            "checkpoint_every": self.experiment.checkpoint_every,
        }
        with whole_file(attempt.folder / JOB, durable=False) as file:
            file.write(json.dumps(job, indent=1).encode())
        attempt.beat()
        return attempt

    def attempts(self, batch: Sequence[PlannedRun] | None = None) -> Iterator[SweepAttempt]:
        """The attempts at a batch, or at all."""
        above = (self.folder / "batches").glob("*") if batch is None else [self.batch_folder(batch)]
        for folder in (attempt for each in above for attempt in each.glob("attempt-*")):
            yield SweepAttempt(folder)

    def running(self) -> Iterator[tuple[SweepAttempt, dict[str, Any]]]:
        """The attempts that run by their heartbeats, with their jobs."""
        for attempt in self.attempts():
            if attempt.heartbeat() is not None:
                try:
                    yield attempt, attempt.job()
                except (OSError, ValueError):
                    continue  # killed before it began

    def states(self) -> dict[str, RunState]:
        """The state of every run, in the order of the experiment."""
        found: dict[str, RunState] = {}
        failed: dict[str, tuple[float, str]] = {}  # the last failure of each run
        running: dict[str, int] = {}
        for attempt in self.attempts():
            try:
                runs = list(attempt.job()["runs"])
            except (OSError, ValueError, KeyError, TypeError):
                continue  # killed before it began
            end, heartbeat = attempt.end(), attempt.heartbeat()
            for run in runs:
                if heartbeat is not None:
                    running[run] = max(running.get(run, 0), int(heartbeat.get("steps", 0)))
                if end is not None and end["state"] == "failed":
                    failed[run] = max(failed.get(run, (0.0, "")), (end["time"], end["reason"]))
        for run in self.experiment.runs:
            try:
                if self.result(run.id) is not None:
                    found[run.id] = RunState("done")
                    continue
            except DamagedResult as error:
                found[run.id] = RunState("damaged", str(error))
                continue
            if run.id in running:
                found[run.id] = RunState("running", steps=running[run.id])
            elif run.id in failed:
                found[run.id] = RunState("failed", failed[run.id][1])
            else:
                found[run.id] = RunState("missing")
        return found


def ledger_of(attempt: SweepAttempt) -> Path:
    """The folder of the sweep that an attempt belongs to."""
    return attempt.folder.parents[2]


def commit(attempt: SweepAttempt, run: str, record: Mapping[str, Any]) -> bool:
    """Write the result of a run and make it the result, unless another attempt was first.

    Args:
        attempt: attempt of this result.
        run: the id.
        record: the result.

    Returns:
        whether this is the result of the run; False if the attempt was superseded.
    """
    own = attempt.folder / RESULTS / f"{run}.json"
    own.parent.mkdir(exist_ok=True)
    with whole_file(own) as file:  # flushes file and folder
        file.write(_sealed({"schema": SCHEMA, "id": run, **record}))
    target = ledger_of(attempt) / "runs" / run / DONE
    target.parent.mkdir(parents=True, exist_ok=True)
    flush_folder(target.parent.parent)
    return publish(own, target)


def publish(source: Path, target: Path) -> bool:
    """Give a file a second name that it has for good.

    Whatever the call that makes the link reports, the file's count of links decides: a reply may be lost on a network
    after the link was made.

    Args:
        source: a file with one name.
        target: the second name.

    Returns:
        whether the name is that of this file; False if another file had it first.

    Raises:
        OSError: no link could be made, and no other file has the name.
    """
    for pause in (*PAUSES, None):
        try:
            os.link(source, target)
            break
        except OSError as error:
            if _again(lambda: _links(source)) == 2:
                break
            if error.errno == errno.EEXIST:
                return False
            if error.errno != errno.ESTALE or pause is None:
                reason = f"{error.strerror}; the file system of the folder must have hard links"
                raise OSError(error.errno, reason, str(target)) from error
            time.sleep(pause)
    flush_folder(target.parent)
    return True


def checkpoints_of(batch: Path) -> list[tuple[int, Path]]:
    """The checkpoints of all attempts at a batch, ``(steps, file)``, the newest first."""
    found = []
    for path in batch.glob(f"attempt-*/{CHECKPOINTS}/*.safetensors"):
        name = _STEPS.fullmatch(path.name)
        if name is not None:
            found.append((int(name[1]), path))
    return sorted(found, reverse=True)


def pending(sweep: SweepLedger, batch: Batch) -> Batch:
    """The runs to train for a batch: those that are missing, or all of it if it has a checkpoint and one is missing."""
    missing = tuple(run for run in batch if not sweep.is_done(run.id))
    if not missing or len(missing) == len(batch):
        return missing
    return batch if checkpoints_of(sweep.batch_folder(batch)) else missing


def last_line(reason: str) -> str:
    """The last line of a traceback that says something."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def traceback_of(error: BaseException) -> str:
    """The traceback of an error as a text."""
    return "".join(traceback.format_exception(error))


def _links(path: Path) -> int:
    with path.open("rb") as file:  # opened, because a network file system then asks its server
        return os.fstat(file.fileno()).st_nlink


def _again(call: Callable[[], T]) -> T:
    """Call a function again while it meets a stale handle."""
    for pause in PAUSES:
        try:
            return call()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            time.sleep(pause)
    return call()


def _sealed(record: Mapping[str, Any]) -> bytes:
    """A JSON object on one line, after a line with its SHA-256."""
    text = json.dumps(record).encode()
    return hashlib.sha256(text).hexdigest().encode() + b"\n" + text + b"\n"


def _unsealed(content: bytes) -> dict[str, Any]:
    digest, _, text = content.partition(b"\n")
    if hashlib.sha256(text.removesuffix(b"\n")).hexdigest().encode() != digest:
        raise ValueError("its digest is wrong")
    return _of_this_schema(json.loads(text))


def _checked(path: Path) -> dict[str, Any]:
    try:
        return _of_this_schema(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from error


def _of_this_schema(saved: Any) -> dict[str, Any]:
    if not isinstance(saved, dict) or type(saved.get("schema")) is not int:
        raise ValueError("it is no object with a schema")
    if saved["schema"] > SCHEMA:
        raise NewerLedger(f"its schema is {saved['schema']}, this version of rlkit knows {SCHEMA}: update rlkit")
    return saved


def _saved(experiment: Experiment) -> dict[str, Any]:
    """An experiment as a JSON object."""
    return {
        "schema": SCHEMA,
        "rlkit": ledger.versions()["rlkit"],
        "name": experiment.name,
        "question": experiment.question,
        "hypothesis": experiment.hypothesis,
        "checkpoint_every": experiment.checkpoint_every,
        "runs": [run._asdict() for run in experiment.runs],
        "batches": [[run.id for run in batch] for batch in experiment.batches],
        "text": experiment.text,
    }


def _experiment(saved: Mapping[str, Any]) -> Experiment:
    runs = tuple(PlannedRun(**run) for run in saved["runs"])
    for run in runs:
        if run_id(run.configuration) != run.id:
            raise KeyError(f"the run {run.id} has another configuration")
    by_id: dict[str, PlannedRun] = {run.id: run for run in runs}
    batches = tuple(tuple(by_id[run] for run in _ids(batch)) for batch in saved["batches"])
    return Experiment(
        str(saved["name"]),
        str(saved["question"]),
        str(saved["hypothesis"]),
        runs,
        batches,
        saved["checkpoint_every"],
        str(saved["text"]),
    )


def _ids(batch: Any) -> Iterable[str]:
    if not isinstance(batch, list):
        raise TypeError(f"a batch is {str(batch)[:100]}")
    return batch

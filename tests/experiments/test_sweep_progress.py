"""The progress of a sweep, as its ledger tells everyone."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from small_sweep import SMALL, InProcess, never

from rlkit.experiments.cli import main
from rlkit.experiments.workflows.sweep import driver
from rlkit.experiments.workflows.sweep.experiment import experiment_of
from rlkit.experiments.workflows.sweep.progress import SweepProgress, sweep_progress, write_run_events
from rlkit.experiments.workflows.sweep.sweep_ledger import AttemptProgress, SweepLedger, commit


@pytest.fixture
def sweep(tmp_path: Path) -> SweepLedger:
    """A sweep of two batches of two runs of 300 steps."""
    return SweepLedger.begin(tmp_path / "out", experiment_of({**SMALL, "rows": 2}))


def test_the_speed_is_that_of_running_batches_and_tells_the_time_left(
    sweep: SweepLedger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep_progress(sweep) == SweepProgress(4, 0, 0, 0.0, None, None)
    first, second = (sweep.new_attempt(batch) for batch in sweep.experiment.batches)
    first.beat(AttemptProgress(steps=100, rows=2, rate=40.0, mean_return=1.0))
    second.beat(AttemptProgress(steps=200, rows=2, rate=20.0, mean_return=4.0))
    left = 2 * 200 + 2 * 100
    assert sweep_progress(sweep) == SweepProgress(4, 0, 2, 60.0, 2.5, left / 60.0)
    commit(first, sweep.experiment.runs[0].id, {"configuration": dict(sweep.experiment.runs[0].configuration)})
    found = sweep_progress(sweep)
    assert (found.done, found.seconds_left) == (1, (left - 200) / 60.0)
    assert str(found) == "1 of 4 runs done; 2 batches running; 60 steps/s; mean training return 2.5; about 7 s left"
    assert main(["status", str(sweep.folder)]) == 0
    assert capsys.readouterr().out.strip().endswith(str(found))
    assert main(["status", str(sweep.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["progress"] == found._asdict()


def test_between_batches_the_speed_is_that_of_the_last_minute(sweep: SweepLedger) -> None:
    attempt = sweep.new_attempt(sweep.experiment.batches[0])
    for run in sweep.experiment.batches[0]:
        commit(attempt, run.id, {"configuration": dict(run.configuration)})
    attempt.finish("done")
    old = time.time() - 61
    os.utime(sweep.folder / "sweep.json", (old, old))
    assert sweep_progress(sweep) == SweepProgress(4, 2, 0, 600 / 60.0, None, 60.0)
    os.utime(sweep.folder / "runs" / sweep.experiment.runs[0].id / "DONE", (old, old))
    assert sweep_progress(sweep).steps_per_second == 5.0


def test_the_speed_of_a_young_sweep_counts_from_its_beginning(
    sweep: SweepLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = sweep.new_attempt(sweep.experiment.batches[0])
    for run in sweep.experiment.batches[0]:
        commit(attempt, run.id, {"configuration": dict(run.configuration)})
    attempt.finish("done")
    monkeypatch.setattr(time, "time", lambda: sweep.begun_at() + 20.0)
    assert sweep_progress(sweep) == SweepProgress(4, 2, 0, 600 / 20.0, None, 20.0)


def test_the_driver_keeps_the_heartbeat_of_an_attempt_that_waits_and_of_no_other(sweep: SweepLedger) -> None:
    driving = driver.SweepDriver(sweep, InProcess(), print)
    waiting, taken = (sweep.new_attempt(batch) for batch in sweep.experiment.batches)
    (taken.folder / "log.txt").touch()
    for attempt in (waiting, taken):
        os.utime(attempt.folder / "HEARTBEAT", (0, 0))
        driving._running[attempt] = sweep.experiment.batches[0]
    driving._beat_for_waiting()
    assert (waiting.progress(), taken.progress()) == (AttemptProgress(), None)


def test_an_attempt_is_asked_to_stop_through_its_folder(sweep: SweepLedger) -> None:
    first, second = (sweep.new_attempt(batch) for batch in sweep.experiment.batches)
    first.ask_to_stop()
    assert (first.stop_asked(), second.stop_asked()) == (True, False)


@pytest.mark.slow
def test_progress_and_runs_are_written_as_lines_and_for_tensorboard(sweep: SweepLedger) -> None:
    told: list[str] = []
    assert driver.drive(sweep, InProcess(), told.append, never, tensorboard=True)
    assert "4 of 4 runs done" in told[-1]
    (lines,) = (sweep.folder / "progress").glob("driver-*.jsonl")
    last = json.loads(lines.read_text(encoding="utf-8").splitlines()[-1])
    assert (last["runs"], last["done"]) == (4, 4)
    write_run_events(sweep, sweep.states())
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (of_driver,) = (sweep.folder / "tensorboard").glob("driver-*")
    events = EventAccumulator(str(of_driver)).Reload()
    assert events.Scalars("progress/done")[-1].value == 4
    folders = sorted((sweep.folder / "tensorboard").glob("0*/seed-*"))
    assert len(folders) == 4
    log = sweep.result(sweep.experiment.runs[0].id)["results"]["log"]
    logged = EventAccumulator(str(folders[0])).Reload().Scalars("epsilon")
    np.testing.assert_allclose([event.value for event in logged], log["epsilon"], rtol=1e-6)
    assert [event.step for event in logged] == log["timesteps"]


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "lines"), [(1e9, 1), (0.0, 2)])
def test_a_line_is_told_when_it_is_due_and_at_the_end(
    seconds: float, lines: int, sweep: SweepLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "LINE_SECONDS", seconds)
    told: list[str] = []
    assert driver.drive(sweep, InProcess(), told.append, never)
    assert len(told) == lines
    assert [line.split("  ")[-1].split(";")[0] for line in told][-1] == "4 of 4 runs done"

"""Executors of other libraries: a Ray cluster whose node is killed, and jobs of submitit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from small_sweep import SMALL, TOML, doing, never, outcomes, run_all

from rlkit.experiments.cli import main
from rlkit.experiments.commands.options import ExecutorOptions
from rlkit.experiments.workflows.sweep.driver import SweepDriver
from rlkit.experiments.workflows.sweep.executors import Ended, RayExecutor, SlurmExecutor
from rlkit.experiments.workflows.sweep.experiment import experiment_of, read_experiment
from rlkit.experiments.workflows.sweep.sweep_ledger import SweepLedger

RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # all addresses are the loopback's
    "RAY_agent_register_timeout_ms": "600000",  # else a slow agent ends its raylet
}
NO_TOKEN = {"RAY_AUTH_MODE": "disabled"}  # else a Ray of one node writes a token to the home


def said_by(program: str, folder: Path, settings: Mapping[str, str]) -> dict[str, Any]:
    """Run a program beside this file that starts Ray, and return the object that it prints among the lines of Ray."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as short:  # the names of sockets are limited
        environment = {**os.environ, **settings, "RAY_TMPDIR": short}
        command = [sys.executable, Path(__file__).with_name(program), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("{"))
    said: dict[str, Any] = json.loads(line)
    return said


@pytest.mark.slow
def test_a_ray_cluster_that_loses_a_node_loses_no_run_and_trains_none_twice(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    file = tmp_path / "experiment.toml"
    file.write_text(f"steps = 3000\ncheckpoint_every = 50\nrows = 1\n{TOML}", encoding="utf-8")
    said = said_by("ray_cluster.py", tmp_path, RAY)
    assert said["finished"]
    assert said["places"] == 2  # of the nodes, as many as tasks in flight
    assert any("its task was lost by Ray" in line and "it is tried again" in line for line in said["told"])
    sweep = SweepLedger(tmp_path / "out")
    assert doing(sweep) == ["done"] * 4
    attempts = list(sweep.attempts())
    assert len(attempts) == 5  # one more than runs: that of the killed node
    links = [path.stat().st_nlink for attempt in attempts for path in (attempt.folder / "results").glob("*.json")]
    assert links == [2] * 4
    logs = [(attempt.folder / "log.txt").read_text(encoding="utf-8") for attempt in attempts]
    assert sum("continued at step" in log for log in logs) == 1
    whole = read_experiment(file)
    assert outcomes(sweep) == outcomes(run_all(tmp_path / "serial", whole))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")  # a job ends after its commit
def test_jobs_of_submitit_run_a_sweep(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    experiment = experiment_of(SMALL)
    sweep = SweepLedger.begin(tmp_path / "out", experiment)
    with SlurmExecutor(sweep.folder / "slurm", 1, cluster="local") as executor:
        assert SweepDriver(sweep, executor, print).run(never)
        assert executor.free() == 1
    assert outcomes(sweep) == outcomes(run_all(tmp_path / "serial", experiment))
    with pytest.raises(ValueError, match="memory_of_job"):
        SlurmExecutor(tmp_path, 1, {"memory_of_job": 3}, cluster="local")


def test_a_job_that_ends_while_it_is_looked_at_is_not_lost(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    sweep = SweepLedger.begin(tmp_path / "out", experiment_of(SMALL))
    attempt = sweep.new_attempt(sweep.experiment.batches[0])

    class EndingJob:
        job_id, state = "7", "COMPLETED"

        def done(self) -> bool:
            attempt.finish("done")
            return True

    executor = SlurmExecutor(tmp_path / "slurm", 1, cluster="local")
    executor._jobs[attempt] = EndingJob()
    assert executor.wait(0.0) == [Ended(attempt)]


@pytest.mark.slow
def test_a_task_of_ray_has_the_gpus_it_asks_for_to_itself(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    said = said_by("ray_gpus.py", tmp_path, {**RAY, **NO_TOKEN})
    assert said["places"] == 2  # by GPUs; there are four CPUs
    assert said["free"] == 0.0
    assert sorted(said["gpus"]) == [[0], [1]]
    assert "no node of the Ray cluster has {'CPU': 1.0, 'GPU': 3.0} for a task" in said["refused"]


@pytest.mark.parametrize(("device", "given", "gpus"), [("cuda", None, 1.0), ("cpu", None, 0.0), ("cuda", 0.25, 0.25)])
def test_a_task_of_ray_asks_for_a_gpu_where_the_experiment_needs_one(
    tmp_path: Path, device: str, given: float | None, gpus: float
) -> None:
    pytest.importorskip("ray")
    executor = ExecutorOptions("ray", gpus=given).start(tmp_path, 4, device)
    assert isinstance(executor, RayExecutor)
    assert executor.gpus == gpus


def test_options_of_another_executor_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lake.toml").write_text(f"steps = 300\n{TOML}", encoding="utf-8")
    command = ["sweep", str(tmp_path / "lake.toml"), "--out", str(tmp_path / "out")]
    for options, said in (
        (["--gpus", "1"], "--gpus is an option of --executor ray"),
        (["--executor", "ray", "--job", "timeout_min=3"], "--job is an option of --executor slurm"),
        (["--workers", "0"], "workers must be at least 1"),
        (["--gpu-ids", "0", "1"], "--gpu-ids is for runs on GPUs, and these are on cpu: pass --device cuda"),
        (["--gpu-ids", "0", "--workers", "2"], "one worker for each GPU: leave --workers out"),
        (["--gpu-ids", "0", "--executor", "slurm"], "--gpu-ids is an option of --executor local"),
    ):
        assert main([*command, *options]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

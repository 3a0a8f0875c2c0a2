"""Sweeps that run: in this process, with drivers side by side, and in worker processes that are killed and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_sweep import LAKE, SMALL, TOML, InProcess, doing, never, outcomes, run_all

from rlkit.agents import TabularQ
from rlkit.experiments.cli import main
from rlkit.experiments.workflows.sweep import executors as executors_module
from rlkit.experiments.workflows.sweep import sweep_ledger
from rlkit.experiments.workflows.sweep import worker as worker_module
from rlkit.experiments.workflows.sweep.driver import SweepDriver, split_rows, sweep_record
from rlkit.experiments.workflows.sweep.executors import Ended, LocalExecutor
from rlkit.experiments.workflows.sweep.experiment import batch_training, experiment_of, read_experiment
from rlkit.experiments.workflows.sweep.sweep_ledger import DamagedResult, SweepAttempt, SweepLedger
from rlkit.experiments.workflows.sweep.worker import continued, policy_digest, run_attempt
from rlkit.experiments.workflows.train import train


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> SweepLedger:
    """The small sweep, every run by itself."""
    return run_all(tmp_path_factory.mktemp("serial"), experiment_of({**SMALL, "rows": 1}))


@pytest.mark.slow
def test_a_batch_gives_what_single_runs_and_python_give_to_the_bit(tmp_path: Path, serial: SweepLedger) -> None:
    executor = InProcess()
    together = run_all(tmp_path, experiment_of(SMALL), executor)
    assert len(executor.submitted) == 1
    assert outcomes(together) == outcomes(serial)
    run = together.experiment.runs[3]
    assert (run.settings, run.seed) == ({"learning_rate": 0.5}, 1)
    agent = TabularQ(**LAKE, seeds=[1], preset="sb3", initial_value=0.5, learning_rate=0.5).learn(300)
    assert together.result(run.id)["results"]["policy"] == policy_digest(agent, 0)
    assert len({str(each["policy"]) for each in outcomes(together).values()}) == 4
    assert together.result(run.id)["versions"]["rlkit"]


@pytest.mark.slow
def test_rows_split_between_gpus_have_the_results_of_one_process_to_the_bit(
    tmp_path: Path, serial: SweepLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU: the second and third of three GPUs are named to the workers, and nothing uses them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7,9")
    with LocalExecutor(1, gpus=(1, 2)) as executor:
        split = run_all(tmp_path, experiment_of(SMALL), executor)
        assert sorted(executor._gpu_of.values()) == ["7", "9"]
        seen = [Path(f"/proc/{worker.pid}/environ").read_bytes().split(b"\0") for worker in executor._gpu_of]
    assert [{b"CUDA_VISIBLE_DEVICES=7", b"CUDA_VISIBLE_DEVICES=9"} & set(each) for each in seen] == [
        {b"CUDA_VISIBLE_DEVICES=" + gpu.encode()} for gpu in ("7", "9")
    ]
    assert [len(attempt.job()["runs"]) for attempt in split.attempts()] == [2, 2]
    assert outcomes(split) == outcomes(serial)


def test_rows_are_split_evenly_and_in_order() -> None:
    runs = experiment_of({**SMALL, "seeds": 5}).batches[0]
    parts = list(split_rows(runs, 4))
    assert [len(part) for part in parts] == [2, 3, 2, 3]
    assert sum(parts, ()) == runs
    assert list(split_rows(runs[:1], 4)) == [runs[:1]]


def test_a_gpu_that_is_hidden_or_named_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="gpus must be different, got 1 1"):
        LocalExecutor(1, gpus=(1, 1))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with pytest.raises(ValueError, match="GPU 2 is not among the 2 of CUDA_VISIBLE_DEVICES=4,7"):
        LocalExecutor(1, gpus=(0, 2))


@pytest.mark.slow
def test_numbers_of_a_row_of_ppo_train_together_as_alone(tmp_path: Path) -> None:
    small = {"net_arch": [16], "n_steps": 32, "batch_size": 16, "n_epochs": 2}
    grid = {"learning_rate": [0.001, 0.01], "gamma": [0.9, 0.99], "max_grad_norm": [0.1, 0.5]}
    given = {
        **SMALL,
        "agents": [{"algo": "ppo", "preset": "sb3", "set": small}],
        "environments": ["CartPole-v1"],
        "settings": grid,
        "seeds": [3],
        "steps": 64,
        "engine": "torch",
    }
    executor = InProcess()
    together = run_all(tmp_path / "together", experiment_of(given), executor)
    assert len(executor.submitted) == 1
    alone = run_all(tmp_path / "alone", experiment_of({**given, "rows": 1}))
    assert outcomes(together) == outcomes(alone)
    assert len({each["policy"] for each in outcomes(together).values()}) == 8


@pytest.mark.slow
def test_a_duplicated_attempt_is_superseded_and_changes_nothing(tmp_path: Path, serial: SweepLedger) -> None:
    experiment = experiment_of(SMALL)
    sweep = SweepLedger.begin(tmp_path, experiment)
    first, second = (sweep.new_attempt(experiment.batches[0]) for _ in range(2))
    run_attempt(second)
    before = {run.id: (tmp_path / "runs" / run.id / "DONE").stat() for run in experiment.runs}
    run_attempt(first)
    for run in experiment.runs:
        done = (tmp_path / "runs" / run.id / "DONE").stat()
        assert (done.st_ino, done.st_mtime_ns) == (before[run.id].st_ino, before[run.id].st_mtime_ns)
        assert (first.folder / "results" / f"{run.id}.json").stat().st_nlink == 1
        assert (second.folder / "results" / f"{run.id}.json").stat().st_nlink == 2
    assert outcomes(sweep) == outcomes(serial)


@pytest.mark.slow
def test_two_drivers_share_a_ledger_and_train_no_run_twice(tmp_path: Path, serial: SweepLedger) -> None:
    experiment = experiment_of({**SMALL, "rows": 1})
    sweep = SweepLedger.begin(tmp_path, experiment)
    others = InProcess()

    class Meanwhile(InProcess):
        """While this driver's first attempt runs, another driver works until it can only wait."""

        def submit(self, attempt: SweepAttempt) -> None:
            if not self.submitted:
                another = SweepDriver(SweepLedger.begin(tmp_path, experiment, resume=True), others, print)
                assert not another.run(lambda: len(others.submitted) == 3)
            super().submit(attempt)

    own = Meanwhile()
    assert SweepDriver(sweep, own, print).run(never)
    assert (len(own.submitted), len(others.submitted)) == (1, 3)
    assert doing(sweep) == ["done"] * 4
    assert outcomes(sweep) == outcomes(serial)


@pytest.mark.slow
def test_an_attempt_without_heartbeat_is_begun_again(tmp_path: Path) -> None:
    experiment = experiment_of(SMALL)
    sweep = SweepLedger.begin(tmp_path, experiment)
    abandoned = sweep.new_attempt(experiment.batches[0])
    assert doing(sweep) == ["running"] * 4
    old = time.time() - sweep_ledger.STALE_SECONDS - 1
    os.utime(abandoned.folder / "HEARTBEAT", (old, old))
    assert doing(sweep) == ["missing"] * 4
    assert SweepDriver(sweep, InProcess(), print).run(never)
    assert doing(sweep) == ["done"] * 4


@pytest.mark.slow
def test_an_attempt_continues_from_the_newest_readable_checkpoint_of_any(tmp_path: Path, serial: SweepLedger) -> None:
    experiment = experiment_of(SMALL)
    sweep = SweepLedger.begin(tmp_path, experiment)
    (batch,) = experiment.batches
    training = batch_training([run.configuration for run in batch])
    left = {}
    for steps in (100, 200):
        attempt = sweep.new_attempt(batch)
        kept = continued(training, attempt)
        train(training, kept.agent, None, kept, lambda end=steps, agent=kept.agent: agent.num_timesteps >= end)
        attempt.finish("stopped")
        left[steps] = attempt.folder / "checkpoints" / f"{steps}.safetensors"
    assert doing(sweep) == ["missing"] * 4
    left[200].write_bytes(left[200].read_bytes()[:-100])  # damaged, and another attempt's: it must stay
    assert continued(training, sweep.new_attempt(batch)).agent.num_timesteps == 100
    attempt = sweep.new_attempt(batch)
    run_attempt(attempt)
    assert attempt.end()["state"] == "done"
    assert outcomes(sweep) == outcomes(serial)
    assert all(path.exists() for path in left.values())
    assert not list((attempt.folder / "checkpoints").glob("*.safetensors"))


@pytest.mark.slow
def test_a_damaged_result_is_named_and_neither_used_nor_replaced(
    tmp_path: Path, serial: SweepLedger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors_module, "LocalExecutor", InProcess)
    file, folder = tmp_path / "lake.toml", tmp_path / "out"
    file.write_text(f"steps = 300\n{TOML}", encoding="utf-8")
    command = ["sweep", str(file), "--out", str(folder), "--resume"]
    assert main(command) == 0
    sweep = SweepLedger(folder)
    done = folder / "runs" / sweep.experiment.runs[2].id / "DONE"
    content = done.read_bytes()
    for damage in (content[:-10], content.replace(b'"row": 2', b'"row": 1'), b""):
        done.write_bytes(damage)
        with pytest.raises(DamagedResult, match="damaged"):
            sweep.result(sweep.experiment.runs[2].id)
    capsys.readouterr()
    assert main(command) == 1
    assert "damaged" in capsys.readouterr().out
    assert done.read_bytes() == b""
    assert main(["status", str(folder), "--json"]) == 1
    status = json.loads(capsys.readouterr().out)
    assert status["counts"] == {"done": 3, "running": 0, "failed": 0, "damaged": 1, "missing": 0}
    assert status["progress"]["done"] == 3
    other = folder / "runs" / sweep.experiment.runs[1].id / "DONE"
    done.unlink()
    done.write_bytes(other.read_bytes())  # whole, and of another run
    assert doing(sweep) == ["done", "done", "damaged", "done"]
    done.unlink()
    assert main(command) == 0
    assert outcomes(sweep) == outcomes(serial)


@pytest.mark.slow
def test_a_run_that_fails_says_so_and_the_others_finish(
    tmp_path: Path, serial: SweepLedger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    play = worker_module.play

    def faulty(agent: TabularQ, env: object) -> object:
        if 0.5 in agent.per_row.learning_rate.tolist() and 1 in agent.seeds:
            raise ArithmeticError("the bridge is out")
        return play(agent, env)

    monkeypatch.setattr(executors_module, "LocalExecutor", InProcess)
    monkeypatch.setattr(worker_module, "play", faulty)
    file, folder = tmp_path / "lake.toml", tmp_path / "out"
    file.write_text(f"steps = 300\n{TOML}", encoding="utf-8")
    assert main(["sweep", str(file), "--out", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "failed: ArithmeticError: the bridge is out" in said
    sweep = SweepLedger(folder)
    assert doing(sweep) == ["done", "done", "done", "failed"]
    for run in sweep.experiment.runs[:3]:
        assert sweep.result(run.id)["results"] == serial.result(run.id)["results"]
    assert main(["status", str(folder), "--traceback"]) == 1
    assert "in faulty" in capsys.readouterr().out
    record = sweep_record(sweep, sweep.states())
    assert record.results["cells"][1]["seed_returns"][1] is None
    whole = record.results["cells"][0]["return"]
    assert 0.0 <= whole.lower <= whole.value <= whole.upper <= 1.0  # the lake pays 0 or 1
    monkeypatch.setattr(worker_module, "play", play)
    assert main(["sweep", str(file), "--out", str(folder), "--resume"]) == 0
    assert outcomes(sweep) == outcomes(serial)


@pytest.mark.slow
def test_a_batch_whose_process_dies_again_and_again_is_trained_run_by_run(tmp_path: Path, serial: SweepLedger) -> None:
    class Lossy(InProcess):
        """Every batch of several runs kills its worker."""

        def submit(self, attempt: SweepAttempt) -> None:
            if len(attempt.job()["runs"]) == 1:
                super().submit(attempt)
            else:
                self._ended.append(Ended(attempt, "worker 7 was killed by SIGKILL"))

    told: list[str] = []
    sweep = SweepLedger.begin(tmp_path, experiment_of(SMALL))
    assert SweepDriver(sweep, Lossy(), told.append).run(never)
    assert sum("was killed by SIGKILL; it is tried again" in line for line in told) == 2
    assert sum("3 processes died in this batch" in line for line in told) == 1
    assert outcomes(sweep) == outcomes(serial)


@pytest.mark.slow
def test_a_batch_that_comes_further_each_time_may_lose_its_process_more_often(tmp_path: Path) -> None:
    class Limited(InProcess):
        """The first four attempts end their process after one more checkpoint."""

        def submit(self, attempt: SweepAttempt) -> None:
            if len(self.submitted) == 4:
                super().submit(attempt)
                return
            self.submitted.append(attempt)
            (attempt.folder / "checkpoints").mkdir()
            (attempt.folder / "checkpoints" / f"{10 * len(self.submitted)}.safetensors").touch()
            self._ended.append(Ended(attempt, "its job 7 ended in the state TIMEOUT"))

    told: list[str] = []
    sweep = SweepLedger.begin(tmp_path, experiment_of(SMALL))
    assert SweepDriver(sweep, Limited(), told.append).run(never)
    assert sum("TIMEOUT; it is tried again" in line for line in told) == 4
    assert doing(sweep) == ["done"] * 4


# Processes

LONG = f"steps = 3000\ncheckpoint_every = 200\n{TOML}"


def with_checkpoint(folder: Path) -> list[Path]:
    """Attempts that have a checkpoint by now."""
    return sorted({path.parent.parent for path in folder.glob("batches/*/attempt-*/checkpoints/*.safetensors")})


def wait_for(found: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_worker_killed_in_a_batch_is_replaced_and_nothing_is_lost_or_run_twice(tmp_path: Path) -> None:
    killed: list[int] = []
    told: list[str] = []

    class Killing(LocalExecutor):
        def wait(self, seconds: float) -> list[Ended]:
            attempts = with_checkpoint(tmp_path / "out")
            if attempts and not killed:
                killed.append(SweepAttempt(attempts[0]).heartbeat()["process"])
                os.kill(killed[0], signal.SIGKILL)
            return super().wait(0.01)

    (tmp_path / "lake.toml").write_text(LONG, encoding="utf-8")
    experiment = read_experiment(tmp_path / "lake.toml")
    sweep = SweepLedger.begin(tmp_path / "out", experiment)
    with Killing(1) as executor:
        assert SweepDriver(sweep, executor, told.append).run(never)
    assert any(f"worker {killed[0]} was killed by SIGKILL; it is tried again" in line for line in told)
    lost, ended = sorted(sweep.attempts(), key=lambda attempt: (attempt.folder / "results").exists())
    assert "continued at step" in (ended.folder / "log.txt").read_text(encoding="utf-8")
    assert not (lost.folder / "results").exists()
    whole = run_all(tmp_path / "whole", experiment)
    assert outcomes(sweep) == outcomes(whole)


@pytest.mark.slow
def test_a_stopped_sweep_saves_says_how_to_go_on_and_goes_on(tmp_path: Path) -> None:
    file, out = tmp_path / "lake.toml", tmp_path / "out"
    file.write_text(LONG, encoding="utf-8")
    command = ["sweep", str(file), "--out", str(out), "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "rlkit", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: with_checkpoint(out))
    worker = SweepAttempt(with_checkpoint(out)[0]).heartbeat()["process"]
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said.strip().endswith("0 of 4 runs done; continue with: rlkit " + " ".join([*command, "--resume"]))
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    sweep = SweepLedger(out)
    assert doing(sweep) == ["missing"] * 4
    assert [attempt.end()["state"] for attempt in sweep.attempts()] == ["stopped"]
    executor = InProcess()
    assert SweepDriver(sweep, executor, print).run(never)
    assert len(executor.submitted) == 1
    assert outcomes(sweep) == outcomes(run_all(tmp_path / "whole", read_experiment(file)))


@pytest.mark.slow
def test_workers_whose_driver_was_killed_stop_by_themselves(tmp_path: Path) -> None:
    file, out = tmp_path / "lake.toml", tmp_path / "out"
    file.write_text(LONG.replace("3000", "200000"), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "rlkit", "sweep", str(file), "--out", str(out), "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: with_checkpoint(out))
    attempt = SweepAttempt(with_checkpoint(out)[0])
    process.kill()
    process.wait()
    wait_for(lambda: attempt.end() is not None)
    assert attempt.end()["state"] == "stopped"
    assert doing(SweepLedger(out)) == ["missing"] * 4

"""SIGINT and SIGTERM: one stops a command in order, two end it at once, in every phase."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finite_problems import needs_numba

from rlkit.atomic_files import process_runs
from rlkit.experiments.cli import main
from rlkit.experiments.stopping import SIGNALS, Stopped, StopRequest, stop_signals
from rlkit.experiments.workflows.compare.sb3_process import SB3Process
from rlkit.mdp import garnet
from rlkit.planning.kernels import sweeps

HANG = 300.0  # seconds after which a child is taken to hang
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
QUICK = ("--set", "learning_starts=50", "batch_size=16", "net_arch=16,", "train_freq=4", "gradient_steps=1")


@pytest.fixture(params=SIGNALS, ids=lambda number: number.name)
def number(request: pytest.FixtureRequest) -> signal.Signals:
    """One of the two signals."""
    return request.param


def handlers() -> list[Any]:
    return [signal.getsignal(each) for each in SIGNALS]


def test_the_first_signal_raises_and_says_which(number: signal.Signals) -> None:
    before = handlers()
    with stop_signals() as stop:
        assert not stop()
        with pytest.raises(KeyboardInterrupt, match="interrupted") as stopped:
            os.kill(os.getpid(), number)
    assert isinstance(stopped.value, Stopped)
    assert stopped.value.number == number
    assert (stop(), stopped.value.code) == (True, CODES[number])
    assert handlers() == before


def test_a_held_signal_is_only_noted(number: signal.Signals) -> None:
    with stop_signals() as stop:
        with stop.held():
            os.kill(os.getpid(), number)
            assert stop()
        assert stop.stopped().code == CODES[number]


IMPORTED = """
import os, signal
os.kill(os.getpid(), signal.Signals({number}))
for _ in range(10):
    pass
whole = True
"""


@pytest.mark.parametrize(("name", "whole"), [("torch.imported", True), ("another", False)])
def test_a_signal_that_meets_the_import_of_torch_stops_after_it(name: str, whole: bool, number: signal.Signals) -> None:
    module = {"__name__": name}

    def imported_then_asleep() -> None:
        exec(compile(IMPORTED.format(number=int(number)), name, "exec"), module)
        time.sleep(HANG)

    with stop_signals() as stop:
        with pytest.raises(Stopped) as stopped:
            imported_then_asleep()
        assert stop()
    assert ("whole" in module) == whole
    assert stopped.value.number == number


def test_nested_contexts_share_one_request(number: signal.Signals) -> None:
    with stop_signals() as outer:
        with stop_signals() as inner, inner.held():
            os.kill(os.getpid(), number)
        assert inner is outer
        assert outer()
        assert handlers() == [outer.handle, outer.handle]


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_signals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert signal.getsignal(signal.SIGTERM) == stop.handle
        assert not stop()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_is_never_asked() -> None:
    before, asked = handlers(), []

    def run() -> None:
        with stop_signals() as stop:
            asked.append((stop(), handlers() == before))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert asked == [(False, True)]


PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever this process was started to ignore
from rlkit.experiments.stopping import stop_signals
try:
    with stop_signals():
        try:
            os.kill(os.getpid(), signal.{first})
        finally:
            print("tidying", flush=True)
            os.kill(os.getpid(), signal.{second})
            print("never said", flush=True)
finally:
    print("nor this", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_ends_the_process_at_once(number: signal.Signals, second: signal.Signals) -> None:
    program = PROGRAM.format(first=number.name, second=second.name)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=HANG)
    assert (ended.returncode, ended.stdout, ended.stderr) == (CODES[second], "tidying\n", "")


# Commands. A signal comes at a place that does not depend on time: at a certain call of a function.


def signal_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: signal.Signals, call: int = 1) -> None:
    """Send this process a signal when ``owner.name`` is called for the ``call``-th time."""
    own, calls = getattr(owner, name), []

    def with_signal(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return own(*args, **kwargs)

    monkeypatch.setattr(owner, name, with_signal)


def no_leftovers(folder: Path) -> bool:
    return not list(folder.rglob("*.rlkit-part"))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of two seeds."""
    out = tmp_path_factory.mktemp("stopping") / "cartpole"
    assert (
        main(["train", "--seeds", "2", "--steps", "200", "--episodes", "2", "--out", str(out), "--json", *QUICK]) == 0
    )
    return out


@pytest.mark.slow
@needs_numba
@pytest.mark.parametrize("form", ["json", "text"])
def test_an_interrupted_solve_saves_bounds_that_hold(
    form: str,
    number: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    garnet(200, 4, 3, np.random.default_rng(0), ending=0.05).save(tmp_path / "garnet.npz")
    args = ["solve", str(tmp_path / "garnet.npz"), "--method", "gauss-seidel"]
    assert main([*args, "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)["results"]
    signal_at(monkeypatch, sweeps, "_improve_in_place", number, call=20)
    out = tmp_path / "run"
    assert main([*args, "--out", str(out), *(["--json"] if form == "json" else [])]) == CODES[number]
    said = capsys.readouterr()
    saved = json.loads((out / "run.json").read_text(encoding="utf-8"))
    results = saved["results"]
    assert (whole["finished"], results["finished"], results["converged"]) == (True, False, False)
    assert results["start_lower"] <= whole["start_lower"] <= whole["start_upper"] <= results["start_upper"]
    assert results["widest_bounds"] > whole["widest_bounds"]
    assert "Interrupted: the bounds hold" in saved["notes"][0]
    assert no_leftovers(tmp_path)
    if form == "json":
        assert json.loads(said.out)["results"]["finished"] is False
    else:
        assert "Interrupted: the bounds hold" in said.out


PHASES = {
    "evaluate": (["evaluate", "{policy}", "--episodes", "5"], "rlkit.envs.batched.BatchedEnv.step"),
    "attack": (
        ["attack", "{policy}", "--episodes", "3", "--attacks", "pgd", "--epsilons", "0.5"],
        "rlkit.adversarial.PGD.propose",
    ),
    "hijack": (
        ["hijack", "{policy}", "--toward", "right", "--episodes", "2", "--epsilons", "0.5"],
        "rlkit.envs.batched.BatchedEnv.step",
    ),
    "solve a lattice": (["solve", "CartPole-v1", "--points", "5"], "rlkit.mdp.LatticeMDP.__init__"),
    "watch": (
        ["watch", "{policy}", "--mode", "gif", "--out", "{out}/watch.gif"],
        "rlkit.envs.gym_env.DynamicsEnv.step",
    ),
    "report": (["report", "{policy}", "--out", "{out}/report.html"], "rlkit.experiments.report.ledger.read"),
}


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_a_command_stops_in_order(
    phase: str,
    number: signal.Signals,
    policy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, place = PHASES[phase]
    args = [word.format(policy=policy, out=tmp_path) for word in words]
    if phase not in ("watch", "report"):
        args += ["--out", str(tmp_path / "run")]
    owner_name, name = place.rsplit(".", 1)
    owner = resolved(owner_name)
    signal_at(monkeypatch, owner, name, number)
    before = handlers()
    assert main(args) == CODES[number]
    assert capsys.readouterr().err == "rlkit: interrupted\n"
    assert not list(tmp_path.rglob("run.json"))
    assert not list(tmp_path.rglob("*.gif"))
    assert not list(tmp_path.rglob("*.html"))
    assert no_leftovers(tmp_path)
    assert handlers() == before


def resolved(name: str) -> Any:
    """A module, or a class of one, by its dotted name."""

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, attribute = name.rsplit(".", 1)
        return getattr(importlib.import_module(module), attribute)


@pytest.mark.slow
def test_a_stopped_comparison_takes_its_process_along(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlkit.agents import DQN

    processes, begin = [], SB3Process.__enter__
    monkeypatch.setattr(SB3Process, "__enter__", lambda self: processes.append(self._process.pid) or begin(self))
    signal_at(monkeypatch, DQN, "iteration", number, call=10)
    out = tmp_path / "run"
    args = ["compare", "--seeds", "2", "--sb3-seeds", "1", "--steps", "1000000", "--out", str(out), "--json", *QUICK]
    assert main(args) == CODES[number]
    (pid,) = processes
    assert not process_runs(pid)
    assert not (out / "run.json").exists()
    assert no_leftovers(out)


def test_a_request_that_nobody_made_has_the_code_of_ctrl_c() -> None:
    assert StopRequest().stopped().code == 130

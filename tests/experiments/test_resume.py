"""A command that was stopped or killed, and that the same command with --resume continues."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from source_tree import ROOT

from rlkit.agents import A2C, Checkpoints, load
from rlkit.atomic_files import only_writer
from rlkit.checkpoint import load_tensors
from rlkit.compiled.jit import COMPILED
from rlkit.experiments.cli import continuing, main
from rlkit.experiments.stopping import Stopped, stop_signals
from rlkit.experiments.workflows import attack as attack_workflow
from rlkit.experiments.workflows import train as train_workflow
from rlkit.experiments.workflows.defense import DefenseSettings
from rlkit.types import Term

KILLS = int(os.environ.get("RLKIT_KILLS", "2"))  # for each algorithm; make endurance takes 20
LAKE = ("--env", "rlkit/GridWorld-v0", "--env-kwargs", "map=frozenlake-4x4", "observation=index")
SMALL = ("--seeds", "2", "--episodes", "2", "--checkpoint-every", "100", "--json")
CASES = {
    "dqn": (
        "--steps",
        "1200",
        "--set",
        "learning_starts=50",
        "batch_size=16",
        "net_arch=16,",
        "buffer_size=400",
        "train_freq=4",
        "gradient_steps=1",
    ),
    "a2c": ("--steps", "1200", "--preset", "sb3", "--set", "net_arch=16,", "--num-envs", "2"),
    "ppo": ("--steps", "1200", "--preset", "sb3", "--set", "net_arch=16,", "n_steps=32", "batch_size=16"),
    "reinforce": ("--steps", "1200", "--preset", "sb3", "--set", "net_arch=16,", "n_steps=32"),
    "tabularq": ("--steps", "1200", *LAKE),
}
ONE_BY_ONE = ("--engine", "torch")  # the compiled engine makes several iterations in a call
QUICK = ("train", "--algo", "a2c", *ONE_BY_ONE, *SMALL, *CASES["a2c"])
SECONDS = ("cpu_seconds_per_seed", "wall_seconds")


def outcome(folder: Path) -> dict:
    """The record of a run without its times."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for times, names in (("results", SECONDS), ("provenance", ("date",))):
        record[times] = {name: told for name, told in record[times].items() if name not in names}
    return record


def assert_same_run(one: Path, other: Path, terms: tuple[Term, ...] = ()) -> None:
    """The same policies, logs, tables and results, to the bit, and no file that the other does not have."""
    whole, again = (load_tensors(folder / "agent.safetensors", ["a policy (agent.save)"]) for folder in (one, other))
    assert whole.contents == again.contents
    assert whole.tensors.keys() == again.tensors.keys()
    for name, tensor in whole.tensors.items():
        assert torch.equal(tensor, again.tensors[name]), name
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    for path in one.glob("*.csv"):
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name
    assert outcome(one) == outcome(other)
    runs = [Checkpoints(folder).newest(device="cpu", terms=terms).agent for folder in (one, other)]
    for name, rows in runs[0].history.items():
        np.testing.assert_array_equal(rows, runs[1].history[name], err_msg=name)
    assert not [path for folder in (other, other / "checkpoints") for path in folder.glob(".*")]
    latest = json.loads((other / "checkpoints" / "LATEST").read_text(encoding="utf-8"))
    assert latest["timesteps"] == runs[0].num_timesteps == Checkpoints(other).timesteps()[-1]
    assert len(Checkpoints(other).timesteps()) <= 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*QUICK, "--out", str(folder)]) == 0
    return folder


def signaled_at(monkeypatch: pytest.MonkeyPatch, iteration: int, *signals: int) -> None:
    """Let A2C send signals to its own process in one of its iterations."""
    original, done = A2C.iteration, []

    def iterate(agent: A2C) -> None:
        original(agent)
        done.append(agent.num_timesteps)
        if len(done) == iteration:
            for number in signals:
                os.kill(os.getpid(), number)

    monkeypatch.setattr(A2C, "iteration", iterate)


def ended(code: int) -> None:
    """In place of ``os._exit``, which would end the tests."""
    raise SystemExit(code)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_training_saves_says_how_to_go_on_and_goes_on(
    number: int, code: int, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a run"
    before = signal.getsignal(number)
    with pytest.MonkeyPatch.context() as patch:
        signaled_at(patch, 33, number)
        assert main([*QUICK, "--out", str(out)]) == code
    assert signal.getsignal(number) is before
    said = capsys.readouterr()
    assert said.out == ""
    assert "rlkit: interrupted at step 330 of 1,200; continue with: rlkit train" in said.err
    assert said.err.count("\n") == 1
    assert load(out / "agent.safetensors", device="cpu").num_timesteps == 330
    assert (out / "checkpoints" / "330.safetensors").is_file()
    assert not (out / "run.json").exists()
    watched = [
        "watch",
        str(out / "agent.safetensors"),
        "--mode",
        "gif",
        "--max-steps",
        "1",
        "--out",
        f"{tmp_path}/x.gif",
    ]
    for words in (["evaluate", str(out)], watched):
        with pytest.warns(RuntimeWarning, match=r"a run was stopped at 330 of 1,200 steps: .* continues with --resume"):
            assert main([*words, "--episodes", "1"]) == 0
    capsys.readouterr()
    command = shlex.split(said.err.split("continue with: ")[1])
    assert command == ["rlkit", *QUICK, "--out", str(out), "--resume"]
    assert main(command[1:]) == 0
    assert "Continuing at step 330 of 1,200" in capsys.readouterr().err
    assert_same_run(whole, out)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["evaluate", str(out), "--episodes", "1", "--quiet"]) == 0


@pytest.mark.slow
def test_a_stopped_training_goes_on_with_its_defense_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    defended = (*QUICK, "--defense", "gaussian_augmentation", "--defense-epsilon", "0.1", "--out")
    assert main([*defended, str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        signaled_at(patch, 33, signal.SIGINT)
        assert main([*defended, str(tmp_path / "run")]) == 130
    assert main([*QUICK, "--out", str(tmp_path / "run"), "--resume"]) == 2
    assert "defense" in capsys.readouterr().err
    assert main([*defended, str(tmp_path / "run"), "--resume"]) == 0
    terms = DefenseSettings("gaussian_augmentation", (0.1,)).terms()
    assert_same_run(tmp_path / "whole", tmp_path / "run", terms)


@pytest.mark.slow
def test_a_second_signal_leaves_at_once_and_the_last_checkpoint_is_whole(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "_exit", ended)
        signaled_at(patch, 33, signal.SIGINT, signal.SIGTERM)
        assert main([*QUICK, "--out", str(tmp_path / "run")]) == 143
    assert Checkpoints(tmp_path / "run").newest(device="cpu").agent.num_timesteps == 300
    assert main([*QUICK, "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
def test_a_stop_while_a_checkpoint_is_written_leaves_whole_files(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, calls = os.fsync, []

    def signaled(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) in (20, 21):  # while the checkpoint of step 200 is written
            os.kill(os.getpid(), signal.SIGINT)
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "_exit", ended)
        patch.setattr(os, "fsync", signaled)
        assert main([*QUICK, "--out", str(tmp_path / "run")]) == 130
    assert main([*QUICK, "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
def test_an_evaluation_is_stopped_at_once_and_the_training_is_not_repeated(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        raise AssertionError("the evaluation went on")

    with monkeypatch.context() as patch:
        patch.setattr(train_workflow, "played_by", interrupted)
        assert main([*QUICK, "--out", str(tmp_path / "run")]) == 143
    assert "continue with: rlkit train" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(A2C, "iteration", None)  # no iteration is left
        assert main([*QUICK, "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
def test_exact_curves_continue_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("train", "--algo", "a2c", *ONE_BY_ONE, *SMALL, *LAKE, *CASES["a2c"][:-2], "--out")
    assert main([*command, str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        signaled_at(patch, 100, signal.SIGINT)
        assert main([*command, str(tmp_path / "again")]) == 130
    assert main([*command, str(tmp_path / "again"), "--resume"]) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "again")
    assert "regret" in {picture["name"] for picture in outcome(tmp_path / "again")["pictures"]}


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_taken(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        signaled_at(patch, 33, signal.SIGINT)
        assert main([*QUICK, "--out", str(tmp_path / "run")]) == 130
    newest = tmp_path / "run" / "checkpoints" / "330.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert main([*QUICK, "--out", str(tmp_path / "run"), "--resume"]) == 0
    said = capsys.readouterr().err
    assert f"Skipped a checkpoint: {newest} is not a whole rlkit file" in said
    assert "Continuing at step 300 of 1,200" in said
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
def test_what_cannot_be_continued_is_refused_in_a_sentence(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*args: str) -> str:
        assert main(list(args)) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    other = [word if word != "1200" else "1300" for word in QUICK]
    assert "was started with steps 1200, not 1300" in refused(*other, "--out", str(whole), "--resume")
    out = str(tmp_path / "run")
    with monkeypatch.context() as patch:
        signaled_at(patch, 33, signal.SIGINT)
        assert main([*QUICK, "--out", out]) == 130
    capsys.readouterr()
    assert "pass --resume to continue it, or --overwrite to replace it" in refused(*QUICK, "--out", out)
    assert "give one of them" in refused(*QUICK, "--out", out, "--resume", "--overwrite")
    changed = [word if word != "1200" else "1300" for word in QUICK]
    assert "was started with steps 1200, not 1300" in refused(*changed, "--out", out, "--resume")
    assert 'algo "a2c", not "dqn"' in refused("train", "--out", out, "--resume")
    with only_writer(tmp_path / "run"):
        assert "is being written by process" in refused(*QUICK, "--out", out, "--resume")
    (tmp_path / "run" / "settings.json").write_text("[", encoding="utf-8")
    assert "cannot be read" in refused(*QUICK, "--out", out, "--resume")
    (tmp_path / "run" / "settings.json").unlink()
    assert "has no settings.json" in refused(*QUICK, "--out", out, "--resume")
    assert "must be at least 1" in refused(*QUICK[:-2], "--checkpoint-every", "0", "--out", out)
    assert main([*QUICK, "--out", out, "--overwrite"]) == 0
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
def test_a_run_without_a_checkpoint_begins_again(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*QUICK, "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert "training starts at the beginning" in capsys.readouterr().err
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
def test_a_full_disk_costs_a_checkpoint_and_not_the_training(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, tried = A2C.checkpoint, []

    def full(agent: A2C, path: Path, notes: dict) -> None:
        tried.append(agent.num_timesteps)
        if len(tried) < 3:
            raise OSError(28, "No space left on device")
        checkpoint(agent, path, notes)

    monkeypatch.setattr(A2C, "checkpoint", full)
    with pytest.warns(RuntimeWarning, match="No space left on device") as warned:
        assert main([*QUICK, "--out", str(tmp_path / "run")]) == 0
    texts = [str(each.message) for each in warned]
    assert [text.partition(",")[0] for text in texts] == ["no checkpoint at step 100", "no checkpoint at step 200"]
    assert tried == list(range(100, 1300, 100))
    assert_same_run(whole, tmp_path / "run")


def test_the_command_to_continue_is_quoted() -> None:
    assert continuing(["train", "--out", "my run", "--overwrite"]) == "rlkit train --out 'my run' --resume"


def test_commands_leave_at_the_first_signal() -> None:
    with pytest.raises(Stopped) as caught, stop_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143


def timeless(folder: Path):
    """The outcome of an attack without its date and the last column of its table, CPU seconds."""
    told = outcome(folder)
    (table,) = told["tables"]
    assert table["columns"][-1] == "CPU seconds"
    return {**told, "provenance": None, "tables": [row[:-1] for row in table["rows"]]}


@pytest.mark.slow
def test_a_stopped_attack_does_not_repeat_what_is_finished(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attacks = ("--attacks", "noise", "fgsm", "gaussian", "--epsilons", "0.1", "1", "--episodes", "3")
    command = ("attack", str(whole), *attacks)
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    measured: list[tuple[str, ...]] = []
    curve = attack_workflow.curve

    def interrupted(subject, plan, *args):
        measured.append(plan.attacks)
        if len(measured) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return curve(subject, plan, *args)

    out = str(tmp_path / "again")
    with monkeypatch.context() as patch:
        patch.setattr(attack_workflow, "curve", interrupted)
        assert main([*command, "--out", out]) == 130
        assert "continue with: rlkit attack" in capsys.readouterr().err
        damaged = tmp_path / "again" / "checkpoints" / "fgsm-10000.safetensors"
        damaged.write_bytes(damaged.read_bytes()[:-1])
        assert main([*command, "--out", out, "--resume"]) == 0
    assert "Repeated an attack" in capsys.readouterr().out
    assert measured[:5] == [("noise",), ("fgsm",), ("gaussian",), ("fgsm",), ("gaussian",)]
    assert measured[5:] == [("noise",), ("fgsm",), ("gaussian",)]  # on the episodes of the selection
    assert timeless(tmp_path / "again") == timeless(tmp_path / "whole")
    assert outcome(tmp_path / "again")["results"] == told["results"]  # one rollout for all attacks gives the same
    written = [(tmp_path / name / "attacks.csv").read_text(encoding="utf-8") for name in ("whole", "again")]
    rows = [[line.rpartition(",")[0] for line in text.splitlines()] for text in written]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_an_attack_on_another_policy_is_not_continued(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.safetensors"
    policy.write_bytes((whole / "agent.safetensors").read_bytes())
    command = ("attack", str(policy), "--attacks", "noise", "--epsilons", "1", "--episodes", "1", "--out")

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(attack_workflow, "checked", interrupted)
        assert main([*command, str(tmp_path / "out")]) == 130
    A2C("CartPole-v1", seeds=2, device="cpu", net_arch=[16]).save(policy)
    assert main([*command, str(tmp_path / "out"), "--resume"]) == 2
    assert "was started with sha256" in capsys.readouterr().err
    assert main([*command[:-1], "--resume"]) == 2
    assert "give --out" in capsys.readouterr().err


KILLED = [(algo, engine) for algo in CASES for engine in ("auto", "torch") if (algo, engine) != ("tabularq", "torch")]


class Killed(NamedTuple):
    """Runs that were killed and continued."""

    folder: Path  # NAME/run-0 was never killed, NAME/run-1, ... were
    counts: dict[str, list[int]]  # kills and runs of each name


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """The runs of all cases, forked from one process."""
    folder = tmp_path_factory.mktemp("killed")
    commands = {
        f"{algo}-{engine}": ["train", "--algo", algo, "--engine", engine, *SMALL, *CASES[algo]]
        for algo, engine in KILLED
    }
    script = [sys.executable, str(ROOT / "tests" / "kill_points.py"), str(KILLS), json.dumps(commands)]
    ended = subprocess.run(script, cwd=folder, capture_output=True, text=True, check=False, timeout=600 * len(KILLED))
    assert ended.returncode == 0, ended.stderr
    return Killed(folder, json.loads(ended.stdout))


@pytest.mark.slow
@pytest.mark.parametrize(("algo", "engine"), KILLED)
def test_a_run_that_is_killed_at_random_points_ends_as_the_one_that_was_not(
    algo: str, engine: str, killed: Killed
) -> None:
    kills, runs = killed.counts[f"{algo}-{engine}"]
    assert kills == KILLS
    assert runs >= 1
    used = "compiled" if COMPILED and engine == "auto" and algo != "tabularq" else "torch"
    folder = killed.folder / f"{algo}-{engine}"
    for number in range(1, runs + 1):
        assert_same_run(folder / "run-0", folder / f"run-{number}")
        assert Checkpoints(folder / f"run-{number}").newest(device="cpu").agent.engine.name == used


def test_a_finished_run_that_is_asked_to_continue_is_shown_and_left_alone(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file() and path.name != "LOCK.json"}
    assert main([*QUICK, "--out", str(whole), "--resume"]) == 0
    told = capsys.readouterr()
    assert f"{whole} holds the finished run: nothing is left to do." in told.err  # --json: the output is the run alone
    assert json.loads(told.out)["results"] == json.loads((whole / "run.json").read_text(encoding="utf-8"))["results"]
    assert before == {
        path.name: path.read_bytes() for path in whole.iterdir() if path.is_file() and path.name != "LOCK.json"
    }

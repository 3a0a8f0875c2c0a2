"""Faults from outside: kills, full and read-only disks, too little memory, no home, long trainings.

``make endurance`` runs the full counts.
"""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from counts import repeats

from rlkit.agents import DQN, load, resume
from rlkit.atomic_files import whole_file
from rlkit.experiments.cli import main

HERE = Path(__file__).resolve().parent
KILLS = repeats(200, 5)
STEPS = repeats(1_000_000, 6_000)
HOMES = ("/dev/null", "/proc/self")[: repeats(2, 1)]  # no folder, and one that takes no file
MOST_MB = 8.0  # that the memory of a process may grow by
SMALL = {"device": "cpu", "net_arch": (16,), "learning_starts": 16, "batch_size": 8, "buffer_size": 64}


def python(code, *args, **environment):
    """Run a program in a process of its own."""
    command = [sys.executable, *((str(code),) if isinstance(code, Path) else ("-c", code)), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


@pytest.mark.slow
def test_processes_that_are_killed_while_they_save_leave_usable_runs(tmp_path):
    said = python(HERE / "kill_while_saving.py", KILLS, tmp_path)
    found = json.loads(said.stdout)
    assert (found["kills"], found["usable"], found["unexplained"]) == (KILLS, KILLS, [])
    assert found["half_written"] > 0  # the first kill is between the writing of a file and its renaming


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DQN", "A2C", "PPO"])
def test_a_long_training_grows_neither_in_memory_nor_in_open_files(name, tmp_path):
    found = json.loads(python(HERE / "train_long.py", name, STEPS, tmp_path).stdout)
    assert found["steps"] >= STEPS
    assert found["mb"] < MOST_MB
    assert found["files"] == 0


FULL_DISK = """
import contextlib, io, json, resource, sys
from rlkit.agents import load
from rlkit.experiments.cli import main
agent = load(sys.argv[1] + "/policy", device="cpu")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # no file may be larger, as on a disk that is nearly full
refused = []
for save in (agent.save, agent.checkpoint):
    try:
        save(sys.argv[1] + "/policy")
    except OSError as error:
        refused.append(str(error))
with contextlib.redirect_stderr(io.StringIO()) as said:
    code = main(["train", "--out", sys.argv[1] + "/run", *sys.argv[2:]])
print(json.dumps({"refused": refused, "code": code, "said": said.getvalue()}))
"""
TRAINED = ("--algo", "dqn", "--seeds", "1", "--steps", "60", "--episodes", "1", "--set", "learning_starts=16", "--json")


@pytest.mark.slow
def test_files_that_do_not_fit_leave_the_old_ones_and_a_command_on_a_full_disk_ends_with_one_sentence(tmp_path):
    DQN("CartPole-v1", **SMALL).save(tmp_path / "policy")
    before = (tmp_path / "policy").read_bytes()
    ended = python(FULL_DISK, tmp_path, *TRAINED)
    assert ended.stderr == ""
    told = json.loads(ended.stdout)
    sentence = f"File too large; {tmp_path / 'policy'} was not written, and what was there is unchanged"
    assert [line.partition("] ")[2] for line in told["refused"]] == [sentence] * 2
    assert sorted(os.listdir(tmp_path)) == ["policy", "run"]
    assert (tmp_path / "policy").read_bytes() == before
    assert told["code"] == 2
    *warning, sentence = told["said"].splitlines()
    assert "no checkpoint at step 256, the run continues without it" in warning[0]
    assert sentence.startswith("rlkit: ")
    assert "File too large" in sentence
    assert "was not written" in sentence
    assert not [name for name in os.listdir(tmp_path / "run") if name.endswith(".rlkit-part")]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_folder_that_cannot_be_written_is_named(number, tmp_path, monkeypatch):
    agent = DQN("CartPole-v1", **SMALL)
    agent.save(tmp_path / "policy")
    opened = os.open

    def refuse(path, flags, *rest, **more):
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    for save, name in ((agent.save, "policy"), (agent.checkpoint, "run")):
        with pytest.raises(OSError, match=f"{os.strerror(number)}; .*{name} was not written") as refusal:
            save(tmp_path / name)
        assert refusal.value.errno == number
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["policy"]
    assert load(tmp_path / "policy", device="cpu").seeds == (0,)


def test_a_disk_that_turns_read_only_within_a_write_is_named(tmp_path, monkeypatch):
    def refuse(*paths, **_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(paths[0]))

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OSError, match=r"Read-only file system; .*file was not written"), whole_file(tmp_path / "file"):
        pass


def test_a_folder_without_permission_to_write_is_named(tmp_path, capsys):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # the superuser may write everywhere but here
        folder = Path("/proc/self")
    assert main(["train", *TRAINED, "--out", str(folder / "run")]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert str(folder) in said.err
    assert said.out == ""


def test_too_little_memory_is_a_sentence_and_leaves_no_file(tmp_path, monkeypatch):
    agent = DQN("CartPole-v1", **SMALL)
    agent.save(tmp_path / "policy")

    def refuse(*shape, **_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes. Error code 12")

    monkeypatch.setattr("rlkit.replay.buffer.torch.empty", refuse)
    sentence = r"a replay buffer of 32 transitions for 1 seeds takes 0\.0 GB and .*: lower buffer_size"
    with pytest.raises(MemoryError, match=sentence):
        agent.learn(32)
    monkeypatch.undo()

    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr("rlkit.checkpoint.save", exhausted)
    for save in (agent.save, agent.checkpoint):
        with pytest.raises(MemoryError):
            save(tmp_path / "policy")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["policy"]
    assert load(tmp_path / "policy", device="cpu").num_seeds == 1


LITTLE_MEMORY = """
import contextlib, io, json, os, resource, sys
import numpy as np, scipy.special, rlkit.adversarial, rlkit.plotting
from rlkit.experiments.cli import main
from rlkit.experiments.report import terminal
from rlkit.experiments.workflows import attack, solve, train
np.linalg.qr(np.ones((200, 200)))  # OpenBLAS ends the process itself where it gets no memory for its first product
used = int(open("/proc/self/statm", encoding="ascii").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000,) * 2)
for command in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        code = main(command)
    print(json.dumps([code, said.getvalue()]), file=sys.__stdout__)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_command_without_enough_memory_ends_with_one_sentence(tmp_path):
    short = ("--seeds", "1", "--steps", "2000", "--episodes", "1", "--engine", "torch", "--json")
    wide = ("--set", "net_arch=4096,4096")
    commands = {
        "enough": ["train", "--algo", "a2c", *short[:3], "20", *short[4:], *wide[:1], "net_arch=16,"],
        "network": ["train", "--algo", "dqn", *short, *wide],
        "buffer": ["train", "--algo", "dqn", *short[:3], "9000000", *short[4:], "--set", "buffer_size=9000000"],
        "batch": ["train", "--algo", "ppo", *short, *wide[:1], "n_steps=2000", "batch_size=2000", "net_arch=16000,"],
        "lattice": ["solve", "CartPole-v1", "--points", "61", "--json"],
    }
    told = [[*command, "--out", str(tmp_path / name)] for name, command in commands.items()]
    said = python(LITTLE_MEMORY, json.dumps(told))
    assert said.returncode == 0, said.stderr
    ended = dict(zip(commands, map(json.loads, said.stdout.splitlines()), strict=True))
    assert ended.pop("enough")[0] == 0
    for name, (code, sentence) in ended.items():
        assert code == 2, name
        assert sentence.count("\n") == 1, name
        told = "lower buffer_size" if name == "buffer" else "take fewer seeds, copies or points, or smaller networks"
        assert told in sentence, name
        left = os.listdir(tmp_path / name) if (tmp_path / name).is_dir() else []
        assert set(left) <= {"settings.json", "LOCK"}, name


NO_CACHE = """
import sys
sys.dont_write_bytecode = True
package, written = sys.argv[1], []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(package):
        if isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
            written.append(arguments[0])
sys.addaudithook(watch)
import numpy as np
import rlkit.agents, rlkit.experiments.cli
from rlkit.mdp import garnet
from rlkit.planning import solve
print(round(solve(garnet(20, 2, 2, np.random.default_rng(0)), 0.9).value.max(), 6))
assert not written, written
"""


@pytest.mark.slow
@pytest.mark.parametrize("home", HOMES)
def test_a_missing_home_and_a_read_only_installation_cost_time_alone(home):
    said = python(NO_CACHE, HERE.parents[1], HOME=home, XDG_CACHE_HOME="", NUMBA_CACHE_DIR=f"{home}/cache")
    usual = python(NO_CACHE, HERE.parents[1])
    assert (said.returncode, usual.returncode) == (0, 0)
    assert said.stdout == usual.stdout
    assert said.stderr.count("compiled loops are not kept for the next process") == 1
    assert "Traceback" not in said.stderr


def test_a_resumed_run_is_whole_after_a_failed_checkpoint(tmp_path, monkeypatch):
    agent = DQN("CartPole-v1", **SMALL).learn(32)
    agent.checkpoint(tmp_path / "run")
    agent.learn(32)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device; .*what was there is unchanged"):
        agent.checkpoint(tmp_path / "run")
    assert resume(tmp_path / "run", device="cpu").num_timesteps == 32

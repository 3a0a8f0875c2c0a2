"""Progress of a training: the bar on a terminal, plain lines elsewhere."""

import io
import re
import subprocess
import sys

import numpy as np
import pytest

from rlkit.agents import DQN, progress

QUICK = {"learning_starts": 50, "batch_size": 16, "net_arch": (16,), "device": "cpu"}


class Scripted:
    """An agent of two seeds, already trained for 100 steps, whose clock and log follow a script."""

    num_seeds = 2

    def __init__(self, returns, seconds):
        self.num_timesteps, self.seconds, self.history = 100, 0.0, {"episode_return": np.zeros((0, 2))}
        self._rows = iter(zip(returns, seconds, strict=True))

    def training(self, every):
        """Yield after each row of the script, ``every`` steps after the last."""
        for row, seconds in self._rows:
            self.seconds = seconds
            self.num_timesteps += every
            self.history = {"episode_return": np.array([row])}
            yield self.num_timesteps

    def clock(self):
        return self.seconds


def test_without_a_terminal_a_line_every_15_seconds_and_the_last(capsys):
    nothing = (np.nan, np.nan)
    returns = [nothing, (10.0, 20.0), nothing, (np.nan, 30.0), (40.0, 50.0)]
    agent = Scripted(returns, seconds=[10.0, 20.0, 34.9, 35.0, 40.0])
    assert list(progress(agent, agent.training(every=1000), 5000, agent.clock)) == [1100, 2100, 3100, 4100, 5100]
    assert capsys.readouterr().out.splitlines() == [
        "Scripted, 2 seeds: 2,000/5,000 steps (40%), 200 steps/s, return 15.0, elapsed 0:00:20, remaining 0:00:30",
        "Scripted, 2 seeds: 4,000/5,000 steps (80%), 229 steps/s, return 30.0, elapsed 0:00:35, remaining 0:00:09",
        "Scripted, 2 seeds: 5,000/5,000 steps (100%), 250 steps/s, return 45.0, elapsed 0:00:40, remaining 0:00:00",
    ]


def test_a_line_omits_an_unknown_return_and_formats_hours(capsys):
    agent = Scripted([(np.nan, np.nan)] * 2, seconds=[3600.0, 7200.0])
    assert len(list(progress(agent, agent.training(every=1), 3, agent.clock))) == 2
    assert capsys.readouterr().out.splitlines() == [
        "Scripted, 2 seeds: 1/3 steps (33%), 0 steps/s, elapsed 1:00:00, remaining 2:00:00",
        "Scripted, 2 seeds: 2/3 steps (66%), 0 steps/s, elapsed 2:00:00, remaining 1:00:00",
    ]


def test_learn_shows_its_last_line_in_a_pipe(capsys):
    DQN("CartPole-v1", **QUICK).learn(400, progress_bar=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("DQN, 1 seed: 400/400 steps (100%), ")
    for part in ("steps/s", "return", "elapsed 0:00:0", "remaining 0:00:00"):
        assert part in line


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self):
        return True


def test_on_a_terminal_the_bar_labels_its_times(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    agent = Scripted([(10.0, 20.0)] * 2, seconds=[20.0, 40.0])
    list(progress(agent, agent.training(every=1000), 2000, agent.clock))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sys.stdout.getvalue())  # without colors and cursor movements
    assert re.search(
        r"Scripted, 2 seeds \S+ 2,000/2,000 steps 100 steps/s return 15.0 elapsed 0:00:40 remaining\s+0:00:00",
        text,
    )


@pytest.mark.slow
def test_rich_is_loaded_only_where_the_bar_is_drawn():
    program = """
import sys
from rlkit.agents import TabularQ
for shown in (False, True):
    print(shown, flush=True)
    TabularQ("FrozenLake-v1", device="cpu").learn(10, progress_bar=shown)
assert "rich" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    without, shown = done.stdout.split("True")
    assert without == "False\n"
    assert "elapsed" in shown

"""The demo in miniature: six rows, honest targets, an exit code for a missed one."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import signal
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch

from rlkit.agents import A2C, DQN, REINFORCE, Agent, load
from rlkit.experiments.cli import main
from rlkit.experiments.demo import sandwich
from rlkit.experiments.demo.settings import FULL, QUICK, Attacks, Demo, Sandwiches
from rlkit.experiments.demo.table import Line, summary, with_cartpole_target, with_grid_target
from rlkit.experiments.workflows.bracket import Sandwich
from rlkit.experiments.workflows.policies import of_agent
from rlkit.experiments.workflows.train import Training
from rlkit.statistics import mean_interval, median_interval

AGENTS = ("DQN", "A2C", "REINFORCE")
RUNS = [f"{task}-{run}" for task in ("grid", "cartpole") for run in ("dqn", "a2c", "reinforce", "attack")] + [
    "sandwich"
]


def shortened(training: Training) -> Training:
    return replace(training, seeds=(0, 1), steps=300)


MINIATURE = replace(
    QUICK,
    grid=tuple(shortened(each) for each in QUICK.grid),
    cartpole=tuple(shortened(each) for each in QUICK.cartpole),
    grid_attacks=Attacks("raw", (0.4,), shown=0.4),
    cartpole_attacks=Attacks("task", (1.0,), shown=1.0),
    sandwiches=Sandwiches(
        (0.05,), 0.4, episodes=1, grid_attacks=("fgsm",), cartpole_attacks=("fgsm", "noise"), max_boxes=8
    ),
    sb3_seeds=(0,),
    episodes=2,
)


def line_of(settings: Demo, task: str, returns: list[float]) -> Line:
    if task == "grid":
        line = Line(task, "DQN", np.array(returns), median_interval(returns), "optimum", 0.8)
        return with_grid_target(line, settings)
    return with_cartpole_target(Line(task, "DQN", np.array(returns), mean_interval(returns)), settings)


def test_intervals_of_the_worst_case_stay_within_possible_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    returns, bracket = np.array([0.0, 0.1, 0.9]), SimpleNamespace(closed=np.ones(3, np.bool_))
    found = {0.05: Sandwich(returns, returns, {"FGSM": returns}, returns, bracket)}  # type: ignore[arg-type]
    monkeypatch.setattr(sandwich, "worst_cases", lambda *arguments: found)
    agent = A2C("rlkit/GridWorld-v0", seeds=3, device="cpu", env_kwargs={"map": "frozenlake-4x4"})
    (row,) = sandwich.grid_rows(of_agent(agent, "rlkit/GridWorld-v0", {"map": "frozenlake-4x4"}), MINIATURE.sandwiches)
    assert [(cell.lower, cell.upper) for cell in row[3:7]] == [(0.0, 1.0)] * 4  # type: ignore[union-attr]


def test_the_cart_poles_row_is_of_the_strongest_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [400.0, 300.0, 200.0]  # under two attacks, and under the strongest of them, which is the last
    played = SimpleNamespace(
        returns=np.tile(np.array(left)[:, None, None, None], (2, 2, 1)), natural=np.full((2, 1), 500.0)
    )
    asked = []
    monkeypatch.setattr(sandwich, "measured_curve", lambda *given, **options: asked.append(given) or played)
    agent = A2C("CartPole-v1", seeds=2, device="cpu")
    row = sandwich.cartpole_row(of_agent(agent, "CartPole-v1", {}), FULL.sandwiches)
    assert [cell.value for cell in row[5:7]] == [200.0, 500.0]  # type: ignore[union-attr]
    assert asked[0][1].attacks == ("lookahead", "linear")


@pytest.mark.parametrize(
    ("task", "returns", "met"),
    [
        ("grid", [0.0, 0.77, 0.78], True),
        ("grid", [0.75, 0.75, 0.79], False),
        ("cartpole", [475.0] * 7 + [9.0], True),
        ("cartpole", [500.0] * 6 + [474.9] * 2, False),
    ],
)
def test_a_target_is_met_or_missed_by_the_seeds(task: str, returns: list[float], met: bool) -> None:
    line = line_of(FULL, task, returns)
    assert line.met is met
    assert line_of(QUICK, task, returns).met is None


def test_the_table_says_target_and_outcome() -> None:
    lines = [line_of(FULL, "grid", [0.75, 0.76, 0.77]), line_of(FULL, "cartpole", [500.0] * 6 + [9.0, 475.0])]
    attacked = [line._replace(attacked=(mean_interval([1.0, 2.0]),) * 2) for line in lines]
    table = summary(attacked, FULL)
    assert table.columns[-3:] == ("target", "reached", "met")
    assert table.rows[0][-3:] == ("median seed loses at most 5%", "loses 5.0%", True)
    assert table.rows[1][-3:] == ("7 of 8 seeds at 475", "7 of 8", True)


def test_both_tasks_have_all_three_agents_on_eight_seeds() -> None:
    for trainings in (FULL.grid, FULL.cartpole):
        assert [training.algo.upper() for training in trainings] == list(AGENTS)
        assert all(len(training.seeds) == 8 for training in trainings)
    assert len({str(training.env_kwargs) for training in FULL.grid}) == 1
    assert FULL.grid_attacks.shown in FULL.grid_attacks.epsilons
    assert FULL.cartpole_attacks.shown in FULL.cartpole_attacks.epsilons


class Said(NamedTuple):
    """What a command ended with and said."""

    code: int
    out: str
    err: str


def run(*args: str) -> Said:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(["demo", "--quick", *args])
    return Said(code, out.getvalue(), err.getvalue())


def counted(patch: pytest.MonkeyPatch, agent: type[Agent], signals: dict[int, tuple[signal.Signals, ...]]) -> list[int]:
    """Count the iterations of an agent, and send this process signals in some of them."""
    original, done = agent.iteration, []

    def iterate(self: Agent) -> None:
        original(self)
        done.append(self.num_timesteps)
        for number in signals.get(len(done), ()):
            os.kill(os.getpid(), number)

    patch.setattr(agent, "iteration", iterate)
    return done


def ended(code: int) -> None:
    """In place of ``os._exit``, which would end the tests."""
    raise SystemExit(code)


class Interrupted(NamedTuple):
    """A demo that was stopped, continued, stopped at once, and continued to its end."""

    folder: Path
    stopped: Said
    killed: Said
    finished: Said
    trained: dict[str, list[int]]  # timesteps after every iteration of all three attempts


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    folder = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rlkit.experiments.demo.demo.QUICK", MINIATURE)
        patch.setattr(os, "_exit", ended)
        dqn = counted(patch, DQN, {1: (signal.SIGTERM,)})
        a2c = counted(patch, A2C, {3: (signal.SIGINT, signal.SIGTERM)})
        reinforce = counted(patch, REINFORCE, {})
        stopped = run("--json", "--out", str(folder))
        assert (len(dqn), len(a2c)) == (1, 0)
        killed = run("--json", "--out", str(folder), "--resume")
        assert (len(a2c), len(reinforce)) == (3, 0)
        finished = run("--json", "--out", str(folder), "--resume")
    return Interrupted(folder, stopped, killed, finished, {"dqn": dqn, "a2c": a2c, "reinforce": reinforce})


@pytest.mark.slow
def test_a_stopped_demo_saves_and_goes_on(interrupted: Interrupted) -> None:
    """At the first signal no iteration follows; at the second not even a checkpoint, and what was finished is kept."""
    stopped, killed, finished = interrupted.stopped, interrupted.killed, interrupted.finished
    assert (stopped.code, killed.code, finished.code) == (143, 143, 0)
    first = interrupted.trained["dqn"][0]
    continued = shlex.join(["rlkit", "demo", "--quick", "--json", "--out", str(interrupted.folder), "--resume"])
    assert stopped.err.splitlines() == [
        f"rlkit: interrupted at step {first} of 300 of cartpole-dqn; continue with: {continued}"
    ]
    assert stopped.out == killed.out == ""
    alone = shortened(QUICK.cartpole[0]).make_agent()
    iterations = len(list(alone.iterations(300)))
    again = load(interrupted.folder / "cartpole-dqn" / "agent.safetensors", device="cpu")
    assert torch.equal(again.network.flat, alone.network.flat)
    assert len(interrupted.trained["dqn"]) == 2 * iterations  # both tasks, no iteration twice
    assert interrupted.trained["a2c"][3] in (10, 20, 30, 40)  # the step after the newest checkpoint, if one was due
    assert len(interrupted.trained["reinforce"]) == 2


@pytest.mark.slow
def test_the_whole_demo_in_miniature(interrupted: Interrupted) -> None:
    folder, printed = interrupted.folder, json.loads(interrupted.finished.out)
    assert printed["met"] is True
    rows = printed["summary"]
    assert [row["agent"] for row in rows] == [*AGENTS, *AGENTS]
    assert [row["beside"] for row in rows] == ["optimum"] * 3 + ["stable-baselines3"] * 2 + [None]
    assert all(len(row["returns"]) == 2 for row in rows)
    assert all(len(row["attacked"]) == 2 for row in rows)
    assert [row["target"] for row in rows] == [None] * 6
    for agent in ("dqn", "a2c", "reinforce"):
        assert printed[f"grid-{agent}"]["optimum"] == pytest.approx(0.7441902879, abs=1e-9)
        assert (folder / f"cartpole-{agent}" / "agent.safetensors").is_file()
    ours = [f"rlkit {agent}" for agent in AGENTS]
    theirs = ["stable-baselines3 DQN", "stable-baselines3 A2C"]
    assert set(printed["grid-attack"]["curves"]) == set(ours)
    assert set(printed["cartpole-attack"]["curves"]) == {*ours, *theirs}
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert html.count("<section>") == len(RUNS)
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "")  # the name of a format, not a link
    for run in RUNS:
        assert (folder / run / "run.json").is_file()
    with (folder / "report.csv").open(encoding="utf-8") as file:
        cells = [row for row in csv.DictReader(file) if row["section"] == "summary"]
    assert {row["row"] for row in cells} == {str(i) for i in range(6)}


@pytest.mark.slow
def test_a_missed_target_is_an_exit_code(interrupted: Interrupted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainings of the demo before are evaluated again."""
    strict = replace(MINIATURE, grid_regret=0.05, cartpole_solved=1)  # far too little training for either
    monkeypatch.setattr("rlkit.experiments.demo.demo.QUICK", strict)
    monkeypatch.setattr(Agent, "iteration", None)
    missed = run("--out", str(interrupted.folder), "--resume")
    assert missed.code == 1
    said = missed.out
    assert said.count("median seed loses at most 5%") == 3
    assert said.count("1 of 2 seeds at 475") == 3
    assert sum(line.rstrip().endswith(" no") for line in said.splitlines()) == 6
    assert f"Report: {interrupted.folder / 'report.html'}" in " ".join(said.split())


@pytest.mark.slow
def test_a_demo_of_other_settings_is_not_continued(interrupted: Interrupted, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = replace(MINIATURE, cartpole=tuple(replace(each, steps=301) for each in MINIATURE.cartpole))
    monkeypatch.setattr("rlkit.experiments.demo.demo.QUICK", longer)
    refused = run("--out", str(interrupted.folder), "--resume")
    assert refused.code == 2
    assert "was started with steps 300, not 301" in refused.err

"""The demo in miniature: six rows, honest targets, an exit code for a missed one."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rlkit.experiments.cli import main
from rlkit.experiments.demo.settings import FULL, QUICK, Demo
from rlkit.experiments.demo.table import Line, summary, with_cartpole_target, with_grid_target
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
    sb3_seeds=(0,),
    episodes=2,
)


def line_of(settings: Demo, task: str, returns: list[float]) -> Line:
    if task == "grid":
        line = Line(task, "DQN", np.array(returns), median_interval(returns), "optimum", 0.8)
        return with_grid_target(line, settings)
    return with_cartpole_target(Line(task, "DQN", np.array(returns), mean_interval(returns)), settings)


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


@pytest.mark.slow
def test_the_whole_demo_in_miniature(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlkit.experiments.demo.demo.QUICK", MINIATURE)
    assert main(["demo", "--quick", "--json", "--out", str(tmp_path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["met"] is True
    rows = printed["summary"]
    assert [row["agent"] for row in rows] == [*AGENTS, *AGENTS]
    assert [row["beside"] for row in rows] == ["optimum"] * 3 + ["stable-baselines3"] * 2 + [None]
    assert all(len(row["returns"]) == 2 for row in rows)
    assert all(len(row["attacked"]) == 2 for row in rows)
    assert [row["target"] for row in rows] == [None] * 6
    for agent in ("dqn", "a2c", "reinforce"):
        assert printed[f"grid-{agent}"]["optimum"] == pytest.approx(0.7441902879, abs=1e-9)
        assert (tmp_path / f"cartpole-{agent}" / "agent.safetensors").is_file()
    ours = [f"rlkit {agent}" for agent in AGENTS]
    theirs = ["stable-baselines3 DQN", "stable-baselines3 A2C"]
    assert set(printed["grid-attack"]["curves"]) == set(ours)
    assert set(printed["cartpole-attack"]["curves"]) == {*ours, *theirs}
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("<section>") == len(RUNS)
    assert "http" not in html
    for run in RUNS:
        assert (tmp_path / run / "run.json").is_file()
    with (tmp_path / "report.csv").open(encoding="utf-8") as file:
        cells = [row for row in csv.DictReader(file) if row["section"] == "summary"]
    assert {row["row"] for row in cells} == {str(i) for i in range(6)}


@pytest.mark.slow
def test_a_missed_target_is_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = replace(MINIATURE, grid_regret=0.05, cartpole_solved=1)  # far too little training for either
    monkeypatch.setattr("rlkit.experiments.demo.demo.QUICK", strict)
    assert main(["demo", "--quick", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.count("median seed loses at most 5%") == 3
    assert said.count("1 of 2 seeds at 475") == 3
    assert sum(line.rstrip().endswith(" no") for line in said.splitlines()) == 6
    assert f"Report: {tmp_path / 'report.html'}" in " ".join(said.split())

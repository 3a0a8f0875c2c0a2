"""Agents against exact optima at tiny sizes."""

from dataclasses import replace

import numpy as np
import pytest

from rlkit.agents import PPO, TabularQ
from rlkit.envs import GridWorld
from rlkit.envs.maps import MAPS
from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.grids import run
from rlkit.experiments.studies.grids.run import GridRow, is_near, outcome_table
from rlkit.experiments.studies.grids.settings import CASES
from rlkit.experiments.workflows.exact import all_scores, exact_returns
from rlkit.planning import backward_induction, evaluate_finite, solve, start_value


def test_every_agent_is_on_every_map():
    agents = ("dqn", "a2c", "ppo", "reinforce", "tabularq")
    assert sorted((one.agent, one.map) for one in CASES) == sorted((agent, map) for agent in agents for map in MAPS)
    for one in CASES:
        assert GridWorld(**one.training.env_kwargs).max_steps is not None  # every optimum has its limit


def test_the_table_of_an_optimal_policy_earns_the_optimum():
    grid = GridWorld("two-goal")  # its discounted optimum is optimal under the limit too: nothing slips
    optimal = backward_induction(grid.mdp)
    agent = TabularQ("rlkit/GridWorld-v0", seeds=(0, 1), device="cpu", env_kwargs={"map": "two-goal"})
    agent.table.flat[0] = agent.table.flat.new_tensor(solve(grid.mdp, 0.9).q).flatten()
    optimum = start_value(grid.mdp, optimal.value[0])
    returns = exact_returns(agent, grid, optimal.horizon)
    assert returns[0] == pytest.approx(optimum)
    assert returns[1] <= optimum


def test_the_greedy_policy_is_the_most_probable_action():
    grid = GridWorld("frozenlake-4x4")
    agent = PPO("rlkit/GridWorld-v0", seeds=(0, 1, 2), device="cpu", env_kwargs={"map": "frozenlake-4x4"})
    policy = all_scores(agent, grid).argmax(axis=-1)
    expected = [start_value(grid.mdp, evaluate_finite(grid.mdp, row, 100)[0]) for row in policy]
    np.testing.assert_allclose(exact_returns(agent, grid, 100), expected)


def test_five_percent_of_the_optimums_size():
    assert is_near(0.951, 1.0)
    assert not is_near(0.949, 1.0)
    assert is_near(-13.6, -13.0)
    assert not is_near(-13.7, -13.0)
    lines = [GridRow("cliff", "ppo", seed, 200, 10, earned, -13.0) for seed, earned in enumerate((-13.0, -13.0, -99.0))]
    (line,) = outcome_table(lines).rows
    assert line[4:6] == (3, -13.0)
    assert line[-2:] == (2, "yes")


@pytest.mark.slow
def test_cases_are_trained_once(tmp_path, monkeypatch):
    tiny = next(case for case in CASES if case.name == run.DRAWN)
    tiny = tiny._replace(training=replace(tiny.training, seeds=(0, 1, 2), steps=400))
    run.run([tiny], StudyOptions(tmp_path))
    known = rows.read(tmp_path / "grids.csv", GridRow)
    assert [(row.seed, row.limit, row.optimum) for row in known] == [
        (seed, 100, pytest.approx(0.7441902879, abs=1e-9)) for seed in range(3)
    ]
    assert (tmp_path / "curve-tabularq-frozenlake-4x4.svg").read_bytes().startswith(b"<?xml")
    monkeypatch.setattr(run, "trained", None)
    run.run([tiny], StudyOptions(tmp_path))
    assert rows.read(tmp_path / "grids.csv", GridRow) == known

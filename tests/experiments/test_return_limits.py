"""The returns that are possible in an environment, and intervals that are cut to them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from rlkit.agents import TabularQ
from rlkit.experiments.workflows.evaluate import return_difference, return_range, within_limits
from rlkit.experiments.workflows.policies import Subject, of_agent
from rlkit.statistics import Estimate, difference_interval


def subject(env: str, **env_kwargs: Any) -> Subject:
    """An agent of a grid that is said to be of an environment: ``return_range`` asks for the environment alone."""
    agent = TabularQ("rlkit/GridWorld-v0", device="cpu", env_kwargs={"map": "frozenlake-4x4", "observation": "index"})
    return of_agent(agent, env, env_kwargs)


@pytest.mark.parametrize(
    ("lower", "upper", "cut"),
    [
        (-5.0, 7.0, (-5.0, 7.0)),
        (-12.0, 7.0, (-10.0, 7.0)),
        (-5.0, 12.0, (-5.0, 10.0)),
        (11.0, 12.0, (10.0, 10.0)),
        (-12.0, -11.0, (-10.0, -10.0)),
    ],
)
def test_both_ends_of_an_interval_are_cut_to_what_is_possible(
    lower: float, upper: float, cut: tuple[float, float]
) -> None:
    estimate = Estimate(1.0, lower, upper, 3, 0.95, "t")
    found = within_limits(estimate, (-10.0, 10.0))
    assert (found.lower, found.upper) == cut
    assert found.value == 1.0
    assert within_limits(estimate, None) is estimate


def test_no_interval_is_made_of_the_limits_for_one_seed() -> None:
    estimate = Estimate(1.0, float("nan"), float("nan"), 1, 0.95, "t")
    assert within_limits(estimate, (-10.0, 10.0)) is estimate


def test_a_difference_is_cut_to_what_the_limits_of_returns_allow() -> None:
    x, y = np.array([0.0, 0.0, 9.0]), np.array([0.0, 10.0, 10.0])
    assert return_difference(x, y, None).lower < -11.0
    found = return_difference(x, y, (-1.0, 10.0))
    assert (found.value, found.lower) == (pytest.approx(-11 / 3), -11.0)
    assert found.upper == return_difference(x, y, None).upper < 11.0
    assert return_difference(y, x, (-1.0, 10.0)).upper == 11.0
    assert return_difference(x, y, None, paired=True) == difference_interval(x, y, paired=True)


GRID = "rlkit/GridWorld-v0"


@pytest.mark.parametrize(
    ("env", "env_kwargs", "horizon", "limits"),
    [
        (GRID, {"map": "frozenlake-4x4"}, None, (0.0, 1.0)),  # the goal alone pays, and ends the episode
        (GRID, {"map": "russell-norvig-4x3"}, 3, (2 * -0.04 - 1.04, 0.96)),
        (GRID, {"map": "cliff"}, 3, (-300.0, 0.0)),  # the cliff carries to the start and ends nothing
        (GRID, {"map": "sutton-barto-5x5"}, 3, (-3.0, 30.0)),
        ("CartPole-v1", {}, None, (0.0, 500.0)),
        ("CartPole-v1", {}, 7, (0.0, 7.0)),
        ("CartPole-v1", {"half_length": 1.0}, None, (0.0, 500.0)),
        ("CartPole-v1", {"sutton_barto_reward": True}, 7, None),
        ("Acrobot-v1", {}, None, (-float(gymnasium.spec("Acrobot-v1").max_episode_steps or 0), 0.0)),
        ("Acrobot-v1", {}, 7, (-7.0, 0.0)),
    ],
)
def test_the_returns_that_are_possible(
    env: str, env_kwargs: dict[str, Any], horizon: int | None, limits: tuple[float, float] | None
) -> None:
    found = return_range(subject(env, **env_kwargs), horizon)
    assert found == limits if limits is None else found == pytest.approx(limits, abs=1e-12)

"""Which agents are trained on which maps, for how long and with what, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rlkit.envs.maps import MAPS

from ...workflows.train import Training

SEEDS = tuple(range(10))
ENV = "rlkit/GridWorld-v0"
AGENTS = ("dqn", "a2c", "ppo", "reinforce", "tabularq")
SHARE = 0.05  # share of the optimum that the median seed may lose

STEPS = 200_000  # of a seed, over all its copies
MORE_STEPS = {"frozenlake-8x8": 400_000}
CONTINUING_LIMIT = 100  # steps of an episode on a map that never ends

# The tuned presets of the grid world are for rewards of about 1 that come at the end. The values of this map are a
# hundred times as large unless they are discounted, and nothing in it is far.
OVERRIDES: dict[str, Mapping[str, Any]] = {"sutton-barto-5x5": {"gamma": 0.9}}


class GridCase(NamedTuple):
    """One agent on one map."""

    name: str
    agent: str
    map: str
    training: Training


def case(agent: str, map: str) -> GridCase:
    """The tuned preset of the grid world, and what a map changes in it."""
    limit = {} if MAPS[map].rules.max_steps else {"max_steps": CONTINUING_LIMIT}
    training = Training(
        ENV,
        agent,
        SEEDS,
        MORE_STEPS.get(map, STEPS),
        "tuned",
        OVERRIDES.get(map, {}),
        env_kwargs={"map": map, **limit},
        num_envs=None,
    )
    return GridCase(f"{agent}-{map}", agent, map, training)


CASES = tuple(case(agent, map) for map in MAPS for agent in AGENTS)

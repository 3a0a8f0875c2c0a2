"""The trainings that are compared, as data: the tuned presets of the study ``tuned`` on CartPole-v1."""

from __future__ import annotations

from typing import NamedTuple

from ..tuned.settings import CASES as TUNED
from ..tuned.settings import TunedCase

LEVELS = (400.0, 475.0)  # of the mean return of the training episodes of a log row
SOLVED = 475.0


class EfficiencyCase(NamedTuple):
    """One agent, with the case of ``tuned`` that has its rows."""

    name: str
    tuned: TunedCase
    matched: str | None  # the case of ``matched`` with stable-baselines3's times


MATCHED = {"dqn": "cartpole-dqn", "ppo": "cartpole-ppo", "a2c": "cartpole-a2c", "reinforce": None}
CASES = tuple(EfficiencyCase(case.name, case, MATCHED[case.name]) for case in TUNED if case.name in MATCHED)

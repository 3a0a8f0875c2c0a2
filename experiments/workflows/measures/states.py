"""The states at which measures are taken, and the results of a measure."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from rlkit.adversarial import visited
from rlkit.streams import Stream

from ...report.ledger import Picture, ReportTable
from ..attack import AttackPlan
from ..policies import Subject

EPISODES = 10  # natural ones of every training seed
STATES = 200  # spread over them evenly

FEATURES: dict[str, tuple[str, ...]] = {  # names of the features of observations, from the pages of the environments
    "CartPole-v1": ("position", "velocity", "angle", "turning"),
    "Acrobot-v1": ("cos 1", "sin 1", "cos 2", "sin 2", "turning 1", "turning 2"),
}


class Measurement(NamedTuple):
    """One measure of a policy, as a part of a run."""

    results: Any  # for scripts
    tables: tuple[ReportTable, ...]
    picture: Picture
    note: str  # explains the numbers


def natural_states(subject: Subject, plan: AttackPlan) -> Tensor:
    """States of natural episodes of every training seed, ``[S, STATES, *observation]``."""
    return visited(subject.policy, subject.make_env(EPISODES, plan.threat.first_seed), STATES)


def uniforms(subject: Subject, obs: Tensor, width: int) -> Tensor:
    """Random numbers for every state, ``[S, B, width]``; row s is a function of training seed s."""
    return Stream(subject.seeds, "attack", width, obs.shape[1], obs.device).next()


def feature_names(subject: Subject, count: int) -> tuple[str, ...]:
    """The names of ``count`` features: those of the environment's page, or their numbers."""
    known = FEATURES.get(subject.env, ())
    return known if len(known) == count else tuple(f"feature {i}" for i in range(count))

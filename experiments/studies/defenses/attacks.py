"""The attacks of the study; those that are fitted to a policy and an epsilon are fitted afresh for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.adversarial import (
    PGD,
    ActionValues,
    Attack,
    Budget,
    Noise,
    RobustnessCurve,
    Threat,
    ValueAware,
    attacked_value,
    bracket,
    robustness_curve,
)
from rlkit.envs import GridWorld, find_dynamics

from ...workflows.fitted_attacks import LINEAR_ADVERSARY, learned, linear, lookahead
from ...workflows.policies import Subject
from ..common.tasks import ACROBOT, CARTPOLE, GRID, LINEAR_EPSILONS, Task
from .settings import LINEAR, REPORTED_ON, SELECTED_ON

PROVOKE = PGD(3, every_action=False)
FITTED_EPSILONS = (0.2, 0.4)  # of attacks that take minutes to fit
LEARNED_STEPS = 20_000  # environment steps of a learned adversary, per seed
MAX_BOXES = 2**15  # of verification, per state of a grid

Floats = NDArray[np.float64]


def by_hand(obs: Tensor) -> Tensor:
    """Value the actions by the hand-made linear policy, ``[S, B, 4] -> [S, B, 2]``: it avoids the lower one."""
    lean = obs @ torch.tensor(LINEAR, dtype=obs.dtype)
    return torch.stack([-lean, lean], dim=-1)


def pumping(obs: Tensor) -> Tensor:
    """Value Acrobot's torques -1, 0 and 1 by the power that they give, ``[S, B, 6] -> [S, B, 3]``.

    The torque acts between the links, so its power is torque times the second link's angular velocity, and the lowest
    value is that of the torque that brakes.
    """
    return torch.tensor([-1.0, 0.0, 1.0], dtype=obs.dtype) * obs[..., 5:]


def constant(action: int, num_actions: int = 2) -> ActionValues:
    """Value the action lowest everywhere, so that an attack provokes it at every step."""

    def values(obs: Tensor) -> Tensor:
        return (torch.arange(num_actions) != action).to(obs.dtype).expand(*obs.shape[:2], num_actions)

    return values


class Attacker(NamedTuple):
    """An attack, the epsilons at which it is used, and whether it is fitted to each of them."""

    fit: Callable[[Subject, Budget, Threat], Attack]
    epsilons: tuple[float, ...] = ()  # empty for all of the comparison
    fitted: bool = False
    tunes: bool = True  # whether configurations are chosen by it too

    def used_at(self, epsilons: Sequence[float]) -> list[float]:
        """The epsilons of these at which it is used."""
        return [epsilon for epsilon in epsilons if not self.epsilons or epsilon in self.epsilons]


class Outcome(NamedTuple):
    """Mean returns of S policies at one epsilon, 0 for no attack; an exact expectation is both of them."""

    epsilon: float
    selected: Floats  # [S], on the episodes on which attacks are selected
    earned: Floats  # [S], on the other ones


def outcomes(subject: Subject, threat: Threat, attack: Attack, epsilons: Sequence[float]) -> list[Outcome]:
    """Returns without attack and under one attack: exact expectations on a grid, means over episodes elsewhere."""
    world = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    if isinstance(world, GridWorld):
        exact = [attacked_value(world, subject.policy, attack, threat.budget(each)).start for each in (0.0, *epsilons)]
        return [Outcome(epsilon, each, each) for epsilon, each in zip((0.0, *epsilons), exact, strict=True)]
    curve = played(subject, threat, attack, epsilons)
    return [
        Outcome(epsilon, each[:, :SELECTED_ON].mean(axis=1), each[:, SELECTED_ON:].mean(axis=1))
        for epsilon, each in zip((0.0, *epsilons), (curve.natural, *curve.returns[0]), strict=True)
    ]


def played(subject: Subject, threat: Threat, attack: Attack, epsilons: Sequence[float]) -> RobustnessCurve:
    """Play the episodes of the selection and then those of the report, without attack and under one attack."""
    return robustness_curve(
        subject.policy,
        lambda episodes: subject.make_env(episodes, threat.first_seed),
        attack,
        epsilons,
        threat.budget(),
        SELECTED_ON + REPORTED_ON,
        seeds=subject.seeds,
    )


def ready(attack: Attack) -> Attacker:
    """An attack without a fit."""
    return Attacker(lambda subject, budget, threat: attack)


def adversary(subject: Subject, budget: Budget, threat: Threat) -> Attack:
    """Train an adversary on this policy that chooses at every step which action to provoke, or none."""
    return learned(subject, budget, threat, LEARNED_STEPS)


def worst_case(subject: Subject, budget: Budget, threat: Threat) -> Attack:
    """Find the adversary that attains a grid's exact worst case, but for what verification leaves open."""
    world = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    return bracket(world, subject.policy, budget, max_boxes=MAX_BOXES).attack


# "value-aware, lattice" provokes the action of the lowest value under the worst case on a lattice of states
ATTACKERS: Mapping[str, Attacker] = {
    "noise": ready(Noise("sign")),
    "PGD": ready(PGD(10)),
    "value-aware, by hand": ready(ValueAware(by_hand, PROVOKE, "value-aware, by hand")),
    "provoke left": ready(ValueAware(constant(0), PROVOKE, "provoke left")),
    "provoke right": ready(ValueAware(constant(1), PROVOKE, "provoke right")),
    "value-aware, lattice": Attacker(lookahead, FITTED_EPSILONS, fitted=True, tunes=False),
    "learned": Attacker(adversary, FITTED_EPSILONS[:1], fitted=True, tunes=False),
    LINEAR_ADVERSARY: Attacker(linear, LINEAR_EPSILONS[CARTPOLE.name], fitted=True, tunes=False),
}
GRID_ATTACKERS: Mapping[str, Attacker] = {
    "noise": ready(Noise("sign")),
    "PGD": ready(PGD(10)),
    "worst case": Attacker(worst_case, fitted=True),
}
ACROBOT_ATTACKERS: Mapping[str, Attacker] = {
    "noise": ready(Noise("sign")),
    "PGD": ready(PGD(10)),
    "brake": Attacker(lambda *_: ValueAware(pumping, PROVOKE, "brake"), tunes=False),
    "provoke no torque": Attacker(lambda *_: ValueAware(constant(1, 3), PROVOKE, "provoke no torque"), tunes=False),
    LINEAR_ADVERSARY: Attacker(linear, LINEAR_EPSILONS[ACROBOT.name], fitted=True, tunes=False),
}


def attackers_of(task: Task) -> Mapping[str, Attacker]:
    """The attacks in a task."""
    return {CARTPOLE.name: ATTACKERS, GRID.name: GRID_ATTACKERS, ACROBOT.name: ACROBOT_ATTACKERS}[task.name]

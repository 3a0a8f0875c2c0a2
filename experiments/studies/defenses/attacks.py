"""The attacks of the study; those that are fitted to a policy and an epsilon are fitted afresh for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.adversarial import (
    PGD,
    ActionValues,
    Attack,
    Budget,
    Noise,
    RobustnessCurve,
    ValueAware,
    robustness_curve,
)

from ...workflows.fitted_attacks import learned, lookahead
from ...workflows.policies import Subject
from .settings import EPSILONS, LINEAR, REPORTED_ON, SELECTED_ON, THREAT

PROVOKE = PGD(3, every_action=False)
FITTED_EPSILONS = (0.2, 0.4)  # of attacks that take minutes to fit
LEARNED_STEPS = 20_000  # environment steps of a learned adversary, per seed


def by_hand(obs: Tensor) -> Tensor:
    """Value the actions by the hand-made linear policy, ``[S, B, 4] -> [S, B, 2]``: it avoids the lower one."""
    lean = obs @ torch.tensor(LINEAR, dtype=obs.dtype)
    return torch.stack([-lean, lean], dim=-1)


def constant(action: int) -> ActionValues:
    """Value the action lowest everywhere, so that an attack provokes it at every step."""

    def values(obs: Tensor) -> Tensor:
        return (torch.arange(2) != action).to(obs.dtype).expand(*obs.shape[:2], 2)

    return values


class Attacker(NamedTuple):
    """An attack, the epsilons at which it is used, and whether it is fitted to each of them."""

    fit: Callable[[Subject, Budget], Attack]
    epsilons: tuple[float, ...] = EPSILONS
    fitted: bool = False  # those that are choose no configurations


def played(subject: Subject, attack: Attack, epsilons: Sequence[float]) -> RobustnessCurve:
    """Play the episodes of the selection and then those of the report, without attack and under one attack."""
    return robustness_curve(
        subject.policy,
        lambda episodes: subject.make_env(episodes, THREAT.first_seed),
        attack,
        epsilons,
        THREAT.budget(),
        SELECTED_ON + REPORTED_ON,
        seeds=subject.seeds,
    )


def ready(attack: Attack) -> Attacker:
    """An attack without a fit."""
    return Attacker(lambda subject, budget: attack)


def lattice(subject: Subject, budget: Budget) -> Attack:
    """Provoke the action of the lowest value under the worst case on a lattice of states."""
    return lookahead(subject, budget, THREAT)


def adversary(subject: Subject, budget: Budget) -> Attack:
    """Train an adversary on this policy that chooses at every step which action to provoke, or none."""
    return learned(subject, budget, THREAT, LEARNED_STEPS)


ATTACKERS: Mapping[str, Attacker] = {
    "noise": ready(Noise("sign")),
    "PGD": ready(PGD(10)),
    "value-aware, by hand": ready(ValueAware(by_hand, PROVOKE, "value-aware, by hand")),
    "provoke left": ready(ValueAware(constant(0), PROVOKE, "provoke left")),
    "provoke right": ready(ValueAware(constant(1), PROVOKE, "provoke right")),
    "value-aware, lattice": Attacker(lattice, FITTED_EPSILONS, fitted=True),
    "learned": Attacker(adversary, FITTED_EPSILONS[:1], fitted=True),
}

"""Do the margin and the cross-entropy give the same attack? With two actions they must; with three they need not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from rlkit.adversarial import FGSM, PGD, Attack, Victim, margin, perturb, scores_of
from rlkit.statistics import difference_interval, mean_interval, share_interval

from ...report.ledger import Cell, ReportTable
from .settings import RobustnessCase

STATES = 200  # of the natural episodes of every seed
ATTACKS: Mapping[str, tuple[Attack, Attack]] = {  # on the margin, on the cross-entropy
    "FGSM": (FGSM(), FGSM("cross_entropy")),
    "PGD-20": (PGD(20, every_action=False), PGD(20, objective="cross_entropy")),
}


@dataclass(frozen=True)
class Pair:
    """One attack with either objective at the same natural states of one seed: shares of the states, and means."""

    case: str
    maker: str
    seed: int
    attack: str
    epsilon: float
    shown: float  # share at which the two show something different
    action: float  # share at which the victim then acts differently
    lead_margin: float  # of the best other action, at what is shown by the attack on the margin
    lead_cross_entropy: float
    regret_margin: float  # score at the truth of the victim's own action minus that of the provoked action
    regret_cross_entropy: float


def pairs(case: RobustnessCase, maker: str, victim: Victim, obs: Tensor, attack: str, epsilon: float) -> list[Pair]:
    """A row per seed; ``obs [S, B, *observation]`` are natural states of each."""
    true = scores_of(victim, obs)
    own = true.argmax(dim=-1)
    budget = case.task.budget(epsilon)
    shown = [perturb(each, victim, obs, budget) for each in ATTACKS[attack]]
    scores = [scores_of(victim, each) for each in shown]
    actions = [each.argmax(dim=-1) for each in scores]
    columns = (
        (shown[0] != shown[1]).flatten(2).any(dim=-1),
        actions[0] != actions[1],
        *(margin(each, own) for each in scores),
        *(true.amax(dim=-1) - true.gather(-1, each[..., None])[..., 0] for each in actions),
    )
    means = [column.double().mean(dim=1).tolist() for column in columns]  # of [S]
    return [
        Pair(case.name, maker, seed, attack, epsilon, *(round(value, 6) for value in values))
        for seed, *values in zip(case.training.seeds, *means, strict=True)
    ]


def objective_table(known: Sequence[Pair]) -> ReportTable:
    """How often the two differ, and by how much the cross-entropy reaches more, paired by seed."""
    lines: list[tuple[Cell, ...]] = []
    for key in dict.fromkeys((row.case, row.maker, row.attack, row.epsilon) for row in known):
        own = [row for row in known if (row.case, row.maker, row.attack, row.epsilon) == key]
        lines.append(
            (
                *key,
                share_interval([row.shown for row in own]),
                share_interval([row.action for row in own]),
                difference_interval(
                    [row.lead_cross_entropy for row in own], [row.lead_margin for row in own], paired=True
                ),
                mean_interval([row.regret_margin for row in own]),
                difference_interval(
                    [row.regret_cross_entropy for row in own], [row.regret_margin for row in own], paired=True
                ),
            )
        )
    columns = (
        "case", "maker", "attack", "epsilon", "states shown differently", "states acted at differently",
        "lead, cross-entropy minus margin", "regret, margin", "regret, cross-entropy minus margin",
    )  # fmt: skip
    return ReportTable("objectives", "Margin and cross-entropy at the same states", columns, tuple(lines), digits=3)

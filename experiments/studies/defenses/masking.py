"""Is a defended policy robust, or do its gradients mislead? Attacks without them, and adversaries trained longer.

Source: Athalye, Carlini & Wagner 2018, "Obfuscated gradients give a false sense of security", section 3.1; adversaries
trained afresh on every policy: Zhang et al. 2021, "Robust reinforcement learning on state observations with learned
optimal adversary". Two learners train them: PPO on the attacker's decision problem, and the cross-entropy method.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.adversarial import Access, Attack, Budget, Threat, Transfer, ValueAware, Victim, scores_of
from rlkit.statistics import difference_interval, mean_interval, median_interval

from ...report import terminal
from ...report.ledger import Cell, ReportTable
from ...workflows.fitted_attacks import LINEAR_ADVERSARY, learned_longer, linear_longer
from ...workflows.policies import Subject
from ..common import rows
from .analysis import TEST, DefenseRow, bar_epsilon, bar_verdict, of_case, under_attack
from .attacks import PROVOKE, by_hand, outcomes
from .settings import ADVERSARIES, ADVERSARY_GENERATIONS, ADVERSARY_STEPS, CASES, MASKING_EPSILON, SETTLED

GRADIENTS = "value-aware, by hand"  # of ``attacks.ATTACKERS``: it provokes by the gradients of the policy itself
CORNERS, TRANSFERRED = "by hand, corners", "by hand, made on the plain twin"
LEARNED = "learned"

# the policy, the budget, the threat, ascending lengths, seeds -> the adversary after each length
Train = Callable[[Subject, Budget, Threat, Sequence[int], Sequence[int]], Iterator[Attack]]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MaskingRow:
    """The mean return of one seed's policy under an attack without its gradients, or under one trained on it."""

    case: str
    seed: int
    attack: str
    length: int  # of the adversary's training, in its learner's unit; 0 for an attack without one
    adversary: int  # number of the adversary among those trained on this policy
    epsilon: float
    earned: float


class Corners:
    """Targeted attack by scores alone: the corner of the ball, or the truth, where the target's lead is largest."""

    name = "corners"
    access: ClassVar[Access] = "scores"

    def noise_width(self, num_features: int) -> int:
        """Return 0: all corners are tried."""
        return 0

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """Return the shown observations; arguments as of ``Attack.propose``, with a target."""
        assert target is not None
        best, most = obs, self._lead(victim, obs, target)
        for signs in itertools.product((-1.0, 1.0), repeat=obs.shape[2]):
            shown = budget.project(obs, obs + budget.along(obs, torch.tensor(signs, dtype=obs.dtype).expand_as(obs)))
            lead = self._lead(victim, shown, target)
            best = torch.where((lead > most)[..., None], shown, best)
            most = torch.maximum(lead, most)
        return best

    @staticmethod
    def _lead(victim: Victim, obs: Tensor, target: Tensor) -> Tensor:
        """Score of the target minus the highest other one, ``[S, B]``."""
        scores, aim = scores_of(victim, obs), target[..., None]
        return (scores.gather(-1, aim) - scores.scatter(-1, aim, -torch.inf).amax(-1, keepdim=True))[..., 0]


def without_gradients(plain: Victim) -> Mapping[str, Attack]:
    """Attacks that ask for no gradient of the policy; one is made on the plain policy of the same seed."""
    return {
        CORNERS: ValueAware(by_hand, Corners(), CORNERS),
        TRANSFERRED: ValueAware(by_hand, Transfer(PROVOKE, plain), TRANSFERRED),
    }


class Learner(NamedTuple):
    """A way to train adversaries, and the ascending lengths of their training."""

    train: Train
    lengths: tuple[int, ...]
    unit: str


LEARNERS: Mapping[str, Learner] = {
    LINEAR_ADVERSARY: Learner(linear_longer, ADVERSARY_GENERATIONS, "generations"),
    LEARNED: Learner(learned_longer, ADVERSARY_STEPS, "steps"),
}


def of_masked(file: Path, case: str) -> list[MaskingRow]:
    """The rows of a defended case in a file."""
    return [row for row in rows.read(file, MaskingRow) if row.case == case]


def complete(own: Sequence[MaskingRow]) -> bool:
    """Whether nothing of a defended case is missing."""
    return {CORNERS, TRANSFERRED} <= {row.attack for row in own} and all(
        settled(own, name) or set(learner.lengths) <= set(by_length(own, name)) for name, learner in LEARNERS.items()
    )


def measure_masking(file: Path, case: str, subject: Subject, threat: Threat, plain: Victim) -> None:
    """Measure what is missing of a defended case: attacks without gradients, then adversaries trained longer.

    The length of the adversaries' training doubles until the last doubling changes the mean return by less than
    ``SETTLED``, or all of the learner's lengths are done.

    Args:
        file: of the rows.
        case: its name.
        subject: the defended policy.
        threat: of the task.
        plain: the plain policies of the same seeds.
    """
    done = {row.attack for row in of_masked(file, case)}
    for name, attack in without_gradients(plain).items():
        if name not in done:
            measure_attack(file, case, subject, threat, attack, name)
    for name in LEARNERS:
        train_longer(file, case, subject, threat, name)


def train_longer(file: Path, case: str, subject: Subject, threat: Threat, name: str) -> None:
    """Train the adversaries of one learner until they settle, and measure those without rows."""
    learner, budget = LEARNERS[name], threat.budget(MASKING_EPSILON)
    known = {(row.length, row.adversary) for row in of_masked(file, case) if row.attack == name}
    left = [n for n in learner.lengths if not all((n, k) in known for k in range(ADVERSARIES))]
    trained = [
        learner.train(subject, budget, threat, left, adversary_seeds(subject.seeds, k)) for k in range(ADVERSARIES)
    ]
    for length in left:
        if settled(of_masked(file, case), name):
            return
        for k, adversaries in enumerate(trained):
            attack = next(adversaries)
            if (length, k) not in known:
                measure_attack(file, case, subject, threat, attack, name, length, k)


def measure_attack(
    file: Path, case: str, subject: Subject, threat: Threat, attack: Attack, name: str, length: int = 0, k: int = 0
) -> None:
    """Add the rows of one attack, or of adversary ``k`` after a training of some length."""
    earned = outcomes(subject, threat, attack, [MASKING_EPSILON])[1].earned
    row = (name, length, k, MASKING_EPSILON)
    rows.append(
        file, [MaskingRow(case, seed, *row, float(each)) for seed, each in zip(subject.seeds, earned, strict=True)]
    )
    training = f", {length:,} {LEARNERS[name].unit}, adversary {k}" if length else ""
    terminal.say(f"{case}, masking: {name}{training}")


def adversary_seeds(seeds: Sequence[int], k: int) -> list[int]:
    """The training seeds of adversary k, one for each policy; they are no seeds of policies."""
    return [10_000 * (k + 1) + seed for seed in seeds]


def by_length(own: Sequence[MaskingRow], name: str) -> dict[int, Floats]:
    """Returns ``[adversaries, S]`` of one case by the length of one learner's training, where all are known."""
    trained = [row for row in own if row.attack == name]
    seeds = sorted({row.seed for row in trained})
    found = {}
    for length in sorted({row.length for row in trained}):
        earned = {(row.adversary, row.seed): row.earned for row in trained if row.length == length}
        if len(earned) == ADVERSARIES * len(seeds):
            found[length] = np.array([[earned[k, seed] for seed in seeds] for k in range(ADVERSARIES)])
    return found


def settled(own: Sequence[MaskingRow], name: str) -> bool:
    """Whether the last of at least three lengths changed the mean return by less than ``SETTLED``."""
    means = [float(returns.mean()) for returns in by_length(own, name).values()]
    return len(means) >= 3 and abs(means[-1] - means[-2]) < SETTLED * means[-2]


def masking_table(known: Sequence[MaskingRow], defended: Sequence[DefenseRow]) -> ReportTable:
    """Compare, seed by seed, attacks without gradients of the policy with the same attack by its gradients.

    Gradients are masked where an attack without them leaves less: the interval of the difference is below zero.
    """
    lines: list[tuple[Cell, ...]] = []
    for case in dict.fromkeys(row.case for row in known):
        with_gradients = _by_seed(
            row for row in of_case(defended, case, TEST) if (row.attack, row.epsilon) == (GRADIENTS, MASKING_EPSILON)
        )
        lines.append((case, "by hand, gradients", median_interval(with_gradients), None, ""))
        for name in (CORNERS, TRANSFERRED):
            left = _by_seed(row for row in known if (row.case, row.attack) == (case, name))
            if len(left) == len(with_gradients):
                change = difference_interval(left, with_gradients, paired=True)
                lines.append((case, name, median_interval(left), change, "yes" if change.upper < 0 else "no"))
    columns = ("policy", "attack", "median", "minus that by gradients", "masking")
    return ReportTable("masking", f"Attacks without gradients at epsilon {MASKING_EPSILON:g}", columns, tuple(lines))


def _by_seed(found: Iterable[DefenseRow | MaskingRow]) -> Floats:
    """The returns of rows in the order of their seeds, ``[S]``."""
    return np.array([row.earned for row in sorted(found, key=lambda row: row.seed)])


def adversary_table(known: Sequence[MaskingRow]) -> ReportTable:
    """Tabulate the return under adversaries by the length of their training, and the change by the last doubling."""
    lines: list[tuple[Cell, ...]] = []
    for case, (name, learner) in itertools.product(dict.fromkeys(row.case for row in known), LEARNERS.items()):
        before: float | None = None
        for length, returns in by_length([row for row in known if row.case == case], name).items():
            mean = float(returns.mean())
            change = None if before is None else mean / before - 1
            strongest = median_interval(returns.min(axis=0))
            lines.append(
                (case, name, f"{length:,} {learner.unit}", mean_interval(returns.mean(axis=0)), change, strongest)
            )
            before = mean
    columns = (
        "policy",
        "adversary",
        "training",
        "mean over adversaries",
        "change by the doubling",
        "median under the strongest of three",
    )
    title = f"Adversaries trained afresh on every policy, epsilon {MASKING_EPSILON:g}"
    return ReportTable("adversaries", title, columns, tuple(lines))


def strengthened_table(known: Sequence[MaskingRow], defended: Sequence[DefenseRow]) -> ReportTable:
    """Compare what a policy keeps by the tables of returns with what it keeps if these attacks count too.

    For every seed it is the smaller of the return under the strongest attack of the tables and of those under the
    attacks of the rows, on the same episodes. That is a choice by what it reports, and errs on the attacker's side.
    """
    lines: list[tuple[Cell, ...]] = []
    for case in (case for case in CASES if any(row.case == case.name for row in known)):
        own = [row for row in known if row.case == case.name]
        reported = under_attack(of_case(defended, case.name), MASKING_EPSILON)
        seeds = sorted({row.seed for row in own})
        if len(seeds) != len(reported):
            continue
        least = np.array([min(row.earned for row in own if row.seed == seed) for seed in seeds])
        left = np.minimum(reported, least)
        verdict = bar_verdict(defended, case, left) if bar_epsilon(defended, case.comparison) == MASKING_EPSILON else ""
        lines.append(
            (case.name, median_interval(reported), int((least < reported).sum()), float((reported - left).max()),
             median_interval(left), verdict)
        )  # fmt: skip
    columns = (
        "policy",
        "median in the tables",
        "seeds with less",
        "largest difference",
        "median with all attacks",
        "bar",
    )
    title = f"Returns at epsilon {MASKING_EPSILON:g} if attacks without gradients and longer trained adversaries count"
    return ReportTable("strengthened", title, columns, tuple(lines))

"""Hijacking: the return that an attacker gets by its own reward when only the victim acts.

On a grid the attacker wants another end of the episode, and its policy is the exact optimum of that reward. On the
cart-pole it wants the cart on one side with the pole up, and its policy is a linear controller with a set point there,
or also the optimum of that reward on a lattice of states.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

import rlkit.envs
from rlkit.adversarial import (
    FGSM,
    PGD,
    Attack,
    AttackedPolicy,
    HijackedEpisodes,
    Noise,
    aliasing_epsilon,
    hijack_rollout,
)
from rlkit.envs import GridWorld, RewardOverride
from rlkit.evaluation import EVALUATION_SEED
from rlkit.figure_style import ALIASED, PANEL, in_style, legend_below, mark_epsilon, panels, portions, svg
from rlkit.plotting import Curve, Reference, draw_curves
from rlkit.statistics import share_interval
from rlkit.types import Env, Policy

from ..report.ledger import Picture, ReportTable, RunRecord
from .attacker_goals import AttackerGoal, attacker_goal_of
from .evaluate import mean_return
from .policies import Subject
from .threat import NormName, Unit, threat_of


class Attempt(NamedTuple):
    """An attack, and whether it is targeted."""

    attack: Attack
    targeted: bool  # towards the attacker's action; otherwise away from the victim's own


ATTEMPTS: dict[str, Attempt] = {
    "sign noise": Attempt(Noise(), False),
    "FGSM untargeted": Attempt(FGSM(), False),
    "FGSM targeted": Attempt(FGSM(), True),
    "PGD targeted": Attempt(PGD(), True),
}


def hijack(
    subject: Subject,
    toward: str,
    epsilons: Sequence[float],
    unit: Unit | None = None,
    norm: NormName = "inf",
    episodes: int = 100,
    first_seed: int = EVALUATION_SEED,
    points: int | None = None,
) -> RunRecord:
    """Play the same episodes without attack and under every attempt at every epsilon, with the attacker's reward.

    Targeted attempts are made once for each of the attacker's policies; ``points`` asks for a second one on the
    cart-pole (``attacker_goal_of``).

    Raises:
        ValueError: see ``attacker_goal_of`` and ``rlkit.adversarial.robustness_curve``.
    """
    goal = attacker_goal_of(subject, toward, points)
    threat = threat_of(subject, unit=unit, epsilons=epsilons, norm=norm)
    rows = len(subject.seeds)

    def make_env() -> Env:
        return rlkit.envs.make(
            goal.dynamics,
            seeds=[first_seed] * rows,
            num_envs=episodes,
            restart=False,
            noise="gymnasium",
            double=True,
            device=subject.policy.device,
        )

    def play(attempt: Attempt, planner: Policy, epsilon: float) -> HijackedEpisodes:
        target = planner.act if attempt.targeted else None
        budget = threat.budget(epsilon)
        perturb = AttackedPolicy(subject.policy, attempt.attack, budget, subject.seeds, target)
        return hijack_rollout(subject.policy, planner, make_env(), perturb)

    natural = hijack_rollout(subject.policy, goal.policy, make_env())
    played = {
        name: [play(attempt, planner, epsilon) for epsilon in threat.epsilons] for name, attempt, planner in plans(goal)
    }
    own = {name: hijack_rollout(planner, planner, make_env()) for name, planner in goal.policies.items()}
    mark = None
    if isinstance(goal.dynamics, RewardOverride) and isinstance(goal.dynamics.dynamics, GridWorld):
        states = torch.as_tensor(goal.dynamics.dynamics.observations().copy())
        mark = aliasing_epsilon(states, threat.budget())
    return hijack_run(subject, goal, threat.epsilons, threat.unit, norm, natural, played, own, mark)


def plans(goal: AttackerGoal) -> Iterator[tuple[str, Attempt, Policy]]:
    """Every attempt with its name in tables; the targeted ones once for each of the attacker's policies."""
    several = len(goal.policies) > 1
    for name, attempt in ATTEMPTS.items():
        for planner, policy in goal.policies.items() if attempt.targeted else ():
            yield f"{name}, {planner}" if several else name, attempt, policy
        if not attempt.targeted:
            yield name, attempt, goal.policy


def hijack_run(
    subject: Subject,
    goal: AttackerGoal,
    epsilons: Sequence[float],
    unit: str,
    norm: NormName,
    natural: HijackedEpisodes,
    played: Mapping[str, Sequence[HijackedEpisodes]],
    own: Mapping[str, HijackedEpisodes],
    mark: float | None,
) -> RunRecord:
    """The record: intervals over training seeds; the first row is without attack."""

    cells = [("natural", 0.0, *_per_seed(natural))]  # attempt, epsilon, returns [S], shares [S]
    cells += [
        (name, epsilon, *_per_seed(each))
        for name, every in played.items()
        for epsilon, each in zip(epsilons, every, strict=True)
    ]
    limits = None if goal.most is None else (0.0, goal.most)
    rows = tuple((name, e, mean_return(returns, limits), share_interval(shares)) for name, e, returns, shares in cells)
    best = {name: float(_per_seed(each)[0].mean(axis=0)) for name, each in own.items()}
    itself = ", ".join(f"{level:.4g} ({name})" for name, level in best.items())
    columns = ("attempt", "epsilon", "attacker's return", "share of steps with the attacker's action")
    notes = [
        f"The attacker's reward: {goal.description}. The attacker's own policy would earn {itself} if it acted itself. "
        "Intervals are over training seeds."
    ]
    if mark is not None:
        notes.append(
            f"Half the smallest distance between the observations of two states is {mark:.4g} {unit} (norm {norm}): "
            "beyond it two states can be shown as the same observation."
        )
    figure = _figure(epsilons, unit, natural, played, best, mark)
    return RunRecord(
        kind="hijack",
        title=f"{subject.name} on {subject.env} hijacked: {goal.description}",
        settings={
            "environment": subject.env,
            "env_kwargs": subject.env_kwargs,
            "algorithm": subject.name,
            "training_seeds": subject.seeds,
            "episodes": natural.returns.shape[1],
            "epsilons": epsilons,
            "unit": unit,
            "norm": norm,
            "aliasing_epsilon": mark,
        },
        results={
            "seeds": list(subject.seeds),
            "attackers_own_return": best,
            "attempts": [
                {
                    "attempt": name,
                    "epsilon": epsilon,
                    "return": mean,
                    "followed": share,
                    "seed_returns": returns.tolist(),
                    "seed_followed": shares.tolist(),
                }
                for (name, epsilon, mean, share), (_, _, returns, shares) in zip(rows, cells, strict=True)
            ],
        },
        tables=(ReportTable("hijack", f"Return of the attacker, epsilon in {unit} (norm {norm})", columns, rows),),
        pictures=(Picture("hijack", f"The attacker's return: {goal.description}.", svg(figure)),),
        notes=tuple(notes),
    )


def _per_seed(followed: HijackedEpisodes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean return, and share of steps with the attacker's action, ``[S]`` each."""
    returns = followed.returns.mean(dim=1)
    shares = followed.followed.sum(dim=1).double() / followed.lengths.sum(dim=1)
    return returns.cpu().numpy(), shares.cpu().numpy()


@in_style
def _figure(
    epsilons: Sequence[float],
    unit: str,
    natural: HijackedEpisodes,
    played: Mapping[str, Sequence[HijackedEpisodes]],
    best: Mapping[str, float],
    mark: float | None,
) -> Figure:
    """The attacker's return against epsilon, a color per attempt, with the return of its own policy as a line."""
    curves = {
        name: Curve([0.0, *epsilons], np.stack([_per_seed(each)[0] for each in (natural, *cells)]))
        for name, cells in played.items()
    }
    levels = [Reference(f"the attacker's {name} itself", level) for name, level in best.items()]
    groups = portions(list(curves))
    figure, places = panels(len(groups), size=(7.2, 4.2) if len(groups) == 1 else PANEL, sharey=True)
    for axes, names in zip(places, groups, strict=True):
        shown = {name: curves[name] for name in names}
        draw_curves(axes, shown, f"epsilon [{unit}]", "attacker's return", references=levels, marker="o")
        if mark is not None:
            mark_epsilon(axes, mark, ALIASED)
    legend_below(figure)
    return figure

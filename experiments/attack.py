"""Return against epsilon: a policy whose observations are tampered with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from rlkit.adversarial import FGSM, Attack, Budget, Noise, RobustnessCurve, Timing, aliasing_epsilon, robustness_curve
from rlkit.adversarial.curve import CurvePoint
from rlkit.envs.gridworld import GridWorld
from rlkit.envs.make import find_dynamics
from rlkit.evaluation import EVALUATION_SEED, observation_std
from rlkit.plotting import Curve, png, robustness_curves

from .ledger import Picture, Run, Table
from .policies import Subject, backend_of

AttackName = Literal["noise", "uniform", "fgsm"]
Unit = Literal["std", "raw"]
NormName = Literal["inf", "2"]

ATTACKS: dict[AttackName, Attack] = {"noise": Noise("sign"), "uniform": Noise("uniform"), "fgsm": FGSM()}
UNITS: dict[Unit, str] = {"std": "standard deviations of natural observations", "raw": "raw observation units"}
NOTE = (
    "Epsilon 1 is one standard deviation of each observation feature, measured on natural episodes. "
    "Intervals are over training seeds; an attack that fails proves nothing."
)
SCALE_EPISODES = 20  # natural episodes per seed that the standard deviations are measured on


def aliasing(env: str, env_kwargs: Mapping[str, Any], budget: Budget) -> float | None:
    """The epsilon from which two states of a grid world can be made to look alike; None where states are not listed.

    Integer observations have no distance, and are refused by attacks themselves.
    """
    dynamics = find_dynamics(env, env_kwargs=dict(env_kwargs))
    if not isinstance(dynamics, GridWorld):
        return None
    observations = torch.from_numpy(np.array(dynamics.observations()))
    return aliasing_epsilon(observations, budget) if observations.is_floating_point() else None


class Threat(NamedTuple):
    """What attackers may do; the same for every policy that is compared."""

    attacks: tuple[AttackName, ...]
    epsilons: tuple[float, ...]
    budget: Budget  # norm and scale; its epsilon is not used
    unit: str
    timing: Timing | None = None  # None: always
    attacks_per_episode: int | None = None


def threat(
    subject: Subject,
    attacks: Sequence[AttackName],
    epsilons: Sequence[float],
    unit: Unit = "std",
    norm: NormName = "inf",
) -> Threat:
    """The threat with epsilon in standard deviations as ``subject`` meets them, or in raw units.

    Raises:
        ValueError: no attack or epsilon, a negative epsilon, or observations that have no spread.
    """
    budget = Budget(0.0, norm=norm)
    if unit == "std":
        scale = observation_std(subject.policy, subject.make_env(SCALE_EPISODES, EVALUATION_SEED))
        budget = Budget(0.0, norm=norm, scale=scale, unit=UNITS[unit])
    return Threat(tuple(attacks), tuple(sorted(set(epsilons))), budget, UNITS[unit])


def curve(subject: Subject, threat: Threat, episodes: int, first_seed: int = EVALUATION_SEED) -> RobustnessCurve:
    """Every episode of a subject under a threat, and without attack."""
    return robustness_curve(
        subject.policy,
        lambda copies: subject.make_env(copies, first_seed),
        [ATTACKS[name] for name in threat.attacks],
        threat.epsilons,
        threat.budget,
        episodes,
        seeds=subject.seeds,
        timing=threat.timing,
        attacks_per_episode=threat.attacks_per_episode,
    )


def attack(subjects: Sequence[Subject], threat: Threat, episodes: int = 100, first_seed: int = EVALUATION_SEED) -> Run:
    """Attack one or more policies of the same environment, the same way.

    Raises:
        ValueError: see ``rlkit.adversarial.robustness_curve``.
    """
    return attack_run(subjects, [curve(subject, threat, episodes, first_seed) for subject in subjects], threat)


def attack_run(subjects: Sequence[Subject], measured: Sequence[RobustnessCurve], threat: Threat) -> Run:
    """The record of attacks on policies of one environment; the first policy is the one that the run is about."""
    first = subjects[0]
    names = " and ".join(subject.name for subject in subjects)
    curves = {subject.name: each for subject, each in zip(subjects, measured, strict=True)}
    points = {name: each.points() for name, each in curves.items()}
    return Run(
        kind="attack",
        title=f"{names} on {first.env} under attack",
        settings={
            "environment": first.env,
            "env_kwargs": first.env_kwargs,
            "backend": backend_of(first.make_env(1, EVALUATION_SEED)),
            "algorithm": names,
            "training_seeds": first.seeds,
            "episodes": measured[0].natural.shape[1],
            **threat_settings(threat),
            "timing": measured[0].timing,
        },
        results={
            "return": points[first.name][0].mean_return,
            "seeds": list(first.seeds),
            "curves": {name: [point._asdict() for point in each] for name, each in points.items()},
        },
        tables=(curve_table(points, threat),),
        pictures=(curve_picture(curves, threat),),
        notes=(NOTE,) if threat.unit == UNITS["std"] else (),
    )


def threat_settings(threat: Threat) -> dict[str, Any]:
    """A threat as the ledger records it."""
    return {
        "attacks": [ATTACKS[name].name for name in threat.attacks],
        "epsilons": threat.epsilons,
        "epsilon_unit": threat.unit,
        "norm": threat.budget.norm,
        "scale": np.asarray(threat.budget.scale).tolist(),
    }


def curve_table(curves: Mapping[str, Sequence[CurvePoint]], threat: Threat) -> Table:
    """Every point of every policy's curve, natural return first."""
    rows = tuple(
        (
            name,
            point.attack,
            point.epsilon,
            point.mean_return,
            point.change,
            point.attack_rate,
            point.flip_rate,
            point.capped,
        )
        for name, points in curves.items()
        for point in points
    )
    columns = (
        "policy", "attack", "epsilon", "return", "change", "share of steps attacked", "share of actions flipped",
        "capped episodes",
    )  # fmt: skip
    return Table("attacks", f"Return against epsilon, in {threat.unit} (norm {threat.budget.norm})", columns, rows)


def curve_picture(measured: Mapping[str, RobustnessCurve], threat: Threat) -> Picture:
    """The same as a figure, one panel per policy."""
    policies = {
        policy: {name: _curve(each, k) for k, name in enumerate(each.attacks)} for policy, each in measured.items()
    }
    figure = robustness_curves(policies, xlabel=f"epsilon [{threat.unit}]")
    caption = "Mean return of every training seed (thin) and over seeds; epsilon 0 is the natural return."
    return Picture("attacks", caption, png(figure))


def _curve(measured: RobustnessCurve, k: int) -> Curve:
    """Attack k from the natural return on."""
    returns = np.concatenate([measured.natural[None], measured.returns[k]])  # [1 + L, S, E]
    return Curve([0.0, *measured.epsilons], returns.mean(axis=-1))

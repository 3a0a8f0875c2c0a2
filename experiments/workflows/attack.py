"""Return against epsilon: a policy whose observations are attacked."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from rlkit.adversarial import (
    FGSM,
    PGD,
    Attack,
    BestOf,
    Boundary,
    Budget,
    ChecklistWarning,
    CurvePoint,
    Noise,
    RandomSearch,
    RobustnessCurve,
    Timing,
    aliasing_epsilon,
    curve_warnings,
    examine,
    robustness_curve,
    visited,
    warnings_of,
)
from rlkit.checkpoint import load_tensors, save_tensors
from rlkit.envs import GridWorld, find_dynamics
from rlkit.evaluation import EVALUATION_SEED, observation_std
from rlkit.plotting import Curve, Reference, png, robustness_curves

from ..report.continued import KEPT
from ..report.ledger import Picture, ReportTable, RunRecord
from .policies import Subject, backend_of

AttackName = Literal["noise", "uniform", "gaussian", "fgsm", "pgd", "search", "boundary", "best"]
Unit = Literal["std", "raw"]
NormName = Literal["inf", "2", "1"]

ATTACKS: dict[str, Attack] = {
    "noise": Noise("sign"),
    "uniform": Noise("uniform"),
    "gaussian": Noise("gaussian"),
    "fgsm": FGSM(),
    "pgd": PGD(20),
    "search": RandomSearch(),
    "boundary": Boundary(),
    "best": BestOf((Noise("sign"), PGD(20, restarts=2), RandomSearch(50))),
}
UNITS: dict[Unit, str] = {"std": "standard deviations of natural observations", "raw": "raw observation units"}
NOTE = (
    "Epsilon 1 is one standard deviation of each observation feature, measured on natural episodes. "
    "Intervals are over training seeds; an attack that fails proves nothing."
)
CHECKED_STATES = 100  # of natural episodes of every seed, at which the checklist is run
BY_ATTACK = ("returns", "lengths", "flips", "attacked", "capped")  # arrays of a curve whose first axis are attacks
CURVE_ARRAYS = (*BY_ATTACK, "natural", "natural_capped")
SCALE_EPISODES = 20  # natural episodes per seed that the standard deviations are measured on


def aliasing(env: str, env_kwargs: Mapping[str, Any], budget: Budget) -> float | None:
    """The epsilon from which one state of a grid world can look like another; None for other environments.

    Integer observations have no distance (None); attacks refuse them.
    """
    dynamics = find_dynamics(env, env_kwargs=dict(env_kwargs))
    if not isinstance(dynamics, GridWorld):
        return None
    observations = torch.from_numpy(np.array(dynamics.observations()))
    return aliasing_epsilon(observations, budget) if observations.is_floating_point() else None


class Threat(NamedTuple):
    """The limits of the attacker; the same for every policy that is compared."""

    attacks: tuple[str, ...]  # keys of ATTACKS
    epsilons: tuple[float, ...]
    budget: Budget  # norm and scale; its epsilon is not used
    unit: str
    timing: Timing | None = None  # None: always
    attacks_per_episode: int | None = None
    aliasing: float | None = (
        None  # the epsilon from which one state can look like another; None where states are not listed
    )


def threat(
    subject: Subject,
    attacks: Sequence[str],
    epsilons: Sequence[float],
    unit: Unit = "std",
    norm: NormName = "inf",
) -> Threat:
    """Make a threat with epsilon in standard deviations of the observations of ``subject``, or in raw units.

    Raises:
        ValueError: an attack that is unknown or given twice, an unknown norm, a negative epsilon, or constant
            observations.
    """
    if len(set(attacks)) < len(attacks):
        raise ValueError(f"attacks must be different ones, got {list(attacks)}")
    for name in attacks:
        if name not in ATTACKS:
            near = difflib.get_close_matches(name, ATTACKS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(ATTACKS)}"
            raise ValueError(f"unknown attack {name!r}: {hint}")
    for epsilon in epsilons:
        Budget(epsilon)  # refuses a bad size before anything is played
    budget = Budget(0.0, norm=norm)
    if unit == "std":
        scale = observation_std(subject.policy, subject.make_env(SCALE_EPISODES, EVALUATION_SEED)).cpu()
        budget = Budget(0.0, norm=norm, scale=scale, unit=UNITS[unit])
    alike = aliasing(subject.env, subject.env_kwargs, budget)
    return Threat(tuple(attacks), tuple(sorted(set(epsilons))), budget, UNITS[unit], aliasing=alike)


def checked(subject: Subject, threat: Threat, first_seed: int = EVALUATION_SEED) -> tuple[ChecklistWarning, ...] | None:
    """The checklist's warnings about a subject at states of natural episodes; None if the policy gives no scores."""
    if not hasattr(subject.policy, "scores"):
        return None
    obs = visited(subject.policy, subject.make_env(1, first_seed), CHECKED_STATES)
    return warnings_of(examine(subject.policy, obs, threat.budget, threat.epsilons, seeds=subject.seeds))


class KeptCurves:
    """Finished attacks of a run, a file each, so that a run that is continued does not repeat them.

    Args:
        folder: of the run.
        tell: gets a sentence about every file that is damaged; its attack is repeated.
    """

    KIND = "an attack on a policy (rlkit attack)"

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self.folder, self._tell = folder / KEPT, tell

    def curve(self, name: str, threat: Threat, measure: Callable[[], RobustnessCurve]) -> RobustnessCurve:
        """Read the curve of an attack, or measure and write it."""
        path = self.folder / f"{name}.safetensors"
        if path.exists():
            try:
                return self._read(path, threat)
            except ValueError as error:
                self._tell(f"Repeated an attack: {error}.")
        measured = measure()
        self.folder.mkdir(exist_ok=True)
        fields = measured._asdict()
        arrays = {field: fields.pop(field) for field in CURVE_ARRAYS}
        fields.pop("budget")  # of the threat
        save_tensors(path, {field: torch.from_numpy(array) for field, array in arrays.items()}, self.KIND, fields)
        return measured

    def _read(self, path: Path, threat: Threat) -> RobustnessCurve:
        file = load_tensors(path, [self.KIND])
        if set(file.contents) != {"attacks", "epsilons", "timing"} or set(file.tensors) != set(CURVE_ARRAYS):
            raise ValueError(f"{path} does not hold the curve of one attack")
        return RobustnessCurve(
            attacks=tuple(file.contents["attacks"]),
            epsilons=tuple(file.contents["epsilons"]),
            timing=file.contents["timing"],
            budget=replace(threat.budget, epsilon=float(threat.epsilons[-1])),
            **{field: tensor.numpy() for field, tensor in file.tensors.items()},
        )


def kept_curve(
    subject: Subject, threat: Threat, episodes: int, first_seed: int, kept: KeptCurves | None
) -> RobustnessCurve:
    """``curve``, measured attack by attack and kept if there is a folder for it; the numbers are the same."""
    if kept is None:
        return curve(subject, threat, episodes, first_seed)
    singles = [
        kept.curve(name, threat, partial(curve, subject, threat._replace(attacks=(name,)), episodes, first_seed))
        for name in threat.attacks
    ]
    together: dict[str, Any] = {field: np.concatenate([getattr(one, field) for one in singles]) for field in BY_ATTACK}
    return singles[0]._replace(attacks=tuple(one.attacks[0] for one in singles), **together)


def curve(subject: Subject, threat: Threat, episodes: int, first_seed: int = EVALUATION_SEED) -> RobustnessCurve:
    """Play a subject without attack and under a threat."""
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


def attack(
    subjects: Sequence[Subject],
    threat: Threat,
    episodes: int = 100,
    first_seed: int = EVALUATION_SEED,
    kept: KeptCurves | None = None,
) -> RunRecord:
    """Attack one or more policies of the same environment in the same way; ``kept`` is for a single policy.

    Raises:
        ValueError: see ``rlkit.adversarial.robustness_curve``.
    """
    measured = [kept_curve(subject, threat, episodes, first_seed, kept) for subject in subjects]
    return attack_run(subjects, measured, threat, [checked(subject, threat, first_seed) for subject in subjects])


def attack_run(
    subjects: Sequence[Subject],
    measured: Sequence[RobustnessCurve],
    threat: Threat,
    checks: Sequence[tuple[ChecklistWarning, ...] | None] | None = None,
) -> RunRecord:
    """The record of attacks on policies of one environment; settings and return are those of the first policy.

    Args:
        subjects: the policies.
        measured: their curves.
        threat: the threat to all of them.
        checks: warnings of the checklist about each policy; None where it was not run.
    """
    first = subjects[0]
    names = " and ".join(subject.name for subject in subjects)
    curves = {subject.name: each for subject, each in zip(subjects, measured, strict=True)}
    points = {name: each.points() for name, each in curves.items()}
    found_by = dict(zip(curves, [None] * len(curves) if checks is None else checks, strict=True))
    clean = [name for name, found in found_by.items() if found == ()]
    warnings = {name: (*(found_by[name] or ()), *curve_warnings(each)) for name, each in curves.items()}
    return RunRecord(
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
            "aliasing_epsilon": threat.aliasing,
            "warnings": {name: [warned._asdict() for warned in found] for name, found in warnings.items()},
        },
        tables=(curve_table(points, threat),),
        pictures=(curve_picture(curves, threat),),
        notes=(
            *((NOTE,) if threat.unit == UNITS["std"] else ()),
            *(() if threat.aliasing is None else (alike_note(threat.aliasing),)),
            *(f"Warning, {name}, {each.check}: {each.message}." for name, found in warnings.items() for each in found),
            *(f"The checklist found nothing suspicious about {name}." for name in clean),
        ),
    )


def alike_note(epsilon: float) -> str:
    """Explain the dotted line in a curve."""
    return (
        f"From epsilon {epsilon:.4g} on, half the smallest distance between two states, one state can look like "
        "another, and no policy can act optimally in both. A column of the table gives epsilon relative to this value."
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


def curve_table(curves: Mapping[str, Sequence[CurvePoint]], threat: Threat) -> ReportTable:
    """Every point of every policy's curve, natural return first."""
    rows = tuple(
        (
            name,
            point.attack,
            point.epsilon,
            *(() if threat.aliasing is None else (point.epsilon / threat.aliasing,)),
            point.mean_return,
            point.change,
            point.attack_rate,
            point.flip_rate,
            point.capped,
        )
        for name, points in curves.items()
        for point in points
    )
    alike = () if threat.aliasing is None else ("epsilon / aliasing epsilon",)
    columns = (
        "policy", "attack", "epsilon", *alike, "return", "change", "share of steps attacked",
        "share of actions flipped", "capped episodes",
    )  # fmt: skip
    return ReportTable(
        "attacks", f"Return against epsilon, in {threat.unit} (norm {threat.budget.norm})", columns, rows
    )


def curve_picture(measured: Mapping[str, RobustnessCurve], threat: Threat) -> Picture:
    """The curves as a figure, one panel per policy."""
    policies = {
        policy: {name: _curve(each, k) for k, name in enumerate(each.attacks)} for policy, each in measured.items()
    }
    mark = None if threat.aliasing is None else Reference("states can look alike", threat.aliasing)
    figure = robustness_curves(policies, xlabel=f"epsilon [{threat.unit}]", mark=mark)
    caption = "Mean return of every training seed (thin) and over seeds; epsilon 0 is the natural return."
    return Picture("attacks", caption, png(figure))


def _curve(measured: RobustnessCurve, k: int) -> Curve:
    """The curve of attack k, from the natural return on."""
    returns = np.concatenate([measured.natural[None], measured.returns[k]])  # [1 + L, S, E]
    return Curve([0.0, *measured.epsilons], returns.mean(axis=-1))

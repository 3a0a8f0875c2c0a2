"""Return against epsilon: a policy whose observations are attacked."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.adversarial import (
    FGSM,
    PGD,
    Access,
    Attack,
    BestOf,
    Boundary,
    Budget,
    ChecklistWarning,
    CurvePoint,
    DeepFool,
    Every,
    Noise,
    RandomSearch,
    RobustnessCurve,
    Square,
    Threat,
    Timing,
    aliasing_epsilon,
    curve_warnings,
    examine,
    robustness_curve,
    strongest,
    visited,
    warnings_of,
)
from rlkit.checkpoint import load_tensors, save_tensors
from rlkit.envs import GridWorld, find_dynamics
from rlkit.evaluation import EVALUATION_SEED
from rlkit.figure_style import ALIASED, svg
from rlkit.plotting import Curve, Reference, robustness_curves

from ..report.continued import KEPT
from ..report.ledger import Cell, Picture, ReportTable, RunRecord
from .evaluate import differences, return_range, within_limits
from .fitted_attacks import FITTED, WITHOUT_WEIGHTS, FittedAttacks
from .policies import AGENT_FILE, Subject, backend_of

AttackName = Literal[
    "noise", "uniform", "gaussian", "fgsm", "pgd", "deepfool", "search", "square", "boundary", "best",
    "lookahead", "tree", "learned", "linear", "universal", "substitute",
]  # fmt: skip

ATTACKS: dict[str, Attack] = {
    "noise": Noise("sign"),
    "uniform": Noise("uniform"),
    "gaussian": Noise("gaussian"),
    "fgsm": FGSM(),
    "pgd": PGD(20),
    "deepfool": DeepFool(),
    "search": RandomSearch(),
    "square": Square(),
    "boundary": Boundary(),
    "best": BestOf((Noise("sign"), PGD(20, restarts=2), RandomSearch(50))),
}
ACCESSES: tuple[Access, ...] = get_args(Access)  # from least to most
NOTE = (
    "Intervals are over training seeds; an attack that fails proves nothing. Queries are observations at which an "
    "attack asks the policy. CPU seconds include the fit of an attack; queries do not."
)
STRONGEST_NOTE = (
    "The strongest attack is selected for every seed and epsilon on other episodes. The candidates are all attacks of "
    "the table at this epsilon or a smaller one, and no attack."
)
SPREADS = 3  # ways to divide an epsilon of an episode over its steps
CHECKED_STATES = 100  # of natural episodes of every seed, at which the checklist is run
# arrays of a curve whose first axis are attacks
BY_ATTACK = ("returns", "lengths", "flips", "attacked", "capped", "queries", "seconds")
CURVE_ARRAYS = (*BY_ATTACK, "natural", "natural_lengths", "natural_capped")


def aliasing(env: str, env_kwargs: Mapping[str, Any], budget: Budget) -> float | None:
    """The epsilon from which one state of a grid world can look like another; None for other environments.

    Integer observations have no distance (None); attacks refuse them.
    """
    dynamics = find_dynamics(env, env_kwargs=dict(env_kwargs))
    if not isinstance(dynamics, GridWorld):
        return None
    observations = torch.from_numpy(np.array(dynamics.observations()))
    return aliasing_epsilon(observations, budget) if observations.is_floating_point() else None


class AttackPlan(NamedTuple):
    """A threat and the attacks that are tried within it; the same for every policy that is compared."""

    attacks: tuple[str, ...]  # keys of ATTACKS or FITTED
    threat: Threat
    timing: Timing | None = None  # None: always
    aliasing: float | None = (
        None  # the epsilon from which one state can look like another; None where states are not listed
    )

    @property
    def epsilons(self) -> tuple[float, ...]:
        """Sizes of the attacks."""
        return self.threat.epsilons

    @property
    def budget(self) -> Budget:
        """Norm, scale, mask and bounds; its epsilon is not used."""
        return self.threat.budget()

    @property
    def unit(self) -> str:
        """Name of the unit of epsilon."""
        return self.threat.unit


def attack_plan(subject: Subject, attacks: Sequence[str], threat: Threat, timing: Timing | None = None) -> AttackPlan:
    """Plan attacks on a subject within a threat.

    Raises:
        ValueError: an attack that is unknown or given twice, or an attack or timing that needs what the adversary of
            the threat does not know.
    """
    if len(set(attacks)) < len(attacks):
        raise ValueError(f"attacks must be different ones, got {list(attacks)}")
    for name in attacks:
        if name not in (*ATTACKS, *FITTED):
            near = difflib.get_close_matches(name, (*ATTACKS, *FITTED), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join((*ATTACKS, *FITTED))}"
            raise ValueError(f"unknown attack {name!r}: {hint}")
        needed = needed_access(name)
        if ACCESSES.index(needed) > ACCESSES.index(threat.access):
            raise ValueError(
                f"the attack {name!r} needs the policy's {needed}, and the adversary of this threat "
                f"knows {', '.join(threat.knows)}: add 'weights' to knows, or use an attack such as boundary"
            )
    fitted = [name for name in attacks if name in FITTED]
    if threat.epsilon_per == "episode" and fitted:
        raise ValueError(
            f"attacks that are fitted need an epsilon per step, and this one is per episode: leave {fitted} out"
        )
    if isinstance(timing, Every) and "step" not in threat.knows:
        raise ValueError(f"the timing {timing.name!r} needs the step of the episode: add 'step' to knows of the threat")
    if "draw" in threat.knows:
        raise ValueError("no attack uses the draw of the action; exact worst cases do: leave 'draw' out of knows")
    alike = aliasing(subject.env, subject.env_kwargs, threat.budget())
    return AttackPlan(tuple(attacks), threat, timing, alike)


def needed_access(name: str) -> Access:
    """The access to the policy that an attack needs, while it is fitted or used."""
    if name in FITTED:
        return "actions" if name in WITHOUT_WEIGHTS else "gradients"
    return ATTACKS[name].access


def checked(subject: Subject, plan: AttackPlan) -> tuple[ChecklistWarning, ...] | None:
    """The checklist's warnings about a subject at states of natural episodes; None if the policy gives no scores."""
    if not hasattr(subject.policy, "scores"):
        return None
    obs = visited(subject.policy, subject.make_env(1, plan.threat.first_seed), CHECKED_STATES)
    return warnings_of(examine(subject.policy, obs, plan.budget, plan.epsilons, seeds=subject.seeds))


class KeptCurves:
    """Finished attacks of a run, a file each, so that a run that is continued does not repeat them.

    Args:
        folder: folder of the run.
        tell: gets a sentence about every file that is damaged; its attack is repeated.
        prefix: prefix of the names of files, to keep policies and norms apart.
    """

    KIND = "an attack on a policy (rlkit attack)"

    def __init__(self, folder: Path, tell: Callable[[str], None], prefix: str = "") -> None:
        self.folder, self._tell, self._prefix = folder / KEPT, tell, prefix

    def curve(self, name: str, plan: AttackPlan, measure: Callable[[], RobustnessCurve]) -> RobustnessCurve:
        """Read the curve of an attack, or measure and write it."""
        path = self.folder / f"{self._prefix}{name}.safetensors"
        if path.exists():
            try:
                return self._read(path, plan)
            except ValueError as error:
                self._tell(f"Repeated an attack: {error}.")
        measured = measure()
        self.folder.mkdir(exist_ok=True)
        fields = measured._asdict()
        arrays = {field: fields.pop(field) for field in CURVE_ARRAYS}
        fields.pop("budget")  # of the threat
        save_tensors(path, {field: torch.from_numpy(array) for field, array in arrays.items()}, self.KIND, fields)
        return measured

    def _read(self, path: Path, plan: AttackPlan) -> RobustnessCurve:
        file = load_tensors(path, [self.KIND])
        if set(file.contents) != {"attacks", "epsilons", "timing"} or set(file.tensors) != set(CURVE_ARRAYS):
            raise ValueError(f"{path} does not hold the curve of one attack")
        return RobustnessCurve(
            attacks=tuple(file.contents["attacks"]),
            epsilons=tuple(file.contents["epsilons"]),
            timing=file.contents["timing"],
            budget=plan.threat.budget(plan.epsilons[-1]),
            **{field: tensor.numpy() for field, tensor in file.tensors.items()},
        )


def measured_curve(
    subject: Subject,
    plan: AttackPlan,
    episodes: int,
    kept: KeptCurves | None = None,
    done: Callable[[str], None] | None = None,
) -> RobustnessCurve:
    """The curves of all attacks of a plan, and that of the strongest one, which is selected on other episodes.

    Every seed and epsilon has its own selection, among all attacks at this epsilon or a smaller one, and no attack.
    """
    fitted = FittedAttacks(subject, plan.threat)
    reported = kept_curve(subject, plan, episodes, plan.threat.first_seed, fitted, kept, done)
    selection = kept_curve(subject, plan, episodes, plan.threat.selection_seed, fitted, kept, done)
    return joined([reported, strongest(selection, reported)])


def kept_curve(
    subject: Subject,
    plan: AttackPlan,
    episodes: int,
    first_seed: int,
    fitted: FittedAttacks | None = None,
    kept: KeptCurves | None = None,
    done: Callable[[str], None] | None = None,
) -> RobustnessCurve:
    """``curve`` attack by attack, each kept if there is a folder for it; ``done`` gets the name of each."""

    def single(name: str) -> RobustnessCurve:
        measure = partial(curve, subject, plan._replace(attacks=(name,)), episodes, first_seed, fitted)
        found = measure() if kept is None else kept.curve(f"{name}-{first_seed}", plan, measure)
        if done is not None:
            done(name)
        return found

    return joined([single(name) for name in plan.attacks])


def beside(curves: Sequence[RobustnessCurve]) -> RobustnessCurve:
    """Join curves of one attack at different epsilons, in increasing order."""
    together: dict[str, Any] = {
        field: np.concatenate([getattr(one, field) for one in curves], 1) for field in BY_ATTACK
    }
    epsilons = tuple(epsilon for one in curves for epsilon in one.epsilons)
    return curves[-1]._replace(epsilons=epsilons, **together)


def joined(curves: Sequence[RobustnessCurve]) -> RobustnessCurve:
    """Curves of several attacks on the same episodes as one."""
    together: dict[str, Any] = {field: np.concatenate([getattr(one, field) for one in curves]) for field in BY_ATTACK}
    return curves[0]._replace(attacks=tuple(name for one in curves for name in one.attacks), **together)


def curve(
    subject: Subject, plan: AttackPlan, episodes: int, first_seed: int, fitted: FittedAttacks | None = None
) -> RobustnessCurve:
    """Play a subject without attack and under every attack of a plan.

    Attacks that need no fit are played at all epsilons in one rollout. A fitted attack is another one at every epsilon.
    """
    fits = FittedAttacks(subject, plan.threat) if fitted is None else fitted
    played = partial(played_curve, subject, plan, episodes, first_seed)

    def single(name: str) -> RobustnessCurve:
        if plan.threat.epsilon_per == "episode":
            return spread_curve(partial(played, ATTACKS[name], plan.epsilons), steps_of(subject, plan.threat))
        if name in ATTACKS:
            return played(ATTACKS[name], plan.epsilons)
        found = [played(fits(name, epsilon), (epsilon,)) for epsilon in plan.epsilons]
        spent = [fits.seconds[name, epsilon] for epsilon in plan.epsilons]
        return beside([each._replace(seconds=each.seconds + fit) for each, fit in zip(found, spent, strict=True)])

    return joined([single(name) for name in plan.attacks])


def spread_curve(played: Callable[..., RobustnessCurve], steps: int) -> RobustnessCurve:
    """Curves of attacks whose epsilon is of an episode: spent on all steps, on an eighth and on a sixty-fourth."""
    curves = []
    for spread in sorted({max(steps // 8**power, 1) for power in range(SPREADS)}):
        found = played(spread=spread)
        curves.append(found._replace(attacks=tuple(f"{name} over {spread} steps" for name in found.attacks)))
    return joined(curves)


def steps_of(subject: Subject, threat: Threat) -> int:
    """The step limit of an episode; 1 where there is none."""
    return threat.horizon or subject.make_env(1, threat.first_seed).max_episode_steps or 1


def played_curve(
    subject: Subject,
    plan: AttackPlan,
    episodes: int,
    first_seed: int,
    attack: Attack,
    epsilons: Sequence[float],
    spread: int | None = None,
) -> RobustnessCurve:
    """Play a subject without attack and under one attack; ``spread`` as of ``robustness_curve``."""
    threat = plan.threat
    return robustness_curve(
        subject.policy,
        lambda copies: subject.make_env(copies, first_seed),
        attack,
        epsilons,
        threat.budget(),
        episodes,
        deterministic=threat.victim == "greedy",
        max_steps=threat.horizon,
        seeds=subject.seeds,
        timing=plan.timing,
        attacks_per_episode=threat.attacks_per_episode,
        spread=spread,
    )


def labeled(subjects: Sequence[Subject], paths: Sequence[Path]) -> list[Subject]:
    """Give subjects of one environment different names: those of their files where makers and algorithms are the same.

    Raises:
        ValueError: they play different environments.
    """
    first = subjects[0]
    for subject in subjects:
        if (subject.env, dict(subject.env_kwargs)) != (first.env, dict(first.env_kwargs)):
            raise ValueError(
                f"policies that are compared play one environment, got {first.env} {dict(first.env_kwargs)} and "
                f"{subject.env} {dict(subject.env_kwargs)}"
            )
    names = [subject.name for subject in subjects]
    files = [path.parent.name if path.name == AGENT_FILE else path.stem for path in paths]
    if len({*zip(names, files, strict=True)}) < len(names):
        files = [f"{file} {number}" for number, file in enumerate(files, start=1)]
    return [
        subject if names.count(name) == 1 else subject._replace(algorithm=f"{subject.algorithm} ({file})")
        for subject, name, file in zip(subjects, names, files, strict=True)
    ]


def attack(
    subjects: Sequence[Subject],
    plans: Sequence[AttackPlan],
    episodes: int = 100,
    kept: Callable[[str], KeptCurves] | None = None,
    done: Callable[[str], None] | None = None,
) -> RunRecord:
    """Attack one or more policies of the same environment in the same way, in one norm or in several.

    Args:
        subjects: the policies, of different names.
        plans: one for every norm.
        episodes: per training seed.
        kept: makes the store of finished attacks with a prefix, which is empty for one policy and one norm.
        done: gets the name of every attack that is finished, twice: also on the episodes of the selection.

    Raises:
        ValueError: see ``rlkit.adversarial.robustness_curve``.
    """

    def measure(number: int, subject: Subject, plan: AttackPlan) -> RobustnessCurve:
        prefix = "" if len(subjects) == len(plans) == 1 else f"{number}-{plan.threat.norm}-"
        return measured_curve(subject, plan, episodes, None if kept is None else kept(prefix), done)

    runs = []
    for plan in plans:
        measured = [measure(number, subject, plan) for number, subject in enumerate(subjects)]
        runs.append(attack_run(subjects, measured, plan, [checked(subject, plan) for subject in subjects]))
    return norms_together(runs, plans)


def norms_together(runs: Sequence[RunRecord], plans: Sequence[AttackPlan]) -> RunRecord:
    """The records of attacks in several norms as one, rows of each norm beside those of the first."""
    if len(runs) == 1:
        return runs[0]
    first = runs[0]
    rows: list[tuple[Cell, ...]] = []
    for name in first.results["curves"]:
        for plan, run in zip(plans, runs, strict=True):
            own = [row for row in run.tables[0].rows if row[0] == name]
            rows += [(row[0], plan.threat.norm, *row[1:]) for row in (own if run is first else own[1:])]
    columns = (first.tables[0].columns[0], "norm", *first.tables[0].columns[1:])
    digests = ", ".join(plan.threat.digest for plan in plans)
    title = f"Return against epsilon, in {plans[0].unit} (threats {digests})"
    curves = {
        name: [
            {**point, "norm": plan.threat.norm}
            for plan, run in zip(plans, runs, strict=True)
            for point in run.results["curves"][name]
        ]
        for name in first.results["curves"]
    }
    pictures = [
        picture._replace(name=f"{picture.name}-{plan.threat.norm}")
        for plan, run in zip(plans, runs, strict=True)
        for picture in run.pictures
    ]
    return replace(
        first,
        settings={**first.settings, "threat": digests, "norm": [plan.threat.norm for plan in plans]},
        results={**first.results, "curves": curves},
        tables=(first.tables[0]._replace(title=title, columns=columns, rows=tuple(rows)),),
        pictures=tuple(pictures),
        notes=tuple(dict.fromkeys(note for run in runs for note in run.notes)),
    )


def attack_run(
    subjects: Sequence[Subject],
    measured: Sequence[RobustnessCurve],
    plan: AttackPlan,
    checks: Sequence[tuple[ChecklistWarning, ...] | None] | None = None,
) -> RunRecord:
    """The record of attacks on policies of one environment; settings and return are those of the first policy.

    Args:
        subjects: the policies.
        measured: their curves.
        plan: the threat to all of them, and the attacks.
        checks: warnings of the checklist about each policy; None where it was not run.
    """
    first = subjects[0]
    names = " and ".join(subject.name for subject in subjects)
    curves = {subject.name: each for subject, each in zip(subjects, measured, strict=True)}
    limits = return_range(first, plan.threat.horizon)
    points = {
        name: [
            point._replace(
                mean_return=within_limits(point.mean_return, limits),
                change=within_limits(point.change, differences(limits)),
            )
            for point in each.points()
        ]
        for name, each in curves.items()
    }
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
            **plan_settings(plan),
            "timing": measured[0].timing,
        },
        results={
            "return": points[first.name][0].mean_return,
            "seeds": list(first.seeds),
            "curves": {
                name: [
                    {"threat": plan.threat.digest, **point._asdict(), **own}
                    for point, own in zip(each, of_seeds(curves[name]), strict=True)
                ]
                for name, each in points.items()
            },
            "aliasing_epsilon": plan.aliasing,
            "warnings": {name: [warned._asdict() for warned in found] for name, found in warnings.items()},
        },
        tables=(curve_table(points, plan, {name: each.seconds for name, each in curves.items()}),),
        pictures=(curve_picture(curves, plan),),
        notes=(
            NOTE,
            unit_note(plan.threat),
            STRONGEST_NOTE,
            *(() if plan.aliasing is None else (alike_note(plan.aliasing),)),
            *(f"Warning, {name}, {each.check}: {each.message}." for name, found in warnings.items() for each in found),
            *(f"The checklist found nothing suspicious about {name}." for name in clean),
        ),
    )


def of_seeds(measured: RobustnessCurve) -> list[dict[str, NDArray[np.float64]]]:
    """Return the mean return and the share of attacked steps of every seed, ``[S]`` each, at the points of a curve."""
    returns, shares = measured.returns.mean(axis=-1), measured.attacked.sum(axis=-1) / measured.lengths.sum(axis=-1)
    natural = measured.natural.mean(axis=-1)
    found = [(natural, np.zeros_like(natural))]  # as the points: natural first, then by attack and epsilon
    found += zip(np.concatenate(returns), np.concatenate(shares), strict=True)
    return [{"return_of_seeds": earned, "attack_rate_of_seeds": share} for earned, share in found]


def alike_note(epsilon: float) -> str:
    """Explain the dotted line in a curve."""
    return (
        f"Epsilon {epsilon:.4g} is half the smallest distance between two states. From it on, two states can be shown "
        "as the same observation, and no policy can act optimally in both. A column of the table gives epsilon "
        "relative to this value."
    )


def unit_note(threat: Threat) -> str:
    """Say what epsilon 1 is in raw units, unless epsilon itself is in raw units."""
    numbers = ", ".join(f"{number:.4g}" for number in threat.scale)
    meaning = "" if threat.unit == Threat().unit else f": 1 is {numbers} in raw observation units"
    return f"Epsilon is in {threat.unit}{meaning}. The threat is {threat.digest}."


def plan_settings(plan: AttackPlan) -> dict[str, Any]:
    """A plan as the ledger records it."""
    fields = {name: value for name, value in plan.threat.as_dict().items() if name not in ("env", "env_kwargs")}
    return {"attacks": list(plan.attacks), "threat": plan.threat.digest, **fields}


def curve_table(
    curves: Mapping[str, Sequence[CurvePoint]], plan: AttackPlan, seconds: Mapping[str, NDArray[np.float64]]
) -> ReportTable:
    """Every point of every policy's curve, natural return first, with what it cost."""
    rows = tuple(
        (
            name,
            point.attack,
            point.epsilon,
            *(() if plan.aliasing is None else (point.epsilon / plan.aliasing,)),
            point.mean_return,
            point.change,
            point.attack_rate,
            point.flip_rate,
            point.capped,
            None if np.isnan(point.queries) else round(point.queries, 1),
            point.steps,
            None if np.isnan(spent) else round(spent, 2),
        )
        for name, points in curves.items()
        for point, spent in zip(points, [np.nan, *seconds[name].ravel().tolist()], strict=True)
    )
    alike = () if plan.aliasing is None else ("epsilon / aliasing epsilon",)
    columns = (
        "policy", "attack", "epsilon", *alike, "return", "change", "share of steps attacked",
        "share of actions flipped", "capped episodes", "queries a step", "environment steps", "CPU seconds",
    )  # fmt: skip
    return ReportTable(
        "attacks",
        f"Return against epsilon, in {plan.unit} (norm {plan.threat.norm}, threat {plan.threat.digest})",
        columns,
        rows,
    )


def curve_picture(measured: Mapping[str, RobustnessCurve], plan: AttackPlan) -> Picture:
    """The curves as a figure, one panel per policy."""
    policies = {
        policy: {name: _curve(each, k) for k, name in enumerate(each.attacks)} for policy, each in measured.items()
    }
    mark = None if plan.aliasing is None else Reference(ALIASED, plan.aliasing)
    figure = robustness_curves(policies, xlabel=f"epsilon [{plan.unit}]", mark=mark)
    caption = "Mean return over training seeds under each attack; epsilon 0 is the natural return."
    return Picture("attacks", caption, svg(figure))


def _curve(measured: RobustnessCurve, k: int) -> Curve:
    """The curve of attack k, from the natural return on."""
    returns = np.concatenate([measured.natural[None], measured.returns[k]])  # [1 + L, S, E]
    return Curve([0.0, *measured.epsilons], returns.mean(axis=-1))

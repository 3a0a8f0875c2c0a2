"""``rlkit benchmark``: submitted attacks and certificates on the victims of a zoo, executed and verified again."""

from __future__ import annotations

import hashlib
import json
import runpy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlkit.adversarial import Attack, RobustnessCurve, Threat, bracket, fall_bounds, strongest
from rlkit.envs import CartPole, GridWorld, find_dynamics
from rlkit.figure_style import COLORS, in_style, legend_below, panels, svg
from rlkit.statistics import Estimate

from ..report.ledger import Cell, Picture, ReportTable, RunRecord
from ..report.text import slug_in_words
from .attack import ATTACKS, attack_plan, beside, curve, joined, played_curve
from .cartpole.falls import CartPoleFalls
from .evaluate import mean_return, return_range
from .fitted_attacks import FITTED, GRID_BOXES, FittedAttacks
from .named_settings import name_and_settings
from .policies import Subject
from .threat import described
from .victim_zoo import Zoo, commitment_of, hidden_seed

VERIFIED, REFUTED, OPEN = "verified", "refuted", "not verified"
NOTE = (
    "Lower: the certified lower bound of the return under every attack within the threat; on CartPole-v1 for the "
    "starts of these episodes, on grids in expectation; empty where nothing is certified. Upper: the return under the "
    "strongest submission, selected for every seed and epsilon on public episodes and executed on the reported ones. "
    "Seconds are CPU seconds."
)
SHOWN = (  # columns of the table in its figure, with label and mark
    ("lower", "certified bound", "<"),
    ("upper", "best attack", "o"),
    ("natural", "natural return", "D"),
)
SHIFT = 0.2  # between the marks of a victim
CAPTION = "Certified bound, return under the best attack and natural return, with 95 % intervals over training seeds."

Floats = NDArray[np.float64]
Fit = Callable[[Subject, Threat, float], Attack]  # victim, threat, epsilon -> the attack


@dataclass(frozen=True)
class Submission:
    """An attack that is submitted: its name, and what makes it for a victim and an epsilon."""

    name: str
    digest: str  # SHA-256 of its file; empty for attacks of rlkit
    fit: Fit | None  # None: the attack of rlkit of that name


class VictimResult(NamedTuple):
    """One victim under all submissions."""

    lower: Floats | None  # [L, S]
    lower_seconds: float
    attacked: RobustnessCurve  # of every submission, on the reported episodes
    best: RobustnessCurve  # the strongest, on the same
    least: Floats  # [L, S], the least mean return of any submission on the reported episodes
    sound: bool | None  # whether no executed episode is below its certificate


def submission(text: str, trust: bool = False) -> Submission:
    """Read a submission: a name of rlkit's attacks, one with settings as ``pgd:steps=50,restarts=3``, or a Python file.

    The file defines ``attack(victim, threat, epsilon)``, which returns an attack (see the page on how to write one).

    Raises:
        ValueError: an unknown name or setting, or a file that is not trusted or defines no ``attack``.
    """
    if text.endswith(".py"):
        path = Path(text)
        if not trust:
            raise ValueError(f"{path} can run any code: read it, then pass --trust")
        found = runpy.run_path(str(path)).get("attack")
        if not callable(found):
            raise ValueError(f"{path} defines no function attack(victim, threat, epsilon)")
        make: Fit = found
        return Submission(path.stem, hashlib.sha256(path.read_bytes()).hexdigest(), _of_file(make))
    name = text.partition(":")[0]
    if name not in (*ATTACKS, *FITTED):
        raise ValueError(f"unknown attack {name!r}: known are {', '.join((*ATTACKS, *FITTED))}, or give a .py file")
    try:
        _, settings = name_and_settings(text)
        if not settings:
            return Submission(name, "", None)
        changed: Any = replace(ATTACKS[name], **settings)  # type: ignore[type-var]  # they are dataclasses
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{text!r} is no attack with settings, such as pgd:steps=50,restarts=3: {error}") from error
    return Submission(text, "", lambda subject, threat, epsilon: changed)


def _of_file(make: Callable[[Any, Threat, float], Attack]) -> Fit:
    """A function of a victim as a fit of a subject."""
    return lambda subject, threat, epsilon: make(subject.policy, threat, epsilon)


def benchmark(
    zoo: Zoo,
    submissions: Sequence[Submission],
    episodes: int = 100,
    epsilons: Sequence[float] | None = None,
    secret: str | None = None,
    claims: Mapping[str, Any] | None = None,
    nodes: int = 500,
) -> RunRecord:
    """Execute all submissions on all victims, certify lower bounds, and fill table and checklist.

    Args:
        zoo: with verified digests.
        submissions: submissions with different names.
        episodes: per training seed, reported; as many public ones select the strongest attack.
        epsilons: some epsilons of the threat; None for all.
        secret: reveals the hidden starts; None for the public ones of the threat.
        claims: submitted certificates, ``{victim: {epsilon: [lower bound of every seed]}}``.
        nodes: states verified per start of the cart-pole, in either search.

    Raises:
        ValueError: no submission, two of one name, a wrong secret, an epsilon that is not of the threat, or claims of
            victims or epsilons that there are not.
    """
    names = [each.name for each in submissions]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"submissions must be one or more of different names, got {names}")
    if secret is not None and commitment_of(secret) != zoo.commitment:
        raise ValueError("the secret is not the one that the zoo committed to: its digest differs")
    wanted = zoo.threat.epsilons if epsilons is None else tuple(sorted(epsilons))
    if not set(wanted) <= set(zoo.threat.epsilons):
        raise ValueError(f"epsilons must be of the zoo's threat, {list(zoo.threat.epsilons)}, got {list(wanted)}")
    threat = replace(zoo.threat, epsilons=wanted)
    reported = threat if secret is None else replace(threat, first_seed=hidden_seed(secret))
    found = {name: _victim(subject, reported, submissions, episodes, nodes) for name, subject in zoo.victims.items()}
    checked = _checked_claims(found, wanted, {} if claims is None else claims)
    limits = return_range(next(iter(zoo.victims.values())), reported.horizon)  # they play one task
    table = _table(found, reported, submissions, limits)
    checklist = _checklist(zoo, found, submissions, episodes, secret, threat, checked)
    tables = (table, *(() if not checked else (_claim_table(checked),)), checklist)
    return RunRecord(
        kind="benchmark",
        title=f"Benchmark of {len(submissions)} attacks on {len(found)} victims of {threat.env}",
        settings={
            "environment": threat.env,
            "env_kwargs": dict(threat.env_kwargs),
            "victims": zoo.digests,
            "submissions": {each.name: each.digest for each in submissions},
            "episodes": episodes,
            "nodes": nodes,
            "starts": "public" if secret is None else "hidden",
            "threat": threat.digest,
        },
        results={
            "victims": {name: _result(each) for name, each in found.items()},
            "claims": [dict(zip(("victim", "epsilon", "status"), each, strict=True)) for each in checked],
            "checklist": {str(row[0]): row[1] for row in checklist.rows},
        },
        tables=tables,
        pictures=(Picture("benchmark", CAPTION, svg(benchmark_figure(table))),),
        notes=(NOTE,),
    )


def _victim(
    subject: Subject, threat: Threat, submissions: Sequence[Submission], episodes: int, nodes: int
) -> VictimResult:
    """Execute all submissions on one victim, and certify it."""
    played = [_executed(subject, threat, each, episodes) for each in submissions]
    reported, selection = (joined(each) for each in zip(*played, strict=True))
    began = time.process_time()
    lower, single = _certified(subject, threat, episodes, nodes)
    seconds = time.process_time() - began
    sound = None if single is None else bool((reported.returns >= single).all())
    least = reported.returns.mean(axis=-1).min(axis=0)
    return VictimResult(lower, seconds, reported, strongest(selection, reported), least, sound)


def _executed(
    subject: Subject, threat: Threat, submitted: Submission, episodes: int
) -> tuple[RobustnessCurve, RobustnessCurve]:
    """Fit a submission at every epsilon, and play the reported episodes and those of the selection under it."""
    firsts = (threat.first_seed, threat.selection_seed)
    if submitted.fit is None:
        plan, fits = attack_plan(subject, [submitted.name], threat), FittedAttacks(subject, threat)
        reported, selection = (curve(subject, plan, episodes, first, fits) for first in firsts)
    else:
        plan = attack_plan(subject, ["noise"], threat)  # its attacks are not used
        fitted = {epsilon: submitted.fit(subject, threat, epsilon) for epsilon in threat.epsilons}
        reported, selection = (
            beside([played_curve(subject, plan, episodes, first, made, (each,)) for each, made in fitted.items()])
            for first in firsts
        )
    names = (submitted.name,)
    return reported._replace(attacks=names), selection._replace(attacks=names)


def _certified(subject: Subject, threat: Threat, episodes: int, nodes: int) -> tuple[Floats | None, Floats | None]:
    """Lower bounds of the mean return ``[L, S]``, and of single episodes ``[L, S, E]`` where they are known."""
    dynamics = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    if isinstance(dynamics, CartPole) and (threat.victim, threat.attacks_per_episode) == ("greedy", None):
        falls, env = CartPoleFalls(dynamics), subject.make_env(episodes, threat.first_seed)
        states = torch.as_tensor(getattr(env, "state", env.obs)).cpu().numpy()[0]
        single = np.stack(
            [
                fall_bounds(
                    dynamics, subject.policy, states, threat.budget(epsilon), threat.horizon,
                    danger=falls.danger, floor=falls.floor, max_nodes=nodes,
                ).lower
                for epsilon in threat.epsilons
            ]
        ).astype(np.float64)  # fmt: skip
        return single.mean(axis=-1), single
    if isinstance(dynamics, GridWorld):
        enclosed = partial(bracket, sampled=threat.victim == "sampled", max_boxes=GRID_BOXES)
        limits = (1.0, threat.horizon, threat.attacks_per_episode)
        brackets = [enclosed(dynamics, subject.policy, threat.budget(epsilon), *limits) for epsilon in threat.epsilons]
        return np.stack([each.at_start()["lower"] for each in brackets]), None
    return None, None


def _checked_claims(
    found: Mapping[str, VictimResult], epsilons: Sequence[float], claims: Mapping[str, Any]
) -> list[tuple[str, float, str]]:
    """Compare submitted lower bounds with those computed here, and with what was executed."""
    checked = []
    for victim, by_epsilon in claims.items():
        for text, claimed in by_epsilon.items():
            if victim not in found or float(text) not in epsilons:
                raise ValueError(f"a certificate of {victim} at epsilon {text} fits no victim and epsilon of this run")
            i, result = list(epsilons).index(float(text)), found[victim]
            bound = np.asarray(claimed, dtype=np.float64)
            if bound.shape != result.least[i].shape:
                raise ValueError(f"a certificate of {victim} needs a number for each of {len(result.least[i])} seeds")
            if (bound > result.least[i]).any():
                status = REFUTED
            else:
                status = VERIFIED if result.lower is not None and (bound <= result.lower[i]).all() else OPEN
            checked.append((victim, float(text), status))
    return checked


def _table(
    found: Mapping[str, VictimResult],
    threat: Threat,
    submissions: Sequence[Submission],
    limits: tuple[float, float] | None,
) -> ReportTable:
    """One line for every victim and epsilon: means over training seeds.

    Intervals are cut to ``limits``, the returns that are possible.
    """
    rows: list[tuple[Cell, ...]] = []
    for name, each in found.items():
        means = each.attacked.returns.mean(axis=(-2, -1))  # [K, L]
        natural = mean_return(each.attacked.natural.mean(axis=-1), limits)
        for i, epsilon in enumerate(threat.epsilons):
            best = int(means[:, i].argmin())
            rows.append(
                (
                    name,
                    epsilon,
                    None if each.lower is None else mean_return(each.lower[i], limits),
                    mean_return(each.best.returns[0, i].mean(axis=-1), limits),
                    submissions[best].name,
                    natural,
                    round(float(each.attacked.queries[best, i]), 1),
                    round(float(each.attacked.seconds[best, i]), 2),
                    round(each.lower_seconds / len(threat.epsilons), 2),
                )
            )
    columns = (
        "victim", "epsilon", "lower", "upper", "best attack", "natural", "queries a step", "seconds of the attack",
        "seconds of the bound",
    )  # fmt: skip
    return ReportTable("benchmark", f"Return, {described(threat)}", columns, tuple(rows))


@in_style
def benchmark_figure(table: ReportTable) -> Figure:
    """Draw the certified bound, the return under the best attack and the natural return, a panel for each epsilon.

    Args:
        table: one line for every victim and epsilon, with the columns of ``SHOWN``.
    """
    victims = list(dict.fromkeys(str(row[0]) for row in table.rows))
    epsilons = list(dict.fromkeys(row[1] for row in table.rows))
    figure, places = panels(len(epsilons), size=(4.6, 1.1 + 0.5 * len(victims)), sharex=True, sharey=True)
    for axes, epsilon in zip(places, epsilons, strict=True):
        for i, ((column, label, mark), color) in enumerate(zip(SHOWN, COLORS, strict=False)):
            cell = table.columns.index(column)
            known = {str(row[0]): row[cell] for row in table.rows if row[1] == epsilon}
            means = {victim: mean for victim, mean in known.items() if isinstance(mean, Estimate)}
            axes.errorbar(
                [mean.value for mean in means.values()],
                [victims.index(victim) + SHIFT * (i - 1) for victim in means],
                xerr=np.array([(mean.value - mean.lower, mean.upper - mean.value) for mean in means.values()]).T
                if means
                else None,
                fmt=mark,
                color=color,
                capsize=2,
                label=label,
            )
        axes.set_title(f"epsilon {epsilon}")
        axes.set_xlabel("mean return of an episode")
        axes.tick_params(labelbottom=True)
        axes.set_yticks(range(len(victims)), [slug_in_words(victim) for victim in victims])
        axes.set_ylim(len(victims) - 0.5, -0.5)
    legend_below(figure, columns=len(SHOWN))
    return figure


def _claim_table(checked: Sequence[tuple[str, float, str]]) -> ReportTable:
    return ReportTable("certificates", "Submitted certificates", ("victim", "epsilon", "status"), tuple(checked))


def _checklist(
    zoo: Zoo,
    found: Mapping[str, VictimResult],
    submissions: Sequence[Submission],
    episodes: int,
    secret: str | None,
    threat: Threat,
    checked: Sequence[tuple[str, float, str]],
) -> ReportTable:
    """What a reader needs to repeat the table, filled from this run."""
    seeds = {name: len(subject.seeds) for name, subject in zoo.victims.items()}
    made = sum(each is not None for each in zoo.recipes.values())
    sound = [each.sound for each in found.values()]
    held = "not comparable" if None in sound else str(all(sound)).lower()
    certified = sum(each.lower is not None for each in found.values())
    files = [f"{each.name}: {each.digest}" for each in submissions if each.digest]
    rows: list[tuple[Cell, ...]] = [
        ("victims are the files of the manifest (SHA-256)", f"yes, {len(zoo.digests)} of {len(zoo.digests)}"),
        ("how victims were made is recorded", f"{made} of {len(seeds)}"),
        ("training seeds of each victim", ", ".join(f"{name} {count}" for name, count in seeds.items())),
        ("threat (digest, norm, scale)", f"{threat.digest}, {threat.norm}, {list(threat.scale)}"),
        ("starts were hidden from submissions", "no, public starts" if secret is None else "yes, secret revealed"),
        ("secret is the one committed to", "not revealed" if secret is None else "yes"),
        ("episodes of each seed: reported, for selection", f"{episodes}, {episodes} others"),
        ("submissions were executed by this command", f"yes, {len(submissions)} of {len(submissions)}"),
        ("SHA-256 of submitted files", "; ".join(files) or "none, attacks of rlkit"),
        ("lower bounds were computed by this command", f"{certified} of {len(found)} victims"),
        ("no executed episode is below its certificate", held),
        (
            "submitted certificates",
            "none" if not checked else ", ".join(f"{sum(row[2] == status for row in checked)} {status}"
                                                  for status in (VERIFIED, REFUTED, OPEN)),
        ),
        ("intervals", "Student t, 95 %, over training seeds"),
        ("versions of the zoo", json.dumps(zoo.versions)),
    ]  # fmt: skip
    return ReportTable("checklist", "Reproducibility checklist", ("item", "answer"), tuple(rows))


def _result(found: VictimResult) -> dict[str, Any]:
    """All numbers of a victim, for scripts."""
    return {
        "lower": None if found.lower is None else found.lower.tolist(),
        "upper": found.best.returns[0].mean(axis=-1).tolist(),
        "natural": found.attacked.natural.mean(axis=-1).tolist(),
        "attacked": {
            name: found.attacked.returns[k].mean(axis=-1).tolist() for k, name in enumerate(found.attacked.attacks)
        },
        "queries_a_step": {name: found.attacked.queries[k].tolist() for k, name in enumerate(found.attacked.attacks)},
    }

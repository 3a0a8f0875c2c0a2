"""``rlkit attack --worst-case``: the exact worst case of a finite problem between a certificate and the attacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from rlkit.adversarial import STRONGEST, FallBounds, fall_bounds
from rlkit.envs import CartPole, GridWorld, find_dynamics
from rlkit.statistics import mean_interval

from ..report.grid_panel import GridPanel, Slider, shares
from ..report.ledger import Cell, ReportTable, RunRecord
from .attack import ATTACKS, AttackPlan
from .bracket import BOXES, Sandwich, sandwich, without_rounding
from .cartpole.falls import CartPoleFalls
from .evaluate import mean_return, return_range
from .exact import exact_answer, is_pictured, map_panel
from .policies import Subject
from .threat import described, refuse_episode_budget

NOTE = (
    "Certified <= worst case <= best attack <= natural, all four in exact expectation over the start distribution. The "
    "certified bound holds for every adversary within the threat, and an adversary was found that attains the worst "
    "case. Where both are equal, the worst case is exact. Best attack is the lowest return under the attacks of the "
    "table and without attack."
)
FALL_NOTE = (
    "At least: no adversary within the threat makes the policy fall in fewer steps, from the starts of the first "
    "episodes. At most: the steps of an executed sequence of observations that makes it fall. Where both are equal, "
    "the fewest steps are exact."
)
STARTS, NODES = 5, 2_000  # starts per seed, and states verified from each in either search
COLUMNS = (
    "epsilon", "certified", "worst case", "best attack", "natural", "exact for", "undecided choices", "seconds",
)  # fmt: skip


def with_worst_case(run: RunRecord, subject: Subject, plan: AttackPlan) -> RunRecord:
    """Add the worst case at every epsilon to a run of attacks; on the cart-pole, bounds of it for single starts.

    Raises:
        ValueError: the environment is no finite problem, or see ``rlkit.adversarial.bracket``.
    """
    refuse_episode_budget(plan.threat, "worst cases are")
    dynamics = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    if isinstance(dynamics, CartPole):
        return _with_falls(run, subject, plan, dynamics)
    found = worst_cases(subject, plan)
    return replace(
        run,
        results={**run.results, "worst_case": [_result(epsilon, each) for epsilon, each in found.items()]},
        tables=(*run.tables, sandwich_table(found, plan, return_range(subject, plan.threat.horizon))),
        notes=(*run.notes, NOTE, *(_distance_note(epsilon, each) for epsilon, each in found.items())),
        panels=(*run.panels, *epsilon_panel(subject, plan, found)),
    )


def epsilon_panel(subject: Subject, plan: AttackPlan, found: Mapping[float, Sandwich]) -> tuple[GridPanel, ...]:
    """Values and actions under the worst adversary by epsilon, for the report.

    Empty where the victim samples, the map is large, or the optimum under the threat's step limit is not known.
    """
    grid = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    threat = plan.threat
    if not isinstance(grid, GridWorld) or not is_pictured(grid) or threat.victim == "sampled":
        return ()
    exact = exact_answer(grid, gamma=None)
    if exact is None or threat.horizon not in (None, grid.mdp.max_steps):
        return ()
    obs = torch.as_tensor(grid.observations().copy(), device=subject.policy.device)
    obs = obs.expand(len(subject.seeds), *obs.shape)  # [S, N, *observation]
    shown = [each.bracket.attack.propose(subject.policy, obs, threat.budget(e)) for e, each in found.items()]
    brackets = [each.bracket for each in found.values()]
    value = np.stack([brackets[0].natural, *(each.upper for each in brackets)]).mean(axis=1)  # [1 + L, N]
    actions = np.stack([subject.policy.act(seen).cpu().numpy() for seen in (obs, *shown)])  # [1 + L, S, N]
    slider = Slider(f"epsilon [{threat.unit}]", (0.0, *found))
    title, name = "Values and actions under the worst adversary", "Attacked: exact value of the policies, mean of seeds"
    policy = shares(actions, grid.mdp.num_actions)
    return (map_panel(exact, title, [slider], value, policy, name),)


def worst_cases(subject: Subject, plan: AttackPlan, max_boxes: int = BOXES) -> dict[float, Sandwich]:
    """The sandwich at every epsilon of a plan, by epsilon.

    Args:
        subject: the policy in a grid world.
        plan: the threat, and the attacks to compare with.
        max_boxes: most boxes per state.

    Raises:
        ValueError: see ``with_worst_case``.
    """
    threat = plan.threat
    dynamics = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    if not isinstance(dynamics, GridWorld):
        raise ValueError(
            f"the worst case is known for grid worlds and CartPole-v1, not for {subject.env}: use --attacks linear "
            "for a strong attack, and rlkit certify for certificates of single decisions"
        )
    attacks = [ATTACKS[name] for name in plan.attacks if name in ATTACKS]
    attacks_left, sampled = threat.attacks_per_episode, threat.victim == "sampled"
    limits = partial(sandwich, gamma=1.0, attacks_per_episode=attacks_left, sampled=sampled, max_boxes=max_boxes)
    return {
        epsilon: limits(dynamics, subject.policy, threat.budget(epsilon), horizon=threat.horizon, attacks=attacks)
        for epsilon in threat.epsilons
    }


def with_distance(run: RunRecord) -> RunRecord:
    """Say last how far the strongest attack is from the worst case, or that nothing is known."""
    if "worst_case" in run.results:
        return run  # its last notes say so for every epsilon
    if "falls" in run.results:
        return replace(run, notes=(*run.notes, *map(_fall_distance, run.results["falls"])))
    ends = []
    for name, points in run.results["curves"].items():
        last = [point for point in points if point["attack"] == STRONGEST][-1]
        ends.append(f"from {points[0]['mean_return'].value:.4g} to {last['mean_return'].value:.4g} ({name})")
    words = (
        f"At the largest epsilon the strongest attack changes the return {', '.join(ends)}. The distance to the worst "
        "case is not known: no lower bound was computed (--worst-case computes one for grid worlds and CartPole-v1)."
    )
    return replace(run, notes=(*run.notes, words))


def _fall_distance(found: dict[str, Any]) -> str:
    """Say how far the shortest executed sequences are from the bound, in steps."""
    lower, upper = np.array(found["lower"]), np.array(found["upper"])
    closed = int((lower == upper).sum(axis=None))
    return (
        f"Epsilon {found['epsilon']:g}: from {closed} of {lower.size} starts the shortest executed sequence to a fall "
        f"is the worst case; from the others it is at most {int((upper - lower).max(axis=None))} steps above it."
    )


def _with_falls(run: RunRecord, subject: Subject, plan: AttackPlan, dynamics: CartPole) -> RunRecord:
    """Add bounds on the fewest steps to a fall, from the starts of the first episodes.

    Raises:
        ValueError: a threat that samples actions or limits attacks, for which there are no such bounds.
    """
    threat = plan.threat
    if threat.victim == "sampled" or threat.attacks_per_episode is not None:
        raise ValueError(
            "falls of the cart-pole are bounded for greedy policies without a limit of attacks: leave --victim and "
            "--attacks-per-episode out"
        )
    starts = subject.make_env(STARTS, threat.first_seed).obs[0].cpu().numpy()
    falls = CartPoleFalls(dynamics)
    bounded = partial(fall_bounds, dynamics, subject.policy, starts, horizon=threat.horizon)
    found = {
        epsilon: bounded(threat.budget(epsilon), danger=falls.danger, floor=falls.floor, max_nodes=NODES)
        for epsilon in threat.epsilons
    }
    results = [
        {"epsilon": epsilon, **{name: getattr(each, name).tolist() for name in ("lower", "upper", "natural", "nodes")}}
        for epsilon, each in found.items()
    ]
    return replace(
        run,
        results={**run.results, "falls": results},
        tables=(*run.tables, fall_table(found, plan)),
        notes=(*run.notes, FALL_NOTE),
    )


def fall_table(found: dict[float, FallBounds], plan: AttackPlan) -> ReportTable:
    """Means over training seeds of each seed's mean over starts, a line for each epsilon."""
    rows = tuple(
        (
            epsilon,
            mean_interval(each.lower.mean(axis=1)),
            mean_interval(each.upper.mean(axis=1)),
            mean_interval(each.natural.mean(axis=1)),
            f"{int(each.closed.sum())} of {each.closed.size}",
            int(each.nodes.sum()),
        )
        for epsilon, each in found.items()
    )
    title = f"Fewest steps to a fall, {described(plan.threat)}"
    columns = ("epsilon", "at least", "at most", "natural", "exact for (starts)", "states verified")
    return ReportTable("falls", title, columns, rows)


def sandwich_table(found: dict[float, Sandwich], plan: AttackPlan, limits: tuple[float, float] | None) -> ReportTable:
    """Means over training seeds, a line for each epsilon."""
    rows = tuple(
        (
            epsilon,
            *sandwich_cells(each, limits),
            int(each.bracket.undecided.sum()),
            round(each.bracket.seconds, 2),
        )
        for epsilon, each in found.items()
    )
    title = f"Exact worst case, {described(plan.threat)}"
    return ReportTable("worst_case", title, COLUMNS, rows)


def sandwich_cells(found: Sandwich, limits: tuple[float, float] | None) -> tuple[Cell, ...]:
    """Means over training seeds of the four returns, and for how many seeds the worst case is exact.

    Intervals are cut to ``limits``, the returns that are possible.
    """
    returns = (found.certified, found.exact, found.best_attack, found.natural)
    closed = f"{int(found.bracket.closed.sum())} of {len(found.natural)} seeds"
    return (*(mean_return(without_rounding(each), limits) for each in returns), closed)


def _distance_note(epsilon: float, found: Sandwich) -> str:
    """Say how far the best attack is from the worst case."""
    returns = (found.best_attack, found.exact, found.certified, found.best_attack - found.exact)
    best, exact, certified, far = map(without_rounding, returns)
    return (
        f"Epsilon {epsilon:g}: the return is {best.mean():.4g} under the best attack and {exact.mean():.4g} under the "
        f"worst adversary found; the certified lower bound is {certified.mean():.4g} (means over seeds; largest "
        f"distance {far.max():.4g})."
    )


def _result(epsilon: float, found: Sandwich) -> dict[str, Any]:
    """The sandwich of every seed, for scripts."""
    return {
        "epsilon": epsilon,
        "certified": found.certified.tolist(),
        "worst_case": found.exact.tolist(),
        "best_attack": found.best_attack.tolist(),
        "best_attack_name": found.best_name,
        "attacked": {name: value.tolist() for name, value in found.attacked.items()},
        "natural": found.natural.tolist(),
        "closed": found.bracket.closed.tolist(),
        "undecided": found.bracket.undecided.tolist(),
        "boxes": found.bracket.boxes.tolist(),
        "seconds": found.bracket.seconds,
    }

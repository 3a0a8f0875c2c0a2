"""Hijacking a policy: how much of its own reward an attacker gets out of a world in which only the victim acts.

On a grid the attacker wants another goal to be reached, and its policy is the exact optimum of that wish. On the
cart-pole it wants the cart on one side with the pole up, and its policy is a linear controller with a set point there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

import rlkit.envs
from rlkit.adversarial import FGSM, PGD, Attack, AttackedPolicy, Followed, Noise, TablePolicy, aliasing_epsilon, follow
from rlkit.envs import CartPole, Dynamics, GridWorld
from rlkit.envs.make import find_dynamics
from rlkit.envs.rewarded import Rewarded
from rlkit.evaluation import EVALUATION_SEED, Perturb
from rlkit.mdp import TabularMDP
from rlkit.planning import solve
from rlkit.plotting import Curve, Reference, draw_curves, png
from rlkit.statistics import mean_interval
from rlkit.types import Env, Policy

from .attack import UNITS, NormName, Unit, threat
from .ledger import Picture, Run, Table
from .policies import Subject

GAMMA = 0.99  # of the attacker on a grid: sooner is better
SET_POINT = 1.5  # m from the middle, where the controller wants the cart
ENOUGH = 1.0  # m from the middle, from where on the attacker is paid
GAINS = (0.2, 0.5, 4.0, 0.8)  # of the controller, on (x - set point, x', theta, theta')
SIDES = {"left": -1.0, "right": 1.0}


class Attempt(NamedTuple):
    """A way of using the budget."""

    attack: Attack
    targeted: bool  # at the attacker's action, else away from the victim's own


ATTEMPTS: dict[str, Attempt] = {
    "sign noise": Attempt(Noise(), False),
    "FGSM untargeted": Attempt(FGSM(), False),
    "FGSM targeted": Attempt(FGSM(), True),
    "PGD targeted": Attempt(PGD(), True),
}


class Scheme(NamedTuple):
    """What the attacker wants, and how it would go about it if it could act."""

    wish: str
    policy: Policy
    dynamics: Dynamics  # the victim's world with the attacker's reward


class SetPoint:
    """Push towards a place with the pole up: right where ``gains . (x - place, x', theta, theta') > 0``."""

    def __init__(self, place: float) -> None:
        self.gains = torch.tensor(GAINS)
        self.origin = torch.tensor([place, 0.0, 0.0, 0.0])

    def act(self, obs: torch.Tensor, deterministic: bool = True) -> torch.Tensor:
        """``[S, B, 4] -> [S, B]``."""
        return ((obs - self.origin.to(obs)) @ self.gains.to(obs) > 0).long()


def scheme_of(subject: Subject, toward: str) -> Scheme:
    """The attacker's problem in the world of ``subject``.

    Args:
        subject: the victims.
        toward: ``left`` or ``right`` on the cart-pole, the letter of a tile that ends the episode on a grid.

    Raises:
        ValueError: another environment, or nothing of that name in it.
    """
    dynamics = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    if isinstance(dynamics, CartPole):
        return _side_of_the_track(dynamics, toward)
    if isinstance(dynamics, GridWorld):
        return _goal_of_the_grid(dynamics, toward)
    raise ValueError(f"hijacking is set up for CartPole-v1 and rlkit/GridWorld-v0, not for {subject.env}")


def _side_of_the_track(pole: CartPole, toward: str) -> Scheme:
    if toward not in SIDES:
        raise ValueError(f"--toward must be left or right on the cart-pole, got {toward!r}")
    side = SIDES[toward]

    def reward(state: Any, action: Any, next_state: Any, terminated: Any) -> Any:
        return 1.0 * ((side * next_state[..., 0] >= ENOUGH) & ~terminated)

    wish = f"steps with the pole up and the cart at least {ENOUGH:g} m to the {toward}"
    return Scheme(wish, SetPoint(side * SET_POINT), Rewarded(pole, reward))


def _goal_of_the_grid(grid: GridWorld, toward: str) -> Scheme:
    ends = grid.mdp.terminated & (grid.mdp.probability > 0)
    letters = grid.letters[tuple(grid.tile_of.T)]  # [N]
    wanted = ends & (letters == toward)[grid.mdp.successor]  # [N, A, K]
    if not wanted.any():
        known = sorted(set(letters[grid.mdp.successor[ends]].tolist()))
        raise ValueError(f"--toward must be a tile that ends the episode, {', '.join(known)}, got {toward!r}")
    old = grid.mdp
    wish = TabularMDP(old.successor, old.probability, wanted, old.terminated, old.start, old.max_steps, old.name)
    targets = torch.as_tensor(letters == toward)

    def reward(state: Any, action: Any, next_state: Any, terminated: Any) -> Any:
        return 1.0 * (targets.numpy()[next_state[..., 0]] & terminated)

    policy = TablePolicy(grid.observations().copy(), solve(wish, GAMMA).policy)
    return Scheme(f"share of episodes that end at {toward}", policy, Rewarded(grid, reward))


def hijack(
    subject: Subject,
    toward: str,
    epsilons: Sequence[float],
    unit: Unit = "std",
    norm: NormName = "inf",
    episodes: int = 100,
    first_seed: int = EVALUATION_SEED,
) -> Run:
    """Play the same episodes without attack and under every attempt at every epsilon, paid by the attacker's reward.

    Raises:
        ValueError: see ``scheme_of`` and ``rlkit.adversarial.robustness_curve``.
    """
    scheme = scheme_of(subject, toward)
    threatened = threat(subject, [], epsilons, unit, norm)
    rows = len(subject.seeds)

    def make_env() -> Env:
        return rlkit.envs.make(
            scheme.dynamics, seeds=[first_seed] * rows, num_envs=episodes, restart=False, noise="gymnasium", double=True
        )

    def play(perturb: Perturb | None) -> Followed:
        return follow(subject.policy, scheme.policy, make_env(), perturb)

    def perturbation(attempt: Attempt, epsilon: float) -> Perturb:
        target = scheme.policy.act if attempt.targeted else None
        budget = replace(threatened.budget, epsilon=epsilon)
        return AttackedPolicy(subject.policy, attempt.attack, budget, subject.seeds, target).perturb

    natural = play(None)
    played = {
        name: [play(perturbation(attempt, epsilon)) for epsilon in threatened.epsilons]
        for name, attempt in ATTEMPTS.items()
    }
    own = follow(scheme.policy, scheme.policy, make_env())
    mark = None
    if isinstance(scheme.dynamics, Rewarded) and isinstance(scheme.dynamics.dynamics, GridWorld):
        states = torch.as_tensor(scheme.dynamics.dynamics.observations().copy())
        mark = aliasing_epsilon(states, threatened.budget)
    return hijack_run(subject, scheme, threatened.epsilons, UNITS[unit], norm, natural, played, own, mark)


def hijack_run(
    subject: Subject,
    scheme: Scheme,
    epsilons: Sequence[float],
    unit: str,
    norm: NormName,
    natural: Followed,
    played: Mapping[str, Sequence[Followed]],
    own: Followed,
    mark: float | None,
) -> Run:
    """The record: intervals over training seeds, the natural play first, the attacker's own play last."""

    def row(name: str, epsilon: float | None, followed: Followed) -> tuple[Any, ...]:
        returns, shares = _per_seed(followed)
        return (name, epsilon, mean_interval(returns), mean_interval(shares))

    rows = (
        row("natural", 0.0, natural),
        *(row(name, e, each) for name, cells in played.items() for e, each in zip(epsilons, cells, strict=True)),
    )
    best = float(_per_seed(own)[0].mean(axis=0))
    columns = ("attempt", "epsilon", "attacker's return", "share of steps as the attacker wants")
    notes = [
        f"The attacker is paid by {scheme.wish}; its own policy, acting itself, gets {best:.4g}. Intervals are over "
        "training seeds."
    ]
    if mark is not None:
        notes.append(
            f"Half the smallest distance between two states' observations is {mark:.4g} {unit} (norm {norm}): beyond "
            "it one state can read as another."
        )
    figure = _figure(epsilons, unit, natural, played, best, mark)
    return Run(
        kind="hijack",
        title=f"{subject.name} on {subject.env} hijacked: {scheme.wish}",
        settings={
            "environment": subject.env,
            "env_kwargs": subject.env_kwargs,
            "algorithm": subject.name,
            "training_seeds": subject.seeds,
            "episodes": natural.returns.shape[1],
            "epsilons": epsilons,
            "epsilon_unit": unit,
            "norm": norm,
            "aliasing_epsilon": mark,
        },
        results={
            "seeds": list(subject.seeds),
            "attackers_own_return": best,
            "attempts": [dict(zip(("attempt", "epsilon", "return", "followed"), each, strict=True)) for each in rows],
        },
        tables=(Table("hijack", f"What the attacker gets, epsilon in {unit} (norm {norm})", columns, rows),),
        pictures=(Picture("hijack", f"The attacker's return: {scheme.wish}.", png(figure)),),
        notes=tuple(notes),
    )


def _per_seed(followed: Followed) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean return and share of steps that the victim followed, ``[S]`` each."""
    returns = followed.returns.mean(dim=1)
    shares = followed.followed.sum(dim=1).double() / followed.lengths.sum(dim=1)
    return returns.cpu().numpy(), shares.cpu().numpy()


def _figure(
    epsilons: Sequence[float],
    unit: str,
    natural: Followed,
    played: Mapping[str, Sequence[Followed]],
    best: float,
    mark: float | None,
) -> Figure:
    """The attacker's return against epsilon, a colour per attempt, with its own play as the level to reach."""
    figure = Figure(figsize=(7.2, 5.0), layout="constrained")
    axes = figure.add_subplot()
    curves = {
        name: Curve([0.0, *epsilons], np.stack([_per_seed(each)[0] for each in (natural, *cells)]))
        for name, cells in played.items()
    }
    level = Reference("the attacker's policy itself", best)
    draw_curves(axes, curves, f"epsilon [{unit}]", "attacker's return", references=(level,), marker="o")
    if mark is not None:
        axes.axvline(mark, color="#555555", linewidth=1.0, linestyle=":", label="one state reads as another")
    legend = axes.get_legend()
    if legend is not None:
        legend.remove()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure

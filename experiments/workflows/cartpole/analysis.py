"""The record of the cart-pole's optimum on a lattice: bounds, states that can be balanced, and a learned Q."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from rlkit.agents import DQN, Agent
from rlkit.envs import CartPole, find_dynamics, make
from rlkit.evaluation import EVALUATION_SEED, rollout
from rlkit.figure_style import DIVERGING, in_style, svg

from ...report.ledger import Picture, ReportTable, RunRecord
from ..exact import rates_by_reward
from ..policies import Subject, made_with
from .reference import Floats, GreedyPolicy, LatticeReference, solved, standard_starts, steps_balanced, steps_left

RESOLUTION = 61  # states along each side of a cross-section
EPISODES = 100  # of the greedy policy, from the usual evaluation starts
VISITED_EPISODES = 5  # of each seed of a learned policy, whose states its Q is evaluated at
STARTS_PER_AXIS = 5
LIMIT = 500  # steps that count as balanced
NAMES = ("cart position [m]", "cart speed [m/s]", "pole angle [rad]", "pole speed [rad/s]")
KINDS = ("not known", "doomed: every sequence of pushes fails", "balanced 500 steps by the greedy policy")
SHORT = ("unknown", "doomed", "balanced")
COLORS = ("#d9d9d9", "#b2182b", "#2166ac")


class ValueSection(NamedTuple):
    """A plane through the four-dimensional states, the other two components zero."""

    across: int  # the components drawn across and up
    up: int
    ranges: tuple[float, float]  # from -range to range

    @property
    def states(self) -> Floats:
        """``[RESOLUTION^2, 4]``, the component drawn up changing fastest."""
        across, up = (np.linspace(-limit, limit, RESOLUTION) for limit in self.ranges)
        state = np.zeros((RESOLUTION, RESOLUTION, 4))
        state[..., self.across], state[..., self.up] = across[:, None], up[None]
        return state.reshape(-1, 4)

    def draw(self, axes: Axes, number: NDArray[Any], title: str, **style: Any) -> Any:
        """``number [RESOLUTION^2]`` as colors."""
        image = axes.imshow(
            number.reshape(RESOLUTION, RESOLUTION).T,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            extent=(-self.ranges[0], self.ranges[0], -self.ranges[1], self.ranges[1]),
            **style,
        )
        axes.set(xlabel=NAMES[self.across], ylabel=NAMES[self.up], title=title)
        axes.grid(visible=False)
        return image


def cartpole_of(name: str, env_kwargs: Mapping[str, Any]) -> CartPole | None:
    """The cart-pole of an id; None for another environment.

    Raises:
        ValueError: arguments that a cart-pole does not take.
    """
    if name not in ("CartPole-v1", "rlkit/CartPole-v1"):
        return None
    with made_with(name, env_kwargs):
        dynamics = find_dynamics(name, env_kwargs=dict(env_kwargs))
    assert isinstance(dynamics, CartPole)
    return dynamics


def sections(dynamics: CartPole) -> tuple[ValueSection, ValueSection]:
    """Angle and angular velocity of the pole; position and velocity of the cart."""
    return ValueSection(2, 3, (dynamics.theta_limit, 3.0)), ValueSection(0, 1, (dynamics.x_limit, 4.0))


def fate(reference: LatticeReference, state: Floats) -> NDArray[np.int64]:
    """Which of KINDS states ``[M, 4]`` are, ``[M]``: balanced by the greedy policy, doomed by trying every sequence of
    pushes, or neither known."""
    balanced = steps_balanced(reference, state, LIMIT) == LIMIT
    kind = np.where(balanced, 2, 0)
    rest = np.flatnonzero(~balanced)
    kind[rest[steps_left(reference.dynamics, state[rest]) > 0]] = 1
    return kind


def solve_cartpole(
    dynamics: CartPole,
    name: str,
    points: int = 15,
    gamma: float = 0.99,
    tolerance: float = 1e-9,
    device: str | None = None,
    learned: Subject | None = None,
) -> RunRecord:
    """Solve the cart-pole on a lattice of ``points^4`` states and evaluate its greedy policy.

    Args:
        dynamics: the cart-pole.
        name: name of the environment in the report.
        points: points of the lattice along every axis.
        gamma: discount, in [0, 1).
        tolerance: largest distance of the bounds, in units of return.
        device: where to solve; None for compiled loops on the CPU.
        learned: a DQN trained on the same cart-pole, whose Q is compared; None for none.

    Raises:
        ValueError: points, gamma, tolerance or device out of range; a ``learned`` that has no Q of this gamma.
    """
    if learned is not None:
        _verify_learned(learned, dynamics, gamma)
    reference = solved(dynamics, points, gamma, tolerance, device)
    solution, upright = reference.solution, np.zeros(4)
    lattice = reference.mdp.lattice
    lower, upper = (float(lattice.value_at(bound, upright)) for bound in (solution.lower, solution.upper))
    grid = steps_balanced(reference, standard_starts(STARTS_PER_AXIS), LIMIT)
    played = rollout(GreedyPolicy(reference), _evaluation_env(dynamics))
    returns = played.lengths[0].numpy()
    planes = sections(dynamics)
    fates = [fate(reference, plane.states) for plane in planes]
    results: dict[str, Any] = {
        "upright_value": float(reference.value_at(upright)),
        "upright_lower": lower,
        "upright_upper": upper,
        "balancing_for_ever": 1 / (1 - gamma),
        "widest_bounds": solution.width,
        "method": solution.method,
        "reason": solution.reason,
        "iterations": solution.iterations,
        "seconds": solution.seconds,
        "bytes": solution.bytes,
        "converged": solution.converged,
        "grid_starts": len(grid),
        "grid_starts_balanced": int((grid == LIMIT).sum(axis=0)),
        "least_steps": int(min(grid.min(axis=0), returns.min(axis=0))),
        "episodes": EPISODES,
        "episodes_balanced": int((returns == LIMIT).sum(axis=0)),
        "sections": [
            {
                "across": NAMES[plane.across],
                "up": NAMES[plane.up],
                **{kind: float((found == index).mean(axis=0)) for index, kind in enumerate(SHORT)},
            }
            for plane, found in zip(planes, fates, strict=True)
        ],
    }
    tables: tuple[ReportTable, ...] = (_summary(results, gamma), _section_table(results))
    pictures: tuple[Picture, ...] = (_map_picture(reference, planes, fates),)
    if learned is not None:
        table, numbers = _learned_table(reference, learned)
        results["learned"] = numbers
        tables, pictures = (*tables, table), (*pictures, _learned_picture(reference, learned, planes))
    return RunRecord(
        kind="solve",
        title=f"{name} on a lattice of {points}^4 points",
        settings={
            "environment": name,
            "dynamics": str(dynamics),
            "points": points,
            "states": reference.mdp.num_states,
            "actions": 2,
            "successors": 16,
            "gamma": gamma,
            "tolerance": tolerance,
            "device": device,
            "learned": None if learned is None else learned.name,
        },
        results=results,
        tables=tables,
        pictures=pictures,
        notes=(
            f"Method: {solution.method} ({solution.reason}); {solution.iterations} sweeps, {solution.seconds:.3g} s.",
            "The bounds enclose the optimum of the lattice, a finite problem. Where the greedy policy balances "
            f"{LIMIT} steps, the optimum of the cart-pole itself lies between {_finite(gamma):.4f} and "
            f"{1 / (1 - gamma):g}; the difference to that is the error of the lattice, which falls with more points.",
        ),
    )


def _finite(gamma: float) -> float:
    """The value of balancing for LIMIT steps."""
    return (1 - gamma**LIMIT) / (1 - gamma)


def _evaluation_env(dynamics: CartPole) -> Any:
    return make(dynamics, seeds=[EVALUATION_SEED], num_envs=EPISODES, restart=False, noise="gymnasium", double=True)


def _summary(results: Mapping[str, Any], gamma: float) -> ReportTable:
    """The main numbers, for the terminal."""
    rows = (
        (f"optimal value upright, gamma {gamma:g}, of the lattice", *(results[f"upright_{k}"] for k in BOUNDS)),
        ("the same of balancing for ever", results["balancing_for_ever"], None, None),
        (
            f"grid of {results['grid_starts']} starts: balanced {LIMIT} steps",
            results["grid_starts_balanced"],
            None,
            None,
        ),
        (f"{EPISODES} episodes of an evaluation: balanced {LIMIT} steps", results["episodes_balanced"], None, None),
    )
    return ReportTable(
        "solution", "Optimum and its greedy policy", ("quantity", "value", "lower", "upper"), rows, digits=10
    )


BOUNDS = ("value", "lower", "upper")


def _section_table(results: Mapping[str, Any]) -> ReportTable:
    """Shares of states in the two planes."""
    rows = tuple(
        (f"{plane['across']} and {plane['up']}, others 0", plane["balanced"], plane["doomed"], plane["unknown"])
        for plane in results["sections"]
    )
    title = f"Share of states: balanced {LIMIT} steps by the greedy policy, lost under every policy, or unknown"
    return ReportTable("sections", title, ("plane", "balanced", "doomed", "not known"), rows)


@in_style
def _map_picture(
    reference: LatticeReference, planes: tuple[ValueSection, ...], fates: list[NDArray[np.int64]]
) -> Picture:
    """Values and outcomes in both planes."""
    figure = Figure(figsize=(10.5, 7.4), layout="constrained")
    for row, plane, found in zip(figure.subplots(2, 2), planes, fates, strict=True):
        image = plane.draw(row[0], reference.value_at(plane.states), "Optimal value on the lattice", vmin=0)
        figure.colorbar(image, ax=row[0], label="value")
        plane.draw(row[1], found, "Outcome", cmap=ListedColormap(COLORS), vmin=0, vmax=2)
    handles = [Patch(color=color, label=kind) for kind, color in zip(KINDS, COLORS, strict=True)]
    figure.legend(handles=handles[::-1], loc="outside lower center", ncols=3)
    caption = (
        "States from which the pole can be balanced. Blue: the greedy policy does it. Red: every sequence of pushes "
        "fails. The components that are not drawn are zero."
    )
    return Picture("balance", caption, svg(figure))


def _verify_learned(learned: Subject, dynamics: CartPole, gamma: float) -> None:
    """Raise ValueError unless it is a DQN of this problem."""
    agent = learned.policy
    if not isinstance(agent, DQN) or not rates_by_reward(agent):
        raise ValueError(
            f"{learned.name} has no action values of this problem's optimum: give a DQN of rlkit without "
            "normalize_rewards"
        )
    if cartpole_of(learned.env, learned.env_kwargs) != dynamics:
        raise ValueError(
            f"the policy was trained on {learned.env} with {dict(learned.env_kwargs)}, not on this cart-pole"
        )
    if agent.config.gamma != gamma:
        raise ValueError(f"the policy was trained with gamma {agent.config.gamma}: pass --gamma {agent.config.gamma}")


def _learned_q(agent: Agent, state: Floats) -> Floats:
    """Every seed's Q at states ``[M, 4]``, ``[S, M, 2]``."""
    assert isinstance(agent, DQN)
    seen = torch.as_tensor(state, dtype=torch.float32, device=agent.device)
    return agent.q_values(seen.expand(agent.num_seeds, *seen.shape)).double().cpu().numpy()


def _visited(learned: Subject) -> list[Floats]:
    """States of every seed's greedy episodes, ``[M, 4]`` each."""
    env = learned.make_env(VISITED_EPISODES, EVALUATION_SEED)
    running = torch.ones(env.obs.shape[:2], dtype=torch.bool, device=env.obs.device)
    seen, up = [], []
    for _ in range(LIMIT):
        seen.append(env.obs.clone())
        up.append(running)
        running = running & ~env.step(learned.policy.act(env.obs)).done
    states, masks = torch.stack(seen, dim=1).double(), torch.stack(up, dim=1)  # [S, T, B, 4], [S, T, B]
    return [row[mask].cpu().numpy() for row, mask in zip(states, masks, strict=True)]


def _learned_table(reference: LatticeReference, learned: Subject) -> tuple[ReportTable, list[dict[str, Any]]]:
    """Q against the lattice's, by seed, on the states that each seed's greedy policy visits."""
    assert isinstance(learned.policy, DQN)
    rows, best = [], 1 / (1 - reference.solution.gamma)
    for number, (seed, state) in enumerate(zip(learned.seeds, _visited(learned), strict=True)):
        q = _learned_q(learned.policy, state)[number]  # [M, 2]
        exact = reference.q_at(state)
        error = np.abs(q - exact).max(axis=1)  # [M]
        rows.append(
            {
                "seed": seed,
                "states": len(state),
                "mean_error": float(error.mean(axis=0)),
                "largest_error": float(error.max(axis=0)),
                "mean_value": float(q.max(axis=1).mean(axis=0)),
                "lattice_value": float(exact.max(axis=1).mean(axis=0)),
                "above_any_return": float((q.max(axis=1) > best).mean(axis=0)),
                "same_action": float((q.argmax(axis=1) == exact.argmax(axis=1)).mean(axis=0)),
            }
        )
    columns = (
        "seed", "states", "mean error of Q", "largest", "mean max Q", "of the lattice", f"share above {best:g}",
        "share of equal actions",
    )  # fmt: skip
    title = f"Learned Q against the lattice's, at the states of {VISITED_EPISODES} greedy episodes"
    return ReportTable("learned", title, columns, tuple(tuple(row.values()) for row in rows)), rows


@in_style
def _learned_picture(reference: LatticeReference, learned: Subject, planes: tuple[ValueSection, ...]) -> Picture:
    """Value of the lattice, of the first seed's network, and their difference."""
    assert isinstance(learned.policy, DQN)
    figure = Figure(figsize=(13.5, 7.4), layout="constrained")
    for row, plane in zip(figure.subplots(2, 3), planes, strict=True):
        state = plane.states
        exact, guess = reference.q_at(state).max(axis=1), _learned_q(learned.policy, state)[0].max(axis=1)
        highest = float(max(exact.max(axis=0), guess.max(axis=0)))
        image = plane.draw(row[0], exact, "Optimal value on the lattice", vmin=0, vmax=highest)
        plane.draw(row[1], guess, f"Learned value of DQN, seed {learned.seeds[0]}", vmin=0, vmax=highest)
        figure.colorbar(image, ax=row[1], label="value")
        widest = float(np.abs(guess - exact).max(axis=0))
        figure.colorbar(
            plane.draw(row[2], guess - exact, "Learned minus optimal", cmap=DIVERGING, vmin=-widest, vmax=widest),
            ax=row[2],
            label="difference of values",
        )
    caption = (
        "Optimal value on the lattice, the learned one, and their difference. The network has seen the states around "
        "upright and little else."
    )
    return Picture("learned", caption, svg(figure))

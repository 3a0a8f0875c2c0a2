"""``rlkit solve``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from .options import Output, Pairs, PolicyOptions, pairs


def solve(
    problem: Positional[str],
    output: Output,
    env_kwargs: Pairs = (),
    gamma: float = 0.99,
    tolerance: float = 1e-9,
    limit: int | None = None,
    method: Literal[
        "auto",
        "value iteration",
        "gauss-seidel",
        "modified policy iteration",
        "prioritized sweeping",
        "inexact policy iteration",
        "policy iteration",
        "stencil",
    ] = "auto",
    device: str | None = None,
    prove: bool = False,
    points: int | None = None,
    policy: Path | None = None,
) -> int:
    """Compute the exact optimum of a finite problem, between two proven bounds.

    Also the greatest return within a step limit, which no stationary policy need reach. With --out the folder gets
    the value of every state as CSV and JSON and, for a map, as a picture. CartPole-v1 is solved on a lattice of its
    states, with a map of what can be balanced.

    Example: rlkit solve frozenlake-8x8 --gamma 0.99 --out runs/lake

    Args:
        problem: A named map, a file with a text map or a table (.npz of TabularMDP.save), or an id such as
            FrozenLake-v1, Taxi-v4, rlkit/GridWorld-v0 or CartPole-v1.
        env_kwargs: Arguments of the environment, for example slip=0.2.
        gamma: Discount; 1 is the total reward of whole episodes.
        tolerance: How far the bounds may be apart.
        limit: Step limit; the problem's own by default.
        method: auto chooses and says why.
        device: A torch device such as cuda, for sweeps there; the compiled solvers of the CPU by default.
        prove: Prove the answer in rational arithmetic too (a few hundred states).
        points: Of each of the four axes of CartPole-v1's lattice; 15 by default.
        policy: A DQN trained on CartPole-v1, to draw its Q beside.
    """
    from ..workflows.cartpole import cartpole_of, solve_cartpole
    from ..workflows.solve import find_problem
    from ..workflows.solve import solve as run_solver

    dynamics = cartpole_of(problem, pairs(env_kwargs))
    if dynamics is not None:
        if limit is not None or prove or method != "auto":
            raise ValueError(f"{problem} is solved on a lattice: leave out --limit, --prove and --method")
        learned = None if policy is None else PolicyOptions(policy).open()
        run = solve_cartpole(dynamics, problem, points or 15, gamma, tolerance, device, learned)
        return output.finish(run)
    if points is not None or policy is not None:
        raise ValueError(
            f"{problem} is finite: --points and --policy are for CartPole-v1 (rlkit evaluate judges policies of finite "
            "problems)"
        )
    found = find_problem(problem, pairs(env_kwargs))
    return output.finish(run_solver(found, gamma, tolerance, limit, method, device, prove))

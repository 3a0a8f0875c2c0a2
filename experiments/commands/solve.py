"""``rlkit solve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from .options import INTERRUPTED, WHERE, Output, Pairs, PolicyOptions, pairs, unset


def solve(
    problem: Annotated[Positional[str], arg(metavar="PROBLEM")],
    output: Output,
    env_kwargs: Pairs = (),
    gamma: float = 0.99,
    tolerance: float = 1e-9,
    limit: Annotated[int | None, unset("INT", "the problem's own")] = None,
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
    device: Annotated[str | None, unset("DEVICE", "the compiled solvers on the CPU"), arg(help=WHERE)] = None,
    prove: bool = False,
    points: Annotated[int | None, unset("INT", "15")] = None,
    policy: Annotated[Path | None, unset("PATH", "none")] = None,
) -> int:
    """Compute the exact optimum of a finite problem, with proven lower and upper bounds.

    Also computes the maximum return under the step limit, which stationary policies may not attain. With --out the
    value of every state is saved as CSV and JSON, and as a figure if the problem is a map. CartPole-v1 is solved on a
    lattice of its states, with a figure of the states from which the pole can be balanced.

    With --device all states are swept at once by torch. The bounds hold on every device, because they are proved on the
    CPU. The default stays on the CPU, because a device has value iteration alone, which is slow for gamma near 1.

    After Ctrl-C the solution so far is printed and saved; its bounds hold. A lattice ends without a solution.

    Example: rlkit solve frozenlake-8x8 --gamma 0.99 --out runs/lake

    Args:
        problem: A named map, a file with a text map or a table (.npz of TabularMDP.save), or an id such as
            FrozenLake-v1, Taxi-v4, rlkit/GridWorld-v0 or CartPole-v1.
        env_kwargs: Arguments of the environment, for example slip=0.2.
        gamma: Discount factor; 1 means the total reward of whole episodes.
        tolerance: Maximum distance between the bounds.
        limit: Step limit.
        method: Solver; auto chooses one and explains the choice.
        prove: Also prove the solution in rational arithmetic (up to a few hundred states).
        points: Points per axis of the lattice of CartPole-v1.
        policy: A DQN trained on CartPole-v1, whose action values are compared with the optimum.
    """
    from rlkit.planning import followed

    from ..report import terminal
    from ..workflows.cartpole import cartpole_of, solve_cartpole
    from ..workflows.solve import find_problem
    from ..workflows.solve import solve as run_solver

    dynamics = cartpole_of(problem, pairs(env_kwargs))
    if dynamics is not None:
        if limit is not None or prove or method != "auto":
            raise ValueError(f"{problem} is solved on a lattice: leave out --limit, --prove and --method")
        learned = None if policy is None else PolicyOptions(policy).load()
        with followed() as done, terminal.going_on(f"Solving {problem}", done.__str__, output.silent):
            run = solve_cartpole(dynamics, problem, 15 if points is None else points, gamma, tolerance, device, learned)
        return output.finish(run)
    if points is not None or policy is not None:
        raise ValueError(
            f"--points and --policy are for CartPole-v1, not for {problem}: leave them out (rlkit evaluate compares a "
            "policy with the optimum of a finite problem)"
        )
    found = find_problem(problem, pairs(env_kwargs))
    with followed() as done, terminal.going_on(f"Solving {problem}", done.__str__, output.silent):
        run = run_solver(found, gamma, tolerance, limit, method, device, prove)
    code = output.finish(run)
    return code if run.results["finished"] else INTERRUPTED

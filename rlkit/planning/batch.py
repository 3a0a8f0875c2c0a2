"""Many discounts or many reward functions of one MDP at once, on any torch device."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..mdp import TabularMDP
from .modified import CONTINUING
from .operators import Array, Problem, as_table, extents
from .solution import Solution
from .value_iter import Goal, below_rounding, bounds_from, certified_from_below, verified_goal

if TYPE_CHECKING:  # torch takes long to import and only this module needs it
    import torch

Precision = Literal["float64", "float32"]

BLOCK = 32  # sweeps between two looks: the device is never waited for within a block


@dataclasses.dataclass(frozen=True, eq=False)
class BatchSolution:
    """B solutions of one MDP, row b for ``gammas[b]`` and the b-th rewards; see ``Solution``."""

    value: Array  # [B, N]
    q: Array  # [B, N, A]
    policy: NDArray[np.int64]  # [B, N]
    optimal_actions: NDArray[np.bool_]  # [B, N, A]
    lower: Array  # [B, N]
    upper: Array  # [B, N]
    policy_loss_bound: Array  # [B]
    gammas: Array  # [B]
    tolerance: float
    iterations: int  # sweeps over all rows together
    seconds: float
    device: str
    precision: Precision  # of the sweeps; the bounds are proved in float64


def solve_batch(
    mdp: Problem,
    gammas: ArrayLike,
    rewards: ArrayLike | None = None,
    tolerance: float = 1e-6,
    device: str = "cpu",
    precision: Precision = "float64",
) -> BatchSolution:
    """The optimum for B discounts, B reward functions, or pairs of both, by value iteration on all at once.

    ``gammas`` is a number or ``[B]``; ``rewards``, mean rewards ``[B, N, A]`` in place of the MDP's own, or None. One
    of the two may stand for all. A sweep is K gathers and one maximum over ``[N, A, B]`` on ``device``; after every 32
    sweeps the host reads one number, the largest change. Where nothing ends, all values of a row are moved to the
    middle of its bounds on the device, as in ``modified_policy_iteration``.

    The bounds of every row are proved in float64 on the host, from one backup of its final values, whatever the
    ``precision`` of the sweeps: float32 halves memory and traffic and reaches about ``1e-6 |V| / (1 - gamma)``.

    Raises:
        ValueError: a gamma outside [0, 1); shapes that do not fit each other; rewards that are not finite; a
            tolerance that is not positive, or below what rounding in that precision allows.
    """
    import torch

    began = time.perf_counter()
    table = as_table(mdp)
    discounts, problems = _paired(table, gammas, rewards)
    goals = [
        verified_goal("solve_batch", problem, float(gamma), tolerance)
        for problem, gamma in zip(problems, discounts, strict=True)
    ]
    if precision not in ("float64", "float32"):
        raise ValueError(f"precision {precision!r}: choose float64 or float32")
    dtype = torch.float64 if precision == "float64" else torch.float32
    sweep = _Sweep.of(table, goals, torch.device(device), dtype)
    value = torch.zeros((table.num_states + 1, len(goals)), dtype=dtype, device=device)
    enough = torch.tensor([goal.residual for goal in goals], dtype=dtype, device=device)  # [B]
    iterations, best, patience = 0, math.inf, 0
    while True:
        value, spread = sweep.block(value)
        iterations += BLOCK
        excess = float((spread / enough).max())  # the only number the host waits for
        patience = 0 if excess < best else patience + 1
        best = min(best, excess)
        if excess <= 1 or patience >= 8:
            final = value[:-1].T.to(torch.float64).cpu().numpy()  # [B, N]
            solutions = _certified(goals, final, iterations)
            if solutions is not None:
                break
            if patience >= 8:  # eight blocks without progress: rounding is all there is
                worst = max(
                    (bounds_from(goal, row) for goal, row in zip(goals, final, strict=True)), key=lambda c: c.width
                )
                raise below_rounding(_in_precision(goals[0], precision), worst.lower, worst.upper)
            enough = enough / 2
    return BatchSolution(
        value=np.stack([solution.value for solution in solutions]),
        q=np.stack([solution.q for solution in solutions]),
        policy=np.stack([solution.policy for solution in solutions]),
        optimal_actions=np.stack([solution.optimal_actions for solution in solutions]),
        lower=np.stack([solution.lower for solution in solutions]),
        upper=np.stack([solution.upper for solution in solutions]),
        policy_loss_bound=np.array([solution.policy_loss_bound for solution in solutions]),
        gammas=discounts,
        tolerance=float(tolerance),
        iterations=iterations,
        seconds=time.perf_counter() - began,
        device=device,
        precision=precision,
    )


def _in_precision(goal: Goal, precision: str) -> Goal:
    """The goal under a name that says in which precision sweeps ran."""
    return goal._replace(method=f"solve_batch in {precision}")


def _paired(mdp: TabularMDP, gammas: ArrayLike, rewards: ArrayLike | None) -> tuple[Array, list[TabularMDP]]:
    """Discounts ``[B]`` and the MDP of every row."""
    discounts = np.atleast_1d(np.asarray(gammas, dtype=np.float64))
    if discounts.ndim != 1 or not discounts.size:
        raise ValueError(f"gammas have shape {discounts.shape}: give a number or a list of them")
    if rewards is None:
        return discounts, [mdp] * len(discounts)
    means = np.asarray(rewards, dtype=np.float64)
    if means.ndim != 3 or means.shape[1:] != (mdp.num_states, mdp.num_actions):
        raise ValueError(f"rewards have shape {means.shape}: expected [B, {mdp.num_states}, {mdp.num_actions}]")
    if 1 not in (len(means), len(discounts)) and len(means) != len(discounts):
        raise ValueError(f"{len(discounts)} gammas and {len(means)} reward functions: give as many, or one of either")
    rows = max(len(means), len(discounts))
    width = mdp.num_successors
    replaced = [dataclasses.replace(mdp, reward=np.repeat(mean[:, :, None], width, axis=2)) for mean in means]
    return np.broadcast_to(discounts, (rows,)).copy(), replaced * (rows // len(means))


def _certified(goals: list[Goal], values: Array, iterations: int) -> list[Solution] | None:
    """The solution of every row, or None if some row's bounds are too far apart."""
    certificates = [bounds_from(goal, row) for goal, row in zip(goals, values, strict=True)]
    if any(c.width > goal.tolerance for c, goal in zip(certificates, goals, strict=True)):
        return None
    return [
        certified_from_below(goal, c.lower, c.upper, iterations) for c, goal in zip(certificates, goals, strict=True)
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class _Sweep:
    """The MDP on a device, outcomes first, so that every gather reads whole rows of B values."""

    arrival: Any  # [K, N * A] int64
    probability: Any  # [K, N * A, 1]
    reward: Any  # [N * A, B]
    gamma: Any  # [B]
    continuing: bool
    num_states: int

    @classmethod
    def of(cls, mdp: TabularMDP, goals: list[Goal], device: torch.device, dtype: torch.dtype) -> _Sweep:
        """Copy the tables to the device."""
        import torch

        k = mdp.num_successors
        rewards = np.stack(
            [goal.mdp.expected_reward.ravel() for goal in goals if isinstance(goal.mdp, TabularMDP)], axis=1
        )
        arrival = np.array(mdp.arrival.reshape(-1, k).T, dtype=np.int64, order="C")
        probability = np.array(mdp.probability.reshape(-1, k).T, order="C")[..., None]
        return cls(
            arrival=torch.from_numpy(arrival).to(device),
            probability=torch.from_numpy(probability).to(device, dtype),
            reward=torch.from_numpy(rewards).to(device, dtype),
            gamma=torch.tensor([goal.gamma for goal in goals], dtype=dtype, device=device),
            continuing=extents(mdp).continuation_low >= CONTINUING,
            num_states=mdp.num_states,
        )

    def block(self, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """32 backups of ``value [N + 1, B]``, and how far the last one was from a shift of all values, ``[B]``."""
        import torch

        old = value
        for _ in range(BLOCK):
            old, value = value, self._backup(value)
        change = value[:-1] - old[:-1]  # [N, B]
        least, largest = change.amin(dim=0), change.amax(dim=0)  # [B]
        if not self.continuing:
            return value, largest.clamp(min=0) - least.clamp(max=0)
        spread, middle = largest - least, (largest + least) / 2
        shift = torch.where(middle.abs() > spread, self.gamma / (1 - self.gamma) * middle, torch.zeros_like(middle))
        value[:-1] += shift
        return value, spread

    def _backup(self, value: torch.Tensor) -> torch.Tensor:
        """``B value`` of every column."""
        ahead = self.probability[0] * value[self.arrival[0]]  # [N * A, B]
        for k in range(1, len(self.arrival)):
            ahead += self.probability[k] * value[self.arrival[k]]
        q = (self.reward + self.gamma * ahead).reshape(self.num_states, -1, value.shape[1])  # [N, A, B]
        new = value.new_zeros(value.shape)
        new[:-1] = q.amax(dim=1)
        return new

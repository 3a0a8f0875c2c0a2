"""Value iteration on a torch device; the host reads one number in 32 sweeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rlkit.mdp import CHUNK, GridMDP, LatticeMDP, TabularMDP, chunks, interpolated, map_of

from ..certify import Certificate, SolverTask, below_rounding, bounds_from, certified_from_below, verified_task
from ..operators import Array, Problem, as_table, verified_start
from ..solution import Solution
from .modified_policy_iteration import CONTINUING

if TYPE_CHECKING:  # torch takes long to import and only this module needs it
    import torch

Precision = Literal["float64", "float32"]
Backup = Callable[["torch.Tensor"], "torch.Tensor"]  # values [N, B] -> their backup [N, B]

BLOCK = 32  # sweeps between two looks; the host does not wait for the device within a block
PATIENCE = 8  # blocks without progress after which only rounding is left
DEVICE_CHUNK = 2**22  # states of a lattice backed up together off the CPU


def device_iteration(
    mdp: Problem,
    gamma: float,
    tolerance: float = 1e-6,
    device: str = "cpu",
    precision: Precision = "float64",
    initial: ArrayLike | None = None,
) -> Solution:
    """Find the optimum by value iteration on ``device``, without a table for maps and lattices.

    Sweeps run in ``precision``; after every 32 of them the host reads one number. The bounds are proved in float64 on
    the host, by one backup of the final values, so they hold whatever the device rounds. ``iterations`` counts sweeps.

    Args:
        mdp: a ``TabularMDP``, ``GridMDP`` or ``LatticeMDP``.
        gamma: discount, in [0, 1).
        tolerance: largest distance of the bounds, in units of return.
        device: device of torch, such as "cpu" or "cuda".
        precision: arithmetic of the sweeps, "float32" or "float64".
        initial: value function ``[N]`` to start from, such as a coarser lattice's (Chow & Tsitsiklis 1991).

    Raises:
        ValueError: gamma outside [0, 1); a tolerance that is not positive, or below what rounding in that precision
            allows; an ``initial`` of another shape; an unknown device or precision.
    """
    task = verified_task("device_iteration", mdp, gamma, tolerance)
    start = None if initial is None else verified_start(mdp, initial)[:, None]
    return iterated([task], device, precision, start)[0]


def iterated(
    goals: Sequence[SolverTask], device: str, precision: Precision, initial: Array | None = None
) -> list[Solution]:
    """The solution of every goal, one problem with B discounts or rewards; ``initial [N, B]``."""
    import torch

    from rlkit.devices import usable_device

    if precision not in ("float64", "float32"):
        raise ValueError(f"precision {precision!r}: choose float64 or float32")
    where, dtype = usable_device(device), getattr(torch, precision)
    sweeps = sweeps_of(goals, where, dtype)
    shape = (goals[0].mdp.num_states, len(goals))
    value = torch.zeros(shape, dtype=dtype, device=where)
    if initial is not None:
        value = torch.as_tensor(initial, dtype=dtype, device=where)
    enough = torch.tensor([task.residual for task in goals], dtype=dtype, device=where)  # [B]
    done, best, patience = 0, math.inf, 0
    while True:
        value, spread = block(sweeps, value)
        done += BLOCK
        excess = float((spread / enough).max())  # the only number that the host waits for
        patience = 0 if excess < best else patience + 1
        best = min(best, excess)
        if excess > 1 and patience < PATIENCE:
            continue
        certificates = _certificates(goals, value)
        if all(certificate.width <= task.tolerance for certificate, task in zip(certificates, goals, strict=True)):
            return [
                certified_from_below(task, certificate, done)
                for certificate, task in zip(certificates, goals, strict=True)
            ]
        if patience >= PATIENCE:
            worst = max(certificates, key=lambda certificate: certificate.width)
            named = goals[0]._replace(method=f"{goals[0].method} in {precision}")
            raise below_rounding(named, worst.width)
        enough = enough / 2


class Sweeps(NamedTuple):
    """A problem on a device."""

    backup: Backup
    gamma: torch.Tensor  # [B]
    continuing: bool  # whether nothing ever ends


def sweeps_of(goals: Sequence[SolverTask], device: torch.device, dtype: torch.dtype) -> Sweeps:
    """Copy a problem to a device: a map as its neighbors, a lattice as its cells, anything else as its table."""
    import torch

    gamma = torch.tensor([task.gamma for task in goals], dtype=dtype, device=device)
    mdp = goals[0].mdp
    if isinstance(mdp, LatticeMDP):
        backup = _lattice_backup(mdp, gamma)
    elif (grid := map_of(mdp)) is not None:
        backup = _map_backup(grid, gamma)
    else:
        backup = _table_backup([as_table(task.mdp) for task in goals], gamma)
    return Sweeps(backup, gamma, goals[0].size.continuation_low >= CONTINUING)


def block(sweeps: Sweeps, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """32 backups of ``value [N, B]``, and how far the last one was from a shift of all values, ``[B]``.

    Where nothing ends, the values of a row are moved to the middle of their bounds, as in
    ``modified_policy_iteration``. Nothing here reads a number back.
    """
    import torch

    old = value
    for _ in range(BLOCK):
        old, value = value, sweeps.backup(value)
    change = value - old  # [N, B]
    least, largest = change.amin(dim=0), change.amax(dim=0)  # [B]
    if not sweeps.continuing:
        return value, largest.clamp(min=0) - least.clamp(max=0)
    spread, middle = largest - least, (largest + least) / 2
    shift = sweeps.gamma / (1 - sweeps.gamma) * middle
    return value + torch.where(middle.abs() > spread, shift, torch.zeros_like(shift)), spread


def _certificates(goals: Sequence[SolverTask], value: torch.Tensor) -> list[Certificate]:
    """Bounds from ``value [N, B]``, in float64 on the host."""
    final = np.ascontiguousarray(value.T.double().cpu().numpy())  # [B, N]
    return [bounds_from(task, row) for task, row in zip(goals, final, strict=True)]


def _table_backup(tables: Sequence[TabularMDP], gamma: torch.Tensor) -> Backup:
    """K gathers over ``[N * A, B]``; outcomes first, so that every gather reads whole rows of B values."""
    first = tables[0]
    happens = (first.probability * (first.arrival < first.num_states)).reshape(-1, first.num_successors)
    arrival = np.where(first.arrival < first.num_states, first.arrival, 0).reshape(-1, first.num_successors)
    index = _on(gamma, arrival.T.astype(np.int64))  # [K, N * A]
    probability = _on(gamma, happens.T[..., None])  # [K, N * A, 1]
    reward = _on(gamma, np.stack([table.expected_reward.ravel() for table in tables], axis=1))  # [N * A, B]
    shape = (first.num_states, first.num_actions, len(gamma))

    def backup(value: torch.Tensor) -> torch.Tensor:
        ahead = probability[0] * value[index[0]]  # [N * A, B]
        for k in range(1, len(index)):
            ahead += probability[k] * value[index[k]]
        return (reward + gamma * ahead).reshape(shape).amax(dim=1)

    return backup


def _map_backup(grid: GridMDP, gamma: torch.Tensor) -> Backup:
    """One gather for each of the four directions; every action is a mixture of the four."""
    moves = [grid.move(direction) for direction in range(grid.num_actions)]
    neighbor = [_on(gamma, move.successor.astype(np.int64)) for move in moves]  # [N] each
    reward = [_on(gamma, move.reward[:, None]) for move in moves]  # [N, 1]
    going_on = [_on(gamma, (~move.terminated).astype(np.float64)[:, None]) for move in moves]
    ahead, side, behind = grid.chances

    def backup(value: torch.Tensor) -> torch.Tensor:
        worth = [
            paid + gamma * (goes * value[there]) for there, paid, goes in zip(neighbor, reward, going_on, strict=True)
        ]  # [N, B] of each direction
        best = value.new_full((), -math.inf)
        for action in range(4):
            left, right, back = (worth[(action + turn) % 4] for turn in (3, 1, 2))
            best = (ahead * worth[action] + side * (left + right) + behind * back).maximum(best)
        return best

    return backup


def _lattice_backup(mdp: LatticeMDP, gamma: torch.Tensor) -> Backup:
    """2^d gathers for every action, a piece of the lattice at a time: work space is that of a piece."""
    corner = _on(gamma, mdp.corner)  # [A, N]
    fraction, reward = _on(gamma, mdp.fraction[..., None]), _on(gamma, mdp.reward[..., None])  # [d, A, N, 1], [A, N, 1]
    going_on = _on(gamma, mdp.going_on[..., None])
    strides = mdp.lattice.strides
    parts = list(chunks(mdp.num_states, CHUNK if gamma.device.type == "cpu" else DEVICE_CHUNK))

    def backup(value: torch.Tensor) -> torch.Tensor:
        best = value.new_empty(value.shape)
        for part in parts:
            ahead = interpolated(value, corner[:, part], fraction[:, :, part], strides)  # [A, M, B]
            best[part] = (reward[:, part] + gamma * (going_on[:, part] * ahead)).amax(dim=0)
        return best

    return backup


def _on(like: torch.Tensor, array: np.ndarray[Any, Any]) -> torch.Tensor:
    """An array where ``like`` is, in its precision if it holds real numbers."""
    import torch

    tensor = torch.from_numpy(np.array(array, order="C"))
    return tensor.to(like.device, like.dtype) if tensor.is_floating_point() else tensor.to(like.device)

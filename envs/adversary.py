"""The attacker's problem against a fixed victim as dynamics: many copies in one computation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .dynamics import Array, Dynamics, DynamicsWrapper

if TYPE_CHECKING:  # every agent imports this package, and attacks only where one is made
    from rlkit.adversarial import AdversaryActions, Budget, Victim


class AdversaryDynamics(DynamicsWrapper):
    """Dynamics of an attacker: it sees true observations, acts by ``moves`` and earns minus the victim's reward.

    This is the problem of ``rlkit.adversarial.AdversaryEnv`` as pure functions: ``rlkit.envs.make``, ``DynamicsEnv``,
    ``DynamicsVectorEnv`` and every agent take it as it is. A victim of S > 1 rows plays row by row against the S seeds
    of the adversary; a victim of one row plays against all of them.

    Args:
        dynamics: the victim's environment.
        victim: the victim, which acts greedily on the shown observations.
        moves: effect of an action; rlkit's agents need discrete actions.
        budget: budget of ``moves``.

    Raises:
        ValueError: observations that the budget does not fit; in ``transition``, a victim of another number of rows.
    """

    def __init__(self, dynamics: Dynamics, victim: Victim, moves: AdversaryActions, budget: Budget) -> None:
        super().__init__(dynamics)
        self.victim, self.moves, self.budget = victim, moves, budget
        first = dynamics.observe(dynamics.initial(np.full(dynamics.initial_noise, 0.5)))
        budget.check(self._encoded(torch.as_tensor(np.array(first))[None, None]))

    @property
    def action_space(self) -> Any:
        """The adversary's actions: Discrete for rlkit's agents, or a Box."""
        return self.moves.action_space

    def transition(self, state: Array, action: Array, u: Array) -> tuple[Array, Array, Array]:
        """Let the victim act on what ``action [..., *move]`` shows it: (next state, minus its reward, terminated).

        Other arguments as in ``Dynamics.transition``.
        """
        lead = state.shape[:-1]
        device = getattr(self.victim, "device", None)
        true = _as_tensor(self.dynamics.observe(state), device)
        obs = true.reshape(*_rows_and_copies(lead), *true.shape[len(lead) :])  # [S, B, *observation]
        move = _as_tensor(action, device).reshape(*obs.shape[:2], *action.shape[len(lead) :])
        chosen = self._victim_action(self._encoded(obs), move).reshape(lead)
        act = chosen if isinstance(state, torch.Tensor) else chosen.cpu().numpy()
        next_state, reward, terminated = self.dynamics.transition(state, act, u)
        return next_state, -reward, terminated

    def _encoded(self, obs: Tensor) -> Tensor:
        from rlkit.adversarial import OneHot

        return self.victim.encode(obs) if isinstance(self.victim, OneHot) else obs

    def _victim_action(self, obs: Tensor, move: Tensor) -> Tensor:
        """Return the victim's actions ``[S, B]``; a victim of one row answers row by row: every S rounds alike."""
        rows = getattr(self.victim, "num_seeds", None)
        if rows not in (None, 1, len(obs)):
            raise ValueError(
                f"the victim has {rows} rows and the adversary {len(obs)} seeds: use one victim, victim[i]"
            )
        if rows is None or len(obs) == 1 or rows > 1:
            return self.victim.act(self.moves.show(self.victim, obs, move, self.budget), True)
        shown = [self.moves.show(self.victim, o[None], m[None], self.budget) for o, m in zip(obs, move, strict=True)]
        return torch.cat([self.victim.act(row, True) for row in shown])


def _rows_and_copies(lead: tuple[int, ...]) -> tuple[int, int]:
    """Return leading axes as (S, B): none is one copy, one is copies of a single row."""
    if len(lead) == 2:
        return lead[0], lead[1]
    return 1, lead[0] if lead else 1


def _as_tensor(array: Array, device: torch.device | None) -> Tensor:
    """Copy an array to a tensor on a device: observations of a table are views that must not be written to."""
    if isinstance(array, torch.Tensor):
        return array
    tensor = torch.from_numpy(np.array(array))
    return tensor if device is None else tensor.to(device)

"""Attacks that attain the exact worst case, as objects beside all others."""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit.arrays import Given, as_tensor

from ..budget import Budget, per_feature
from ..victims.base import Access, Victim
from .worst_case import CLEAN, WorstCase


class WorstCaseAttack:
    """Show a fixed observation in every state of a finite problem: an ``Attack`` that asks the victim nothing.

    Observations that are not of the problem are shown as they are.

    Args:
        observations: true observation of every state, ``[N, *observation]``, all different.
        shown: what to show there, ``[S, N, *observation]``; one row serves any number.
        name: in reports.

    Raises:
        ValueError: shapes that disagree; two states with the same observation, which the attack could not tell apart.
    """

    access: Access = "nothing"

    def __init__(self, observations: Given, shown: Given, name: str = "worst case") -> None:
        self.observations, self.shown, self.name = (
            as_tensor(observations, "observations"),
            as_tensor(shown, "shown"),
            name,
        )
        if self.shown.shape[1:] != self.observations.shape:
            raise ValueError(
                f"shown has shape {list(self.shown.shape)}: expected [S, N, *observation] for observations "
                f"{list(self.observations.shape)}"
            )
        verify_distinct(self.observations)

    def noise_width(self, num_features: int) -> int:
        """Return 0: it needs no uniforms."""
        return 0

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """Propose what is shown instead of ``obs``; arguments as of ``Attack.propose``.

        Raises:
            ValueError: observations of another number of rows.
        """
        if len(self.shown) not in (1, len(obs)):
            raise ValueError(
                f"the attack is of {len(self.shown)} rows and the observations of {len(obs)}: give as many"
            )
        state, known = states_of(self.observations, obs)
        table = self.shown.to(obs).expand(len(obs), *self.shown.shape[1:])
        rows = torch.arange(len(obs), device=obs.device)[:, None]
        return torch.where(per_feature(known, obs), table[rows, state], obs)


class WorstCaseTiming:
    """Attack exactly when the adversary of a ``WorstCase`` does: the optimal times of k attacks, as a ``Timing``.

    Args:
        observations: true observation of every state, ``[N, *observation]``, all different.
        found: the worst case, with a step limit.

    Raises:
        ValueError: no step limit; two states with the same observation.
    """

    name = "optimal"
    noise_width = 0

    def __init__(self, observations: Given, found: WorstCase) -> None:
        if found.horizon is None:
            raise ValueError("a timing counts the steps of an episode: find the worst case with a horizon")
        self.observations = as_tensor(observations, "observations")
        verify_distinct(self.observations)
        self.attacks = torch.from_numpy((found.choice != CLEAN).any(axis=-1))  # [H, S, L, N]

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None = None) -> Tensor:
        """Attack where the adversary would; never after the horizon. Arguments as of ``Timing.when``."""
        horizon, rows, levels, _ = self.attacks.shape
        state, known = states_of(self.observations, obs)
        row = torch.arange(len(obs))[:, None] % rows
        now = self.attacks[step.clamp(max=horizon - 1).cpu(), row, left.clamp(max=levels - 1).cpu(), state.cpu()]
        return now.to(obs.device) & known & (step < horizon)


class WorstCaseAdversary:
    """Play the adversary of a ``WorstCase`` that counts steps and attacks: a ``Perturbation`` of rollouts.

    ``rollout(policy, env, perturb=WorstCaseAdversary(...))`` earns the exact worst case in expectation. It must know
    where episodes begin, as ``AttackedPolicy`` does; after the last step of the horizon it shows the truth.

    Args:
        observations: true observation of every state, ``[N, *observation]``, all different.
        witness: an observation that provokes each choice, ``[S, N, K, *observation]``.
        found: the worst case, of one case.

    Raises:
        ValueError: shapes that disagree; two states with the same observation; an adversary that knows the draw, which
            no function of observations is.
    """

    def __init__(self, observations: Given, witness: Given, found: WorstCase) -> None:
        self.observations, self.witness = as_tensor(observations, "observations"), as_tensor(witness, "witness")
        verify_distinct(self.observations)
        if found.choice.shape[-1] != 1:
            raise ValueError("the adversary knows the draw of the victim's action, which a rollout does not show")
        choice = torch.as_tensor(found.choice[..., 0].astype("int64"))
        self.choice = choice if found.horizon is not None else choice[None]  # [H, S, L, N]
        if self.witness.shape[:2] != self.choice.shape[1::2] or self.witness.shape[3:] != self.observations.shape[1:]:
            raise ValueError(f"witness has shape {list(self.witness.shape)}: expected [S, N, K, *observation]")
        self.found = found
        self.attacked = torch.zeros(0, 0, dtype=torch.bool)
        self._step = self._left = torch.zeros(0, 0, dtype=torch.int64)

    def perturb(self, obs: Tensor) -> Tensor:
        """Return what to show instead of ``obs [S, B, *observation]`` and count one step.

        Raises:
            ValueError: observations of another number of rows.
        """
        rows = self.choice.shape[1]
        if len(obs) != rows:
            raise ValueError(f"the adversary is of {rows} rows and the observations of {len(obs)}: give as many")
        if self._step.shape != obs.shape[:2]:
            self._step = torch.zeros(obs.shape[:2], dtype=torch.int64)
            self._left = torch.full_like(self._step, self.choice.shape[2] - 1)
        state, known = states_of(self.observations, obs)
        horizon = self.choice.shape[0]
        step = self._step if self.found.horizon is not None else torch.zeros_like(self._step)
        row = torch.arange(rows)[:, None]
        choice = self.choice[step.clamp(max=horizon - 1), row, self._left, state.cpu()]
        attack = (choice != CLEAN) & (step < horizon) & known.cpu()
        shown = self.witness.to(obs)[row, state.cpu(), choice.clamp(min=0)]
        self._step = self._step + 1
        if self.found.attacks is not None:
            self._left = self._left - attack.long()
        seen = torch.where(per_feature(attack.to(obs.device), obs), shown, obs)
        self.attacked = (seen != obs).flatten(2).any(dim=-1)
        return seen

    def restart(self, ended: Tensor | None = None, /) -> None:
        """Begin a new episode in the copies where ``ended [S, B]`` is true, or in all of them."""
        if not self._step.numel():
            return
        over = torch.ones_like(self._step, dtype=torch.bool) if ended is None else ended.cpu()
        self._step = self._step.masked_fill(over, 0)
        self._left = self._left.masked_fill(over, self.choice.shape[2] - 1)


def states_of(observations: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
    """Find the state of every observation ``[S, B, *observation]``, and whether there is one: ``[S, B]`` both."""
    table = observations.to(obs).flatten(1)  # [N, D]
    seen = obs.flatten(2).nan_to_num()
    distance = torch.cdist(
        seen.flatten(0, 1), table, p=torch.inf, compute_mode="donot_use_mm_for_euclid_dist"
    )  # [S B, N]
    state = distance.argmin(dim=-1).reshape(obs.shape[:2])
    return state, (table[state] == obs.flatten(2)).all(dim=-1)


def verify_distinct(observations: Tensor) -> None:
    """Raise ValueError if two of ``observations [N, *observation]`` are equal."""
    _, state, count = torch.unique(observations.flatten(1), dim=0, return_inverse=True, return_counts=True)
    if (count > 1).any():
        first = int(count[state].argmax())
        alike = (state == state[first]).nonzero().flatten().tolist()
        raise ValueError(f"states {alike[:4]} look alike: an attack on observations cannot tell them apart")

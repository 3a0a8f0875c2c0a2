"""Attacks that attain the exact worst case, as objects like all other attacks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.arrays import Given, as_tensor

from ..attacks.base import Attack
from ..budget import Budget, per_feature
from ..victims.base import Access, Victim
from .worst_case import CLEAN, WorstCase


class WorstCaseAttack:
    """Show what the adversary of a ``WorstCase`` shows: an ``Attack`` that asks the victim nothing.

    ``AttackedPolicy`` passes on steps taken and attacks left by ``at``. Where they are not known, as in ``execute``, it
    attacks as at the first step of an episode. Observations that are not of the problem are shown as they are.

    Args:
        observations: true observation of every state, ``[N, *observation]``, all different.
        witness: an observation that causes each choice, ``[S, N, K, *observation]``.
        found: the worst case, of one case.
        name: in reports.

    Raises:
        ValueError: shapes that disagree; two states with the same observation, which the attack could not tell apart;
            an adversary that knows the draw, which no function of observations is.
    """

    access: Access = "nothing"

    def __init__(self, observations: Given, witness: Given, found: WorstCase, name: str = "worst case") -> None:
        self.observations, self.witness = as_tensor(observations, "observations"), as_tensor(witness, "witness")
        self.name, self.limited = name, found.attacks is not None
        verify_distinct(self.observations)
        if found.choice.shape[-1] != 1:
            raise ValueError("the adversary knows the draw of the victim's action, which a rollout does not show")
        choice = torch.as_tensor(found.choice[..., 0].astype("int64"))
        self.stationary = found.horizon is None
        self.choice = choice[None] if self.stationary else choice  # [H, S, L, N]
        expected = (*self.choice.shape[1::2], *self.observations.shape[1:])
        if (*self.witness.shape[:2], *self.witness.shape[3:]) != expected:
            raise ValueError(
                f"witness has shape {list(self.witness.shape)}: expected [S, N, K, *observation] for "
                f"{self.choice.shape[1]} rows and observations {list(self.observations.shape)}"
            )

    def noise_width(self, num_features: int) -> int:
        """Return 0: it needs no uniforms."""
        return 0

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """Propose what is shown at the first step instead of ``obs``; arguments as in ``Attack.propose``."""
        start = torch.zeros(obs.shape[:2], dtype=torch.int64)
        return self.shown(obs, start, torch.full_like(start, self.choice.shape[2] - 1))

    def at(self, step: Tensor, left: Tensor) -> Attack:
        """Return the attack at some steps of episodes with some attacks left, ``[S, B]`` int64 both."""
        return _AtMoment(self, step, left)

    def shown(self, obs: Tensor, step: Tensor, left: Tensor) -> Tensor:
        """Return what is shown instead of ``obs [S, B, *observation]``; other arguments as in ``at``.

        After the last step of the horizon it is the truth.

        Raises:
            ValueError: observations of another number of rows.
        """
        horizon, rows, levels, _ = self.choice.shape
        if len(obs) != rows:
            raise ValueError(f"the attack is of {rows} rows and the observations of {len(obs)}: give as many")
        state, known = (each.cpu() for each in states_of(self.observations, obs))
        when = torch.zeros_like(state) if self.stationary else step.cpu()
        row = torch.arange(rows)[:, None]
        choice = self.choice[when.clamp(max=horizon - 1), row, left.cpu().clamp(max=levels - 1), state]
        attacks = (choice != CLEAN) & (when < horizon) & known
        place = tuple(each.to(obs.device) for each in (row, state, choice.clamp(min=0)))
        witness = self.witness.to(obs)[place]
        return torch.where(per_feature(attacks.to(obs.device), obs), witness, obs)


class _AtMoment(NamedTuple):
    """A ``WorstCaseAttack`` at given steps and attacks left."""

    attack: WorstCaseAttack
    step: Tensor  # [S, B]
    left: Tensor  # [S, B]

    @property
    def name(self) -> str:
        return self.attack.name

    @property
    def access(self) -> Access:
        return "nothing"

    def noise_width(self, num_features: int) -> int:
        return 0

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        return self.attack.shown(obs, self.step, self.left)


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
        """Attack where the adversary would; never after the horizon. Arguments as in ``Timing.when``."""
        horizon, rows, levels, _ = self.attacks.shape
        state, known = states_of(self.observations, obs)
        row = torch.arange(len(obs))[:, None] % rows
        now = self.attacks[step.clamp(max=horizon - 1).cpu(), row, left.clamp(max=levels - 1).cpu(), state.cpu()]
        return now.to(obs.device) & known & (step < horizon)


class WorstCaseAdversary:
    """Play the adversary of a ``WorstCase``, counting steps and attacks: a ``Perturbation`` of rollouts.

    ``rollout(policy, env, perturb=WorstCaseAdversary(...))`` earns the exact worst case in expectation. Nothing is
    projected: it serves neighbor sets that are no ball. For a ball ``AttackedPolicy`` with ``WorstCaseAttack`` does the
    same, and counts as every attack does.

    Args:
        observations: true observation of every state, ``[N, *observation]``, all different.
        witness: an observation that causes each choice, ``[S, N, K, *observation]``.
        found: the worst case, of one case.

    Raises:
        ValueError: as in ``WorstCaseAttack``.
    """

    def __init__(self, observations: Given, witness: Given, found: WorstCase) -> None:
        self.attack = WorstCaseAttack(observations, witness, found)
        self.attacked = torch.zeros(0, 0, dtype=torch.bool)
        self._step = self._left = torch.zeros(0, 0, dtype=torch.int64)

    def perturb(self, obs: Tensor) -> Tensor:
        """Return what to show instead of ``obs [S, B, *observation]`` and count one step.

        Raises:
            ValueError: observations of another number of rows.
        """
        if self._step.shape != obs.shape[:2]:
            self._step = torch.zeros(obs.shape[:2], dtype=torch.int64)
            self._left = torch.full_like(self._step, self.attack.choice.shape[2] - 1)
        seen = self.attack.shown(obs, self._step, self._left)
        self.attacked = (seen != obs).flatten(2).any(dim=-1)
        self._step = self._step + 1
        if self.attack.limited:
            self._left = (self._left - self.attacked.cpu().long()).clamp(min=0)
        return seen

    def restart(self, ended: Tensor | None = None, /) -> None:
        """Begin a new episode in the copies where ``ended [S, B]`` is true, or in all of them."""
        if not self._step.numel():
            return
        over = torch.ones_like(self._step, dtype=torch.bool) if ended is None else ended.cpu()
        self._step = self._step.masked_fill(over, 0)
        self._left = self._left.masked_fill(over, self.attack.choice.shape[2] - 1)


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
        raise ValueError(f"states {alike[:4]} have equal observations: attacks on observations cannot distinguish them")

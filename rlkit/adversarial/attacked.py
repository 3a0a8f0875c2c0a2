"""A policy whose observations are tampered with, as a policy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..streams import Stream
from .attacks import Attack, perturb, warn_if_stochastic
from .budget import Budget
from .victim import OneHot, Victim


class AttackedPolicy:
    """``policy`` behind an attacker who changes every observation: acts on ``perturb(obs)``.

    ``rollout(policy, env, perturb=AttackedPolicy(...).perturb)`` measures the same and counts the flips. The numbers
    of a random attack come from the stream (seed, "attack", copy), from its start: two objects made alike attack
    alike, and row s depends on ``seeds[s]`` alone. One object is for batches of one shape.

    Attacks aim at the victim's greedy action: a victim that samples is attacked as if it did not, and one that is not
    deterministic when asked to be is noticed at the first observations.

    Args:
        policy: the victim; it is not changed.
        attack: how the budget is spent.
        budget: what may be spent.
        seeds: one integer per row; None for ``policy.seeds``, or 0, 1, ... of a policy without.
        target: true observations ``[S, B, *observation]`` -> the actions ``[S, B]`` int64 that the victim shall be
            made to choose, for example another policy's ``act``; None to make it leave its own.
    """

    def __init__(
        self,
        policy: Victim,
        attack: Attack,
        budget: Budget,
        seeds: Sequence[int] | None = None,
        target: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.policy = policy
        self.attack = attack
        self.budget = budget
        self.target = target
        self.seeds = seeds if seeds is not None else getattr(policy, "seeds", None)
        self._stream: Stream | None = None
        self._placed: Budget | None = None

    @property
    def num_seeds(self) -> int | None:
        """S of the victim, None if it does not say."""
        return getattr(self.policy, "num_seeds", None)

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        """What the victim does, ``[S, B]``, when it is shown something else than ``obs [S, B, *observation]``.

        Warns:
            RuntimeWarning: ``deterministic=False`` under an attack on the greedy action.
        """
        if not deterministic and self.attack.access != "nothing":
            warnings.warn(
                f"the victim samples its actions and {self.attack.name} attacks its greedy ones, as if it were "
                "deterministic: use deterministic=True, or read the result as a lower bound on the harm",
                RuntimeWarning,
                stacklevel=2,
            )
        return self.policy.act(self.perturb(obs), deterministic)

    @torch.no_grad()
    def perturb(self, obs: Tensor) -> Tensor:
        """What the victim is shown instead of ``obs``, ``[S, B, *observation]``; a random attack moves on.

        Integers are encoded first if the policy is ``OneHot``; then it is shown an attacked code ``[S, B, n]``.

        Warns:
            RuntimeWarning: at the first observations, a victim that answers them in two ways.

        Raises:
            ValueError: see ``rlkit.adversarial.perturb``.
        """
        aim = None if self.target is None else self.target(obs)
        if isinstance(self.policy, OneHot):
            obs = self.policy.encode(obs)
        if self._placed is None:
            self.budget.check(obs)
            warn_if_stochastic(self.policy, obs, self.policy.act(obs, True))
            self._placed = self.budget.to(obs)
            width = self.attack.noise_width(obs[0, 0].numel())
            if width > 0:
                seeds = self.seeds if self.seeds is not None else range(len(obs))
                self._stream = Stream(seeds, "attack", width, copies=obs.shape[1], device=obs.device)
        u = None if self._stream is None else self._stream.next()
        return perturb(self.attack, self.policy, obs, self._placed, u, aim)

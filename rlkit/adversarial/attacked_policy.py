"""A policy whose observations are tampered with, as a policy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rlkit.arrays import Given, as_observations
from rlkit.streams import Stream
from rlkit.types import Starts

from .attacks.base import Attack, warn_if_nonfinite, warn_if_stochastic
from .attacks.subset import perturb_where
from .budget import Budget, as_budget, tiled
from .timing import Always, Timing, attack_now
from .victims.base import OneHot, Victim, as_victim, isolated

UNLIMITED = 2**62  # attacks left in an episode without a limit


class AttackedPolicy:
    """``policy`` behind an attacker who changes its observations: acts on ``perturb(obs)``.

    ``rollout(policy, env, perturb=AttackedPolicy(...))`` measures the same and counts the flips. The numbers
    of a random attack come from the stream (seed, "attack", copy), those of a random timing from (seed, "timing",
    copy), from their start: two objects made alike attack alike, and row s depends on ``seeds[s]`` alone. One object is
    for batches of one shape.

    A timing needs to know where episodes begin: ``rollout`` and ``evaluate_policy`` say so by ``restart`` and by
    ``episode_start``; a loop of your own calls ``restart(done)`` after every step.

    Attacks aim at the victim's greedy action: a victim that samples is attacked as if it did not, and one that is not
    deterministic when asked to be is noticed at the first observations.

    Args:
        policy: the victim; it is not changed.
        attack: how the budget is spent.
        budget: what may be spent.
        seeds: one integer per row; None for ``policy.seeds``, or 0, 1, ... of a policy without.
        target: true observations ``[S, B, *observation]`` -> the actions ``[S, B]`` int64 that the victim shall be
            made to choose, for example another policy's ``act``; None to make it leave its own.
        timing: when to attack; None for always.
        attacks_per_episode: how often at most; None for no limit.
        groups: the copies are so many groups side by side that play the same episodes (``ConcatEnv``), and get the
            same numbers.
        once: leave a copy alone after its first episode, as evaluations do not count what follows.

    Raises:
        ValueError: a negative number of attacks.
    """

    def __init__(
        self,
        policy: Victim,
        attack: Attack,
        budget: Budget | float,
        seeds: Sequence[int] | None = None,
        target: Callable[[Tensor], Tensor] | None = None,
        timing: Timing | None = None,
        attacks_per_episode: int | None = None,
        groups: int = 1,
        once: bool = False,
    ) -> None:
        if attacks_per_episode is not None and attacks_per_episode < 0:
            raise ValueError(f"attacks_per_episode must be at least 0, or None for no limit, got {attacks_per_episode}")
        self.policy: Victim = as_victim(policy)
        self.victim = isolated(self.policy)
        self.attack = attack
        self.budget = as_budget(budget)
        self.target = target
        self.seeds = seeds if seeds is not None else getattr(self.policy, "seeds", None)
        self.timing = Always() if timing is None else timing
        self.attacks_per_episode = attacks_per_episode
        self.groups, self.once = groups, once
        self._numbers: Stream | None = None  # of the attack
        self._chances: Stream | None = None  # of the timing
        self._placed: Budget | None = None
        self.attacked = torch.zeros(0, 0, dtype=torch.bool)  # [S, B], whether the last observations were shown changed
        self._step: Tensor  # [S, B] int64, of the present episode; made at the first observation, as is the next
        self._attacks: Tensor  # [S, B] int64, made in the present episode
        self._over: Tensor  # [S, B] bool, whether a copy is past its first episode and to be left alone

    @property
    def num_seeds(self) -> int | None:
        """S of the victim, None if it does not say."""
        return getattr(self.policy, "num_seeds", None)

    @property
    def starts(self) -> Starts:
        """The numbers that ``predict`` begins with, as those of the victim."""
        return getattr(self.policy, "starts", Starts())

    @property
    def attacks(self) -> Tensor:
        """Attacks made in the present episode of every copy, ``[S, B]`` int64.

        Raises:
            RuntimeError: nothing was observed yet.
        """
        if self._placed is None:
            raise RuntimeError("no observation was perturbed yet: there is nothing to count")
        return self._attacks.clone()

    def describe_timing(self) -> str:
        """In words, for example ``strategic above 0.5, at most 25 attacks an episode``."""
        limit = self.attacks_per_episode
        return self.timing.name + ("" if limit is None else f", at most {limit} attacks an episode")

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
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
        return self.victim.act(self.perturb(obs), deterministic)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """stable-baselines3's, of a batch ``[n, *observation]``; episodes begin where ``episode_start [n]`` is true."""
        obs = torch.as_tensor(observation, device=getattr(self.policy, "device", None))[None]  # [1, n, *observation]
        if episode_start is not None:
            self.restart(torch.as_tensor(episode_start)[None])
        return self.act(self.starts.to_zero_based(obs), deterministic)[0].cpu().numpy() + self.starts.action, state

    def __getitem__(self, row: int) -> AttackedPolicy:
        """The same attacker of one row of the victim, which must have ``policy[row]``."""
        policy: Any = self.policy
        seeds = range(row, row + 1) if self.seeds is None else [self.seeds[row]]
        rest = self.target, self.timing, self.attacks_per_episode, self.groups, self.once
        return AttackedPolicy(policy[row], self.attack, self.budget, seeds, *rest)

    def restart(self, done: Tensor | None = None) -> None:
        """A new episode begins in the copies where ``done [S, B]`` is true, in all of them without it."""
        if self._placed is None:
            return  # nothing to forget
        if done is None:
            self._step, self._attacks = torch.zeros_like(self._step), torch.zeros_like(self._attacks)
            self._over = torch.zeros_like(self._over)
        else:
            done = done.to(self._step.device)
            self._step, self._attacks = self._step.masked_fill(done, 0), self._attacks.masked_fill(done, 0)
            self._over = self._over | done if self.once else self._over

    @torch.no_grad()
    def perturb(self, obs: Given) -> Tensor:
        """What the victim is shown instead of ``obs``, ``[S, B, *observation]``; one step of the episode passes.

        Integers are encoded first if the policy is ``OneHot``; then it is shown an attacked code ``[S, B, n]``.

        Warns:
            RuntimeWarning: at the first observations, a victim that answers them in two ways.

        Raises:
            ValueError: see ``rlkit.adversarial.perturb`` and ``attack_now``.
        """
        obs = as_observations(obs, self.policy)
        aim = None if self.target is None else self.target(obs.clone())
        if isinstance(self.policy, OneHot):
            obs = self.policy.encode(obs)
        if self._placed is None:
            self.budget.check(obs)
            self._begin(obs)
            self._placed = self.budget.to(obs)
        streams = (self._numbers, self._chances)
        u, chances = (None if stream is None else tiled(stream.next(), self.groups) for stream in streams)
        limit = UNLIMITED if self.attacks_per_episode is None else self.attacks_per_episode
        now = attack_now(self.timing, self.victim, obs, self._step, limit - self._attacks, chances)  # [S, B]
        now = now & ~self._over
        self._step, self._attacks = self._step + 1, self._attacks + now
        seen = perturb_where(now, self.attack, self.victim, obs, self._placed, u, aim)
        self.attacked = (seen != obs).flatten(2).any(dim=-1)
        return seen

    def _begin(self, obs: Tensor) -> None:
        """The first observation tells how many rows and copies there are."""
        warn_if_stochastic(self.victim, obs, self.victim.act(obs, True))
        warn_if_nonfinite(self.victim, obs)
        self._step = torch.zeros(obs.shape[:2], dtype=torch.int64, device=obs.device)
        self._attacks = torch.zeros_like(self._step)
        self._over = torch.zeros_like(self._step, dtype=torch.bool)
        copies = obs.shape[1] // self.groups
        seeds = self.seeds if self.seeds is not None else range(len(obs))
        width = self.attack.noise_width(math.prod(obs.shape[2:]))
        if width > 0:
            self._numbers = Stream(seeds, "attack", width, copies, obs.device)
        if self.timing.noise_width > 0:
            self._chances = Stream(seeds, "timing", self.timing.noise_width, copies, obs.device)

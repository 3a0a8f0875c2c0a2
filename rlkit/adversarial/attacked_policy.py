"""A policy under attack, which is again a policy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlkit.arrays import Given, as_observations, as_whole_number
from rlkit.streams import Stream
from rlkit.types import Starts

from .attacks.base import Attack, perturb, warn_if_nonfinite, warn_if_stochastic
from .attacks.subset import perturb_where
from .budget import Budget, as_budget, per_feature, tiled
from .checks import as_attack, as_timing
from .timing import Always, Timing, attack_now
from .victims.base import OneHot, QueryCounter, Victim, as_victim

UNLIMITED = 2**62  # attacks left in an episode without a limit
ROUNDING = 1e-6  # share of the square of an episode's budget that is kept back for the rounding of what is shown
SPENT = 1e-4  # share of it that is not worth another attack


class AttackedPolicy:
    """The victim ``policy`` with an attacker who changes its observations: it acts on ``perturb(obs)``.

    ``rollout(policy, env, perturb=AttackedPolicy(...))`` plays the same episodes and also counts the flips.

    Random attacks draw from the stream (seed, "attack", copy), random timings from (seed, "timing", copy), both from
    their start. Equal objects therefore attack equally, and row s depends on ``seeds[s]`` alone. One object serves
    batches of one shape.

    A timing must know where episodes begin. ``rollout`` and ``evaluate_policy`` pass this on through ``restart`` and
    ``episode_start``; a loop of your own calls ``restart(done)`` after every step.

    Attacks aim at the victim's greedy action, also where the victim samples. A victim whose greedy action is not
    deterministic is reported at the first observations.

    Args:
        policy: the victim; it is not changed.
        attack: chooses the observations to show.
        budget: bounds the difference between shown and true observations; a number is epsilon of the norm "inf".
        seeds: one integer per row; None for ``policy.seeds``, or 0, 1, ... where the policy has none.
        target: true observations ``[S, B, *observation]`` -> the actions ``[S, B]`` int64 that the attack aims at,
            for example another policy's ``act``; None for any other action than its own.
        timing: when to attack; None for always.
        attacks_per_episode: maximum attacks per episode; None for no limit.
        groups: number of groups of copies that play the same episodes (``ConcatEnv``); every group gets the same
            random numbers.
        once: whether to attack only the first episode of every copy, which is the one that an evaluation counts.
        episode_budget: bound of the l2 length of all offsets of an episode together, in units of the budget's scale; a
            number or ``[B]``. At every step the attack may use up to the budget's epsilon of what is left. None for no
            bound.

    Raises:
        ValueError: attacks_per_episode is negative or not a whole number, episode_budget is negative or is given with
            another norm than "2", or the attack or the timing is a name or a class.
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
        episode_budget: float | Tensor | None = None,
    ) -> None:
        if attacks_per_episode is not None:
            attacks_per_episode = as_whole_number(attacks_per_episode, "attacks_per_episode", 0)
        if episode_budget is not None and not bool((torch.as_tensor(episode_budget) >= 0).all()):
            raise ValueError(f"episode_budget must be at least 0, or None for no bound, got {episode_budget}")
        if episode_budget is not None and as_budget(budget).norm != "2":
            raise ValueError(f"an episode_budget is an l2 length: use Budget(norm='2'), got {as_budget(budget).norm!r}")
        self.policy: Victim = as_victim(policy)
        self.victim = QueryCounter(self.policy)
        self.attack = as_attack(attack)
        self.budget = as_budget(budget)
        self.target = target
        self.seeds = seeds if seeds is not None else getattr(self.policy, "seeds", None)
        self.timing = Always() if timing is None else as_timing(timing)
        self.attacks_per_episode = attacks_per_episode
        self.groups, self.once = groups, once
        self.episode_budget = episode_budget
        self._numbers: Stream | None = None  # of the attack
        self._chances: Stream | None = None  # of the timing
        self._placed: Budget | None = None
        self.attacked = torch.zeros(0, 0, dtype=torch.bool)  # [S, B], whether the last shown observation was another
        self._step: Tensor  # [S, B] int64, of the present episode; made at the first observation, like the next two
        self._attacks: Tensor  # [S, B] int64, attacks in the present episode
        self._over: Tensor  # [S, B] bool, whether a copy is past its first episode and no longer attacked
        self._spent: Tensor  # [S, B] float64, square of the l2 length of all offsets of the present episode

    @property
    def num_seeds(self) -> int | None:
        """S of the victim; None if it is unknown."""
        return getattr(self.policy, "num_seeds", None)

    @property
    def starts(self) -> Starts:
        """First numbers of the victim's Discrete observations and actions."""
        return getattr(self.policy, "starts", Starts())

    @property
    def attacks(self) -> Tensor:
        """Attacks made in the present episode of every copy, ``[S, B]`` int64.

        Raises:
            RuntimeError: no observation was perturbed yet.
        """
        if self._placed is None:
            raise RuntimeError("no observation was perturbed yet: there is nothing to count")
        return self._attacks.clone()

    @property
    def queries(self) -> int:
        """Observations at which the attack and its timing asked the victim since this object was made."""
        return self.victim.asked

    def describe_timing(self) -> str:
        """Describe when the attacker attacks, for example ``strategic above 0.5, at most 25 attacks an episode``."""
        limit = self.attacks_per_episode
        words = self.timing.name + ("" if limit is None else f", at most {limit} attacks an episode")
        return words + ("" if self.episode_budget is None else ", epsilon per episode")

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """Return the victim's actions ``[S, B]`` at ``perturb(obs)``, of true observations ``[S, B, *observation]``.

        Warns:
            RuntimeWarning: ``deterministic=False`` and the attack aims at the greedy action.
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
        """Predict as stable-baselines3's models do.

        Args:
            observation: a batch ``[n, *observation]``.
            state: returned unchanged.
            episode_start: booleans ``[n]``, true where an episode begins; None if none does.
            deterministic: see ``act``.

        Returns:
            Actions ``[n]`` and ``state``.
        """
        device, own = getattr(self.policy, "device", None), self.starts.flatten(observation)
        obs = torch.as_tensor(own, device=device)[None]  # [1, n, *observation]
        if episode_start is not None:
            self.restart(torch.as_tensor(episode_start)[None])
        return self.act(self.starts.to_zero_based(obs), deterministic)[0].cpu().numpy() + self.starts.action, state

    def __getitem__(self, row: int) -> AttackedPolicy:
        """Return the same attacker of one row of the victim, which must support ``policy[row]``."""
        policy: Any = self.policy
        seeds = range(row, row + 1) if self.seeds is None else [self.seeds[row]]
        rest = self.target, self.timing, self.attacks_per_episode, self.groups, self.once, self.episode_budget
        return AttackedPolicy(policy[row], self.attack, self.budget, seeds, *rest)

    def restart(self, done: Tensor | None = None) -> None:
        """Begin a new episode in the copies where ``done [S, B]`` is true, or in all of them."""
        if self._placed is None:
            return  # nothing was counted yet
        if done is None:
            self._step, self._attacks = torch.zeros_like(self._step), torch.zeros_like(self._attacks)
            self._over, self._spent = torch.zeros_like(self._over), torch.zeros_like(self._spent)
        else:
            done = done.to(self._step.device)
            self._step, self._attacks = self._step.masked_fill(done, 0), self._attacks.masked_fill(done, 0)
            self._over = self._over | done if self.once else self._over
            self._spent = self._spent.masked_fill(done, 0.0)

    @torch.no_grad()
    def perturb(self, obs: Given) -> Tensor:
        """Return the observations to show instead of ``obs``, ``[S, B, *observation]``, and count one step.

        Integers are encoded first if the policy is ``OneHot``; the result is then an attacked code ``[S, B, n]``.

        Warns:
            RuntimeWarning: the victim's greedy action at the first observations is not deterministic.

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
        budget = self._placed
        if self.episode_budget is not None:
            budget, left = self._of_episode(budget, obs)
            now = now & (left > 0)
        now = now & ~self._over
        at = getattr(self.attack, "at", None)  # of an attack that depends on steps and attacks left
        if at is None:
            seen = perturb_where(now, self.attack, self.victim, obs, budget, u, aim)
        else:
            left = (limit - self._attacks).masked_fill(self._over, 0)
            shown = perturb(at(self._step, left), self.victim, obs, budget, u, aim)
            seen = torch.where(per_feature(now, obs), shown, obs)
        self._step, self._attacks = self._step + 1, self._attacks + now
        self.attacked = (seen != obs).flatten(2).any(dim=-1)
        if self.episode_budget is not None:
            self._spent = self._spent + budget.distance(obs, seen).double() ** 2
        return seen

    def _of_episode(self, budget: Budget, obs: Tensor) -> tuple[Budget, Tensor]:
        """Return the budget of this step, and what is left of the episode's, ``[S, B]``."""
        total = torch.as_tensor(self.episode_budget, dtype=torch.float64, device=obs.device)
        rest = total**2 * (1.0 - ROUNDING) - self._spent
        left = torch.where(rest > SPENT * total**2, rest, 0.0).sqrt()
        each = torch.as_tensor(budget.epsilon, dtype=torch.float64, device=obs.device)
        return replace(budget, epsilon=torch.minimum(each, left).to(obs.dtype)), left

    def _begin(self, obs: Tensor) -> None:
        """Make what depends on the numbers of rows and copies, which the first observation shows."""
        warn_if_stochastic(self.victim, obs, self.victim.act(obs, True))
        warn_if_nonfinite(self.victim, obs)
        self._step = torch.zeros(obs.shape[:2], dtype=torch.int64, device=obs.device)
        self._attacks = torch.zeros_like(self._step)
        self._over = torch.zeros_like(self._step, dtype=torch.bool)
        self._spent = torch.zeros_like(self._step, dtype=torch.float64)
        copies = obs.shape[1] // self.groups
        seeds = self.seeds if self.seeds is not None else range(len(obs))
        width = self.attack.noise_width(math.prod(obs.shape[2:]))
        if width > 0:
            self._numbers = Stream(seeds, "attack", width, copies, obs.device)
        if self.timing.noise_width > 0:
            self._chances = Stream(seeds, "timing", self.timing.noise_width, copies, obs.device)

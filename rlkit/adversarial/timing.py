"""Timings: rules for when to attack, for an attacker who wants to stay unnoticed or who pays for every attack.

A timing is a pure function of the victim, the true observation, the step of the episode and the number of attacks
left. ``AttackedPolicy`` counts steps and attacks, and enforces the maximum per episode. To attack the first k steps,
use ``Always()`` with k attacks per episode.

No timing here is optimal. Where the dynamics are known, the optimal times of k attacks solve
``V_k(s) = min(clean step into V_k, attacked step into V_(k-1))``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from rlkit.evaluation import walk
from rlkit.types import Env

from .victims.base import Victim, as_victim, isolated, name_of

Model = Callable[[Tensor, Tensor], Tensor]  # observation [S, B, *observation], action [S, B] -> the next observation
Danger = Callable[[Tensor], Tensor]  # observation [S, B, *observation] -> danger [S, B], larger when nearer to failing


class Timing(Protocol):
    """A rule for when to attack."""

    @property
    def name(self) -> str:
        """Name in reports."""
        ...

    @property
    def noise_width(self) -> int:
        """Number of uniforms that a decision needs."""
        ...

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None) -> Tensor:
        """Decide at which examples to attack now, ``[S, B]`` bool.

        Args:
            victim: the policy under attack.
            obs: true observations ``[S, B, *observation]``.
            step: step of the episode, counted from 0, ``[S, B]`` int64.
            left: attacks left in the episode, ``[S, B]`` int64.
            u: uniforms on [0, 1) ``[S, B, noise_width]``; None for a timing that needs none.
        """
        ...


@dataclass(frozen=True)
class Always:
    """Attack at every step; with at most k attacks per episode, at the first k steps."""

    name = "always"
    noise_width = 0

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None = None) -> Tensor:
        """Return true everywhere; arguments as in ``Timing.when``."""
        return torch.ones_like(step, dtype=torch.bool)


@dataclass(frozen=True)
class Every:
    """Attack at steps 0, n, 2n, ... of the episode.

    Raises:
        ValueError: n is below 1.

    Source: Kos & Song 2017, "Delving into adversarial attacks on deep policies".
    """

    n: int
    noise_width = 0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be at least 1, got {self.n}: 1 attacks at every step")

    @property
    def name(self) -> str:
        """For example ``every 4 steps``."""
        return f"every {self.n} steps"

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None = None) -> Tensor:
        """Attack where the step is a multiple of n; arguments as in ``Timing.when``."""
        return step % self.n == 0


@dataclass(frozen=True)
class AtRandom:
    """Attack each step independently with the same probability: the baseline of the informed timings.

    Raises:
        ValueError: probability is outside [0, 1].
    """

    probability: float
    noise_width = 1

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"probability must be in [0, 1], got {self.probability}")

    @property
    def name(self) -> str:
        """For example ``at random 0.25``."""
        return f"at random {self.probability:g}"

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None) -> Tensor:
        """Attack where u is below the probability; arguments as in ``Timing.when``."""
        assert u is not None
        return u[..., 0] < self.probability


def preference_gap(scores: Tensor, temperature: float = 1.0) -> Tensor:
    """Return how strongly the victim prefers its best action to its worst, in [0, 1]: ``[..., A] -> [...]``.

    It is ``max_a pi(a|s) - min_a pi(a|s)`` with ``pi = softmax(scores / temperature)``.

    Source: Lin et al. 2017, "Tactics of adversarial attack on deep reinforcement learning agents", which also takes the
    softmax of Q-values at a temperature.
    """
    preference = torch.softmax(scores / temperature, dim=-1)
    return preference.amax(dim=-1) - preference.amin(dim=-1)


@dataclass(frozen=True)
class Strategic:
    """Attack where the victim strongly prefers one action to another: ``preference_gap`` above a threshold.

    Logits have temperature 1. Action values are in units of return, so their softmax depends on the size of the
    rewards: with rewards a hundred times larger every gap is 1. For action values, and for scores of unknown kind, the
    temperature must therefore be given, in units of return.

    Args:
        threshold: in [0, 1]; ``at_share`` finds the one for a wanted fraction of steps.
        temperature: temperature of the softmax; None means 1, for a victim with ``scores_are_values = False`` such as
            A2C or PPO.

    Raises:
        ValueError: threshold is outside [0, 1] or temperature is not positive; during an attack, the victim needs a
            temperature and there is none.

    Source: Lin et al. 2017, the strategically timed attack.
    """

    threshold: float
    temperature: float | None = None
    noise_width = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold must be in [0, 1], as preference gaps are, got {self.threshold}")
        if self.temperature is not None and not 0.0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")

    @property
    def name(self) -> str:
        """For example ``strategic above 0.5``, with the temperature if one was given."""
        warmth = "" if self.temperature is None else f" at temperature {self.temperature:g}"
        return f"strategic above {self.threshold:.4g}{warmth}"

    def urgency(self, victim: Victim, obs: Tensor) -> Tensor:
        """Return the preference gap of ``victim`` at ``obs``, ``[S, B]``."""
        if self.temperature is None and getattr(victim, "scores_are_values", True):
            raise ValueError(
                "the softmax of action values depends on the size of the rewards: state a temperature in units of "
                "return, Strategic(threshold, temperature=...), or mark a victim whose scores are logits with "
                "scores_are_values = False"
            )
        return preference_gap(victim.scores(obs), 1.0 if self.temperature is None else self.temperature)

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None = None) -> Tensor:
        """Attack where the gap exceeds the threshold; arguments as in ``Timing.when``."""
        return self.urgency(victim, obs) > self.threshold


@dataclass(frozen=True)
class ValueGuided:
    """Attack where the victim's own estimate of V(s) exceeds a threshold, in units of return.

    V is ``victim.values(obs)``, or ``max_a Q(s, a)`` of a victim with ``scores_are_values``.

    Raises:
        ValueError: threshold is NaN; during an attack, the victim has no values.

    Source: Kos & Song 2017, "Delving into adversarial attacks on deep policies".
    """

    threshold: float
    noise_width = 0

    def __post_init__(self) -> None:
        if self.threshold != self.threshold:
            raise ValueError("threshold must be a number, got nan")

    @property
    def name(self) -> str:
        """For example ``value above 50``."""
        return f"value above {self.threshold:.4g}"

    def urgency(self, victim: Victim, obs: Tensor) -> Tensor:
        """Return V of ``victim`` at ``obs``, ``[S, B]``."""
        values = getattr(victim, "values", None)
        if values is not None:
            value: Tensor = values(obs)
            return value
        if getattr(victim, "scores_are_values", False):
            return victim.scores(obs).amax(dim=-1)
        raise ValueError(
            f"{name_of(victim)} has neither values(obs) nor scores_are_values = True, and a value-guided timing "
            "needs one of them: Strategic needs scores only"
        )

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None = None) -> Tensor:
        """Attack where the value exceeds the threshold; arguments as in ``Timing.when``."""
        return self.urgency(victim, obs) > self.threshold


@dataclass(frozen=True)
class CriticalPoint:
    """Attack where a model of the environment predicts that a few wrong actions make the near future more dangerous.

    The model simulates ``horizon`` steps: once with the victim's own actions, and once for every sequence of ``steps``
    forced actions followed by the victim's own. The urgency is the largest increase of the final danger. It is computed
    at every step, and any attack may be used. The published attack instead commits to the worst sequence.

    Args:
        threshold: least increase of the danger, in units of ``danger``.
        model: observation and action -> next observation, deterministic.
        danger: quantity that the attacker wants to increase, such as the angle of the pole.
        steps: number of forced actions; A^steps sequences are tried.
        horizon: number of simulated steps, at least ``steps``.

    Raises:
        ValueError: threshold is NaN, steps is below 1, or horizon is below ``steps``.

    Source: Sun et al. 2020, "Stealthy and efficient adversarial attacks against deep reinforcement learning", the
    critical point attack.
    """

    threshold: float
    model: Model
    danger: Danger
    steps: int = 1
    horizon: int = 5
    noise_width = 0

    def __post_init__(self) -> None:
        if self.threshold != self.threshold:
            raise ValueError("threshold must be a number, got nan")
        if not 1 <= self.steps <= self.horizon:
            raise ValueError(f"steps must be at least 1 and at most the horizon {self.horizon}, got {self.steps}")

    @property
    def name(self) -> str:
        """For example ``critical point above 0.05``."""
        return f"critical point above {self.threshold:.4g}"

    def urgency(self, victim: Victim, obs: Tensor) -> Tensor:
        """Return by how much the worst forced actions raise the danger at the horizon, ``[S, B]``, at least 0."""
        clean = self.danger(self._ahead(victim, obs, self.horizon))
        num_actions = victim.scores(obs).shape[-1]
        worst = clean
        for actions in itertools.product(range(num_actions), repeat=self.steps):
            forced = obs
            for action in actions:
                forced = self.model(forced.clone(), torch.full(obs.shape[:2], action, device=obs.device))
            worst = torch.maximum(worst, self.danger(self._ahead(victim, forced, self.horizon - self.steps)))
        return worst - clean

    def _ahead(self, victim: Victim, obs: Tensor, steps: int) -> Tensor:
        """Return the observation that the model predicts after ``steps`` greedy actions of the victim."""
        for _ in range(steps):
            obs = self.model(obs.clone(), victim.act(obs, True))
        return obs

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None = None) -> Tensor:
        """Attack where the increase exceeds the threshold; arguments as in ``Timing.when``."""
        return self.urgency(victim, obs) > self.threshold


@torch.no_grad()
def attack_now(
    timing: Timing, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None = None
) -> Tensor:
    """Decide at which examples to attack, ``[S, B]`` bool: where ``timing`` says so and an attack is left.

    Other arguments as in ``Timing.when``.

    Raises:
        ValueError: u has another shape than ``[S, B, noise_width]``, or the victim lacks what the timing needs.
    """
    width = timing.noise_width
    if width > 0 and (u is None or u.shape != (*obs.shape[:2], width)):
        raise ValueError(
            f"timing {timing.name!r} needs uniform numbers of shape {[*obs.shape[:2], width]}, got "
            f"{'none' if u is None else list(u.shape)}: draw them from Stream(seeds, 'timing', width, copies)"
        )
    # copies: a rule may compute in place
    asked = isolated(victim)
    now = timing.when(asked, obs.clone(), step.clone(), left.clone(), None if u is None else u.clone())
    return now & (left > 0)


Rule = TypeVar("Rule", Strategic, ValueGuided, CriticalPoint)


@torch.no_grad()
def at_share(timing: Rule, share: float, policy: Victim, env: Env, max_steps: int | None = None) -> Rule:
    """Return the timing with the threshold that about this share of natural steps exceeds.

    Timings with thresholds in different units are comparable at equal shares. Under attack the policy visits other
    states, and the share may differ; robustness curves report the share that was attacked.

    Args:
        timing: the timing whose threshold is replaced.
        share: fraction of steps to attack, in [0, 1].
        policy: the victim, S seeds.
        env: a new environment; one natural episode per copy is played in it.
        max_steps: see ``rlkit.evaluation.rollout``.

    Returns:
        The timing with the (1 - share) quantile of the urgency over all natural steps of all seeds as threshold.

    Raises:
        ValueError: share is outside [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must be in [0, 1], got {share}")
    policy = as_victim(policy)
    met = [timing.urgency(isolated(policy), step.obs)[step.running] for step in walk(policy, env, max_steps)]
    return replace(timing, threshold=torch.cat(met).double().quantile(1.0 - share).item())

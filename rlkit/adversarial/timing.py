"""When to attack: an attacker who wants to stay unseen, or who pays for every attack, chooses its moments.

A timing is a pure function of the present moment: what the victim makes of the true observation, the step of the
episode, and how many attacks are left. What has happened is kept by ``AttackedPolicy``, which also holds the attacker
to the number of attacks that it may make in an episode. The first k steps are ``Always()`` with k attacks an episode.

No rule here is optimal. Where the dynamics are known, the best moments for k attacks solve
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
Danger = Callable[[Tensor], Tensor]  # observation [S, B, *observation] -> how near to failing it is [S, B]


class Timing(Protocol):
    """A rule for when to attack."""

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    @property
    def noise_width(self) -> int:
        """How many uniform numbers a decision needs."""
        ...

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None) -> Tensor:
        """Whether to attack now, ``[S, B]`` bool.

        Args:
            victim: the policy under attack.
            obs: true observations ``[S, B, *observation]``.
            step: of the episode, counted from 0, ``[S, B]`` int64.
            left: attacks left in the episode, ``[S, B]`` int64.
            u: uniforms on [0, 1) ``[S, B, noise_width]``; None for a rule that needs none.
        """
        ...


@dataclass(frozen=True)
class Always:
    """Attack at every step; under a limit of k attacks an episode, at the first k."""

    name = "always"
    noise_width = 0

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None = None) -> Tensor:
        """True everywhere."""
        return torch.ones_like(step, dtype=torch.bool)


@dataclass(frozen=True)
class Every:
    """Attack at steps 0, n, 2n, ... of the episode.

    Raises:
        ValueError: n below 1.

    Source: Kos & Song 2017, "Delving into adversarial attacks on deep policies".
    """

    n: int
    noise_width = 0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be at least 1, got {self.n}: 1 attacks at every step")

    @property
    def name(self) -> str:
        """``every 4 steps``."""
        return f"every {self.n} steps"

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None = None) -> Tensor:
        """Where the step is a multiple of n."""
        return step % self.n == 0


@dataclass(frozen=True)
class AtRandom:
    """Attack each step with the same probability, independently: the yardstick of rules that look.

    Raises:
        ValueError: a probability outside [0, 1].
    """

    probability: float
    noise_width = 1

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"probability must be in [0, 1], got {self.probability}")

    @property
    def name(self) -> str:
        """``at random 0.25``."""
        return f"at random {self.probability:g}"

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None) -> Tensor:
        """Where u is below the probability."""
        assert u is not None
        return u[..., 0] < self.probability


def preference_gap(scores: Tensor, temperature: float = 1.0) -> Tensor:
    """How much the victim prefers its best action to its worst, in [0, 1]: scores ``[..., A]`` -> ``[...]``.

    ``max_a pi(a|s) - min_a pi(a|s)`` with ``pi = softmax(scores / temperature)``.

    Source: Lin et al. 2017, "Tactics of adversarial attack on deep reinforcement learning agents"; the softmax of
    Q-values at a temperature is theirs too.
    """
    preference = torch.softmax(scores / temperature, dim=-1)
    return preference.amax(dim=-1) - preference.amin(dim=-1)


@dataclass(frozen=True)
class Strategic:
    """Attack where the victim strongly prefers one action to another: ``preference_gap`` above a threshold.

    Logits are the victim's own and have temperature 1. Action values are in units of reward: the softmax of raw ones
    says how large the rewards are (a hundred times the reward makes every gap 1), so for them, and for scores that do
    not say what they are, the temperature has to be stated, in units of return.

    Args:
        threshold: in [0, 1]; see ``at_share`` for one that is met at a chosen share of steps.
        temperature: of the softmax; None is 1 for a victim with ``scores_are_values = False``, such as A2C or PPO.

    Raises:
        ValueError: a threshold outside [0, 1], a temperature that is not positive; when asked, none for a victim that
            needs one.

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
        """``strategic above 0.5``, with the temperature where one was given."""
        warmth = "" if self.temperature is None else f" at temperature {self.temperature:g}"
        return f"strategic above {self.threshold:.4g}{warmth}"

    def urgency(self, victim: Victim, obs: Tensor) -> Tensor:
        """The preference gap, ``[S, B]``."""
        if self.temperature is None and getattr(victim, "scores_are_values", True):
            raise ValueError(
                "the softmax of action values depends on the size of the rewards: state a temperature in units of "
                "return, Strategic(threshold, temperature=...), or mark a victim whose scores are logits with "
                "scores_are_values = False"
            )
        return preference_gap(victim.scores(obs), 1.0 if self.temperature is None else self.temperature)

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None = None) -> Tensor:
        """Where the gap exceeds the threshold."""
        return self.urgency(victim, obs) > self.threshold


@dataclass(frozen=True)
class ValueGuided:
    """Attack where the victim expects much: its own V(s) above a threshold, in units of return.

    V is ``victim.values(obs)``, or ``max_a Q(s, a)`` of a victim with ``scores_are_values``.

    Raises:
        ValueError: a threshold that is NaN; when asked, a victim that has no values.

    Source: Kos & Song 2017, "Delving into adversarial attacks on deep policies".
    """

    threshold: float
    noise_width = 0

    def __post_init__(self) -> None:
        if self.threshold != self.threshold:
            raise ValueError("threshold must be a number, got nan")

    @property
    def name(self) -> str:
        """``value above 50``."""
        return f"value above {self.threshold:.4g}"

    def urgency(self, victim: Victim, obs: Tensor) -> Tensor:
        """V, ``[S, B]``."""
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
        """Where the value exceeds the threshold."""
        return self.urgency(victim, obs) > self.threshold


@dataclass(frozen=True)
class CriticalPoint:
    """Attack where, by a model of the environment, a few wrong actions now make the near future much more dangerous.

    The victim is played forward ``horizon`` steps, once as it is and once for every sequence of ``steps`` forced
    actions followed by its own; the urgency is the largest increase of the danger at the end. Here it is asked anew at
    every step, and any attack may follow; the published one commits to the worst sequence of forced actions.

    Args:
        threshold: of the increase, in units of ``danger``.
        model: next observation of observation and action, deterministic.
        danger: what the attacker wants to grow, such as the pole's angle.
        steps: forced actions; A^steps sequences are tried.
        horizon: steps that are looked ahead, at least ``steps``.

    Raises:
        ValueError: a threshold that is NaN, fewer than one step, or a horizon below ``steps``.

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
        """``critical point above 0.05``."""
        return f"critical point above {self.threshold:.4g}"

    def urgency(self, victim: Victim, obs: Tensor) -> Tensor:
        """By how much the worst forced actions raise the danger at the horizon, ``[S, B]``; never below 0."""
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
        """What the model shows after ``steps`` greedy actions of the victim."""
        for _ in range(steps):
            obs = self.model(obs.clone(), victim.act(obs, True))
        return obs

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None = None) -> Tensor:
        """Where the increase exceeds the threshold."""
        return self.urgency(victim, obs) > self.threshold


@torch.no_grad()
def attack_now(
    timing: Timing, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None = None
) -> Tensor:
    """Whether to attack, ``[S, B]`` bool: where the timing says so and an attack is left.

    Arguments are those of ``Timing.when``.

    Raises:
        ValueError: u of another shape than ``[S, B, noise_width]``, or a victim that the rule cannot judge.
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
    """The same rule with the threshold that natural play exceeds at about this share of its steps.

    Rules with thresholds in different units are comparable at equal shares. Under attack other states are met, and the
    share may be another one; curves report what was spent.

    Args:
        timing: whose threshold is replaced.
        share: of steps to attack, in [0, 1].
        policy: the victim, S seeds.
        env: one natural episode per copy is played in it.
        max_steps: see ``rlkit.evaluation.rollout.rollout``.

    Returns:
        With the (1 - share) quantile of the urgency over all natural steps of all seeds.

    Raises:
        ValueError: a share outside [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must be in [0, 1], got {share}")
    policy = as_victim(policy)
    met = [timing.urgency(isolated(policy), step.obs)[step.running] for step in walk(policy, env, max_steps)]
    return replace(timing, threshold=torch.cat(met).double().quantile(1.0 - share).item())

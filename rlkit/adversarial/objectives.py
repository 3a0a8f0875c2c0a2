"""Objectives: what an attack increases.

An objective is a function of the victim's scores at the shown observation and of a reference that is fixed at the true
one. Attacks aim away from the victim's own greedy action. Given a target action, margin and cross-entropy aim towards
it instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from .budget import tiled

ObjectiveName = Literal["margin", "cross_entropy", "kl", "expected_q"]


def margin(scores: Tensor, action: Tensor) -> Tensor:
    """Return the lead of the best other action, ``max_(b != a) score_b - score_a``, ``[...]``.

    It is positive once ``action`` is no longer greedy. It never saturates, so it is the default objective.

    Args:
        scores: ``[..., A]``.
        action: a, ``[...]`` int64.

    Source: Carlini & Wagner 2017, "Towards evaluating the robustness of neural networks", f_6 without its floor.
    """
    chosen = torch.nn.functional.one_hot(action, scores.shape[-1]).bool()
    other = scores.masked_fill(chosen, -torch.inf).amax(dim=-1)
    return other - scores.gather(-1, action[..., None]).squeeze(-1)


def lead(scores: Tensor, action: Tensor, other: Tensor) -> Tensor:
    """Return ``score_action - score_other``, of scores ``[..., A]`` and actions ``[...]``."""
    return scores.gather(-1, action[..., None])[..., 0] - scores.gather(-1, other[..., None])[..., 0]


def cross_entropy(scores: Tensor, action: Tensor) -> Tensor:
    """Return ``-log softmax(scores)_a`` of scores ``[..., A]`` and the action a ``[...]``.

    The scores are logits or Q-values, not probabilities. The softmax of Q-values is not a policy: for them this is an
    objective only, and where gaps are far above 1 its gradient follows the runner-up alone.

    It is computed as ``log(1 + sum_(b != a) exp(score_b - score_a))``, which avoids cancellation. With two actions its
    gradient is ``pi_b`` times that of the margin, even where ``pi_a`` rounds to 1. It is flat only where
    ``exp(score_b - score_a)`` underflows, at gaps of about 100 in float32.

    Source: Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", J of section 4.
    """
    chosen = torch.nn.functional.one_hot(action, scores.shape[-1]).bool()
    others = scores.masked_fill(chosen, -torch.inf).logsumexp(dim=-1)
    lead = others - scores.gather(-1, action[..., None]).squeeze(-1)
    return torch.logaddexp(lead, torch.zeros_like(lead))


def kl(scores: Tensor, true_scores: Tensor) -> Tensor:
    """Return ``KL(softmax(true_scores) | softmax(scores))``, ``[..., A]`` both -> ``[...]``.

    It is 0 at the true observation, and so is its gradient: attacks start it at random points. It measures change, not
    harm: with two actions it may make the victim more certain of its own action.

    Source: Zhang et al. 2020, "Robust deep reinforcement learning against adversarial perturbations on state
    observations", the maximal action difference (MAD) attack.
    """
    true, shown = true_scores.log_softmax(dim=-1), scores.log_softmax(dim=-1)
    return (true.exp() * (true - shown)).sum(dim=-1)


def expected_q(scores: Tensor, q: Tensor, temperature: Tensor) -> Tensor:
    """Return ``-sum_a pi(a) q_a`` with ``pi = softmax(scores / temperature)``, ``[...]``.

    Args:
        scores: scores of the shown observation, ``[..., A]``.
        q: action values of the *true* state, ``[..., A]``, because the action takes effect there. Values at the shown
            observation would measure what the victim believes, not what it gets.
        temperature: ``[..., 1]``, in units of the scores.

    Source: Pattanaik et al. 2018, "Robust deep reinforcement learning with adversarial attacks", equation 4.
    """
    return -(torch.softmax(scores / temperature, dim=-1) * q).sum(dim=-1)


@dataclass(frozen=True)
class Objective:
    """A function of scores that an attack increases, and its reference at the true observation.

    Args:
        name: for reports.
        value: ``(scores [..., A], *reference) -> [...]``.
        reference: ``(victim, true observations [S, B, *observation], scores there [S, B, A])`` -> tensors
            ``[S, B, ...]``, which are passed to ``value``.
        targetable: whether a target action can take the place of the reference, with the sign reversed.
        flat_at_truth: whether the gradient is zero at the true observation.
    """

    name: str
    value: Callable[..., Tensor]
    reference: Callable[[Any, Tensor, Tensor], tuple[Tensor, ...]]
    targetable: bool = False
    flat_at_truth: bool = False


def _greedy(victim: Any, obs: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
    return (scores.argmax(dim=-1),)


def _scores(victim: Any, obs: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
    return (scores,)


def expected_q_of(q: Callable[[Tensor], Tensor] | None = None, raised: bool = False) -> Objective:
    """Make the objective that lowers the victim's expected action value at the true state.

    Where the scores are logits, the expectation is over the victim's own softmax policy. Where they are action values,
    the victim is greedy; the objective then takes their softmax with the standard deviation of the true values over
    actions as temperature, so that it depends neither on their unit nor on their level.

    Args:
        q: true observations ``[S, B, *observation]`` -> action values ``[S, B, A]``, for example of the exact
            solution. None uses the victim's own scores, which must be action values (``scores_are_values``).
        raised: raise the expected value instead of lowering it.

    Raises:
        ValueError: during an attack, q is None and the scores are logits, or q gives another shape than the scores.
    """

    def reference(victim: Any, obs: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        own = bool(getattr(victim, "scores_are_values", False))
        if q is None and not own:
            raise ValueError(
                "expected_q needs action values and the victim's scores are logits: pass objective=expected_q_of(q), "
                "with q from a critic, another agent or an exact solution"
            )
        values = scores if q is None else q(obs.clone()).to(scores.dtype)
        if values.shape != scores.shape:
            raise ValueError(f"q must give {list(scores.shape)} like the scores, got {list(values.shape)}")
        spread = values.std(dim=-1, correction=0, keepdim=True)
        temperature = torch.where(spread > 0, spread, 1.0) if own else torch.ones_like(spread)
        return (-values if raised else values), temperature

    return Objective("raised expected_q" if raised else "expected_q", expected_q, reference)


MARGIN = Objective("margin", margin, _greedy, targetable=True)
OBJECTIVES: dict[ObjectiveName, Objective] = {
    "margin": MARGIN,
    "cross_entropy": Objective("cross_entropy", cross_entropy, _greedy, targetable=True),
    "kl": Objective("kl", kl, _scores, flat_at_truth=True),
    "expected_q": expected_q_of(),
}


def find_objective(objective: ObjectiveName | Objective) -> Objective:
    """Return an objective by its name; an ``Objective`` is returned as it is.

    Raises:
        ValueError: there is no objective of this name.
    """
    if isinstance(objective, Objective):
        return objective
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(get_args(ObjectiveName))}, got {objective!r}")
    return OBJECTIVES[objective]


def named(attack: str, objective: ObjectiveName | Objective) -> str:
    """Return the name of an attack, followed by its objective if that is not the default."""
    name = find_objective(objective).name
    return attack if name == "margin" else f"{attack} {name}"


class PosedObjective(NamedTuple):
    """An objective with its reference at particular observations: a function of scores alone."""

    function: Callable[..., Tensor]
    reference: tuple[Tensor, ...]  # [S, B, ...] each
    sign: float  # -1 for a target

    def value(self, scores: Tensor) -> Tensor:
        """Return the value that the attack increases, ``[S, B, A] -> [S, B]``."""
        return self.sign * self.function(scores, *self.reference)

    def value_and_grad(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value ``[S, B]`` and its derivatives by the scores ``[S, B, A]``."""
        with torch.enable_grad():
            leaf = scores.detach().requires_grad_()
            value = self.value(leaf)
            (grad,) = torch.autograd.grad(value.sum(dim=(0, 1)), leaf)
        return value.detach(), grad

    def tiled(self, copies: int) -> PosedObjective:
        """Return the goal of the same observations repeated along the copies, ``[S, copies B]``."""
        return self._replace(reference=tuple(tiled(each, copies) for each in self.reference))


def pose(
    objective: Objective, victim: Any, obs: Tensor, scores: Tensor, target: Tensor | None = None
) -> PosedObjective:
    """Fix the reference of an objective at true observations.

    Args:
        objective: what to increase.
        victim: passed to the objective.
        obs: true observations ``[S, B, *observation]``.
        scores: scores of the victim at ``obs``, ``[S, B, A]``.
        target: target actions ``[S, B]``; None for any action other than the victim's own.

    Raises:
        ValueError: a target is given and the objective has no targeted form, or a target is not an action.
    """
    if target is None:
        return PosedObjective(objective.value, objective.reference(victim, obs, scores), 1.0)
    if not objective.targetable:
        raise ValueError(f"{objective.name} has no targeted form: use margin or cross_entropy")
    if (target >= scores.shape[-1]).any():
        raise ValueError(
            f"target actions must be below the victim's {scores.shape[-1]} actions, got {int(target.amax(dim=(0, 1)))}"
        )
    return PosedObjective(objective.value, (target,), -1.0)

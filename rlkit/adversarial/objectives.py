"""What an attack increases.

An objective is a function of the victim's scores at what it is shown and of something fixed at the truth. Attacks aim
away from the victim's own greedy action; given a target action, margin and cross-entropy aim towards it instead.
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
    """How far the best other action leads, ``max_(b != a) score_b - score_a``: scores ``[..., A]``, action ``[...]``.

    Positive once ``action`` is no longer greedy. It never saturates, so it is the default objective.

    Source: Carlini & Wagner 2017, "Towards evaluating the robustness of neural networks", f_6 without its floor.
    """
    chosen = torch.nn.functional.one_hot(action, scores.shape[-1]).bool()
    other = scores.masked_fill(chosen, -torch.inf).amax(dim=-1)
    return other - scores.gather(-1, action[..., None]).squeeze(-1)


def lead(scores: Tensor, action: Tensor, other: Tensor) -> Tensor:
    """``score_action - score_other``: scores ``[..., A]``, actions ``[...]``."""
    return scores.gather(-1, action[..., None])[..., 0] - scores.gather(-1, other[..., None])[..., 0]


def cross_entropy(scores: Tensor, action: Tensor) -> Tensor:
    """``-log softmax(scores)_a``: scores ``[..., A]``, action ``[...]``.

    Of logits it is the policy's surprise at its own action; of probabilities it would be another function, nearly
    flat. Of Q-values it is an objective and nothing more: their softmax is no policy, and with gaps far above 1 the
    gradient weights only the runner-up.

    Computed as ``log(1 + sum_(b != a) exp(score_b - score_a))``, in which nothing cancels: with two actions its
    gradient is ``pi_b`` times that of the margin also where ``pi_a`` rounds to 1, and it is flat only where
    ``exp(score_b - score_a)`` is no number above 0, at gaps of about 100 in float32.

    Source: Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", J of section 4.
    """
    chosen = torch.nn.functional.one_hot(action, scores.shape[-1]).bool()
    others = scores.masked_fill(chosen, -torch.inf).logsumexp(dim=-1)
    lead = others - scores.gather(-1, action[..., None]).squeeze(-1)
    return torch.logaddexp(lead, torch.zeros_like(lead))


def kl(scores: Tensor, true_scores: Tensor) -> Tensor:
    """``KL(softmax(true_scores) | softmax(scores))``: ``[..., A]`` both -> ``[...]``.

    It is least at the truth, where its gradient is therefore zero: attacks start it at random. It measures change,
    not harm: with two actions it may as well make the victim surer of what it does.

    Source: Zhang et al. 2020, "Robust deep reinforcement learning against adversarial perturbations on state
    observations", the maximal action difference (MAD) attack.
    """
    true, shown = true_scores.log_softmax(dim=-1), scores.log_softmax(dim=-1)
    return (true.exp() * (true - shown)).sum(dim=-1)


def expected_q(scores: Tensor, q: Tensor, temperature: Tensor) -> Tensor:
    """``-sum_a pi(a) q_a`` with ``pi = softmax(scores / temperature)``: ``[..., A]``, ``[..., A]``, ``[..., 1]``.

    ``q`` belongs to the *true* state, where the action will act; the observation only chooses it. Lowering what the
    victim's value function says of the false observation would be another thing, and no threat: it changes what the
    victim believes, not what it gets.

    Source: Pattanaik et al. 2018, "Robust deep reinforcement learning with adversarial attacks", equation 4.
    """
    return -(torch.softmax(scores / temperature, dim=-1) * q).sum(dim=-1)


@dataclass(frozen=True)
class Objective:
    """A function of scores to be increased, and what it takes from the truth."""

    name: str
    value: Callable[..., Tensor]  # (scores [..., A], *reference) -> [...]
    # (victim, true observations [S, B, *observation], scores there [S, B, A]) -> tensors [S, B, ...]
    reference: Callable[[Any, Tensor, Tensor], tuple[Tensor, ...]]
    targetable: bool = False  # whether ``reference`` may be a target action, with the sign reversed
    flat_at_truth: bool = False  # whether the gradient at the truth is zero


def _greedy(victim: Any, obs: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
    return (scores.argmax(dim=-1),)


def _scores(victim: Any, obs: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
    return (scores,)


def expected_q_of(q: Callable[[Tensor], Tensor] | None = None, raised: bool = False) -> Objective:
    """The victim's expected action value under what it is shown, lowered, or raised.

    A softmax policy's probabilities are its own. Where the scores are action values the victim is greedy, and the
    objective takes a softmax of them at a temperature of the true values' standard deviation over actions, so that
    neither their unit nor their level matters.

    Args:
        q: true observations ``[S, B, *observation]`` -> action values ``[S, B, A]``, for example of the exact
            solution; None for the victim's own where its scores are action values (``scores_are_values``).
        raised: increase the expected value instead: what an observation could do for the victim.
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
    """An objective by its name.

    Raises:
        ValueError: no such name.
    """
    if isinstance(objective, Objective):
        return objective
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(get_args(ObjectiveName))}, got {objective!r}")
    return OBJECTIVES[objective]


def named(attack: str, objective: ObjectiveName | Objective) -> str:
    """An attack's name, with the objective if it is not the default."""
    name = find_objective(objective).name
    return attack if name == "margin" else f"{attack} {name}"


class PosedObjective(NamedTuple):
    """An objective posed for particular observations: a function of scores."""

    function: Callable[..., Tensor]
    reference: tuple[Tensor, ...]  # [S, B, ...] each
    sign: float  # -1 for a target

    def value(self, scores: Tensor) -> Tensor:
        """What is to be increased, ``[S, B, A] -> [S, B]``."""
        return self.sign * self.function(scores, *self.reference)

    def value_and_grad(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The value ``[S, B]`` and its derivatives by the scores ``[S, B, A]``."""
        with torch.enable_grad():
            leaf = scores.detach().requires_grad_()
            value = self.value(leaf)
            (grad,) = torch.autograd.grad(value.sum(dim=(0, 1)), leaf)
        return value.detach(), grad

    def tiled(self, copies: int) -> PosedObjective:
        """The goal of the same observations several times side by side, ``[S, copies B]``."""
        return self._replace(reference=tuple(tiled(each, copies) for each in self.reference))


def pose(
    objective: Objective, victim: Any, obs: Tensor, scores: Tensor, target: Tensor | None = None
) -> PosedObjective:
    """The goal of an objective at true observations whose scores are ``scores [S, B, A]``.

    Args:
        objective: what to increase.
        victim: passed on to the objective.
        obs: true observations ``[S, B, *observation]``.
        scores: the victim's at them.
        target: actions ``[S, B]`` that the victim shall choose; None to make it leave its own.

    Raises:
        ValueError: a target for an objective that has none, or one that is not an action.
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

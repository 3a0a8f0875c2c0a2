"""What an attack may ask of a policy, and what it tries to achieve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor

ObjectiveName = Literal["margin", "cross_entropy"]
Objective = Callable[[Tensor, Tensor], Tensor]  # scores [..., A], action [...] int64 -> [...], to be increased


class Victim(Protocol):
    """A policy whose scores can be differentiated: agents of ours and ``rlkit.sb3.SB3Policy`` are victims as they are.

    Any torch module becomes one with these two methods. Attacks never change a victim, nor the ``grad`` of its
    parameters.
    """

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        """Actions ``[S, B]`` int64 of ``[S, B, *observation]``."""
        ...

    def scores(self, obs: Tensor) -> Tensor:
        """One number per action ``[S, B, A]``, Q-values or logits, whose argmax is the greedy action."""
        ...


def margin(scores: Tensor, action: Tensor) -> Tensor:
    """How far the best other action leads, ``max_(b != a) score_b - score_a``: scores ``[..., A]``, action ``[...]``.

    Positive once ``action`` is no longer greedy. It never saturates, so it is the default objective.

    Source: Carlini & Wagner 2017, "Towards evaluating the robustness of neural networks", f_6 without its floor.
    """
    chosen = torch.nn.functional.one_hot(action, scores.shape[-1]).bool()
    other = scores.masked_fill(chosen, -torch.inf).amax(dim=-1)
    return other - scores.gather(-1, action[..., None]).squeeze(-1)


def cross_entropy(scores: Tensor, action: Tensor) -> Tensor:
    """``-log softmax(scores)_a``: scores ``[..., A]``, action ``[...]``.

    Of logits it is the policy's surprise at its own action. Of Q-values it is an objective and nothing more: their
    softmax is no policy, and with gaps far above 1 the gradient weights only the runner-up, or vanishes by rounding.

    Source: Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", J of section 4.
    """
    return scores.logsumexp(dim=-1) - scores.gather(-1, action[..., None]).squeeze(-1)


OBJECTIVES: dict[ObjectiveName, Objective] = {"margin": margin, "cross_entropy": cross_entropy}


def observation_gradient(victim: Victim, objective: Objective, obs: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of the objective with respect to the observation, at the victim's own greedy action.

    Returns:
        The gradient ``[S, B, *observation]``, each example's own, and the greedy action ``[S, B]``. Parameters get no
        gradient.

    Raises:
        ValueError: the victim's scores are not ``[S, B, A]`` or do not depend differentiably on the observation.
    """
    with torch.enable_grad():
        x = obs.detach().clone().requires_grad_()
        scores = victim.scores(x)  # [S, B, A]
        if scores.dim() != 3 or scores.shape[:2] != obs.shape[:2]:
            raise ValueError(f"scores of {list(obs.shape)} observations must be [S, B, A], got {list(scores.shape)}")
        if not scores.requires_grad:
            raise ValueError("the victim's scores do not depend differentiably on obs: take no_grad out of scores")
        action = scores.detach().argmax(dim=-1)  # [S, B]
        (gradient,) = torch.autograd.grad(objective(scores, action).sum(dim=(0, 1)), x)
    return gradient, action

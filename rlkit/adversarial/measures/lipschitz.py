"""Lipschitz constants of scores: an estimate from data, a bound from the weights, and the radius they imply.

``max over data of |grad f| <= Lip(f) <= bound``. The left side is a lower estimate and certifies nothing. The right
side is the product of the layers' norms; it holds everywhere and is usually far too large.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit.arrays import Given, as_observations, as_tensor, refuse_nonfinite
from rlkit.nn import MLP

from ..attacks.base import posed
from ..budget import DUAL, ORDER, Budget, as_budget
from ..objectives import MARGIN, pose
from ..victims.base import Victim, linearize, scores_of, value_and_gradient


@torch.no_grad()
def steepness(victim: Victim, obs: Given, budget: Budget | float) -> Tensor:
    """Return the largest gradient of every score over data, in the dual norm of the budget: ``[S, A]``.

    Args:
        victim: a victim with scores.
        obs: the data, ``[S, B, *observation]``.
        budget: norm, scale and mask; the result is in units of the score per epsilon.

    Raises:
        ValueError: a score is not finite.
    """
    victim, obs, budget, _, _ = posed(victim, obs, budget)
    scores, pullback = linearize(victim, obs)
    refuse_nonfinite(scores, "the victim's scores")
    grads = torch.eye(scores.shape[-1], dtype=scores.dtype, device=scores.device)
    gradients = [budget.dual_norm(pullback(grad.expand(scores.shape))) for grad in grads]  # A x [S, B]
    return torch.stack([gradient.amax(dim=1) for gradient in gradients], dim=-1)


@torch.no_grad()
def lipschitz_bound(network: MLP, budget: Budget | float) -> Tensor:
    """Bound the Lipschitz constant of every output of a fully connected network in the budget's norm: ``[S, A]``.

    The bound is the product of the operator norms of the hidden layers and the dual norm of the output weights; relu
    and tanh are 1-Lipschitz. It is exact for a linear network.

    Args:
        network: a network of flat observations with relu or tanh between layers.
        budget: norm, scale and mask.

    Raises:
        ValueError: the network has convolutions or a radial basis, or a weight is not finite.

    Source: Szegedy et al. 2014, "Intriguing properties of neural networks", section 4.3.
    """
    if not network.layers_alone:
        raise ValueError("the bound is for fully connected networks: no convolutions, no radial basis")
    budget = as_budget(budget)
    refuse_nonfinite(network.flat.detach(), "the network's parameters")
    weights = [weight.detach().clone() for weight in network.parameters[::2]]  # [S, in, out]
    weights[0] *= budget.extent(weights[0][:, None, :, 0])[:, None]
    *hidden, output = weights
    gain = torch.ones(len(output), 1, device=output.device, dtype=output.dtype)
    for weight in hidden:
        # the layer computes x W, so its operator norm is that of W^T
        gain = gain * torch.linalg.matrix_norm(weight.mT, ord=ORDER[budget.norm])[:, None]
    bound: Tensor = gain * torch.linalg.vector_norm(output, ord=DUAL[budget.norm], dim=1)
    return bound


def margin_radius(scores: Given, lipschitz: Given) -> Tensor:
    """Return ``min over j of (f_i - f_j) / (L_i + L_j)`` for the greedy i, ``[S, B]``: no smaller change flips i.

    With one constant L for all scores it is ``(f_i - f_j) / (2 L)``. It is a certificate if L is an upper bound of the
    Lipschitz constant, and an estimate if L is an estimate.

    Args:
        scores: at the true observation, ``[S, B, A]``; ``[B, A]`` and ``[A]`` mean one row.
        lipschitz: constants of every score, ``[S, A]``, or ``[A]`` for all rows; the radius has their norm and scale.

    Raises:
        ValueError: a number is not finite, or the shapes do not fit.

    Source: Hein & Andriushchenko 2017, "Formal guarantees on the robustness of a classifier against adversarial
    manipulation", theorem 2.1, with global constants.
    """
    scores, speeds = as_observations(scores, name="scores"), as_tensor(lipschitz, "lipschitz")
    if speeds.shape not in ((len(scores), scores.shape[-1]), scores.shape[-1:]):
        raise ValueError(f"lipschitz must be [S, A] of scores {list(scores.shape)}, got {list(speeds.shape)}")
    refuse_nonfinite(scores, "scores")
    refuse_nonfinite(speeds, "lipschitz")
    greedy = scores.argmax(dim=-1, keepdim=True)  # [S, B, 1]
    speeds = speeds.expand(len(scores), -1)[:, None].expand(scores.shape)
    gap = scores.gather(-1, greedy) - scores
    together = speeds.gather(-1, greedy) + speeds
    radius = torch.where(together > 0, gap / torch.where(together > 0, together, 1.0), torch.inf)
    return radius.masked_fill(torch.nn.functional.one_hot(greedy[..., 0], scores.shape[-1]).bool(), torch.inf).amin(-1)


@torch.no_grad()
def first_order_flip(victim: Victim, obs: Given, budget: Budget | float) -> Tensor:
    """Return the epsilon at which the linearized victim changes its action, ``[S, B]``.

    It is the lead of the greedy action over the runner-up at the true observation, divided by the dual norm of the
    gradient of that lead. For two linear scores whose difference has weights w, with the norm "inf", it is exactly ``(w
    . x + b) / |w|_1``. For other victims it is a prediction; it is infinite where the gradient is zero.

    Args:
        victim: a victim with scores.
        obs: true observations ``[S, B, *observation]``.
        budget: norm, scale and mask; its epsilon is not used.

    Raises:
        ValueError: a score is not finite.

    Source: Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", section 3.
    """
    victim, obs, budget, _, _ = posed(victim, obs, budget)
    scores = scores_of(victim, obs)
    refuse_nonfinite(scores, "the victim's scores")
    goal = pose(MARGIN, victim, obs, scores)
    behind, gradient = value_and_gradient(victim, goal, obs)
    gain = budget.dual_norm(gradient)
    return torch.where(gain > 0, -behind / torch.where(gain > 0, gain, 1.0), torch.inf)

"""Rounding errors: how far the scores that a victim computes may lie from the real numbers that its layers define.

A sum of n products is within ``gamma_n sum |w x|`` of the real number in any order of summation, with ``gamma_n = n u /
(1 - n u)`` and unit roundoff u (Higham 2002, "Accuracy and stability of numerical algorithms", equation 3.5). Errors
are carried from layer to layer. They hold for every observation of a box at once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .layers import LayerStack
from .region import ROUNDOFF
from .relaxation import TANH_ERROR, image, steepest_on

DOUBLE = ROUNDOFF[torch.float64]


def gamma(terms: Tensor, roundoff: float) -> Tensor:
    """Return the relative error of sums of so many products."""
    return terms * roundoff / (1.0 - terms * roundoff)


def score_slack(stack: LayerStack, row: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Bound the rounding of score differences on boxes of normalized features.

    Args:
        stack: the layers.
        row: row of every batch of boxes, ``[T]``.
        low: lower corners, ``[T, D, n]``.
        high: upper corners, ``[T, D, n]``.

    Returns:
        ``[T, A, A, n]``: entry (b, a) bounds how far ``score_b - score_a`` as computed by the victim, rounding of the
        observation's normalization included, may lie from a bound of it computed here in float64.
    """
    u = ROUNDOFF[stack.dtype]
    size = torch.maximum(low.abs(), high.abs())
    # the normalization is computed in float64 and rounded once
    error = 2.0 * u * size + 16.0 * DOUBLE * (size + (stack.mean.abs() * stack.gain)[row])
    magnitude = size
    for weights, biases, terms, activation in zip(
        stack.weights[:-1], stack.biases[:-1], stack.terms[:-1], stack.activations, strict=True
    ):
        weight, bias = weights[row], biases[row]
        absolute = weight.abs()
        middle, reach = torch.baddbmm(bias, weight, (low + high) / 2), torch.bmm(absolute, (high - low) / 2)
        rounding = gamma(_active_terms(terms, size), u) * (torch.bmm(absolute, size + error) + bias.abs())
        error = torch.bmm(absolute, error) + rounding
        low, high = middle - reach - error, middle + reach + error
        error = error * steepest_on(activation, low, high)
        low, high = image(activation, low, high)
        size = torch.maximum(low.abs(), high.abs())
        magnitude = 2.0 * (torch.bmm(absolute, magnitude) + bias.abs())
        if activation == "tanh":
            error, magnitude = error + TANH_ERROR[stack.dtype], magnitude + 1.0
    weight, bias = stack.weights[-1][row], stack.biases[-1][row]
    actions = weight.shape[1]
    difference = (weight[:, :, None] - weight[:, None]).flatten(1, 2).abs()  # [T, A A, in]
    both = (weight.abs()[:, :, None] + weight.abs()[:, None]).flatten(1, 2)
    of_biases = (bias.abs()[:, :, None] + bias.abs()[:, None]).flatten(1, 2)
    rounding = gamma(_active_terms(stack.terms[-1], size), u) * (torch.bmm(both, size + error) + of_biases)
    slack = torch.bmm(difference, error) + rounding
    if stack.log_softmax:  # score - log sum exp is rounded once more
        largest = (torch.bmm(weight.abs(), size + error) + bias.abs()).amax(dim=1, keepdim=True)
        slack = slack + 4.0 * u * (2.0 * largest + math.log(actions) + 1.0)
    operations = sum(stack.terms) + 20 * len(stack.terms) + 4 * stack.num_features
    slack = slack + 16.0 * operations * DOUBLE * (torch.bmm(both, magnitude) + of_biases)
    return slack.view(len(slack), actions, actions, -1)


def _active_terms(terms: int, size: Tensor) -> Tensor:
    """Roundings of a sum whose inputs are at most ``size [T, in, n]``: products with 0 are exact. ``[T, 1, n]``."""
    return terms - (size == 0).sum(dim=1, keepdim=True).to(size)

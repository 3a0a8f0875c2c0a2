"""Rounding errors: how far the scores that a victim computes may lie from the real numbers that its layers define.

A sum of n products is within ``gamma_n sum |w x|`` of the real number in any order of summation, with ``gamma_n = n u /
(1 - n u)`` and unit roundoff u (Higham 2002, "Accuracy and stability of numerical algorithms", equation 3.5). Errors
are carried from layer to layer. They hold for every observation of a region at once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .layers import LayerStack
from .region import ROUNDOFF, Region
from .relaxation import TANH_ERROR, image, steepest_on

DOUBLE = ROUNDOFF[torch.float64]


def gamma(terms: int, roundoff: float) -> float:
    """Return the relative error of a sum of this many products."""
    return terms * roundoff / (1.0 - terms * roundoff)


def score_slack(stack: LayerStack, region: Region) -> Tensor:
    """Bound the rounding of score differences over regions.

    Returns:
        ``[A, A, O]``: entry (b, a) bounds how far ``score_b - score_a`` as computed by the victim, rounding of the
        observation's normalization included, may lie from a bound of it computed here in float64.
    """
    rows, actions = len(stack.weights[0]), stack.num_actions
    low, high = (_by_row(end, rows) for end in (region.low, region.high))  # [S, D, B]
    u = ROUNDOFF[stack.dtype]
    size = torch.maximum(low.abs(), high.abs())
    # the normalization is computed in float64 and rounded once
    error = 2.0 * u * size + 16.0 * DOUBLE * (size + stack.mean.abs() * stack.gain)
    magnitude = size
    layers = list(zip(stack.weights, stack.biases, stack.terms, strict=True))
    for (weight, bias, terms), activation in zip(layers[:-1], stack.activations, strict=True):
        absolute = weight.abs()
        middle, reach = torch.baddbmm(bias, weight, (low + high) / 2), torch.bmm(absolute, (high - low) / 2)
        error = torch.bmm(absolute, error) + gamma(terms, u) * (torch.bmm(absolute, size + error) + bias.abs())
        low, high = middle - reach - error, middle + reach + error
        error = error * steepest_on(activation, low, high)
        low, high = image(activation, low, high)
        size = torch.maximum(low.abs(), high.abs())
        magnitude = 2.0 * (torch.bmm(absolute, magnitude) + bias.abs())
        if activation == "tanh":
            error, magnitude = error + TANH_ERROR[stack.dtype], magnitude + 1.0
    weight, bias, terms = layers[-1]
    difference = (weight[:, :, None] - weight[:, None]).flatten(1, 2).abs()  # [S, A A, in]
    both = (weight.abs()[:, :, None] + weight.abs()[:, None]).flatten(1, 2)
    biases = (bias.abs()[:, :, None] + bias.abs()[:, None]).flatten(1, 2)
    slack = torch.bmm(difference, error) + gamma(terms, u) * (torch.bmm(both, size + error) + biases)
    if stack.log_softmax:  # score - log sum exp is rounded once more
        largest = (torch.bmm(weight.abs(), size + error) + bias.abs()).amax(dim=1, keepdim=True)
        slack = slack + 4.0 * u * (2.0 * largest + math.log(actions) + 1.0)
    operations = sum(stack.terms) + 20 * len(stack.terms) + 4 * stack.num_features
    slack = slack + 16.0 * operations * DOUBLE * (torch.bmm(both, magnitude) + biases)
    return slack.movedim(0, 1).reshape(actions, actions, -1)


def _by_row(x: Tensor, rows: int) -> Tensor:
    """``[D, S B]`` as ``[S, D, B]``."""
    return x.reshape(len(x), rows, -1).movedim(1, 0).contiguous()

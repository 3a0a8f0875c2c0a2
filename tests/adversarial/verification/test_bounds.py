"""Linear bounds on boxes hold at every sample of the box, in every layer, and close with its size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from verified_networks import network
from victims import normal, uniform

from rlkit.adversarial import ModuleVictim
from rlkit.adversarial.verification.bounds import TILE, TileLayers, bound_below, relax, scores_at
from rlkit.adversarial.verification.layers import extract_layers
from rlkit.adversarial.verification.relaxation import activated

ROWS, DIMS, ACTIONS, SAMPLES = 2, 3, 4, 400


def layers_of_rows(activation: type[nn.Module]) -> TileLayers:
    """Three hidden layers, with biases that put many units near their kink."""
    modules = [network(DIMS, 12, 12, 12, ACTIONS, seed=seed, activation=activation) for seed in range(ROWS)]
    return TileLayers.of(extract_layers(ModuleVictim(modules)))


def boxes(size: float) -> tuple[Tensor, Tensor, Tensor]:
    """Centers and radii of boxes, ``[T, D, TILE]``, and samples of them with all corners, ``[T, D, TILE, n]``."""
    center = normal(ROWS, DIMS, TILE, seed=1).double()
    radius = size * uniform(ROWS, DIMS, TILE, seed=2)
    inside = 2.0 * uniform(ROWS, DIMS, TILE, SAMPLES, seed=3) - 1.0
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * DIMS).double().mT  # [D, 8]
    z = torch.cat([inside, corners[None, :, None].expand(ROWS, -1, TILE, -1)], dim=-1)
    return center, radius, center[..., None] + radius[..., None] * z


@pytest.mark.parametrize("size", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_bounds_hold_at_every_sample_in_every_layer(activation: type[nn.Module], size: float) -> None:
    layers, (center, radius, points) = layers_of_rows(activation), boxes(size)
    relaxed = relax(layers, center, radius)
    h = points.flatten(2)
    for weight, bias, kind, line in zip(layers.weights, layers.biases, layers.activations, relaxed.lines, strict=False):
        y = torch.baddbmm(bias, weight, h).unflatten(2, (TILE, -1))
        value = activated(kind, y)
        low_slope, low, high_slope, high = (part[..., None] for part in line)
        assert (low_slope * y + low <= value + 1e-12).all()
        assert (value <= high_slope * y + high + 1e-12).all()
        h = value.flatten(2)
    last = h.unflatten(2, (TILE, -1))
    assert (relaxed.low[..., None] <= last + 1e-12).all()
    assert (last <= relaxed.high[..., None] + 1e-12).all()

    rows = normal(ROWS, ACTIONS, 5, TILE, seed=4).double()
    found = bound_below(layers, relaxed, rows)
    scores = scores_at(layers, points.flatten(2)).unflatten(2, (TILE, -1))  # [T, A, TILE, n]
    combined = torch.einsum("tark,takn->trkn", rows, scores)
    linear = found.constant[..., None] + torch.einsum("tdrk,tdkn->trkn", found.slopes, points)
    assert (linear <= combined + 1e-10).all()
    assert (found.interval[..., None] <= combined + 1e-10).all()
    assert (combined <= (found.interval + 2.0 * found.reach)[..., None] + 1e-10).all()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_bounds_close_with_the_square_of_the_size(activation: type[nn.Module]) -> None:
    layers = layers_of_rows(activation)
    rows = normal(ROWS, ACTIONS, 2, TILE, seed=5).double()
    gaps = []
    for size in (1e-2, 1e-3, 1e-4):
        center, radius, points = boxes(size)
        found = bound_below(layers, relax(layers, center, radius), rows)
        scores = scores_at(layers, points.flatten(2)).unflatten(2, (TILE, -1))
        combined = torch.einsum("tark,takn->trkn", rows, scores).amin(dim=-1)
        value = found.constant + (found.slopes * center[:, :, None]).sum(dim=1)
        value = value - (found.slopes.abs() * radius[:, :, None]).sum(dim=1)
        # most boxes: a relu may have its kink inside the smallest box
        gaps.append((combined - value).flatten().quantile(0.8).item())
    assert gaps[0] < 0.1
    assert gaps[1] < 0.05 * gaps[0] + 1e-12
    assert gaps[2] < 0.05 * gaps[1] + 1e-12

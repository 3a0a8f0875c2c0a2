"""REINFORCE's gradients held to autograd of the losses that its file states, for every option, in float64.

A fresh Adam keeps a tenth of its first gradient, and that is where the gradient is read.
"""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from finite_problems import needs_numba
from torch import Tensor

from rlkit.agents.reinforce import negative_entropy, reinforce_loss, value_loss
from rlkit.baselines import optimal_constant
from rlkit.compiled.layout import MLPArrays, OptimizerArrays
from rlkit.compiled.reinforce import PlayedSegment, PolicyDescent, descend_policy_rows, fit_value_rows
from rlkit.losses import explained_variance
from rlkit.nn import MLP, Adam

pytestmark = [needs_numba, pytest.mark.slow]

S, B, T, D, A = 2, 3, 20, 4, 3
FAR = np.full(S, 1e9)  # a limit that clips no gradient


class Segment(NamedTuple):
    """A segment that was played, ordered by copy, ``[S, B, T, ...]``."""

    features: Tensor
    action: Tensor
    mask: Tensor
    weight: Tensor
    counted: Tensor


def segment() -> Segment:
    generator = torch.Generator().manual_seed(5)
    features, weight = (torch.randn(*shape, generator=generator).double() for shape in ((S, B, T, D), (S, B, T)))
    action = torch.randint(A, (S, B, T), generator=generator)
    mask = torch.rand(S, B, T, A, generator=generator) < 0.6
    mask.scatter_(3, action[..., None], True)  # what was done was allowed
    counted = torch.rand(S, B, T, generator=generator) < 0.7
    return Segment(features, action, mask, torch.where(counted, weight, 0.0), counted)


def network(outputs: int) -> MLP:
    return MLP((D, 8, outputs), range(S), "tanh", dtype=torch.float64)


def first_gradient(optimizer: Adam) -> Tensor:
    return optimizer.first / (1.0 - optimizer.betas[0])


class Expected(NamedTuple):
    """By autograd."""

    by_copy: Tensor  # [S, B, P], the gradients
    loss: Tensor  # [S]
    entropy: Tensor  # [S]


def expected(policy: MLP, played: Segment, masked: bool, optimal: bool, ent_coef: Tensor) -> Expected:
    """Differentiate by the parameters, one copy after another."""
    by_copy, losses, entropies = [], [], []
    for b in range(B):
        features, action, mask, weight, counted = (field[:, b] for field in played)
        allowed = mask if masked else None
        loss = reinforce_loss(policy(features), action, weight, allowed).mean(dim=1)
        gradient = policy.gradient(loss)
        score = policy.gradient(reinforce_loss(policy(features), action, counted.double(), allowed).mean(dim=1))
        bonus = negative_entropy(policy(features), allowed).mean(dim=1)
        by_copy.append((gradient, score, policy.gradient(ent_coef * bonus)))
        losses.append(loss.detach())
        entropies.append(-bonus.detach())
    gradient, score, of_bonus = (torch.stack(each, dim=1) for each in zip(*by_copy, strict=True))
    if optimal:
        gradient = gradient - optimal_constant(gradient, score)[..., None] * score
    return Expected(gradient + of_bonus, torch.stack(losses).mean(dim=0), torch.stack(entropies).mean(dim=0))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("optimal", [False, True])
@pytest.mark.parametrize("ent_coef", [[0.0, 0.0], [0.1, 0.5]])
def test_the_gradient_of_the_policy(masked: bool, optimal: bool, ent_coef: list[float]) -> None:
    played, policy = segment(), network(A)
    by_autograd = expected(policy, played, masked, optimal, torch.tensor(ent_coef, dtype=torch.float64))
    optimizer, log = Adam(policy.flat), np.empty((S, 5))
    descent = PolicyDescent(np.full(S, 1e-3), FAR, np.array(ent_coef), optimal)
    given = played if masked else played._replace(mask=torch.empty(S, B, 0, A, dtype=torch.bool))
    arrays = MLPArrays.of(policy), OptimizerArrays.of(optimizer), PlayedSegment(*(field.numpy() for field in given))
    descend_policy_rows(0, S, descent, *arrays, np.ones(S, np.bool_), log)
    mean = by_autograd.by_copy.mean(dim=1)
    torch.testing.assert_close(first_gradient(optimizer), mean, rtol=1e-12, atol=1e-15)
    variance = by_autograd.by_copy.var(dim=1).sum(dim=1) / B
    logged = by_autograd.loss, by_autograd.entropy, mean.norm(dim=1), variance
    np.testing.assert_allclose(log[:, [0, 1, 3, 4]], torch.stack(logged, dim=1).numpy(), rtol=1e-11)


def test_the_gradient_of_the_values() -> None:
    played, value = segment(), network(1)
    features, returns = played.features.flatten(1, 2), played.weight.flatten(1, 2)
    guess = value(features)
    loss = value_loss(guess, returns).mean(dim=1)
    gradient = value.gradient(loss.sum())
    explained = explained_variance(returns - guess[..., 0], returns).detach()
    optimizer, log = Adam(value.flat), np.empty((S, 2))
    arrays = MLPArrays.of(value), OptimizerArrays.of(optimizer), features.numpy(), returns.numpy()
    fit_value_rows(0, S, 1, np.full(S, 1e-3), FAR, *arrays, np.ones(S, np.bool_), log)
    torch.testing.assert_close(first_gradient(optimizer), gradient, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(log, torch.stack([loss.detach(), explained], dim=1).numpy(), rtol=1e-11)

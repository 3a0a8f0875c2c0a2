"""Slopes held to autograd of the losses that the algorithms' files state, for every option, in float64."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from finite_problems import needs_numba
from torch import Tensor

from rlkit.agents.a2c import a2c_loss
from rlkit.agents.core.descent import loss_of
from rlkit.agents.ppo import Experience, approximate_kl, clip_fraction, ppo_loss
from rlkit.agents.reinforce import negative_entropy, reinforce_loss
from rlkit.compiled.jit import compiled
from rlkit.compiled.losses import A2CNumbers, OnPolicyBatch, PPONumbers, log_softmax, policy_slope, slope
from rlkit.losses import entropy

pytestmark = [needs_numba, pytest.mark.slow]

S, M, A = 2, 60, 4


class Case(NamedTuple):
    """Minibatches of S rows and the outputs of networks."""

    batches: list[OnPolicyBatch]
    experience: Experience
    logits: Tensor
    value: Tensor


@compiled
def slopes(numbers, k, s, batch, logits, value, parts):
    """The derivatives of the loss of row s by logits and value, in their place."""
    slope(numbers, k, s, batch, logits, value, np.empty_like(logits), np.empty(len(logits)), parts)


def case(masked: bool) -> Case:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    mask = torch.rand(S, M, A, generator=generator) < 0.6
    action = torch.randint(A, (S, M), generator=generator)
    mask.scatter_(2, action[..., None], True)  # what was done was allowed
    logits, value, advantage, target, old_value = draw(S, M, A), draw(S, M), draw(S, M), draw(S, M), draw(S, M)
    old = torch.log_softmax(logits + 0.3 * draw(S, M, A), dim=-1).gather(2, action[..., None])[..., 0]
    old_value = value + 0.2 * old_value  # within the limit, and beyond it on either side
    allowed = mask if masked else None
    experience = Experience(torch.zeros(S, M, 1), action, old, old_value, advantage, target, allowed)
    seen = mask.numpy() if masked else np.empty((S, 0, A), np.bool_)
    fields = [np.zeros((S, M, 1)), action.numpy(), seen, *(x.numpy() for x in (old, old_value, advantage, target))]
    return Case([OnPolicyBatch(*(field[s] for field in fields)) for s in range(S)], experience, logits, value)


def derivatives(numbers, given: Case):
    by_logits, by_value, parts = given.logits.numpy().copy(), given.value.numpy().copy(), np.zeros((S, 5))
    for s, batch in enumerate(given.batches):
        own = batch._replace(advantage=batch.advantage.copy())  # which is overwritten
        slopes(numbers, np.int64(1), s, own, by_logits[s], by_value[s, :, None], parts[s])
    return by_logits, by_value, parts / M


def assert_slopes(numbers, given: Case, loss, change=lambda losses: ()):
    """The slopes are autograd of ``loss``, and the parts are those that are logged."""
    logits, value = given.logits.clone().requires_grad_(), given.value.clone().requires_grad_()
    losses = loss(logits, value)
    loss_of(losses).sum().backward()
    by_logits, by_value, parts = derivatives(numbers, given)
    np.testing.assert_allclose(by_logits, logits.grad.numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(by_value, value.grad.numpy(), rtol=1e-12, atol=1e-15)
    parts_of_loss = losses.policy_loss, losses.value_loss, entropy(losses.log_p)
    logged = *(part.mean(dim=1) for part in parts_of_loss), *change(losses)
    for i, part in enumerate(logged):
        np.testing.assert_allclose(parts[:, i], part.detach().numpy(), rtol=1e-11, err_msg=str(i))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("clip_range_vf", [None, [0.1, 0.3]])
@pytest.mark.parametrize("ent_coef", [[0.0, 0.0], [0.1, 0.5]])
def test_ppo(masked, clip_range_vf, ent_coef):
    clip, vf_coef = torch.tensor([0.1, 0.3]).double(), torch.tensor([0.5, 2.0]).double()
    limit = None if clip_range_vf is None else torch.tensor(clip_range_vf).double()
    ent = torch.tensor(ent_coef).double()
    given = case(masked)
    ranges = (torch.stack([x, x]).numpy() * [[9.0], [1.0]] for x in (clip, clip if limit is None else limit))
    numbers = PPONumbers(*ranges, limit is not None, ent.numpy(), vf_coef.numpy())  # those of the second iteration

    def change(losses):
        return approximate_kl(losses.log_ratio), clip_fraction(losses.log_ratio, clip)

    assert_slopes(numbers, given, lambda x, v: ppo_loss(x, v, given.experience, clip, limit, ent, vf_coef), change)
    ratio = (torch.log_softmax(given.logits, -1).gather(2, given.experience.action[..., None])[..., 0]).exp()
    assert ratio.numel() == S * M  # some are clipped above, some below, and some are not
    fraction = derivatives(numbers, given)[2][:, 4]
    assert (fraction > 0).all()
    assert (fraction < 1).all()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("ent_coef", [[0.0, 0.0], [0.1, 0.5]])
def test_a2c(masked, ent_coef):
    ent, vf_coef = torch.tensor(ent_coef).double(), torch.tensor([0.5, 2.0]).double()
    given = case(masked)
    _, action, _, _, advantage, target, mask = given.experience
    numbers = A2CNumbers(ent.numpy(), vf_coef.numpy())
    assert_slopes(numbers, given, lambda x, v: a2c_loss(x, v, action, advantage, target, ent, vf_coef, mask))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("ent_coef", [0.0, 0.5])
def test_reinforce(masked, ent_coef):
    given = case(masked)
    logits = given.logits.clone().requires_grad_()
    _, action, _, _, weight, _, mask = given.experience
    loss = reinforce_loss(logits, action, weight, mask) + ent_coef * negative_entropy(logits, mask)
    loss.mean(dim=1).sum().backward()
    log_p, entropies, by_logits = np.empty((M, A)), np.empty(M), np.empty((M, A))
    for s, batch in enumerate(given.batches):
        log_softmax(given.logits[s].numpy(), batch.mask, log_p, entropies)
        policy_slope(log_p, entropies, batch.action, -batch.advantage / M, ent_coef / M, by_logits)
        np.testing.assert_allclose(by_logits, logits.grad[s].numpy(), rtol=1e-12, atol=1e-15)


def test_an_action_that_is_not_allowed_has_no_probability_and_no_slope():
    given = case(masked=True)
    ones = np.ones(S)
    by_logits, _, _ = derivatives(A2CNumbers(ones, ones), given)
    forbidden = np.stack([~batch.mask for batch in given.batches])
    assert forbidden.any()
    assert (by_logits[forbidden] == 0.0).all()
    log_p, entropy = np.empty((1, A)), np.empty(1)
    log_softmax(np.array([[1.0, 5.0, -2.0, 1.0]]), np.array([[True, False, False, True]]), log_p, entropy)
    assert entropy[0] == pytest.approx(np.log(2.0), rel=1e-15)
    np.testing.assert_array_equal(np.exp(log_p)[0, [1, 2]], 0.0)


@pytest.mark.parametrize("place", ["logits", "value"])
def test_what_is_not_a_number_reaches_the_slope(place):
    given = case(masked=False)
    (given.logits[0, 0] if place == "logits" else given.value[0])[:1] = torch.nan
    ones = np.ones(S)
    numbers = PPONumbers(np.full((2, S), 0.2), np.full((2, S), 0.2), True, ones, ones)
    by_logits, by_value, _ = derivatives(numbers, given)
    assert np.isnan(by_logits[0, 0]).all() if place == "logits" else np.isnan(by_value[0, 0])
    assert np.isfinite(by_logits[1]).all()
    assert np.isfinite(by_value[1]).all()

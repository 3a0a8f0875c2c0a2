"""Adversarial distances against closed forms, bisection and one another."""

from __future__ import annotations

import math

import pytest
import torch
from victims import DIMS, NORMS, Linear, length, mlp, normal, uniform

from rlkit.adversarial import FGSM, PGD, Budget, DeepFool, adversarial_distance, execute
from rlkit.adversarial.budget import DUAL, Norm

SCALE = [1.0, 2.0, 0.5, 1.0]


def linear_distance(victim: Linear, obs: torch.Tensor, norm: Norm) -> torch.Tensor:
    """min_b (score_a - score_b) / |scale (w_b - w_a)|_q, [S, B]."""
    scores = victim.scores(obs)
    action = scores.argmax(dim=-1)
    distances = []
    for b in range(scores.shape[-1]):
        gap = scores.amax(dim=-1) - scores[..., b]
        own = torch.stack([victim.weight[s][:, action[s]].T for s in range(len(obs))])  # [S, B, D]
        difference = (victim.weight[:, None, :, b] - own) * torch.tensor(SCALE)
        dual = torch.linalg.vector_norm(difference, ord=DUAL[norm], dim=-1)
        distances.append(torch.where(action == b, math.inf, gap / dual))
    return torch.stack(distances).amin(dim=0)


@pytest.mark.parametrize("norm", NORMS)
def test_deepfool_is_exact_for_linear_victims(norm: Norm) -> None:
    victim, obs = Linear(normal(3, DIMS, 4)), normal(3, 20, DIMS, seed=1)
    budget = Budget(50.0, norm, scale=SCALE)
    result = execute(DeepFool(), victim, obs, budget)
    exact = linear_distance(victim, obs, norm)
    assert result.success.all()
    assert (result.distance >= exact * (1 - 1e-4)).all()
    torch.testing.assert_close(result.distance, exact, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(result.distance, length(budget, result.obs - obs))
    found = adversarial_distance(DeepFool(), victim, obs, budget, halvings=0)
    assert torch.equal(found.distance, result.distance)
    assert torch.equal(found.obs, result.obs)


@pytest.mark.parametrize("norm", NORMS)
def test_bisection_over_epsilon_is_exact_where_fgsm_is(norm: Norm) -> None:
    victim, obs = Linear(normal(3, DIMS, 2)), normal(3, 20, DIMS, seed=1)
    found = adversarial_distance(FGSM(), victim, obs, Budget(8.0, norm, scale=SCALE), halvings=16)
    torch.testing.assert_close(found.distance, linear_distance(victim, obs, norm), rtol=1e-2, atol=1e-3)
    assert (victim.act(found.obs) != victim.act(obs)).all()
    assert found.queries == 17 * 4


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_nearer_than_deepfools_point_pgd_finds_little(norm: Norm) -> None:
    victim, obs, budget = mlp(3), normal(2, 60, DIMS, seed=1), Budget(3.0, norm)
    fool = adversarial_distance(DeepFool(), victim, obs, budget, halvings=0)
    u = uniform(2, 60, PGD(10, restarts=2).noise_width(DIMS))
    pgd = adversarial_distance(PGD(10, restarts=2), victim, obs, budget, 10, u)
    both = fool.distance.isfinite() & pgd.distance.isfinite()
    assert both.double().mean(dim=(0, 1)) > 0.8
    ratio = (fool.distance / pgd.distance)[both]
    assert 0.9 < ratio.median(dim=0).values < 1.1
    for found in (fool, pgd):
        flipped = victim.act(found.obs) != victim.act(obs)
        assert torch.equal(flipped, found.distance.isfinite())


def test_towards_a_target_and_within_bounds() -> None:
    # scores (x, y, 0): the target 1 is reached at x' = y'; the bound on y leaves x to do the rest
    weight = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    victim, obs, target = Linear(weight), torch.tensor([[[1.0, 0.5]]]), torch.ones(1, 1, dtype=torch.int64)
    free = adversarial_distance(DeepFool(), victim, obs, Budget(5.0), halvings=0, target=target)
    assert free.distance.item() == pytest.approx(0.25, rel=1e-3)
    bounded = adversarial_distance(DeepFool(), victim, obs, Budget(5.0, high=[2.0, 0.6]), halvings=0, target=target)
    assert bounded.distance.item() == pytest.approx(0.4, rel=2e-3)
    assert victim.act(bounded.obs).item() == 1


def test_what_cannot_be_flipped_is_infinitely_far() -> None:
    weight = torch.zeros(1, DIMS, 2)
    victim, obs = Linear(weight, torch.tensor([[[1.0, 0.0]]])), normal(1, 5, DIMS)
    found = adversarial_distance(DeepFool(), victim, obs, Budget(5.0))
    assert found.distance.isinf().all()
    assert torch.equal(found.obs, obs)
    masked = Linear(normal(1, DIMS, 2))
    assert execute(DeepFool(), masked, obs, Budget(9.0, mask=[False] * DIMS)).success.logical_not().all()


def test_misuse_is_refused() -> None:
    for wrong, message in (
        ({"steps": 0}, "steps must be at least 1 and halvings not negative, got 0 and 12"),
        ({"halvings": -1}, "got 20 and -1"),
        ({"overshoot": 0.0}, "overshoot must be positive, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            DeepFool(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="halvings must not be negative, got -1"):
        adversarial_distance(FGSM(), Linear(normal(1, DIMS, 2)), normal(1, 2, DIMS), Budget(1.0), -1)

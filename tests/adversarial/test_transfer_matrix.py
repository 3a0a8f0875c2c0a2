"""Attacks on one policy that were found on another, or on other observations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from victims import DIMS, Linear, length, mlp, normal, uniform

from rlkit.adversarial import (
    FGSM,
    PGD,
    Budget,
    LabelVictim,
    ModuleVictim,
    Noise,
    Transfer,
    Universal,
    distill,
    execute,
    perturb,
    universal_offset,
)
from rlkit.adversarial.budget import Norm


def test_transfer_shows_what_was_found_on_the_source() -> None:
    victim, source, obs, budget = mlp(3), Linear(normal(2, DIMS, 3)), normal(2, 20, DIMS, seed=1), Budget(0.5)
    target = torch.ones(2, 20, dtype=torch.int64)
    for aim in (None, target):
        shown = execute(Transfer(FGSM(), source), victim, obs, budget, target=aim)
        assert torch.equal(shown.obs, perturb(FGSM(), source, obs, budget, target=aim))
        wanted = victim.act(shown.obs) != victim.act(obs) if aim is None else victim.act(shown.obs) == aim
        assert torch.equal(shown.success, wanted)
        assert shown.queries == 3  # the evaluation's
    assert Transfer(PGD(restarts=2), source).noise_width(DIMS) == DIMS + 1
    assert Transfer(FGSM(), source).name == "transferred FGSM"


@pytest.mark.slow
@pytest.mark.parametrize("answers", ["labels", "scores"])
def test_a_substitute_agrees_and_its_attacks_beat_noise(answers: Any) -> None:
    victim, obs, budget = mlp(3), normal(2, 400, DIMS, seed=1), Budget(0.4)
    substitute, agreement = distill(victim, obs, budget, answers, steps=400)
    assert (agreement > 0.85).all()
    assert substitute.queries == 2000
    fresh = normal(2, 200, DIMS, seed=2)
    white = execute(FGSM(), victim, fresh, budget).success.double().mean(dim=1)
    black = execute(Transfer(FGSM(), substitute), victim, fresh, budget).success.double().mean(dim=1)
    noise = execute(Noise(), victim, fresh, budget, uniform(2, 200, DIMS)).success.double().mean(dim=1)
    assert (black > noise + 0.1).all()
    assert (black > 0.7 * white).all()


@pytest.mark.slow
def test_a_substitute_of_scores_does_not_depend_on_their_unit_or_level() -> None:
    victim, obs, budget = mlp(3), normal(2, 100, DIMS, seed=1), Budget(0.4)

    class Scaled(ModuleVictim):
        def scores(self, obs: Tensor) -> Tensor:
            return 50.0 * super().scores(obs) - 300.0

    by_scores, _ = distill(victim, obs, budget, "scores", steps=300)
    scaled, _ = distill(Scaled(victim.modules), obs, budget, "scores", steps=300)
    fresh = normal(2, 200, DIMS, seed=2)
    assert (scaled.act(fresh) == by_scores.act(fresh)).double().mean(dim=(0, 1)) > 0.97


@pytest.mark.slow
def test_a_tree_can_be_imitated() -> None:
    def tree(x: np.ndarray) -> np.ndarray:
        return np.where(x[:, 0] > 0.2, np.where(x[:, 1] > 0.0, 2, 0), 1)

    obs = normal(1, 400, 2, seed=1)
    substitute, agreement = distill(LabelVictim(tree), obs, Budget(0.3), steps=500)
    assert agreement.item() > 0.9
    result = execute(Transfer(PGD(), substitute), LabelVictim(tree), normal(1, 300, 2, seed=5), Budget(0.3))
    noise = execute(Noise(), LabelVictim(tree), normal(1, 300, 2, seed=5), Budget(0.3), uniform(1, 300, 2))
    assert result.success.sum(dim=(0, 1)) > noise.success.sum(dim=(0, 1))


def test_a_substitutes_row_is_its_seeds_own() -> None:
    victim, obs = Linear(normal(8, DIMS, 3)), normal(8, 20, DIMS, seed=1)
    together, _ = distill(victim, obs, Budget(0.3), steps=20, seeds=range(8))
    alone, _ = distill(Linear(victim.weight[5:6]), obs[5:6], Budget(0.3), steps=20, seeds=[5])
    assert torch.equal(alone.network.flat[0], together.network.flat[5])
    other, _ = distill(Linear(victim.weight[5:6]), obs[5:6], Budget(0.3), steps=20, seeds=[6])
    assert not torch.equal(other.network.flat, alone.network.flat)


def test_a_substitute_that_cannot_be_made_is_refused() -> None:
    victim, obs, budget = mlp(3), normal(2, 20, DIMS), Budget(0.1)
    labels: Any = LabelVictim([lambda x: np.zeros(len(x))] * 2)
    for wrong, message in (
        ({"answers": "q"}, "answers must be one of labels, scores, got 'q'"),
        ({"victim": labels, "answers": "scores"}, "LabelVictim has no scores: use answers='labels'"),
        ({"neighbors": -1}, "got -1, 2000 and 0.003"),
        ({"steps": 0}, "got 4, 0 and 0.003"),
        ({"obs": obs[:, :9]}, "at least 10 observations, got 9"),
    ):
        with pytest.raises(ValueError, match=message):
            distill(**{"victim": victim, "obs": obs, "budget": budget, **wrong})  # type: ignore[arg-type]


# universal offsets


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["inf", *(pytest.param(norm, marks=pytest.mark.slow) for norm in ("2", "1"))])
def test_a_universal_offset_beats_random_ones_on_held_out_observations(norm: Norm) -> None:
    # most observations lie on one side of this victim, so that one direction serves many
    victim = Linear(normal(2, DIMS, 3), torch.tensor([1.0, 0.0, -0.5]).expand(2, 1, 3))
    budget = Budget(0.7, norm, scale=[1.0, 2.0, 0.5, 1.0])
    held_out = normal(2, 1000, DIMS, seed=9)

    def flipped(offset: Tensor, obs: Tensor) -> Tensor:
        return execute(Universal(offset), victim, obs, budget).success.double().mean(dim=1)

    def at_random(obs: Tensor) -> Tensor:
        """Flips of 20 random offsets of the same length, [20, S]."""
        draws = (budget.sample_signs(obs[:, :1], uniform(2, 1, DIMS, seed=i))[:, 0] for i in range(20))
        return torch.stack([flipped(offset, obs) for offset in draws])

    for count in (1, 10, 100):
        obs = normal(2, count, DIMS, seed=1)
        offset = universal_offset(victim, obs, budget, steps=50)
        assert (length(budget, offset[:, None]) <= 0.7 * (1 + 1e-5)).all()
        assert (flipped(offset, obs) >= at_random(obs).amax(dim=0) - 0.03).all()
        # on others: what 100 observations taught holds, what fewer taught need not
        if count == 100:
            assert (flipped(offset, held_out) > at_random(held_out).mean(dim=0) + 0.03).all()


def test_a_universal_offset_of_one_observation_is_its_best_corner() -> None:
    victim, obs = Linear(normal(3, DIMS, 2)), normal(3, 1, DIMS, seed=1)
    offset = universal_offset(victim, obs, Budget(0.1), steps=20)
    torch.testing.assert_close(obs[:, 0] + offset, execute(FGSM(), victim, obs, Budget(0.1)).obs[:, 0])
    assert Universal(offset).name == "universal"


def test_a_universal_offset_towards_an_action_within_bounds() -> None:
    victim, obs = mlp(3), normal(2, 100, DIMS, seed=1)
    target = torch.full((2, 100), 2)
    budget = Budget(1.0, low=obs.amin().item(), high=obs.amax().item())
    offset = universal_offset(victim, obs, budget, steps=40, target=target)
    result = execute(Universal(offset), victim, obs, budget, target=target)
    before = (victim.act(obs) == 2).double().mean(dim=1)
    assert (result.success.double().mean(dim=1) > before + 0.1).all()


def test_universal_misuse_is_refused() -> None:
    victim, obs = mlp(3), normal(2, 3, DIMS)
    with pytest.raises(ValueError, match="one epsilon: pass a budget with a number"):
        universal_offset(victim, obs, Budget(torch.tensor([0.1, 0.2, 0.3])))
    with pytest.raises(ValueError, match=r"steps must be at least 1 and step positive, got 0 and 0\.1"):
        universal_offset(victim, obs, Budget(0.1), steps=0)
    with pytest.raises(ValueError, match="step positive, got 100 and nan"):
        universal_offset(victim, obs, Budget(0.1), step=math.nan)

"""Attacks without gradients against grid search, and the best of several attacks."""

from __future__ import annotations

import itertools

import pytest
import torch
from grid_search import GridSearch
from torch import Tensor
from victims import DIMS, NORMS, Linear, length, mlp, normal, uniform

from rlkit.adversarial import (
    FGSM,
    PGD,
    Attack,
    BestOf,
    Boundary,
    Budget,
    LabelVictim,
    Noise,
    RandomSearch,
    Square,
    execute,
    margin,
    perturb,
)
from rlkit.adversarial.attacks.random_search import share
from rlkit.adversarial.budget import Norm


class Labels:
    """A victim that gives actions only."""

    def __init__(self, victim: Linear) -> None:
        self.victim = victim

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return self.victim.act(obs)


def numbers(attack: Attack, obs: Tensor, seed: int = 0) -> Tensor | None:
    width = attack.noise_width(obs[0, 0].numel())
    return uniform(*obs.shape[:2], width, seed=seed) if width > 0 else None


# grid search


@pytest.mark.parametrize("norm", NORMS)
def test_grid_search_is_the_enumeration(norm: Norm) -> None:
    victim, obs = mlp(3, dims=2), normal(2, 30, 2, seed=1)
    budget = Budget(0.8, norm, scale=[1.0, 0.5], low=-2.0, high=obs.amax().item())
    obs = obs.clamp(min=-2.0)
    result = execute(GridSearch(3), victim, obs, budget)
    best = margin(victim.scores(obs), victim.act(obs))
    for z in itertools.product([-1.0, 0.0, 1.0], repeat=2):
        shown = budget.project(obs, obs + 0.8 * torch.tensor(z) * torch.tensor([1.0, 0.5]))
        best = torch.maximum(best, margin(victim.scores(shown), victim.act(obs)))
    torch.testing.assert_close(result.margin, best)
    assert torch.equal(result.success, best > 0)


def test_grid_search_by_labels_finds_the_same_flips() -> None:
    victim, obs, budget = Linear(normal(2, 3, 3)), normal(2, 30, 3, seed=1), Budget(0.3, mask=[True, True, False])
    by_scores, by_labels = (
        execute(GridSearch(4), victim, obs, budget),
        execute(GridSearch(4), Labels(victim), obs, budget),
    )
    assert torch.equal(by_scores.success, by_labels.success)
    assert by_labels.margin.isnan().all()
    assert by_scores.queries == 16 + 2 + 3  # 4 values of each of two features
    assert (by_labels.obs[..., 2] == obs[..., 2]).all()
    with pytest.raises(ValueError, match="points must be at least 2, got 1"):
        GridSearch(1)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dims", [4, pytest.param(6, marks=pytest.mark.slow)])
def test_attacks_without_gradients_find_95_percent_of_grid_searchs_flips(dims: int, norm: Norm) -> None:
    victim, obs = mlp(3, rows=4, dims=dims), normal(4, {4: 60, 6: 20}[dims], dims, seed=1)
    budget = Budget(0.5, norm)
    flips = execute(GridSearch(5), victim, obs, budget).success
    assert 0.2 < flips.double().mean(dim=(0, 1)) < 0.9
    for attack in (RandomSearch(), Boundary()):
        found = execute(attack, victim, obs, budget, numbers(attack, obs)).success
        assert (found & flips).sum(dim=(0, 1)) >= 0.95 * flips.sum(dim=(0, 1)), attack.name


# random search


@pytest.mark.parametrize("norm", ["inf", "1"])
def test_random_search_finds_the_best_corner_of_a_linear_victim(norm: Norm) -> None:
    victim, obs = Linear(normal(2, DIMS, 2)), normal(2, 20, DIMS, seed=1)
    budget = Budget(0.3, norm, scale=[1.0, 2.0, 0.5, 1.0])
    found = execute(RandomSearch(), victim, obs, budget, numbers(RandomSearch(), obs))
    torch.testing.assert_close(found.margin, execute(FGSM(), victim, obs, budget).margin)
    assert found.queries == 200 + 1 + 3


@pytest.mark.slow
def test_square_finds_the_best_corner_of_small_images() -> None:
    victim, obs = Planes(normal(1, 18, 2)), torch.zeros(1, 10, 2, 3, 3)
    found = execute(Square(1500), victim, obs, Budget(0.3), numbers(Square(1500), obs))
    best = execute(FGSM(), victim, obs, Budget(0.3)).margin
    torch.testing.assert_close(found.margin, best)
    noise = execute(Noise(), victim, obs, Budget(0.3), numbers(Noise(), obs)).margin
    few = execute(Square(60), victim, obs, Budget(0.3), numbers(Square(60), obs)).margin
    assert noise.mean(dim=1) < few.mean(dim=1) < best.mean(dim=1)


class Planes(Linear):
    """A linear victim of images."""

    def scores(self, obs: Tensor) -> Tensor:
        return super().scores(obs.flatten(2))


def test_square_starts_from_vertical_stripes_and_changes_squares() -> None:
    shown: list[Tensor] = []

    class Watched(Planes):
        def scores(self, obs: Tensor) -> Tensor:
            shown.append(obs)
            return super().scores(obs)

    obs = torch.zeros(1, 4, 2, 8, 8)
    perturb(Square(50), Watched(normal(1, 128, 2)), obs, Budget(1.0), numbers(Square(50), obs))
    start, *rounds = shown[1:]
    assert (start == start[..., :1, :]).all()
    assert (start.abs() == 1).all()
    assert len({tuple(stripe) for stripe in start[0, :, :, 0].flatten(0, 1).tolist()}) > 4
    for i, trial in enumerate(rounds):
        side = max(round((share(0.8, i, 49) * 64) ** 0.5), 1)
        assert (trial.abs() == 1).all()
        changed = trial != (rounds[i - 1] if i else start)
        # what differs from the last trial lies within two squares: this one and the last, if that was not kept
        assert (
            changed.any(dim=2).sum(dim=(2, 3)).amax() <= 2 * max(side, round((share(0.8, i - 1, 49) * 64) ** 0.5)) ** 2
        )


def test_the_share_falls_as_the_papers() -> None:
    # p = 0.8 of 10,000 queries: halved at 10, 50, 200, 1000, 2000, 4000, 6000, 8000
    for at, halvings in ((0, 0), (9, 0), (10, 1), (49, 1), (50, 2), (200, 3), (1000, 4), (5000, 6), (9999, 8)):
        assert share(0.8, at, 10_000) == 0.8 / 2**halvings


def test_random_search_that_cannot_run_is_refused() -> None:
    obs = torch.zeros(1, 1, 1, 4, 4)
    for attack in (RandomSearch, Square):
        for wrong, message in (
            ({"queries": 1}, "queries must be at least 2, got 1"),
            ({"initial": 0.0}, r"initial must be a share in \(0, 1\], got 0"),
            ({"objective": "loss"}, "objective must be one of"),
        ):
            with pytest.raises(ValueError, match=message):
                attack(**wrong)  # type: ignore[arg-type]
    flat = torch.zeros(1, 1, DIMS)
    with pytest.raises(ValueError, match=r"Square needs planes \[C, H, W\] with C up to 32, got .* of shape \[4\]"):
        perturb(Square(), Linear(normal(1, DIMS, 2)), flat, Budget(0.1), numbers(Square(), flat))
    with pytest.raises(ValueError, match="Square is for the norm 'inf', got '2'"):
        perturb(Square(), Planes(normal(1, 16, 2)), obs, Budget(0.1, "2"), numbers(Square(), obs))
    assert [attack.name for attack in (RandomSearch(9), Square(9, objective="kl"))] == [
        "random search 9",
        "Square 9 kl",
    ]


# labels alone


@pytest.mark.parametrize("norm", NORMS)
def test_boundary_is_near_the_closed_form_of_a_linear_victim(norm: Norm) -> None:
    victim, obs = Linear(normal(2, DIMS, 2)), normal(2, 20, DIMS, seed=1)
    budget = Budget(10.0, norm, scale=[1.0, 2.0, 0.5, 1.0])
    found = execute(Boundary(), Labels(victim), obs, budget, numbers(Boundary(), obs))
    w = victim.weight[..., 1] - victim.weight[..., 0]
    exact = (obs @ w[..., None]).squeeze(-1).abs() / budget.dual_norm(w[:, None].expand(obs.shape))
    assert found.success.all()
    torch.testing.assert_close(found.distance, length(budget, found.obs - obs))
    ratio = found.distance / exact
    assert (ratio > 0.999).all()
    assert ratio.median(dim=1).values.amax() < 1.1
    assert found.queries == 1 + 300 + 100 * 8 + 6 * (30 + 3 * 9) + 2


def test_boundary_towards_a_target_and_where_there_is_nothing() -> None:
    victim, obs, budget = mlp(3), normal(2, 40, DIMS, seed=1), Budget(1.0)
    target = torch.arange(40).remainder(3).expand(2, 40)
    found = execute(Boundary(), Labels(victim), obs, budget, numbers(Boundary(), obs), target)  # type: ignore[arg-type]
    flips = execute(GridSearch(5), victim, obs, budget, target=target).success
    assert (found.success & flips).sum(dim=(0, 1)) >= 0.9 * flips.sum(dim=(0, 1))
    assert torch.equal(found.success, victim.act(found.obs) == target)
    constant = LabelVictim([lambda x: 0 * x[:, 0].astype(int)] * 2)
    nothing = execute(Boundary(), constant, obs, budget, numbers(Boundary(), obs))  # type: ignore[arg-type]
    assert torch.equal(nothing.obs, obs)
    assert not nothing.success.any()
    with pytest.raises(ValueError, match=r"at least 1, got \(100, 30, 0, 6\)"):
        Boundary(rounds=0)
    with pytest.raises(ValueError, match="radius must be positive, got 0"):
        Boundary(radius=0.0)


# the best of several


@pytest.mark.parametrize("norm", NORMS)
def test_the_best_of_attacks_is_at_least_each_of_them_and_nothing(norm: Norm) -> None:
    victim, obs, budget = mlp(3), normal(2, 40, DIMS, seed=1), Budget(0.4, norm)
    members: tuple[Attack, ...] = (Noise(), FGSM(), FGSM("cross_entropy"), PGD(3, restarts=2), Noise("gaussian"))
    best = BestOf(members)
    u = numbers(best, obs)
    assert u is not None
    together = execute(best, victim, obs, budget, u)
    assert (together.margin >= margin(victim.scores(obs), victim.act(obs)) - 1e-5).all()
    widths = [attack.noise_width(DIMS) for attack in members]
    for attack, own in zip(members, u.split(widths, dim=-1), strict=True):
        alone = execute(attack, victim, obs, budget, own if own.shape[-1] else None)
        assert (together.margin >= alone.margin - 1e-5).all()
        assert (together.success | ~alone.success).all()
    assert best.name == "best of sign noise, FGSM, FGSM cross_entropy, PGD-3x2, gaussian noise"
    assert BestOf((Noise(), Noise("uniform")) * 10).name == "best of 10 x sign noise, 10 x uniform noise"
    assert best.access == "gradients"


def test_the_best_of_attacks_does_nothing_rather_than_harm_itself() -> None:
    # noise never flips this victim but moves its margin both ways
    victim, obs = Linear(torch.tensor([[[1.0, 0.0]]])), torch.full((1, 100, 1), 5.0)
    best = BestOf((Noise(),))
    result = execute(best, victim, obs, Budget(0.5), numbers(best, obs))
    assert set(result.obs.flatten().tolist()) == {4.5, 5.0}
    labels = execute(best, Labels(victim), obs, Budget(0.5), numbers(best, obs))  # type: ignore[arg-type]
    assert torch.equal(labels.obs, obs)
    assert best.access == "actions"
    with pytest.raises(ValueError, match="attacks must hold at least one attack"):
        BestOf(())

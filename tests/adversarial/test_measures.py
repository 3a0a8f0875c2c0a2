"""What robustness is measured by: distances, transfers, sections, saliency, bounds, dimensions, and the checklist."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from grid_search import GridSearch
from torch import Tensor
from victims import DIMS, NORMS, Linear, mlp, normal, uniform

import rlkit.envs
from rlkit.adversarial import (
    FGSM,
    PGD,
    Budget,
    Checked,
    DeepFool,
    EncodedVictim,
    ModuleVictim,
    Noise,
    Rescaled,
    aliasing_epsilon,
    alignment,
    along_ray,
    cross_section,
    curve_warnings,
    dimension_sweep,
    distance_curve,
    episode_saliencies,
    episode_saliency,
    examine,
    execute,
    first_order_flip,
    lipschitz_bound,
    margin,
    margin_radius,
    padded,
    robustness_curve,
    rotated,
    saliency,
    steepness,
    sweep,
    transfer_matrix,
    visited,
    warnings_of,
)
from rlkit.adversarial.budget import DUAL, Norm
from rlkit.envs import GridWorld
from rlkit.evaluation import rollout, walk
from rlkit.nn import MLP
from rlkit.types import Env

BALANCER = Linear(torch.tensor([[0.0, 0.0], [0.0, 0.1], [-3.0, 3.0], [-0.5, 0.5]]).repeat(2, 1, 1))
SCALE = [1.0, 0.5, 2.0, 0.25]


def cartpoles(copies: int) -> Env:
    return rlkit.envs.make("CartPole-v1", seeds=[7, 7], num_envs=copies, restart=False, noise="gymnasium", double=True)


# The states


def test_visited_states_are_those_of_natural_episodes() -> None:
    some = visited(BALANCER, cartpoles(3), 25)
    assert some.shape == (2, 25, DIMS)
    for row in range(2):
        seen = torch.cat([step.obs[row][step.running[row]] for step in walk(BALANCER, cartpoles(3), None)])
        for one in some[row]:
            assert (one == seen).all(dim=-1).any()
    assert (some[:, 0] == cartpoles(3).obs[:, 0]).all()
    assert visited(BALANCER, cartpoles(1), 3, max_steps=1).unique(dim=1).shape[1] == 1  # there is only one
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        visited(BALANCER, cartpoles(1), 0)


# Adversarial distance


def test_the_distance_curve_of_a_linear_victim_is_the_distribution_of_its_margins() -> None:
    victim, obs = Linear(normal(2, DIMS, 3)), normal(2, 60, DIMS, seed=1)
    budget = Budget(0.0, scale=SCALE)
    scores = victim.scores(obs)
    own = scores.argmax(dim=-1)
    exact = torch.full(own.shape, torch.inf)
    for other in range(3):
        w = victim.weight[:, :, other][:, None] - victim.weight.mT[torch.arange(2)[:, None], own]  # [S, B, D]
        gap = scores.gather(-1, own[..., None])[..., 0] - scores[..., other]
        to_other = torch.where(other == own, torch.inf, gap / (w.abs() @ torch.tensor(SCALE)))
        exact = torch.minimum(exact, to_other)
    curve = distance_curve(DeepFool(), victim, obs, budget, [0.1, 0.3, 1.0, 50.0], halvings=0)
    assert torch.allclose(curve.distance, exact, rtol=1e-2)  # DeepFool's halvings
    assert np.allclose(curve.median, exact.median(dim=1).values, rtol=1e-2)
    shares = torch.stack([(exact <= epsilon).double().mean(dim=1) for epsilon in curve.epsilons])
    assert np.abs(curve.flipped - shares.numpy()).max(axis=None) <= 2 / 60
    assert (np.diff(curve.flipped, axis=0) >= 0).all()
    assert (curve.flipped[-1] == 1).all()
    assert [point.value for point in curve.points()] == pytest.approx(curve.flipped.mean(axis=1).tolist())


def test_an_attack_that_leaps_over_a_change_is_found_at_the_smaller_epsilon() -> None:
    class Band:
        """Another action between 0.2 and 0.5 only, where FGSM of epsilon 1 does not stop."""

        def scores(self, obs: Tensor) -> Tensor:
            x = obs[..., 0]
            return torch.stack([torch.zeros_like(x), torch.minimum(x - 0.2, 0.5 - x)], dim=-1)

        def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
            return self.scores(obs).argmax(dim=-1)

    obs, budget = torch.zeros(1, 3, 1), Budget(0.0)
    assert distance_curve(FGSM(), Band(), obs, budget, [1.0]).distance.isinf().all()
    curve = distance_curve(FGSM(), Band(), obs, budget, [1.0, 0.4])
    assert curve.flipped.tolist() == [[1.0], [1.0]]
    assert torch.allclose(curve.distance, torch.tensor(0.2), atol=1e-3)


def test_what_no_attack_reaches_is_infinitely_far() -> None:
    victim = Linear(torch.zeros(1, DIMS, 2), torch.tensor([[[1.0, 0.0]]]))
    curve = distance_curve(PGD(2), victim, normal(1, 5, DIMS), Budget(0.0), [1.0])
    assert curve.flipped == 0
    assert np.isinf(curve.median).all()
    with pytest.raises(ValueError, match="epsilons must hold at least one"):
        distance_curve(PGD(2), victim, normal(1, 5, DIMS), Budget(0.0), [])


# Transfer


def test_the_diagonal_of_a_transfer_matrix_is_the_attack_itself() -> None:
    obs, attack = normal(2, 50, DIMS, seed=4), PGD(5, restarts=2)
    victims = {"a": mlp(3), "b": mlp(3, width=24)}
    u, budget = uniform(2, 50, attack.noise_width(DIMS)), Budget(0.4, scale=SCALE)
    matrix = transfer_matrix(attack, victims, victims, obs, budget, u)
    assert (matrix.sources, matrix.targets) == (("a", "b"), ("a", "b"))
    for i, victim in enumerate(victims.values()):
        alone = execute(attack, victim, obs, budget, u)
        assert (matrix.flips[i, i] == alone.success.double().mean(dim=1).numpy()).all()
        assert (matrix.agreement[i, i] == 1).all()
        assert (matrix.alike[i, i] == 1).all()
        assert matrix.queries[i] == alone.queries
        noisy = execute(Noise("sign"), victim, obs, budget, u[..., :DIMS])
        assert (matrix.noise[i] == noisy.success.double().mean(dim=1).numpy()).all()
    assert (matrix.excess == matrix.flips - matrix.noise).all()
    assert (matrix.flips[0, 1] < matrix.flips[1, 1]).all()
    assert ((matrix.agreement[0, 1] >= 0) & (matrix.agreement[0, 1] <= 1)).all()
    same = victims["a"].act(obs) == victims["b"].act(obs)
    assert (matrix.alike[0, 1] == same.double().mean(dim=1).numpy()).all()


def test_an_attack_transfers_to_another_seed() -> None:
    w = normal(1, DIMS, 2)
    victim, obs = Linear(torch.cat([w, w + 0.3 * normal(1, DIMS, 2, seed=1)])), normal(1, 40, DIMS).repeat(2, 1, 1)
    u, budget = uniform(2, 40, DIMS), Budget(0.5)
    matrix = transfer_matrix(FGSM(), {"x": victim}, {"x": victim}, obs, budget, u, roll=1)
    shown = execute(FGSM(), victim, obs, budget).obs.flip(0)
    flips = victim.act(shown) != victim.act(obs.flip(0))
    assert (matrix.flips[0, 0] == flips.double().mean(dim=1).numpy()).all()
    assert (matrix.alike[0, 0] == (victim.act(obs).flip(0) == victim.act(obs)).double().mean(dim=1).numpy()).all()
    assert (matrix.agreement[0, 0] > 0.9).all()  # there is only one other action, nearly always the same one
    with pytest.raises(ValueError, match="got 0 and 1"):
        transfer_matrix(FGSM(), {}, {"x": victim}, obs, budget, u)


# Rays and planes


def test_a_linear_victim_is_straight_along_a_ray() -> None:
    victim, obs, direction = Linear(normal(2, DIMS, 3)), normal(2, 5, DIMS), normal(2, 5, DIMS, seed=2)
    radii = [-2.0, -1.0, 0.0, 1.0, 2.0]
    for norm in NORMS:
        along = along_ray(victim, obs, direction, Budget(0.0, norm=norm, scale=SCALE), radii)
        assert torch.equal(along[2], victim.scores(obs))
        assert torch.allclose(along.diff(dim=0, n=2), torch.zeros(()), atol=1e-5)
    bounded = along_ray(victim, obs.clamp(-1, 1), direction, Budget(0.0, low=-1.0, high=1.0), [1e9])
    assert torch.equal(bounded[0], victim.scores(direction.sign()))
    with pytest.raises(ValueError, match="finite numbers"):
        along_ray(victim, obs, direction, Budget(0.0), [1.0, np.inf])


def test_a_section_is_steep_across_and_gentle_up() -> None:
    victim, obs = Linear(normal(2, DIMS, 2)), normal(2, 6, DIMS)
    budget, radii = Budget(0.0, scale=SCALE), [-1.0, 0.0, 0.5]
    section = cross_section(victim, obs, budget, radii, uniform(2, 6, DIMS))
    assert section.margin.shape == section.action.shape == (3, 3, 2, 6)
    own = victim.act(obs)
    assert torch.equal(section.action[1, 1], own)
    assert torch.allclose(section.margin[1, 1], margin(victim.scores(obs), own))
    w = (victim.weight[..., 1] - victim.weight[..., 0])[:, None]  # [S, 1, D]
    gain = (w * torch.tensor(SCALE)).abs().sum(dim=-1)  # [S, 1]
    assert torch.allclose(section.margin[1, 2] - section.margin[1, 1], 0.5 * gain.expand(2, 6), atol=1e-5)
    assert ((section.margin[2, 1] - section.margin[1, 1]).abs() <= 0.5 * gain + 1e-5).all()
    assert ((section.margin > 0) == (section.action != own)).all()
    assert torch.equal(section.scores.argmax(dim=-1), section.action)
    steepest = budget.steepest(obs, (w * (1 - 2 * own[..., None])).expand_as(obs))  # of epsilon 0
    assert torch.equal(section.scores[1, 1], victim.scores(obs + steepest))


# Saliency


def test_saliency_is_the_derivative() -> None:
    victim = ModuleVictim([module.double() for module in mlp(3).modules])
    obs = normal(2, 4, DIMS).double()
    found = saliency(victim, obs)
    greedy = victim.act(obs)[..., None]
    for feature in range(DIMS):
        step = torch.zeros(DIMS, dtype=torch.float64)
        step[feature] = 1e-6
        with torch.no_grad():
            change = (victim.scores(obs + step) - victim.scores(obs - step)).gather(-1, greedy)[..., 0] / 2e-6
        assert torch.allclose(found[..., feature], change.abs(), rtol=1e-5, atol=1e-8)
    scaled = saliency(victim, obs, budget=Budget(0.0, scale=SCALE, mask=[True, True, True, False]))
    assert torch.allclose(scaled, found * torch.tensor([1.0, 0.5, 2.0, 0.0]))
    assert not torch.allclose(saliency(victim, obs, torch.zeros(2, 4, dtype=torch.int64)), found)
    with pytest.raises(ValueError, match="actions must be 0 to 2"):
        saliency(victim, obs, torch.full((2, 4), 3))


@pytest.mark.slow
def test_saliency_of_an_episode() -> None:
    lengths = rollout(BALANCER, cartpoles(2)).lengths
    episode = episode_saliency(BALANCER, cartpoles(2), row=1, copy=1)
    assert episode.obs.shape == episode.saliency.shape == (lengths[1, 1], DIMS)
    assert torch.equal(episode.saliency, BALANCER.weight[1].mT.abs()[episode.action])
    assert torch.equal(episode.action, BALANCER.act(episode.obs.expand(2, -1, -1))[1])
    every = episode_saliencies(BALANCER, cartpoles(2), copy=1)
    assert [len(each.obs) for each in every] == lengths[:, 1].tolist()
    assert all(torch.equal(one, other) for one, other in zip(every[1], episode, strict=True))


# Where one state reads as another


def test_half_the_distance_of_two_states_is_where_they_read_alike() -> None:
    lake = torch.from_numpy(np.array(GridWorld("frozenlake-4x4", observation="coordinates").observations()))
    assert aliasing_epsilon(lake, Budget(0.0)) == pytest.approx(1 / 6)
    assert aliasing_epsilon(lake, Budget(0.0, scale=[0.5, 1.0])) == pytest.approx(1 / 6)  # columns, 1/3 apart
    assert aliasing_epsilon(lake, Budget(0.0, scale=0.5)) == pytest.approx(1 / 3)
    onehot = torch.eye(7)
    halves: dict[Norm, float] = {"inf": 0.5, "2": 2**0.5 / 2, "1": 1.0}
    for norm, half in halves.items():
        assert aliasing_epsilon(onehot, Budget(0.0, norm=norm)) == pytest.approx(half)
        budget = Budget(half * (1 + 1e-6), norm=norm)  # the midpoint can be shown in both states
        middle = (onehot[0] + onehot[1])[None, None] / 2
        for state in (0, 1):
            assert torch.allclose(budget.project(onehot[state][None, None], middle), middle)
    assert aliasing_epsilon(torch.tensor([[1.0], [1.0], [3.0]]), Budget(0.0)) == 0
    assert aliasing_epsilon(torch.tensor([[0.0, 0.0], [0.1, 1.0]]), Budget(0.0, mask=[True, False])) == np.inf
    with pytest.raises(ValueError, match="at least two states, got 1"):
        aliasing_epsilon(torch.zeros(1, 2), Budget(0.0))
    with pytest.raises(ValueError, match="int64"):
        aliasing_epsilon(torch.zeros(2, 2, dtype=torch.int64), Budget(0.0))


# Lipschitz constants


class Network:
    """An MLP as a victim."""

    def __init__(self, network: MLP) -> None:
        self.network = network

    def scores(self, obs: Tensor) -> Tensor:
        return self.network(obs)

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        with torch.no_grad():
            return self.scores(obs).argmax(dim=-1)


@pytest.mark.parametrize("norm", NORMS)
def test_steepness_is_below_what_is_seen_and_the_bound_above(norm: Norm) -> None:
    network = MLP((DIMS, 24, 16, 3), seeds=[3, 4], activation="tanh")
    victim, budget = Network(network), Budget(0.7, norm=norm, scale=SCALE)
    obs = normal(2, 200, DIMS)
    measured, bound = steepness(victim, obs, budget), lipschitz_bound(network, budget)
    assert measured.shape == bound.shape == (2, 3)
    assert (measured <= bound).all()
    other = obs + budget.sample(obs, uniform(2, 200, DIMS + 1))
    rise = (victim.scores(other) - victim.scores(obs)).abs() / budget.distance(obs, other)[..., None]
    assert (rise.detach() <= bound[:, None]).all()
    linear = MLP((DIMS, 3), seeds=[3, 4])
    exact = torch.linalg.vector_norm(
        linear.parameters[0].detach() * torch.tensor(SCALE)[:, None], ord=DUAL[norm], dim=1
    )
    assert torch.allclose(lipschitz_bound(linear, budget), exact)
    assert torch.allclose(steepness(Network(linear), obs, budget), exact)


def test_a_bound_needs_a_plain_network() -> None:
    class Convolved(MLP):
        layers_alone = False

    with pytest.raises(ValueError, match="fully connected"):
        lipschitz_bound(Convolved((DIMS, 16, 3), seeds=[0]), Budget(0.0))


@pytest.mark.parametrize("norm", NORMS)
def test_no_attack_succeeds_within_the_margin_radius(norm: Norm) -> None:
    network = MLP((DIMS, 16, 3), seeds=[3, 4])
    victim, obs = Network(network), normal(2, 80, DIMS)
    budget = Budget(1.0, norm=norm, scale=SCALE)
    radius = margin_radius(victim.scores(obs).detach(), lipschitz_bound(network, budget))
    assert (radius > 0).all()
    within = replace(budget, epsilon=radius * 0.999)
    for attack in (GridSearch(3), PGD(10), FGSM()):
        assert not execute(attack, victim, obs, within).success.any()
    assert (first_order_flip(victim, obs, budget) >= radius * 0.999).all()


def test_the_margin_radius_of_opposite_scores_is_the_distance() -> None:
    w = normal(1, DIMS, 1)
    victim, obs = Linear(torch.cat([-w, w], dim=-1)), normal(1, 30, DIMS, seed=3)
    radius = margin_radius(victim.scores(obs), steepness(victim, obs, Budget(0.0)))
    assert torch.allclose(radius, (obs @ w).abs()[..., 0] / w.abs().sum(), rtol=1e-5)
    assert torch.allclose(radius, first_order_flip(victim, obs, Budget(0.0)), rtol=1e-5)
    flat = Linear(torch.zeros(1, DIMS, 2), torch.tensor([[[1.0, 0.0]]]))
    assert first_order_flip(flat, obs, Budget(0.0)).isinf().all()
    assert margin_radius(flat.scores(obs), torch.zeros(1, 2)).isinf().all()


# Dimensions


def test_codes_change_no_action_and_no_euclidean_distance() -> None:
    victim, obs = mlp(3), normal(2, 30, DIMS)
    for encoding in (padded(DIMS, 9), rotated(DIMS, 9, normal(9, DIMS))):
        coded = EncodedVictim(victim, encoding)
        codes = coded.encode(obs)
        assert codes.shape == (2, 30, 9)
        assert torch.equal(coded.act(codes), victim.act(obs))
        between = (x[:, :, None] - x[:, None] for x in (codes, obs))
        assert torch.allclose(*(torch.linalg.vector_norm(each, dim=-1) for each in between), atol=1e-5)
    with pytest.raises(ValueError, match="orthonormal"):
        EncodedVictim(victim, torch.ones(DIMS, 9))
    with pytest.raises(ValueError, match=r"\[D, n\]"):
        EncodedVictim(victim, torch.ones(DIMS))
    with pytest.raises(ValueError, match="at least as many numbers, got 3"):
        padded(DIMS, 3)
    with pytest.raises(ValueError, match="normal must have shape"):
        rotated(DIMS, 9, normal(DIMS, 9))


def test_a_direction_at_random_is_aligned_by_one_over_n() -> None:
    for n in (2, 10, 50):
        w = normal(n, seed=n)
        signs = torch.where(uniform(20_000, n) < 0.5, -1.0, 1.0)
        assert alignment(w.expand(20_000, n), signs).mean(dim=0).item() == pytest.approx(1 / n, rel=0.05)
        assert alignment(w, -3.0 * w).item() == pytest.approx(1.0)


@pytest.mark.slow
def test_more_features_make_a_linear_victim_weaker_only_if_it_looks_at_them() -> None:
    victim, obs = Linear(normal(2, DIMS, 2)), normal(2, 50, DIMS, seed=5)
    lengths = (4, 16, 64)
    paddings = [padded(DIMS, n) for n in lengths]
    rotations = [rotated(DIMS, n, normal(n, DIMS, seed=n)) for n in lengths]
    u = [uniform(2, 50, n, seed=n) for n in lengths]
    spread = dimension_sweep(DeepFool(), victim, obs, rotations, Budget(50.0), u, halvings=0)
    alone = dimension_sweep(DeepFool(), victim, obs, paddings, Budget(50.0), u, halvings=0)
    for points in (spread, alone):
        assert [point.n for point in points] == list(lengths)
        for point in points:
            assert torch.allclose(point.measured, point.predicted, rtol=1e-2)
            assert torch.allclose(point.noise, torch.full((2,), 1 / point.n, dtype=torch.float64), rtol=0.5)
    for point in alone[1:]:
        assert torch.allclose(point.predicted, alone[0].predicted)
    for few, many in pairwise(spread):  # four times the features halve the epsilon, about
        assert torch.allclose(many.predicted, few.predicted / 2, rtol=0.35)
    with pytest.raises(ValueError, match="no scale, mask or bounds"):
        dimension_sweep(DeepFool(), victim, obs, paddings, Budget(1.0, scale=2.0), u)


def test_other_units_are_a_budgets_scale() -> None:
    victim, obs, scale = mlp(3), normal(2, 30, DIMS), torch.tensor(SCALE)
    rescaled = Rescaled(victim, scale)
    shown = execute(PGD(5), rescaled, obs / scale, Budget(0.3))
    there = execute(PGD(5), victim, obs, Budget(0.3, scale=SCALE))
    assert torch.equal(shown.success, there.success)
    assert torch.allclose(shown.obs * scale, there.obs, atol=1e-6)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"positive and finite, got .{wrong}"):
            Rescaled(victim, torch.tensor([wrong]))


# The checklist: victims made to trip one check, and one that trips none

LINEAR = Linear(normal(2, DIMS, 2))
OBS = normal(2, 100, DIMS, seed=8)
EPSILONS = [0.1, 0.3, 0.9]


class Made:
    """A victim of two actions whose lead is a function of the observation."""

    num_seeds = 2

    def __init__(self, lead: object) -> None:
        self.lead = lead

    def scores(self, obs: Tensor) -> Tensor:
        lead: Tensor = self.lead(obs)  # type: ignore[operator]
        return torch.stack([torch.zeros_like(lead), lead], dim=-1)

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        with torch.no_grad():
            return self.scores(obs).argmax(dim=-1)


def grad(obs: Tensor) -> Tensor:
    return LINEAR.scores(obs).diff(dim=-1)[..., 0]


def masked(obs: Tensor) -> Tensor:
    """Steps of 0.2 up, and between them a gradient that points down a little."""
    return torch.round(5.0 * grad(obs)) / 5.0 + 0.09 - 1e-4 * grad(obs)


def band(obs: Tensor) -> Tensor:
    """Positive between 0.05 and 0.35 of the first feature."""
    return 0.15 - (obs[..., 0] - 0.2).abs()


def checks(victim: object, obs: Tensor = OBS, attacks: Checked | None = None, **sources: object) -> list[str]:
    examined = examine(victim, obs, Budget(0.0), EPSILONS, sources, attacks=attacks)  # type: ignore[arg-type]
    found = warnings_of(examined)
    assert all(name.message for name in found)
    return [name.check for name in found]


@pytest.mark.slow
def test_nothing_is_suspicious_about_a_plain_victim() -> None:
    assert checks(LINEAR) == []
    network = Network(MLP((DIMS, 32, 3), seeds=[0, 1]))
    assert checks(network, another=Network(MLP((DIMS, 32, 3), seeds=[2, 3]))) == []
    assert checks(Made(grad), itself=LINEAR) == []


def test_pgd_weaker_than_fgsm() -> None:
    # away from the present probabilities is as often surer as it is less sure
    assert "PGD weaker than FGSM" in checks(LINEAR, attacks=Checked(steps=PGD(20, objective="kl")))


def test_a_curve_that_is_not_monotone() -> None:
    at_zero = torch.zeros(2, 20, DIMS)
    leaping = Checked(steps=FGSM(), more=FGSM())
    assert "curve not monotone" in checks(Made(band), at_zero, leaping)
    assert "curve not monotone" not in checks(Made(band), at_zero)


def test_more_steps_still_help() -> None:
    at_zero = torch.zeros(2, 20, DIMS)
    assert "more steps still help" in checks(Made(band), at_zero, Checked(steps=PGD(1), more=PGD(50)))
    assert "more steps still help" not in checks(Made(band), at_zero)


@pytest.mark.slow
def test_transfer_beats_white_box_and_noise_beats_gradients() -> None:
    found = checks(Made(masked), smooth=LINEAR)
    assert found == ["transfer beats white-box", "noise beats gradients"]
    examined = examine(Made(masked), OBS, Budget(0.0), EPSILONS, {"smooth": LINEAR})
    message = warnings_of(examined)[0].message
    assert "PGD-20 made on smooth changes" in message
    assert "is misled" in message


@pytest.mark.slow
def test_zero_gradients() -> None:
    flat = Made(lambda obs: torch.round(grad(obs)) + 0.4 + 0.0 * grad(obs))
    found = checks(flat)
    assert found[0] == "zero gradients"
    examined = examine(flat, OBS, Budget(0.0), EPSILONS)
    assert examined.without_gradient == 1.0
    assert examine(LINEAR, OBS, Budget(0.0), EPSILONS).without_gradient == 0.0


def test_saturated_outputs() -> None:
    assert checks(Made(lambda obs: 1e4 * grad(obs))) == ["saturated outputs"]
    cross = Checked(steps=PGD(20, objective="cross_entropy"), more=PGD(40, objective="cross_entropy"))
    assert "PGD weaker than FGSM" in checks(Made(lambda obs: 1e4 * grad(obs)), attacks=cross)


def test_the_examination_is_of_sweeps() -> None:
    examined = examine(LINEAR, OBS, Budget(0.0), [0.9, 0.1])
    assert examined.epsilons == (0.1, 0.9)
    shares = sweep(PGD(20), LINEAR, OBS, Budget(0.0), [0.1, 0.9]).success.double().mean(dim=(1, 2))
    assert examined.steps.tolist() == shares.tolist()


@pytest.mark.filterwarnings("ignore:.*still running")
def test_a_return_that_rises_with_epsilon() -> None:
    curve = robustness_curve(BALANCER, cartpoles, [FGSM(), Noise()], [0.05, 0.4], episodes=2, max_steps=20)
    curve = curve._replace(returns=np.arange(16.0).reshape(2, 2, 2, 2)[:, ::-1])
    assert curve_warnings(curve) == ()
    rising = curve._replace(returns=np.stack([curve.returns[0], curve.returns[1, ::-1]]))
    (found,) = curve_warnings(rising)
    assert found.check == "curve not monotone"
    assert "sign noise rises by 4 from epsilon 0.05 to 0.4" in found.message

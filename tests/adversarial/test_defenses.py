"""Defenses: their closed forms, the worst cases that they bound, their rows, and the agents that they serve."""

import itertools
import math

import numpy as np
import pytest
import torch
from source_tree import ROOT

from rlkit.adversarial import (
    APPLICABILITY,
    CARDQN,
    J1,
    J2,
    RADIAL,
    SAPPOKL,
    AdversarialTraining,
    Budget,
    Curriculum,
    Distillation,
    GaussianAugmentation,
    LipschitzHinge,
    SADQNHinge,
    TwoLip,
    WeightDecay,
    applicability_table,
    interval_bounds,
    lipschitz_bound,
    make_defense,
    overlap,
    table_lipschitz,
    upper_leads,
    worst_bellman_error,
    worst_logits,
)
from rlkit.adversarial.defenses.ascent import ascend_to_best, random_start
from rlkit.adversarial.defenses.car_dqn import soft_weights
from rlkit.losses import huber, kl_divergence, log_probability, provocable, worst_case_aware_values, worst_case_target
from rlkit.nn import MLP, Dueling
from rlkit.types import Targets

SCALE = [0.5, 1.0, 2.0, 0.1]


def numbers(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def uniforms(seed=1):
    rng = np.random.default_rng(seed)
    return lambda features: lambda width: torch.from_numpy(rng.random((*features.shape[:2], width)))


def mlp(*sizes, activation="tanh", rows=2):
    network = MLP(sizes, range(rows), activation)
    network.place(2.0 * network.flat.double())
    return network


def dueling(activation="relu", rows=2):
    network = Dueling(
        MLP((4, 32, 3), range(rows), activation), MLP((4, 16, 1), range(rows), activation, network_index=1)
    )
    network.place(2.0 * network.flat.double())
    return network


NETWORKS = {
    "linear": lambda: mlp(4, 3),
    "relu": lambda: mlp(4, 32, 16, 3, activation="relu"),
    "tanh": lambda: mlp(4, 32, 3),
    "dueling": dueling,
}


def targets_of(network, features, loss, advantage=None, **others):
    rows, minibatch = features.shape[:2]
    action = torch.arange(rows * minibatch).reshape(rows, minibatch) % 3
    target = numbers(rows, minibatch, seed=5)
    return Targets(
        action,
        target,
        advantage,
        loss=lambda x: loss(network(x), action, target),
        loss_at_scores=lambda scores: loss(scores, action, target),
        uniform=uniforms()(features),
        **others,
    )


def affine_loss(scores, action, target):
    return (scores * torch.tensor([1.0, -2.0, 0.5])).sum(dim=-1).mean(dim=1)


def squared_loss(scores, action, target):
    return 0.5 * (scores.gather(-1, action[..., None])[..., 0] - target).square().mean(dim=1)


def huber_loss(scores, action, target):
    return huber(scores.gather(-1, action[..., None])[..., 0] - target).mean(dim=1)


def policy_loss(advantage):
    def loss(logits, action, target):
        return (-advantage * log_probability(logits.log_softmax(dim=-1), action)).mean(dim=1)

    return loss


def samples(features, budget, count=300, seed=2):
    """Points of the balls, ``count`` x [S, M, D], corners of a box among them."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        u = torch.from_numpy(rng.random((*features.shape[:2], features.shape[-1] + 1)))
        yield budget.project(features, features + budget.sample(features, u))
        yield budget.project(features, features + budget.sample_signs(features, u[..., :-1]))


# J1, J2 and 2-Lip


@pytest.mark.parametrize("method", ["backprop", "difference"])
@pytest.mark.parametrize(("defense", "norm"), [(J1, "inf"), (J2, "2")])
def test_for_an_affine_loss_the_penalty_is_the_worst_loss_of_the_ball(defense, norm, method):
    network, features = mlp(4, 3), numbers(2, 7, 4)
    budget = Budget(torch.tensor([[0.3], [0.7]]), norm, SCALE, mask=[True, True, False, True])
    targets = targets_of(network, features, affine_loss)
    worst = targets.loss(features) + defense(budget, method=method)(network, features, targets)
    x = features.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(targets.loss(x), x, torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(
        worst, targets.loss(features + budget.steepest(features, gradient)), rtol=1e-9, atol=1e-9
    )
    if norm == "inf":
        corners = [torch.tensor(signs) for signs in itertools.product([-1.0, 1.0], repeat=4)]
        losses = [
            targets.loss(features + budget.along(features, corner.expand_as(features).double())) for corner in corners
        ]
        torch.testing.assert_close(worst, torch.stack(losses).amax(dim=0), rtol=1e-9, atol=1e-9)
    reached = torch.stack([targets.loss(point) for point in samples(features, budget, 50)])
    assert (reached <= worst + 1e-9).all()


@pytest.mark.parametrize(("defense", "norm"), [(J1, "inf"), (J2, "2")])
def test_for_a_smooth_loss_the_error_is_of_second_order(defense, norm):
    network, features = mlp(4, 32, 3), numbers(2, 7, 4)
    targets, gaps = targets_of(network, features, squared_loss), []
    for epsilon in (1e-2, 5e-3, 2.5e-3):
        budget = Budget(epsilon, norm, SCALE)
        x = features.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(targets.loss(x), x, torch.ones(2, dtype=torch.float64))
        attacked = targets.loss(features + budget.steepest(features, gradient))
        gaps.append((attacked - targets.loss(features) - defense(budget)(network, features, targets)).abs())
    for larger, smaller in itertools.pairwise(gaps):
        assert (larger > 1e-9).all()
        torch.testing.assert_close(larger / smaller, torch.full((2,), 4.0).double(), rtol=0.1, atol=0.0)


@pytest.mark.parametrize(
    "defense", [J1(0.3), J2(Budget(0.3, "2", SCALE)), TwoLip(Budget(0.3, "2", SCALE), lipschitz=0.5)]
)
def test_differences_approach_double_backpropagation(defense):
    network, features = mlp(4, 32, 3), numbers(2, 20, 4)
    targets = targets_of(network, features, squared_loss)
    exact = defense(network, features, targets)
    gradient, errors = network.gradient(exact), []
    for step in (2e-2, 1e-2):
        close = type(defense)(**{**vars(defense), "method": "difference", "step": step})(network, features, targets)
        torch.testing.assert_close(close, exact, rtol=1e-2, atol=0.0)
        errors.append((network.gradient(close) - gradient).norm(dim=1))
    assert (errors[1] < 0.02 * gradient.norm(dim=1)).all()
    torch.testing.assert_close(errors[0] / errors[1], torch.full((2,), 4.0).double(), rtol=0.1, atol=0.0)


def test_two_lip_is_j2_for_lambda_0_and_adds_the_largest_derivative():
    network, features = mlp(4, 32, 3), numbers(2, 20, 4)
    targets, budget = targets_of(network, features, squared_loss), Budget(0.3, "2", SCALE)
    plain = J2(budget)(network, features, targets)
    assert torch.equal(TwoLip(budget, lipschitz=0.0)(network, features, targets), plain)
    largest = []
    for m in range(20):  # of the loss of one example at a time
        x = features[:, m : m + 1].clone().requires_grad_()
        one = squared_loss(network(x), targets.action[:, m : m + 1], targets.target[:, m : m + 1])
        (gradient,) = torch.autograd.grad(one, x, torch.ones(2, dtype=torch.float64))
        largest.append(budget.dual_norm(gradient)[:, 0])
    found = TwoLip(budget, lipschitz=[0.5, 2.0])(network, features, targets)
    expected = plain + torch.tensor([0.5, 2.0]) * torch.stack(largest).amax(dim=0)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


# The Lipschitz hinge


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
@pytest.mark.parametrize("of", ["weights", "data"])
def test_the_hinge_is_the_excess_of_the_lipschitz_constant_and_flat_below_the_limit(norm, of):
    network, features, budget = mlp(4, 3), numbers(2, 7, 4), Budget(1.0, norm, SCALE)
    targets = targets_of(network, features, squared_loss)
    steepest = lipschitz_bound(network, budget).amax(dim=1)  # exact for a linear network
    found = LipschitzHinge(budget, limit=[0.5, 1000.0], of=of)(network, features, targets)
    torch.testing.assert_close(found, torch.stack([steepest[0] - 0.5, torch.zeros(()).double()]))
    gradient = network.gradient(found)
    assert gradient[0].abs().amax(dim=0) > 0
    assert (gradient[1] == 0).all()


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
def test_the_bound_of_the_weights_is_that_of_the_measures_and_above_that_of_data(norm):
    network, features, budget = mlp(4, 32, 16, 3), numbers(2, 50, 4), Budget(1.0, norm, SCALE)
    targets = targets_of(network, features, squared_loss)
    by_weights, by_data = (
        LipschitzHinge(budget, limit=0.0, of=of)(network, features, targets) for of in ("weights", "data")
    )
    torch.testing.assert_close(by_weights, lipschitz_bound(network, budget).amax(dim=1))
    assert (by_data < by_weights).all()


def test_the_limit_of_a_table_is_the_steepest_pair():
    obs = numbers(9, 4)
    weight = numbers(4, 3, seed=3)
    budget = Budget(1.0, "2", SCALE)
    limit = table_lipschitz(obs @ weight, obs, budget)
    pairs = [
        ((obs[i] - obs[j]) @ weight).abs().amax(dim=0) / ((obs[i] - obs[j]) / torch.tensor(SCALE)).norm(dim=0)
        for i, j in itertools.combinations(range(9), 2)
    ]
    torch.testing.assert_close(limit, torch.stack(pairs).amax(dim=0)[None])
    assert limit <= (torch.tensor(SCALE)[:, None] * weight).norm(dim=0).amax(dim=0)
    assert table_lipschitz([[0.0], [3.0]], [[0.0], [2.0]]).tolist() == [1.5]
    with pytest.raises(ValueError, match="same observation and other values"):
        table_lipschitz([[0.0], [3.0]], [[1.0], [1.0]])


# Bounds


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["inf", "2", "1"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_interval_bounds_hold_every_point_and_are_attained_by_linear_networks(kind, norm):
    network, features = NETWORKS[kind](), numbers(2, 7, 4)
    budget = Budget(torch.tensor([[0.2], [0.5]]), norm, SCALE)
    with torch.no_grad():
        lower, upper = interval_bounds(network, features, budget)
        action = network(features).argmax(dim=-1)
        leads = upper_leads(network, features, budget, action)
        for point in samples(features, budget, 100):
            scores = network(point)
            assert ((lower - 1e-9 <= scores) & (scores <= upper + 1e-9)).all()
            assert (scores - scores.gather(-1, action[..., None]) <= leads + 1e-9).all()
    assert (leads <= upper - lower.gather(-1, action[..., None]) + 1e-9).gather(-1, (action[..., None] + 1) % 3).all()
    assert (leads.gather(-1, action[..., None]).abs() < 1e-12).all()
    if kind == "linear":
        weight = network.parameters[0].detach()[..., :]
        gain = torch.stack([budget.dual_norm(weight[:, None, :, a]) for a in range(3)], dim=-1)  # [S, 1, A]
        torch.testing.assert_close(upper - lower, 2.0 * budget.epsilon[..., None] * gain.expand(-1, 7, -1))


def test_bounds_of_observations_cut_the_box():
    network, features = mlp(4, 32, 3), numbers(2, 20, 4).clamp(-1.0, 1.0)
    wide, cut = Budget(0.5), Budget(0.5, low=-1.0, high=1.0)
    with torch.no_grad():
        (lower, upper), (lower_cut, upper_cut) = (interval_bounds(network, features, each) for each in (wide, cut))
        assert (upper_cut - lower_cut < upper - lower).any()
        for point in samples(features, cut, 50):
            scores = network(point)
            assert ((lower_cut - 1e-9 <= scores) & (scores <= upper_cut + 1e-9)).all()


def test_bounds_are_refused_for_other_networks():
    with pytest.raises(ValueError, match=r"fully connected networks .* got function"):
        interval_bounds(lambda x: x, numbers(1, 2, 4), Budget(0.1))


# SA-DQN


@pytest.mark.parametrize("method", ["interval", "pgd"])
def test_the_hinge_of_a_linear_network_is_its_closed_form(method):
    network, features, budget = mlp(4, 3), numbers(2, 7, 4), Budget(0.4, scale=SCALE)
    targets = targets_of(network, features, squared_loss)
    with torch.no_grad():
        q = network(features)
    own, weight = q.argmax(dim=-1), network.parameters[0].detach()
    leads = []
    for b in range(3):
        difference = torch.stack([weight[s, :, b, None] - weight[s][:, own[s]] for s in range(2)]).mT  # [S, M, D]
        lead = (
            q[..., b]
            - q.gather(-1, own[..., None])[..., 0]
            + 0.4 * (difference.abs() * torch.tensor(SCALE)).sum(dim=-1)
        )
        leads.append(torch.where(own == b, -torch.inf, lead))
    expected = torch.stack(leads).amax(dim=0).clamp(min=-1.0).mean(dim=1)
    found = SADQNHinge(budget, margin=1.0, method=method, steps=20)(network, features, targets)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_hinge_found_is_between_the_clean_one_and_the_bound(kind):
    network, features, budget = NETWORKS[kind](), numbers(2, 20, 4), Budget(0.2, scale=SCALE)
    targets = targets_of(network, features, squared_loss)
    clean, found, bound = (
        SADQNHinge(each, margin=100.0, method=method)(network, features, targets)
        for each, method in ((0.0, "pgd"), (budget, "pgd"), (budget, "interval"))
    )
    top = network(features).topk(2, dim=-1).values
    torch.testing.assert_close(clean, (top[..., 1] - top[..., 0]).mean(dim=1))
    assert (clean < found).all()
    assert (found <= bound + 1e-9).all()


def test_a_hinge_beyond_the_margin_is_flat_and_masked_actions_do_not_count():
    network, features = mlp(4, 3), numbers(2, 20, 4)
    targets = targets_of(network, features, squared_loss)
    for method in ("interval", "pgd"):
        flat = SADQNHinge(1e-3, margin=0.0, method=method)(network, 100.0 * features, targets)
        assert (flat == 0).all()
        assert (network.gradient(flat) == 0).all()
        mask = torch.tensor([True, False, False]).expand(2, 20, 3)
        alone = SADQNHinge(1.0, margin=2.0, method=method)(network, features, targets._replace(action_mask=mask))
        assert (alone == -2.0).all()


# SA-PPO


@pytest.mark.slow
def test_the_divergence_needs_a_random_start_and_is_that_of_a_grid_search():
    network, features = mlp(2, 32, 3), numbers(2, 16, 2)
    budget = Budget(0.3, scale=[1.0, 0.5])
    targets = targets_of(network, features, squared_loss, numbers(2, 16))
    log_p = network(features).log_softmax(dim=-1).detach()

    def of_logits(logits):
        return kl_divergence(log_p, logits.log_softmax(dim=-1))

    def divergence(x):
        return of_logits(network(x))

    def slope(x):
        x = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(divergence(x).sum(dim=(0, 1)), x)
        return gradient.abs().amax(dim=2)

    assert (slope(features) < 1e-12).all()
    assert (slope(random_start(features, budget, targets)) > 1e-6).all()
    steps = torch.linspace(-1.0, 1.0, 41, dtype=torch.float64)
    offsets = (
        budget.along(features, z.expand_as(features)) * z.abs().amax(dim=0) for z in torch.cartesian_prod(steps, steps)
    )
    with torch.no_grad():
        grid = [divergence(features + offset) for offset in offsets]
        best = torch.stack(grid).amax(dim=0)  # [S, M]
    starts = [random_start(features, budget, targets) for _ in range(16)]
    ends = [divergence(ascend_to_best(network, of_logits, features, budget, 20, start)) for start in starts]
    reached = torch.stack(ends).amax(dim=0)
    assert (reached.mean(dim=1) > 0.99 * best.mean(dim=1)).all()
    assert (reached < 1.01 * best).all()
    found, at_start = SAPPOKL(budget, steps=20)(network, features, targets), divergence(starts[0]).mean(dim=1)
    assert (at_start < found).all()
    assert (found < 1.01 * best.mean(dim=1)).all()
    assert (network.gradient(found) != 0).any(dim=1).all()
    assert (SAPPOKL(0.0)(network, features, targets) == 0).all()


# RADIAL


def test_the_overlap_by_hand():
    q = torch.tensor([[[3.0, 1.0, 4.0], [0.0, 0.0, 0.0]]])
    lower, upper = q - 0.5, q + 1.5
    action = torch.tensor([[0, 1]])
    # action 1 is worse by d = 2: 2 max(0, 2.5 - 2.5 + 1) = 2; action 2 is better, d = 0; ties have d = 0
    assert overlap(q, lower, upper, action).tolist() == [1.0]
    assert overlap(q, lower, upper - 10.0, action).tolist() == [0.0]
    mask = torch.tensor([True, False, True]).expand(1, 2, 3)
    assert overlap(q, lower, upper, action, mask).tolist() == [0.0]


def test_worst_logits_are_the_worst_corner_of_the_box():
    center, radius = numbers(1, 40, 3), numbers(1, 40, 3, seed=1).abs()
    action, advantage = torch.arange(40)[None] % 3, numbers(1, 40, seed=2)
    lower, upper = center - radius, center + radius

    def each(logits):
        return -advantage * log_probability(logits.log_softmax(dim=-1), action)

    corners = torch.stack(
        [each(torch.where(torch.tensor(bits), upper, lower)) for bits in itertools.product([True, False], repeat=3)]
    )
    torch.testing.assert_close(each(worst_logits(lower, upper, action, advantage)), corners.amax(dim=0))
    torch.testing.assert_close(each(worst_logits(upper, lower, action, advantage)), corners.amin(dim=0))  # reversed


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_radial_bounds_the_loss_of_a_policy_over_the_ball(kind):
    network, features, advantage = NETWORKS[kind](), numbers(2, 20, 4), numbers(2, 20, seed=7)
    budget = Budget(0.1, scale=SCALE)
    targets = targets_of(network, features, policy_loss(advantage), advantage)
    bound = RADIAL(budget, 1.0)(network, features, targets)
    assert all((targets.loss(point) <= bound + 1e-9).all() for point in samples(features, budget, 100))
    attacked = AdversarialTraining(budget, 1.0, steps=10)(network, features, targets) + targets.loss(features)
    assert (attacked <= bound + 1e-9).all()
    torch.testing.assert_close(RADIAL(0.0, 1.0)(network, features, targets), targets.loss(features))


# CAR-DQN


def test_the_worst_bellman_error_of_a_linear_network_is_its_closed_form():
    network, features, budget = mlp(4, 3), numbers(2, 20, 4), Budget(0.4, scale=SCALE)
    targets = targets_of(network, features, huber_loss)
    with torch.no_grad():
        error = network(features).gather(-1, targets.action[..., None])[..., 0] - targets.target
        gain = torch.stack(
            [budget.dual_norm(network.parameters[0][:, None, :, a]) for a in range(3)], dim=-1
        )  # [S, 1, A]
    worst = error.abs() + 0.4 * gain.expand(-1, 20, -1).gather(-1, targets.action[..., None])[..., 0]
    for method in ("interval", "pgd"):
        mean = CARDQN(budget, temperature=math.inf, method=method)(network, features, targets)
        torch.testing.assert_close(mean + targets.loss(features), huber(worst).mean(dim=1))
        largest = CARDQN(budget, temperature=1e-3, method=method)(network, features, targets)
        torch.testing.assert_close(largest + targets.loss(features), huber(worst).amax(dim=1), rtol=1e-3, atol=0.0)
    half = CARDQN(budget, 0.5, temperature=math.inf)(network, features, targets) + targets.loss(features)
    torch.testing.assert_close(half, 0.5 * (huber(worst).mean(dim=1) + targets.loss(features)))


def test_the_published_error_of_car_dqn_is_not_hubers():
    """min(d^2, |d|) is 3 at 3 where Huber's loss is 2.5, and its slope falls from 2 to 1 at 1."""
    d = torch.tensor([0.5, 0.999, 1.001, 3.0], dtype=torch.float64, requires_grad=True)
    published = torch.minimum(d.square(), d.abs())
    (slopes,) = torch.autograd.grad(published.sum(dim=0), d)
    torch.testing.assert_close(slopes, torch.tensor([1.0, 1.998, 1.0, 1.0]).double())
    lower = upper = d.detach()[None, :, None]
    action, target = torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4).double()
    worst = worst_bellman_error(lower, upper, action, target).requires_grad_()
    (ours,) = torch.autograd.grad(huber(worst).sum(dim=(0, 1)), worst)
    torch.testing.assert_close(ours[0], torch.tensor([0.5, 0.999, 1.0, 1.0]).double())
    assert huber(worst)[0, -1] == 2.5
    assert published[-1] == 3.0


def test_the_worst_error_is_at_the_farther_bound_and_weights_sum_to_one():
    lower, upper = torch.tensor([[[1.0], [1.0]]]), torch.tensor([[[2.0], [2.0]]])
    action, target = torch.zeros(1, 2, dtype=torch.int64), torch.tensor([[1.2, 1.9]])
    torch.testing.assert_close(worst_bellman_error(lower, upper, action, target), torch.tensor([[0.8, 0.9]]))
    each = numbers(3, 8).square()
    for temperature in (0.1, 1.0, math.inf):
        weights = soft_weights(each, temperature)
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(3).double())
        assert (weights * each).sum(dim=1).ge(each.mean(dim=1) - 1e-12).all()


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_worst_error_found_is_between_the_clean_one_and_the_bound(kind):
    network, features, budget = NETWORKS[kind](), numbers(2, 20, 4), Budget(0.2, scale=SCALE)
    targets = targets_of(network, features, huber_loss)
    found, bound = (
        CARDQN(budget, temperature=math.inf, method=method)(network, features, targets)
        for method in ("pgd", "interval")
    )
    assert (found > 0).all()
    assert (found <= bound + 1e-9).all()


# Changed observations


def test_adversarial_training_on_an_affine_loss_is_j1():
    network, features = mlp(4, 3), numbers(2, 7, 4)
    targets, budget = targets_of(network, features, affine_loss), Budget([[0.3], [0.7]], scale=SCALE)
    expected = J1(budget)(network, features, targets)
    for steps in (1, 20):
        torch.testing.assert_close(AdversarialTraining(budget, 1.0, steps=steps)(network, features, targets), expected)
    half = AdversarialTraining(budget, [0.5, 0.25])(network, features, targets)
    torch.testing.assert_close(half, torch.tensor([0.5, 0.25]) * expected)


@pytest.mark.parametrize("steps", [1, 10])
def test_attacked_losses_are_larger_than_clean_and_noisy_ones(steps):
    network, features, budget = mlp(4, 32, 3), numbers(2, 50, 4), Budget(0.1, scale=SCALE)
    targets = targets_of(network, features, squared_loss)
    attacked = AdversarialTraining(budget, 1.0, steps=steps)(network, features, targets)
    assert (attacked > 0).all()
    assert all(
        (targets.loss(point) - targets.loss(features) < attacked).all() for point in samples(features, budget, 20)
    )


def test_gaussian_noise_on_the_squared_error_of_a_linear_network_is_tikhonovs_penalty():
    network, features, sigma = mlp(4, 3), torch.zeros(2, 60_000, 4).double(), 0.3
    targets = targets_of(network, features, squared_loss)
    found = GaussianAugmentation(Budget(sigma, scale=SCALE))(network, features, targets).detach()
    weight = torch.tensor(SCALE)[:, None] * network.parameters[0].detach()  # [S, D, A]
    expected = 0.5 * sigma**2 * weight.square().sum(dim=1).mean(dim=1)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.0)


# Distillation and weight decay


def test_distillation_has_closed_limits():
    teacher, network, features = mlp(4, 32, 3), mlp(4, 16, 3), numbers(2, 20, 4)
    targets = targets_of(network, features, squared_loss)
    t, z = teacher(features).detach(), network(features).detach()
    at_one = Distillation(teacher, 1.0)(network, features, targets)
    torch.testing.assert_close(at_one, kl_divergence(t.log_softmax(dim=-1), z.log_softmax(dim=-1)).mean(dim=1))
    limit = (0.5 * (t - z).var(dim=-1, correction=0)).mean(dim=1)
    errors = [(Distillation(teacher, T)(network, features, targets) - limit).abs() for T in (20.0, 1000.0, 2000.0)]
    assert (errors[0] < 0.1 * limit).all()
    torch.testing.assert_close(errors[1] / errors[2], torch.full((2,), 2.0).double(), rtol=0.1, atol=0.0)  # O(1 / T)
    both = Distillation(teacher, [1.0, 100.0], [2.0, 3.0])(network, features, targets)
    torch.testing.assert_close(both[0], 2.0 * at_one[0])
    assert (both[1] - 3.0 * limit[1]).abs() < 0.1 * limit[1]
    assert (Distillation(network, 20.0)(network, features, targets) == 0).all()


def test_the_gradient_of_weight_decay_is_the_parameters():
    network, features = mlp(4, 32, 3), numbers(2, 5, 4)
    penalty = WeightDecay([0.5, 2.0])(network, features, targets_of(network, features, squared_loss))
    torch.testing.assert_close(penalty, torch.tensor([0.25, 1.0]) * network.flat.square().sum(dim=1))
    torch.testing.assert_close(network.gradient(penalty), torch.tensor([[0.5], [2.0]]) * network.flat)


# WocaR


def test_the_greedy_action_stays_provocable_at_epsilon_0():
    q = torch.tensor([[1.0, 3.0, 2.0]])
    assert provocable(q, q).tolist() == [[False, True, False]]
    published = (q[..., None] > q[..., None, :]).all(dim=-1)
    assert not published.any()
    assert provocable(q - 0.5, q + 0.5).tolist() == [[False, True, True]]


def test_worst_case_values_of_a_chain_need_the_actions_of_the_next_state():
    """In state 0 nothing can be provoked; in state 1 the action that earns -10 can."""
    reward = torch.tensor([[1.0, -5.0], [2.0, -10.0]])
    allowed = torch.tensor([[True, False], [True, True]])
    terminated = torch.tensor([[False, True], [True, True]])
    q, published = torch.zeros(2, 2), torch.zeros(2, 2)
    for _ in range(5):
        following = torch.stack([q[1], q[0]])[:, None].expand(-1, 2, -1)
        q = worst_case_target(reward, terminated, following, allowed.flip(0)[:, None], 0.9)
        following = torch.stack([published[1], published[0]])[:, None].expand(-1, 2, -1)
        published = worst_case_target(reward, terminated, following, allowed[:, None], 0.9)
    torch.testing.assert_close(q, torch.tensor([[1.0 - 9.0, -5.0], [2.0, -10.0]]))
    torch.testing.assert_close(published[0, 0], torch.tensor(1.0 + 1.8))
    natural, worst = torch.tensor([1.0, 0.9]), torch.tensor([-8.0, 0.5])
    torch.testing.assert_close(worst_case_aware_values(natural, worst, 0.5), torch.tensor([-3.5, 0.7]))
    assert torch.equal(worst_case_aware_values(natural, worst, 0.0), natural)


# Strengths, curricula, refusals


def test_epsilon_grows_over_training():
    curriculum = Curriculum(0.2, 0.6)
    assert [round(curriculum.factor(1.0 - done), 12) for done in (0.0, 0.2, 0.3, 0.4, 0.6, 1.0)] == [
        0,
        0,
        0.25,
        0.5,
        1,
        1,
    ]
    assert Curriculum(0.0, 0.0).factor(1.0) == 1.0
    network, features = mlp(4, 3), numbers(2, 7, 4)
    targets = targets_of(network, features, affine_loss)
    whole = J1([0.1, 0.4])(network, features, targets)
    ramp = J1([0.1, 0.4], curriculum=curriculum)
    torch.testing.assert_close(ramp(network, features, targets._replace(progress_remaining=0.6)), 0.5 * whole)
    assert (ramp(network, features, targets) == 0).all()
    for start, end in ((-0.1, 0.5), (0.6, 0.5), (0.0, 1.1)):
        with pytest.raises(ValueError, match="0 <= start <= end <= 1"):
            Curriculum(start, end)


REFUSED = [
    (lambda: J1(0.1, strength=-1.0), "strength must be finite and not negative, got -1"),
    (lambda: J1(0.1, strength=[0.1, math.nan]), "strength must be finite"),
    (lambda: J1(-0.1), "epsilon must be finite and not negative"),
    (lambda: J1(Budget(0.1, "2")), "J1 is for the norm 'inf', got a budget of '2'"),
    (lambda: J2(Budget(0.1)), "J2 is for the norm '2', got a budget of 'inf'"),
    (lambda: J1(0.1, method="exact"), "method must be one of backprop, difference"),
    (lambda: J1(0.1, step=0.0), "step must be positive"),
    (lambda: J1(Budget(torch.ones(2, 7))), "one epsilon per row"),
    (lambda: TwoLip(0.1, lipschitz=-1.0), "lipschitz must be finite"),
    (lambda: LipschitzHinge(limit=-1.0, budget=1.0), "limit must be finite"),
    (lambda: LipschitzHinge(1.0, of="samples"), "of must be one of weights, data"),
    (lambda: SADQNHinge(0.1, method="crown"), "method must be one of interval, pgd"),
    (lambda: SADQNHinge(0.1, margin=-1.0), "margin must not be negative"),
    (lambda: SAPPOKL(0.1, steps=0), "steps must be at least 1"),
    (lambda: CARDQN(0.1, temperature=0.0), "temperature must be positive"),
    (lambda: CARDQN(0.1, loss="min"), "loss must be one of huber, squared"),
    (lambda: Distillation(mlp(4, 3), 0.0), "temperature must be positive"),
    (lambda: WeightDecay(math.inf), "strength must be finite"),
    (lambda: make_defense("radial", 0.1, limit=1.0), "radial has no number 'limit': it has none"),
    (lambda: make_defense("two_lip", 0.1, limit=1.0), "two_lip has no number 'limit': it has lipschitz, method, step"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_numbers_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_numbers_of_other_rows_or_features_are_refused():
    network, features = mlp(4, 3), numbers(2, 7, 4)
    targets = targets_of(network, features, squared_loss)
    for term, message in (
        (J1(0.1, strength=[1.0, 2.0, 3.0]), r"strength must be one number or one per seed, \[2\], got shape \[3\]"),
        (J1([0.1, 0.2, 0.3]), r"epsilon must be one number or one per seed, \[2\]"),
        (J1(Budget(0.1, scale=[1.0, 2.0])), "scale or mask do not fit features of width 4"),
        (Distillation(mlp(4, 2)), r"teacher must give \[2, 7, 3\] like the network, got \[2, 7, 2\]"),
        (SAPPOKL(0.1), "SAPPOKL needs logits and the scores are action values: use one of action values"),
    ):
        with pytest.raises(ValueError, match=message):
            term(network, features, targets)
    with pytest.raises(
        ValueError, match="SADQNHinge needs action values and the scores are logits: use a defense of pol"
    ):
        SADQNHinge(0.1)(network, features, targets._replace(advantage=targets.target))


def test_a_defense_by_name_has_its_further_numbers_of_every_row():
    network, features = mlp(4, 3), numbers(2, 7, 4)
    targets, limit = targets_of(network, features, squared_loss), torch.tensor([0.1, 1e6])
    made = make_defense("lipschitz_hinge", 0.1, 2.0, limit=limit)(network, features, targets)
    torch.testing.assert_close(made, LipschitzHinge(0.1, 2.0, limit=limit)(network, features, targets))
    assert (made > 0).tolist() == [True, False]


# The table


def test_the_table_of_the_docs_is_that_of_the_code():
    page = (ROOT / "docs" / "reference" / "defenses.md").read_text(encoding="utf-8")
    assert applicability_table() in page
    assert len(APPLICABILITY) == 12

"""Policy smoothing: the closed form, the tight case, coverage, and attacks with a budget per episode."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from scipy.stats import norm
from victims import Linear, normal

from rlkit.adversarial import (
    FGSM,
    PGD,
    AttackedPolicy,
    Budget,
    Noise,
    SmoothedPolicy,
    Threat,
    even_thresholds,
    robustness_curve,
    shifted_probability,
    smoothed_return,
)
from rlkit.adversarial.measures.policy_smoothing import probability_at_least
from rlkit.agents import PPO


def test_a_perfect_policy_of_200_steps_by_hand() -> None:
    bounds = smoothed_return(np.full(10_000, 200.0), 1.0, [0, 0.5, 1, 2, 3, 4, 5], 0.0, 200.0)
    assert bounds.thresholds == 200
    expected = [199.83, 199.18, 196.81, 174.80, 111.57, 39.28, 6.37]
    assert np.allclose(bounds.lower, expected, atol=0.005)
    assert (bounds.upper == 200.0).all()


def test_the_closed_form_and_its_direction() -> None:
    assert shifted_probability(0.9, 0.5, 0.25) == pytest.approx(norm.cdf(norm.ppf(0.9) - 2.0))
    assert shifted_probability(0.9, -0.5, 0.25) == pytest.approx(norm.cdf(norm.ppf(0.9) + 2.0))
    assert shifted_probability([0.0, 1.0], 3.0, 1.0).tolist() == [0.0, 1.0]
    assert shifted_probability(0.3, 0.0, 1.0) == pytest.approx(0.3)


def test_the_bound_is_tight_for_a_linear_threshold() -> None:
    """A policy that acts by the side of a plane: FGSM of the whole budget attains the bound."""
    side = normal(3, seed=1)
    victim = Linear(torch.stack([torch.zeros(3), side], dim=1)[None])
    sigma, total, copies = 0.7, 0.5, 8_000
    scale = torch.tensor([1.0, 0.5, 2.0])
    lead = 0.9 * sigma * float((scale * side).norm())  # the mean of w x, 0.9 deviations above 0
    obs = (side / side.norm() ** 2 * lead).expand(1, copies, 3).contiguous()
    budget = Budget(total, norm="2", scale=scale)
    smoothed = SmoothedPolicy(victim, sigma, budget)
    plain = smoothed.act(obs, False).double().mean().item()
    assert plain == pytest.approx(float(ndtr(0.9)), abs=4 * 0.5 / math.sqrt(copies))
    smoothed.restart()
    shown = AttackedPolicy(smoothed, FGSM(), budget, episode_budget=total).perturb(obs)
    attacked = smoothed.act(shown, False).double().mean().item()
    bound = float(shifted_probability(ndtr(0.9), total, sigma))
    assert attacked == pytest.approx(bound, abs=4 * 0.5 / math.sqrt(copies))
    assert bound < plain - 0.2


@given(st.floats(-1, 2), st.floats(-1, 2), st.floats(0.05, 2), st.floats(0.3, 2))
@settings(max_examples=50, deadline=None)
def test_no_adaptive_attack_of_two_steps_goes_below_the_bound(c: float, d: float, total: float, sigma: float) -> None:
    """Success needs both steps, or either; the attacker divides the budget, knowing what the first step gave."""
    angles = np.linspace(0, math.pi / 2, 400)
    first, second = ndtr((c - total * np.cos(angles)) / sigma), ndtr((d - total * np.sin(angles)) / sigma)
    both = float(ndtr(c / sigma) * ndtr(d / sigma))
    assert (first * second).min() >= shifted_probability(both, total, sigma) - 1e-12
    either = 1 - (1 - ndtr(c / sigma)) * (1 - ndtr(d / sigma))
    assert (first + (1 - first) * second).min() >= shifted_probability(either, total, sigma) - 1e-12


@pytest.mark.parametrize("method", ["clopper-pearson", "dkw"])
def test_both_sides_hold_with_their_probability(method: str) -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(11))
    values, alpha, runs = np.arange(11.0), 0.2, 2_000
    returns = rng.choice(values, size=(runs, 60), p=probabilities)
    totals = [0.0, 0.4, 1.5]
    found = smoothed_return(returns, 1.0, totals, 0.0, 10.0, alpha=alpha, method=method)
    reached = probabilities[::-1].cumsum()[::-1][1:]  # P(R >= 1), ..., P(R >= 10)
    for i, total in enumerate(totals):
        exact_low = ndtr(ndtri(np.minimum(reached, 1)) - total).sum()
        exact_high = ndtr(ndtri(np.minimum(reached, 1)) + total).sum()
        allowed = alpha + 4 * math.sqrt(alpha * (1 - alpha) / runs)
        assert (found.lower[:, i] > exact_low).mean() <= allowed
        assert (found.upper[:, i] < exact_high).mean() <= allowed
    assert found.lower.shape == (runs, 3)
    assert (found.lower[:, 0] <= found.mean).all()
    assert (found.mean <= found.upper[:, 0]).all()
    assert (np.diff(found.lower, axis=1) <= 0).all()
    assert (np.diff(found.upper, axis=1) >= 0).all()


def test_the_bound_of_one_probability_fails_no_more_often_than_alpha() -> None:
    n, alpha = 30, 0.1
    bounds = probability_at_least(np.arange(n + 1), n, alpha)
    for p in np.linspace(0.01, 0.99, 50):
        weights = np.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])
        assert weights[bounds > p].sum() <= alpha + 1e-12
    assert bounds[0] == 0.0
    assert bounds[-1] == pytest.approx(alpha ** (1 / n))


def test_coarse_thresholds_are_looser_and_never_wrong() -> None:
    returns = np.random.default_rng(1).uniform(-3, 5, 4_000)
    fine = smoothed_return(returns, 1.0, [0.5], -3.0, 5.0, method="dkw")
    coarse = smoothed_return(returns, 1.0, [0.5], -3.0, 5.0, thresholds=[-1.0, 1.0, 4.0], method="dkw")
    assert coarse.thresholds == 4
    assert coarse.lower[0] < fine.lower[0] < 1.0 < fine.upper[0] < coarse.upper[0]
    assert even_thresholds(0, 500).tolist() == list(range(1, 501))
    assert len(even_thresholds(-0.5, 3.0)) == 200


def test_an_episodes_budget_is_spent_once_and_begins_anew() -> None:
    victim = Linear(normal(2, 4, 3))
    budget = Budget(0.6, norm="2", scale=torch.tensor([1.0, 2.0, 0.5, 1.0]))
    attacker = AttackedPolicy(victim, PGD(3), budget, episode_budget=1.0)
    spent = torch.zeros(2, 5, dtype=torch.float64)
    for step in range(6):
        obs = normal(2, 5, 4, seed=step)
        shown = attacker.perturb(obs)
        size = budget.distance(obs, shown).double()
        assert (size <= 0.6 * (1 + 1e-5)).all()
        spent += size**2
    assert (spent <= 1.0 + 1e-5).all()
    assert (spent >= 1.0 - 1e-3).all()  # FGSM's direction is always followed to the boundary
    assert not attacker.attacked.any()
    done = torch.zeros(2, 5, dtype=torch.bool)
    done[0, 3] = True
    attacker.restart(done)
    attacker.perturb(normal(2, 5, 4))
    assert attacker.attacked.nonzero().tolist() == [[0, 3]]
    attacker.restart()
    attacker.perturb(normal(2, 5, 4))
    assert attacker.attacked.all()


def test_the_noise_is_that_of_its_seed_and_begins_anew() -> None:
    victim, obs = Linear(normal(3, 4, 2)), normal(3, 40, 4) * 0.1
    all_rows = SmoothedPolicy(victim, 1.0, seeds=[5, 6, 7])
    first, second = all_rows.act(obs, False), all_rows.act(obs, False)
    assert (first != second).any()
    all_rows.restart(torch.ones(3, 40, dtype=torch.bool))
    assert not torch.equal(all_rows.act(obs, False), first)
    all_rows.restart()
    assert torch.equal(all_rows.act(obs, False), first)
    alone = SmoothedPolicy(Linear(victim.weight[1:2]), 1.0, seeds=[6])
    assert torch.equal(alone.act(obs[1:2], False), first[1:2])


def test_masked_features_get_no_noise_and_scores_are_means() -> None:
    victim, obs = Linear(normal(1, 4, 2)), normal(1, 6, 4)
    still = SmoothedPolicy(victim, 5.0, Budget(0.0, mask=[False] * 4))
    assert torch.equal(still.act(obs, False), victim.act(obs))
    moving = SmoothedPolicy(victim, 5.0, draws=8)
    assert torch.allclose(moving.scores(obs), victim.scores(obs), atol=1e-4)  # linear: the pairs cancel
    assert torch.equal(moving.act(obs), victim.act(obs))


def test_a_threat_has_an_epsilon_per_step_or_per_episode() -> None:
    threat = Threat(norm="2", epsilon_per="episode")
    assert Threat.from_dict(threat.as_dict()) == threat
    assert threat.digest != Threat(norm="2").digest
    assert "epsilon_per" not in Threat().as_dict()
    with pytest.raises(ValueError, match="an epsilon per episode is an l2 length: set norm to '2', got 'inf'"):
        Threat(epsilon_per="episode")
    with pytest.raises(ValueError, match="epsilon_per must be 'step' or 'episode', got 'day'"):
        Threat(norm="2", epsilon_per="day")


@pytest.mark.slow
def test_a_curve_with_an_epsilon_per_episode_attacks_no_more_steps_than_it_can_pay() -> None:
    agent = PPO("CartPole-v1", seeds=2, device="cpu", net_arch=(8,))
    curve = robustness_curve(
        agent, agent.evaluation_env, [Noise(), FGSM()], [0.0, 0.5], Budget(0.0, norm="2"), 5, spread=4
    )
    assert (curve.returns[:, 0] == curve.natural).all()
    assert (curve.attacked[:, 1] == np.minimum(curve.lengths[:, 1], 4)).all()
    assert curve.timing == "always, epsilon per episode"


def test_bad_input_is_named() -> None:
    victim = Linear(normal(1, 4, 2))
    cases = [
        (lambda: SmoothedPolicy(victim, 0.0), "sigma must be positive and finite, got 0.0"),
        (lambda: SmoothedPolicy(victim, 1.0, draws=3), "draws must be an even number of at least 2, got 3"),
        (lambda: SmoothedPolicy(victim, 1.0).act(torch.zeros(1, 2, dtype=torch.int64)), "needs floating observations"),
        (lambda: AttackedPolicy(victim, FGSM(), 1.0, episode_budget=1.0), "an episode_budget is an l2 length"),
        (lambda: AttackedPolicy(victim, FGSM(), 1.0, episode_budget=-1.0), "episode_budget must be at least 0"),
        (lambda: smoothed_return([7.0], 1.0, [0.1], 0.0, 5.0), r"within \[0.0, 5.0\]: give the range of returns"),
        (lambda: smoothed_return([1.0], 1.0, [0.1], 5.0, 5.0), "lowest must be below highest"),
        (lambda: smoothed_return([1.0], 1.0, [0.1], 0.0, 5.0, thresholds=[3.0, 2.0]), "thresholds must increase"),
        (lambda: smoothed_return([1.0], 1.0, [0.1], 0.0, 5.0, alpha=0.7), "alpha must be in"),
        (lambda: smoothed_return([1.0], 1.0, [0.1], 0.0, 5.0, method="t"), "method must be one of"),
        (lambda: shifted_probability(1.2, 0.1, 1.0), "probabilities must be in"),
        (lambda: shifted_probability(0.2, 0.1, 0.0), "sigma must be positive"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_thresholds_and_levels_are_what_the_sum_says() -> None:
    """The whole formula written out for three returns."""
    returns, alpha, n = [0.0, 1.0, 1.0, 2.0, 2.0, 2.0], 0.1, 6
    found = smoothed_return(returns, 2.0, [1.0], 0.0, 2.0, alpha=alpha)
    lows = [probability_at_least(k, n, alpha / 2) for k in (5, 3)]
    highs = [1 - probability_at_least(n - k, n, alpha / 2) for k in (5, 3)]
    assert found.lower[0] == pytest.approx(sum(ndtr(ndtri(p) - 0.5) for p in lows))
    assert found.upper[0] == pytest.approx(sum(ndtr(ndtri(p) + 0.5) for p in highs))
    assert all(a < b for a, b in itertools.pairwise([found.lower[0], 4 / 3, found.upper[0]]))

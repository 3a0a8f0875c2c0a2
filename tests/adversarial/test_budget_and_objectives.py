"""Budgets by their laws, attacks against closed forms and enumeration, curves against their own rollouts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from grid_search import GridSearch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from victims import DIMS, NORMS, Linear, length, normal, uniform

import rlkit.envs
from rlkit.adversarial import (
    FGSM,
    PGD,
    Attack,
    AttackedPolicy,
    BestOf,
    Boundary,
    Budget,
    DeepFool,
    Noise,
    RandomSearch,
    execute,
    perturb,
    robustness_curve,
)
from rlkit.adversarial.budget import ORDER, Norm
from rlkit.evaluation import evaluate_policy, rollout
from rlkit.sb3 import SB3Policy
from rlkit.streams import Stream
from rlkit.types import Env

# budgets

finite = st.floats(-100, 100, width=32)
vectors = st.lists(finite, min_size=DIMS, max_size=DIMS).map(lambda x: torch.tensor(x, dtype=torch.float64)[None, None])
budgets = st.builds(
    Budget,
    epsilon=st.floats(0, 10),
    norm=st.sampled_from(NORMS),
    scale=st.one_of(st.floats(0.01, 10), st.lists(st.floats(0.01, 10), min_size=DIMS, max_size=DIMS)),
    mask=st.one_of(st.none(), st.lists(st.booleans(), min_size=DIMS, max_size=DIMS)),
    low=st.one_of(st.just(-math.inf), st.just(-100.0)),
    high=st.one_of(st.just(math.inf), st.just([100.0] * DIMS)),
)


@pytest.mark.slow
@settings(deadline=None)
@given(budgets, vectors, vectors)
def test_a_projection_is_allowed_and_leaves_what_is_allowed(budget: Budget, obs: Tensor, wanted: Tensor) -> None:
    shown = budget.project(obs, wanted)
    assert (length(budget, shown - obs) <= budget.epsilon * (1 + 1e-9) + 1e-9).all()
    assert (shown >= torch.as_tensor(budget.low)).all()
    assert (shown <= torch.as_tensor(budget.high)).all()
    torch.testing.assert_close(budget.project(obs, shown), shown, rtol=0, atol=1e-9)
    assert torch.equal(budget.project(obs, obs), obs)
    if budget.mask is not None:
        masked = ~torch.as_tensor(budget.mask)
        assert torch.equal(shown[..., masked], obs[..., masked])


@pytest.mark.slow
@settings(deadline=None)
@given(budgets, vectors, vectors)
def test_at_epsilon_zero_nothing_moves(budget: Budget, obs: Tensor, wanted: Tensor) -> None:
    assert torch.equal(replace(budget, epsilon=0.0).project(obs, wanted), obs)


@settings(deadline=None)
@given(vectors, vectors, st.floats(0, 10), st.sampled_from(NORMS))
def test_without_bounds_it_is_the_nearest_point(obs: Tensor, wanted: Tensor, epsilon: float, norm: Norm) -> None:
    budget = Budget(epsilon, norm)
    shown = budget.project(obs, wanted)
    others = obs + budget.sample(obs.expand(1, 200, DIMS), uniform(1, 200, DIMS + 1))
    distance = torch.linalg.vector_norm(wanted - shown, dim=-1)
    assert (distance <= torch.linalg.vector_norm(wanted - others, dim=-1) + 1e-9).all()


def test_the_projection_onto_the_l1_ball_takes_as_much_off_every_feature() -> None:
    wanted = torch.tensor([[[2.0, -1.5, 0.5]]])
    nothing = torch.zeros_like(wanted)
    assert Budget(1.5, "1").project(nothing, wanted).tolist() == [[[1.0, -0.5, 0.0]]]
    assert Budget(4.0, "1").project(nothing, wanted).tolist() == wanted.tolist()
    scaled = Budget(1.5, "1", scale=[1.0, 3.0, 1.0])
    assert scaled.project(nothing, wanted * torch.tensor([1.0, 3.0, 1.0])).tolist() == [[[1.0, -1.5, 0.0]]]


@pytest.mark.slow
@settings(deadline=None)
@given(budgets, vectors, vectors)
def test_with_bounds_it_is_the_nearest_to_what_the_bounds_leave(budget: Budget, obs: Tensor, wanted: Tensor) -> None:
    budget = replace(budget, low=torch.minimum(obs - 0.5, wanted), high=obs + 1.0)
    shown, extent = budget.project(obs, wanted), budget.extent(obs)
    others = obs + budget.sample(obs.expand(1, 200, DIMS), uniform(1, 200, DIMS + 1))
    others = torch.minimum(torch.maximum(others, torch.as_tensor(budget.low)), torch.as_tensor(budget.high))
    left = torch.minimum(wanted, torch.as_tensor(budget.high))

    def distance(x: Tensor) -> Tensor:
        return torch.where(extent > 0, (left - x) / extent, 0.0).square().sum(dim=-1).sqrt()

    assert (distance(shown) <= distance(others) + 1e-9 * (1 + distance(obs))).all()


@pytest.mark.slow
@settings(deadline=None)
@given(budgets, vectors, vectors)
def test_distance_is_the_epsilon_that_it_takes(budget: Budget, obs: Tensor, wanted: Tensor) -> None:
    shown = replace(budget, epsilon=1e9).project(obs, wanted)
    needed = budget.distance(obs, shown)
    again = replace(budget, epsilon=needed * (1 + 1e-6) + 1e-9).project(obs, shown)
    torch.testing.assert_close(again, shown, rtol=1e-9, atol=1e-9)
    if (budget.extent(obs) == 0).any():
        assert budget.distance(obs, obs + 1.0).isinf().all()


@pytest.mark.slow
@settings(deadline=None)
@given(budgets, vectors)
def test_the_steepest_offset_gains_the_dual_norm_and_no_sample_gains_more(budget: Budget, gradient: Tensor) -> None:
    obs = torch.zeros_like(gradient)
    offset = budget.steepest(obs, gradient)
    gain = (gradient * offset).sum(dim=-1)
    torch.testing.assert_close(gain, budget.epsilon * budget.dual_norm(gradient), rtol=1e-9, atol=1e-9)
    assert (length(budget, offset) <= budget.epsilon * (1 + 1e-9)).all()
    samples = budget.sample(obs.expand(1, 200, DIMS), uniform(1, 200, DIMS + 1))
    assert ((gradient * samples).sum(dim=-1) <= gain + 1e-9).all()


def test_the_dual_norm_by_hand() -> None:
    gradient = torch.tensor([[[3.0, -4.0, 1.0]]])
    assert Budget(0.1, scale=[1.0, 2.0, 5.0], mask=[True, True, False]).dual_norm(gradient).item() == 11.0
    assert Budget(0.1, "2").dual_norm(gradient).item() == pytest.approx(math.sqrt(26))
    assert Budget(0.1, "1", scale=[1.0, 2.0, 5.0]).dual_norm(gradient).item() == 8.0


@pytest.mark.slow
@settings(deadline=None)
@given(budgets, st.integers(0, 1000))
def test_samples_are_within_budget_and_signs_spend_all_of_it(budget: Budget, seed: int) -> None:
    obs = torch.zeros(2, 3, DIMS, dtype=torch.float64)
    inside = length(budget, budget.sample(obs, uniform(2, 3, DIMS + 1, seed=seed)))
    assert (inside <= budget.epsilon * (1 + 1e-9)).all()
    spent = float(budget.epsilon) if (budget.extent(obs) > 0).any() else 0.0
    for draw in (budget.sample_signs, budget.sample_gaussian):
        offset = draw(obs, uniform(2, 3, DIMS, seed=seed))
        torch.testing.assert_close(length(budget, offset), torch.full((2, 3), spent, dtype=torch.float64))


@pytest.mark.parametrize("norm", NORMS)
def test_samples_are_uniform_in_the_ball(norm: Norm) -> None:
    obs = torch.zeros(1, 20_000, 3)
    offset = Budget(2.0, norm, scale=[1.0, 3.0, 1.0], mask=[True, True, False]).sample(obs, uniform(1, 20_000, 4))[0]
    z = offset[:, :2] / torch.tensor([1.0, 3.0])
    radius = torch.linalg.vector_norm(z, ord=ORDER[norm], dim=-1) / 2.0
    # volume: P(radius <= r) = r^2 in two dimensions; 20,000 draws: 3 sigma = 0.0106
    for r in (0.3, 0.5, 0.8):
        assert (radius <= r).double().mean(dim=0).item() == pytest.approx(r**2, abs=0.0107)
    quadrants = (z > 0).double().mean(dim=0)
    assert quadrants.tolist() == pytest.approx([0.5, 0.5], abs=0.0107)
    assert (z[:, 0] * z[:, 1] > 0).double().mean(dim=0).item() == pytest.approx(0.5, abs=0.0107)


def test_observations_are_not_clamped_unless_asked() -> None:
    obs = torch.tensor([[[-7.0, 12.0]]])
    assert Budget(0.5).project(obs, obs + 1.0).tolist() == [[[-6.5, 12.5]]]
    assert Budget(0.5, high=12.25).project(obs, obs + 1.0).tolist() == [[[-6.5, 12.25]]]
    assert Budget(0.5, high=[-6.75, 99.0]).project(obs, obs + 1.0).tolist() == [[[-6.75, 12.5]]]


def test_every_example_may_have_its_own_epsilon() -> None:
    obs = torch.zeros(2, 3, DIMS)
    epsilon = torch.tensor([0.0, 0.1, 0.2])
    for norm in NORMS:
        shown = Budget(epsilon, norm).project(obs, obs + 1.0)
        torch.testing.assert_close(length(Budget(1.0, norm), shown), epsilon.expand(2, 3))
    one_each = Budget(torch.arange(6).reshape(2, 3) / 10).project(obs, obs + 1.0)
    assert one_each[1, 2].tolist() == pytest.approx([0.5] * DIMS)


def test_images_have_any_shape() -> None:
    obs, wanted = torch.zeros(2, 3, 1, 4, 4), torch.ones(2, 3, 1, 4, 4)
    shown = Budget(2.0, "2").project(obs, wanted)
    assert shown.shape == obs.shape
    assert shown[1, 2, 0, 3, 3].item() == 0.5  # |1|_2 of 16 pixels is 4, shortened to 2
    assert Budget(2.0, "1").project(obs, wanted)[1, 2, 0, 3, 3].item() == 0.125
    assert (Budget(0.25).sample_signs(obs, uniform(2, 3, 16)).abs() == 0.25).all()


def test_tiny_gradients_keep_their_direction() -> None:
    gradient = torch.tensor([[[3e-38, -4e-38]]])
    offset = Budget(5.0, "2").steepest(torch.zeros(1, 1, 2), gradient)
    assert offset[0, 0].tolist() == pytest.approx([3.0, -4.0], rel=1e-5)
    assert Budget(5.0, "2").steepest(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2)).tolist() == [[[0.0, 0.0]]]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"epsilon": -0.1}, "epsilon must be finite and not negative, got -0.1"),
        ({"epsilon": math.nan}, "epsilon must be finite and not negative, got nan"),
        ({"epsilon": torch.tensor([0.1, math.inf])}, "epsilon must be finite and not negative, got inf"),
        ({"epsilon": 1.0, "scale": [1.0, -2.0]}, "scale must be finite and not negative, got -2"),
        ({"epsilon": 1.0, "norm": 2}, "norm must be one of 'inf', '2', '1', got 2"),
        ({"epsilon": 1.0, "low": 1.0, "high": 0.0}, "low must not be above high"),
        ({"epsilon": 1.0, "low": math.nan}, "low must not be above high"),
    ],
)
def test_impossible_budgets_are_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Budget(**kwargs)


def test_observations_that_a_budget_does_not_fit_are_refused() -> None:
    victim, obs = Linear(normal(1, DIMS, 3)), torch.zeros(1, 2, DIMS)
    with pytest.raises(ValueError, match=r"torch\.int64 cannot be attacked.*observation='onehot'"):
        perturb(FGSM(), victim, torch.zeros(1, 2, dtype=torch.int64), Budget(1.0))
    with pytest.raises(ValueError, match=r"torch\.uint8 cannot be attacked"):
        perturb(FGSM(), victim, torch.zeros(1, 2, DIMS, dtype=torch.uint8), Budget(1.0))
    with pytest.raises(ValueError, match=r"do not fit observations of shape \(4,\)"):
        perturb(FGSM(), victim, obs, Budget(1.0, scale=[1.0, 2.0]))
    with pytest.raises(ValueError, match=r"the observation 5 lies outside the budget's bounds \[-1, 1\]"):
        perturb(FGSM(), victim, obs + 5.0, Budget(1.0, low=-1.0, high=1.0))


def test_a_budget_says_its_units() -> None:
    assert Budget(0.1).describe() == "epsilon 0.1 (norm inf, in raw observation units)"
    budget = Budget(0.5, "2", scale=[0.7, 1.1], mask=[True, False], low=0.0, unit="standard deviations")
    assert budget.describe() == "epsilon 0.5 (norm 2, in standard deviations), 1 features masked, within [0, inf]"
    assert Budget(1.0, scale=[0.7, 1.1]).describe() == "epsilon 1 (norm inf, in units of 0.7, 1.1)"
    assert Budget(1.0, scale=torch.arange(1.0, 101.0)).describe() == "epsilon 1 (norm inf, in units of 1 to 100)"


# attacked policies and rows

ATTACKS: list[Attack] = [
    Noise("sign"),
    Noise("uniform"),
    Noise("gaussian"),
    FGSM(),
    FGSM("cross_entropy"),
    PGD(steps=3, restarts=2),
    PGD(steps=3, restarts=2, objective="kl"),
    DeepFool(steps=3),
    RandomSearch(20),
    Boundary(rays=10, directions=8, rounds=2),
    GridSearch(3),
    BestOf((Noise(), PGD(steps=2))),
]


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
@pytest.mark.parametrize("norm", NORMS)
def test_row_s_depends_on_its_own_seed_alone(attack: Attack, norm: Norm) -> None:
    weight, obs = normal(8, DIMS, 3), normal(8, 5, DIMS, seed=1)
    seeds = (11, 12, 13, 14, 15, 16, 17, 18)
    together = AttackedPolicy(Linear(weight), attack, Budget(0.4, norm), seeds)
    steps = [together.perturb(obs) for _ in range(3)]
    for s in (0, 5):
        alone = AttackedPolicy(Linear(weight[s : s + 1]), attack, Budget(0.4, norm), seeds[s : s + 1])
        for step in steps:
            assert torch.equal(alone.perturb(obs[s : s + 1])[0], step[s])
    poisoned = obs.clone()
    poisoned[0] = torch.nan
    again = AttackedPolicy(Linear(weight), attack, Budget(0.4, norm), seeds)
    assert torch.equal(again.perturb(poisoned)[1:], steps[0][1:])


def test_noise_is_the_attack_stream() -> None:
    policy = Linear(normal(2, DIMS, 2))
    attacked = AttackedPolicy(policy, Noise(), Budget(0.3), seeds=(5, 9))
    stream = Stream((5, 9), "attack", DIMS, copies=3)
    obs = normal(2, 3, DIMS)
    for _ in range(2):
        assert torch.equal(attacked.perturb(obs) > obs, stream.next() >= 0.5)


def test_seeds_are_the_policys_own_by_default() -> None:
    class Seeded(Linear):
        seeds = (5, 9)

    obs = normal(2, 3, DIMS)
    default = AttackedPolicy(Seeded(normal(2, DIMS, 2)), Noise(), Budget(0.3)).perturb(obs)
    assert torch.equal(default, AttackedPolicy(Linear(normal(2, DIMS, 2)), Noise(), Budget(0.3), (5, 9)).perturb(obs))
    numbered = AttackedPolicy(Linear(normal(2, DIMS, 2)), Noise(), Budget(0.3)).perturb(obs)
    assert torch.equal(numbered, AttackedPolicy(Seeded(normal(2, DIMS, 2)), Noise(), Budget(0.3), (0, 1)).perturb(obs))


# curves on cart-pole, with linear policies of 200 steps and more

WEIGHT = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.1, 0.3, 3.0, 0.5]])
POLICY = Linear(torch.stack([-WEIGHT, WEIGHT], dim=-1))


def make_env(copies: int) -> Env:
    env: Env = rlkit.envs.make(
        "CartPole-v1", seeds=[70, 70], num_envs=copies, restart=False, noise="gymnasium", double=True
    )
    return env


@pytest.mark.slow
def test_a_robustness_curve_is_its_rollouts() -> None:
    scale = torch.tensor([0.73, 1.06, 0.12, 0.44])
    epsilons = [0.0, 0.4]
    curve = robustness_curve(POLICY, make_env, [Noise(), FGSM()], epsilons, Budget(0.0, scale=scale), episodes=6)
    assert curve.attacks == ("sign noise", "FGSM")
    assert curve.epsilons == (0.0, 0.4)
    assert curve.returns.shape == curve.flips.shape == curve.lengths.shape == (2, 2, 2, 6)
    natural = rollout(POLICY, make_env(6))
    assert curve.natural.tolist() == natural.returns.tolist()
    for k in range(2):
        assert curve.returns[k, 0].tolist() == curve.natural.tolist()
        assert not curve.flips[k, 0].any()
    attacked = AttackedPolicy(POLICY, FGSM(), Budget(0.4, scale=scale))
    assert curve.returns[1, 1].tolist() == rollout(attacked, make_env(6)).returns.tolist()
    assert (curve.returns[1, 1] < curve.natural).all()
    assert (curve.flips[1, 1] > 0).all()
    assert curve.returns[1, 1].mean(axis=-1).max(axis=0) < curve.returns[0, 1].mean(axis=-1).min(axis=0)


@pytest.mark.slow
def test_points_are_natural_first_with_intervals_over_seeds() -> None:
    curve = robustness_curve(POLICY, make_env, [FGSM()], [0.05], episodes=3)
    natural, fgsm = curve.points(confidence=0.9)
    assert (natural.attack, natural.epsilon, natural.flip_rate.value) == ("natural", 0.0, 0.0)
    means = curve.natural.mean(axis=-1)
    assert natural.mean_return.value == means.mean(axis=0)
    assert (natural.mean_return.n, natural.mean_return.confidence) == (2, 0.9)
    assert (natural.change.value, natural.change.lower, natural.change.upper) == (0.0, 0.0, 0.0)
    attacked = curve.returns[0, 0].mean(axis=-1)
    assert fgsm.change.value == pytest.approx((attacked - means).mean(axis=0))
    assert fgsm.change.method == "paired Student t"
    rates = curve.flips[0, 0].sum(axis=-1) / curve.lengths[0, 0].sum(axis=-1)
    assert fgsm.flip_rate.value == pytest.approx(rates.mean(axis=0))
    assert (natural.capped, fgsm.capped) == (0, 0)


@pytest.mark.slow
def test_one_seed_has_infinite_intervals() -> None:
    policy = Linear(POLICY.weight[:1])
    curve = robustness_curve(
        policy,
        lambda n: rlkit.envs.make("CartPole-v1", num_envs=n, restart=False, noise="gymnasium", double=True),
        [Noise()],
        [0.01],
        episodes=2,
        max_steps=500,
    )
    assert math.isinf(curve.points()[1].mean_return.upper)


@pytest.mark.slow
def test_an_attacked_policy_plays_any_environment() -> None:
    import gymnasium

    policy = Linear(POLICY.weight[:1])
    env = gymnasium.make("CartPole-v1")
    clean = evaluate_policy(policy, env, 3, return_episode_rewards=True)
    assert evaluate_policy(AttackedPolicy(policy, FGSM(), Budget(0.0)), env, 3, return_episode_rewards=True) == clean
    assert evaluate_policy(AttackedPolicy(policy, FGSM(), Budget(0.1)), env, 3)[0] < np.mean(clean[0])


@pytest.mark.slow
def test_stable_baselines3_models_are_victims() -> None:
    from stable_baselines3 import PPO

    model = PPO("MlpPolicy", "CartPole-v1", seed=0, device="cpu", policy_kwargs={"net_arch": [16], "ortho_init": False})
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    obs = normal(1, 200, 4)
    result = execute(FGSM(), SB3Policy(model), obs, Budget(0.2))
    truth, shown = (model.predict(x[0].numpy(), deterministic=True)[0] for x in (obs, result.obs))
    assert result.success[0].tolist() == (truth != shown).tolist()
    noise = execute(Noise(), SB3Policy(model), obs, Budget(0.2), uniform(1, 200, 4))
    assert result.success.sum(dim=(0, 1)) > noise.success.sum(dim=(0, 1))
    assert all(torch.equal(value, before[name]) for name, value in model.policy.state_dict().items())
    assert all(parameter.grad is None for parameter in model.policy.parameters())


def test_integer_observations_are_refused_before_any_step() -> None:
    env = rlkit.envs.make("rlkit/GridWorld-v0", seeds=[0, 1], num_envs=2)
    assert isinstance(env.observation_space, spaces.Discrete)
    attacked = AttackedPolicy(POLICY, FGSM(), Budget(0.1))
    with pytest.raises(ValueError, match="integers have no gradient"):
        rollout(POLICY, env, perturb=attacked)


def test_curve_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="different names"):
        robustness_curve(POLICY, make_env, [FGSM(), FGSM()], [0.1])
    with pytest.raises(ValueError, match="different names"):
        robustness_curve(POLICY, make_env, [], [0.1])
    with pytest.raises(ValueError, match="epsilons must hold"):
        robustness_curve(POLICY, make_env, [FGSM()], [])
    with pytest.raises(ValueError, match="epsilon must be finite and not negative, got nan"):
        robustness_curve(POLICY, make_env, [FGSM()], [0.1, math.nan])
    with pytest.raises(ValueError, match="episodes must be at least 1, got 0"):
        robustness_curve(POLICY, make_env, [FGSM()], [0.1], episodes=0)
    with pytest.raises(ValueError, match=r"make_env\(4\) made an environment of 2 copies"):
        robustness_curve(POLICY, lambda n: make_env(2), [FGSM()], [0.1], episodes=4)

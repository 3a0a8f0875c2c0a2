"""Objectives by hand and by torch, gradient attacks against closed forms, corners and one another."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from victims import DIMS, NORMS, Linear, mlp, normal, uniform

from rlkit.adversarial import (
    FGSM,
    OBJECTIVES,
    PGD,
    BestOf,
    Budget,
    DeepFool,
    ModuleVictim,
    Noise,
    cross_entropy,
    execute,
    expected_q_of,
    kl,
    margin,
    perturb,
    sweep,
)
from rlkit.adversarial.attacks.gradient import at_truth
from rlkit.adversarial.budget import DUAL, Norm
from rlkit.adversarial.objectives import find_objective, pose
from rlkit.adversarial.victims.base import scores_of


def gradient(victim: Any, objective: Any, obs: Tensor, target: Tensor | None = None) -> Tensor:
    return at_truth(find_objective(objective), victim, obs, target)[2]


# objectives


@pytest.mark.slow
def test_objectives_by_hand_and_by_torch() -> None:
    scores, action = torch.tensor([[[1.0, 4.0, 2.0], [1.0, 4.0, 2.0]]]), torch.tensor([[1, 0]])
    assert margin(scores, action).tolist() == [[-2.0, 3.0]]
    theirs = nn.functional.cross_entropy(scores[0], action[0], reduction="none")
    torch.testing.assert_close(cross_entropy(scores, action)[0], theirs)


@pytest.mark.slow
def test_the_margin_keeps_its_gradient_where_cross_entropy_has_lost_it() -> None:
    victim, obs = Linear(200.0 * torch.eye(2)[None]), torch.tensor([[[1.0, 0.0]]])
    assert gradient(victim, "margin", obs).tolist() == [[[-200.0, 200.0]]]
    assert gradient(victim, "cross_entropy", obs).tolist() == [[[0.0, 0.0]]]


@pytest.mark.slow
def test_cross_entropy_loses_nothing_where_the_softmax_rounds_to_one() -> None:
    scores = torch.tensor([[[30.0, 0.0], [-60.0, 20.0]]])
    action = scores.argmax(dim=-1)
    assert (scores.softmax(dim=-1).amax(dim=-1) == 1).all()
    exact = torch.logaddexp(torch.zeros(2, dtype=torch.float64), torch.tensor([-30.0, -80.0], dtype=torch.float64))
    torch.testing.assert_close(cross_entropy(scores, action)[0].double(), exact, rtol=1e-5, atol=0.0)
    obs, weight = normal(1, 200, 4), 40.0 * normal(1, 4, 2, seed=1)
    a, b = (gradient(Linear(weight), objective, obs) for objective in ("margin", "cross_entropy"))
    assert (Linear(weight).scores(obs).softmax(dim=-1).amax(dim=-1) == 1).double().mean(dim=(0, 1)) > 0.5
    alive = b.abs().amax(dim=-1) > 0
    assert alive.double().mean(dim=(0, 1)) > 0.5
    assert torch.equal(a.sign()[alive], b.sign()[alive])  # with two actions the same attack, to the bit


def test_objectives_differ_on_three_actions() -> None:
    # the runner-up leads the margin; cross-entropy also weighs the third
    weight = torch.tensor([[[3.0, 2.9, 2.8], [0.0, 1.0, -1.1]]])
    obs = torch.tensor([[[1.0, 0.0]]])
    runner_up = gradient(Linear(weight), "margin", obs)
    surprise = gradient(Linear(weight), "cross_entropy", obs)
    cosine = nn.functional.cosine_similarity(runner_up, surprise, dim=-1).item()
    assert cosine < 0.99
    two = Linear(weight[..., :2])
    a, b = (gradient(two, objective, obs) for objective in ("margin", "cross_entropy"))
    assert nn.functional.cosine_similarity(a, b, dim=-1).item() == pytest.approx(1.0)


def test_scores_that_cannot_be_attacked_are_refused() -> None:
    class Blind(Linear):
        def scores(self, obs: Tensor) -> Tensor:
            return super().scores(obs).detach()

    class Flat(Linear):
        def scores(self, obs: Tensor) -> Tensor:
            return super().scores(obs).flatten(0, 1)

    with pytest.raises(ValueError, match="take no_grad out of scores"):
        perturb(FGSM(), Blind(normal(1, DIMS, 2)), torch.zeros(1, 1, DIMS), Budget(1.0))
    with pytest.raises(ValueError, match=r"must be \[S, B, A\], got \[1, 2\]"):
        perturb(FGSM(), Flat(normal(1, DIMS, 2)), torch.zeros(1, 1, DIMS), Budget(1.0))


# attacks


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["margin", "cross_entropy"])
@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_fgsm_finds_the_worst_corner_of_a_linear_victim(objective: Any, seed: int) -> None:
    # two actions: both objectives grow with the score difference, which is linear in the observation
    victim, obs = Linear(normal(2, DIMS, 2, seed=seed)), normal(2, 3, DIMS, seed=seed + 1)
    budget = Budget(0.3, scale=[1.0, 0.5, 2.0, 1.0], mask=[True, True, True, False])
    action = victim.act(obs)
    shown = execute(FGSM(objective), victim, obs, budget).obs
    corners = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=DIMS))) * 0.3 * budget.extent(obs)
    values = torch.stack([margin(victim.scores(obs + corner), action) for corner in corners])
    torch.testing.assert_close(margin(victim.scores(shown), action), values.amax(dim=0))


@pytest.mark.parametrize("norm", NORMS)
def test_fgsm_gains_epsilon_times_the_dual_norm(norm: Norm) -> None:
    victim, obs = Linear(normal(3, DIMS, 2)), normal(3, 5, DIMS, seed=1)
    budget = Budget(0.2, norm, scale=[1.0, 2.0, 0.5, 1.0])
    action = victim.act(obs)
    w = victim.weight[..., 1] - victim.weight[..., 0]  # [S, D]
    gain = margin(victim.scores(execute(FGSM(), victim, obs, budget).obs), action) - margin(victim.scores(obs), action)
    closed_form = 0.2 * torch.linalg.vector_norm(w * budget.extent(obs), ord=DUAL[norm], dim=-1)
    torch.testing.assert_close(gain, closed_form[:, None].expand(3, 5))


def test_success_is_a_changed_action_and_flips_exactly_where_the_margin_allows() -> None:
    # scores (x, 0): action 0 while x > 0, flipped once epsilon > x
    victim = Linear(torch.tensor([[[1.0, 0.0]]]))
    obs = torch.tensor([[[0.1], [0.29], [0.31], [2.0]]])
    result = execute(FGSM(), victim, obs, Budget(0.3))
    assert result.success.tolist() == [[True, True, False, False]]
    assert (victim.act(result.obs) != victim.act(obs)).tolist() == result.success.tolist()
    assert result.queries == 4


def test_the_logistic_worst_case() -> None:
    # loss log(1 + exp(-z)) of a correct linear score z grows to log(1 + exp(-(z - eps |w|_1)))
    weight = normal(1, DIMS, 1)
    victim = Linear(torch.cat([weight, torch.zeros_like(weight)], dim=-1))
    obs = normal(1, 6, DIMS, seed=3)
    result = execute(FGSM("cross_entropy"), victim, obs, Budget(0.1))
    z = (obs @ weight).squeeze(-1).abs()  # of the chosen action
    worst = torch.log1p(torch.exp(-(z - 0.1 * weight.abs().sum(dim=(1, 2)))))
    torch.testing.assert_close(cross_entropy(victim.scores(result.obs), victim.act(obs)), worst)
    corners = 0.1 * torch.tensor(list(itertools.product([-1.0, 1.0], repeat=DIMS)))
    losses = torch.stack([cross_entropy(victim.scores(obs + corner), victim.act(obs)) for corner in corners])
    torch.testing.assert_close(losses.amax(dim=0), worst)


def test_fgsm_has_a_gradient_under_no_grad_and_leaves_the_victim_alone() -> None:
    module = nn.Sequential(nn.Linear(DIMS, 8), nn.Tanh(), nn.Linear(8, 3))
    for i, parameter in enumerate(module.parameters()):
        parameter.data = normal(*parameter.shape, seed=i)
    before = [parameter.clone() for parameter in module.parameters()]
    obs = normal(1, 50, DIMS)
    with torch.no_grad():
        result = execute(FGSM(), ModuleVictim(module), obs, Budget(0.5))
    assert result.success.any()
    assert not result.obs.requires_grad
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))
    assert torch.equal(obs, normal(1, 50, DIMS)), "the observation was changed in place"


@pytest.mark.slow
def test_random_directions_have_mean_square_cosine_one_over_n() -> None:
    for dims in (2, 8, 50):
        obs, fixed = torch.zeros(1, 20_000, dims), normal(dims, seed=dims)
        for attack, norm in itertools.product((Noise("sign"), Noise("uniform"), Noise("gaussian")), NORMS):
            u = uniform(1, 20_000, attack.noise_width(dims), seed=1)
            offset = perturb(attack, Linear(normal(1, dims, 2)), obs, Budget(1.0, norm), u)[0]
            square = nn.functional.cosine_similarity(offset, fixed[None], dim=-1) ** 2
            assert square.mean(dim=0).item() == pytest.approx(1 / dims, rel=0.05)


def test_noise_needs_its_numbers_and_fgsm_needs_scores() -> None:
    class Actions:
        def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
            return torch.zeros(obs.shape[:2], dtype=torch.int64)

    obs, blind = torch.zeros(2, 3, DIMS), Actions()
    with pytest.raises(ValueError, match=r"shape \[2, 3, 4\], got none: draw them from Stream"):
        perturb(Noise(), blind, obs, Budget(1.0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shape \[2, 3, 5\], got \[2, 3, 4\]"):
        perturb(Noise("uniform"), blind, obs, Budget(1.0), uniform(2, 3, 4))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"FGSM needs the victim's scores\(obs\), which Actions does not have"):
        perturb(FGSM(), blind, obs, Budget(1.0))  # type: ignore[arg-type]
    assert not execute(Noise(), blind, obs, Budget(1.0), uniform(2, 3, 4)).success.any()  # type: ignore[arg-type]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of sign, uniform, gaussian, got 'gauss'"):
        Noise("gauss")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="objective must be one of margin, cross_entropy, kl, expected_q, got 'value'"):
        FGSM("value")  # type: ignore[arg-type]
    assert [attack.name for attack in (Noise(), Noise("uniform"), FGSM(), FGSM("cross_entropy"))] == [
        "sign noise",
        "uniform noise",
        "FGSM",
        "FGSM cross_entropy",
    ]


# what an objective is a function of


def test_kl_by_torch_and_its_gradient_at_the_truth_is_zero() -> None:
    victim, obs = Linear(normal(2, DIMS, 3)), normal(2, 50, DIMS, seed=1)
    scores, others = victim.scores(obs), victim.scores(obs + 0.3)
    theirs = nn.functional.kl_div(others.log_softmax(-1), scores.log_softmax(-1), log_target=True, reduction="none")
    torch.testing.assert_close(kl(others, scores), theirs.sum(dim=-1))
    assert gradient(victim, "kl", obs).abs().amax() < 1e-6
    flat = Linear(torch.zeros(2, DIMS, 3))
    assert torch.equal(execute(FGSM("kl"), flat, obs, Budget(0.5)).obs, obs)
    budget = Budget(0.5)
    u = uniform(2, 50, PGD(objective="kl").noise_width(DIMS))
    found = kl(victim.scores(execute(PGD(objective="kl"), victim, obs, budget, u).obs), scores)
    noise = kl(victim.scores(perturb(Noise(), victim, obs, budget, uniform(2, 50, DIMS))), scores)
    assert (found > 0).all()
    assert (found >= noise).double().mean(dim=(0, 1)) > 0.9


def test_with_two_actions_kl_may_push_the_harmless_way() -> None:
    victim, obs = Linear(torch.tensor([[[1.0, 0.0]]])), torch.full((1, 200, 1), 0.2)
    attack = PGD(objective="kl")
    result = execute(attack, victim, obs, Budget(0.3), uniform(1, 200, attack.noise_width(1)))
    harmless = result.obs[0, :, 0] > 0.2
    assert 0.2 < harmless.double().mean(dim=0) < 0.8
    assert (result.success[0] == ~harmless).all()
    assert execute(PGD(), victim, obs, Budget(0.3)).success.all()


def test_cross_entropy_is_of_scores_and_not_of_probabilities() -> None:
    # the slope of -log softmax(z)_a is 1 - p; of -log softmax(softmax(z))_a it has another factor p (1 - p)
    victim, obs = Linear(10.0 * torch.eye(2)[None]), torch.tensor([[[0.8, 0.0]]])
    p = torch.softmax(victim.scores(obs), dim=-1)[0, 0, 0]
    torch.testing.assert_close(gradient(victim, "cross_entropy", obs)[0, 0, 1], 10.0 * (1.0 - p))


def test_expected_q_belongs_to_the_true_state() -> None:
    # feature 0 moves both values alike: lowering it lowers what the victim believes and changes nothing that it does
    victim, obs = Linear(torch.tensor([[[5.0, 5.0], [1.0, -1.0]]])), torch.tensor([[[1.0, 0.2]]])
    victim.scores_are_values = True
    grad = gradient(victim, "expected_q", obs)[0, 0]
    assert grad[0].abs() < 1e-4 < -grad[1]
    result = execute(PGD(objective="expected_q"), victim, obs, Budget(0.3, "2"))
    assert result.success.all()
    assert execute(PGD(objective=expected_q_of(raised=True)), victim, obs, Budget(0.3, "2")).success.logical_not().all()


@pytest.mark.slow
@settings(max_examples=25)
@given(st.integers(0, 1000), st.floats(0.01, 100.0), st.floats(-100.0, 100.0))
def test_expected_q_of_values_has_neither_unit_nor_level(seed: int, unit: float, level: float) -> None:
    weight, obs = normal(1, DIMS, 3, seed=seed).double(), normal(1, 4, DIMS, seed=seed + 1).double()
    one, other = Linear(weight), Linear(unit * weight, torch.full((1, 1, 3), level, dtype=torch.float64))
    one.scores_are_values = other.scores_are_values = True
    torch.testing.assert_close(
        unit * gradient(one, "expected_q", obs), gradient(other, "expected_q", obs), rtol=1e-5, atol=1e-7 * unit
    )


def test_expected_q_of_a_softmax_policy_is_its_own_sum() -> None:
    logits, q = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    objective = expected_q_of(lambda obs: q)
    goal = pose(objective, Linear(normal(2, DIMS, 4)), normal(2, 3, DIMS), logits)
    torch.testing.assert_close(goal.value(logits), -(torch.softmax(logits, dim=-1) * q).sum(dim=-1))
    with pytest.raises(ValueError, match=r"the victim's scores are logits: pass objective=expected_q_of\(q\)"):
        execute(PGD(objective="expected_q"), Linear(normal(1, DIMS, 2)), normal(1, 2, DIMS), Budget(0.1))
    with pytest.raises(ValueError, match=r"q must give \[2, 3, 4\] like the scores, got \[2, 3\]"):
        pose(expected_q_of(lambda obs: q[..., 0]), None, normal(2, 3, DIMS), logits)


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_slopes_are_those_of_finite_differences(objective: Any) -> None:
    victim, obs = Linear(normal(1, DIMS, 3)), normal(1, 6, DIMS).double()
    victim.scores_are_values = True
    scores, shown = normal(1, 6, 3, seed=3).double(), normal(1, 6, 3, seed=4).double()
    goal = pose(OBJECTIVES[objective], victim, obs, scores)
    _, grad = goal.value_and_grad(shown)
    for a in range(3):
        step = 1e-6 * nn.functional.one_hot(torch.tensor(a), 3)
        difference = (goal.value(shown + step) - goal.value(shown - step)) / 2e-6
        torch.testing.assert_close(grad[..., a], difference, rtol=1e-6, atol=1e-8)


# projected gradients


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("objective", ["margin", "cross_entropy", "expected_q"])
def test_pgd_is_never_weaker_than_fgsm_or_nothing(norm: Norm, objective: Any) -> None:
    obs = normal(2, 40, DIMS, seed=1)
    budget = Budget(0.4, norm, scale=[1.0, 2.0, 0.5, 1.0], low=obs.amin().item(), high=obs.amax().item())
    for victim in (Linear(normal(2, DIMS, 3)), mlp(3)):
        victim.scores_are_values = True
        goal, at_start, _ = at_truth(find_objective(objective), victim, obs, None)
        fgsm = goal.value(scores_of(victim, execute(FGSM(objective), victim, obs, budget).obs))
        pgd = goal.value(scores_of(victim, execute(PGD(5, objective=objective), victim, obs, budget).obs))
        assert (pgd >= fgsm - 1e-5).all()
        assert (pgd >= at_start - 1e-5).all()


@pytest.mark.parametrize("norm", NORMS)
def test_more_restarts_are_never_weaker(norm: Norm) -> None:
    victim, obs, budget = mlp(3), normal(2, 40, DIMS, seed=1), Budget(0.6, norm)
    u = uniform(2, 40, PGD(5, restarts=4).noise_width(DIMS))
    one = execute(PGD(5), victim, obs, budget)
    four = execute(PGD(5, restarts=4), victim, obs, budget, u)
    assert (four.margin >= one.margin - 1e-5).all()
    assert (four.margin > one.margin + 1e-3).any()
    assert (one.queries, four.queries) == (1 + 2 * 5 + 3, 1 + 5 * 5 + 3)  # two other actions
    runner_up = PGD(5, restarts=4, every_action=False)
    assert execute(runner_up, victim, obs, budget, u).queries == 1 + 4 * 5 + 3


@pytest.mark.parametrize("norm", NORMS)
def test_pgd_meets_the_closed_form_of_linear_victims(norm: Norm) -> None:
    victim, obs = Linear(normal(3, DIMS, 2)), normal(3, 5, DIMS, seed=1)
    budget = Budget(0.2, norm, scale=[1.0, 2.0, 0.5, 1.0])
    w = victim.weight[..., 1] - victim.weight[..., 0]  # [S, D]
    clean = -(obs @ w[..., None]).squeeze(-1).abs()
    best = clean + 0.2 * torch.linalg.vector_norm(w * budget.extent(obs), ord=DUAL[norm], dim=-1)[:, None]
    torch.testing.assert_close(execute(PGD(), victim, obs, budget).margin, best)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("actions", [3, 4, 6])
def test_pgd_flips_every_linear_victim_that_can_be_flipped(norm: Norm, actions: int) -> None:
    victim, obs = Linear(normal(2, DIMS, actions, seed=3)), normal(2, 200, DIMS, seed=1)
    nearest = execute(DeepFool(), victim, obs, Budget(1000.0, norm))
    assert nearest.success.all()
    budget = Budget(1.05 * nearest.distance, norm)
    result = execute(PGD(), victim, obs, budget)
    assert result.success.all()
    runner_up = execute(PGD(every_action=False), victim, obs, budget)
    assert 0.8 < runner_up.success.double().mean(dim=(0, 1)) < 0.99  # the runner-up need not be the nearest
    assert (result.margin >= execute(FGSM(), victim, obs, budget).margin - 1e-5).all()


def test_with_two_actions_a_start_for_every_action_is_one_start() -> None:
    victim, obs, budget = mlp(2), normal(2, 40, DIMS, seed=1), Budget(0.6)
    u = uniform(2, 40, PGD(restarts=3).noise_width(DIMS))
    every, runner_up = (execute(PGD(restarts=3, every_action=each), victim, obs, budget, u) for each in (True, False))
    assert torch.equal(every.obs, runner_up.obs)
    assert every.queries == runner_up.queries


def test_pgd_within_bounds_finds_the_best_corner_of_what_is_left() -> None:
    victim, obs = Linear(normal(1, 3, 2)), torch.zeros(1, 1, 3)
    budget = Budget(1.0, low=[-0.5, -2.0, -0.1], high=[0.2, 0.3, 2.0])
    corners = torch.tensor(list(itertools.product([-0.5, 0.2], [-1.0, 0.3], [-0.1, 1.0])))[None]
    action = victim.act(obs).expand(1, 8)
    best = margin(victim.scores(corners), action).amax(dim=-1)
    torch.testing.assert_close(execute(PGD(), victim, obs, budget).margin[0], best)


# targets


def test_a_target_turns_the_attack_towards_it() -> None:
    victim, obs = Linear(normal(2, DIMS, 4)), normal(2, 60, DIMS, seed=1)
    target = torch.arange(60).remainder(4).expand(2, 60)
    for attack in (FGSM(), FGSM("cross_entropy"), PGD(), PGD(objective="cross_entropy")):
        result = execute(attack, victim, obs, Budget(1.0), target=target)
        assert torch.equal(result.success, victim.act(result.obs) == target)
        assert result.success.double().mean(dim=(0, 1)) > 0.6
        untargeted = execute(attack, victim, obs, Budget(1.0))
        assert (victim.act(untargeted.obs) == target).double().mean(dim=(0, 1)) < 0.5
    assert torch.equal(result.margin > 0, result.success)


def test_a_target_that_is_already_chosen_is_kept() -> None:
    victim, obs = mlp(3), normal(2, 60, DIMS)
    result = execute(PGD(), victim, obs, Budget(0.5), target=victim.act(obs))
    assert result.success.all()


def test_targets_that_are_no_actions_are_refused() -> None:
    victim, obs = Linear(normal(1, DIMS, 3)), normal(1, 2, DIMS)
    for target, message in (
        (torch.tensor([[0, 3]]), "below the victim's 3 actions, got 3"),
        (torch.tensor([[0, -1]]), "must not be negative, got -1"),
        (torch.tensor([0, 1, 2]), r"integers \[1, 2\], got torch.int64 \[3\]"),
        (torch.tensor([[0.0, 1.0]]), r"integers \[1, 2\], got torch.float32"),
    ):
        with pytest.raises(ValueError, match=message):
            execute(FGSM(), victim, obs, Budget(0.1), target=target)
    with pytest.raises(ValueError, match="kl has no targeted form: use margin or cross_entropy"):
        execute(FGSM("kl"), victim, obs, Budget(0.1), target=torch.tensor([[0, 1]]))


# many epsilons


@pytest.mark.parametrize("norm", NORMS)
def test_a_sweep_is_its_executions_in_one_call(norm: Norm) -> None:
    victim, obs = mlp(3), normal(2, 7, DIMS, seed=1)
    epsilons, attack = [0.0, 0.2, 0.8], PGD(4, restarts=2)
    u = uniform(2, 7, attack.noise_width(DIMS))
    swept = sweep(attack, victim, obs, Budget(9.9, norm, scale=[1.0, 2.0, 0.5, 1.0]), epsilons, u)
    assert swept.obs.shape == (3, 2, 7, DIMS)
    for i, epsilon in enumerate(epsilons):
        alone = execute(attack, victim, obs, Budget(epsilon, norm, scale=[1.0, 2.0, 0.5, 1.0]), u)
        for one, other in zip(alone[:-1], swept[:-1], strict=True):
            torch.testing.assert_close(other[i], one)
        assert alone.queries == swept.queries
        assert (alone.distance <= epsilon * (1 + 1e-5)).all()
    assert torch.equal(swept.obs[0], obs)
    with pytest.raises(ValueError, match="epsilons must hold at least one number"):
        sweep(attack, victim, obs, Budget(0.0), [], u)
    with pytest.raises(ValueError, match="epsilon must be finite and not negative, got -1"):
        sweep(attack, victim, obs, Budget(0.0), [0.1, -1.0], u)


def test_pgd_that_cannot_run_is_refused() -> None:
    for settings_, message in (
        ({"steps": 0}, "steps and restarts must be at least 1, got 0 and 1"),
        ({"restarts": 0}, "steps and restarts must be at least 1, got 20 and 0"),
        ({"step": 0.0}, "step must be positive, got 0"),
        ({"objective": "value"}, "objective must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            PGD(**settings_)  # type: ignore[arg-type]
    assert [attack.name for attack in (PGD(), PGD(7, 3), PGD(objective="kl"))] == ["PGD-20", "PGD-7x3", "PGD-20 kl"]
    names = [PGD(every_action=False).name, PGD(7, 3, "cross_entropy", every_action=False).name]
    assert names == ["PGD-20 runner-up", "PGD-7x3 cross_entropy"]


@pytest.mark.slow
@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from(NORMS), st.integers(2, 5), st.floats(0.01, 2.0))
def test_on_affine_victims_pgd_and_best_of_never_fall_behind_fgsm(
    seed: int, norm: Norm, actions: int, epsilon: float
) -> None:
    victim, obs = Linear(normal(2, DIMS, actions, seed=seed)), normal(2, 10, DIMS, seed=seed + 1)
    budget = Budget(epsilon, norm, scale=normal(DIMS, seed=seed + 2).abs() + 0.1)
    fgsm = execute(FGSM(), victim, obs, budget).margin
    assert (execute(PGD(4), victim, obs, budget).margin >= fgsm - 1e-4).all()
    assert (execute(BestOf((FGSM("cross_entropy"), FGSM())), victim, obs, budget).margin >= fgsm - 1e-4).all()


@pytest.mark.parametrize("attack", [FGSM(), PGD(3), PGD(3, every_action=False), DeepFool(), BestOf((FGSM(), PGD(2)))])
def test_an_empty_array_of_numbers_is_none_of_them(attack: Any) -> None:
    victim, obs, budget = mlp(3), normal(2, 5, DIMS), Budget(0.2)
    assert attack.noise_width(DIMS) == 0
    assert torch.equal(perturb(attack, victim, obs, budget, torch.zeros(2, 5, 0)), perturb(attack, victim, obs, budget))

"""Measuring robustness: whole curves in one rollout, and what is attacked costing what it must."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import gymnasium
import pytest
import torch
from victims import DIMS, Linear, mlp, normal, uniform

import rlkit.envs
from rlkit.adversarial import (
    FGSM,
    PGD,
    AtRandom,
    AttackedObservation,
    AttackedPolicy,
    BestOf,
    Budget,
    LabelVictim,
    Noise,
    Strategic,
    TargetAction,
    Transfer,
    adversarial_distance,
    at_share,
    distance_curve,
    examine,
    execute,
    hijack_rollout,
    imitate,
    linear_adversary,
    perturb,
    robustness_curve,
    sweep,
    transfer_matrix,
    visited,
)
from rlkit.adversarial.attacks.subset import perturb_where
from rlkit.adversarial.victims.base import QueryCounter
from rlkit.evaluation import ConcatEnv, observation_std, rollout
from rlkit.types import Env

BALANCER = Linear(torch.tensor([[0.0, 0.0], [0.0, 0.1], [-3.0, 3.0], [-0.5, 0.5]]).expand(2, 4, 2))


def cartpoles(copies: int, env: str = "CartPole-v1", seeds: int = 2) -> Env:
    return rlkit.envs.make(env, seeds=[10_000] * seeds, num_envs=copies, restart=False, noise="gymnasium", double=True)


def test_groups_side_by_side_are_the_environments_themselves() -> None:
    alone, group, together = cartpoles(3), cartpoles(3), ConcatEnv([cartpoles(3), cartpoles(3)])
    group.step(torch.ones(2, 3, dtype=torch.int64))
    assert together.num_envs == 6
    for step in range(12):
        action = torch.full((2, 3), step % 2)
        both = together.step(torch.cat([action, 1 - action], dim=1))
        one = alone.step(action)
        for field, first in zip(both, one, strict=True):
            assert (field is None and first is None) or (field[:, :3] == first).all()
        assert (together.obs[:, :3] == alone.obs).all()
    assert (together.reset()[:, :3] == alone.reset()).all()
    assert not (both.obs[:, 3:] == one.obs).all()


def test_groups_side_by_side_must_be_alike() -> None:
    with pytest.raises(ValueError, match="at least one environment"):
        ConcatEnv([])
    with pytest.raises(ValueError, match="num_envs 3 and 2"):
        ConcatEnv([cartpoles(3), cartpoles(2)])
    with pytest.raises(ValueError, match="seeds"):
        ConcatEnv([cartpoles(3), cartpoles(3, seeds=1)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*still running")
@pytest.mark.parametrize("attack", [Noise("sign"), Noise("uniform"), PGD(3, restarts=2)], ids=lambda a: a.name)
def test_epsilons_side_by_side_are_one_rollout_each(attack: Noise | PGD) -> None:
    epsilons, budget = [0.0, 0.05, 0.2], Budget(0.0)
    curve = robustness_curve(BALANCER, cartpoles, [attack], epsilons, budget, episodes=5, max_steps=60)
    for i, epsilon in enumerate(epsilons):
        attacker = AttackedPolicy(BALANCER, attack, replace(budget, epsilon=epsilon))
        alone = rollout(BALANCER, cartpoles(5), max_steps=60, perturb=attacker)
        assert (curve.returns[0, i] == alone.returns.numpy()).all()
        assert (curve.flips[0, i] == alone.flips.numpy()).all()
        assert (curve.attacked[0, i] == alone.attacks.numpy()).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*still running")
def test_a_timing_by_chance_has_the_same_chances_at_every_epsilon() -> None:
    curve = robustness_curve(
        BALANCER, cartpoles, [FGSM()], [1e-9, 1e-9], episodes=3, timing=AtRandom(0.5), max_steps=40
    )
    assert (curve.attacked[0, 0] == curve.attacked[0, 1]).all()
    assert (curve.attacked > 0).all()


def test_only_what_is_attacked_is_computed() -> None:
    victim, attack = mlp(3), PGD(4, restarts=2)
    obs, u = normal(2, 40, DIMS), uniform(2, 40, attack.noise_width(DIMS))
    budget = Budget(torch.linspace(0.1, 1.0, 40), scale=[1.0, 0.5, 2.0, 1.0])
    target = torch.arange(40).remainder(3).expand(2, 40)
    now = uniform(2, 40, seed=3) < 0.3
    for aim in (None, target):
        whole = perturb(attack, victim, obs, budget, u, aim)
        some = perturb_where(now, attack, victim, obs, budget, u, aim)
        assert (some[now] == whole[now]).all()
        assert (some[~now] == obs[~now]).all()
    counted = QueryCounter(victim)
    perturb_where(now, attack, counted, obs, budget, u)
    width = max(int(now.sum(dim=1).max()), 16)
    assert counted.asked == 2 * width * (1 + 3 * 4)  # a start for both other actions, and a random one
    asked = counted.asked
    assert (perturb_where(torch.zeros_like(now), attack, counted, obs, budget, u) == obs).all()
    assert counted.asked == asked


@pytest.mark.parametrize(
    ("make_env", "message"),
    [
        ("CartPole-v1", "make_env must be a function of (episodes) that returns a batched Env of rlkit, got 'CartPole"),
        (lambda: gymnasium.make("CartPole-v1"), "got one of (): pass agent.evaluation_env"),
        (
            lambda episodes: gymnasium.make("CartPole-v1"),
            "what make_env(3) returns must be a batched Env of rlkit",
        ),
        (cartpoles(3), "got <rlkit.envs.batched.BatchedEnv"),
        (lambda episodes: cartpoles(episodes, seeds=1), "2 seeds and the environment 1 rows: make it with one seed a"),
    ],
)
def test_what_makes_no_environment_is_refused_with_the_remedy(make_env: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        robustness_curve(BALANCER, make_env, FGSM(), 0.1, episodes=3)
    if "rows" not in message:
        moves = TargetAction(FGSM(), 2)
        message = message.replace("(episodes)", "(episodes, first_seed)").replace("(3)", "(2, 0)")
        function = (lambda episodes, first_seed: make_env(episodes)) if "returns must" in message else make_env
        with pytest.raises(ValueError, match=re.escape(message)):
            next(linear_adversary(BALANCER, function, moves, 0.1, [1], [0, 1]))
        with pytest.raises(ValueError, match="make_env"):
            imitate(BALANCER, make_env)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ("fgsm", "must be an attack, such as FGSM(), got 'fgsm'"),
        (FGSM, "must be an attack, such as FGSM(), got the class FGSM: write FGSM(...)"),
        (None, "must be an attack, such as FGSM(), got None"),
    ],
)
def test_names_and_classes_of_attacks_are_refused(attack: Any, message: str) -> None:
    obs, u = normal(2, 3, 4), uniform(2, 3, 4)
    for call in (
        lambda: robustness_curve(BALANCER, cartpoles, [attack], 0.1),
        lambda: robustness_curve(BALANCER, cartpoles, attack, 0.1),
        lambda: AttackedPolicy(BALANCER, attack, 0.1),
        lambda: AttackedObservation(gymnasium.make("CartPole-v1"), LabelVictim(lambda obs: obs), attack, 0.1),
        lambda: BestOf([FGSM(), attack]),  # type: ignore[arg-type]
        lambda: TargetAction(attack, 2),
        lambda: Transfer(attack, BALANCER),
        lambda: perturb(attack, BALANCER, obs, 0.1),
        lambda: execute(attack, BALANCER, obs, 0.1),
        lambda: sweep(attack, BALANCER, obs, 0.1, 0.1),
        lambda: adversarial_distance(attack, BALANCER, obs, 0.1),
        lambda: distance_curve(attack, BALANCER, obs, 0.1, 0.1),
        lambda: transfer_matrix(attack, {"a": BALANCER}, {"a": BALANCER}, obs, 0.1, u),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


def test_counts_and_timings_of_a_curve_are_refused_by_name() -> None:
    def curve(**arguments: Any) -> None:
        robustness_curve(BALANCER, cartpoles, FGSM(), 0.1, **arguments)

    with pytest.raises(ValueError, match=r"episodes must be a whole number, got 2\.5"):
        curve(episodes=2.5)
    with pytest.raises(ValueError, match=r"spread must be a whole number, got 2\.5"):
        curve(spread=2.5)
    with pytest.raises(ValueError, match="attacks_per_episode must be at least 0, got -1"):
        curve(attacks_per_episode=-1)
    with pytest.raises(ValueError, match="timing must be a timing, such as Every"):
        curve(timing="random")
    with pytest.raises(ValueError, match="moves must be TargetAction"):
        next(linear_adversary(BALANCER, cartpoles, "fgsm", 0.1, [1], [0, 1]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="attacks must be Checked"):
        examine(BALANCER, normal(2, 3, 4), 0.1, 0.1, attacks=FGSM())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "env", ["CartPole-v1", gymnasium.make("CartPole-v1"), cartpoles], ids=["id", "gym", "function"]
)
def test_rollouts_need_a_batched_environment(env: Any) -> None:
    for call in (
        lambda: rollout(BALANCER, env),
        lambda: visited(BALANCER, env, 3),
        lambda: hijack_rollout(BALANCER, BALANCER, env),
        lambda: observation_std(BALANCER, env),
        lambda: at_share(Strategic(0.1), 0.2, BALANCER, env),
    ):
        with pytest.raises(ValueError, match=r"env must be a batched Env of rlkit, got .*evaluation_env\("):
            call()

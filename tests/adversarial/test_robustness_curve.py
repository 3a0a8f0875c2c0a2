"""Measuring robustness: whole curves in one rollout, and what is attacked costing what it must."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from victims import DIMS, Linear, mlp, normal, uniform

import rlkit.envs
from rlkit.adversarial import FGSM, PGD, AtRandom, AttackedPolicy, Budget, Noise, perturb, robustness_curve
from rlkit.adversarial.attacks.subset import perturb_where
from rlkit.adversarial.victims.base import QueryCounter
from rlkit.evaluation import ConcatEnv, rollout
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

"""The attacker's problem: one problem in two forms, known worst cases, and adversaries that learn them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from torch import Tensor

import rlkit.envs
from rlkit.adversarial import (
    FGSM,
    PGD,
    AdversaryActions,
    AdversaryEnv,
    AttackedPolicy,
    Ball,
    Budget,
    Directions,
    LearnedAttack,
    Noise,
    OneHot,
    TargetAction,
    corners,
    robustness_curve,
)
from rlkit.agents import DQN, PPO
from rlkit.envs import AdversaryDynamics, CartPole, GridWorld
from rlkit.envs.gym_env import DynamicsEnv
from rlkit.envs.probes import cycle_or_stay
from rlkit.evaluation import rollout
from rlkit.planning import evaluate

STEPS = 100
ANY = Budget(2.0, low=-1.0, high=1.0)  # any state of the toy may be shown as any other
OPTIMAL, STAY, GO = [1, 0, 0], [0, 0, 0], [1, 1, 1]


class Table:
    """A victim of the toy: the action of the state whose feature is nearest."""

    def __init__(self, actions: list[int]) -> None:
        self.actions = torch.tensor(actions)

    def scores(self, obs: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(self.act(obs), 2).float()

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return self.actions[(obs[..., 0].round() + 1).long()]


class Smooth(Table):
    """The optimal policy by scores with a slope, so that a gradient can be followed."""

    def __init__(self) -> None:
        super().__init__(OPTIMAL)

    def scores(self, obs: Tensor) -> Tensor:
        return torch.cat([obs + 0.5, torch.zeros_like(obs)], dim=-1)

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return self.scores(obs).argmax(dim=-1)


class Linear:
    def __init__(self, weight: Tensor) -> None:
        self.weight = weight  # [S, D, A]
        self.num_seeds = len(weight)

    def scores(self, obs: Tensor) -> Tensor:
        return obs @ self.weight

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return self.scores(obs).argmax(dim=-1)


CONTROL = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.1, 0.3, 3.0, 0.5]])
POLES = Linear(torch.stack([-CONTROL, CONTROL], dim=-1))


def played(victim: Table, attack: Any = None) -> float:
    """Undiscounted return of STEPS steps from a random state, mean of 30 episodes; natural without an attack."""
    env = rlkit.envs.make(cycle_or_stay(STEPS), seeds=[0], num_envs=30, restart=False, noise="gymnasium")
    attacked = victim if attack is None else AttackedPolicy(victim, attack, ANY)
    return float(rollout(attacked, env).returns.mean(dim=(0, 1)))


# the toy


def test_the_toy_has_its_published_values() -> None:
    mdp = cycle_or_stay().mdp

    def value(policy: Any) -> list[float]:
        return evaluate(mdp, np.asarray(policy), 0.99).tolist()

    assert value(OPTIMAL) == pytest.approx([100, 100, 100])
    assert value(STAY) == pytest.approx([0, 100, 100])
    assert value(GO) == pytest.approx([33.67, 33.00, 33.33], abs=0.005)
    assert value(np.full((3, 2), 0.5)) == pytest.approx([50, 50, 50])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("actions", "worst"), [(OPTIMAL, [0, 0, 0]), (STAY, [0, 100, 100]), (GO, [33.67, 33.0, 33.33])]
)
def test_the_worst_case_of_the_toy_by_value_iteration(actions: list[int], worst: list[float]) -> None:
    # over all that can be shown: V(s) = min over s' of r(s, pi(s')) + gamma V(next)
    probe = cycle_or_stay()
    reward, successor = probe.mdp.reward[..., 0], probe.mdp.successor[..., 0]
    value = np.zeros(3)
    for _ in range(3000):
        value = (reward + 0.99 * value[successor])[:, sorted(set(actions))].min(axis=1)
    assert value.tolist() == pytest.approx(worst, abs=0.005)
    # the adversary's moves reach all of it: the best constant mapping state -> move by brute force
    moves, dynamics = corners(1), cycle_or_stay(3000)
    adversary = AdversaryDynamics(dynamics, Table(actions), moves, ANY)
    state, loss = np.arange(3)[:, None], np.zeros((3, 3))
    for move in range(3):
        _, minus, _ = adversary.transition(state, np.full(3, move), np.zeros((3, 1)))
        loss[:, move] = -minus
    best = loss.argmin(axis=1)
    total, discount = np.zeros(3), 1.0
    for _ in range(3000):
        state, minus, _ = adversary.transition(state, best[state[:, 0]], np.zeros((3, 1)))
        total, discount = total - discount * minus, 0.99 * discount
    assert total.tolist() == pytest.approx(worst, abs=0.005)


# moves


def test_moves_by_hand() -> None:
    obs, budget = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), Budget(0.5, scale=[1.0, 2.0])
    shown = corners(2).show(POLES, obs, torch.tensor([[0, 3]]), budget)
    assert shown.tolist() == [[[1.0, 2.0], [3.5, 3.0]]]
    shown = Ball((2,)).show(POLES, obs, torch.tensor([[[0.5, -1.0], [1.0, 3.0]]]), budget)
    assert shown.tolist() == [[[1.25, 1.0], [3.5, 5.0]]]
    shown = Directions([[3.0, 4.0]]).show(POLES, obs, torch.tensor([[0, 0]]), Budget(5.0, "2"))
    assert shown.tolist() == [[[4.0, 6.0], [6.0, 8.0]]]
    assert corners(2).action_space == spaces.Discrete(5)
    assert Ball((2,)).action_space == spaces.Box(-1.0, 1.0, (2,), np.float32)


def test_provoking_makes_the_victim_choose_the_action_or_leaves_it_alone() -> None:
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 4, 3))).float()
    obs = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 200, 4))).float()
    victim, moves = Linear(weight), TargetAction(PGD(20), 3)
    assert moves.action_space == spaces.Discrete(4)
    for action in range(3):
        shown = moves.show(victim, obs, torch.full((1, 200), action), Budget(10.0))
        assert victim.act(shown).eq(action).double().mean(dim=(0, 1)) > 0.95
    assert torch.equal(moves.show(victim, obs, torch.full((1, 200), 3), Budget(10.0)), obs)


@pytest.mark.parametrize(
    "moves", [corners(4), Ball((4,)), TargetAction(FGSM(), 2)], ids=lambda moves: type(moves).__name__
)
def test_no_move_leaves_the_budget(moves: AdversaryActions) -> None:
    obs = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 50, 4))).float()
    budget = Budget(0.3, "2", scale=[1.0, 2.0, 0.5, 1.0], low=-1.5, high=5.0)
    obs = obs.clamp(-1.5, 5.0)
    action = np.stack([moves.action_space.sample() for _ in range(100)]).reshape(2, 50, *moves.action_space.shape)
    shown = moves.show(POLES, obs, torch.from_numpy(action), budget)
    assert (budget.distance(obs, shown) <= 0.3 * (1 + 1e-5)).all()


# the environments


def serial(moves: AdversaryActions, budget: Budget = Budget(0.3)) -> AdversaryEnv:  # noqa: B008
    return AdversaryEnv(gymnasium.make("CartPole-v1"), Linear(POLES.weight[:1]), moves, budget)


@pytest.mark.parametrize(
    "moves", [corners(1), Ball((1,)), TargetAction(FGSM(), 2)], ids=lambda moves: type(moves).__name__
)
def test_gymnasium_and_stable_baselines3_accept_the_environment(moves: AdversaryActions) -> None:
    from stable_baselines3.common.env_checker import check_env as their_check

    toy, victim = cycle_or_stay(STEPS), Smooth()
    serial_form = AdversaryEnv(DynamicsEnv(toy), victim, moves, ANY)
    for env in (serial_form, DynamicsEnv(AdversaryDynamics(toy, victim, moves, ANY))):
        check_env(env, skip_render_check=True)
        their_check(env)


@pytest.mark.parametrize(
    "moves", [corners(4), Ball((4,)), TargetAction(FGSM(), 2)], ids=lambda moves: type(moves).__name__
)
def test_both_forms_are_the_same_problem(moves: AdversaryActions) -> None:
    one = serial(moves)
    other = DynamicsEnv(AdversaryDynamics(CartPole(), Linear(POLES.weight[:1]), moves, Budget(0.3)))
    (obs, _), (same, _) = one.reset(seed=3), other.reset(seed=3)
    space = moves.action_space
    space.seed(0)
    for _ in range(30):
        np.testing.assert_allclose(obs, same, rtol=1e-5, atol=1e-6)
        action = space.sample()
        obs, reward, over, cut, info = one.step(action)
        same, twin_reward, twin_over, twin_cut, _ = other.step(action)
        assert (reward, over, cut) == (twin_reward, twin_over, twin_cut) == (-1.0, over, cut)
        assert np.abs(info["shown"]).max() < 10
        assert info["victim_action"] == Linear(POLES.weight[:1]).act(torch.tensor(info["shown"])[None, None]).item()
        if over or cut:
            break


def test_the_adversary_sees_the_truth_and_leaving_the_victim_alone_is_natural_play() -> None:
    victim = Linear(POLES.weight[:1])
    env, natural = serial(TargetAction(FGSM(), 2)), gymnasium.make("CartPole-v1")
    (obs, _), (true, _) = env.reset(seed=1), natural.reset(seed=1)
    for _ in range(60):
        assert np.array_equal(obs, true)
        action = victim.act(torch.from_numpy(true)[None, None]).item()
        (obs, reward, over, _, _), (true, earned, done, _, _) = env.step(2), natural.step(action)
        assert (reward, over) == (-earned, done)


def test_row_s_of_the_batched_form_is_the_run_of_its_seed() -> None:
    victim = Linear(POLES.weight[1:])
    seeds = range(8)

    def run(seeds: Any, victim: Linear) -> Tensor:
        env = rlkit.envs.make(AdversaryDynamics(CartPole(), victim, corners(4), Budget(0.5)), seeds=seeds, num_envs=3)
        actions = torch.arange(40)[:, None, None] % 17
        return torch.stack([env.step(a.expand(len(env.seeds), 3).contiguous()).next_obs for a in actions], dim=1)

    together = run(seeds, victim)
    for s in (0, 5):
        assert torch.equal(run([s], victim)[0], together[s])
    # a victim of as many rows plays row by row
    pair = run([0, 1], POLES)
    assert torch.equal(pair[1], together[1])
    assert not torch.equal(pair[0], together[0])


def test_integer_observations_are_attacked_in_their_code() -> None:
    grid = GridWorld("frozenlake-4x4", slip=0.0)
    victim = OneHot(DQN(grid, net_arch=(16,), device="cpu"))
    moves = TargetAction(FGSM(), 4)
    env = AdversaryEnv(DynamicsEnv(grid), victim, moves, Budget(10.0))
    env.reset(seed=0)
    for target in (1, 0, 3):
        _, _, _, _, info = env.step(target)
        assert info["shown"].shape == (16,)
        assert info["victim_action"] == target
    dynamics = AdversaryDynamics(grid, victim, moves, Budget(10.0))
    state, reward, _ = dynamics.transition(np.array([[0]]), np.array([1]), np.zeros((1, 1)))
    assert grid.tile_of[state[0, 0]].tolist() == [1, 0]  # pushed down
    assert reward.tolist() == [0.0]
    assert dynamics.render(state[0], "ansi").count("[") == 1


# learning


def trained(algorithm: type[DQN] | type[PPO], victim: Table, moves: AdversaryActions, **settings: Any) -> DQN | PPO:
    problem = AdversaryDynamics(cycle_or_stay(STEPS), victim, moves, ANY)
    return algorithm(problem, seeds=[0], num_envs=8, device="cpu", net_arch=(16,), **settings)


@pytest.mark.slow
def test_ppo_learns_the_worst_case_of_the_toy_and_noise_does_not_find_it() -> None:
    victim = Table(OPTIMAL)
    adversary = trained(PPO, victim, corners(1), n_steps=32, batch_size=256, learning_rate=1e-2, gamma=0.9)
    adversary.learn(4000)
    assert played(victim) == pytest.approx(STEPS)
    noise = played(victim, Noise())
    learned = played(victim, LearnedAttack(adversary, corners(1)))
    assert learned == 0.0
    assert noise > 10
    assert float(adversary.evaluate(10).mean()) == 0.0  # minus the victim's return
    # a victim that ignores what it sees cannot be harmed
    assert played(Table(GO), LearnedAttack(adversary, corners(1))) == played(Table(GO))


@pytest.mark.slow
def test_dqn_learns_which_action_to_provoke() -> None:
    victim, moves = Smooth(), TargetAction(FGSM(), 2)
    adversary = trained(
        DQN, victim, moves, learning_rate=3e-3, gamma=0.9, learning_starts=200, train_freq=4, gradient_steps=4,
        target_update_interval=100, exploration_fraction=0.5,
    ).learn(3000)  # fmt: skip
    assert played(victim) == pytest.approx(STEPS)
    assert played(victim, LearnedAttack(adversary, moves)) == 0.0
    assert played(victim, Noise()) > 10


@pytest.mark.slow
def test_stable_baselines3_ppo_learns_offsets_of_a_box() -> None:
    from stable_baselines3 import PPO as SB3PPO

    victim = Table(OPTIMAL)
    env = AdversaryEnv(DynamicsEnv(cycle_or_stay(STEPS)), victim, Ball((1,)), ANY)
    model = SB3PPO("MlpPolicy", env, n_steps=128, gamma=0.9, learning_rate=3e-3, seed=0, device="cpu").learn(2560)
    obs, _ = env.reset(seed=0)
    harm = 0.0
    for _ in range(STEPS):
        action, _ = model.predict(obs, deterministic=True)
        obs, reward, _, _, _ = env.step(action)
        harm += reward
    assert -harm <= 5.0


def test_our_agents_train_on_any_gymnasium_environment_of_a_victim() -> None:
    adversary = DQN(lambda: serial(corners(4)), learning_starts=20, batch_size=16, net_arch=(16,), device="cpu")
    adversary.learn(60)
    assert adversary.action_space == spaces.Discrete(17)
    assert adversary.act(torch.zeros(1, 3, 4)).shape == (1, 3)
    victims = DQN("CartPole-v1", seeds=[0, 1], net_arch=(16,), device="cpu")
    problem = AdversaryDynamics(CartPole(), victims, TargetAction(FGSM(), 2), Budget(0.5))
    pair = PPO(problem, seeds=victims.seeds, num_envs=2, n_steps=16, batch_size=32, net_arch=(16,), device="cpu")
    assert pair.learn(64).evaluate(2).shape == (2, 2)


def test_a_learned_attack_stands_beside_others_in_a_curve() -> None:
    adversary = DQN(AdversaryDynamics(CartPole(), POLES, corners(4), Budget(0.3)), seeds=[0, 1], device="cpu")

    def make_env(copies: int) -> Any:
        dynamics = CartPole(max_steps=30)
        return rlkit.envs.make(dynamics, seeds=[7, 7], num_envs=copies, restart=False, noise="gymnasium", double=True)

    attacks = [Noise(), LearnedAttack(adversary, corners(4))]
    curve = robustness_curve(POLES, make_env, attacks, [0.0, 0.3], episodes=2)
    assert curve.attacks == ("sign noise", "learned adversary")
    assert (curve.returns[1, 0] == curve.natural).all()


# bad input


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"directions must be finite numbers \[M, \*observation\], got shape \(2,\)"):
        Directions([1.0, 2.0])
    with pytest.raises(ValueError, match=r"11 features have 2\^11 corners: choose Directions of your own, Ball"):
        corners(11)
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        serial(corners(4)).step(0)
    with pytest.raises(ValueError, match=r"torch\.int64 cannot be attacked"):
        AdversaryDynamics(GridWorld(), Table(GO), corners(1), ANY)
    with pytest.raises(ValueError, match=r"torch\.int64 cannot be attacked"):
        AdversaryEnv(gymnasium.make("FrozenLake-v1"), Table(GO), corners(1), ANY).reset()
    three = AdversaryDynamics(CartPole(), POLES, corners(4), Budget(0.1))
    with pytest.raises(ValueError, match="the victim has 2 rows and the adversary 3 seeds"):
        rlkit.envs.make(three, seeds=range(3)).step(torch.zeros(3, 1, dtype=torch.int64))
    adversary = LearnedAttack(Table(GO), corners(1))
    with pytest.raises(ValueError, match="a learned adversary pursues its own reward and takes no target"):
        AttackedPolicy(Table(GO), adversary, ANY, target=Table(GO).act).perturb(torch.zeros(1, 1, 1))
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        cycle_or_stay(0)

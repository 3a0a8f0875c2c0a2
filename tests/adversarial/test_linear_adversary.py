"""Linear adversaries: what they aim at, the cross-entropy method, and searches in environments of both kinds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rlkit.adversarial import (
    FGSM,
    PGD,
    Budget,
    LearnedAttack,
    LinearAdversary,
    TargetAction,
    linear_adversary,
    robustness_curve,
)
from rlkit.adversarial.attacks.linear_adversary import EPISODES, CrossEntropy
from rlkit.agents import DQN
from rlkit.envs import GridWorld, make

MOVES = TargetAction(FGSM(), 2)
SCALE = (0.44, 0.33, 0.037, 0.23)


class Balance:
    """S linear policies; that of the sign 1, (.1, .3, 3, .5), balances the pole for 500 steps, that of -1 falls."""

    scores_are_values = False

    def __init__(self, signs: tuple[int, ...] = (1,)) -> None:
        self.signs = torch.tensor(signs)[:, None]
        self.num_seeds, self.seeds, self.device = len(signs), tuple(range(len(signs))), torch.device("cpu")

    def scores(self, obs: Tensor) -> Tensor:
        lean = self.signs * (obs @ torch.tensor([0.1, 0.3, 3.0, 0.5], dtype=obs.dtype))
        return torch.stack([-lean, lean], dim=-1)

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return self.scores(obs).argmax(dim=-1)


def poles(rows: int, calls: list[tuple[int, int]] | None = None) -> Any:
    def make_env(episodes: int, first_seed: int) -> Any:
        if calls is not None:
            calls.append((episodes, first_seed))
        return make("CartPole-v1", seeds=[first_seed] * rows, num_envs=episodes, restart=False, noise="gymnasium")

    return make_env


def test_it_aims_at_the_action_of_the_highest_linear_score():
    weights = torch.tensor([[[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]], dtype=torch.float64)  # [1, A - 1, D + 1]
    adversary = LinearAdversary(weights, torch.tensor([2.0, 1.0], dtype=torch.float64))
    obs = torch.tensor([[[4.0, 0.5], [4.0, 1.5], [1.0, -1.0], [2.0, 0.0]]])  # scores x / 2 - 1, y and 0
    assert adversary.act(obs).tolist() == [[0, 1, 2, 0]]  # the first of equals
    by_copy = LinearAdversary(torch.stack([weights, -weights], dim=1), adversary.scale)  # [1, B, A - 1, D + 1]
    assert by_copy.act(obs[:, [0, 0]]).tolist() == [[0, 2]]
    picture = obs.reshape(1, 4, 2, 1)
    assert torch.equal(adversary.act(picture), adversary.act(obs))


def test_the_cross_entropy_method_finds_the_minimum_of_a_quadratic():
    aims = torch.tensor([[0.5, -1.0], [2.0, 1.5], [0.0, 0.0]], dtype=torch.float64)  # [S, 2]
    search = CrossEntropy([1, 2, 3], (2,), torch.device("cpu"))
    for _ in range(40):
        drawn = search.draw()
        assert drawn.shape == (3, 16, 2)
        search.fit(drawn, ((drawn - aims[:, None]) ** 2).sum(dim=-1))
    assert torch.allclose(search.mean, aims, atol=0.02)
    assert (search.deviation < 0.02).all()


def test_a_fit_is_to_the_four_best_draws_and_noise_falls_to_zero():
    search = CrossEntropy([0], (1,), torch.device("cpu"))
    drawn = torch.arange(16.0, dtype=torch.float64).reshape(1, 16, 1)
    costs = (drawn[..., 0] - 5.6).abs()  # the best are 4, 5, 6 and 7
    for generation in range(12):
        search.fit(drawn, costs)
        noise = 0.15 * max(0.0, 1.0 - generation / 10)
        assert search.mean.item() == 5.5
        assert search.deviation.item() == pytest.approx(1.25**0.5 + noise)
    search.fit(drawn, torch.zeros(1, 16))
    assert search.mean.item() == 1.5  # of equals the first


def test_a_search_for_a_row_is_the_search_of_its_seed():
    def found(signs: tuple[int, ...], seeds: list[int]) -> Tensor:
        victim = Balance(signs)
        (attack,) = linear_adversary(victim, poles(len(seeds)), MOVES, budget(0.5), [3], seeds, max_steps=50)
        return attack.adversary.weights  # type: ignore[attr-defined]

    together = found((1, -1), [4, 7])
    assert torch.equal(together[:1], found((1,), [4]))
    assert torch.equal(together[1:], found((-1,), [7]))
    assert not torch.equal(together[0], together[1])


def test_a_longer_search_continues_the_shorter_one_on_new_episodes():
    calls: list[tuple[int, int]] = []

    def weights(generations: list[int]) -> list[Tensor]:
        calls.clear()
        victim, envs = Balance((1, 1)), poles(2, calls)
        search = linear_adversary(victim, envs, MOVES, budget(0.5), generations, [4, 7], first_seed=100, max_steps=50)
        return [attack.adversary.weights for attack in search]  # type: ignore[attr-defined]

    short, long = weights([1, 4])
    assert sorted({seed for _, seed in calls}) == [100, 102, 104, 106]  # each generation has its own two episodes
    assert {episodes for episodes, _ in calls} == {EPISODES}
    assert torch.equal(long, weights([4])[0])
    assert torch.equal(short, weights([1])[0])
    assert not torch.equal(short, long)


def budget(epsilon: float) -> Budget:
    return Budget(epsilon, scale=SCALE)


@pytest.mark.slow
def test_it_makes_a_policy_fall_that_balances_for_500_steps():
    victim = Balance((1, 1))
    (attack,) = linear_adversary(victim, poles(2), MOVES, budget(1.6), [4], [0, 1])
    played = robustness_curve(victim, lambda copies: poles(2)(copies, 10_000), [PGD(10), attack], 1.6, budget(1.6), 10)
    by_margin, by_search = played.returns.mean(axis=(1, 3))
    assert (played.natural == 500).all()
    assert (by_search < 0.5 * by_margin).all()
    assert isinstance(attack, LearnedAttack)
    assert attack.name == "linear adversary"


@pytest.mark.slow
def test_it_works_in_environments_that_rlkit_has_no_dynamics_of():
    agent = DQN("Acrobot-v1", seeds=[3, 5], device="cpu", net_arch=(8,))
    moves = TargetAction(FGSM(), 3)
    (attack,) = linear_adversary(agent, agent.evaluation_env, moves, Budget(0.2), [2], [3, 5], max_steps=10)
    obs = agent.evaluation_env(4, 0).obs
    shown = attack.propose(agent, obs, Budget(0.2))
    assert shown.shape == obs.shape
    assert (shown - obs).abs().max() <= 0.2 + 1e-6


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"generations must be ascending numbers of at least 1, got \[20, 10\]"):
        next(linear_adversary(Balance(), poles(1), MOVES, budget(0.1), [20, 10], [0]))
    with pytest.raises(ValueError, match="one seed for each of 1 rows, got 2"):
        next(linear_adversary(Balance(), poles(1), MOVES, budget(0.1), [10], [0, 1]))
    agent = DQN(GridWorld("S.\n.G"), seeds=[0], device="cpu", net_arch=(8,))
    with pytest.raises(ValueError, match="integers have no gradient"):
        next(linear_adversary(agent, agent.evaluation_env, MOVES, Budget(0.1), [10], [0]))
    shaky = TargetAction(PGD(3, restarts=2), 2)
    with pytest.raises(ValueError, match=r"attack without random numbers, .* got PGD-3x2"):
        next(linear_adversary(Balance(), poles(1), shaky, budget(0.1), [1], [0]))
    by_copy = Budget(torch.linspace(0.0, 1.0, 32)[None])
    with pytest.raises(ValueError, match="epsilon"):
        next(linear_adversary(Balance(), poles(1), MOVES, by_copy, [1], [0]))
    with pytest.raises(ValueError, match="scale"):
        next(linear_adversary(Balance(), poles(1), MOVES, Budget(0.1, scale=(1.0, 2.0, 3.0)), [1], [0]))


def test_a_feature_of_scale_zero_is_read_in_raw_units():
    within = Budget(0.5, scale=(0.44, 0.0, 0.037, 0.23))
    (attack,) = linear_adversary(Balance(), poles(1), MOVES, within, [1], [0], max_steps=5)
    adversary: Any = attack.adversary
    assert adversary.scale.tolist() == [0.44, 1.0, 0.037, 0.23]
    assert adversary.weights.isfinite().all()

"""Rollouts on an environment whose returns are known, and stable-baselines3's evaluation as the oracle."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from itertools import permutations
from types import SimpleNamespace
from typing import Any, SupportsFloat

import gymnasium
import gymnasium.wrappers.vector as of_vectors
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import (
    NormalizeObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
    TimeLimit,
    TransformReward,
)
from stable_baselines3 import DQN
from stable_baselines3.common.atari_wrappers import EpisodicLifeEnv
from stable_baselines3.common.evaluation import evaluate_policy as sb3_evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecMonitor, VecNormalize
from torch import Tensor

import rlkit.envs
from rlkit.evaluation import EVALUATION_SEED, ConcatEnv, evaluate_policy, observation_std, rollout, walk
from rlkit.types import Transition


class Countdown:
    """Copy (s, b) lives ``lengths[s, b]`` steps, step t pays t, and what follows its first episode pays NaN."""

    device = torch.device("cpu")
    observation_space: spaces.Space = spaces.Box(-np.inf, np.inf, (2,))
    action_space = spaces.Discrete(2)

    def __init__(self, lengths: list[list[int]], limit: int | None = None, truncates: bool = False) -> None:
        self.lengths = torch.tensor(lengths)
        self.seeds = tuple(range(len(lengths)))
        self.num_envs = len(lengths[0])
        self.max_episode_steps = limit
        self.truncates = truncates
        self.reset()

    def reset(self) -> Tensor:
        self.t = 0
        self.obs = self._observe()
        return self.obs

    def _observe(self) -> Tensor:
        feature = torch.full(self.lengths.shape, float(self.t))
        return torch.stack([feature, 10.0 - feature], dim=-1)  # [S, B, 2]

    def step(self, action: Tensor) -> Transition:
        self.t += 1
        obs = self.obs
        reward = torch.where(self.t <= self.lengths, float(self.t), torch.nan)
        done = torch.full_like(self.lengths, self.t) == self.lengths
        limit = torch.full_like(done, self.truncates and self.t == self.max_episode_steps)
        self.obs = self._observe()
        return Transition(obs, action, reward, self.obs, done, limit)


class Threshold:
    """Action 1 where the first feature exceeds ``at``; stochastic actions are all 1."""

    def __init__(self, at: float = 2.5) -> None:
        self.at = at

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return (obs[..., 0] > self.at).long() if deterministic else torch.ones(obs.shape[:2], dtype=torch.int64)


class Balance:
    """On CartPole: push where the pole falls; good for about 200 steps. With gain of one's own per seed."""

    def __init__(self, *gains: float) -> None:
        self.gains = torch.tensor(gains)
        self.num_seeds = len(gains)

    def __getitem__(self, i: int) -> Balance:
        return Balance(float(self.gains[i]))

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return (obs[..., 2] * self.gains[:, None] + obs[..., 3] > 0).long()


@pytest.fixture(scope="module")
def model() -> DQN:
    return DQN("MlpPolicy", "CartPole-v1", seed=3, policy_kwargs={"net_arch": [8]}, device="cpu")


# rollout


def test_each_copy_is_counted_until_its_first_episode_ends() -> None:
    lengths = [[1, 4, 7], [2, 2, 9]]
    episodes = rollout(Threshold(), Countdown(lengths))
    assert episodes.lengths.tolist() == lengths
    assert episodes.returns.tolist() == [[1.0, 10.0, 28.0], [3.0, 3.0, 45.0]]  # L (L + 1) / 2, no NaN from later
    assert episodes.returns.dtype == torch.float64
    assert not episodes.capped.any()
    assert not episodes.flips.any()


@pytest.mark.slow
def test_returns_add_up_in_float64() -> None:
    # partial sums pass 2**24 and are odd every other time: float32 cannot hold them
    assert rollout(Threshold(), Countdown([[5999]])).returns.item() == 5999 * 6000 / 2


def test_the_step_cap_is_reported() -> None:
    with pytest.warns(RuntimeWarning, match="2 of 3 episodes were still running after 3 steps"):
        episodes = rollout(Threshold(), Countdown([[2, 4, 9]]), max_steps=3)
    assert episodes.capped.tolist() == [[False, True, True]]
    assert episodes.returns.tolist() == [[3.0, 6.0, 6.0]]
    with pytest.warns(RuntimeWarning, match="after 4 steps"):
        rollout(Threshold(), Countdown([[9]], limit=4))


def test_an_environment_that_keeps_its_own_limit_is_not_capped() -> None:
    episodes = rollout(Threshold(), Countdown([[3, 9]], limit=5, truncates=True))
    assert not episodes.capped.any()
    assert episodes.lengths.tolist() == [[3, 5]]


@pytest.mark.slow
def test_no_limit_means_ten_thousand_steps() -> None:
    with pytest.warns(RuntimeWarning, match="after 10000 steps"):
        assert rollout(Threshold(), Countdown([[10**6]])).lengths.item() == 10_000


def test_the_policy_sees_the_perturbed_observation_and_flips_are_counted() -> None:
    # the true feature t is 0, 1, 2, ...; shown t + 2 the threshold 2.5 is passed at t = 1 and 2 as well
    env = Countdown([[2, 8]])
    episodes = rollout(Threshold(2.5), env, perturb=lambda obs: obs + 2.0)
    assert episodes.flips.tolist() == [[1, 2]]
    assert rollout(Threshold(), Countdown([[2, 8]]), perturb=lambda obs: obs).flips.tolist() == [[0, 0]]
    # a sampling policy flips where its greedy action does
    sampled = rollout(Threshold(2.5), Countdown([[2, 8]]), deterministic=False, perturb=lambda obs: obs + 2.0)
    assert sampled.flips.tolist() == [[1, 2]]


class Alternately:
    """Shows the truth at steps 0, 2, 4, ... of an episode and another first feature at the others."""

    attacked = torch.zeros(0, 0, dtype=torch.bool)

    def __init__(self, by: float) -> None:
        self.by = by
        self.restarts: list[Any] = []

    def perturb(self, obs: Tensor) -> Tensor:
        odd = self.step % 2 == 1
        self.step = self.step + 1
        self.attacked = odd
        return obs + self.by * odd[..., None]

    def restart(self, ended: Tensor | None = None, /) -> None:
        self.restarts.append(None if ended is None else ended.tolist())
        self.step = torch.zeros(1, 2, dtype=torch.int64) if ended is None else self.step.masked_fill(ended, 0)


def test_a_perturbation_is_told_where_episodes_begin_and_tells_where_it_attacked() -> None:
    attack = Alternately(by=0.0)  # what it says counts, not whether the observation differs
    for _ in range(2):
        attack.restarts.clear()
        episodes = rollout(Threshold(), Countdown([[2, 4]]), perturb=attack)
        assert episodes.attacks.tolist() == [[1, 2]]
        assert attack.restarts == [None, [[False, False]], [[True, False]], [[False, False]], [[False, True]]]


class Second:
    """Action 1 at every second step of an episode, which it remembers."""

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        self.step += 1
        return (self.step % 2 == 0).long()

    def restart(self, ended: Tensor | None = None, /) -> None:
        self.step = torch.zeros(1, 2, dtype=torch.int64) if ended is None else self.step.masked_fill(ended, 0)


def test_a_policy_that_remembers_its_episode_is_told_where_episodes_begin() -> None:
    actions = [step.transition.action[0].tolist() for step in walk(Second(), Countdown([[1, 4]]), None)]
    assert actions == [[0, 0], [0, 1], [1, 0], [0, 1]]


def test_a_function_may_change_the_observation_that_it_is_given() -> None:
    env = Countdown([[3]])
    seen = [(step.obs[0, 0, 0].item(), step.seen[0, 0, 0].item()) for step in walk(Threshold(), env, 3, True, minus_5)]
    assert seen == [(0.0, -5.0), (1.0, -4.0), (2.0, -3.0)]


def minus_5(obs: Tensor) -> Tensor:
    obs -= 5.0
    return obs


def test_a_method_of_a_perturbation_is_refused() -> None:
    for play in (rollout, walk):
        with pytest.raises(
            ValueError, match="Alternately, which has to know where episodes end: pass the object itself"
        ):
            list(play(Threshold(), Countdown([[1]]), None, True, Alternately(1.0).perturb))
        with pytest.raises(ValueError, match=r"a function of the observation or a Perturbation, got 0\.5"):
            list(play(Threshold(), Countdown([[1]]), None, True, 0.5))  # type: ignore[arg-type]


def test_rollout_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="max_steps must be at least 1, got 0"):
        rollout(Threshold(), Countdown([[1]]), max_steps=0)
    with pytest.raises(ValueError, match="3 seeds and the environment 1 rows"):
        rollout(Balance(1.0, 2.0, 3.0), Countdown([[1]]))


def test_observation_std_weighs_every_step_of_the_first_episodes_alike() -> None:
    # steps seen: 0, 1 of the first copy and 0, 1, 2, 3, 4 of the second
    std = observation_std(Threshold(), Countdown([[2, 5]]))
    assert std.tolist() == pytest.approx([np.std([0, 1, 0, 1, 2, 3, 4])] * 2, rel=1e-12)
    env = Countdown([[5]])
    env.observation_space = spaces.Discrete(3)
    with pytest.raises(ValueError, match="onehot"):
        observation_std(Threshold(), env)


# evaluate_policy: stable-baselines3 as the oracle


def test_equal_to_stable_baselines3_episode_by_episode(model: DQN) -> None:
    vec = DummyVecEnv([lambda: Monitor(gymnasium.make("CartPole-v1"))])
    theirs: list[Any] = []
    lengths: list[Any] = []
    for e in range(6):
        vec.seed(100 + e)
        returns, steps = sb3_evaluate_policy(model, vec, n_eval_episodes=1, return_episode_rewards=True)
        theirs, lengths = theirs + list(returns), lengths + list(steps)  # type: ignore[arg-type]
    env = gymnasium.make("CartPole-v1")
    assert evaluate_policy(model, env, 6, seed=100, return_episode_rewards=True) == (theirs, lengths)
    assert evaluate_policy(model, env, 6, seed=100) == (np.mean(theirs), np.std(theirs))


def test_equal_to_stable_baselines3_on_a_vector_environment(model: DQN) -> None:
    vec = DummyVecEnv([lambda: Monitor(gymnasium.make("CartPole-v1"))] * 5)
    vec.seed(200)
    theirs = sb3_evaluate_policy(model, vec, n_eval_episodes=5)
    mean, std = evaluate_policy(model, vec, n_eval_episodes=5, seed=200)
    assert (mean, std) == pytest.approx(theirs, rel=1e-12)
    assert isinstance(mean, float)


def test_every_kind_of_environment_gives_the_same_episodes(model: DQN) -> None:
    def make() -> gymnasium.Env:
        return gymnasium.make("CartPole-v1")

    serial = evaluate_policy(model, make(), 7, return_episode_rewards=True)
    assert len(serial[0]) == 7
    assert evaluate_policy(model, make(), 7, return_episode_rewards=True, seed=EVALUATION_SEED) == serial
    for mode in AutoresetMode:
        vector = SyncVectorEnv([make] * 3, autoreset_mode=mode)
        assert evaluate_policy(model, vector, 7, return_episode_rewards=True) == serial
    stable = DummyVecEnv([make] * 3)
    assert evaluate_policy(model, stable, 7, return_episode_rewards=True) == serial
    assert evaluate_policy(model, RecordEpisodeStatistics(make()), 7, return_episode_rewards=True) == serial


@pytest.mark.slow
def test_a_policy_plays_the_same_episodes_serially_and_batched() -> None:
    policy = Balance(1.0)
    returns, lengths = evaluate_policy(policy, gymnasium.make("CartPole-v1"), 5, return_episode_rewards=True)
    batched = rlkit.envs.make(
        "CartPole-v1", seeds=[EVALUATION_SEED], num_envs=5, restart=False, noise="gymnasium", double=True
    )
    assert rollout(policy, batched).returns[0].tolist() == returns
    assert [float(length) for length in lengths] == returns
    assert np.std(lengths) > 0


@pytest.mark.slow
def test_many_seeds_give_arrays() -> None:
    policy = Balance(1.0, 8.0)
    env = gymnasium.make("CartPole-v1")
    mean, std = evaluate_policy(policy, env, 4)
    returns, lengths = evaluate_policy(policy, env, 4, return_episode_rewards=True)
    assert returns.shape == lengths.shape == (2, 4)
    assert mean.tolist() == returns.mean(axis=1).tolist()
    assert std.tolist() == returns.std(axis=1).tolist()
    for s in range(2):
        assert evaluate_policy(policy[s], env, 4, return_episode_rewards=True)[0] == returns[s].tolist()


def test_a_batched_environment_is_reset_as_often_as_needed() -> None:
    lengths = [[1, 4], [2, 3]]
    returns, steps = evaluate_policy(Threshold(), Countdown(lengths), 3, return_episode_rewards=True)
    assert steps.tolist() == [[1, 4, 1], [2, 3, 2]]
    assert returns.tolist() == [[1.0, 10.0, 1.0], [3.0, 6.0, 3.0]]
    assert evaluate_policy(Threshold(), Countdown([[1, 4]]), 2) == (5.5, 4.5)


@pytest.mark.parametrize("backend", ["auto", "gymnasium"])
def test_an_evaluation_environment_plays_its_seeded_episodes_and_no_more(model: DQN, backend: str) -> None:
    seeds = {"seeds": [EVALUATION_SEED], "num_envs": 3}
    env = rlkit.envs.make("CartPole-v1", **seeds, backend=backend, restart=False, noise="gymnasium", double=True)
    serial = evaluate_policy(model, gymnasium.make("CartPole-v1"), 3, return_episode_rewards=True)
    for _ in range(2):
        assert evaluate_policy(model, env, 3, return_episode_rewards=True) == serial
    assert evaluate_policy(model, env, 2, return_episode_rewards=True)[0] == serial[0][:2]
    for repeating in (env, ConcatEnv([env])):
        with pytest.raises(ValueError, match=r"has 3 episodes, .* 4 were asked for: .* agent.evaluation_env\(4\)"):
            evaluate_policy(model, repeating, 4)
    endless = rlkit.envs.make("CartPole-v1", **seeds, backend=backend)
    returns, _ = evaluate_policy(model, endless, 6, return_episode_rewards=True)
    assert returns[:3] != returns[3:]


def test_a_predictor_plays_a_batched_environment(model: DQN) -> None:
    env = rlkit.envs.make("CartPole-v1", seeds=[0, 1], num_envs=3)
    returns, _ = evaluate_policy(model, env, 3, return_episode_rewards=True)
    env = rlkit.envs.make("CartPole-v1", seeds=[0, 1], num_envs=3)
    env.reset()
    assert returns.tolist() == rollout(GreedyQ(model), env).returns.tolist()


class GreedyQ:
    """The same model for every row, asked for its Q-values."""

    def __init__(self, model: DQN) -> None:
        self.model = model

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        scores: Tensor = self.model.q_net(obs.flatten(0, 1))
        return scores.argmax(dim=-1).reshape(obs.shape[:2])


# evaluate_policy: what it leaves behind and what it cannot be fooled by


def test_the_environments_generator_is_left_as_it_was(model: DQN) -> None:
    used, untouched = gymnasium.make("CartPole-v1"), gymnasium.make("CartPole-v1")
    used.reset(seed=5)
    untouched.reset(seed=5)
    evaluate_policy(model, used, 2)
    assert used.reset()[0].tolist() == untouched.reset()[0].tolist()


class Endless(gymnasium.Env):
    """Pays 1 for ever."""

    observation_space = spaces.Box(0.0, 1.0, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), 1.0, False, False, {}


@pytest.mark.slow
def test_it_cannot_loop_for_ever() -> None:
    with pytest.warns(RuntimeWarning, match="2 of 2 episodes were still running after 10000 steps"):
        assert evaluate_policy(Threshold(), Endless(), 2) == (10_000.0, 0.0)
    with pytest.warns(RuntimeWarning, match="after 7 steps"):
        assert evaluate_policy(Threshold(), Endless(), 1, max_steps=7)[0] == 7.0
    assert evaluate_policy(Threshold(), Endless(), 1, max_steps=7, warn=False)[0] == 7.0


# evaluate_policy: ends that a monitor does not see


class Random(Endless):
    """Pays 1 a step; an episode of length 1 to 9, drawn at ``reset``, ends by termination."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        first = super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 10))
        return first

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        self.left -= 1
        return np.zeros(1, np.float32), 1.0, self.left == 0, False, {}


class Impatient(gymnasium.Wrapper):
    """Ends an episode after 4 steps, by termination."""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self.t = 0
        return self.env.reset(**options)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        self.t += 1
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated or self.t == 4, truncated, info


def every_kind(make: Callable[[], gymnasium.Env]) -> list[Any]:
    """One copy, and three of them as every kind of vector environment, in another process too."""
    remote = SubprocVecEnv([make] * 2, start_method="fork")
    return [make(), *vectors(make), remote]


@pytest.mark.slow
@pytest.mark.parametrize("monitor", [Monitor, RecordEpisodeStatistics])
def test_a_time_limit_above_a_monitor_ends_the_episode(monitor: Any) -> None:
    def random() -> gymnasium.Env:
        return TimeLimit(Random(), 4)

    vec = DummyVecEnv([lambda: Monitor(random())])  # stable-baselines3, whose monitor sees every end
    lengths = []
    for e in range(7):
        vec.seed(EVALUATION_SEED + e)
        _, steps = sb3_evaluate_policy(Anything(), vec, n_eval_episodes=1, return_episode_rewards=True)
        lengths += list(steps)  # type: ignore[arg-type]
    assert min(lengths) < 4 == max(lengths)
    for env in every_kind(lambda: TimeLimit(monitor(Random()), 4)):
        assert evaluate_policy(Anything(), env, 7, return_episode_rewards=True) == (lengths, lengths)
        env.close()
    for env in every_kind(lambda: TimeLimit(monitor(Endless()), 10)):
        assert evaluate_policy(Anything(), env, 3, return_episode_rewards=True) == ([10.0] * 3, [10] * 3)
        env.close()


ENDS: dict[str, Callable[[gymnasium.Env], gymnasium.Env]] = {"limit": lambda e: TimeLimit(e, 4), "impatient": Impatient}
MONITORS: dict[str, Callable[[gymnasium.Env], gymnasium.Env]] = {
    "statistics": RecordEpisodeStatistics,
    "monitor": Monitor,
}
# gymnasium refuses its own statistics above another monitor
STACKS = [
    order
    for end in (*ENDS, "")
    for monitors in ((), ("statistics",), ("monitor",), ("statistics", "monitor"))
    for order in permutations((*monitors, end) if end else monitors)
    if [name for name in order if name in MONITORS] != ["monitor", "statistics"]
]


@pytest.mark.parametrize("order", [*STACKS, ("limit", "statistics", "limit"), ("monitor", "limit", "monitor")], ids=str)
def test_returns_and_lengths_are_right_in_every_order_of_wrappers(order: tuple[str, ...]) -> None:
    def stack() -> gymnasium.Env:
        env: gymnasium.Env = Random()
        for name in order:
            env = (ENDS | MONITORS)[name](env)
        return env

    ends = bool(set(order) & set(ENDS))
    lengths = [2, 4, 4, 3, 4, 4, 4] if ends else [2, 5, 9, 3, 4, 4, 4]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The environment is already wrapped", UserWarning)
        envs = [stack(), *vectors(stack), VecMonitor(DummyVecEnv([stack] * 2))]
    if not set(order) & set(MONITORS):
        modes = AutoresetMode
        envs += [of_vectors.RecordEpisodeStatistics(SyncVectorEnv([stack] * 3, autoreset_mode=m)) for m in modes]
    for env in envs:
        assert evaluate_policy(Anything(), env, 7, return_episode_rewards=True) == (lengths, lengths)


@pytest.mark.parametrize("monitor", [Monitor, RecordEpisodeStatistics])
def test_a_termination_above_a_monitor_ends_the_episode(monitor: Any) -> None:
    expected = evaluate_policy(Anything(), Impatient(Random()), 7, return_episode_rewards=True)
    assert min(expected[1]) < 4 == max(expected[1])
    for env in (Impatient(monitor(Random())), *vectors(lambda: Impatient(monitor(Random())))):
        assert evaluate_policy(Anything(), env, 7, return_episode_rewards=True) == expected


class Anything:
    """A model whose action does not matter."""

    def predict(self, observation: Any, state: Any = None, **options: Any) -> tuple[Any, Any]:
        return np.zeros(len(observation), dtype=np.int64), state


class Lives(Endless):
    """Three lives of 2 steps; ``ale`` is what stable-baselines3's wrapper asks."""

    def __init__(self) -> None:
        self.ale = SimpleNamespace(lives=lambda: 3 - self.t // 2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.t = 0
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        self.t += 1
        return np.zeros(1, np.float32), 10.0, self.t >= 6, False, {}


@pytest.mark.parametrize("monitor", [Monitor, RecordEpisodeStatistics])
def test_a_life_lost_is_not_the_end_of_the_episode(monitor: Any) -> None:
    def make() -> gymnasium.Env:
        return EpisodicLifeEnv(monitor(Lives()))

    theirs = sb3_evaluate_policy(
        Anything(), DummyVecEnv([lambda: EpisodicLifeEnv(Monitor(Lives()))]), 2, return_episode_rewards=True
    )
    assert theirs == ([60.0, 60.0], [6, 6])
    for env in every_kind(make):
        assert evaluate_policy(Anything(), env, 4, return_episode_rewards=True) == ([60.0] * 4, [6] * 4)
        env.close()


def test_an_unseen_end_with_changed_rewards_is_warned_of() -> None:
    def tenfold(env: gymnasium.Env) -> gymnasium.Env:
        return TransformReward(env, lambda r: 10.0 * float(r))

    assert evaluate_policy(Anything(), tenfold(Monitor(TimeLimit(Endless(), 4))), 2) == (4.0, 0.0)
    for env in (tenfold(TimeLimit(Monitor(Endless()), 4)), TimeLimit(tenfold(Monitor(Endless())), 4)):
        with pytest.warns(RuntimeWarning, match="above whatever ends episodes"):
            assert evaluate_policy(Anything(), env, 2) == (40.0, 0.0)


def test_rewards_are_raw(model: DQN) -> None:
    raw = evaluate_policy(model, gymnasium.make("CartPole-v1"), 3)
    below = TransformReward(Monitor(gymnasium.make("CartPole-v1")), lambda r: 100.0 * float(r))
    assert evaluate_policy(model, below, 3) == raw
    normalized = VecNormalize(DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]), norm_obs=False)
    normalized.reset()
    before = normalized.ret_rms.var
    assert evaluate_policy(model, normalized, 3) == raw
    assert (normalized.training, normalized.norm_reward, normalized.ret_rms.var) == (True, True, before)
    above = TransformReward(gymnasium.make("CartPole-v1"), lambda r: 100.0 * float(r))
    with pytest.warns(RuntimeWarning, match="changes the rewards"):
        assert evaluate_policy(model, above, 3)[0] == pytest.approx(100 * raw[0])
    with pytest.warns(RuntimeWarning, match="changes the rewards"):
        evaluate_policy(model, NormalizeReward(gymnasium.make("CartPole-v1")), 1)


def test_running_normalization_is_frozen_meanwhile(model: DQN) -> None:
    env = NormalizeObservation(gymnasium.make("CartPole-v1"))
    before = env.obs_rms.mean.copy()
    evaluate_policy(model, env, 2)
    assert env.obs_rms.mean.tolist() == before.tolist()
    assert env.update_running_mean


def vectors(make: Callable[[], gymnasium.Env]) -> list[Any]:
    """Three copies as every kind of vector environment that can be looked into."""
    return [DummyVecEnv([make] * 3), *(SyncVectorEnv([make] * 3, autoreset_mode=mode) for mode in AutoresetMode)]


def test_running_normalization_inside_a_vector_environment_is_frozen_meanwhile(model: DQN) -> None:
    for vector in vectors(lambda: NormalizeObservation(gymnasium.make("CartPole-v1"))):
        vector.reset()
        before = [copy.obs_rms.mean.copy() for copy in vector.envs]
        evaluate_policy(model, vector, 4)
        np.testing.assert_array_equal(before, [copy.obs_rms.mean for copy in vector.envs])
        assert all(copy.update_running_mean for copy in vector.envs)


def test_rewards_are_raw_in_vector_environments_too(model: DQN) -> None:
    def pole() -> gymnasium.Env:
        return gymnasium.make("CartPole-v1")

    raw = evaluate_policy(model, pole(), 7, return_episode_rewards=True)
    for vector in vectors(lambda: NormalizeReward(RecordEpisodeStatistics(pole()))):
        assert evaluate_policy(model, vector, 7, return_episode_rewards=True) == raw
    for vector in vectors(lambda: NormalizeReward(pole())):
        with pytest.warns(RuntimeWarning, match="changes the rewards"):
            evaluate_policy(model, vector, 2)
    for mode in AutoresetMode:
        recorded = of_vectors.RecordEpisodeStatistics(SyncVectorEnv([pole] * 3, autoreset_mode=mode))
        assert evaluate_policy(model, recorded, 7, return_episode_rewards=True) == raw
        if mode == AutoresetMode.DISABLED:  # gymnasium's statistics forget the others where one copy is reset
            with pytest.warns(RuntimeWarning, match="below it in every copy"):
                evaluate_policy(model, of_vectors.NormalizeReward(recorded), 2)
        else:
            assert evaluate_policy(model, of_vectors.NormalizeReward(recorded), 7, return_episode_rewards=True) == raw


def test_a_monitor_above_the_change_does_not_hide_it(model: DQN) -> None:
    changed = TransformReward(gymnasium.make("CartPole-v1"), lambda r: 100.0 * float(r))
    for hidden in (RecordEpisodeStatistics(changed), Monitor(changed), VecMonitor(DummyVecEnv([lambda: changed]))):
        with pytest.warns(RuntimeWarning, match="and none above"):
            evaluate_policy(model, hidden, 1)


CALLBACK_NAMES = (
    "i", "n_envs", "n_eval_episodes", "deterministic", "reward", "done", "states", "episode_starts", "rewards", "dones",
    "observations", "new_observations", "actions", "current_rewards", "current_lengths", "episode_counts",
    "episode_count_targets", "episode_rewards", "episode_lengths",
)  # fmt: skip


def told(kept: list[dict[str, Any]]) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """A callback that keeps what it is told."""

    def callback(variables: dict[str, Any], _: dict[str, Any]) -> None:
        kept.append(
            deepcopy({name: variables[name] for name in CALLBACK_NAMES})
            | {"info": {name: variables["info"].get(name) for name in ("terminal_observation", "TimeLimit.truncated")}}
        )

    return callback


@pytest.mark.parametrize("copies", [1, 3])
def test_the_callback_sees_what_stable_baselines3s_sees(model: DQN, copies: int) -> None:
    vec = DummyVecEnv([lambda: Monitor(gymnasium.make("CartPole-v1"))] * copies)
    vec.seed(300)
    expected: list[dict[str, Any]] = []
    sb3_evaluate_policy(model, vec, n_eval_episodes=copies, callback=told(expected))
    found: list[dict[str, Any]] = []
    evaluate_policy(model, vec, copies, seed=300, callback=told(found))
    assert len(found) == len(expected) > 5
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_equal(ours, theirs)


def test_the_callback_of_a_single_environment_differs_in_the_last_successor_alone(model: DQN) -> None:
    vec = DummyVecEnv([lambda: Monitor(gymnasium.make("CartPole-v1"))])
    vec.seed(300)
    expected: list[dict[str, Any]] = []
    sb3_evaluate_policy(model, vec, n_eval_episodes=1, callback=told(expected))
    found: list[dict[str, Any]] = []
    evaluate_policy(model, Monitor(gymnasium.make("CartPole-v1")), 1, seed=300, callback=told(found))
    assert len(found) == len(expected) > 5
    for ours, theirs in zip(found, expected, strict=True):
        if ours["done"]:
            np.testing.assert_array_equal(ours["new_observations"][0], theirs["info"]["terminal_observation"])
            ours["new_observations"] = theirs["new_observations"]
        theirs["rewards"] = theirs["rewards"].tolist()  # a list and python numbers here
        ours["dones"] = np.array(ours["dones"])
        np.testing.assert_equal(ours, theirs)


def test_pairs_of_a_callback_are_the_policys_own(model: DQN) -> None:
    for env in every_kind(lambda: gymnasium.make("CartPole-v1")):
        kept: list[dict[str, Any]] = []
        evaluate_policy(model, env, 4, callback=told(kept))
        seen = np.stack([one["observations"][one["i"]] for one in kept])
        chosen = np.stack([one["actions"][one["i"]] for one in kept])
        np.testing.assert_array_equal(model.predict(seen, deterministic=True)[0], chosen)
        assert kept[-1]["episode_counts"].sum() == 3
        assert kept[-1]["episode_count_targets"].sum() == 4
        env.close()


class OneArray(Endless):
    """Shows its own memory, which it changes in place."""

    shown = np.zeros(1, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.shown[:] = 0
        return self.shown, {}

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        self.shown += 0.125
        return self.shown, 1.0, bool(self.shown[0] == 0.5), False, {}


def test_what_the_callback_has_is_not_the_environments_memory() -> None:
    kinds = (
        OneArray(),
        SyncVectorEnv([OneArray], copy=False, autoreset_mode=AutoresetMode.SAME_STEP),
        VecFrameStack(DummyVecEnv([OneArray]), 1),
    )
    for env in kinds:
        steps: list[tuple[float, float]] = []

        def keep(variables: dict[str, Any], _: dict[str, Any], kept: list[tuple[float, float]] = steps) -> None:
            kept.append((float(variables["observations"][0, 0]), float(variables["new_observations"][0, 0])))

        evaluate_policy(Anything(), env, 1, callback=keep)
        assert steps[:3] == [(0.0, 0.125), (0.125, 0.25), (0.25, 0.375)]


class InPlace:
    """Overwrites the observations that it is given, and the mask of allowed actions."""

    heeds_masks = True

    def act(self, obs: Tensor, deterministic: bool = True, action_mask: Tensor | None = None) -> Tensor:
        action = (obs.reshape(*obs.shape[:2], -1).sum(dim=-1) > 0).long()
        obs.zero_()
        if action_mask is not None:
            action = torch.where(
                action_mask.gather(-1, action[..., None])[..., 0], action, action_mask.long().argmax(-1)
            )
            action_mask.zero_()
        return action

    def predict(self, observation: Any, state: Any = None, **_: Any) -> tuple[Any, Any]:
        action = (observation.reshape(len(observation), -1).sum(axis=-1) > 0).astype(np.int64)
        observation[:] = 0
        return action, state


class Clean(InPlace):
    """The same policy, which leaves alone what it is given."""

    def act(self, obs: Tensor, deterministic: bool = True, action_mask: Tensor | None = None) -> Tensor:
        return super().act(obs.clone(), deterministic, None if action_mask is None else action_mask.clone())

    def predict(self, observation: Any, state: Any = None, **_: Any) -> tuple[Any, Any]:
        return super().predict(observation.copy(), state)


@pytest.mark.slow
@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1", "Taxi-v4", "rlkit/GridWorld-v0"])
def test_a_policy_that_changes_what_it_is_given_changes_no_environment(env: str) -> None:
    def played(policy: Any, perturb: Any = None) -> Any:
        episodes = rollout(policy, rlkit.envs.make(env, seeds=2, num_envs=3), 60, perturb=perturb, warn=False)
        steps = list(walk(policy, rlkit.envs.make(env, seeds=2, num_envs=3), 20))
        return [*episodes, *(part for step in steps for part in (step.obs, step.seen, *step.transition[2:4]))]

    class Zeroing:
        attacked = torch.ones(2, 3, dtype=torch.bool)

        def perturb(self, obs: Tensor) -> Tensor:
            shown = obs + 1
            obs.zero_()
            return shown

        def restart(self, ended: Tensor | None = None, /) -> None: ...

    class Showing(Zeroing):
        def perturb(self, obs: Tensor) -> Tensor:
            return obs + 1

    for wanted, given in ((None, None), (Showing(), Zeroing())):
        for a, b in zip(played(Clean(), wanted), played(InPlace(), given), strict=True):
            assert torch.equal(a, b)


def test_a_model_that_changes_what_it_is_given_changes_nothing_else() -> None:
    def stacked() -> VecFrameStack:
        return VecFrameStack(DummyVecEnv([OneArray]), 3)

    def seen_of(model: Any, env: Any) -> list[Any]:
        seen: list[Any] = []
        evaluate_policy(model, env, 2, callback=lambda variables, _: seen.append(variables["observations"].copy()))
        return seen

    for make in (stacked, lambda: gymnasium.make("CartPole-v1"), lambda: SyncVectorEnv([OneArray], copy=False)):
        np.testing.assert_array_equal(seen_of(InPlace(), make()), seen_of(Clean(), make()))


def test_callback_threshold_and_rendering(model: DQN) -> None:
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    seen: list[tuple[float, bool]] = []

    def watch(variables: dict[str, Any], _: dict[str, Any]) -> None:
        seen.append((float(variables["reward"]), bool(variables["done"])))

    returns, lengths = evaluate_policy(model, env, 2, callback=watch, return_episode_rewards=True)
    assert len(seen) == sum(lengths)
    assert sum(reward for reward, _ in seen) == sum(returns)
    assert sum(done for _, done in seen) == 2
    with pytest.raises(AssertionError, match=r"not above the threshold 501\.00"):
        evaluate_policy(model, env, 1, reward_threshold=501)
    rendered: list[int] = []
    endless = Endless()
    endless.render = lambda: rendered.append(1)  # type: ignore[method-assign]
    evaluate_policy(Threshold(), endless, 1, render=True, max_steps=4, warn=False)
    assert len(rendered) == 4


def test_evaluation_misuse_is_refused(model: DQN) -> None:
    with pytest.raises(ValueError, match="n_eval_episodes must be at least 1, got 0"):
        evaluate_policy(model, gymnasium.make("CartPole-v1"), 0)
    with pytest.raises(ValueError, match=r"got str: make one with gymnasium\.make"):
        evaluate_policy(model, "CartPole-v1")
    with pytest.raises(ValueError, match="predict or act, got int"):
        evaluate_policy(3, gymnasium.make("CartPole-v1"))
    with pytest.raises(ValueError, match="leave seed, callback and render out"):
        evaluate_policy(Threshold(), Countdown([[1]]), 1, seed=3)


def test_no_warning_without_a_reason(model: DQN) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate_policy(model, gymnasium.make("CartPole-v1"), 1)

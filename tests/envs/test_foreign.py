"""Foreign environments against gymnasium's own SyncVectorEnv, and what must hold of every ``Env``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import CombinedExtractor
from stable_baselines3.common.vec_env import DummyVecEnv

from rlkit.adversarial import FGSM, AttackedObservation, AttackedPolicy, Budget, OneHot
from rlkit.agents import DQN, PPO, TabularQ, load
from rlkit.env_checker import FaultyEnvironmentError
from rlkit.envs import ForeignEnv
from rlkit.envs.foreign import episode_seed
from rlkit.evaluation import evaluate_policy
from rlkit.nn import encode, num_features
from rlkit.types import Starts

IDS = ["Acrobot-v1", "MountainCar-v0", "CartPole-v1", "FrozenLake-v1", "CliffWalking-v1", "Taxi-v4"]
STEPS = {"Acrobot-v1": 520, "MountainCar-v0": 420, "CartPole-v1": 150, "FrozenLake-v1": 150}


def maker(env_id: str, **parameters: Any) -> Callable[[], gymnasium.Env]:
    return lambda: gymnasium.make(env_id, **parameters)


def random_actions(steps: int, shape: tuple[int, ...], num_actions: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(num_actions, size=(steps, *shape)))


class SeededEpisodes(gymnasium.Wrapper):
    """Resets episode e of a copy with the seed that ForeignEnv promises."""

    def __init__(self, env: gymnasium.Env, seed: int, copy: int) -> None:
        super().__init__(env)
        self.key, self.episode = (seed, copy), -1

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        self.episode += 1
        return self.env.reset(seed=episode_seed(*self.key, self.episode))


class Scripted(gymnasium.Env):
    """Plays back observations and rewards, and remembers what it was told."""

    action_space: spaces.Space = spaces.Discrete(2)
    observation_space: spaces.Space = spaces.Box(-10.0, 10.0, (1,), np.float32)

    def __init__(
        self, observations: Any = (0.0, 1.0, 2.0, 3.0), rewards: Any = (1.0, 1.0, 1.0), ends: str = "terminated"
    ):
        self.observations, self.rewards, self.ends = observations, rewards, ends
        self.actions: list[Any] = []
        self.seeds: list[int | None] = []
        self.closed = False
        self.time = 0

    def shown(self) -> Any:
        observation = self.observations[self.time]
        return np.full((1,), observation, np.float32) if np.isscalar(observation) else observation

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.seeds.append(seed)
        self.time = 0
        return self.shown(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.actions.append(action)
        self.time += 1
        over = self.time == len(self.rewards)
        reward = self.rewards[self.time - 1]
        return self.shown(), reward, over and self.ends == "terminated", over and self.ends == "truncated", {}

    def close(self) -> None:
        self.closed = True


# Against gymnasium's vector environment


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["stream", "gymnasium"])
@pytest.mark.parametrize("env_id", STEPS)
def test_transitions_are_those_of_sync_vector_env(env_id: str, noise: Literal["stream", "gymnasium"]) -> None:
    seeds, num_envs = (7, 3), 2
    ours = ForeignEnv(maker(env_id), seeds, num_envs, noise=noise)
    copies = [(seed, copy) for seed in seeds for copy in range(num_envs)]

    def seeded(seed: int, copy: int) -> Callable[[], gymnasium.Env]:
        make_one = maker(env_id)
        return (lambda: SeededEpisodes(make_one(), seed, copy)) if noise == "stream" else make_one

    theirs = SyncVectorEnv([seeded(*key) for key in copies], autoreset_mode=AutoresetMode.SAME_STEP)
    obs, _ = theirs.reset(seed=[seed + copy for seed, copy in copies])
    assert ours.max_episode_steps == gymnasium.spec(env_id).max_episode_steps
    assert ours.observation_space == theirs.single_observation_space
    assert ours.action_space == theirs.single_action_space
    finished = 0
    for action in random_actions(STEPS[env_id], (2, 2), int(ours.action_space.n)):
        assert_equal(ours.obs, obs)
        transition = ours.step(action)
        assert_equal(transition.obs, obs)
        assert transition.action is action
        obs, reward, terminated, truncated, infos = theirs.step(action.numpy().ravel())
        assert_equal(transition.reward, reward.astype(np.float32))
        assert_equal(transition.terminated, terminated)
        assert_equal(transition.truncated, truncated)
        successor = obs.copy()
        for copy in np.flatnonzero(terminated | truncated):
            successor[copy] = infos["final_obs"][copy]
            finished += 1
        assert_equal(transition.next_obs, successor)
    assert_equal(ours.obs, obs)
    assert finished >= 4
    ours.close()


def assert_equal(ours: torch.Tensor, theirs: np.ndarray) -> None:
    """``[S, B, ...]`` equals ``[S * B, ...]``, dtype included."""
    assert ours.shape[:2] == (2, 2)
    np.testing.assert_array_equal(ours.numpy().reshape(theirs.shape), theirs, strict=True)


def test_a_time_limit_truncates_and_an_ending_terminates() -> None:
    cut = ForeignEnv(maker("MountainCar-v0", max_episode_steps=5), [0])
    for step in range(1, 11):
        transition = cut.step(torch.tensor([[1]]))
        assert not transition.terminated.any()
        assert transition.truncated.item() == (step % 5 == 0)
        assert (transition.next_obs == cut.obs).all().item() == (step % 5 != 0)
    ended = ForeignEnv(maker("CartPole-v1"), [0])
    flags = [ended.step(torch.tensor([[0]])) for _ in range(12)]
    assert any(flag.terminated.item() for flag in flags)
    assert not any(flag.truncated.item() for flag in flags)
    failed = next(flag for flag in flags if flag.terminated.item())
    assert failed.next_obs[0, 0, 2].abs() > 0.2094  # the failing angle, not the next episode's first


@pytest.mark.parametrize("env_id", IDS)
def test_every_small_environment_of_gymnasium_runs(env_id: str) -> None:
    env = ForeignEnv(maker(env_id), [0, 1], 2)
    for action in random_actions(3, (2, 2), int(env.action_space.n)):
        transition = env.step(action)
    assert transition.next_obs.shape == (2, 2, *(env.observation_space.shape or ()))
    assert transition.reward.dtype == torch.float32
    env.close()


# The seed axis


def rollout(seeds: list[int], num_envs: int = 2, actions_of: list[int] | None = None) -> list[torch.Tensor]:
    """40 steps of FrozenLake; every row acts as its own row of ``actions_of`` says -> obs, reward, done per step."""
    env = ForeignEnv(maker("FrozenLake-v1"), seeds, num_envs)
    actions = random_actions(40, (5, num_envs), 4)[:, actions_of or list(range(len(seeds)))]
    steps = [env.step(action) for action in actions]
    return [torch.stack(part) for part in zip(*((s.next_obs, s.reward, s.done) for s in steps), strict=True)]


def test_a_row_does_not_depend_on_the_others() -> None:
    together = rollout([5, 9, 2])
    for row, seed in enumerate([5, 9, 2]):
        for part, alone in zip(together, rollout([seed], actions_of=[row]), strict=True):
            assert torch.equal(part[:, row], alone[:, 0])


def test_permuted_seeds_permute() -> None:
    for part, permuted in zip(rollout([5, 9, 2]), rollout([2, 5, 9], actions_of=[2, 0, 1]), strict=True):
        assert torch.equal(part[:, [2, 0, 1]], permuted)


def test_a_copy_does_not_depend_on_how_many_there_are() -> None:
    few, many = (ForeignEnv(maker("Acrobot-v1"), [4], num_envs) for num_envs in (2, 5))
    assert torch.equal(few.obs, many.obs[:, :2])
    for action in random_actions(10, (1, 5), 3):
        assert torch.equal(few.step(action[:, :2]).next_obs, many.step(action).next_obs[:, :2])


def test_seeds_and_copies_and_episodes_all_differ() -> None:
    numbers = {episode_seed(s, copy, e) for s in range(10) for copy in range(10) for e in range(10)}
    assert len(numbers) == 1000
    assert all(0 <= number < 2**31 for number in numbers)
    assert episode_seed(3, 1, 4) == episode_seed(3, 1, 4)
    assert episode_seed(2**63, 0, 0) != episode_seed(0, 0, 0)


def test_the_episode_seed_is_philox() -> None:
    words = np.array([5, (1 << 48) | 2], dtype=np.uint64)  # seed 5; purpose "env" is number 1; copy 2
    word = np.random.Philox(key=words, counter=[7, 0, 0, 0]).random_raw()
    assert episode_seed(5, 2, 7) == int(word) >> 33


@pytest.mark.parametrize("noise", ["stream", "gymnasium"])
def test_every_reset_is_given_its_seed(noise: Literal["stream", "gymnasium"]) -> None:
    copies = [Scripted() for _ in range(4)]
    remaining = iter(copies)
    env = ForeignEnv(lambda: next(remaining), [10, 20], 2, noise=noise)
    for _ in range(6):
        env.step(torch.zeros(2, 2, dtype=torch.int64))
    env.reset()
    for (seed, copy), made in zip([(10, 0), (10, 1), (20, 0), (20, 1)], copies, strict=True):
        stream = [episode_seed(seed, copy, episode) for episode in range(4)]
        assert made.seeds == (stream if noise == "stream" else [seed + copy, None, None, None])


# Restarts


@pytest.mark.parametrize("ends", ["terminated", "truncated"])
def test_without_restarts_a_finished_copy_stays_as_it_ended(ends: str) -> None:
    env = ForeignEnv(lambda: Scripted(ends=ends), [0], restart=False)
    steps = [env.step(torch.tensor([[0]])) for _ in range(5)]
    assert [step.reward.item() for step in steps] == [1, 1, 1, 0, 0]
    assert [step.obs.item() for step in steps] == [0, 1, 2, 3, 3]
    assert [step.next_obs.item() for step in steps] == [1, 2, 3, 3, 3]
    assert [getattr(step, ends).item() for step in steps] == [False, False, True, True, True]
    assert [step.done.item() for step in steps] == [False, False, True, True, True]
    assert env.reset().item() == 0
    assert not env.step(torch.tensor([[0]])).done.item()


def test_with_restarts_the_true_successor_is_kept() -> None:
    env = ForeignEnv(Scripted, [0])
    steps = [env.step(torch.tensor([[0]])) for _ in range(5)]
    assert [step.obs.item() for step in steps] == [0, 1, 2, 0, 1]
    assert [step.next_obs.item() for step in steps] == [1, 2, 3, 1, 2]
    assert [step.terminated.item() for step in steps] == [False, False, True, False, False]


def test_transitions_are_not_overwritten_by_later_steps() -> None:
    env = ForeignEnv(maker("CartPole-v1"), [0], 2)
    first = env.step(torch.zeros(1, 2, dtype=torch.int64))
    kept = [part.clone() for part in first if part is not None]
    for _ in range(20):
        env.step(torch.zeros(1, 2, dtype=torch.int64))
    assert all(torch.equal(part, copy) for part, copy in zip(first, kept, strict=False))


# Spaces


def test_numbers_count_from_zero_whatever_the_start() -> None:
    class Offset(Scripted):
        action_space = spaces.Discrete(3, start=-1)
        observation_space = spaces.Discrete(4, start=5)

        def shown(self) -> Any:
            return np.int64(5 + self.time)

    made = Offset()
    env = ForeignEnv(lambda: made, [0])
    assert env.action_space == spaces.Discrete(3)
    assert env.observation_space == spaces.Discrete(4)
    assert env.starts == Starts(observation=5, action=-1)
    assert [env.obs.item(), *(env.step(torch.tensor([[a]])).next_obs.item() for a in (0, 1, 2))] == [0, 1, 2, 3]
    assert made.actions == [-1, 0, 1]
    assert all(action in made.action_space for action in made.actions)


class Shifted(gymnasium.Env):
    """Ten steps through states 1, 2, 3; action 5 is right in 2, action 4 elsewhere."""

    action_space = spaces.Discrete(2, start=4)
    observation_space = spaces.Discrete(3, start=1)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return 1, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in self.action_space
        right = action == (5 if self.time % 3 == 1 else 4)
        self.time += 1
        return 1 + self.time % 3, float(right), self.time == 10, False, {}


@pytest.mark.slow
def test_policies_speak_the_environments_own_numbers(tmp_path: Path) -> None:
    agent = TabularQ(Shifted, seeds=[3], device="cpu", exploration_fraction=1.0).learn(300)
    agent.save(tmp_path / "agent.safetensors")
    for policy in (agent, agent.ensemble(), agent[0], load(tmp_path / "agent.safetensors", env=Shifted, device="cpu")):
        assert policy.predict(np.array([1, 2, 3]), deterministic=True)[0].tolist() == [4, 5, 4]
        assert policy.predict(2, deterministic=True)[0] == 5
        assert policy.predict(1, deterministic=True, action_masks=np.array([0, 1]))[0] == 5
        assert policy.evaluate(2).tolist() == [[10.0, 10.0]]
        for env in (Shifted(), SyncVectorEnv([Shifted] * 2)):
            assert evaluate_policy(policy, env, 2, return_episode_rewards=True)[0] == [10.0, 10.0]
        assert evaluate_policy(policy, policy.evaluation_env(2), 2) == (10.0, 0.0)
    for wrong in (0, 4, np.array([3, 1, 300])):
        with pytest.raises(ValueError, match=rf"observation {np.max(wrong)} is not in Discrete\(3, start=1\)"):
            agent.predict(wrong)
    with pytest.raises(ValueError, match=r"observation 2.7 is of float64: pass integers of Discrete\(3, start=1\)"):
        agent.predict(2.7)  # type: ignore[arg-type]


@pytest.mark.slow
def test_attacked_policies_speak_the_environments_own_numbers_too() -> None:
    agent = DQN(Shifted, device="cpu", net_arch=(), gamma=0.0, learning_starts=20, train_freq=1, learning_rate=0.05)
    expected = evaluate_policy(agent.learn(200), Shifted(), 2)
    assert expected == (10.0, 0.0)
    victim, nothing = OneHot(agent), (FGSM(), Budget(0.0))
    assert evaluate_policy(victim, Shifted(), 2) == expected
    assert evaluate_policy(AttackedPolicy(victim, *nothing), Shifted(), 2) == expected
    assert evaluate_policy(victim, AttackedObservation(Shifted(), victim, *nothing), 2) == expected


def test_images_keep_their_bytes() -> None:
    class Camera(Scripted):
        observation_space = spaces.Box(0, 255, (2, 3), np.uint8)

        def shown(self) -> Any:
            return np.full((2, 3), 60 * self.time, np.uint8)

    env = ForeignEnv(Camera, [0, 1], 3)
    assert env.obs.dtype == torch.uint8
    assert env.obs.shape == (2, 3, 2, 3)
    assert (env.step(torch.ones(2, 3, dtype=torch.int64)).next_obs == 60).all()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(-2, 2, (1,)), r"Box\(-2.0, 2.0.*is continuous.*DiscretizeAction"),
        (spaces.MultiDiscrete([2, 2]), r"MultiDiscrete\(\[2 2\]\).*is not Discrete.*ActionWrapper"),
        (spaces.Dict(a=spaces.Discrete(2)), r"Dict\('a'.*is not Discrete"),
    ],
)
def test_other_action_spaces_are_refused(space: spaces.Space, message: str) -> None:
    env = Scripted()
    env.action_space = space
    with pytest.raises(ValueError, match=message):
        ForeignEnv(lambda: env, [0])
    assert env.closed


@pytest.mark.parametrize(
    "space",
    [
        spaces.Dict(a=spaces.Discrete(2)),
        spaces.Dict(a=spaces.Box(0, 1), image=spaces.Box(0, 255, (8, 8, 3), np.uint8)),
        spaces.Dict(),
        spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1)]),
        spaces.Text(4),
        spaces.Sequence(spaces.Discrete(2)),
    ],
)
def test_other_observation_spaces_are_refused(space: spaces.Space) -> None:
    env = Scripted()
    env.observation_space = space
    remedy = "FlattenObservation" if space.is_np_flattenable else "TransformObservation"
    with pytest.raises(ValueError, match=rf"of Scripted is not of arrays of numbers: .*{remedy}"):
        ForeignEnv(lambda: env, [0])


def test_the_refusals_name_the_environment() -> None:
    with pytest.raises(ValueError, match="Pendulum-v1 is continuous"):
        ForeignEnv(maker("Pendulum-v1"), [0])


def test_the_remedies_work() -> None:
    flat = ForeignEnv(lambda: gymnasium.wrappers.FlattenObservation(gymnasium.make("Blackjack-v1")), [0], 2)
    flat.step(torch.ones(1, 2, dtype=torch.int64))
    binned = ForeignEnv(lambda: gymnasium.wrappers.DiscretizeAction(gymnasium.make("Pendulum-v1"), 5), [0], 2)
    assert binned.action_space.n == 5
    binned.step(torch.full((1, 2), 4))
    assert binned.max_episode_steps == 200


@pytest.mark.parametrize("space", [spaces.MultiDiscrete([2, 5, 3]), spaces.MultiBinary(3)])
def test_networks_read_numbers_as_those_of_stable_baselines3(space: spaces.Space) -> None:
    space.seed(3)
    obs = np.stack([space.sample() for _ in range(6)])
    theirs = preprocess_obs(torch.as_tensor(obs), space)
    read = encode(torch.as_tensor(obs).view(2, 3, *obs.shape[1:]), space)
    assert read.shape == (2, 3, num_features(space))
    assert torch.equal(read.view(6, -1), theirs.view(6, -1))  # type: ignore[union-attr]
    env = ForeignEnv(lambda: with_space(space), [0, 1], 2)
    assert env.step(torch.zeros(2, 2, dtype=torch.int64)).next_obs.shape == (2, 2, *(space.shape or ()))
    agent = DQN(lambda: with_space(space), device="cpu", net_arch=(16,), learning_starts=4).learn(20)
    assert evaluate_policy(agent, with_space(space), 2) == (3.0, 0.0)


def with_space(space: spaces.Space) -> Scripted:
    env = Scripted(observations=[space.sample() for _ in range(4)])
    env.observation_space = space
    return env


class Parts(gymnasium.Env):
    """Shows a place and a speed as a Dict; "z" comes first in the space, and its place in what is shown varies."""

    observation_space = spaces.Dict(
        [("z", spaces.Box(-9.0, 9.0, (2, 1))), ("a", spaces.Box(-1.0, 1.0, (1,), np.float64))]
    )
    action_space = spaces.Discrete(2)

    def shown(self) -> dict[str, Any]:
        return {"a": np.array([self.time / 10]), "z": np.array([[self.time], [-self.time]], np.float32)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self.shown(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self.shown(), float(action), self.time == 5, False, {}


def test_the_boxes_of_a_dict_are_one_vector_as_in_stable_baselines3() -> None:
    env = ForeignEnv(Parts, [0, 1], 3)
    assert (env.observation_space.shape, env.observation_space.dtype) == ((3,), np.float64)
    obs = env.step(torch.ones(2, 3, dtype=torch.int64)).next_obs
    assert obs[1, 2].tolist() == [1.0, -1.0, 0.1]
    space: Any = Parts.observation_space
    batch = {name: torch.as_tensor(np.stack([part] * 2)) for name, part in space.sample().items()}
    theirs = CombinedExtractor(space)(preprocess_obs(batch, space))
    np.testing.assert_array_equal(env.starts.flatten(batch).astype(np.float32), theirs.numpy())


@pytest.mark.slow
def test_agents_evaluation_and_predict_take_dict_observations(tmp_path: Path) -> None:
    agent = PPO(Parts, seeds=[3], device="cpu", n_steps=40, batch_size=40, learning_rate=0.05).learn(800)
    agent.save(tmp_path / "agent.safetensors")
    shown = {"a": np.zeros((3, 1)), "z": np.zeros((3, 2, 1), np.float32)}
    one = {name: part[0] for name, part in shown.items()}
    for policy in (agent, agent.ensemble(), load(tmp_path / "agent.safetensors", env=Parts, device="cpu")):
        assert policy.predict(shown, deterministic=True)[0].tolist() == [1, 1, 1]
        assert policy.predict(one, deterministic=True)[0] == 1
        assert policy.act(shown).tolist() == [[1, 1, 1]]
        assert policy.act({name: part[None] for name, part in shown.items()}).tolist() == [[1, 1, 1]]
        assert policy.evaluate(2).tolist() == [[5.0, 5.0]]
        for env in (Parts(), SyncVectorEnv([Parts] * 2), DummyVecEnv([Parts] * 2)):
            assert evaluate_policy(policy, env, 3) == (5.0, 0.0)
    attacked = AttackedPolicy(agent, FGSM(), Budget(0.0))
    assert evaluate_policy(attacked, DummyVecEnv([Parts]), 2) == (5.0, 0.0)
    for wrong, message in (({"z": shown["z"]}, "has no part 'a'"), (shown | {"a": np.zeros((2, 1))}, "have shapes")):
        for ask in (agent.predict, agent.act):
            with pytest.raises(ValueError, match=message):
                ask(wrong)


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        ({"a": [0.0]}, "has no part 'z'"),
        ({"a": np.zeros(2), "z": np.zeros((2, 1))}, "have shapes"),
        (np.zeros(2), r"an observation of float64 \(2,\)"),
        ({"a": ["left"], "z": np.zeros((2, 1))}, "an observation of <U"),
        ({"a": [np.nan], "z": np.zeros((2, 1))}, "not a finite element"),
    ],
)
def test_faulty_dict_observations_are_named(shown: Any, message: str) -> None:
    class Faulty(Parts):
        def shown(self) -> Any:
            return shown if self.time == 2 else super().shown()

    env = ForeignEnv(Faulty, [7])
    env.step(torch.zeros(1, 1, dtype=torch.int64))
    with pytest.raises(FaultyEnvironmentError, match=rf"{message}.*") as caught:
        env.step(torch.zeros(1, 1, dtype=torch.int64))
    assert "at step 2 of episode 0, seed 7 (row 0), copy 0" in str(caught.value)


# Bad input


def test_misuse_raises() -> None:
    with pytest.raises(ValueError, match=r"seeds must be one or more integers >= 0, got \[\]"):
        ForeignEnv(Scripted, [])
    with pytest.raises(ValueError, match=r"got \[1, -1\]"):
        ForeignEnv(Scripted, [1, -1])
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        ForeignEnv(Scripted, [0], 0)
    with pytest.raises(ValueError, match='noise must be "stream" or "gymnasium", got \'none\''):
        ForeignEnv(Scripted, [0], noise="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"make_one returned <class 'str'>: it must make a gymnasium.Env"):
        ForeignEnv(lambda: "CartPole-v1", [0])  # type: ignore[arg-type,return-value]


def test_wrong_actions_raise() -> None:
    env = ForeignEnv(Scripted, [0, 1], 2)
    with pytest.raises(ValueError, match="action 2 of row 1, copy 0 is not one of the 2 actions of Scripted"):
        env.step(torch.tensor([[0, 1], [2, 0]]))
    with pytest.raises(ValueError, match=r"integers of shape \(2, 2\), got torch.int64 \(4,\)"):
        env.step(torch.tensor([0, 1, 1, 0]))
    with pytest.raises(ValueError, match=r"got torch.float32 \(2, 2\)"):
        env.step(torch.zeros(2, 2))


@pytest.mark.parametrize("wrapped", [False, True])
def test_one_environment_is_not_taken_for_several_copies(wrapped: bool) -> None:
    shared = Scripted()
    make_one: Callable[[], gymnasium.Env] = (lambda: gymnasium.Wrapper(shared)) if wrapped else (lambda: shared)
    with pytest.raises(ValueError, match=r"makes Scripted returned the same environment twice, and 2 copies .* new"):
        ForeignEnv(make_one, [0, 1])
    assert shared.closed
    with pytest.raises(ValueError, match="the same environment twice"):
        PPO(make_one, n_steps=64, device="cpu").evaluate(6)


def test_copies_of_different_kinds_are_refused_and_closed() -> None:
    made = [Scripted(), Scripted()]
    made[1].action_space = spaces.Discrete(5)
    remaining = iter(made)
    with pytest.raises(ValueError, match="the spaces of Scripted differ from copy to copy"):
        ForeignEnv(lambda: next(remaining), [0], 2)
    assert all(env.closed for env in made)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named_with_step_seed_and_copy(value: float) -> None:
    def second_copy_returns(observations: Any = (0.0, 1.0, 2.0, 3.0), rewards: Any = (1.0, 1.0, 1.0)) -> ForeignEnv:
        made = iter([Scripted(), Scripted(), Scripted(), Scripted(observations, rewards)])
        return ForeignEnv(lambda: next(made), [6, 8], 2)

    action = torch.zeros(2, 2, dtype=torch.int64)
    env = second_copy_returns(observations=(0.0, 1.0, value, 3.0))
    env.step(action)
    where = r"at step 2 of episode 0, seed 8 \(row 1\), copy 1"
    with pytest.raises(FaultyEnvironmentError, match=rf"Scripted returned observation \[.*\] {where}"):
        env.step(action)
    env = second_copy_returns(rewards=(1.0, value, 1.0))
    env.step(action)
    with pytest.raises(FaultyEnvironmentError, match=rf"Scripted returned reward -?(nan|inf) {where}"):
        env.step(action)
    with pytest.raises(FaultyEnvironmentError, match=r"at step 0 of episode 0, seed 8 \(row 1\), copy 1"):
        second_copy_returns(observations=(value, 1.0))


@pytest.mark.parametrize(
    "observation",
    [
        np.zeros(2, np.float32),
        np.zeros((1, 1), np.float32),
        np.zeros((), np.float32),
        np.array([1j]),
        np.array(["left"]),
    ],
)
def test_observations_that_do_not_fit_their_space_are_named(observation: Any) -> None:
    with pytest.raises(FaultyEnvironmentError, match=r"Scripted returned an observation of .* its space is Box"):
        ForeignEnv(lambda: Scripted(observations=[observation]), [0])


def test_a_discrete_observation_out_of_range_is_named() -> None:
    class Lost(Scripted):
        observation_space = spaces.Discrete(3)

        def shown(self) -> Any:
            return 2 * self.time

    env = ForeignEnv(Lost, [0])
    env.step(torch.tensor([[0]]))
    with pytest.raises(FaultyEnvironmentError, match=r"returned observation 4 at step 2 .* element of Discrete\(3\)"):
        env.step(torch.tensor([[0]]))

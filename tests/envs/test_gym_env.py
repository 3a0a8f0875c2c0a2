"""The gymnasium environments against gymnasium: its CartPole, its SyncVectorEnv, and both environment checkers."""

from __future__ import annotations

import time
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

import rlkit  # noqa: F401, registers the ids
from rlkit.envs import CartPole, GridWorld
from rlkit.envs.dynamics import Array
from rlkit.envs.gym_env import DRAWN_AHEAD, CopiesNoise, DynamicsEnv, DynamicsVectorEnv, shorter_limit
from rlkit.mdp import TabularMDP
from rlkit.planning import solve


class Walk:
    """A noisy walk on the plane that ends away from the origin. Noise widths 3 and 2 share no factor with a block."""

    observation_space: spaces.Space[Any] = spaces.Box(-9.0, 9.0, (2,), np.float64)
    action_space = spaces.Discrete(3, start=-1)
    initial_noise = 3
    transition_noise = 2
    max_steps: int | None = 12

    def initial(self, u: Array) -> Array:
        return u[..., :2] - u[..., 2:]

    def transition(self, state: Array, action: Array, u: Array) -> tuple[Array, Array, Array]:
        after = state + u - 0.5 + 0.3 * np.asarray(action)[..., None]
        return after, after[..., 0] * after[..., 1], np.abs(after).max(axis=-1) > 1.5

    def observe(self, state: Array) -> Array:
        return state  # a view on purpose: the environments must not hand out their own memory


def make(env_id: str, **parameters: Any) -> Any:
    """A serial environment; Any, because gymnasium types what it makes by the interface alone."""
    return gymnasium.make(env_id, **parameters)


def make_vec(env_id: str, num_envs: int, **parameters: Any) -> Any:
    return gymnasium.make_vec(env_id, num_envs=num_envs, **parameters)


IDS: dict[str, tuple[str, dict[str, Any]]] = {
    "cartpole": ("rlkit/CartPole-v1", {}),
    "cartpole-short": ("rlkit/CartPole-v1", {"max_episode_steps": 15, "sutton_barto_reward": True}),
    "grid-index": ("rlkit/GridWorld-v0", {"slip": 0.2, "max_steps": 9}),
    "grid-image": ("rlkit/GridWorld-v0", {"slip": 0.2, "observation": "planes", "max_episode_steps": 6}),
}


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal to the bit, with equal types, keys and dtypes."""
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for name in theirs:
            assert_same(ours[name], theirs[name])
    elif isinstance(theirs, np.ndarray) and theirs.dtype == object:
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif isinstance(theirs, np.ndarray):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs, strict=True)
    else:
        assert ours == theirs


def assert_same_tuples(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert_same(one, other)


# One environment


@pytest.mark.slow
@pytest.mark.parametrize("sutton_barto_reward", [False, True])
def test_cartpole_is_gymnasiums_from_the_same_seed(sutton_barto_reward: bool) -> None:
    ours = make("rlkit/CartPole-v1", sutton_barto_reward=sutton_barto_reward)
    theirs = make("CartPole-v1", sutton_barto_reward=sutton_barto_reward)
    for seed in (*range(10), None):  # the last episode continues the generator
        expected = theirs.reset(seed=seed)
        assert_same_tuples(ours.reset(seed=seed), expected)
        observation, over = expected[0], False
        while not over:
            action = int(observation[2] + observation[3] > 0) if seed != 0 else 0
            (seen, *rest), (observation, *expected_rest) = ours.step(action), theirs.step(action)
            np.testing.assert_allclose(seen, observation, rtol=1e-6, atol=1e-7)
            assert rest == expected_rest
            ours.unwrapped.state = theirs.unwrapped.state.copy()  # an unstable system would magnify the rounding
            over = rest[1] or rest[2]


def test_episode_follows_the_pure_functions_and_the_generator() -> None:
    walk, generator = Walk(), np_random(5)[0]
    env = DynamicsEnv(walk)
    state = walk.initial(generator.random(3))
    assert_same_tuples(env.reset(seed=5), (state, {}))
    for step in range(1, 13):
        state, reward, failed = walk.transition(state, np.int64(0), generator.random(2))
        assert_same_tuples(env.step(0), (state, float(reward), bool(failed), step == 12, {}))
        if failed:
            break


def test_observations_are_new_memory_and_spaces_belong_to_one_environment() -> None:
    walk = Walk()
    env, other = DynamicsEnv(walk), DynamicsEnv(walk)
    first, _ = env.reset(seed=0)
    first[:] = np.nan
    assert np.isfinite(env.step(0)[0]).all()
    assert env.action_space is not other.action_space


def test_misuse_of_one_environment_raises() -> None:
    env = DynamicsEnv(Walk())
    with pytest.raises(ResetNeeded, match=r"no episode has begun: call reset\(\)"):
        env.step(0)
    env.reset(seed=0)
    for action in (2, -2, 0.5, None):
        with pytest.raises(ValueError, match=r"action .* is not in Discrete\(3, start=-1\)"):
            env.step(action)
    with pytest.raises(ValueError, match=r"unknown reset options \['speed'\]"):
        env.reset(options={"speed": 2})
    with pytest.raises(ValueError, match="render_mode 'rgb_array' is not offered: choose from None only"):
        DynamicsEnv(Walk(), render_mode="rgb_array")
    over = False
    while not over:
        _, _, terminated, truncated, _ = env.step(0)
        over = terminated or truncated
    with pytest.raises(ResetNeeded, match=r"the episode is over: call reset\(\)"):
        env.step(0)


# Time limits


def steps_until_truncated(env: Any, limit: int) -> int | None:
    env.reset(seed=0)
    for step in range(1, limit + 1):
        _, _, terminated, truncated, _ = env.step(0)
        if truncated:
            return step
        if terminated:
            env.reset()  # never reached by the worlds below
    return None


ENDLESS = {"map": "S.", "continuing": True}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({**ENDLESS, "max_steps": 7}, 7),  # the map's own
        ({**ENDLESS, "max_steps": 7, "max_episode_steps": 4}, 4),  # shortened
        ({**ENDLESS, "max_steps": 7, "max_episode_steps": 9}, 7),  # not lengthened
        ({**ENDLESS, "max_steps": 7, "max_episode_steps": -1}, 7),
        ({**ENDLESS, "max_episode_steps": 4}, 4),
        (ENDLESS, None),
    ],
)
def test_grid_world_limits_agree_between_serial_and_vector(parameters: dict[str, Any], expected: Any) -> None:
    env = make("rlkit/GridWorld-v0", **parameters)
    assert steps_until_truncated(env, limit=20) == expected
    limited = {name: value for name, value in parameters.items() if name != "max_episode_steps"}
    assert make("rlkit/GridWorld-v0", **limited).spec.max_episode_steps == parameters.get("max_steps")
    vector = make_vec("rlkit/GridWorld-v0", num_envs=2, **parameters)
    vector.reset(seed=0)
    truncated = [vector.step(np.zeros(2, dtype=int))[3].all() for _ in range(20)]
    assert (truncated.index(True) + 1 if any(truncated) else None) == expected


@pytest.mark.parametrize(("given", "expected"), [({}, 500), ({"max_episode_steps": 700}, 700), ({"max_steps": 80}, 80)])
def test_cartpole_limit_is_that_of_its_id_and_can_be_replaced(given: dict[str, Any], expected: Any) -> None:
    def balance(observation: Any) -> Any:
        return (observation @ np.array([0.1, 0.3, 3.0, 0.5]) > 0).astype(np.int64)  # holds the pole for ever

    env = make("rlkit/CartPole-v1", **given)
    vector = make_vec("rlkit/CartPole-v1", num_envs=1, **given)
    (observation, _), (observations, _) = env.reset(seed=1), vector.reset(seed=1)
    for step in range(1, expected + 1):
        observation, _, terminated, truncated, _ = env.step(balance(observation))
        observations, _, failed, cut, _ = vector.step(balance(observations))
        assert not terminated
        assert not failed[0]
        assert truncated == cut[0] == (step == expected)


def test_limit_can_be_taken_away() -> None:
    assert make("rlkit/CartPole-v1", max_episode_steps=-1).unwrapped.dynamics.max_steps is None
    assert make_vec("rlkit/CartPole-v1", 1, max_episode_steps=-1).max_episode_steps is None
    assert shorter_limit(None, -1) is None
    assert shorter_limit(5, -1, 9) == 5
    with pytest.raises(ValueError, match="at least one step, got 0"):
        shorter_limit(0)


def test_specification_makes_the_same_environment_again() -> None:
    env = make("rlkit/GridWorld-v0", map="S.G", max_steps=3)
    again: Any = gymnasium.make(env.spec)
    assert again.spec.max_episode_steps == 3
    assert steps_until_truncated(again, limit=9) == 3


# Many copies


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("name", IDS)
def test_vector_equals_gymnasiums_sync_vector_of_the_serial_environment(name: str, mode: Any) -> None:
    env_id, parameters = IDS[name]
    ours = make_vec(env_id, num_envs=5, autoreset_mode=mode, **parameters)
    theirs = make_vec(
        env_id, num_envs=5, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **parameters
    )
    assert isinstance(ours, DynamicsVectorEnv)
    assert_vectors_agree(ours, theirs, steps=150)


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_vector_of_noisy_dynamics_equals_sync_vector(mode: Any) -> None:
    ours = DynamicsVectorEnv(Walk(), 5, mode)
    theirs = SyncVectorEnv([lambda: DynamicsEnv(Walk())] * 5, autoreset_mode=mode)
    assert_vectors_agree(ours, theirs, steps=2 * DRAWN_AHEAD)  # blocks are refilled several times


def assert_vectors_agree(ours: Any, theirs: Any, steps: int) -> None:
    mode = theirs.metadata["autoreset_mode"]
    assert ours.metadata["autoreset_mode"] is mode
    for space in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(ours, space) == getattr(theirs, space)
    theirs.action_space.seed(0)
    assert_same_tuples(ours.reset(seed=11), theirs.reset(seed=11))
    finished = 0
    for step in range(steps):
        actions = theirs.action_space.sample()
        mine, expected = ours.step(actions), theirs.step(actions)
        assert_same_tuples(mine, expected)
        over = expected[2] | expected[3]
        finished += int(over.sum())
        if mode is AutoresetMode.DISABLED and over.any():
            seed = 100 + step if step % 2 else None  # some episodes are seeded, some go on
            reset = [env.reset(seed=seed, options={"reset_mask": over.copy()}) for env in (ours, theirs)]
            assert_same_tuples(*reset)
    assert finished > 10
    assert_same_tuples(ours.reset(), theirs.reset())
    assert_same_tuples(
        *(env.reset(seed=[3, None, 8, None, 1]) for env in (ours, theirs)),  # None goes on with its generator
    )


def test_copy_i_of_seed_s_plays_the_serial_episodes_of_seed_s_plus_i() -> None:
    vector = DynamicsVectorEnv(Walk(), 3, AutoresetMode.SAME_STEP)
    actions = np.random.default_rng(0).integers(-1, 2, size=(100, 3))
    observations, _ = vector.reset(seed=40)
    rows = [observations] + [vector.step(row)[0] for row in actions]
    assert vector.np_random_seed == (40, 41, 42)
    for copy in range(3):
        env = DynamicsEnv(Walk())
        observation, _ = env.reset(seed=40 + copy)
        assert_same(rows[0][copy], observation)
        for row, action in zip(rows[1:], actions[:, copy], strict=True):
            observation, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                observation, _ = env.reset()
            assert_same(row[copy], observation)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sets(st.integers(0, 2), min_size=1), st.integers(0, 90)), max_size=40))
def test_numbers_drawn_ahead_are_those_of_each_copys_generator(requests: list[tuple[set[int], int]]) -> None:
    noise = CopiesNoise(3, largest_request=90)
    generators = [np_random(seed)[0] for seed in range(3)]
    for copy in range(3):
        noise.seed(copy, copy)
    for copies, width in requests:
        taken = noise.take(np.array(sorted(copies)), width)
        assert taken.shape == (len(copies), width)
        np.testing.assert_array_equal(taken, [generators[copy].random(width) for copy in sorted(copies)])


def test_vector_hands_out_new_memory() -> None:
    vector = DynamicsVectorEnv(Walk(), 2, AutoresetMode.SAME_STEP)
    observations, _ = vector.reset(seed=0)
    kept = observations.copy()
    for _ in range(20):
        vector.step(np.zeros(2, dtype=int))
    np.testing.assert_array_equal(observations, kept)
    observations[:] = np.nan
    assert np.isfinite(vector.step(np.zeros(2, dtype=int))[0]).all()


def test_waiting_copies_ignore_their_action() -> None:
    vector = DynamicsVectorEnv(Walk(), 2, AutoresetMode.NEXT_STEP, max_episode_steps=1)
    vector.reset(seed=0)
    vector.step(np.array([0, 0]))
    _, rewards, terminated, truncated, infos = vector.step(np.array([-77, 99]))
    assert_same_tuples((rewards, terminated, truncated), (np.zeros(2), np.zeros(2, bool), np.zeros(2, bool)))
    assert infos == {}


def test_misuse_of_a_vector_raises() -> None:
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        DynamicsVectorEnv(Walk(), 0)
    with pytest.raises(ValueError, match="'Sometimes' is not a valid AutoresetMode"):
        DynamicsVectorEnv(Walk(), 2, "Sometimes")
    with pytest.raises(ValueError, match="at least one step, got -3"):
        DynamicsVectorEnv(Walk(), 2, max_episode_steps=-3)
    vector = DynamicsVectorEnv(Walk(), 2, "Disabled", max_episode_steps=1)
    with pytest.raises(ResetNeeded, match=r"call reset\(\) first"):
        vector.step(np.zeros(2, dtype=int))
    with pytest.raises(ResetNeeded, match="must start every copy"):
        vector.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ValueError, match="3 seeds for 2 copies"):
        vector.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match=r"unknown reset options \['low'\]"):
        vector.reset(options={"low": 0})
    for mask in ([True, False], np.array([1, 0]), np.array([True])):
        with pytest.raises(ValueError, match="must be a numpy bool array of 2 copies"):
            vector.reset(options={"reset_mask": mask})
    with pytest.raises(ValueError, match="names no copy"):
        vector.reset(options={"reset_mask": np.zeros(2, dtype=bool)})
    vector.reset(seed=0)
    with pytest.raises(ValueError, match=r"action 2 of copy 1 is not in Discrete\(3, start=-1\)"):
        vector.step(np.array([0, 2]))
    with pytest.raises(ValueError, match=r"actions must be 2 integers, got float64 of shape \(2,\)"):
        vector.step(np.zeros(2))
    with pytest.raises(ValueError, match=r"actions must be 2 integers, got int64 of shape \(3,\)"):
        vector.step(np.zeros(3, dtype=np.int64))
    vector.step(np.zeros(2, dtype=int))
    with pytest.raises(ResetNeeded, match=r"copies \[0, 1\] are finished"):
        vector.step(np.zeros(2, dtype=int))


def test_mask_is_left_as_it_was() -> None:
    vector = DynamicsVectorEnv(Walk(), 2, "Disabled")
    vector.reset(seed=0)
    options = {"reset_mask": np.array([True, False])}
    vector.reset(options=options)
    assert list(options) == ["reset_mask"]


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ["rlkit/CartPole-v1", "rlkit/GridWorld-v0"])
def test_thousand_copies_are_far_faster_than_stepping_them_one_by_one(env_id: str) -> None:
    def seconds(vector: Any) -> float:
        vector.reset(seed=0)
        actions = np.zeros(vector.num_envs, dtype=int)
        vector.step(actions)
        start = time.perf_counter()
        vector.step(actions)
        return float((time.perf_counter() - start) / vector.num_envs)

    one_by_one = min(seconds(make_vec(env_id, num_envs=64, vectorization_mode="sync")) for _ in range(3))
    together = min(seconds(make_vec(env_id, num_envs=1024)) for _ in range(3))
    assert one_by_one > 5 * together  # about 100 on a quiet machine


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_gymnasiums_vector_wrappers_work(mode: Any) -> None:
    vector = make_vec("rlkit/CartPole-v1", num_envs=3, max_episode_steps=10, autoreset_mode=mode)
    vector = gymnasium.wrappers.vector.RecordEpisodeStatistics(vector)
    vector.reset(seed=0)
    for _ in range(9):
        vector.step(np.array([0, 1, 0]))  # falls at step 9 or 10
    assert set(vector.length_queue) | {10} <= {8, 9, 10}


# What the checkers of gymnasium and stable-baselines3 say

INFINITE = [
    "WARN: A Box observation space minimum value is -infinity. This is probably too low.",
    "WARN: A Box observation space maximum value is infinity. This is probably too high.",
]
SMALL_IMAGE = "The minimal resolution for an image is 36x36 for the default `CnnPolicy`"
FLOAT_IMAGE = [
    "It seems that your observation  is an image but its `dtype` is (float32) whereas it has to be `np.uint8`",
    "It seems that your observation space  is an image but the upper and lower bounds are not in [0, 255]",
]
GRID = "rlkit/GridWorld-v0"
CHECKED = [
    # id, parameters, what gymnasium says, what SB3 says
    ("CartPole-v1", {}, INFINITE, []),  # gymnasium's own, for comparison
    ("rlkit/CartPole-v1", {}, INFINITE, []),
    (GRID, {}, [], []),
    (GRID, {"slip": 0.2, "observation": "index"}, [], []),
    (GRID, {"observation": "onehot"}, [], []),
    (GRID, {"observation": "coordinates"}, [], []),
    (GRID, {"observation": "planes"}, [], [SMALL_IMAGE]),
    (GRID, {"observation": "planes", "plane_dtype": "float32"}, [], [*FLOAT_IMAGE, SMALL_IMAGE]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("env_id", "parameters", "expected", "_"), CHECKED)
def test_gymnasium_checker_passes(env_id: str, parameters: dict[str, Any], expected: Any, _: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gymnasium_check_env(make(env_id, **parameters).unwrapped, skip_render_check=env_id == "CartPole-v1")
    said = [str(warning.message).removeprefix("\x1b[33m").removesuffix("\x1b[0m") for warning in caught]
    assert said == expected


@pytest.mark.parametrize(("env_id", "parameters", "_", "expected"), CHECKED)
def test_stable_baselines3_checker_passes(env_id: str, parameters: dict[str, Any], _: Any, expected: Any) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checker.check_env(make(env_id, **parameters), skip_render_check=env_id == "CartPole-v1")
    said = [str(warning.message) for warning in caught]
    assert len(said) == len(expected)
    assert all(message.startswith(start) for message, start in zip(said, expected, strict=True))


# Pictures


@pytest.mark.parametrize(
    ("env_id", "parameters"), [("rlkit/CartPole-v1", {}), ("rlkit/GridWorld-v0", {"map": "S...G"})]
)
def test_frames_of_both_adapters_are_images_and_follow_the_state(env_id: str, parameters: dict[str, Any]) -> None:
    env = make(env_id, render_mode="rgb_array", **parameters)
    vector = make_vec(env_id, num_envs=2, render_mode="rgb_array", **parameters)
    env.reset(seed=3)
    vector.reset(seed=2)
    first = env.render()
    assert first.dtype == np.uint8
    assert first.ndim == 3
    assert first.shape[2] == 3
    frames = vector.render()
    assert len(frames) == 2
    np.testing.assert_array_equal(frames[1], first)
    for action in (1, 2, 1, 0, 1):  # the cart only knows 0 and 1, the grid goes right once and back
        env.step(min(action, env.action_space.n - 1))
        frames = [*frames, env.render()]
    assert any((frame != first).any() for frame in frames)
    assert env.metadata["render_fps"] > 0


def test_grid_world_as_text() -> None:
    env = make("rlkit/GridWorld-v0", map="S.G", render_mode="ansi")
    env.reset(seed=0)
    before = env.render()
    env.step(2)
    assert before != env.render()


@pytest.mark.parametrize(
    ("env_id", "mode"),
    [
        ("rlkit/CartPole-v1", "rgb_array_list"),
        ("rlkit/GridWorld-v0", "rgb_array_list"),
        ("rlkit/GridWorld-v0", "ansi_list"),
    ],
)
def test_frames_are_collected_in_the_list_modes(env_id: str, mode: str) -> None:
    env, single = make(env_id, render_mode=mode), make(env_id, render_mode=mode.removesuffix("_list"))
    frames = []
    for each in (env, single):
        each.reset(seed=0)
        frames.append(each.render() if each is single else None)
        for action in (1, 0, 1):
            each.step(action)
            frames.append(each.render() if each is single else None)
    collected, wanted = env.render(), [frame for frame in frames if frame is not None]
    assert len(collected) == len(wanted) == 4
    for one, other in zip(collected, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_first_states_lie_within_the_bounds_that_reset_is_given() -> None:
    bounds = {"low": -0.25, "high": 0.375}
    env, twin = make("rlkit/CartPole-v1"), make("CartPole-v1")
    for options in (bounds, {"high": 0.125}, {}, None):
        np.testing.assert_array_equal(*(each.reset(seed=4, options=options)[0] for each in (env, twin)))
    vector = make_vec("rlkit/CartPole-v1", num_envs=3, autoreset_mode=AutoresetMode.DISABLED)
    serial = make_vec("CartPole-v1", 3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": "Disabled"})
    np.testing.assert_array_equal(*(env.reset(seed=9, options=dict(bounds))[0] for env in (vector, serial)))
    mask = np.array([False, True, False])
    np.testing.assert_array_equal(*(env.reset(options=bounds | {"reset_mask": mask})[0] for env in (vector, serial)))
    for wrong in ({"low": 1.0}, {"low": "left"}, {"high": None}, {"low": np.nan}):
        with pytest.raises(ValueError, match=r"must be (at most high|numbers), got"):
            env.reset(options=wrong)
    with pytest.raises(ValueError, match=r"unknown reset options \['low'\]: GridWorld takes none"):
        make("rlkit/GridWorld-v0").reset(options={"low": 0.0})


@pytest.mark.parametrize("parameters", [{}, {"map": ["S..", ".#G"], "slip": 0.3, "max_steps": 9, "starts": [(0, 1)]}])
def test_a_grid_world_has_gymnasiums_table(parameters: dict[str, Any]) -> None:
    env = make("rlkit/GridWorld-v0", **parameters)
    mdp, own = TabularMDP.from_gymnasium(env), GridWorld(**parameters).mdp
    assert mdp.max_steps == own.max_steps
    np.testing.assert_array_equal(mdp.start, own.start)
    np.testing.assert_allclose(solve(mdp, 0.9).value, solve(own, 0.9).value, rtol=0, atol=1e-9)
    with pytest.raises(AttributeError, match="CartPole has no transition table: it is not a finite MDP"):
        _ = make("rlkit/CartPole-v1").unwrapped.P
    with pytest.raises(ValueError, match="no transition table P"):
        TabularMDP.from_gymnasium(make("rlkit/CartPole-v1"))


def test_window_opens_without_a_display_and_closes() -> None:
    env = make("rlkit/CartPole-v1", render_mode="human")
    env.reset(seed=0)
    env.step(0)
    assert env.render() is None
    env.close()
    env.close()


def test_rendering_without_a_mode_or_an_episode_says_so() -> None:
    for env in (DynamicsEnv(CartPole()), DynamicsVectorEnv(CartPole(), 2)):
        with pytest.warns(UserWarning, match="no render mode was chosen"):
            assert env.render() is None
    for env in (DynamicsEnv(CartPole(), "rgb_array"), DynamicsVectorEnv(CartPole(), 2, render_mode="rgb_array")):
        with pytest.raises(ResetNeeded, match="nothing to render"):
            env.render()
    with pytest.raises(ValueError, match="render_mode 'human' is not offered: choose from rgb_array"):
        DynamicsVectorEnv(CartPole(), 2, render_mode="human")

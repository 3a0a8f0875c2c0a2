"""Every fault of an environment is named with environment, step and copy, in training and in evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from rlkit.agents import A2C, DQN, PPO, REINFORCE, TabularQ
from rlkit.env_checker import EnvChecker, FaultyEnvironmentError
from rlkit.envs import ForeignEnv
from rlkit.evaluation import evaluate_policy

WIDE = spaces.Box(-np.inf, np.inf, (1,), np.float64)


class Walk(gymnasium.Env):
    """A random walk of 20 steps whose ``fault`` changes what its step ``when`` returns, counted over all episodes."""

    action_space = spaces.Discrete(2)

    def __init__(
        self, fault: Callable[[Any], Any] = lambda result: result, when: int = 3, space: spaces.Space = WIDE
    ) -> None:
        self.fault, self.when, self.observation_space = fault, when, space
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.place = 0, float(self.np_random.random())
        return self.shown(), {}

    def shown(self) -> Any:
        if isinstance(self.observation_space, spaces.Discrete):
            return int(self.place > 0)
        return np.array([self.place], self.observation_space.dtype)

    def step(self, action: Any) -> Any:
        self.steps, self.time = self.steps + 1, self.time + 1
        self.place += (2 * int(action) - 1) * float(self.np_random.random()) / 10
        result = (self.shown(), self.place, False, self.time == 20, {})
        return self.fault(result) if self.steps == self.when else result


def returning(place: int, value: Any) -> Callable[[Any], Any]:
    return lambda result: (*result[:place], value, *result[place + 1 :])


def boom(result: Any) -> Any:
    raise KeyError("boom")


FAULTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "boom": (boom, r"Walk raised KeyError: 'boom' at step 3"),
    "four": (lambda result: result[:4], r"returned a tuple of 4 at step 3 .*step must return \(observation, reward,"),
    "None": (lambda result: None, r"returned a NoneType at step 3 .*step must return \(observation"),
    "list": (list, r"returned a list at step 3 .*step must return \(observation"),
    "info None": (returning(4, None), r"returned info None at step 3 .*must be a dict"),
    "info list": (returning(4, []), r"returned info \[\] at step 3 .*must be a dict"),
    "terminated None": (returning(2, None), r"returned terminated None at step 3 .*must be True or False"),
    "terminated no": (returning(2, "no"), r"returned terminated 'no' at step 3 .*must be True or False"),
    "terminated nan": (returning(2, np.nan), r"returned terminated nan at step 3 .*must be True or False"),
    "terminated 2": (returning(2, 2), r"returned terminated 2 at step 3 .*must be True or False"),
    "terminated [False]": (returning(2, np.zeros(1, bool)), r"returned terminated array.* at step 3 .*True or False"),
    "truncated 0.0": (returning(3, 0.0), r"returned truncated 0.0 at step 3 .*must be True or False"),
    "reward str": (returning(1, "1.5"), r"returned reward '1.5' at step 3 .*must be one number"),
    "reward None": (returning(1, None), r"returned reward None at step 3 .*must be one number"),
    "reward nan": (returning(1, np.nan), r"returned reward nan at step 3 .*not a finite number"),
    "reward 1e39": (returning(1, 1e39), r"returned reward 1e\+39 at step 3 .*not a finite number in float32"),
    "reward inf": (returning(1, np.float32(-np.inf)), r"returned reward -inf at step 3 .*not a finite number"),
    "reward pair": (returning(1, np.ones(2)), r"returned reward array\(\[1., 1.\]\) at step 3 .*must be one number"),
    "reward complex": (returning(1, 1j), r"returned reward 1j at step 3 .*must be one number"),
    "obs nan": (returning(0, np.array([np.nan])), r"returned observation \[nan\] at step 3 .*not a finite element"),
    "obs 1e300": (returning(0, np.array([1e300])), r"observation \[1.e\+300\] at step 3 .*not a finite element of Box"),
}
ACCEPTED = {
    "numpy flags": returning(2, np.bool_(False)),
    "array flags": returning(3, np.array(False)),
    "integer reward": returning(1, 1),
    "bool reward": returning(1, np.bool_(True)),
    "array reward": returning(1, np.ones(1, np.float16)),
    "integer observation": returning(0, np.array([3])),
    "tensor observation": returning(0, torch.ones(1)),
}
SHAPES: dict[str, tuple[Any, str]] = {
    "shape": (np.zeros(2), r"an observation of float64 \(2,\) at step 3|observations of float64 \(2,\) at"),
    "dict": ({"a": 1.0}, r"observations? of object"),
    "None": (None, r"observations? of object"),
    "str": (np.array(["left"]), r"observations? of <U4"),
    "ragged": ([[1.0], [1.0, 2.0]], r"observations? of object"),
}


class Still:
    """A model that always takes action 0."""

    def predict(self, observation: Any, state: Any = None, **options: Any) -> tuple[Any, Any]:
        return np.zeros(len(observation), dtype=np.int64), state


@pytest.mark.parametrize("kind", [*FAULTS, *SHAPES])
def test_every_fault_is_named_with_environment_step_and_copy(kind: str) -> None:
    fault, message = FAULTS[kind] if kind in FAULTS else (returning(0, SHAPES[kind][0]), SHAPES[kind][1])
    made = iter([Walk(), Walk(fault)])
    with pytest.raises(FaultyEnvironmentError, match=message) as caught:
        DQN(lambda: next(made), seeds=[7], num_envs=2, device="cpu", net_arch=(16,), learning_starts=4).learn(20)
    assert "step 3 of episode 0, seed 7 (row 0), copy 1" in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError) == (kind == "boom")
    with pytest.raises(FaultyEnvironmentError, match=message) as caught:
        evaluate_policy(Still(), Walk(fault), 2, seed=50)
    assert "Walk " in str(caught.value)
    assert "step 3 after reset(seed=50)" in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError) == (kind == "boom")


@pytest.mark.parametrize("kind", ACCEPTED)
def test_other_types_of_the_same_values_are_taken(kind: str) -> None:
    env = ForeignEnv(lambda: Walk(ACCEPTED[kind]), [0])
    steps = [env.step(torch.zeros(1, 1, dtype=torch.int64)) for _ in range(4)]
    if "reward" in kind:
        assert steps[2].reward.item() == 1.0
    if "observation" in kind:
        assert steps[2].next_obs.item() == {"integer observation": 3.0, "tensor observation": 1.0}[kind]
    assert not any(step.done.any() for step in steps)
    evaluate_policy(Still(), Walk(ACCEPTED[kind]), 2)


@pytest.mark.parametrize("result", [None, np.zeros(1), (np.zeros(1),), (np.zeros(1), None), [np.zeros(1), {}]])
def test_a_faulty_reset_is_named(result: Any) -> None:
    class Faulty(Walk):
        def reset(self, **_: Any) -> Any:
            return result

    message = r"Faulty returned .* at step 0 .*(reset must return a pair|must be a dict)"
    with pytest.raises(FaultyEnvironmentError, match=message):
        DQN(Faulty, device="cpu")
    with pytest.raises(FaultyEnvironmentError, match=message):
        evaluate_policy(Still(), Faulty(), 1)


@pytest.mark.parametrize("kind", [SyncVectorEnv, DummyVecEnv])
def test_faults_in_vector_environments_are_named(kind: Any) -> None:
    for name in ("boom", "reward nan", "reward 1e39", "obs nan", "obs 1e300"):
        fault, message = FAULTS[name]
        env = kind([Walk, lambda fault=fault: Walk(fault)])
        at_copy = "" if name == "boom" else r"(seed=51\), copy 1)"
        value = "inf" if (name, kind) == ("reward 1e39", DummyVecEnv) else ""  # DummyVecEnv's rewards are float32
        wanted = (message.split(" at step")[0] if not value else "reward inf") + r" at step 3 after reset.*" + at_copy
        with pytest.raises(FaultyEnvironmentError, match=wanted), np.errstate(over="ignore"):
            evaluate_policy(Still(), env, 2, seed=50)


def test_an_observation_outside_its_box_is_warned_of_once_and_used() -> None:
    narrow = spaces.Box(-10.0, 10.0, (1,), np.float32)
    env = ForeignEnv(lambda: Walk(returning(0, np.array([1000.0], np.float32)), space=narrow), [4])
    action = torch.zeros(1, 1, dtype=torch.int64)
    env.step(action)
    env.step(action)
    where = r"Walk returned observation \[1000.\] at step 3 of episode 0, seed 4 \(row 0\), copy 0, .* wider bounds"
    with pytest.warns(RuntimeWarning, match=where) as warned:
        assert env.step(action).next_obs.item() == 1000.0
    assert len(warned) == 1
    env.step(action)
    with pytest.warns(RuntimeWarning, match=r"observation \[1000.\] at step 3 after reset"):
        evaluate_policy(Still(), Walk(returning(0, np.array([1000.0], np.float32)), space=narrow), 1)


@pytest.mark.parametrize(
    ("space", "sound", "faulty"),
    [
        (spaces.Discrete(3, start=1), [1, 3], [0, 4]),
        (spaces.MultiDiscrete([2, 3]), [[1, 2], [0, 0]], [[2, 0], [0, -1]]),
        (spaces.MultiBinary(2), [[0, 1]], [[2, 0], [0, -1]]),
        (spaces.Box(0, 255, (2,), np.uint8), [[0, 255]], []),
        (spaces.Box(-np.inf, np.inf, (2,)), [[3e38, -3e38]], [[np.inf, 0], [0, np.nan], [0, -np.inf]]),
    ],
)
def test_elements_of_numeric_spaces(space: spaces.Space, sound: list[Any], faulty: list[Any]) -> None:
    checker = EnvChecker("Mine", space, lambda copy: f"copy {copy}")
    checker.check_observations(np.array(sound, space.dtype))
    for value in faulty:
        batch = np.array([*sound, value], space.dtype)
        with pytest.raises(FaultyEnvironmentError, match=f"at copy {len(sound)}: not a finite element"):
            checker.check_observations(batch)


def test_parts_of_dict_and_tuple_spaces_are_checked() -> None:
    space = spaces.Dict(a=spaces.Box(-np.inf, np.inf, (1,)), b=spaces.Tuple([spaces.Discrete(2), spaces.Text(3)]))
    checker = EnvChecker("Mine", space, lambda copy: f"copy {copy}")
    ones = np.ones((2, 1), np.float32)
    checker.check_observations({"a": ones, "b": (np.array([0, 1]), ("left", "up"))})
    with pytest.raises(FaultyEnvironmentError, match=r"observation \[nan\] at copy 1"):
        checker.check_observations({"a": ones * [[1], [np.nan]], "b": (np.array([0, 1]), ("left", "up"))})
    with pytest.raises(FaultyEnvironmentError, match=r"observation 2 at copy 0: not a finite element of Discrete"):
        checker.check_observations({"a": ones, "b": (np.array([2, 1]), ("left", "up"))})


# A faulty copy freezes its row, and no other

SMALL: dict[type, dict[str, Any]] = {
    DQN: {"net_arch": (16,), "learning_starts": 20, "train_freq": 1, "batch_size": 16},
    A2C: {"net_arch": (16,)},
    PPO: {"net_arch": (16,), "n_steps": 16, "batch_size": 16},
    REINFORCE: {"net_arch": (16,), "n_steps": 24},
    TabularQ: {},
}


def trained(algorithm: type, faulty_copy: int | None, steps: int = 150, fault: Any = boom, when: int = 57) -> Any:
    """Three seeds of two copies, of which one breaks at its step 57: environment 2 is the first copy of row 1."""
    space = spaces.Discrete(2) if algorithm is TabularQ else WIDE
    made = iter([Walk(fault, when if number == faulty_copy else -1, space) for number in range(6)])
    agent = algorithm(lambda: next(made), seeds=[4, 5, 6], num_envs=2, device="cpu", **SMALL[algorithm])
    return agent.learn(steps)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", SMALL)
def test_the_row_of_a_faulty_copy_is_frozen_and_the_others_go_on(algorithm: type) -> None:
    clean = trained(algorithm, None)
    with pytest.warns(RuntimeWarning) as warned:
        agent = trained(algorithm, 2)
    assert len(warned) == 1
    message = str(warned[0].message)
    assert message.startswith("seed 5 was frozen at step 1")
    assert "and the other seeds continued: Walk raised KeyError: 'boom' at step 17" in message
    assert "episode 2, seed 5 (row 1), copy 0" in message
    assert agent.active.tolist() == [True, False, True]
    for name, network in agent.networks.items():
        assert torch.equal(network.flat[[0, 2]], clean.networks[name].flat[[0, 2]])
        assert torch.isfinite(network.flat).all()
    assert not torch.equal(agent.score_network.flat[1], clean.score_network.flat[1])
    for name, values in agent.history.items():
        np.testing.assert_array_equal(values[:, [0, 2]], clean.history[name][:, [0, 2]])
    assert np.nansum(agent.history["episodes"][:, 1], axis=0) == 4  # two of each copy


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["obs nan", "reward nan", "terminated None"])
def test_every_kind_of_fault_freezes_its_row(fault: str) -> None:
    clean = trained(A2C, None)
    with pytest.warns(RuntimeWarning, match="seed 5 was frozen at step 120 because of its environment") as warned:
        agent = trained(A2C, 3, fault=FAULTS[fault][0])
    assert len(warned) == 1
    assert "(row 1), copy 1" in str(warned[0].message)
    assert torch.equal(agent.score_network.flat[[0, 2]], clean.score_network.flat[[0, 2]])


def test_training_ends_with_an_error_once_every_row_is_frozen() -> None:
    made = iter([Walk(boom, when) for when in (30, 9, 50)])
    agent = A2C(lambda: next(made), seeds=[4, 5, 6], device="cpu", net_arch=(16,))
    with pytest.raises(FaultyEnvironmentError, match=r"'boom' at step 10 of episode 2, seed 6 \(row 2\)") as caught:
        agent.learn(100)
    assert isinstance(caught.value.__cause__, KeyError)
    assert agent.active.tolist() == [False, False, True]
    assert [str(divergence)[:25] for divergence in agent.divergences] == [
        "seed 4 was frozen at step",
        "seed 5 was frozen at step",
    ]


@pytest.mark.slow
def test_a_row_can_be_frozen_from_its_first_reset_on() -> None:
    class Stillborn(Walk):
        def reset(self, **_: Any) -> Any:
            raise OSError("no such level")

    clean = DQN(Walk, seeds=[4, 6], device="cpu", net_arch=(16,), learning_starts=20).learn(40)
    made = iter([Walk(), Stillborn(), Walk()])
    agent = DQN(lambda: next(made), seeds=[4, 5, 6], device="cpu", net_arch=(16,), learning_starts=20)
    with pytest.warns(RuntimeWarning, match="seed 5 was frozen .* OSError: no such level at step 0 of episode 0"):
        agent.learn(40)
    assert torch.equal(agent.score_network.flat[[0, 2]], clean.score_network.flat)
    made = iter([Stillborn(), Stillborn()])
    with pytest.raises(FaultyEnvironmentError, match="no such level"):
        DQN(lambda: next(made), seeds=[4, 5], device="cpu")


def test_an_environment_of_ones_own_still_raises() -> None:
    env = ForeignEnv(lambda: Walk(boom, 2), [0, 1])
    env.step(torch.zeros(2, 1, dtype=torch.int64))
    with pytest.raises(FaultyEnvironmentError, match="boom"):
        env.step(torch.zeros(2, 1, dtype=torch.int64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frozen = ForeignEnv(lambda: Walk(boom, 2), [0], freeze_rows=True)
        frozen.step(torch.zeros(1, 1, dtype=torch.int64))
        with pytest.raises(FaultyEnvironmentError, match="boom"):
            frozen.step(torch.zeros(1, 1, dtype=torch.int64))

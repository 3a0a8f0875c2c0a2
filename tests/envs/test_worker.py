"""Environments in worker processes: the same bits, and a step that takes too long is a fault of its row alone."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from foreign_envs import Exiting, Hanging, Raising, Walk20

from rlkit.agents import A2C, DQN, PPO, TabularQ, resume
from rlkit.env_checker import FaultyEnvironmentError
from rlkit.envs import ForeignEnv, make
from rlkit.envs.foreign import episode_seed

LONG = 60.0  # seconds that no step takes
ODD = next(seed for seed in range(100) if episode_seed(seed, 0, 0) % 2 and not episode_seed(seed, 1, 0) % 2)
EVEN = [seed for seed in range(100) if not episode_seed(seed, 0, 0) % 2 and not episode_seed(seed, 1, 0) % 2][:2]


def gone(pid: int) -> bool:
    """Whether there is no such process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def assert_no_worker_is_left() -> None:
    gc.collect()
    assert multiprocessing.active_children() == []


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Taxi-v4", "FrozenLake-v1"])
def test_the_transitions_are_those_of_environments_in_this_process(env_id: str) -> None:
    here, there = (
        make(env_id, seeds=[3, 8], num_envs=2, backend="gymnasium", step_timeout=limit) for limit in (None, LONG)
    )
    assert (here.observation_space, here.action_space) == (there.observation_space, there.action_space)
    assert here.max_episode_steps == there.max_episode_steps
    actions = np.random.default_rng(0).integers(int(here.action_space.n), size=(60, 2, 2))
    for action in torch.from_numpy(actions):
        for one, other in zip(here.step(action), there.step(action), strict=True):
            assert one is other is None or (torch.equal(one, other) and one.dtype == other.dtype)
        assert torch.equal(here.obs, there.obs)
    there.close()  # type: ignore[attr-defined]
    there.close()  # type: ignore[attr-defined]
    assert_no_worker_is_left()


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "env"), [(DQN, "CartPole-v1"), (A2C, "Acrobot-v1"), (TabularQ, "Taxi-v4")])
def test_training_is_the_same_to_the_bit_and_is_resumed(algorithm: type[Any], env: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"learning_starts": 30} if algorithm is DQN else {}

    def fresh(limit: float | None) -> Any:
        return algorithm(env, seeds=[1, 2], device="cpu", backend="gymnasium", step_timeout=limit, **settings)

    here, there = fresh(None).learn(50).learn(50), fresh(LONG).learn(50)
    there.checkpoint(tmp_path / "run.safetensors")
    again = resume(tmp_path / "run.safetensors", device="cpu")
    assert again.source.step_timeout == LONG
    for agent in (there.learn(50), again.learn(50)):
        assert torch.equal(agent.score_network.flat, here.score_network.flat)
        assert torch.equal(agent.env.obs, here.env.obs)
    np.testing.assert_array_equal(again.evaluate(2), here.evaluate(2))
    assert again[0].source == again.source
    del there, again, agent
    assert_no_worker_is_left()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Hanging, "Hanging did not answer within 1 s"),
        (Exiting, r"Exiting ended its process \(exit code 3\)"),
        (Raising, "Raising raised RuntimeError: LocalError: boom"),
    ],
)
def test_a_row_whose_environment_fails_is_frozen_and_the_others_go_on(kind: type[Hanging], why: str) -> None:
    settings: dict[str, Any] = {"num_envs": 2, "device": "cpu", "net_arch": (16,), "n_steps": 5}
    clean = A2C(kind, seeds=EVEN, **settings).learn(100)
    agent = A2C(kind, seeds=[EVEN[0], ODD, EVEN[1]], step_timeout=1.0, **settings)
    processes = [agent.env._envs[place]._worker.process for place in (0, 2, 4)]
    pids = [process.pid for process in processes]
    with pytest.warns(RuntimeWarning, match=rf"seed {ODD} was frozen at step 20 .*{why}") as warned:
        agent.learn(100)
    assert len(warned) == 1
    assert f"step 7 of episode 0, seed {ODD} (row 1), copy 0" in str(warned[0].message)
    assert agent.active.tolist() == [True, False, True]
    for name, network in agent.networks.items():
        assert torch.equal(network.flat[[0, 2]], clean.networks[name].flat)
    for name, values in agent.history.items():
        np.testing.assert_array_equal(values[:, [0, 2]], clean.history[name])
    assert gone(pids[1]) == (kind is not Raising)  # killed at once
    del agent, processes
    assert_no_worker_is_left()
    assert all(map(gone, pids))


@pytest.mark.slow
def test_without_other_rows_a_hanging_environment_is_an_error() -> None:
    agent = PPO(Hanging, seeds=[ODD], device="cpu", n_steps=16, batch_size=16, step_timeout=0.5)
    began = time.monotonic()
    with pytest.raises(FaultyEnvironmentError, match=rf"did not answer within 0.5 s at step 7 .*seed {ODD} "):
        agent.learn(100)
    assert time.monotonic() - began < 30.0  # a hang guard
    del agent
    assert_no_worker_is_left()


@pytest.mark.slow
def test_a_function_that_fails_or_that_no_process_can_have_is_named() -> None:
    with pytest.raises(ValueError, match=r"make_one returned <class 'str'>: it must make a gymnasium.Env"):
        ForeignEnv(lambda: "CartPole-v1", [0], step_timeout=LONG)  # type: ignore[arg-type,return-value]
    with pytest.raises(KeyError, match="boom"):
        ForeignEnv(lambda: {}["boom"], [0], step_timeout=LONG)
    lock = multiprocessing.Lock()
    with pytest.raises(ValueError, match=r"step_timeout needs environments that another process can make, .* pickled"):
        ForeignEnv(lambda: (lock, Walk20())[1], [0], step_timeout=LONG)
    with pytest.raises(FaultyEnvironmentError, match=r"makes environments ended its process \(exit code 5\)"):
        ForeignEnv(lambda: os._exit(5), [0], step_timeout=LONG)  # type: ignore[arg-type,return-value]
    for wrong in (0, -1.0, float("nan"), float("inf"), "5"):
        for env in (Walk20, "CartPole-v1"):
            with pytest.raises(ValueError, match=rf"step_timeout must be a number of seconds above 0.* got {wrong!r}"):
                make(env, step_timeout=wrong)  # type: ignore[arg-type]
    assert_no_worker_is_left()


@pytest.mark.slow
def test_an_agent_with_workers_says_how_to_copy_it() -> None:
    agent = A2C("FrozenLake-v1", device="cpu", step_timeout=LONG)
    with pytest.raises(TypeError, match="write a checkpoint and resume it"):
        copy.deepcopy(agent)


@pytest.mark.slow
def test_an_id_that_only_this_process_has_registered_is_made() -> None:
    gymnasium.register("tests/Walk20-v3", entry_point=Walk20, max_episode_steps=4)
    try:
        env = make("tests/Walk20-v3", seeds=1, step_timeout=LONG)
        assert env.max_episode_steps == 4
        assert [env.step(torch.zeros(1, 1, dtype=torch.int64)).truncated.item() for _ in range(4)] == [0, 0, 0, 1]
    finally:
        del gymnasium.registry["tests/Walk20-v3"]


@pytest.mark.slow
def test_workers_end_with_a_killed_parent_even_while_an_environment_hangs(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import time
        import gymnasium
        from rlkit.envs import ForeignEnv

        class Sleeper(gymnasium.Env):
            action_space = gymnasium.spaces.Discrete(2)
            observation_space = gymnasium.spaces.Discrete(2)

            def reset(self, **_):
                return 0, {{}}

            def step(self, action):
                while True:
                    time.sleep(3600)

        if __name__ == "__main__":
            env = ForeignEnv(Sleeper, [0], step_timeout={LONG})
            print(env._envs[0]._worker.process.pid, flush=True)
            import torch
            env.step(torch.zeros(1, 1, dtype=torch.int64))
        """),
        encoding="utf-8",
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(300):
        if gone(pid):
            break
        time.sleep(0.1)
    assert gone(pid)


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_what_it_needs(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        'from rlkit.envs import make\nmake("FrozenLake-v1", seeds=1, step_timeout=60)\n', encoding="utf-8"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 1
    assert 'with step_timeout a script needs if __name__ == "__main__": around' in done.stderr


@pytest.mark.slow
def test_no_process_is_made_without_a_limit() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make("FrozenLake-v1", seeds=2)
    assert_no_worker_is_left()

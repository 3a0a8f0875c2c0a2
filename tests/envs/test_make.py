"""Ids, ids with a module, and specs, wherever gymnasium.make takes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch
from gymnasium.wrappers import TransformReward
from source_tree import ROOT

import rlkit.envs
from rlkit.agents import DQN
from rlkit.agents import load as load_agent
from rlkit.envs import BatchedEnv, ForeignEnv, find_dynamics, registered_id

MY_MODULE = """
import gymnasium
from gymnasium import spaces

class My(gymnasium.Env):
    observation_space = spaces.Box(-1.0, 1.0, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self, first=0.5):
        self.first = first

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.low * 0 + self.first, {}

    def step(self, action):
        return self.observation_space.low * 0, 1.0, True, False, {}

gymnasium.register("My-v0", My)
"""


@pytest.fixture
def my_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that registers ``My-v0`` when it is imported, and its name."""
    (tmp_path / "module_of_a_user.py").write_text(MY_MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield "module_of_a_user"
    gymnasium.registry.pop("My-v0", None)
    sys.modules.pop("module_of_a_user", None)


def test_a_module_before_the_id_is_imported(my_module: str, tmp_path: Path) -> None:
    assert "My-v0" not in gymnasium.registry
    env = rlkit.envs.make(f"{my_module}:My-v0", seeds=[0, 1], num_envs=2, env_kwargs={"first": 0.25})
    assert isinstance(env, ForeignEnv)
    assert (env.obs == 0.25).all()
    assert registered_id(f"{my_module}:My-v0") == "My-v0"
    agent = DQN(f"{my_module}:My-v0", device="cpu", net_arch=(16,), learning_starts=20).learn(50)
    assert agent.evaluate(3).tolist() == [[1.0, 1.0, 1.0]]
    agent.save(tmp_path / "policy")
    del gymnasium.registry["My-v0"]
    del sys.modules[my_module]
    with pytest.raises(
        ValueError, match="loading a file imports no module: import module_of_a_user first, or pass env="
    ):
        load_agent(tmp_path / "policy", device="cpu")
    assert my_module not in sys.modules
    loaded = load_agent(tmp_path / "policy", env=f"{my_module}:My-v0", device="cpu")
    assert loaded.evaluate(2).tolist() == [[1.0, 1.0]]


def test_a_spec_is_taken_as_by_gymnasium(my_module: str) -> None:
    __import__(my_module)
    spec = gymnasium.make("My-v0", first=-0.5).spec
    assert spec is not None
    assert (rlkit.envs.make(spec, num_envs=3).obs == -0.5).all()
    assert (rlkit.envs.make(spec, num_envs=3, env_kwargs={"first": 0.75}).obs == 0.75).all()
    assert registered_id(spec) == "My-v0"
    assert DQN(spec, device="cpu", net_arch=(16,)).evaluate(2).tolist() == [[1.0, 1.0]]


def test_the_spec_of_a_registered_environment_is_its_id() -> None:
    of_id = rlkit.envs.make("CartPole-v1", seeds=[3], num_envs=2)
    for spec in (gymnasium.spec("CartPole-v1"), gymnasium.make("CartPole-v1", render_mode="rgb_array").spec):
        env = rlkit.envs.make(spec, seeds=[3], num_envs=2)  # type: ignore[arg-type]
        assert isinstance(env, BatchedEnv)
        assert torch.equal(env.obs, of_id.obs)
        assert DQN(spec, device="cpu").config == DQN("CartPole-v1", device="cpu").config
    paid = gymnasium.make("CartPole-v1", sutton_barto_reward=True).spec
    dynamics: Any = find_dynamics(paid)  # type: ignore[arg-type]
    assert dynamics.sutton_barto_reward


def test_a_spec_with_wrappers_or_another_limit_is_not_replaced_by_its_twin() -> None:
    shorter = gymnasium.make("CartPole-v1", max_episode_steps=7).spec
    wrapped = TransformReward(gymnasium.make("CartPole-v1"), tenfold).spec
    for spec, limit, reward in ((shorter, 7, 1.0), (wrapped, 500, 10.0)):
        assert find_dynamics(spec) is None  # type: ignore[arg-type]
        env = rlkit.envs.make(spec)  # type: ignore[arg-type]
        assert isinstance(env, ForeignEnv)
        assert env.max_episode_steps == limit
        assert env.step(torch.zeros(1, 1, dtype=torch.int64)).reward.item() == reward


def tenfold(reward: Any) -> float:
    return 10.0 * float(reward)


def test_an_unknown_module_or_id_is_named() -> None:
    with pytest.raises(ValueError, match=r"'nowhere:My-v0' names the module 'nowhere', .* No module named 'nowhere'"):
        rlkit.envs.make("nowhere:My-v0")
    with pytest.raises(ValueError, match=r"unknown environment 'rlkit/GridWrld-v0': did you mean 'rlkit/GridWorld-v0'"):
        rlkit.envs.make("rlkit:rlkit/GridWrld-v0")


@pytest.mark.slow
def test_rlkits_ids_are_found_with_rlkit_as_module_where_nothing_has_imported_it() -> None:
    code = """
import gymnasium, sys
print(gymnasium.make("rlkit:rlkit/CartPole-v1").reset(seed=1)[1])
for name in [name for name in sys.modules if name.split(".")[0] == "rlkit"]:
    del sys.modules[name]
gymnasium.registry.clear()
print(gymnasium.make("rlkit:rlkit/GridWorld-v0").reset(seed=1)[1])
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT.parent, capture_output=True, encoding="utf-8", check=False)
    assert (done.stdout, done.stderr) == ("{}\n{}\n", "")


@pytest.mark.parametrize("env_id", ["rlkit/CartPole-v1", "rlkit/GridWorld-v0"])
def test_rlkits_ids_are_taken_with_rlkit_as_module(env_id: str) -> None:
    assert isinstance(rlkit.envs.make(f"rlkit:{env_id}"), BatchedEnv)
    assert registered_id(f"rlkit:{env_id}") == {"rlkit/CartPole-v1": "CartPole-v1"}.get(env_id, env_id)

"""Presets know their environments, and the tuned solve what they were tuned for on seeds that had no part in it."""

import gymnasium
import pytest

from rlkit.agents import A2C, ALGORITHMS, DQN, PPO, REINFORCE, TabularQ
from rlkit.agents.presets import TUNED_DQN_CARTPOLE, TUNED_PPO_GRIDWORLD
from rlkit.envs import CartPole, GridWorld, TabularDynamics, registered_id

AGENTS = tuple(ALGORITHMS.values())
EVERY = pytest.mark.parametrize("algorithm", AGENTS, ids=lambda algorithm: algorithm.__name__)


def holds(agent, values):
    return all(getattr(agent.config, name) == value for name, value in values.items() if name != "num_envs")


def test_a_preset_knows_a_twin_and_dynamics_by_their_id():
    for env in ("CartPole-v1", "rlkit/CartPole-v1", CartPole()):
        assert registered_id(env) == "CartPole-v1"
        assert holds(DQN(env, device="cpu", preset="tuned"), TUNED_DQN_CARTPOLE)
    for env in ("rlkit/GridWorld-v0", GridWorld("cliff", observation="coordinates")):
        agent = PPO(env, device="cpu", preset="tuned")
        assert holds(agent, TUNED_PPO_GRIDWORLD)
        assert agent.env.num_envs == 8


@EVERY
def test_a_preset_without_the_environment_is_refused(algorithm):
    lake, dynamics = "FrozenLake-v1", TabularDynamics(GridWorld("frozenlake-4x4").mdp)
    for env in (lake, dynamics, lambda: gymnasium.make(lake)):
        with pytest.raises(ValueError, match=r"preset 'tuned' has nothing for .* only for .*leave it out"):
            algorithm(env, device="cpu", preset="tuned")
        assert algorithm(env, device="cpu", preset="sb3").config == algorithm(env, device="cpu").config
    with pytest.raises(ValueError, match="rl-zoo"):
        algorithm(lake, device="cpu", preset="rl-zoo")


@EVERY
def test_every_preset_makes_its_agent(algorithm):
    for name, by_env in algorithm.presets.items():
        for env, values in by_env.items():
            if env != "*":
                agent = algorithm(env, device="cpu", preset=name)
                assert holds(agent, values)
                assert agent.env.num_envs == values.get("num_envs", 1)


def test_presets_for_an_environment():
    assert DQN.presets_for("CartPole-v1") == ("sb3", "rl-zoo", "tuned")
    assert DQN.presets_for("FrozenLake-v1") == ("sb3",)
    assert TabularQ.presets_for("rlkit/GridWorld-v0") == ("sb3", "tuned")
    assert PPO.presets_for(CartPole()) == ("sb3", "rl-zoo", "tuned")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "steps", "seeds", "least"), [(DQN, 50_000, 2, 2), (A2C, 300_000, 4, 3), (REINFORCE, 300_000, 4, 3)]
)
def test_the_tuned_preset_solves_cartpole(algorithm, steps, seeds, least):
    """That of PPO does in ``tests/test_docs.py``, with each of four seeds of the quickstart."""
    agent = algorithm("CartPole-v1", seeds=range(50, 50 + seeds), device="cpu", preset="tuned").learn(steps)
    returns = agent.evaluate(100).mean(axis=1)
    assert (returns >= 475).sum() >= least, returns

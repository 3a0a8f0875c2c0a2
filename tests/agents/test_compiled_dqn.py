"""DQN on the compiled engine: the arithmetic of the torch engine, held to it in float64."""

import numpy as np
import pytest
import torch

from rlkit.agents import DQN
from rlkit.envs import GridWorld

SMALL = {
    "learning_rate": 1e-3,
    "learning_starts": 20,
    "batch_size": 16,
    "train_freq": 8,
    "gradient_steps": 3,
    "target_update_interval": 24,
    "net_arch": (32, 20),
    "buffer_size": 90,
}

OPTIONS = [
    {},
    {"loss": "squared", "max_grad_norm": 0.05, "learning_rate_schedule": "linear"},
    {"n_steps": 3, "gamma": [0.9, 0.5]},
    {"double": True, "tau": 0.3},
    {"dueling": True, "activation": "tanh"},
    {"priority_exponent": [0.6, 1.0], "priority_beta": [0.4, 0.0]},
    {"priority_exponent": [0.0, 0.6], "n_steps": 2},
    {"target_clock": "updates", "target_update_interval": 2},
    {"replay": False},
    {"single_coin": True, "gradient_steps": -1},
    {"normalize_observations": True},
    {"normalize_rewards": True, "n_steps": 4},
    {"normalize_rewards": True, "normalize_observations": True},
    {"double": True, "dueling": True, "priority_exponent": 0.5, "n_steps": 2, "net_arch": (40,), "loss": "squared"},
]


def trained(engine, steps=120, env="CartPole-v1", **settings):
    made_with = {"seeds": 2, "num_envs": 2, "device": "cpu", "_dtype": torch.float64}
    agent = DQN(env, engine=engine, **{**made_with, **SMALL, **settings})
    assert agent.engine.name == engine
    return agent.learn(steps)


def assert_equal_runs(ours, theirs):
    """The parameters, the moments, the memory, the streams and the log of two runs."""
    for name, tensor in {
        "online": theirs.network.flat,
        "target": theirs.target_network.flat,
        **theirs.optimizer.state_dict(),
        **theirs.memory.state_dict(),
    }.items():
        found = {
            "online": ours.network.flat,
            "target": ours.target_network.flat,
            **ours.optimizer.state_dict(),
            **ours.memory.state_dict(),
        }[name]
        assert found.dtype == tensor.dtype
        torch.testing.assert_close(found, tensor, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")
    assert (ours.explore.step, ours._sample.step, ours._updates) == (
        theirs.explore.step,
        theirs._sample.step,
        theirs._updates,
    )
    assert ours.active.tolist() == theirs.active.tolist()
    assert list(ours.history) == list(theirs.history)
    for name, logged in theirs.history.items():
        np.testing.assert_allclose(ours.history[name], logged, rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_a_training_is_that_of_the_torch_engine(settings):
    ours, theirs = (trained(engine, **settings) for engine in ("compiled", "torch"))
    assert ours.optimizer.steps.min() > 10
    assert_equal_runs(ours, theirs)


ENVS = [
    (GridWorld("frozenlake-4x4"), {"double": True}),
    (GridWorld("frozenlake-4x4", observation="onehot"), {}),
    ("rlkit/probe-truncation", {}),
    ("Acrobot-v1", {"num_envs": 1}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("env", "settings"), ENVS, ids=str)
def test_a_training_in_other_environments_is_that_of_the_torch_engine(env, settings):
    """Tables seen by index and by features, and a foreign environment."""
    ours, theirs = (trained(engine, env=env, **settings) for engine in ("compiled", "torch"))
    assert ours.optimizer.steps.min() > 10
    assert_equal_runs(ours, theirs)

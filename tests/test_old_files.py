"""Files of version 0.1.0, written before the tree was rearranged: policies load, runs resume and end as they did."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rlkit.agents import ALGORITHMS, load, resume
from rlkit.agents.core.serialization import POLICY
from rlkit.checkpoint import load_tensors, save_tensors

DATA = Path(__file__).resolve().parent / "data" / "0.1.0"
OLD_NAMES = {"normalizer": "normaliser"}
ALL = pytest.mark.parametrize("name", ["dqn", "a2c", "ppo", "reinforce", "tabularq"])


@pytest.mark.slow
@ALL
def test_a_policy_of_before_loads(name):
    agent = load(DATA / f"{name}_policy.safetensors", device="cpu")
    assert agent.seeds == (3, 5)
    assert agent.num_timesteps == 256
    assert agent.evaluate(2).shape == (2, 2)


@pytest.mark.slow
@ALL
def test_a_run_of_before_resumes_and_ends_as_it_did(name):
    agent = resume(DATA / f"{name}_run.safetensors", device="cpu")
    assert (agent.num_timesteps, agent.timesteps_left) == (256, 256)
    agent.learn(agent.timesteps_left)
    finished = load_file(DATA / f"{name}_finished.safetensors")
    for part, network in agent.networks.items():  # another machine may round the last bits differently
        parameters = network.flat[:, network.columns]
        expected = finished[OLD_NAMES.get(part, part)]
        assert torch.isfinite(parameters).all()
        np.testing.assert_allclose(parameters.numpy(), expected.numpy(), rtol=1e-2, atol=1e-3, err_msg=part)


def test_an_option_of_before_is_read_under_its_present_name(tmp_path):
    path = tmp_path / "policy.safetensors"
    options = {"network": "rbf", "network_kwargs": {"centers": 32, "width": 2.0}, "learning_starts": 0}
    agent = ALGORITHMS["DQN"]("CartPole-v1", seeds=2, device="cpu", **options)
    agent.save(path)
    file = load_tensors(path, [POLICY])
    config = file.contents["config"] | {"network_kwargs": {"centres": 32, "width": 2.0}}
    save_tensors(path, file.tensors, POLICY, file.contents | {"config": config})
    loaded = load(path, device="cpu")
    assert loaded.config.network_kwargs == {"centers": 32, "width": 2.0}
    obs = torch.zeros(2, 1, 4)
    assert torch.equal(loaded.scores(obs), agent.scores(obs))

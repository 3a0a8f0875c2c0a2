"""Agents' files that were made to hurt, or broken with care, are refused before they cost anything."""

import numpy as np
import pytest
import torch

from rlkit.agents import DQN, PPO, load, resume
from rlkit.agents.core.serialization import CHECKPOINT, POLICY
from rlkit.checkpoint import load_tensors, save_tensors

SETTINGS = {"learning_starts": 16, "batch_size": 8, "buffer_size": 64, "net_arch": (16,)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    agent = DQN("CartPole-v1", seeds=[3, 8], num_envs=2, device="cpu", **SETTINGS).learn(60)
    agent.save(folder / "policy")
    agent.checkpoint(folder / "run")
    return {name: load_tensors(folder / name, [kind]) for name, kind in (("policy", POLICY), ("run", CHECKPOINT))}


def rewritten(file, path, contents=(), tensors=(), without=()):
    """A file with right digests that holds something else."""
    changed = {**file.contents, **dict(contents)}
    held = {**file.tensors, **dict(tensors)}
    for name in without:
        changed.pop(name, None)
        held.pop(name, None)
    save_tensors(path, held, file.kind, changed)
    return path


HUGE = 10**9
CONTENTS = {
    "no algorithm": {"algorithm": 7},
    "unknown algorithm": {"algorithm": "SAC"},
    "another algorithm": {"algorithm": "PPO"},
    "a billion copies": {"num_envs": HUGE},
    "no copies": {"num_envs": 0},
    "half a copy": {"num_envs": 1.5},
    "copies true": {"num_envs": True},
    "three seeds for two rows": {"seeds": [1, 2, 3]},
    "a million seeds": {"seeds": list(range(1_000_000))},
    "no seeds": {"seeds": []},
    "boolean seeds": {"seeds": [True, False]},
    "negative seeds": {"seeds": [-1, 2]},
    "seeds of text": {"seeds": ["1", "2"]},
    "seeds is a number": {"seeds": 2},
    "timesteps of text": {"num_timesteps": "x"},
    "negative timesteps": {"num_timesteps": -5},
    "timesteps without end": {"num_timesteps": 2**70},
    "timesteps of a float": {"num_timesteps": 1e3},
    "env is a number": {"env": 3},
    "an environment that is none": {"env": "Nonsense-v0"},
    "another environment": {"env": "Acrobot-v1"},
    "env_kwargs is a list": {"env_kwargs": [1]},
    "env_kwargs of another": {"env_kwargs": {"size": 4}},
    "backend is a number": {"backend": 1},
    "unknown backend": {"backend": "magic"},
    "config is a list": {"config": []},
    "config of other names": {"config": {"zzz": 1}},
    "a wide network": {"config": {"net_arch": [HUGE]}},
    "gamma of two": {"config": {"gamma": 2.0}},
    "an unknown entry": {"extra": 1},
    "spaces of others": {"spaces": ["Box(1)", "Discrete(2)"]},
    "spaces is a text": {"spaces": "Box"},
    "diverged of text": {"diverged": ["x"]},
}


@pytest.mark.parametrize("kind", ["policy", "run"])
@pytest.mark.parametrize("contents", CONTENTS.values(), ids=CONTENTS)
def test_contents_that_are_wrong_are_refused(contents, kind, files, tmp_path):
    path = rewritten(files[kind], tmp_path / "file", contents)
    with pytest.raises(ValueError, match=r"^(?s:.{1,1000})$"):  # a sentence, not a dump
        (load if kind == "policy" else resume)(path, device="cpu")


@pytest.mark.parametrize("kind", ["policy", "run"])
@pytest.mark.parametrize("name", ["algorithm", "env", "env_kwargs", "backend", "seeds", "num_envs", "config", "spaces"])
def test_an_entry_that_is_missing_is_named(name, kind, files, tmp_path):
    path = rewritten(files[kind], tmp_path / "file", without=[name])
    with pytest.raises(ValueError, match=name):
        (DQN.load if kind == "policy" else DQN.resume)(path, device="cpu")


POLICY_TENSORS = {
    "one row": lambda q: q[:1],
    "a column fewer": lambda q: q[:, 1:],
    "integers": lambda q: q.to(torch.int32),
    "doubles": lambda q: q.double(),
    "one number": lambda q: q[0, 0],
    "NaN": lambda q: torch.full_like(q, np.nan),
    "one infinity": lambda q: q.index_fill(1, torch.tensor([3]), np.inf),
}


@pytest.mark.parametrize("change", POLICY_TENSORS.values(), ids=POLICY_TENSORS)
def test_parameters_that_are_wrong_are_refused(change, files, tmp_path):
    path = rewritten(files["policy"], tmp_path / "file", tensors={"q": change(files["policy"].tensors["q"])})
    with pytest.raises(ValueError, match=r"parameters|finite|tensors do not fit"):
        load(path, device="cpu")


def test_a_policy_without_its_network_is_refused(files, tmp_path):
    with pytest.raises(ValueError, match="holds no parameters as 'q'"):
        load(rewritten(files["policy"], tmp_path / "file", without=["q"]), device="cpu")


def test_every_tensor_of_a_run_is_needed_and_has_its_shape_and_dtype(files, tmp_path):
    free = ("training_state/log/", "training_state/means/", "training_state/returns/unsummed/")
    names = [name for name in files["run"].tensors if not name.startswith(free)]
    assert len(names) > 20
    for name in names:
        tensor = files["run"].tensors[name]
        for change in (
            {"without": [name]},
            {"tensors": {name: tensor[None]}},
            {"tensors": {name: tensor.to(torch.int16)}},
        ):
            path = rewritten(files["run"], tmp_path / "file", **change)
            with pytest.raises(ValueError, match=r"such a run|memory"):
                resume(path, device="cpu")


@pytest.mark.parametrize("name", ["timesteps", "end", "every", "due"])
@pytest.mark.parametrize("number", [-(2**62), -1, 2**62])
def test_a_clock_that_cannot_be_is_refused(name, number, files, tmp_path):
    path = rewritten(files["run"], tmp_path / "file", tensors={f"training_state/{name}": torch.tensor(number)})
    with pytest.raises(ValueError, match="the clock of the run"):
        resume(path, device="cpu")


def test_a_tensor_of_another_is_refused(files, tmp_path):
    path = rewritten(files["run"], tmp_path / "file", tensors={"more": torch.zeros(3)})
    with pytest.raises(ValueError, match="more is missing or unknown"):
        resume(path, device="cpu")


def test_nothing_is_built_for_a_file_that_is_refused(files, tmp_path, monkeypatch):
    def build(*arguments, **settings):
        raise AssertionError("an environment was made")

    monkeypatch.setattr("rlkit.envs.make", build)
    for contents in ({"num_envs": HUGE}, {"seeds": list(range(100_000))}, {"config": {"net_arch": [HUGE]}}):
        with pytest.raises(ValueError, match="describe"):
            load(rewritten(files["policy"], tmp_path / "file", contents), device="cpu")


def test_a_diverged_row_is_kept_and_named(tmp_path):
    agent = PPO("CartPole-v1", seeds=[1, 2], device="cpu", n_steps=8, batch_size=8, net_arch=(16,))
    agent.actor_critic.flat[1, 3] = np.nan
    agent.save(tmp_path / "file")
    with pytest.raises(ValueError, match=r"not finite as 'policy' in rows \[1\]"):
        load(tmp_path / "file", device="cpu")
    agent.training_state.active[1] = False
    agent.save(tmp_path / "file")
    assert load_tensors(tmp_path / "file", [POLICY]).contents["diverged"] == [2]
    assert load(tmp_path / "file", device="cpu").seeds == (1, 2)

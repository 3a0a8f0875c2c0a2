"""Agents' files that were made to hurt, or broken with care, are refused before they cost anything."""

import dataclasses
import sys
import tracemalloc

import numpy as np
import pytest
import torch

from rlkit.agents import ALGORITHMS, DQN, PPO, load, resume
from rlkit.agents.core.serialization import CHECKPOINT, OF_ANY_SIZE, POLICY
from rlkit.checkpoint import load_tensors, save_tensors

SMALL = {
    "DQN": {"learning_starts": 16, "batch_size": 8, "buffer_size": 64, "net_arch": (16,)},
    "A2C": {"net_arch": (16,)},
    "PPO": {"n_steps": 8, "batch_size": 8, "net_arch": (16,)},
    "REINFORCE": {"n_steps": 16, "net_arch": (16,)},
    "TabularQ": {},
    "WocaRDQN": {"learning_starts": 16, "batch_size": 8, "buffer_size": 64, "net_arch": (16,)},
}
SETTINGS = SMALL["DQN"]


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


ARGUMENTS = {  # environments that a file may ask for, with the arguments of their constructors
    "a map of three million tiles": ("rlkit/GridWorld-v0", {"map": "S" + "." * 3_000_000 + "G"}),
    "a lake of 100,000 tiles": ("FrozenLake-v1", {"desc": ["S" + "F" * 998 + "G"] * 100}),
    "a map of a list": ("rlkit/GridWorld-v0", {"map": [[]]}),
    "tiles of a dictionary": ("rlkit/GridWorld-v0", {"tiles": {"x": {}}}),
    "a map of no name": ("FrozenLake-v1", {"map_name": []}),
    "a missing package": ("GymV26Environment-v0", {}),
    "a module that is not imported": ("antigravity:X-v0", {}),
    "a module of dots": ("..:X", {}),
    "a module that is imported": ("os:X-v0", {}),
    "no name": ("", {}),
    "a long name": ("a" * 100_000, {}),
    "a window": ("CartPole-v1", {"render_mode": "nowhere"}),
}


def agent_files(folder, name):
    """A policy and a run of an algorithm."""
    env = "rlkit/GridWorld-v0" if name == "TabularQ" else "CartPole-v1"
    agent = ALGORITHMS[name](env, seeds=[3, 8], num_envs=2, device="cpu", **SMALL[name]).learn(64)
    agent.save(folder / "policy")
    agent.checkpoint(folder / "run")
    return {kind: load_tensors(folder / kind, [what]) for kind, what in (("policy", POLICY), ("run", CHECKPOINT))}


def refuse(kind, path):
    """Read a file that has to be refused in one sentence, and count what is built for it."""
    with pytest.raises(ValueError, match=r"^[^\n]{1,1000}$"):  # a sentence, not a dump
        (load if kind == "policy" else resume)(path, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["policy", "run"])
@pytest.mark.parametrize("contents", CONTENTS.values(), ids=CONTENTS)
def test_contents_that_are_wrong_are_refused(contents, kind, files, tmp_path):
    refuse(kind, rewritten(files[kind], tmp_path / "file", contents))


@pytest.mark.parametrize("kind", ["policy", "run"])
@pytest.mark.parametrize(("env", "arguments"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_environments_that_cannot_be_made_are_refused(env, arguments, kind, files, tmp_path):
    refuse(kind, rewritten(files[kind], tmp_path / "file", {"env": env, "env_kwargs": arguments}))
    assert "antigravity" not in sys.modules


def test_a_file_imports_no_module_and_says_which_to_import(files, tmp_path, monkeypatch):
    (tmp_path / "harm.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    path = rewritten(files["policy"], tmp_path / "file", {"env": "harm:X-v0"})
    with pytest.raises(ValueError, match=r"import harm first, or pass env='harm:X-v0'"):
        load(path, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_hyperparameters_that_are_wrong_are_refused_for_every_algorithm(name, tmp_path):
    """Every field gets a value of another type, and one that is out of range; nothing large is made for any."""
    held = agent_files(tmp_path, name)
    for kind, file in held.items():
        tracemalloc.start()
        for field in dataclasses.fields(ALGORITHMS[name].config_class):
            for value in ("a" * 10_000, [[1]], {"a": [2]}, [1.0] * 3):
                config = {**file.contents["config"], field.name: value}
                refuse(kind, rewritten(file, tmp_path / "file", {"config": config}))
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_tensor_of_every_algorithm_is_checked(name, tmp_path):
    held = agent_files(tmp_path, name)
    for kind, file in held.items():
        for tensor in [key for key in file.tensors if not key.startswith(OF_ANY_SIZE)]:
            refuse(kind, rewritten(file, tmp_path / "file", tensors={tensor: file.tensors[tensor][None]}))
            if kind == "run" or tensor not in ALGORITHMS[name].saved:  # older policies have none of these
                refuse(kind, rewritten(file, tmp_path / "file", without=[tensor]))
        refuse(kind, rewritten(file, tmp_path / "file", tensors={"zzz/zzz": torch.zeros(1)}))


@pytest.mark.parametrize("name", ["env/state", "_action"])
def test_a_state_or_an_action_that_there_is_not_is_refused(name, tmp_path):
    file = agent_files(tmp_path, "TabularQ")["run"]
    for number in (-1, 16, 2**40):
        refuse("run", rewritten(file, tmp_path / "file", tensors={name: torch.full_like(file.tensors[name], number)}))


COUNTED = {
    "REINFORCE": ["optimizer/steps", "value_optimizer/steps", "_before"],
    "WocaRDQN": ["worst_optimizer/steps", "_updates"],
    "A2C": ["_updates"],
    "PPO": ["optimizer/steps"],
    "TabularQ": ["updates", "env/elapsed"],
}
MOMENTS = {
    "REINFORCE": ["optimizer/first", "value_optimizer/first", "value_optimizer/second"],
    "WocaRDQN": ["worst_optimizer/second", "optimizer/second", "target_network.flat", "worst_target_network.flat"],
    "A2C": ["optimizer/second"],
}


@pytest.mark.parametrize("name", COUNTED)
def test_counts_that_cannot_be_are_refused_for_every_algorithm(name, tmp_path):
    held = agent_files(tmp_path, name)
    for counter in COUNTED[name]:
        tensor = held["run"].tensors[counter]
        for number in (-1, 2**62, *((np.nan,) if tensor.is_floating_point() else ())):
            refuse("run", rewritten(held["run"], tmp_path / "file", tensors={counter: torch.full_like(tensor, number)}))
    if name == "TabularQ":
        updates = torch.full_like(held["policy"].tensors["updates"], -1)
        refuse("policy", rewritten(held["policy"], tmp_path / "file", tensors={"updates": updates}))


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_of_every_optimizer_are_finite_in_rows_that_learn(name, tmp_path):
    file = agent_files(tmp_path, name)["run"]
    for moment in MOMENTS[name]:
        for number in (np.inf, np.nan):
            tensor = file.tensors[moment].clone()
            tensor[-1, 3] = number
            path = rewritten(file, tmp_path / "file", tensors={moment: tensor})
            with pytest.raises(ValueError, match=rf"numbers that are not finite as '{moment}' in rows"):
                resume(path, device="cpu")


REPLAYS = {
    "no observations": lambda memory: memory.pop("memory/replay/obs"),
    "no positions": lambda memory: memory.pop("memory/replay/added"),
    "no flags": lambda memory: memory.pop("memory/replay/flags"),
    "no successors": lambda memory: memory.pop("memory/replay/successors/obs"),
    "a negative position": lambda memory: memory["memory/replay/added"].fill_(-1),
    "another length": lambda memory: cut(memory, "memory/replay/reward", 1),
    "another observation": lambda memory: cut(memory, "memory/replay/obs", 2),
    "rewards in double": lambda memory: cast(memory, "memory/replay/reward", torch.float64),
    "actions in double": lambda memory: cast(memory, "memory/replay/action", torch.float64),
    "flags in double": lambda memory: cast(memory, "memory/replay/flags", torch.float64),
    "a negative count": lambda memory: memory["memory/replay/successors/count"].fill_(-1),
    "a large count": lambda memory: memory["memory/replay/successors/count"].fill_(2**40),
    "successors of another length": lambda memory: cut(memory, "memory/replay/successors/numbers", 1),
    "an action that there is not": lambda memory: memory["memory/replay/action"].fill_(200),
    "a negative step": lambda memory: memory["env/step"].fill_(-1),
    "an episode out of reach": lambda memory: memory["env/episode"].fill_(2**62),
    "a moment that is not finite": lambda memory: memory["optimizer/second"][1].fill_(np.inf),
    "a position out of reach": lambda memory: memory["memory/replay/added"].fill_(2**62),
}


def cut(memory, name, axis):
    memory[name] = memory[name].narrow(axis, 0, memory[name].shape[axis] - 1).contiguous()


def cast(memory, name, dtype):
    memory[name] = memory[name].to(dtype)


@pytest.mark.parametrize("change", REPLAYS.values(), ids=REPLAYS)
def test_a_replay_that_is_wrong_is_refused(change, files, tmp_path):
    tensors = {name: tensor.clone() for name, tensor in files["run"].tensors.items()}
    change(tensors)
    save_tensors(tmp_path / "file", tensors, CHECKPOINT, files["run"].contents)
    refuse("run", tmp_path / "file")


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


@pytest.mark.slow
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

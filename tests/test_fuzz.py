"""Random inputs at the doors: whatever comes, it works or is refused in a sentence."""

import os
import re
import sys
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from rlkit.adversarial import Budget
from rlkit.agents import DQN, load, resume
from rlkit.envs import GridWorld
from rlkit.experiments.cli import COMMANDS, main
from rlkit.mdp import TabularMDP

LONGEST = 2000  # characters of a refusal
numbers = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(), st.booleans(), st.none(), st.text(max_size=3), st.sampled_from([0, 1, 2])
)
nested = st.recursive(numbers, lambda inner: st.lists(inner, max_size=3), max_leaves=8)
FOLDER = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def works_or_is_refused(make, *errors):
    """The result, or None if the input was refused by a ValueError (or what else is said) of bounded length."""
    try:
        return make()
    except (ValueError, *errors) as error:
        refusal = str(error)
    assert 0 < len(refusal) < LONGEST
    return None


@pytest.fixture(scope="module")
def agent_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agent")
    small = {"learning_starts": 16, "batch_size": 8, "buffer_size": 64, "net_arch": (16,)}
    agent = DQN("CartPole-v1", seeds=[3, 8], device="cpu", **small).learn(60)
    agent.save(folder / "policy")
    agent.checkpoint(folder / "run")
    return {name: (folder / name).read_bytes() for name in ("policy", "run")}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "read"), [("policy", load), ("run", resume)])
@FOLDER
@given(data=st.data())
def test_an_agents_file_with_changed_bytes_is_refused(name, read, data, agent_files, tmp_path):
    raw = agent_files[name]
    edits = st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(1, 255)), min_size=1, max_size=3)
    changed = bytearray(raw)
    for place, flips in data.draw(edits):
        changed[place] ^= flips
    cut = data.draw(st.sampled_from([0, 0, 1, len(raw) // 2]))
    (tmp_path / "file").write_bytes(changed[: len(raw) - cut])
    if bytes(changed) != raw or cut:
        with pytest.raises(ValueError, match="file"):
            read(tmp_path / "file", device="cpu")


@pytest.mark.slow
@settings(max_examples=60)
@given(
    epsilon=nested,
    norm=st.sampled_from(["inf", "2", "1", "3", 2, None]),
    scale=st.one_of(st.just(1.0), nested),
    mask=st.one_of(st.none(), nested),
    low=st.one_of(st.just(-np.inf), nested),
    high=st.one_of(st.just(np.inf), nested),
)
def test_any_budget_works_or_is_refused(epsilon, norm, scale, mask, low, high):
    budget = works_or_is_refused(lambda: Budget(epsilon, norm, scale=scale, mask=mask, low=low, high=high), TypeError)
    if budget is not None:
        assert isinstance(budget.describe(), str)
        obs = torch.zeros(1, 2, 3)
        fits = works_or_is_refused(lambda: budget.check(obs) or True)
        assert not fits or budget.project(obs, obs + 1).isfinite().all()


outcomes = st.lists(st.one_of(nested, st.tuples(numbers, numbers, numbers, numbers)), max_size=3)
ARRAYS = st.one_of(
    nested,
    st.builds(
        np.full, st.lists(st.integers(0, 3), max_size=4).map(tuple), st.sampled_from([0, 1, 0.5, np.nan, "a", 2**40])
    ),
)


def is_sound(mdp):
    """Whether a table is one that solvers may read: in its range, and every row a distribution."""
    inside = (mdp.successor >= 0).all() and (mdp.successor < mdp.num_states).all()
    return inside and np.allclose(mdp.probability.sum(axis=2), 1) and np.isfinite(mdp.reward).all()


@pytest.mark.slow
@settings(max_examples=60)
@given(transitions=st.one_of(nested, st.lists(st.lists(st.one_of(st.none(), outcomes), max_size=2), max_size=3)))
def test_any_transitions_are_an_mdp_or_refused(transitions):
    mdp = works_or_is_refused(lambda: TabularMDP.from_transitions(transitions), TypeError)
    assert mdp is None or is_sound(mdp)


@pytest.mark.slow
@settings(max_examples=60)
@given(arrays=st.lists(ARRAYS, min_size=4, max_size=4), start=st.one_of(st.none(), ARRAYS), limit=numbers)
def test_any_arrays_are_an_mdp_or_refused(arrays, start, limit):
    mdp = works_or_is_refused(lambda: TabularMDP(*arrays, start=start, max_steps=limit), TypeError)
    assert mdp is None or is_sound(mdp)


@pytest.mark.slow
@settings(max_examples=60)
@given(matrices=st.lists(st.one_of(ARRAYS, st.just(sparse.eye_array(2))), max_size=2), rewards=ARRAYS)
def test_any_matrices_are_an_mdp_or_refused(matrices, rewards):
    mdp = works_or_is_refused(lambda: TabularMDP.from_sparse(matrices, rewards), TypeError)
    assert mdp is None or is_sound(mdp)


@pytest.mark.slow
@settings(max_examples=60)
@given(pairs=st.tuples(st.one_of(ARRAYS, st.just(np.eye(2))), ARRAYS, ARRAYS, ARRAYS))
def test_any_pairs_are_an_mdp_or_refused(pairs):
    mdp = works_or_is_refused(lambda: TabularMDP.from_pairs(*pairs), TypeError)
    assert mdp is None or is_sound(mdp)


@settings(max_examples=60)
@given(text=st.one_of(st.text(max_size=30), st.text("S.#H \n", max_size=30)), slip=st.one_of(st.just(0.1), st.floats()))
def test_any_text_is_a_map_or_refused(text, slip):
    world = works_or_is_refused(lambda: GridWorld(text, slip=slip))
    assert world is None or is_sound(world.mdp)


@pytest.mark.slow
@FOLDER
@given(content=st.one_of(st.binary(max_size=40), st.text("S.#HG\r\n\t ", max_size=40).map(str.encode)))
def test_any_map_file_is_solved_or_refused(content, tmp_path, capsys):
    (tmp_path / "map.txt").write_bytes(content)
    code = main(["solve", str(tmp_path / "map.txt"), "--json"])
    said = capsys.readouterr()
    assert code in (0, 1, 2)
    assert said.err.count("\n") == (0 if code == 0 else 1)
    assert os.listdir(tmp_path) == ["map.txt"]


def options_of(command):
    """The names of a command's options, as its help lists them."""
    with pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr(sys.stdout, "write", said.append)
        main([command, "--help"])
    return sorted(set(re.findall(r"--[a-z][a-z-]+", "".join(said))) - {"--help"})


JUNK = ("", " ", "zzz", "-1", "0", "nan", "1e400", "[", "a=", "=", "a=b=c", "gamma=2", "\0", "--", "-", "é", "9" * 400)
IMPOSSIBLE = {  # what makes a command that is otherwise right impossible
    **dict.fromkeys(("train", "compare"), ("--seeds", "0")),
    "demo": ("--zzz",),
    "study": ("zzz",),
    "solve": ("no such problem",),
}


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_wrong_arguments_are_refused_in_one_sentence(data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = data.draw(st.sampled_from(sorted(COMMANDS)))
    options = data.draw(st.lists(st.sampled_from(options_of(command) + list(JUNK)), max_size=4))
    words = [word for option in options for word in (option, data.draw(st.sampled_from(JUNK)))]
    words += IMPOSSIBLE.get(command, ("no such file",))
    if set(words) & {"--json", "--overwrite", "--trust"} and data.draw(st.booleans()):
        words.remove(next(word for word in words if word.startswith("--")))
    capsys.readouterr()
    code = main([command, *words])
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err.startswith("rlkit: ")
    assert said.err.count("\n") == 1
    assert len(said.err) < LONGEST
    assert os.listdir(tmp_path) == []


@FOLDER
@given(words=st.lists(st.sampled_from(JUNK), max_size=3))
def test_no_command_is_refused_in_one_sentence(words, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_field_of_a_table_is_in_its_file(tmp_path):
    from rlkit.mdp.tabular import STORED

    assert {field.name for field in fields(TabularMDP)} == set(STORED)

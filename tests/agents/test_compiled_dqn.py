"""DQN on the compiled engine held to the torch engine: the same numbers in, the same agents out."""

import functools
import math

import numpy as np
import pytest
import torch
from finite_problems import needs_numba
from foreign_envs import MaskedCartPole
from trained_rows import SMALL, STEPS, Poisoned, assert_same_run, kept, trained

from rlkit.agents import DQN, resume
from rlkit.agents.core import compiled_dqn, compiled_iterations
from rlkit.envs import CartPole, GridWorld

pytestmark = needs_numba

OFTEN = {
    "learning_rate": 1e-3,
    "learning_starts": 20,
    "batch_size": 16,
    "train_freq": 8,
    "gradient_steps": 3,
    "target_update_interval": 24,
    "net_arch": (32, 20),
    "buffer_size": 90,
}


def in_double(engine, env, steps=120, **settings):
    made_with = {"seeds": 2, "num_envs": 2, "device": "cpu", "_dtype": torch.float64}
    agent = DQN(env, engine=engine, **{**made_with, **OFTEN, **settings})
    assert agent.engine.name == engine
    return agent.learn(steps)


def everything(agent):
    """All that a training changes, by name."""
    parts = {"target": agent.target_network, **agent.networks}
    state = {name: network.flat for name, network in parts.items()} | agent.memory.state_dict()
    for name in ("optimizer", "env"):
        own = getattr(agent, name)
        state |= {f"{name}/{key}": tensor for key, tensor in getattr(own, "state_dict", dict)().items()}
    return state


def assert_alike(one, other):
    found = everything(one)
    for name, tensor in everything(other).items():
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(found[name], tensor, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: name + text)
    assert (one.explore.step, one._sample.step, one._updates) == (
        other.explore.step,
        other._sample.step,
        other._updates,
    )
    assert one.active.tolist() == other.active.tolist()
    assert list(one.history) == list(other.history)
    for name, logged in other.history.items():
        np.testing.assert_allclose(one.history[name], logged, rtol=1e-6, atol=1e-9, err_msg=name)


OPTIONS = [
    {},
    {"loss": "squared", "max_grad_norm": [0.05, 1.0], "learning_rate_schedule": "linear"},
    {"n_steps": 3, "gamma": [0.9, 0.5], "learning_rate": [1e-3, 1e-2]},
    {"double": True, "tau": [0.3, 1.0], "exploration_fraction": [0.9, 0.0]},
    {"dueling": True, "activation": "tanh"},
    {"priority_exponent": [0.6, 1.0], "priority_beta": [0.4, 0.0]},
    {"priority_exponent": [0.0, 0.6], "n_steps": 2},
    {"target_clock": "updates", "target_update_interval": 2},
    {"replay": False},
    {"single_coin": True, "gradient_steps": -1},
    {"normalize_observations": True},
    {"learning_rate_schedule": "inverse"},
    {"normalize_rewards": True, "n_steps": 4},
    {"normalize_rewards": True, "normalize_observations": True},
    {"double": True, "dueling": True, "priority_exponent": 0.5, "n_steps": 2, "net_arch": (40,), "loss": "squared"},
]


@pytest.mark.slow
@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_a_training_is_that_of_the_torch_engine(settings):
    ours, theirs = (in_double(engine, "CartPole-v1", **settings) for engine in ("compiled", "torch"))
    assert ours.optimizer.steps.min() > 10
    assert_alike(ours, theirs)


LAKE = "frozenlake-4x4"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "settings"),
    [
        (GridWorld(LAKE), {"double": True}),
        (GridWorld(LAKE, observation="onehot"), {}),
        (GridWorld(LAKE, observation="coordinates"), {"normalize_observations": True}),
        ("rlkit/probe-truncation", {}),
        ("Acrobot-v1", {"num_envs": 1}),
        (MaskedCartPole, {"num_envs": 1}),
        (MaskedCartPole, {"num_envs": 1, "double": True, "n_steps": 2}),
        pytest.param(Poisoned("nothing"), {}, id="own dynamics"),
    ],
    ids=str,
)
def test_a_training_in_other_environments_too(env, settings):
    ours, theirs = (in_double(engine, env, **settings) for engine in ("compiled", "torch"))
    assert ours.optimizer.steps.min() > 10
    assert_alike(ours, theirs)


ROWS = [
    {},
    {"num_envs": 3, "train_freq": 5, "n_steps": 3},
    {"double": True, "dueling": True, "target_clock": "updates"},
    {"num_envs": 2, "priority_exponent": 0.6, "buffer_size": 300, "loss": "squared"},
    {"normalize_observations": True, "normalize_rewards": True},
    {"net_arch": (20, 33), "batch_size": 33, "gradient_steps": 4},
    {"env": "rlkit/GridWorld-v0", "env_kwargs": {"map": LAKE}, "num_envs": 2},
    {"env": "rlkit/GridWorld-v0", "env_kwargs": {"map": LAKE, "observation": "coordinates"}, "double": True},
]


@pytest.mark.slow
@pytest.mark.parametrize("settings", ROWS, ids=str)
def test_a_row_of_many_is_to_the_bit_the_run_of_its_seed(settings, monkeypatch):
    many = trained(DQN, range(5), engine="compiled", **settings)
    monkeypatch.setattr("rlkit.compiled.learn.WORK", 1)  # one row in a call
    monkeypatch.setattr("rlkit.compiled.rollout.ROWS_WORK", 1)
    for row in (0, 3, 4):
        assert_same_run(many, row, trained(DQN, [row], engine="compiled", **settings), 0)


@pytest.mark.slow
def test_a_row_with_its_own_numbers_is_its_single_run():
    own = {"priority_exponent": [0.0, 0.6], "tau": [1.0, 0.2], "gamma": [0.9, 0.99], "learning_rate": [1e-3, 1e-2]}
    many = trained(DQN, [3, 3], engine="compiled", **own)
    for row in range(2):
        alone = trained(DQN, [3], engine="compiled", **{name: values[row] for name, values in own.items()})
        assert_same_run(many, row, alone, 0)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"priority_exponent": 0.6, "n_steps": 3, "double": True}], ids=str)
def test_a_resumed_run_is_to_the_bit_the_run_that_went_on(settings, tmp_path):
    def made():
        return DQN("CartPole-v1", seeds=3, num_envs=2, device="cpu", engine="compiled", **SMALL[DQN] | settings)

    whole, half = made(), made()
    whole.learn(800)
    for _, done in zip(range(50), half.iterations(800), strict=False):
        assert done <= 400
    half.checkpoint(tmp_path / "run.safetensors")
    resumed = resume(tmp_path / "run.safetensors", device="cpu")
    assert str(resumed.engine) == "compiled"
    resumed.learn(resumed.timesteps_left)
    for row in range(3):
        assert_same_run(resumed, row, whole, row)


@functools.cache
def undisturbed(engine, exponent):
    """Return ``kept`` of a training in which nothing diverges."""
    return kept(poisoned("nothing", engine, exponent).learn(STEPS))


def poisoned(what, engine, exponent):
    settings = SMALL[DQN] | {"priority_exponent": exponent}
    return DQN(Poisoned(what), seeds=3, device="cpu", engine=engine, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("exponent", [0.0, 0.6])
@pytest.mark.parametrize("engine", ["compiled", "torch"])
@pytest.mark.parametrize("what", ["reward", "observation", "parameter"])
def test_a_row_that_diverges_stops_alone_and_says_why(what, engine, exponent):
    clean, agent = undisturbed(engine, exponent), poisoned(what, engine, exponent)
    if what == "parameter":
        agent.network.flat[0, 0] = math.nan
    with pytest.warns(RuntimeWarning, match="diverged"):
        agent.learn(STEPS)
    assert agent.active.tolist() == [False, True, True]
    assert (what if what != "parameter" else "q network") in agent.divergences[0].what
    for name, tensor in kept(agent).items():
        width = clean[name].shape[1] if tensor.dim() > 1 else None
        assert torch.equal(tensor[1:, :width] if width else tensor[1:], clean[name][1:]), name


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_a_loss_that_is_not_finite_stops_a_row_though_its_gradient_is(engine):
    settings = SMALL[DQN] | {"target_update_interval": 1000}
    agent = DQN("CartPole-v1", seeds=2, device="cpu", engine=engine, **settings)
    agent.target_network.flat[1] = 0.0
    agent.target_network.blocks["biases of layer 3"].detach()[1, 0, 0] = math.inf
    with pytest.warns(RuntimeWarning, match="seed 1 diverged at step 68: the loss was not finite"):
        agent.learn(120)
    assert agent.active.tolist() == [True, False]


def of_one_row_of_the_log(seeds=2, steps=720, env="CartPole-v1", **settings):
    """Train without a row of the log before the end; return the agent and how many iterations were made at once."""
    agent = DQN(env, seeds=seeds, device="cpu", engine="compiled", **SMALL[DQN] | settings)
    counts, iterate = [], compiled_dqn.DQNIteration.iterate

    def counted(self, count, updates):
        counts.append((count, updates))
        iterate(self, count, updates)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled_dqn.DQNIteration, "iterate", counted)
        list(agent.training(steps, every=steps))
    return agent, counts


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate_schedule": "linear", "num_envs": 3},
        {"priority_exponent": 0.6, "priority_beta": 0.4, "n_steps": 3, "double": True},
        {"target_clock": "updates", "target_update_interval": 10, "buffer_size": 150},
        {"env": GridWorld("frozenlake-4x4"), "gradient_steps": -1, "train_freq": 2},
    ],
    ids=str,
)
def test_iterations_made_at_once_are_to_the_bit_those_made_one_by_one(settings, monkeypatch):
    together, counts = of_one_row_of_the_log(**settings)
    monkeypatch.setattr(compiled_iterations, "AHEAD", 1)
    alone, ones = of_one_row_of_the_log(**settings)
    assert max(count for count, updates in counts if updates) > 2
    assert {count for count, updates in ones if updates} == {1}
    for row in range(2):
        assert_same_run(together, row, alone, row)
    assert (together._updates, together.num_timesteps) == (alone._updates, alone.num_timesteps)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"target_clock": "updates", "target_update_interval": 4}], ids=str)
def test_the_target_network_moves_within_a_call_as_on_the_torch_engine(settings):
    settings = {"seeds": 3, "num_envs": 2, "tau": [1.0, 0.7, 0.3], "_dtype": torch.float64, **OFTEN, **settings}
    on_torch = DQN("CartPole-v1", device="cpu", engine="torch", **settings)
    compiled, counts = of_one_row_of_the_log(steps=160, **settings)
    list(on_torch.training(160, every=160))
    assert max(count for count, updates in counts if updates) * OFTEN["train_freq"] * 2 > 4 * 24  # timesteps of 4 moves
    assert_alike(compiled, on_torch)
    assert not torch.equal(compiled.target_network.flat, compiled.network.flat)


@pytest.mark.slow
def test_a_row_stops_at_the_end_of_the_iteration_in_which_it_diverged():
    with pytest.warns(RuntimeWarning, match="seed 1 diverged at step 72"):
        agent, counts = of_one_row_of_the_log(learning_rate=[1e-3, 1e25], gradient_steps=1, max_grad_norm=1e9)
    assert max(count for count, _ in counts) > 3
    assert agent.training_state.diverged_at.tolist() == [-1, 72]


@pytest.mark.slow
def test_a_row_that_was_stopped_keeps_its_parameters():
    agent = DQN("CartPole-v1", seeds=3, device="cpu", engine="compiled", **SMALL[DQN]).learn(200)
    agent.active[1] = False
    before = agent.network.flat.clone()
    agent.training_state.record_divergences()
    with pytest.warns(RuntimeWarning, match="diverged"):
        agent.learn(200)
    assert [torch.equal(agent.network.flat[row], before[row]) for row in range(3)] == [False, True, False]


def test_segments_after_the_first_are_played_in_compiled_loops(monkeypatch):
    agent, calls = DQN("CartPole-v1", device="cpu", engine="compiled", **SMALL[DQN]), []
    collect = agent.collect
    monkeypatch.setattr(agent, "collect", lambda steps: (calls.append(steps), collect(steps)))
    agent.learn(80)
    assert calls == [4]


def test_auto_takes_the_compiled_engine_whatever_the_rows():
    def engine(env="CartPole-v1", **settings):
        return DQN(env, device="cpu", **settings).engine

    assert str(engine()) == str(engine(seeds=40, learning_rate=[1e-3] * 40)) == "compiled"
    assert str(engine(GridWorld(LAKE), double=True, dueling=True, priority_exponent=0.5)) == "compiled"
    assert str(engine(engine="torch")) == "torch"
    images = engine(GridWorld(LAKE, observation="planes"), network="mlp")
    assert (str(images), "the observation space Box(0, 255" in repr(images)) == ("torch", True)


class Own(DQN):
    """An algorithm of one's own."""


def test_a_subclass_runs_on_torch():
    assert str(Own("CartPole-v1", device="cpu").engine) == "torch"
    with pytest.raises(ValueError, match="Own has no compiled form"):
        Own("CartPole-v1", device="cpu", engine="compiled")


def test_dynamics_with_a_compiled_form_have_numbers():
    assert DQN(CartPole(max_steps=20), device="cpu").env.numbers(torch.float32) is not None

"""The compiled engine held to plain torch: the same numbers in, the same agents out."""

import copy
import functools
import importlib.util
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from finite_problems import needs_numba
from foreign_envs import MaskedCartPole
from source_tree import ROOT
from trained_rows import SMALL, STEPS, Poisoned, assert_same_run, kept, trained

from rlkit.agents import A2C, DQN, PPO, REINFORCE, TabularQ, WocaRDQN, load, resume
from rlkit.agents.core import compiled_iterations, compiled_on_policy, torch_engine
from rlkit.compiled.jit import COMPILED
from rlkit.envs import CartPole
from rlkit.experiments.cli import main

pytestmark = needs_numba

ON_POLICY = pytest.mark.parametrize("algorithm", [A2C, PPO, REINFORCE], ids=lambda algorithm: algorithm.__name__)


class Heavier(CartPole):
    """A cart-pole whose dynamics have no compiled form."""

    def transition(self, state, action, u):
        return super().transition(state, action, u)


def pair(algorithm, env, iterations, **settings):
    """One agent on each engine, trained alike in float64."""
    agents = []
    for engine in ("torch", "compiled"):
        agent = algorithm(env, device="cpu", engine=engine, _dtype=torch.float64, **settings)
        assert str(agent.engine) == engine
        agents.append(agent.learn(iterations * agent.config.n_steps * agent.env.num_envs))
    return agents


def assert_alike(reference, other, bound=1e-9):
    """Parameters, moments, log, environments and streams agree."""
    for name, tensor in kept(reference).items():
        torch.testing.assert_close(kept(other)[name], tensor, rtol=bound, atol=bound, msg=name)
    assert list(other.history) == list(reference.history)
    for name, logged in reference.history.items():
        np.testing.assert_allclose(other.history[name], logged, rtol=1e-6, atol=1e-9, err_msg=name)
    assert other.explore.step == reference.explore.step
    assert other.active.tolist() == reference.active.tolist()
    if isinstance(reference, PPO):
        assert other._shuffle.step == reference._shuffle.step
    state = reference.env.state_dict()
    for name, tensor in other.env.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=bound, atol=bound, msg=name)


PPO_SMALL = {"n_steps": 24, "batch_size": 16, "n_epochs": 2, "learning_rate": 3e-3, "net_arch": (32, 32)}
OPTIONS = [
    (PPO, {}),
    (PPO, {"ent_coef": [0.0, 0.01], "clip_range": [0.02, 0.3], "vf_coef": [0.5, 1.0], "gamma": [0.99, 0.9]}),
    (PPO, {"clip_range_vf": [0.01, 10.0], "normalize_advantage": False, "gae_lambda": 0.8}),
    (PPO, {"target_kl": [0.001, 0.01], "learning_rate": 0.01}),
    (PPO, {"learning_rate_schedule": "exponential", "clip_range_schedule": "exponential", "clip_range": 0.05}),
    (PPO, {"learning_rate_schedule": "inverse", "clip_range_schedule": "inverse", "clip_range": 0.05}),
    (PPO, {"batch_size": 48, "max_grad_norm": [0.01, 10.0], "ortho_init": False}),
    (PPO, {"activation": "relu", "net_arch": (20, 33)}),
    (PPO, {"net_arch": ()}),
    (PPO, {"normalize_observations": True, "normalize_rewards": True}),
    (A2C, {}),
    (A2C, {"use_rms_prop": False, "normalize_advantage": True, "ent_coef": 0.01, "gae_lambda": 0.9}),
    (A2C, {"rms_prop_eps": 1e-3, "learning_rate_schedule": "linear", "activation": "relu"}),
    (A2C, {"normalize_observations": True, "n_steps": 1}),
    (A2C, {"normalize_rewards": True, "gamma": [0.99, 0.5], "vf_coef": [0.1, 2.0]}),
    (A2C, {"learning_rate_schedule": "inverse", "max_grad_norm": [0.01, 10.0]}),
    (REINFORCE, {}),
    (REINFORCE, {"discount_states": True, "normalize_rewards": True, "value_steps": 3}),
    (REINFORCE, {"normalize_observations": True, "activation": "relu", "learning_rate_schedule": "inverse"}),
    (REINFORCE, {"value_learning_rate": [0.01, 1e-4], "max_grad_norm": [0.01, 10.0]}),
    (REINFORCE, {"baseline": "none", "unfinished": "end", "returns": "whole", "discount_states": True}),
    (REINFORCE, {"baseline": "leave-one-out", "unfinished": "drop", "learning_rate_schedule": "step"}),
    (REINFORCE, {"baseline": "time", "unfinished": "drop", "ent_coef": [0.0, 0.1]}),
    (REINFORCE, {"baseline": "average", "unfinished": "end", "average_decay": 0.5}),
    (REINFORCE, {"baseline": "optimal", "unfinished": "end"}),
    (REINFORCE, {"baseline": "optimal", "unfinished": "drop", "ent_coef": [0.01, 0.1]}),
]


LAKE = {"env": "rlkit/GridWorld-v0", "env_kwargs": {"map": "frozenlake-4x4"}, "num_envs": 2}


def small(algorithm):
    return PPO_SMALL if algorithm is PPO else {"n_steps": 40 if algorithm is REINFORCE else 8, "net_arch": (32, 32)}


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "settings"), OPTIONS, ids=str)
def test_three_iterations_are_those_of_torch(algorithm, settings):
    settings = {"seeds": [3, 4], "num_envs": 2, **small(algorithm), **settings}
    assert_alike(*pair(algorithm, "CartPole-v1", 3, **settings))


@pytest.mark.slow
@ON_POLICY
@pytest.mark.parametrize(
    ("env", "env_kwargs"),
    [
        ("rlkit/GridWorld-v0", {"map": "frozenlake-4x4"}),
        ("rlkit/GridWorld-v0", {"map": "frozenlake-4x4", "observation": "coordinates", "slip": 0.3}),
        ("rlkit/probe-truncation", {}),
        ("CartPole-v1", {"sutton_barto_reward": True}),
        ("Acrobot-v1", {}),
    ],
    ids=str,
)
def test_other_environments_too(algorithm, env, env_kwargs):
    settings = {"seeds": [3, 4], "num_envs": 2, **small(algorithm), "env_kwargs": env_kwargs}
    assert_alike(*pair(algorithm, env, 3, **settings))


@pytest.mark.slow
@ON_POLICY
def test_dynamics_of_ones_own_are_stepped_in_torch_and_learned_from_compiled(algorithm):
    assert_alike(*pair(algorithm, Heavier(), 3, seeds=[3, 4], num_envs=2, **small(algorithm)))


@pytest.mark.slow
@ON_POLICY
def test_masks_are_heeded(algorithm):
    settings = small(algorithm) | ({"baseline": "optimal", "unfinished": "end"} if algorithm is REINFORCE else {})
    reference, other = pair(algorithm, MaskedCartPole, 3, seeds=[3], num_envs=2, ent_coef=0.1, **settings)
    assert reference.env.action_mask is not None
    for name, tensor in kept(reference).items():
        torch.testing.assert_close(kept(other)[name], tensor, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (PPO, {"target_kl": 0.003, "num_envs": 3}),
        (PPO, {"normalize_observations": True, "normalize_rewards": True, "num_envs": 2}),
        (A2C, {"num_envs": 3}),
        (REINFORCE, {"baseline": "optimal", "unfinished": "end", "num_envs": 2}),
        (REINFORCE, {"num_envs": 1}),
        (PPO, LAKE),
        (A2C, LAKE),
        (REINFORCE, LAKE),
        (PPO, LAKE | {"env_kwargs": {"map": "frozenlake-4x4", "observation": "coordinates"}}),
    ],
    ids=str,
)
def test_a_row_of_many_is_to_the_bit_the_run_of_its_seed(algorithm, settings, monkeypatch):
    many = trained(algorithm, range(5), engine="compiled", **settings)
    monkeypatch.setattr("rlkit.compiled.learn.WORK", 1)  # one row in a call
    monkeypatch.setattr("rlkit.compiled.rollout.ROWS_WORK", 1)
    for row in (0, 3, 4):
        assert_same_run(many, row, trained(algorithm, [row], engine="compiled", **settings), 0)


OWN = {
    "learning_rate": [1e-3, 3e-4, 3e-3],
    "gamma": [0.99, 0.9, 0.95],
    "ent_coef": [0.0, 0.01, 0.1],
    "max_grad_norm": [10.0, 0.1, 1.0],
}
OWN_OF_PPO = {"clip_range": [0.2, 0.1, 0.3], "clip_range_vf": [0.2, 10.0, 0.1], "target_kl": [1.0, 0.01, 0.001]}


@pytest.mark.slow
@ON_POLICY
def test_rows_with_their_own_hyper_parameters_are_their_single_runs(algorithm):
    own = OWN | (OWN_OF_PPO if algorithm is PPO else {})
    many = trained(algorithm, [4, 4, 9], engine="compiled", **own)
    for row, seed in enumerate([4, 4, 9]):
        alone = {name: values[row] for name, values in own.items()}
        assert_same_run(many, row, trained(algorithm, [seed], engine="compiled", **alone), 0)


PROGRAM = """
from rlkit.agents import A2C, DQN, PPO, REINFORCE
from rlkit.compiled.iterations import iterate_rows
from rlkit.compiled.reinforce import descend_policy_rows, fit_value_rows
def train(algorithm, env, **settings):
    algorithm(env, device="cpu", engine="compiled", **settings).learn(64)
for seeds, ent_coef, clip_range_vf in ((1, 0.0, None), (3, [0.0, 0.1, 0.2], 0.2)):
    settings = {"n_steps": 32, "batch_size": 16, "ent_coef": ent_coef, "clip_range_vf": clip_range_vf}
    train(PPO, "CartPole-v1", seeds=seeds, **settings)
for double, priority_exponent in ((False, 0.0), (True, [0.0, 0.6])):
    settings = {"double": double, "priority_exponent": priority_exponent, "learning_starts": 8, "batch_size": 8}
    train(DQN, "CartPole-v1", seeds=2, **settings)
for use_rms_prop in (True, False):
    train(A2C, "CartPole-v1", use_rms_prop=use_rms_prop)
for observation in ("index", "coordinates"):
    env_kwargs = {"observation": observation}
    train(PPO, "rlkit/GridWorld-v0", env_kwargs=env_kwargs, n_steps=32, batch_size=16)
for baseline, unfinished, normalize_rewards in (("value", "bootstrap", False), ("optimal", "end", True)):
    settings = {"baseline": baseline, "unfinished": unfinished, "normalize_rewards": normalize_rewards}
    train(REINFORCE, "CartPole-v1", num_envs=2, **settings)
for loop in (iterate_rows, descend_policy_rows, fit_value_rows):
    print(len(loop.signatures), sum(loop.stats.cache_misses.values()))
"""


@pytest.mark.slow
def test_another_process_compiles_nothing_and_options_do_not_make_more_machine_code():
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
        )
    assert done.stdout.split() == ["4", "0", "1", "0", "1", "0"]  # PPO and three more, REINFORCE
    assert not done.stderr


@pytest.mark.slow
@ON_POLICY
def test_a_resumed_run_is_to_the_bit_the_run_that_went_on(algorithm, tmp_path):
    def made():
        return algorithm("CartPole-v1", seeds=3, num_envs=2, device="cpu", engine="compiled", **SMALL[algorithm])

    whole, half = made(), made()
    step = half.config.n_steps * 2
    whole.learn(14 * step)
    for _, done in zip(range(6), half.iterations(14 * step), strict=False):
        assert done <= 6 * step
    half.checkpoint(tmp_path / "run.safetensors")
    resumed = resume(tmp_path / "run.safetensors", device="cpu")
    assert str(resumed.engine) == "compiled"
    resumed.learn(resumed.timesteps_left)
    for row in range(3):
        assert_same_run(resumed, row, whole, row)


def of_one_row_of_the_log(algorithm, monkeypatch, ahead=None, **settings):
    """Train without a row of the log before the end; return the agent and how many iterations were made at once."""
    counts, iterate = [], compiled_on_policy.iterate
    settings = {"env": "CartPole-v1", "seeds": 2, **SMALL[algorithm], **settings}

    def counted(agent, numbers, policy, count, *others):
        counts.append(count)
        iterate(agent, numbers, policy, count, *others)

    with monkeypatch.context() as patch:
        patch.setattr(compiled_on_policy, "iterate", counted)
        if ahead is not None:
            patch.setattr(compiled_iterations, "AHEAD", ahead)
        agent = algorithm(settings.pop("env"), device="cpu", engine="compiled", **settings)
        list(agent.training(STEPS, every=STEPS))
    return agent, counts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (PPO, {"learning_rate_schedule": "linear", "clip_range_schedule": "linear", "num_envs": 2}),
        (PPO, {"env": "rlkit/GridWorld-v0", "batch_size": 24, "target_kl": [1e-4, 1.0]}),
        (A2C, {"learning_rate_schedule": "linear"}),
    ],
    ids=str,
)
def test_iterations_made_at_once_are_to_the_bit_those_made_one_by_one(algorithm, settings, monkeypatch):
    together, counts = of_one_row_of_the_log(algorithm, monkeypatch, **settings)
    alone, ones = of_one_row_of_the_log(algorithm, monkeypatch, ahead=1, **settings)
    assert (len(counts), set(ones)) == (1, {1})
    assert counts[0] == len(ones) > 10
    for row in range(2):
        assert_same_run(together, row, alone, row)
    assert "kl" in together.history or algorithm is PPO


@pytest.mark.slow
def test_a_row_stops_at_the_end_of_the_iteration_in_which_it_diverged(monkeypatch):
    found = []
    for ahead in (None, 1):
        settings = {"learning_rate": [1e-3, 1e25], "max_grad_norm": 1e9}
        with pytest.warns(RuntimeWarning, match="seed 1 diverged"):
            agent, _ = of_one_row_of_the_log(PPO, monkeypatch, ahead, **settings)
        found.append(agent.training_state.diverged_at.tolist())
    assert found[0] == found[1]
    assert -1 == found[0][0] < found[0][1] < STEPS // 2


@functools.cache
def undisturbed(algorithm):
    """Return ``kept`` of a training in which nothing diverges."""
    return kept(trained(algorithm, range(3), Poisoned("nothing"), engine="compiled"))


@pytest.mark.slow
@ON_POLICY
@pytest.mark.parametrize("what", ["reward", "observation", "parameter"])
def test_a_row_that_diverges_stops_alone_and_says_why(algorithm, what):
    clean = undisturbed(algorithm)
    if what == "parameter":
        agent = algorithm(Poisoned("nothing"), seeds=3, device="cpu", engine="compiled", **SMALL[algorithm])
        agent.networks["policy"].flat[1, 0] = torch.nan
    else:
        agent = algorithm(Poisoned(what), seeds=3, device="cpu", engine="compiled", **SMALL[algorithm])
    with pytest.warns(RuntimeWarning, match="diverged"):
        agent.learn(STEPS)
    stopped = [row for row, active in enumerate(agent.active.tolist()) if not active]
    assert len(stopped) == 1
    assert [divergence.seed for divergence in agent.divergences] == stopped
    assert (what if what != "parameter" else "policy network") in agent.divergences[0].what
    for name, tensor in kept(agent).items():
        for row in set(range(3)) - set(stopped):
            assert torch.equal(tensor[row], clean[name][row]), (name, row)


@pytest.mark.slow
@ON_POLICY
def test_a_row_that_was_stopped_keeps_its_parameters(algorithm):
    agent = algorithm("CartPole-v1", seeds=3, device="cpu", engine="compiled", **SMALL[algorithm]).learn(48)
    agent.active[1] = False
    before = {name: network.flat.clone() for name, network in agent.networks.items()}
    agent.training_state.record_divergences()
    with pytest.warns(RuntimeWarning, match="diverged"):
        agent.learn(480)
    for name, flat in before.items():
        assert torch.equal(agent.networks[name].flat[1], flat[1])
        assert not torch.equal(agent.networks[name].flat[0], flat[0])


def test_auto_takes_the_compiled_engine_where_it_covers_the_agent():
    def engine(algorithm, **settings):
        return algorithm("CartPole-v1", device="cpu", **settings).engine

    for algorithm in (A2C, PPO, REINFORCE):
        assert str(engine(algorithm)) == "compiled"
        assert str(engine(algorithm, seeds=64, learning_rate=[1e-3] * 64)) == "compiled"
        assert str(engine(algorithm, engine="torch")) == "torch"
    rbf = engine(PPO, network="rbf", network_kwargs={"centers": 16})
    assert (str(rbf), "radial basis" in repr(rbf)) == ("torch", True)


def weight_decay(network, features, targets):
    """A term."""
    return network.flat.square().sum(dim=1)


class Own(PPO):
    """An algorithm of one's own."""


@pytest.mark.parametrize(
    ("algorithm", "settings", "why"),
    [
        (Own, {}, "Own has no compiled form"),
        (TabularQ, {"env": "rlkit/GridWorld-v0"}, "TabularQ has no compiled form"),
        (WocaRDQN, {}, "WocaRDQN has no compiled form"),
        (PPO, {"terms": [weight_decay]}, "the term weight_decay is not covered"),
        (PPO, {"network": "cnn", "env": "rlkit/GridWorld-v0", "env_kwargs": {"observation": "planes"}}, "convolutions"),
    ],
)
def test_what_the_compiled_engine_does_not_cover_runs_on_torch_and_is_refused_where_it_was_asked_for(
    algorithm, settings, why
):
    settings = {"env": "CartPole-v1", "device": "cpu", **settings}
    agent = algorithm(settings.pop("env"), **settings)
    assert str(agent.engine) == "torch"
    assert why in agent.engine.reason
    env = agent.source.env
    with pytest.raises(ValueError, match=f"engine 'compiled' is not possible: .*{why}.*Pass engine='torch'"):
        algorithm(env, engine="compiled", **settings)
    with pytest.raises(ValueError, match="must be 'auto', 'compiled', 'torch' or 'captured', got 'gpu'"):
        algorithm(env, engine="gpu", **settings)


@pytest.fixture
def nothing_said(monkeypatch):
    """This process has not said yet why an agent trains on torch."""
    monkeypatch.setattr(torch_engine, "_SAID", set())


@pytest.mark.usefixtures("nothing_said")
@pytest.mark.parametrize(
    ("algorithm", "settings", "reason"),
    [
        (Own, {}, "Own has no compiled form"),
        (A2C, {"terms": [weight_decay]}, "the term weight_decay is not covered"),
        (
            A2C,
            {"network": "cnn", "env": "rlkit/GridWorld-v0", "env_kwargs": {"observation": "planes"}},
            "a network with convolutions is not covered",
        ),
    ],
)
def test_a_training_that_falls_back_to_torch_says_so_once(algorithm, settings, reason, caplog):
    settings = {"env": "CartPole-v1", "device": "cpu", **settings}
    env = settings.pop("env")
    agents = [algorithm(env, **settings) for _ in range(2)]
    assert caplog.messages == []  # an agent that is only evaluated says nothing
    for agent in (*agents, copy.deepcopy(agents[0])):
        agent.learn(1).learn(1)
    said = f"{algorithm.__name__} trains on the torch engine, which is slower than the compiled one: {reason}"
    assert caplog.messages == [said]
    assert caplog.records[0].levelname == "WARNING"


@pytest.mark.usefixtures("nothing_said")
def test_torch_that_was_asked_for_or_is_known_is_not_announced(caplog, monkeypatch, tmp_path):
    A2C("CartPole-v1", device="cpu", engine="torch", terms=[weight_decay]).learn(1)
    TabularQ("rlkit/GridWorld-v0", device="cpu").learn(1)
    A2C("CartPole-v1", device="cpu").learn(1)
    run = A2C("CartPole-v1", device="cpu", terms=[weight_decay])
    run.checkpoint(tmp_path / "run.safetensors")
    resume(tmp_path / "run.safetensors", device="cpu", terms=[weight_decay]).learn(1)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else found(name))
    A2C("CartPole-v1", device="cpu", terms=[weight_decay]).learn(1)
    assert not [message for message in caplog.messages if "torch engine" in message]


@pytest.mark.usefixtures("nothing_said")
@pytest.mark.parametrize(
    ("given", "line"),
    [
        (("--algo", "a2c"), "Engine compiled."),
        (("--algo", "a2c", "--engine", "torch"), "Engine torch (as told)."),
        (
            ("--algo", "a2c", "--defense", "J1", "--defense-epsilon", "0.1"),
            "Engine torch (the term J1 is not covered).",
        ),
    ],
)
def test_train_prints_its_engine_and_why_it_is_torch(given, line, tmp_path, capsys, caplog):
    out = ["--seeds", "1", "--steps", "10", "--episodes", "1", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(["train", *given, *out]) == 0
    assert capsys.readouterr().out.splitlines()[0] == line
    assert not [message for message in caplog.messages if "torch engine" in message]  # it is not said twice


def test_without_numba_auto_is_torch_and_a_compiled_run_is_not_resumed(tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    A2C("CartPole-v1", device="cpu", engine="compiled").checkpoint(path)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else found(name))
    assert str(A2C("CartPole-v1", device="cpu").engine) == "torch"
    with pytest.raises(ValueError, match=r"run on engine 'compiled': .*numba is not installed.*engine='torch'"):
        resume(path, device="cpu")
    assert str(resume(path, device="cpu", engine="torch").engine) == "torch"


def test_files_name_the_engine_rows_keep_it_and_policies_do_not(tmp_path):
    for engine in ("torch", "compiled"):
        agent = PPO("CartPole-v1", device="cpu", engine=engine, seeds=2)
        assert str(agent[1].engine) == engine
        assert str(copy.deepcopy(agent).engine) == engine
        agent.checkpoint(tmp_path / "run.safetensors")
        assert str(resume(tmp_path / "run.safetensors", device="cpu").engine) == engine
        agent.save(tmp_path / "policy.safetensors")
        assert str(load(tmp_path / "policy.safetensors", device="cpu").engine) == "compiled"


def test_the_presence_of_numba_is_what_the_tests_take_it_for():
    assert (importlib.util.find_spec("numba") is not None) == COMPILED
    assert DQN("CartPole-v1", device="cpu").engine.name in ("torch", "compiled")


def test_quiet_commands_do_not_say_that_loops_are_compiled(tmp_path):
    assert main(["status", str(tmp_path), "--quiet"]) != 0
    assert not logging.getLogger("rlkit").isEnabledFor(logging.WARNING)
    assert main(["status", str(tmp_path)]) != 0
    assert logging.getLogger("rlkit").isEnabledFor(logging.WARNING)

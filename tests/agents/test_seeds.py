"""The seed axis: row s of a run of many seeds is, to the bit, the run of seed s alone."""

import functools
import math
import re

import pytest
import torch
from trained_rows import ALL, SMALL, STEPS, Poisoned, assert_same_run, kept, trained

from rlkit.agents import A2C, DQN, PPO, REINFORCE, WocaRDQN


@functools.cache
def undisturbed(algorithm, rows):
    """A training of the seeds 0, 1, ..."""
    return trained(algorithm, range(rows))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "env", "num_envs", "settings"),
    [
        (DQN, "CartPole-v1", 1, {}),
        (DQN, "CartPole-v1", 3, {"train_freq": 5}),
        (DQN, "CartPole-v1", 2, {"n_steps": 3, "gamma": 0.9}),
        (DQN, "CartPole-v1", 1, {"double": True, "dueling": True, "target_clock": "updates"}),
        (DQN, "CartPole-v1", 2, {"priority_exponent": 0.6, "buffer_size": 300, "loss": "squared"}),
        (DQN, "CartPole-v1", 2, {"replay": False, "single_coin": True}),
        (DQN, "Acrobot-v1", 1, {"tau": 0.5}),
        (A2C, "CartPole-v1", 1, {"n_steps": 1}),
        (A2C, "CartPole-v1", 3, {"use_rms_prop": False, "normalize_advantage": True}),
        (PPO, "CartPole-v1", 1, {"target_kl": 0.003}),
        (REINFORCE, "CartPole-v1", 1, {}),
        (REINFORCE, "CartPole-v1", 3, {"baseline": "time", "unfinished": "drop"}),
        (REINFORCE, "CartPole-v1", 2, {"baseline": "optimal", "unfinished": "end"}),
        (PPO, "Acrobot-v1", 2, {"clip_range_vf": 0.1, "batch_size": 48}),
        (WocaRDQN, "CartPole-v1", 1, {"worst_case_fraction": 0.5, "attack_scale": (0.44, 0.33, 0.037, 0.23)}),
        (WocaRDQN, "CartPole-v1", 2, {"double": True, "dueling": True, "priority_exponent": 0.6}),
    ],
)
def test_a_row_of_eight_is_the_run_of_its_seed_alone(algorithm, env, num_envs, settings):
    many = trained(algorithm, range(8), env, num_envs, **settings)
    for row in (0, 3, 7):
        assert_same_run(many, row, trained(algorithm, [row], env, num_envs, **settings), 0)


@pytest.mark.slow
@ALL
def test_seeds_differ(algorithm):
    for network in undisturbed(algorithm, 8).networks.values():
        assert len(torch.unique(network.flat, dim=0)) == 8


@pytest.mark.slow
@ALL
def test_permuted_seeds_permute_the_results(algorithm):
    order = [5, 0, 7, 2]
    forward, permuted = undisturbed(algorithm, 8), trained(algorithm, order)
    for row, seed in enumerate(order):
        assert_same_run(permuted, row, forward, seed)


OWN = {
    DQN: {
        "learning_rate": [1e-3, 3e-4, 3e-3],
        "gamma": [0.99, 0.9, 0.95],
        "exploration_final_eps": [0.05, 0.2, 0.0],
        "exploration_fraction": [0.5, 0.0, 1.0],
        "tau": [1.0, 0.5, 0.1],
        "max_grad_norm": [10.0, 0.1, 1.0],
    },
    A2C: {
        "learning_rate": [1e-3, 3e-4, 3e-3],
        "gamma": [0.99, 0.9, 0.95],
        "gae_lambda": [1.0, 0.9, 0.0],
        "ent_coef": [0.0, 0.01, 0.1],
        "vf_coef": [0.5, 1.0, 0.1],
        "max_grad_norm": [10.0, 0.1, 1.0],
    },
}
OWN[REINFORCE] = {
    "learning_rate": [1e-3, 3e-4, 3e-3],
    "value_learning_rate": [1e-3, 3e-4, 3e-3],
    "gamma": [0.99, 0.9, 0.95],
    "ent_coef": [0.0, 0.01, 0.1],
    "max_grad_norm": [10.0, 0.1, 1.0],
}
OWN[PPO] = {
    **OWN[A2C],
    "clip_range": [0.2, 0.1, 0.3],
    "clip_range_vf": [0.2, 10.0, 0.1],
    "target_kl": [1.0, 0.01, 0.001],
}


OWN[WocaRDQN] = {
    **OWN[DQN],
    "attack_epsilon": [0.0, 0.05, 0.2],
    "worst_case_weight": [0.2, 0.9, 1.0],
    "worst_case_fraction": [0.0, 0.5, 1.0],
}


@pytest.mark.slow
@ALL
def test_rows_with_their_own_hyper_parameters_are_their_single_runs(algorithm):
    own = OWN[algorithm]
    many = trained(algorithm, [4, 4, 9], **own)
    for row, seed in enumerate([4, 4, 9]):
        alone = trained(algorithm, [seed], **{name: values[row] for name, values in own.items()})
        assert_same_run(many, row, alone, 0)
        assert many[row].config == alone.config


@pytest.mark.slow
def test_a_row_without_priorities_is_its_single_run_beside_one_with_them():
    settings = {"buffer_size": 200, "priority_exponent": [0.0, 0.6]}
    many = trained(DQN, [3, 3], **settings)
    for row, exponent in enumerate(settings["priority_exponent"]):
        alone = trained(DQN, [3], **{**settings, "priority_exponent": exponent})
        theirs = kept(alone)
        for name, tensor in kept(many).items():
            assert torch.equal(tensor[row], theirs[name][0]), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (REINFORCE, {"n_steps": 50, "discount_states": True}),
        (DQN, {"n_steps": 10, "gamma": 0.97, "batch_size": 33, "gradient_steps": 4}),
    ],
)
def test_a_row_of_three_is_the_run_of_its_seed_alone(algorithm, settings):
    """Three rows of lengths that no vector register divides."""
    many = trained(algorithm, range(3), **settings)
    for row in range(3):
        assert_same_run(many, row, trained(algorithm, [row], **settings), 0)


@pytest.mark.slow
@ALL
@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("parameter", r"(weights|biases) of layer \d of the (q|value|worst_case_q) network"),
        ("reward", "a reward"),
        ("observation", "an observation"),
    ],
)
def test_a_nan_stays_in_its_row_and_stops_it(algorithm, what, named):
    clean = kept(undisturbed(algorithm, 4))
    agent = algorithm(Poisoned(what), seeds=range(4), device="cpu", engine="torch", **SMALL[algorithm])
    training = agent.training(STEPS, every=288)
    next(training)
    networks = [network.flat for network in agent.networks.values()]
    if what == "parameter":
        networks[-1][0, 10] = math.nan
    with pytest.warns(RuntimeWarning, match=rf"seed 0 diverged at step \d+: {named} was not finite"):
        list(training)
    ((seed, step, culprit),) = agent.divergences
    assert (seed, step) == (0, int(agent.training_state.diverged_at[0]))
    assert re.fullmatch(named, culprit)
    assert agent.active.tolist() == [False, True, True, True]
    assert 288 <= int(agent.training_state.diverged_at[0]) <= STEPS + 24
    for name, tensor in kept(agent).items():
        assert torch.equal(tensor[1:], clean[name][1:]), name
    for flat in networks:
        assert torch.isfinite(flat[1:]).all()
        if what != "parameter":
            assert torch.isfinite(flat[0]).all()  # frozen before the update that would have spoilt it

"""Steps to a return, what is lost again, and floating-point operations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rlkit.experiments.studies.efficiency import run as efficiency
from rlkit.experiments.studies.efficiency.flops import backward_flops, forward_flops, training_flops, update_flops
from rlkit.experiments.studies.efficiency.settings import CASES
from rlkit.plotting import Curve

RETURNS = Curve([10, 20, 30, 40], np.array([[0.0, 9.0, 1.0], [9.0, 1.0, 2.0], [1.0, 9.0, 3.0], [9.0, 1.0, 4.0]]))


def test_a_seed_that_does_not_reach_a_return_counts_with_all_its_steps() -> None:
    assert efficiency.steps_until(RETURNS, 9.0) == [20, 10, 40]


def test_the_share_lost_is_of_the_rows_after_the_first_at_the_level() -> None:
    assert efficiency.shares_lost(RETURNS, 9.0) == [0.5, pytest.approx(2 / 3)]
    assert efficiency.shares_lost(Curve([10, 20], np.array([[0.0], [9.0]])), 9.0) == []  # nothing comes after


def test_rows_in_which_no_episode_ended_are_neither_lost_nor_kept() -> None:
    nan = np.nan
    y = np.array([[nan, 9.0, 9.0], [9.0, nan, nan], [nan, 1.0, nan], [1.0, nan, nan], [9.0, 9.0, nan]])
    assert efficiency.shares_lost(Curve([10, 20, 30, 40, 50], y), 9.0) == [0.5, 0.5]


@pytest.mark.slow  # torch imports its compiler for the counter
@pytest.mark.parametrize("widths", [(4, 64, 64, 2), (11, 32, 1), (5, 3)])
def test_an_update_takes_the_operations_that_torch_counts(widths: tuple[int, ...]) -> None:
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(widths)]
    network, obs = torch.nn.Sequential(*layers), torch.randn(8, widths[0])
    with FlopCounterMode(display=False) as forward:
        loss = network(obs).sum()
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    assert forward.get_total_flops() == forward_flops(widths, 8)
    assert backward.get_total_flops() == backward_flops(widths, 8)
    assert update_flops(widths, 8) == forward_flops(widths, 8) + backward_flops(widths, 8)


def test_the_operations_of_whole_trainings_by_hand() -> None:
    forward, update = 2 * (4 * 16 + 16 * 2), 2 * 3 * (4 * 16 + 16 * 2) - 2 * 4 * 16  # policy, per example
    value, of_value = 2 * (4 * 16 + 16), 2 * 3 * (4 * 16 + 16) - 2 * 4 * 16
    net = {"net_arch": (16,)}
    dqn = {**net, "learning_starts": 100, "gradient_steps": 2, "train_freq": 4, "batch_size": 8}
    assert training_flops("dqn", dqn, 1, 500, 4, 2) == 500 * forward + 200 * 8 * (forward + update)
    both = update + of_value
    assert training_flops("a2c", net, 8, 500, 4, 2) == 500 * (forward + value + both)
    assert training_flops("ppo", {**net, "n_epochs": 3}, 8, 500, 4, 2) == 500 * (forward + value + 3 * both)
    reinforce = 500 * (forward + 2 * value + update + 10 * of_value)
    assert training_flops("reinforce", {**net, "value_steps": 10}, 8, 500, 4, 2) == reinforce


def test_the_committed_curves_say_that_dqn_needs_significantly_fewer_steps_than_each_of_the_others() -> None:
    curves = {case.name: efficiency.training_returns(case) for case in CASES}
    medians = {name: np.median(efficiency.steps_until(each, 475.0)) for name, each in curves.items()}
    assert medians == {"dqn": 18176, "ppo": 24064, "a2c": 81000, "reinforce": 135168}
    table = efficiency.comparison_table(curves)
    p_values = {line[0]: line[2] for line in table.rows}
    assert len(p_values) == 6
    assert max(p_values[f"dqn, {name}"] for name in ("ppo", "a2c", "reinforce")) < 0.05


def test_the_committed_curves_say_that_ppo_loses_less_than_dqn_in_the_mean_but_not_significantly() -> None:
    curves = {case.name: efficiency.training_returns(case) for case in CASES}
    means = {name: np.mean(efficiency.shares_lost(each, 475.0)) for name, each in curves.items()}
    assert {name: round(float(mean), 3) for name, mean in means.items()} == {
        "dqn": 0.062,
        "ppo": 0.038,
        "a2c": 0.007,
        "reinforce": 0.24,
    }
    p_values = {line[0]: line[3] for line in efficiency.comparison_table(curves).rows}
    assert 0.05 < p_values["dqn, ppo"] < 0.06
    assert max(p for pair, p in p_values.items() if pair != "dqn, ppo") < 0.05

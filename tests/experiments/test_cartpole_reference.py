"""The cart-pole on a lattice: its policy balances from everywhere it should, and what is called doomed is."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from rlkit.agents import A2C, DQN
from rlkit.envs import CartPole, GridWorld, make
from rlkit.envs.dynamics import noiseless_step
from rlkit.evaluation import EVALUATION_SEED, rollout
from rlkit.experiments.cli import main
from rlkit.experiments.workflows.cartpole import analysis, cartpole_of
from rlkit.experiments.workflows.cartpole.reference import (
    GreedyPolicy,
    LatticeReference,
    cartpole_lattice,
    solved,
    standard_starts,
    steps_balanced,
    steps_left,
)

POLE = CartPole()


@pytest.fixture(scope="module")
def coarse() -> LatticeReference:
    return solved(POLE, points=7, tolerance=1e-6)


@pytest.fixture(scope="module")
def modest() -> LatticeReference:
    return solved(POLE, points=15)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in {"RESOLUTION": 9, "EPISODES": 3, "VISITED_EPISODES": 2, "STARTS_PER_AXIS": 2}.items():
        monkeypatch.setattr(analysis, name, number)


def falls_within(state: np.ndarray, steps: int) -> bool:
    """Whether every sequence of pushes fails, one sequence after the other."""
    step = noiseless_step(POLE)
    for pushes in product((0, 1), repeat=steps):
        here, up = state[None], True
        for push in pushes:
            here, _, terminated = step(here, np.array([push]))
            up = up and not terminated[0]
        if up:
            return False
    return True


def test_the_lattice_covers_the_box_with_zero_on_every_axis() -> None:
    lattice = cartpole_lattice(POLE, 7)
    assert lattice.shape == (7, 7, 7, 7)
    for axis, limit in zip(lattice.axes, (2.4, 4.0, POLE.theta_limit, 3.5), strict=True):
        assert (axis[0], axis[3], axis[-1]) == (-limit, 0.0, limit)
        np.testing.assert_allclose(axis, -axis[::-1], atol=1e-15)


def test_left_and_right_are_worth_the_same(coarse: LatticeReference) -> None:
    state = np.random.default_rng(0).uniform(-0.2, 0.2, (50, 4))
    np.testing.assert_allclose(coarse.value_at(state), coarse.value_at(-state), rtol=0, atol=2e-6)
    np.testing.assert_allclose(coarse.q_at(state), coarse.q_at(-state)[:, ::-1], rtol=0, atol=2e-6)


def test_no_state_is_worth_more_than_balancing_for_ever(coarse: LatticeReference) -> None:
    assert coarse.solution.upper.max() <= 100 + 1e-6
    assert coarse.solution.value.min() >= 1 - 1e-6  # the failing step is paid too


@pytest.mark.slow
def test_steps_are_those_of_one_cart_after_the_other(coarse: LatticeReference) -> None:
    start = np.random.default_rng(2).uniform(-1, 1, (20, 4)) * [2.4, 2.0, 0.2, 2.0]
    counted = []
    for state in start:
        up, steps = True, 0
        while up and steps < 60:
            state, _, terminated = POLE.transition(state, coarse.q_at(state).argmax(axis=-1), np.zeros(0))
            up, steps = not terminated, steps + 1
        counted.append(steps)
    np.testing.assert_array_equal(steps_balanced(coarse, start, 60), counted)
    assert len(set(counted)) > 5


def test_what_is_doomed_falls_whatever_is_done() -> None:
    state = np.random.default_rng(0).uniform(-1, 1, (300, 4)) * [2.4, 4.0, 0.2, 3.0]
    left = steps_left(POLE, state)
    short = np.flatnonzero((left > 0) & (left <= 6))
    assert len(short) > 20
    for index in short[:20]:
        assert falls_within(state[index], int(left[index]))
        assert not falls_within(state[index], int(left[index]) - 1)
    assert (steps_left(POLE, np.zeros((1, 4))) == 0).all()


@pytest.mark.slow
def test_nothing_is_both_balanced_and_doomed(coarse: LatticeReference) -> None:
    state = np.random.default_rng(1).uniform(-1, 1, (400, 4)) * [2.4, 2.0, 0.2, 2.0]
    balanced, left = steps_balanced(coarse, state, 100), steps_left(POLE, state)
    doomed = left > 0
    assert (balanced[doomed] <= left[doomed]).all()


def test_starts_are_the_box_with_its_corners() -> None:
    starts = standard_starts(3)
    assert starts.shape == (81, 4)
    corners = {tuple(corner) for corner in product((-0.05, 0.05), repeat=4)}
    assert corners <= {tuple(start) for start in starts.tolist()}


@pytest.mark.slow
def test_the_greedy_policy_of_a_modest_lattice_balances_from_every_standard_start(modest: LatticeReference) -> None:
    assert modest.solution.width <= 1e-9
    random_starts = np.random.default_rng(0).uniform(-0.05, 0.05, (4096, 4))
    starts = np.concatenate([standard_starts(7), random_starts])
    assert (steps_balanced(modest, starts) == 500).all()
    env = make("CartPole-v1", seeds=[EVALUATION_SEED], num_envs=1000, restart=False, noise="gymnasium", double=True)
    assert (rollout(GreedyPolicy(modest), env).returns == 500).all()


@pytest.mark.slow
def test_finer_lattices_come_nearer_to_balancing_for_ever(modest: LatticeReference) -> None:
    references = (solved(POLE, 7, tolerance=1e-3), solved(POLE, 11, tolerance=1e-3), modest)
    values = [float(reference.value_at(np.zeros(4))) for reference in references]
    np.testing.assert_allclose(values, [67.6, 81.6, 89.1], atol=0.1)


@pytest.mark.slow
def test_the_command_solves_the_cart_pole(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = DQN("CartPole-v1", seeds=range(2), device="cpu", net_arch=(16,))
    agent.save(tmp_path / "dqn.safetensors")
    args = ["solve", "CartPole-v1", "--points", "5", "--policy", str(tmp_path / "dqn.safetensors")]
    assert main([*args, "--out", str(tmp_path / "out"), "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    results = out["results"]
    assert results["upright_lower"] <= results["upright_value"] <= results["upright_upper"]
    assert results["balancing_for_ever"] == pytest.approx(100)
    assert results["grid_starts"] == 16
    assert [row["seed"] for row in results["learned"]] == [0, 1]
    assert all(row["largest_error"] >= row["mean_error"] > 10 for row in results["learned"])
    for section in results["sections"]:
        assert section["balanced"] + section["doomed"] + section["unknown"] == pytest.approx(1)
    assert out["settings"]["states"] == 5**4
    for name in ("balance.svg", "learned.svg"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"<?xml")


def misuse(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(["solve", "CartPole-v1", *args]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_what_cannot_be_solved_on_a_lattice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "points 1: an axis needs two or more" in misuse(capsys, "--points", "1")
    assert "leave out --limit, --prove and --method" in misuse(capsys, "--prove")
    assert "gamma 1.0" in misuse(capsys, "--points", "3", "--gamma", "1")
    assert "device 'quantum' cannot be used" in misuse(capsys, "--points", "3", "--device", "quantum")
    assert "half_length must be positive" in misuse(capsys, "--env-kwargs", "half_length=-1")
    assert "half_length" in misuse(capsys, "--env-kwargs", "half_length=abc")
    assert "a lattice holds at most 2,147,483,647" in misuse(capsys, "--points", "300")
    A2C("CartPole-v1", device="cpu").save(tmp_path / "a2c.safetensors")
    DQN("CartPole-v1", device="cpu", normalize_rewards=True).save(tmp_path / "scaled.safetensors")
    assert "without normalize_rewards" in misuse(capsys, "--policy", str(tmp_path / "scaled.safetensors"))
    DQN("CartPole-v1", device="cpu", gamma=0.9).save(tmp_path / "dqn.safetensors")
    assert "give a DQN of rlkit" in misuse(capsys, "--policy", str(tmp_path / "a2c.safetensors"))
    assert "pass --gamma 0.9" in misuse(capsys, "--policy", str(tmp_path / "dqn.safetensors"))
    longer = ("--env-kwargs", "half_length=1", "--gamma", "0.9")
    assert "not on this cart-pole" in misuse(capsys, "--policy", str(tmp_path / "dqn.safetensors"), *longer)


def test_only_the_cart_pole_is_one() -> None:
    assert cartpole_of("FrozenLake-v1", {}) is None
    assert cartpole_of("rlkit/CartPole-v1", {"half_length": 1.0}) == CartPole(half_length=1.0)


def test_noisy_dynamics_have_no_lattice() -> None:
    with pytest.raises(ValueError, match="GridWorld draws 1 random numbers a step: a lattice needs deterministic"):
        noiseless_step(GridWorld())

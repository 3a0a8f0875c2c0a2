"""Grid worlds: published values, equality with gymnasium's tables, the simulator against the table, maps, pictures."""

from __future__ import annotations

import contextlib
import doctest
from collections import Counter
from types import SimpleNamespace
from typing import Any

import gymnasium
import matplotlib
import numpy as np
import pytest
import torch
from devices import CPU_AND_GPUS
from gymnasium.envs.toy_text.utils import categorical_sample
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from rlkit.envs import GridWorld, TabularDynamics, Tile, maps, random_map
from rlkit.envs.gridtable import ACTIONS, reachable
from rlkit.envs.maps import MAPS, Rules, is_solvable, parse_map
from rlkit.envs.render import Window, draw_cartpole, draw_values
from rlkit.mdp import MOVES, TabularMDP
from rlkit.planning import backward_induction, evaluate, policy_iteration, start_value, value_iteration

LEFT, DOWN, RIGHT, UP = range(4)
BELOW_ONE = np.nextafter(1.0, 0.0)
QUICK = settings(max_examples=60, deadline=None)

matplotlib.use("agg")


def outcomes(mdp: TabularMDP, state: int, action: int) -> dict[tuple[int, float, bool], float]:
    """Probability of every distinct outcome."""
    table: dict[tuple[int, float, bool], float] = {}
    for k in range(mdp.num_successors):
        key = (int(mdp.successor[state, action, k]), float(mdp.reward[state, action, k]),
               bool(mdp.terminated[state, action, k]))  # fmt: skip
        table[key] = table.get(key, 0.0) + float(mdp.probability[state, action, k])
    return {key: probability for key, probability in table.items() if probability > 0}


def step(grid: GridWorld, place: tuple[int, int], action: int, u: float = 0.5) -> tuple[tuple[int, int], float, bool]:
    """One simulated step from a place on the map."""
    state = np.array([grid.state_of[place]])
    next_state, reward, terminated = grid.transition(state, np.int64(action), np.array([u]))
    row, column = grid.tile_of[next_state[0]]
    return (int(row), int(column)), float(reward), bool(terminated)


# Published values


@pytest.mark.parametrize(
    ("gamma", "value"),
    [
        (0.90, 4348890 / 63127201),  # 0.0688909049; all three solved in rational numbers
        (0.95, 298507551082420 / 1654041892543499),  # 0.1804715784
        (0.99, 868292016472811700 / 1601938145778704383),  # 0.5420259320
    ],
)
def test_frozenlake_4x4_optimum(gamma: float, value: float) -> None:
    solution = value_iteration(GridWorld("frozenlake-4x4").mdp, gamma, tolerance=1e-11)
    assert solution.value[0] == pytest.approx(value, abs=1e-11)


def test_frozenlake_4x4_best_chance_is_fourteen_seventeenths() -> None:
    assert policy_iteration(GridWorld("frozenlake-4x4").mdp, 1.0).value[0] == pytest.approx(14 / 17, abs=1e-12)


def test_frozenlake_4x4_best_success_within_its_step_limit() -> None:
    mdp = GridWorld("frozenlake-4x4").mdp
    assert mdp.max_steps == 100
    assert backward_induction(mdp).value[0, 0] == pytest.approx(0.7441902879, abs=1e-10)


def test_frozenlake_8x8_optimum() -> None:
    solution = value_iteration(GridWorld("frozenlake-8x8").mdp, 0.99, tolerance=1e-12)
    assert solution.value[0] == pytest.approx(0.414640361799988, abs=1e-12)


def test_cliff_optimum_is_minus_thirteen() -> None:
    mdp = GridWorld("cliff").mdp
    assert start_value(mdp, backward_induction(mdp).value[0]) == -13.0
    assert start_value(mdp, policy_iteration(mdp, 1.0).value) == pytest.approx(-13.0, abs=1e-10)


def test_sutton_barto_random_policy() -> None:
    grid = GridWorld("sutton-barto-5x5")
    value = grid.to_map(evaluate(grid.mdp, np.full((25, 4), 0.25), 0.9))
    published = [
        [3.3, 8.8, 4.4, 5.3, 1.5],
        [1.5, 3.0, 2.3, 1.9, 0.5],
        [0.1, 0.7, 0.7, 0.4, -0.4],
        [-1.0, -0.4, -0.4, -0.6, -1.2],
        [-1.9, -1.3, -1.2, -1.4, -2.0],
    ]
    np.testing.assert_allclose(value, published, rtol=0, atol=0.0501)


def test_sutton_barto_optimal_policy() -> None:
    grid = GridWorld("sutton-barto-5x5")
    solution = value_iteration(grid.mdp, 0.9)
    published = [
        [22.0, 24.4, 22.0, 19.4, 17.5],
        [19.8, 22.0, 19.8, 17.8, 16.0],
        [17.8, 19.8, 17.8, 16.0, 14.4],
        [16.0, 17.8, 16.0, 14.4, 13.0],
        [14.4, 16.0, 14.4, 13.0, 11.7],
    ]
    np.testing.assert_allclose(grid.to_map(solution.value), published, rtol=0, atol=0.0501)
    assert solution.value[1] == pytest.approx(10 / (1 - 0.9**5), abs=1e-8)  # A, A', four steps up, A
    optimal = solution.optimal_actions[grid.state_of[0]]  # Figure 3.5's first row of arrows
    assert [[ACTIONS[a] for a in np.flatnonzero(row)] for row in optimal] == [
        ["right"], ["left", "down", "right", "up"], ["left"], ["left", "down", "right", "up"], ["left"],
    ]  # fmt: skip


def test_russell_norvig_values() -> None:
    grid = GridWorld("russell-norvig-4x3")
    value = grid.to_map(policy_iteration(grid.mdp, 1.0).value)
    published = [[0.812, 0.868, 0.918, 0], [0.762, np.nan, 0.660, 0], [0.705, 0.655, 0.611, 0.388]]
    np.testing.assert_allclose(value, published, rtol=0, atol=0.000501)


def test_four_rooms_layout_and_slip() -> None:
    grid = GridWorld("four-rooms")
    assert grid.mdp.num_states == 104
    hallways = [(3, 6), (6, 2), (7, 9), (10, 6)]
    for row, column in hallways:
        across = [grid.letters[row - 1, column], grid.letters[row + 1, column]]
        along = [grid.letters[row, column - 1], grid.letters[row, column + 1]]
        assert "##" in ("".join(across), "".join(along))
    here = grid.state_of[1, 1]  # a corner: left and up are blocked
    chances = outcomes(grid.mdp, here, RIGHT)
    assert chances[(grid.state_of[1, 2], 0.0, False)] == pytest.approx(2 / 3)
    assert chances[(grid.state_of[2, 1], 0.0, False)] == pytest.approx(1 / 9)
    assert chances[(here, 0.0, False)] == pytest.approx(2 / 9)
    without_slip = GridWorld("four-rooms", slip=0.0)
    value = without_slip.to_map(value_iteration(without_slip.mdp, 0.9).value)
    assert value[1, 1] == pytest.approx(0.9**13)  # 14 steps through the east hallway's room


@pytest.mark.parametrize(("gamma", "first"), [(0.70, LEFT), (0.72, RIGHT)])  # the threshold is sqrt(1/2) = 0.7071
def test_two_goal_choice_depends_on_the_discount(gamma: float, first: int) -> None:
    grid = GridWorld("two-goal")
    solution = value_iteration(grid.mdp, gamma)
    assert solution.policy[grid.state_of[2, 3]] == first
    assert start_value(grid.mdp, solution.value) == pytest.approx(max(gamma**2 / 2, gamma**4), abs=1e-9)


# Equality with gymnasium


@pytest.mark.parametrize(
    ("name", "gym_id"), [("frozenlake-4x4", "FrozenLake-v1"), ("frozenlake-8x8", "FrozenLake8x8-v1")]
)
def test_table_equals_gymnasiums_frozenlake(name: str, gym_id: str) -> None:
    mdp = GridWorld(name).mdp
    theirs = TabularMDP.from_gymnasium(gymnasium.make(gym_id))
    assert mdp.max_steps == theirs.max_steps
    np.testing.assert_array_equal(mdp.start, theirs.start)
    assert mdp.num_states == theirs.num_states
    for state in range(mdp.num_states):
        for action in range(4):
            assert outcomes(mdp, state, action) == pytest.approx(outcomes(theirs, state, action), abs=1e-15)


def test_table_equals_gymnasiums_frozenlake_without_ice() -> None:
    mdp = GridWorld("frozenlake-4x4", slip=0.0).mdp
    assert mdp.num_successors == 1
    theirs = TabularMDP.from_gymnasium(gymnasium.make("FrozenLake-v1", is_slippery=False))
    for state in range(mdp.num_states):
        for action in range(4):
            assert outcomes(mdp, state, action) == outcomes(theirs, state, action)


def test_table_equals_gymnasiums_cliff() -> None:
    mdp = GridWorld("cliff").mdp
    theirs = TabularMDP.from_gymnasium(gymnasium.make("CliffWalking-v1"))
    standable = np.flatnonzero(reachable(mdp) & (np.arange(48) != 47))  # theirs lets one walk on from the goal
    assert len(standable) == 37
    for state in standable.tolist():
        for action, their_action in ((LEFT, 3), (DOWN, 2), (RIGHT, 1), (UP, 0)):
            assert outcomes(mdp, state, action) == outcomes(theirs, state, their_action)
    np.testing.assert_array_equal(mdp.start, theirs.start)


def test_the_same_number_slips_the_same_way_as_in_gymnasium() -> None:
    grid = GridWorld("frozenlake-8x8")
    table = gymnasium.make("FrozenLake8x8-v1").unwrapped.P  # type: ignore[attr-defined]

    fixed: Any = SimpleNamespace()
    for number in ((np.arange(30) + 0.5) / 30).tolist():
        fixed.random = lambda number=number: number
        for state in range(grid.mdp.num_states):
            for action in range(4):
                chosen = categorical_sample([entry[0] for entry in table[state][action]], fixed)
                _, successor, reward, terminated = table[state][action][chosen]
                place = tuple(grid.tile_of[state])
                assert step(grid, place, action, number) == (tuple(grid.tile_of[successor]), reward, terminated)


def test_episodes_equal_gymnasiums_on_the_same_random_numbers() -> None:
    grid = GridWorld("frozenlake-4x4")
    env = gymnasium.make("FrozenLake-v1").unwrapped
    for seed in range(20):
        theirs, _ = env.reset(seed=seed)
        numbers = np.random.default_rng()
        numbers.bit_generator.state = np.random.Generator(np.random.PCG64(seed)).bit_generator.state
        state = grid.initial(numbers.random(1))
        terminated = False
        while not terminated:
            assert theirs == state[0]
            action = (7 * int(state[0]) + seed) % 4
            theirs, their_reward, their_end, _, _ = env.step(action)
            state, reward, terminated = grid.transition(state, np.int64(action), numbers.random(1))
            assert (their_reward, their_end) == (reward, terminated)
        assert theirs == state[0]


# The simulator samples the table


@pytest.mark.slow
@QUICK
@given(
    seed=st.integers(0, 2**32 - 1),
    slip=st.sampled_from([0.0, 0.1, 0.2, 4 / 9, 2 / 3, 1.0]),
    kind=st.sampled_from(["perpendicular", "uniform"]),
)
def test_sweeping_u_gives_the_tables_probabilities(seed: int, slip: float, kind: Any) -> None:
    grid = GridWorld(random_map(4, 5, seed, holes=0.15, walls=0.15), slip=slip, slip_kind=kind)
    mdp, points = grid.mdp, 360
    u = ((np.arange(points) + 0.5) / points)[:, None]  # [U, 1]
    for state in range(mdp.num_states):
        for action in range(4):
            next_state, reward, terminated = grid.transition(np.full((points, 1), state), np.full(points, action), u)
            counts = Counter(zip(next_state[:, 0].tolist(), reward.tolist(), terminated.tolist(), strict=True))
            expected = outcomes(mdp, state, action)
            assert counts.keys() == expected.keys()
            for key, probability in expected.items():  # each of its at most 4 intervals gains or loses a point at most
                assert abs(counts[key] - points * probability) <= 4


@pytest.mark.parametrize("device", CPU_AND_GPUS)
@pytest.mark.parametrize("observation", ["index", "onehot", "coordinates", "planes"])
def test_numpy_and_torch_agree_exactly(device: str, observation: Any) -> None:
    rng = np.random.default_rng(7)
    for name in MAPS:
        grid = GridWorld(name, observation=observation)
        grid_u = np.concatenate([rng.random((6, 40, 1)), np.zeros((6, 1, 1)), np.full((6, 1, 1), BELOW_ONE)], axis=1)
        state = rng.integers(grid.mdp.num_states, size=(6, 42, 1))
        action = rng.integers(4, size=(6, 42))
        in_numpy = (*grid.transition(state, action, grid_u), grid.initial(grid_u), grid.observe(state))
        u_t, state_t, action_t = (torch.tensor(array, device=device) for array in (grid_u, state, action))
        in_numpy = (in_numpy[0], in_numpy[1].astype(np.float32), *in_numpy[2:])  # as rewards are in torch
        in_torch = (*grid.transition(state_t, action_t, u_t), grid.initial(u_t), grid.observe(state_t))
        for ours, theirs in zip(in_numpy, in_torch, strict=True):
            np.testing.assert_array_equal(ours, theirs.cpu().numpy())
            assert torch.from_numpy(ours).dtype == theirs.dtype
            assert theirs.device.type == device


def test_shapes_and_dtypes_of_one_and_of_many() -> None:
    grid = GridWorld("frozenlake-4x4")
    assert (grid.initial_noise, grid.transition_noise) == (1, 1)
    for leading in ((), (3,), (2, 5)):
        state = grid.initial(np.zeros((*leading, 1)))
        next_state, reward, terminated = grid.transition(state, np.zeros(leading, np.int64), np.zeros((*leading, 1)))
        assert (state.shape, state.dtype) == ((*leading, 1), np.int64)
        assert (next_state.shape, next_state.dtype) == ((*leading, 1), np.int64)
        assert (np.shape(reward), reward.dtype) == (leading, np.float64)
        assert (np.shape(terminated), terminated.dtype) == (leading, np.bool_)
        assert np.shape(grid.observe(state)) == leading


def test_a_strided_u_is_accepted() -> None:
    grid = GridWorld("four-rooms")
    numbers = torch.rand(4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u = numbers[..., 1:]
    state = grid.initial(u)
    assert torch.equal(state, grid.initial(u.clone()))
    action = torch.zeros(4, 3, dtype=torch.int64)
    assert torch.equal(grid.transition(state, action, u)[0], grid.transition(state, action, u.clone())[0])


@pytest.mark.parametrize("as_array", [np.array, torch.tensor])
def test_an_outcome_of_probability_zero_is_never_drawn(as_array: Any) -> None:
    """Padding in front, between and behind, and ten tenths that do not add up to one in floating point."""
    row = [0.0] + [0.1] * 5 + [0.0] + [0.1] * 5 + [0.0]
    width = len(row)
    assert np.cumsum(row)[-1] <= BELOW_ONE
    mdp = TabularMDP(
        successor=np.tile(np.arange(width), (width, 1, 1)),
        probability=np.tile(row, (width, 1, 1)),
        reward=np.zeros((width, 1, width)),
        terminated=np.zeros((width, 1, width), bool),
        start=np.array(row),
    )
    dynamics = TabularDynamics(mdp)
    u = as_array([[0.0], [0.45], [0.55], [BELOW_ONE]])
    state, action = as_array([[0]] * 4), as_array([0] * 4)
    next_state, _, _ = dynamics.transition(state, action, u)
    assert next_state[:, 0].tolist() == [1, 5, 7, 11]
    assert dynamics.initial(u)[:, 0].tolist() == [1, 5, 7, 11]


def test_a_start_is_drawn_from_the_start_distribution() -> None:
    grid = GridWorld(["S.S", ".G.", "..S"])
    points = 300
    first = grid.initial(((np.arange(points) + 0.5) / points)[:, None])[:, 0]
    assert Counter(first.tolist()) == {0: 100, 2: 100, 8: 100}


def test_features_of_a_tabular_mdp_are_checked() -> None:
    mdp = GridWorld("frozenlake-4x4").mdp
    space = gymnasium.spaces.Box(0, 1, (2,), np.float32)
    table = np.zeros((16, 2), np.float32)
    assert TabularDynamics(mdp, table, space).observe(np.array([3])).tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"features have 15 rows: give one row for each of the 16 states"):
        TabularDynamics(mdp, table[1:], space)
    with pytest.raises(ValueError, match=r"features are float64 of shape \(2,\) .* make them agree"):
        TabularDynamics(mdp, table.astype(np.float64), space)
    with pytest.raises(ValueError, match=r"features without observation_space"):
        TabularDynamics(mdp, table)
    with pytest.raises(ValueError, match=r"without features"):
        TabularDynamics(mdp, None, space)


# What the rules mean


@pytest.mark.parametrize(("action", "target"), [(LEFT, (1, 0)), (DOWN, (2, 1)), (RIGHT, (1, 2)), (UP, (0, 1))])
def test_actions_point_as_documented(action: int, target: tuple[int, int]) -> None:
    grid = GridWorld(["...", ".S.", "..G"])
    assert step(grid, (1, 1), action)[0] == target
    assert tuple(np.array([1, 1]) + MOVES[action]) == target


def test_reward_is_step_plus_bump_plus_entry() -> None:
    grid = GridWorld(
        ["Sr#", "..H", "..G"],
        tiles={"r": -3.0}, step_reward=-0.1, bump_reward=-0.5, goal_reward=2.0, hole_reward=-1.0,
    )  # fmt: skip
    assert step(grid, (0, 0), RIGHT) == ((0, 1), -3.1, False)
    assert step(grid, (0, 1), RIGHT) == ((0, 1), -0.6, False)  # bumping enters nothing
    assert step(grid, (0, 1), UP) == ((0, 1), -0.6, False)
    assert step(grid, (0, 0), DOWN) == ((1, 0), -0.1, False)
    assert step(grid, (1, 1), RIGHT) == ((1, 2), -1.1, True)
    assert step(grid, (2, 1), RIGHT) == ((2, 2), 1.9, True)


def test_a_tile_carries_on_entry_or_at_the_next_step() -> None:
    grid = GridWorld(
        ["Se.", ".xG", "g.r"],
        tiles={
            "e": Tile(reward=-5.0, to=(2, 2)),
            "x": Tile(reward=7.0, to="r", when="exit"),
            "r": -1.0,
            "g": Tile(reward=0.5, terminal=True),
        },
        step_reward=-0.25,
    )
    assert step(grid, (0, 0), RIGHT) == ((2, 2), -6.25, False)  # -0.25 - 5 - 1, never standing on e
    assert step(grid, (1, 0), RIGHT) == ((1, 1), -0.25, False)
    for action in range(4):
        assert step(grid, (1, 1), action) == ((2, 2), 5.75, False)  # -0.25 + 7 - 1
    assert step(grid, (2, 2), UP) == ((1, 2), 0.75, True)
    assert step(grid, (2, 1), LEFT) == ((2, 0), 0.25, True)
    assert not reachable(grid.mdp)[grid.state_of[0, 1]]


def test_a_tile_may_carry_into_the_goal() -> None:
    grid = GridWorld(["Se", "#G"], tiles={"e": Tile(reward=1.0, to="G")}, goal_reward=10.0)
    assert step(grid, (0, 0), RIGHT) == ((1, 1), 11.0, True)


@pytest.mark.parametrize(
    ("kind", "chances"),
    [
        ("perpendicular", {LEFT: 0.0, DOWN: 0.15, RIGHT: 0.7, UP: 0.15}),
        ("uniform", {LEFT: 0.075, DOWN: 0.075, RIGHT: 0.775, UP: 0.075}),
    ],
)
def test_slip_kinds(kind: Any, chances: dict[int, float]) -> None:
    grid = GridWorld(["...", ".S.", "..G"], slip=0.3, slip_kind=kind)
    here = grid.state_of[1, 1]
    expected = {
        (int(grid.state_of[tuple(np.array([1, 1]) + MOVES[direction])]), 0.0, False): chance
        for direction, chance in chances.items()
        if chance > 0
    }
    assert outcomes(grid.mdp, here, RIGHT) == pytest.approx(expected)


def test_named_rules_can_be_replaced_one_by_one() -> None:
    grid = GridWorld("cliff", slip=0.1, goal_reward=5.0, max_steps=None, starts=[(0, 0), (0, 11)])
    assert grid.max_steps is None
    assert (grid.rules.step_reward, grid.rules.goal_reward, grid.rules.slip) == (-1.0, 5.0, 0.1)
    assert np.flatnonzero(grid.mdp.start).tolist() == [0, 11]
    assert GridWorld("cliff").max_steps == GridWorld("cliff").mdp.max_steps == 200
    assert GridWorld("cliff", max_steps=7).max_steps == 7


def test_text_maps_in_three_spellings() -> None:
    block = """
        S.#
        ..G
    """
    for spelling in (block, "S.#\n..G", ["S.#", "..G"], ("S.#", "..G")):
        assert GridWorld(spelling).letters.tolist() == [["S", ".", "#"], [".", ".", "G"]]
    assert GridWorld("S..G").letters.shape == (1, 4)


def test_walls_are_no_states() -> None:
    grid = GridWorld(["S.#", "#.G"])
    assert grid.tile_of.tolist() == [[0, 0], [0, 1], [1, 1], [1, 2]]
    assert grid.state_of.tolist() == [[0, 1, -1], [-1, 2, 3]]
    np.testing.assert_array_equal(grid.to_map(np.arange(4.0)), [[0, 1, np.nan], [np.nan, 2, 3]])
    assert grid.to_map(np.zeros((7, 4)), wall=-1).shape == (7, 2, 3)


def test_without_a_start_the_free_tiles_are_equally_likely() -> None:
    grid = GridWorld(["..G", "#H."])
    np.testing.assert_array_equal(grid.mdp.start, np.array([1, 1, 0, 0, 1]) / 3)


# Any map


@pytest.mark.slow
@QUICK
@given(
    seed=st.integers(0, 2**64 - 1),
    rows=st.integers(1, 6),
    columns=st.integers(2, 6),
    slip=st.floats(0, 1),
    kind=st.sampled_from(["perpendicular", "uniform"]),
)
def test_the_table_of_any_map(seed: int, rows: int, columns: int, slip: float, kind: Any) -> None:
    lines = random_map(rows, columns, seed, holes=0.15, walls=0.2)
    grid = GridWorld(lines, slip=slip, slip_kind=kind, bump_reward=-1.0)
    mdp = grid.mdp
    np.testing.assert_allclose(mdp.probability.sum(axis=2), 1, rtol=0, atol=1e-15)
    assert (mdp.probability > 0).all()
    assert mdp.start.sum() == 1
    assert not (grid.letters[tuple(grid.tile_of.T)] == "#").any()
    over = np.isin(grid.letters[tuple(grid.tile_of.T)], ["G", "H"])
    assert mdp.terminated[over].all()
    np.testing.assert_array_equal(mdp.terminated[~over], over[mdp.successor[~over]])
    distance = np.abs(grid.tile_of[mdp.successor] - grid.tile_of[:, None, None]).sum(axis=-1)  # [N, A, K]
    np.testing.assert_array_equal(distance[~over] == 0, mdp.reward[~over] == -1.0)  # to stay is to bump
    assert distance.max() <= 1


@pytest.mark.slow
@QUICK
@given(
    seed=st.integers(0, 2**64 - 1), rows=st.integers(1, 9), columns=st.integers(2, 9), holes=st.floats(0, 0.3),
    walls=st.floats(0, 0.2),
)  # fmt: skip
def test_random_maps_are_solvable_and_depend_on_the_seed_alone(
    seed: int, rows: int, columns: int, holes: float, walls: float
) -> None:
    numpy_state = np.random.get_state()[1].tobytes()  # type: ignore[index] # noqa: NPY002
    lines = random_map(rows, columns, seed, holes, walls)
    assert lines == random_map(rows, columns, seed, holes, walls)
    assert np.random.get_state()[1].tobytes() == numpy_state  # type: ignore[index] # noqa: NPY002
    assert (lines[0][0], lines[-1][-1]) == ("S", "G")
    assert is_solvable(parse_map(lines))
    mdp = GridWorld(lines).mdp  # without slips the optimum walks to the goal
    assert backward_induction(mdp, horizon=rows * columns).value[0] @ mdp.start == 1


def test_the_example_of_a_random_map_is_what_it_gives() -> None:
    assert doctest.testmod(maps) == (0, 3)


def test_random_maps_differ_and_have_the_asked_density() -> None:
    assert len({random_map(8, 8, seed) for seed in range(20)}) == 20
    lines = "".join(random_map(60, 60, seed=1, holes=0.1, walls=0.05))
    assert lines.count("H") / 3600 == pytest.approx(0.1, abs=0.02)
    assert lines.count("#") / 3600 == pytest.approx(0.05, abs=0.02)


def test_solvable_means_every_start() -> None:
    assert is_solvable(parse_map(["S.", ".G"]))
    assert not is_solvable(parse_map(["S#S", ".#G"]))
    assert not is_solvable(parse_map(["SH", "HG"]))
    assert not is_solvable(parse_map([".#.", "..#", "#.G"]))  # the free tile in the corner


# Observations


def test_observation_index() -> None:
    grid = GridWorld("frozenlake-4x4")
    assert grid.observation_space == gymnasium.spaces.Discrete(16)
    np.testing.assert_array_equal(grid.observations(), np.arange(16))


def test_observation_onehot() -> None:
    grid = GridWorld("russell-norvig-4x3", observation="onehot")
    assert grid.observation_space == gymnasium.spaces.Box(0, 1, (11,), np.float32)
    np.testing.assert_array_equal(grid.observations(), np.eye(11, dtype=np.float32))


def test_observation_coordinates() -> None:
    grid = GridWorld(["S.#", "..#", "..."], observation="coordinates", continuing=True)
    assert grid.observation_space == gymnasium.spaces.Box(0, 1, (2,), np.float32)
    np.testing.assert_array_equal(
        grid.observations(), np.array([[0, 0], [0, 0.5], [0.5, 0], [0.5, 0.5], [1, 0], [1, 0.5], [1, 1]], np.float32)
    )
    assert GridWorld("S.G", observation="coordinates").observations().tolist() == [[0, 0], [0, 0.5], [0, 1]]


@pytest.mark.parametrize(("dtype", "bright"), [("uint8", 255), ("float32", 1)])
def test_observation_planes(dtype: Any, bright: int) -> None:
    grid = GridWorld(
        ["Sr#", "H.G"], observation="planes", plane_dtype=dtype, tiles={"r": -1.0}
    )  # fmt: skip
    assert grid.plane_names == ("agent", "wall", "hole", "goal", "r")
    assert grid.observation_space == gymnasium.spaces.Box(0, bright, (5, 2, 3), np.dtype(dtype).type)
    seen = grid.observe(grid.state_of[1, 1][None])
    expected = np.zeros((5, 2, 3), dtype)
    for plane, place in enumerate([(1, 1), (0, 2), (1, 0), (1, 2), (0, 1)]):
        expected[plane, *place] = bright
    np.testing.assert_array_equal(seen, expected)
    assert seen.dtype == expected.dtype


@pytest.mark.parametrize("observation", ["index", "onehot", "coordinates", "planes"])
def test_every_observation_belongs_to_its_space(observation: Any) -> None:
    grid = GridWorld("cliff", observation=observation)
    seen = grid.observations()
    assert seen.shape == (48, *grid.observation_space.shape)  # type: ignore[misc]
    assert seen.dtype == grid.observation_space.dtype
    states = np.arange(48)[:, None]
    np.testing.assert_array_equal(grid.observe(states), seen)
    assert all(grid.observation_space.contains(row) for row in seen)
    assert len(np.unique(seen.reshape(48, -1), axis=0)) == 48


def test_what_is_seen_is_the_callers_to_write_on() -> None:
    grid = GridWorld("cliff", observation="onehot")
    seen = grid.observe(np.array([3]))
    seen[:] = 0
    assert grid.observe(np.array([3])).sum() == 1
    with pytest.raises(ValueError, match="read-only"):
        grid.observations()[0] = 0


# Bad input: one error, with the value, the place and the remedy


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["S?G"], {}, r"unknown map character '\?' at row 0, column 1: use 'S' start, '.' free"),
        (["S.", ".xG"[:2]], {}, r"letter 'x' at row 1, column 1 is not defined: .* by tiles=\{'x': Tile"),
        (["S..", "..", "..G"], {}, r"ragged: row 1 \('\.\.'\) has 2 tiles and row 0 has 3: fill short rows with '#'"),
        ([], {}, r"the map is empty: give at least one line"),
        ("", {}, r"the map is empty"),
        (["", ""], {}, r"the map is empty"),
        (["S.", ".."], {}, r"no goal: mark one with 'G', or pass continuing=True"),
        (["SH", ".."], {}, r"no goal: mark one with 'G'"),
        (["S#G"], {}, r"no start reaches the goal 'G' at row 0, column 2: open a way to it"),
        (["SG#G"], {}, r"no start reaches the goal 'G' at row 0, column 3"),
        (["SHG"], {}, r"no start reaches the goal 'G' at row 0, column 2"),
        (["HG"], {}, r"the map has no start: mark one with 'S', or leave a tile free"),
        (["S.G"], {"continuing": True}, r"continuing=True, and 'G' at row 0, column 2 ends the episode"),
        (["S.H"], {"continuing": True}, r"continuing=True, and 'H' at row 0, column 2 ends the episode"),
        (["S.G"], {"slip": 1.5}, r"slip 1\.5: a probability, give a number from 0 to 1"),
        (["S.G"], {"slip": float("nan")}, r"slip nan: a probability"),
        (["S.G"], {"slip_kind": "sideways"}, r"slip_kind 'sideways': choose one of perpendicular, uniform"),
        (["S.G"], {"step_reward": float("inf")}, r"step_reward inf: give a finite number"),
        (["S.G"], {"observation": "pixels"}, r"observation 'pixels': choose one of index, onehot, coordinates, planes"),
        (["S.G"], {"plane_dtype": "float64"}, r"plane_dtype 'float64': choose one of uint8, float32"),
        (["S.G"], {"tiles": {"H": 1.0}}, r"tile 'H': use one letter other than S, H and G"),
        (["S.G"], {"tiles": {"ab": 1.0}}, r"tile 'ab': use one letter"),
        (["S.G"], {"tiles": {"1": 1.0}}, r"tile '1': use one letter"),
        (["Sa.G"], {"tiles": {"a": Tile(to="b")}}, r"carries the agent to 'b', which occurs 0 times on the map"),
        (["Sa.G"], {"tiles": {"a": Tile(to=(3, 0))}}, r"carries the agent to \(3, 0\), which is a wall or outside"),
        (["Sa#.G"], {"tiles": {"a": Tile(to=(0, 2))}}, r"carries the agent to \(0, 2\), which is a wall or outside"),
        (["SabG"], {"tiles": {"a": Tile(to="b"), "b": Tile(to="S")}}, r"to 'b', which carries it on at once: name"),
        (["S.G"], {"starts": [(0, 2)]}, r"start \(0, 2\) is a wall, an ending or outside the map"),
        (["S.G"], {"starts": [(0, -1)]}, r"start \(0, -1\) is a wall, an ending or outside the map"),
        (["S.G"], {"starts": []}, r"the map has no start"),
        (["S.G"], {"max_steps": 0}, r"max_steps 0: give a positive integer"),
    ],
)  # fmt: skip
def test_bad_input(lines: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridWorld(lines, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": float("nan")}, "tile reward nan: give a finite number"),
        ({"when": "later"}, "tile when='later': choose 'entry' or 'exit'"),
        ({"terminal": True, "to": "S"}, "a terminal tile that carries the agent to 'S': choose one of the two"),
        ({"when": "exit"}, "a tile with when='exit' and nowhere to go: name the place in `to`"),
    ],
)
def test_bad_tiles(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tile(**options)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("frozen-lake-4x4", "frozenlake-4x4"), ("8x8", "frozenlake-8x8"), ("FourRooms", "four-rooms"),
     ("clif", "cliff"), ("twogoals", "two-goal")],
)  # fmt: skip
def test_an_unknown_map_suggests_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown map '{name}': did you mean '{nearest}'\?"):
        GridWorld(name)


def test_a_name_like_no_other_lists_the_maps() -> None:
    with pytest.raises(ValueError, match=r"unknown map 'zzzz': The named maps are frozenlake-4x4, "):
        GridWorld("zzzz")


def test_observations_too_large_for_memory_are_refused_before_they_are_made() -> None:
    lines = ["S" + "." * 199, *["." * 200] * 198, "." * 199 + "G"]
    with pytest.raises(ValueError, match=r"'onehot' of 40000 states takes 6\.0 GiB, more than 1: choose 'index' or"):
        GridWorld(lines, observation="onehot")
    assert GridWorld(lines, observation="coordinates").observations().shape == (40000, 2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1, 1, 0), ValueError, r"a map of 1 x 1 tiles: start and goal need at least two"),
        ((3, 3, 0, 0.7, 0.4), ValueError, r"holes 0\.7 and walls 0\.4: probabilities"),
        ((3, 3, 0, -0.1), ValueError, r"holes -0\.1 and walls 0\.0: probabilities"),
        ((3, 3, np.random.default_rng(0)), ValueError, r"seed must be an integer at least 0, got Generator"),
        ((3, 3, -1), ValueError, r"seed must be an integer at least 0, got -1"),
        ((9, 9, 0, 1.0), RuntimeError, r"no solvable map of 9 x 9 .* in 1000 draws: lower them or raise `attempts`"),
    ],
)
def test_a_map_that_cannot_be_drawn(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        random_map(*arguments)


def test_every_named_map_builds_and_says_where_it_is_from() -> None:
    for name, named in MAPS.items():
        grid = GridWorld(name)
        assert grid.mdp.name == grid.name == name
        assert named.source
        assert isinstance(grid.rules, Rules)
        assert name in repr(grid)
        assert reachable(grid.mdp).sum() == grid.mdp.num_states - (10 if name == "cliff" else 0)


# Pictures


def test_ansi_marks_the_agent() -> None:
    grid = GridWorld(["S.#", "H.G"])
    assert grid.render(grid.state_of[1, 1][None], "ansi") == " S  .  # \n H [.] G "


def test_rgb_array_shows_the_agent_where_it_is() -> None:
    grid = GridWorld("frozenlake-4x4")
    frames: list[Any] = [grid.render(np.array([state]), "rgb_array") for state in (0, 6)]
    for frame in frames:
        assert frame.shape == (256, 256, 3)
        assert frame.dtype == np.uint8
        assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 5  # start, free, hole, goal, agent
    changed = (frames[0] != frames[1]).any(axis=-1).reshape(4, 64, 4, 64).any(axis=(1, 3))  # [rows, columns]
    np.testing.assert_array_equal(np.argwhere(changed), [[0, 0], [1, 2]])
    np.testing.assert_array_equal(grid.render(np.array([0]), "rgb_array"), frames[0])


@pytest.mark.parametrize("lines", [["SG"], ["S" + "." * 699 + "G"], ["S." * 20, ".." * 19 + ".G"]])
def test_rgb_array_of_maps_of_any_shape(lines: list[str]) -> None:
    grid = GridWorld(lines)
    frame = grid.render(np.array([0]), "rgb_array")
    assert isinstance(frame, np.ndarray)
    rows, columns = grid.letters.shape
    assert frame.shape[0] * columns == frame.shape[1] * rows
    assert max(frame.shape) <= 1500


def test_a_closed_window_says_so() -> None:
    window = Window("picture")
    window.show(np.zeros((4, 4, 3), np.uint8), seconds=0.0)
    window.close()
    window.close()
    with pytest.raises(RuntimeError, match="the window is closed: make a new one"):
        window.show(np.zeros((4, 4, 3), np.uint8))


def test_an_unknown_render_mode() -> None:
    with pytest.raises(ValueError, match="render mode 'gif': choose one of rgb_array, ansi"):
        GridWorld("cliff").render(np.array([0]), "gif")


@pytest.mark.slow
def test_values_side_by_side_share_their_colors() -> None:
    grid = GridWorld("frozenlake-4x4")
    solution = value_iteration(grid.mdp, 0.99)
    figure = Figure()
    left, right = figure.subplots(1, 2)
    for axes, scale in ((left, 1.0), (right, 0.5)):
        drawn = draw_values(
            grid, scale * solution.value, solution.optimal_actions, axes=axes, limits=(0.0, 1.0), title=str(scale)
        )
        assert drawn is figure
        assert axes.get_title(loc="left") == str(scale)
        assert axes.images[1].get_clim() == (0.0, 1.0)
    shown = left.images[1].get_array()
    assert shown.mask.sum() == 5  # four holes and the goal have no value
    np.testing.assert_array_equal(shown[0], solution.value[:4])


@pytest.mark.parametrize(("blank", "shown"), [(False, 9), (True, 7)])
def test_values_of_zero_are_blank_on_demand(blank: bool, shown: int) -> None:
    """Rounding errors count as zero; they have neither a color nor a number."""
    grid = GridWorld("russell-norvig-4x3")
    value = np.arange(11.0)
    value[:3] = 0.0, 1e-15, -1.0
    axes = draw_values(grid, value, color_bar=False, blank=blank).axes[0]
    numbers = [text for text in axes.texts if text.get_text().lstrip("-")[0].isdigit()]
    assert len(numbers) == np.ma.count(axes.images[1].get_array()) == shown


@pytest.mark.parametrize("kind", ["actions", "set", "probabilities", "none"])
def test_a_picture_of_values_has_an_arrow_for_every_action(kind: Any) -> None:
    grid = GridWorld("russell-norvig-4x3")
    policies = {
        "actions": np.full(11, LEFT),
        "set": np.ones((11, 4), bool),
        "probabilities": np.tile([0.5, 0.5, 0.0, 0.0], (11, 1)),
        "none": None,
    }
    figure = draw_values(grid, np.arange(11.0), policies[kind])
    assert isinstance(figure, Figure)
    quivers: list[Any] = list(figure.axes[0].collections)
    arrows = sum(len(quiver.U) for quiver in quivers)
    assert arrows == {"actions": 9, "set": 36, "probabilities": 18, "none": 0}[kind]


@pytest.mark.parametrize("blank", [False, True])
def test_a_blank_tile_has_neither_color_nor_number(blank: bool) -> None:
    grid = GridWorld(["S..G"])
    figure = draw_values(grid, [0.0, 1e-15, 2.0, 0.0], limits=(0.0, 2.0), blank=blank)
    (_, image), texts = figure.axes[0].images, [text.get_text() for text in figure.axes[0].texts]
    assert image.get_array().mask[0].tolist() == [blank, blank, False, True]
    assert texts == (["2.00", "G"] if blank else ["0.00", "0.00", "2.00", "G"])


def test_numbers_of_a_map_have_the_same_decimals() -> None:
    figure = draw_values(GridWorld(["S...G"]), [0.144, 0.0607, -1e-9, -0.05, 0.0])
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.144", "0.061", "0.000", "-0.050", "G"]


@pytest.mark.slow
def test_arrows_point_where_actions_go() -> None:
    grid = GridWorld(["...", ".S.", "..G"])
    for action in range(4):
        figure = draw_values(grid, np.zeros(9), np.full(9, action), limits=(0.0, 1.0))
        quiver: Any = figure.axes[0].collections[0]
        down, right = MOVES[action]
        assert (np.sign(quiver.U) == right).all()
        assert (np.sign(quiver.V) == down).all()  # rows grow downwards
        assert figure.axes[0].yaxis_inverted()


def test_values_and_policies_of_another_size_are_refused() -> None:
    grid = GridWorld("russell-norvig-4x3")
    with pytest.raises(ValueError, match=r"value has shape \(12,\): give one number for each of 11 states"):
        draw_values(grid, np.zeros(12))
    with pytest.raises(ValueError, match=r"policy is float64 of shape \(11,\): give actions \[11\], or"):
        draw_values(grid, np.zeros(11), np.zeros(11))
    with pytest.raises(ValueError, match=r"value nan of state 4: only finite values can be drawn"):
        draw_values(grid, np.where(np.arange(11) == 4, np.nan, 0.0))


def test_cartpole_leans_and_moves_with_its_state() -> None:
    upright = draw_cartpole(0.0, 0.0)
    assert upright.shape == (400, 600, 3)
    assert upright.dtype == np.uint8
    np.testing.assert_array_equal(draw_cartpole(0.0, 0.0, width=300, height=200).shape, (200, 300, 3))

    def center(image: np.ndarray, top: bool) -> float:
        """Mean column of what is drawn in the pole's upper half, or around the cart."""
        rows = slice(150, 220) if top else slice(280, 296)
        drawn = (image[rows] != 255).any(axis=-1)
        return float(np.nonzero(drawn)[1].mean(axis=0))

    assert center(upright, top=True) == pytest.approx(299.5, abs=1)
    assert center(draw_cartpole(0.0, 0.2), top=True) > 310  # a positive angle leans right
    assert center(draw_cartpole(0.0, -0.2), top=True) < 289
    moved = center(draw_cartpole(1.2, 0.0), top=False) - center(upright, top=False)
    assert moved == pytest.approx(1.2 / 4.8 * 600, abs=1)
    longer = draw_cartpole(0.0, 0.0, half_length=1.0)
    assert (longer != 255).any(axis=-1).sum() > (upright != 255).any(axis=-1).sum()


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(st.one_of(st.characters(), st.sampled_from("SFHG.#ab\n ")), max_size=12),
        st.lists(st.one_of(st.none(), st.integers(), st.text("SHG.#a ", max_size=4)), max_size=4),
    )
)
def test_any_text_is_a_map_or_a_value_error(rows: Any) -> None:
    for read in (parse_map, GridWorld):
        with contextlib.suppress(ValueError):  # any other error fails
            read(rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([None], "row 0 of the map is None: give a text, or a list of one text per row"),
        (["SG", 3], "row 1 of the map is 3"),
        (None, "the map is None: give a text"),
        (5, "the map is 5: give a text"),
    ],
)
def test_rows_that_are_no_text_are_refused(rows: Any, message: str) -> None:
    for read in (parse_map, GridWorld):
        with pytest.raises(ValueError, match=message):
            read(rows)

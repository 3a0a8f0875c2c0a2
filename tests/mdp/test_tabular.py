"""TabularMDP: what it accepts, what it refuses, and that nothing of the table is lost."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from rlkit.envs import GridWorld
from rlkit.mdp import TabularMDP, dense_random, garnet, layered, random_grid
from rlkit.planning import evaluate, q_error, solve

TOY_TEXT = {
    "FrozenLake-v1": (16, 4, 3, 100),
    "FrozenLake8x8-v1": (64, 4, 3, 200),
    "CliffWalking-v1": (48, 4, 1, None),
    "CliffWalkingSlippery-v1": (48, 4, 3, None),
    "Taxi-v4": (500, 6, 1, 200),
}


def arrays(**changes: Any) -> dict[str, Any]:
    """Two states, one action, two successors: a coin that moves, paying 1 on the way to state 1."""
    table: dict[str, Any] = {
        "successor": np.array([[[0, 1]], [[0, 1]]]),
        "probability": np.array([[[0.5, 0.5]], [[0.5, 0.5]]]),
        "reward": np.array([[[0.0, 1.0]], [[0.0, 1.0]]]),
        "terminated": np.zeros((2, 1, 2), dtype=bool),
    }
    return table | changes


def changed(field: str, index: tuple[int, ...], entry: float) -> dict[str, Any]:
    """The arrays above with one entry of one field replaced."""
    array = arrays()[field].copy()
    array[index] = entry
    return arrays(**{field: array})


@pytest.mark.slow
@pytest.mark.parametrize("env_id", TOY_TEXT)
def test_toy_text_environments_are_read_whole(env_id: str) -> None:
    env = gymnasium.make(env_id)
    mdp = TabularMDP.from_gymnasium(env)
    table: Any = env.unwrapped
    assert (mdp.num_states, mdp.num_actions, mdp.num_successors, mdp.max_steps) == TOY_TEXT[env_id]
    assert mdp.name == env_id
    np.testing.assert_array_equal(mdp.start, table.initial_state_distrib)
    exported = mdp.to_gymnasium()
    for state, actions in table.P.items():
        for action, outcomes in actions.items():
            for successor, reward, terminated in {outcome[1:] for outcome in outcomes}:
                mass = sum(p for p, *outcome in outcomes if tuple(outcome) == (successor, reward, terminated))
                kept = [p for p, *outcome in exported[state][action] if outcome == [successor, reward, terminated]]
                assert kept == [mass]


@pytest.mark.parametrize("env_id", TOY_TEXT)
def test_gymnasium_layout_round_trips(env_id: str) -> None:
    mdp = TabularMDP.from_gymnasium(gymnasium.make(env_id))
    again = TabularMDP.from_transitions(mdp.to_gymnasium(), start=mdp.start, max_steps=mdp.max_steps, name=mdp.name)
    for field in dataclasses.fields(mdp):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(mdp, field.name))


def test_step_limit_is_that_of_the_made_environment() -> None:
    assert TabularMDP.from_gymnasium(gymnasium.make("FrozenLake-v1", max_episode_steps=7)).max_steps == 7


def test_taxi_enters_one_state_with_and_without_ending() -> None:
    mdp = TabularMDP.from_gymnasium(gymnasium.make("Taxi-v4"))
    ending = set(mdp.successor[mdp.terminated].tolist())
    going_on = set(mdp.successor[~mdp.terminated].tolist())
    assert ending
    assert ending <= going_on


def test_environment_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"CartPole-v1 has no transition table P"):
        TabularMDP.from_gymnasium(gymnasium.make("CartPole-v1"))


@pytest.mark.parametrize("limit", [None, 7])
def test_the_table_of_a_registered_grid_world_is_read(limit: int | None) -> None:
    env = gymnasium.make("rlkit/GridWorld-v0", max_episode_steps=limit)
    mdp = TabularMDP.from_gymnasium(env)
    assert mdp.max_steps == (limit or 100)
    lake = GridWorld("frozenlake-4x4").mdp.to_gymnasium()
    assert mdp.to_gymnasium() == TabularMDP.from_gymnasium("rlkit/GridWorld-v0").to_gymnasium() == lake
    value = solve(TabularMDP.from_gymnasium("FrozenLake-v1"), 0.99).value
    np.testing.assert_allclose(solve(mdp, 0.99).value, value, rtol=0, atol=1e-9)
    with pytest.raises(gymnasium.error.NameNotFound):
        TabularMDP.from_gymnasium("NoSuchLake-v0")


def test_start_is_uniform_where_none_is_given() -> None:
    np.testing.assert_array_equal(TabularMDP(**arrays()).start, [0.5, 0.5])
    np.testing.assert_array_equal(TabularMDP(**arrays(), start=[0, 1]).start, [0.0, 1.0])


@pytest.mark.slow
def test_probabilities_that_are_the_same_everywhere_are_stored_once() -> None:
    states = 2**14 + 1
    shape = (states, 1, 2)
    probability = np.broadcast_to([[0.25, 0.75]], shape)
    successor = np.stack([np.arange(states), np.arange(states)[::-1]], axis=1)[:, None]
    reward, ends = np.random.default_rng(0).random(shape), np.zeros(shape, bool)
    mdp = TabularMDP(successor, probability, reward, ends)
    assert mdp.probability.strides[0] == 0
    assert not mdp.probability.flags.writeable
    others = np.array(probability)
    others[-1] = [[0.5, 0.5]]
    different = TabularMDP(successor, others, reward, ends)
    assert different.probability.strides[0] > 0
    shared, apart = solve(mdp, 0.9, 1e-8), solve(different, 0.9, 1e-8)
    assert shared.bytes == apart.bytes - different.probability.nbytes + 16
    assert abs(shared.value[states // 2] - mdp.reward[states // 2].dot([0.25, 0.75]) / 0.1) < 1e-8  # it stays there
    np.testing.assert_array_equal(dataclasses.replace(mdp, name="again").probability, probability)


def test_outcomes_merge_only_if_successor_reward_and_flag_agree() -> None:
    outcomes = [
        (0.1, 0, 1.0, False),
        (0.2, 0, 2.0, False),
        (0.3, 0, 1.0, True),
        (0.4, 0, 1.0, False),
        (0.0, 5, 9.0, True),
    ]
    mdp = TabularMDP.from_transitions([[outcomes]])
    assert mdp.to_gymnasium() == {0: {0: [(0.5, 0, 1.0, False), (0.2, 0, 2.0, False), (0.3, 0, 1.0, True)]}}


def test_short_rows_are_padded_with_nothing() -> None:
    mdp = TabularMDP.from_transitions([[[(1.0, 1, 7.0, True)]], [[(0.25, 0, 1.0, False), (0.75, 1, 2.0, False)]]])
    assert mdp.num_successors == 2
    padding = (mdp.successor[0, 0, 1], mdp.probability[0, 0, 1], mdp.reward[0, 0, 1], mdp.terminated[0, 0, 1])
    assert padding == (0, 0.0, 0.0, False)


def test_expected_reward_and_continuation() -> None:
    mdp = TabularMDP.from_transitions([[[(0.25, 0, 4.0, False), (0.5, 0, 2.0, False), (0.25, 0, 8.0, True)]]])
    np.testing.assert_array_equal(mdp.expected_reward, [[4.0]])
    np.testing.assert_array_equal(mdp.continuation.toarray(), [[0.75]])
    assert mdp.continuation.nnz == 2


def test_arrays_are_copies_and_read_only() -> None:
    table = arrays()
    mdp = TabularMDP(**table)
    table["probability"][:] = 9
    assert mdp.probability.max() == 0.5
    for field in ("successor", "probability", "reward", "terminated", "start"):
        array = getattr(mdp, field)
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert not mdp.expected_reward.flags.writeable
    with pytest.raises(dataclasses.FrozenInstanceError):
        mdp.name = "other"  # type: ignore[misc]


def test_a_read_only_view_of_writable_memory_is_copied() -> None:
    table = arrays()
    view = table["probability"][:]
    view.flags.writeable = False
    mdp = TabularMDP(**arrays(probability=view))
    table["probability"][:] = 9
    assert mdp.probability.max() == 0.5


def test_replacing_a_field_shares_the_verified_arrays() -> None:
    mdp = TabularMDP(**arrays(), max_steps=5)
    unlimited = dataclasses.replace(mdp, max_steps=None)
    assert unlimited.max_steps is None
    assert unlimited.probability is mdp.probability


def test_it_survives_pickling() -> None:
    mdp = pickle.loads(pickle.dumps(TabularMDP(**arrays(), max_steps=5, name="coin")))
    assert repr(mdp) == "TabularMDP(num_states=2, num_actions=1, num_successors=2, max_steps=5, name='coin')"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (changed("probability", (1, 0, 0), 0.0), r"state 1, action 0 sum to 0\.5, not 1"),
        (changed("probability", (1, 0, 0), 0.5 + 5e-9), r"state 1, action 0 sum to 1\.000000005, not 1"),
        (changed("probability", (0, 0, 1), -0.5), r"probability -0\.5 of state 0, action 0"),
        (changed("probability", (0, 0, 1), np.nan), r"probability nan of state 0, action 0"),
        (changed("probability", (0, 0, 1), np.inf), r"probability inf of state 0, action 0"),
        (changed("successor", (1, 0, 1), 2), r"successor 2 of state 1, action 0: successors lie between 0 and 1"),
        (changed("successor", (1, 0, 1), -1), r"successor -1 of state 1"),
        (changed("successor", (1, 0, 1), 2**32), r"successor 4294967296 of state 1"),
        (changed("reward", (1, 0, 1), np.nan), r"reward nan of state 1, action 0"),
        (changed("reward", (1, 0, 1), -np.inf), r"reward -inf of state 1, action 0"),
        (arrays(successor=np.array([[[0.0, 1.0]], [[0.0, 1.0]]])), r"successor has dtype float64"),
        (arrays(terminated=np.zeros((2, 1, 2))), r"terminated has dtype float64"),
        (arrays(reward=np.zeros((2, 1, 1))), r"reward has shape \(2, 1, 1\): expected \(2, 1, 2\)"),
        (arrays(probability=np.zeros((2, 2))), r"probability has shape \(2, 2\)"),
        (arrays(probability=np.zeros((0, 1, 1))), r"none of them empty"),
        (arrays(probability=np.zeros((2, 0, 1))), r"none of them empty"),
        (arrays(start=[0.5, 0.4]), r"start sums to 0\.9, not 1"),
        (arrays(start=[1.5, -0.5]), r"start -0\.5 of state 1"),
        (arrays(start=[1.0]), r"start has shape \(1,\): expected \(2,\)"),
        (arrays(max_steps=0), r"max_steps 0: give a positive integer"),
        (arrays(max_steps=2.5), r"max_steps 2\.5"),
        (arrays(max_steps=True), r"max_steps True"),
    ],
)
def test_what_is_no_mdp_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TabularMDP(**table)


def test_row_sums_within_a_billionth_are_accepted() -> None:
    assert TabularMDP(**changed("probability", (1, 0, 0), 0.5 + 5e-10)).num_states == 2


@pytest.mark.parametrize(
    ("transitions", "options", "message"),
    [
        ([], {}, "0 states have transitions"),
        ([[[(1.0, 0, 0.0, False)]]], {"num_states": 2}, "1 states have transitions: expected 2"),
        ({0: {0: [(1.0, 0, 0.0, False)]}, 2: {0: [(1.0, 0, 0.0, False)]}}, {}, "state 1 has no transitions"),
        ({0: {1: [(1.0, 0, 0.0, False)]}}, {}, "state 0, action 0 has no transitions"),
        ([[[(1.0, 0, 0.0, False)]] * 2, [[(1.0, 0, 0.0, False)]]], {}, "state 1 has 1 actions and others have 2"),
        ([[[]]], {}, "state 0, action 0 sum to 0, not 1"),
        ([[[(0.5, 0, 0.0, False)]]], {}, r"state 0, action 0 sum to 0\.5, not 1"),
        ([[[(0.5, 0, 0.0, False), (-0.5, 0, 1.0, False), (1.0, 0, 0.0, True)]]], {}, r"probability -0\.5 of state 0"),
        ([[[(1.0, 1, 0.0, False)]]], {}, "successor 1 of state 0"),
    ],
)
def test_incomplete_transitions_are_refused(transitions: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TabularMDP.from_transitions(transitions, **options)


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from([0.0, 1.0]), st.booleans(), st.integers(0, 1)),
        min_size=1,
        max_size=8,
    )
)
def test_merging_keeps_the_distribution_of_outcomes(entries: list[tuple[int, float, bool, int]]) -> None:
    total = sum(weight for weight, *_ in entries)
    outcomes = [(weight / total, successor, reward, terminated) for weight, reward, terminated, successor in entries]
    row = TabularMDP.from_transitions([[outcomes], [outcomes]]).to_gymnasium()[0][0]
    assert len(row) == len({outcome[1:] for outcome in outcomes})
    for p, *outcome in row:
        assert p == pytest.approx(sum(q for q, *other in outcomes if other == outcome), abs=1e-15)


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        ((1.0, 0.7, 0.0, False), r"state 0, action 0 has the successor 0\.7: give the integer of a state"),
        ((1.0, np.nan, 0.0, False), "has the successor nan"),
        ((1.0, "0", 0.0, False), "has the successor '0': give a number"),
        ((1.0, 0, None, False), "has the reward None: give a number"),
        (("1", 0, 0.0, False), "has the probability '1': give a number"),
        ((1.0, 0, 0.0, "no"), "has terminated 'no': give True or False"),
        ((1.0, 0, 0.0, None), "has terminated None"),
        ((1.0, 0, 0.0, 2), "has terminated 2"),
        ((1.0, 0, 0.0), r"has the outcome \(1\.0, 0, 0\.0\): give \(probability, successor, reward, terminated\)"),
        (1.0, "has the outcome 1.0"),
    ],
)
def test_an_outcome_that_is_none_is_refused(outcome: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TabularMDP.from_transitions([[[outcome]]])


def test_outcomes_may_be_of_numpys_types() -> None:
    outcome: Any = (np.float32(1), np.int64(0), np.float64(2), np.bool_(True))
    assert TabularMDP.from_transitions([[[outcome]]]).to_gymnasium() == {0: {0: [(1.0, 0, 2.0, True)]}}


# Actions that only some states have.


def two_rooms() -> TabularMDP:
    """State 0 has action 1 only, state 1 has both: action 0 pays 5 and ends, action 1 pays 1 and goes to state 0."""
    return TabularMDP.from_transitions(
        [[None, [(1.0, 1, 2.0, False)]], [[(1.0, 1, 5.0, True)], [(1.0, 0, 1.0, False)]]]
    )


def test_a_state_may_lack_actions() -> None:
    mdp = two_rooms()
    np.testing.assert_array_equal(mdp.available, [[False, True], [True, True]])
    np.testing.assert_array_equal(mdp.expected_reward, [[-np.inf, 2.0], [5.0, 1.0]])
    np.testing.assert_array_equal(mdp.successor[0, 0], mdp.successor[0, 1])  # what a simulator does all the same
    assert mdp.to_gymnasium()[0] == {0: None, 1: [(1.0, 1, 2.0, False)]}
    again = TabularMDP.from_transitions(mdp.to_gymnasium())
    for field in dataclasses.fields(mdp):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(mdp, field.name))
    np.testing.assert_array_equal(dataclasses.replace(mdp, name="rooms").available, mdp.available)
    solution = solve(mdp, 0.5)
    np.testing.assert_allclose(solution.value, [4.5, 5.0], rtol=0, atol=1e-9)
    assert solution.policy.tolist() == [1, 0]
    assert solution.optimal_actions.tolist() == [[False, True], [True, False]]
    assert solution.q[0, 0] == -np.inf
    assert q_error(np.array([[9.0, 4.5], [5.0, 3.25]]), solution) == pytest.approx(0.0, abs=1e-8)  # 9 is not read


def test_a_policy_that_takes_what_a_state_lacks_is_refused() -> None:
    for policy in ([0, 1], [[0.5, 0.5], [0.5, 0.5]]):
        with pytest.raises(ValueError, match="policy takes action 0 in state 0, which does not have it"):
            evaluate(two_rooms(), policy, 0.5)
    np.testing.assert_allclose(evaluate(two_rooms(), [[0.0, 1.0], [1.0, 0.0]], 0.5), [4.5, 5.0])


@pytest.mark.parametrize(
    ("available", "message"),
    [
        ([[True], [False]], "state 1 has no action: give it at least one"),
        ([True, True], r"available has shape \(2,\): expected \(2, 1\)"),
        ([[1.0], [1.0]], "available has dtype float64"),
    ],
)
def test_what_says_nothing_of_actions_is_refused(available: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TabularMDP(**arrays(), available=available)


def test_pairs_of_states_and_actions_are_the_same_problem() -> None:
    chances = [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]  # of the pairs of two_rooms; the second ends
    for matrix in (chances, sparse.csr_array(np.array(chances))):
        mdp = TabularMDP.from_pairs(matrix, [2.0, 5.0, 1.0], [0, 1, 1], [1, 0, 1], missing_ends=True)
        assert mdp.to_gymnasium() == two_rooms().to_gymnasium()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"states": [0, 1]}, r"states has shape \(2,\): expected \(3,\), one entry per pair"),
        ({"rewards": [[1.0]] * 3}, r"rewards has shape \(3, 1\)"),
        ({"actions": [0.0, 0.0, 1.0]}, "dtypes int64 and float64: give integers"),
        ({"states": [0, 1, 2]}, "states below 2"),
        ({"actions": [0, 0, -1]}, "numbered from 0"),
        ({"actions": [1, 0, 0]}, "state 1, action 0 is listed twice: merge the two"),
        ({"states": [1, 1, 1], "actions": [0, 1, 2]}, "state 0 has no action"),
        ({"transitions": np.eye(3)[:, :2]}, r"row 1 of transitions\[1\] sums to 0, below 1"),
    ],
)
def test_pairs_that_are_no_mdp_are_refused(changes: dict[str, Any], message: str) -> None:
    pairs: dict[str, Any] = {
        "transitions": np.eye(2)[[0, 1, 1]], "rewards": [1.0, 2.0, 3.0], "states": [0, 1, 1], "actions": [0, 0, 1]
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        TabularMDP.from_pairs(**(pairs | changes))


# Sparse matrices, files, generators.


def test_sparse_matrices_become_the_table_and_back() -> None:
    stay_or_move = sparse.csr_array(np.array([[0.25, 0.75, 0.0], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]]))
    move = sparse.coo_array(np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    mdp = TabularMDP.from_sparse([stay_or_move, move], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], missing_ends=True)
    assert mdp.to_gymnasium() == {
        0: {0: [(0.25, 0, 1.0, False), (0.75, 1, 1.0, False)], 1: [(1.0, 1, 2.0, False)]},
        1: {0: [(0.5, 2, 3.0, False), (0.5, 1, 3.0, True)], 1: [(1.0, 2, 4.0, False)]},
        2: {0: [(1.0, 2, 5.0, True)], 1: [(1.0, 0, 6.0, False)]},
    }
    matrices, rewards = mdp.to_sparse()
    np.testing.assert_array_equal(matrices[0].toarray(), stay_or_move.toarray())
    np.testing.assert_array_equal(matrices[1].toarray(), move.toarray())
    np.testing.assert_array_equal(rewards, mdp.expected_reward)


def test_rewards_of_transitions_stay_with_them() -> None:
    chances, gains = np.array([[0.5, 0.25], [0.0, 1.0]]), np.array([[7.0, -1.0], [9.0, 0.0]])
    mdp = TabularMDP.from_sparse([sparse.csr_array(chances)], [sparse.csr_array(gains)], missing_ends=True)
    assert mdp.to_gymnasium()[0][0] == [(0.5, 0, 7.0, False), (0.25, 1, -1.0, False), (0.25, 0, 0.0, True)]
    assert mdp.to_gymnasium()[1][0] == [(1.0, 1, 0.0, False)]


@pytest.mark.parametrize(
    ("transitions", "rewards", "message"),
    [
        ([], [], "transitions is empty"),
        ([np.eye(2), np.ones((2, 3))], np.zeros((2, 2)), r"transitions\[1\] has shape \(2, 3\)"),
        ([2 * np.eye(2)], np.zeros((2, 1)), r"row 0 of transitions\[0\] sums to 2, above 1"),
        ([np.eye(2)], np.zeros((2, 2)), r"rewards have shape \(2, 2\): expected \(2, 1\)"),
        ([np.eye(2)], [sparse.csr_array((3, 3))], r"rewards\[0\] has shape \(3, 3\)"),
        ([np.diag([1.0, -1.0])], np.zeros((2, 1)), "probability -1.0 of state 1"),
    ],
)
def test_matrices_that_are_no_mdp_are_refused(transitions: Any, rewards: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TabularMDP.from_sparse([sparse.csr_array(matrix) for matrix in transitions], rewards)


def test_a_rounded_row_ends_no_episode() -> None:
    thirds = np.full((3, 3), 0.333)
    with pytest.raises(ValueError, match=r"row 0 of transitions\[0\] sums to 0\.999, below 1: divide it by its"):
        TabularMDP.from_sparse([thirds], np.ones((3, 1)))
    mdp = TabularMDP.from_sparse([thirds / thirds.sum(axis=1, keepdims=True)], np.ones((3, 1)))
    assert not mdp.terminated.any()
    np.testing.assert_allclose(solve(mdp, 0.999, 1e-6).value, 1000.0, rtol=0, atol=1e-6)
    assert TabularMDP.from_sparse([thirds], np.ones((3, 1)), missing_ends=True).terminated.any()


def test_rewards_of_states_of_transitions_and_of_actions_are_told_apart_by_shape() -> None:
    rng = np.random.default_rng(0)
    chances = list(rng.dirichlet(np.ones(3), (2, 3)))  # two actions, three states
    of_states, of_transitions = rng.normal(size=3), rng.normal(size=(2, 3, 3))
    mdp = TabularMDP.from_sparse(chances, of_states)
    np.testing.assert_allclose(mdp.expected_reward, np.stack([of_states, of_states], axis=1))
    dense = TabularMDP.from_sparse(chances, of_transitions)
    np.testing.assert_allclose(dense.expected_reward, (np.array(chances) * of_transitions).sum(axis=2).T)
    gains = TabularMDP.from_sparse(chances, [sparse.csr_array(matrix) for matrix in of_transitions])
    assert dense.to_gymnasium() == gains.to_gymnasium()
    missing = TabularMDP.from_sparse([np.eye(2), np.zeros((2, 2))], [[1.0, -np.inf], [2.0, -np.inf]])
    assert missing.available.tolist() == [[True, False], [True, False]]


@pytest.mark.parametrize("limit", [None, 7])
def test_a_file_keeps_everything(tmp_path: Path, limit: int | None) -> None:
    mdp = TabularMDP(**arrays(start=[0.25, 0.75]), max_steps=limit, name="coin")
    mdp.save(tmp_path / "coin.npz")
    again = TabularMDP.load(tmp_path / "coin.npz")
    for field in dataclasses.fields(mdp):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(mdp, field.name))


def test_a_file_keeps_which_actions_a_state_has(tmp_path: Path) -> None:
    two_rooms().save(tmp_path / "rooms.npz")
    assert TabularMDP.load(tmp_path / "rooms.npz").to_gymnasium() == two_rooms().to_gymnasium()


def test_a_file_is_found_under_the_name_that_it_was_saved_by(tmp_path: Path) -> None:
    TabularMDP(**arrays(), name="coin").save(str(tmp_path / "v1.2"))
    assert [path.name for path in tmp_path.iterdir()] == ["v1.2.npz"]
    for name in ("v1.2", "v1.2.npz"):
        assert TabularMDP.load(tmp_path / name).name == "coin"
    (tmp_path / "v1.2.npz").rename(tmp_path / "bare")
    assert TabularMDP.load(tmp_path / "bare").name == "coin"
    with pytest.raises(FileNotFoundError, match="nothing"):
        TabularMDP.load(tmp_path / "nothing")


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TabularMDP(**arrays(), name="old").save(tmp_path / "coin")

    def full(file: Any, **_: Any) -> None:
        file.write(b"PK half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        TabularMDP(**arrays(), name="new").save(tmp_path / "coin")
    assert [path.name for path in tmp_path.iterdir()] == ["coin.npz"]
    assert TabularMDP.load(tmp_path / "coin").name == "old"


@pytest.mark.slow
def test_a_damaged_file_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "coin.npz"
    garnet(50, 3, 4, np.random.default_rng(0)).save(path)
    whole, refused = path.read_bytes(), 0
    for place in np.random.default_rng(0).integers(0, len(whole), 150):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            TabularMDP.load(path)  # bytes that say nothing, such as a date, may differ
        except ValueError as error:
            refused += str(path) in str(error)
    assert refused > 100


@pytest.mark.parametrize("limit", [np.array([1, 2]), np.array(2.5), np.array("7")])
def test_a_step_limit_that_is_no_integer_is_refused(tmp_path: Path, limit: Any) -> None:
    np.savez(tmp_path / "coin.npz", **arrays(), max_steps=limit)
    with pytest.raises(ValueError, match=r"coin\.npz has a max_steps of .*: one integer is expected"):
        TabularMDP.load(tmp_path / "coin.npz")


def test_files_that_are_no_table_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "half.npz", successor=np.zeros((1, 1, 1), int))
    with pytest.raises(ValueError, match="has no probability, reward, terminated"):
        TabularMDP.load(tmp_path / "half.npz")
    np.savez(tmp_path / "code.npz", **{name: np.array([print]) for name in ("successor", *arrays())})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="allow_pickle=False"):
        TabularMDP.load(tmp_path / "code.npz")


def test_generators_depend_on_their_generator_only() -> None:
    for make in (
        lambda rng: garnet(20, 3, 4, rng, ending=0.1, reward_density=0.5),
        lambda rng: dense_random(6, 2, rng),
        lambda rng: layered(4, 3, 2, rng),
        lambda rng: random_grid(5, 6, rng, walls=0.1).tabular,
    ):
        first, second, other = (make(np.random.default_rng(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first.probability * first.reward, second.probability * second.reward)
        assert not np.array_equal(first.successor, other.successor) or not np.array_equal(first.reward, other.reward)


def test_a_garnet_is_what_its_name_says() -> None:
    mdp = garnet(30, 4, 5, np.random.default_rng(0), ending=0.25, reward_density=0.5)
    assert mdp.probability.shape == (30, 4, 5)
    assert (mdp.probability > 0).all()
    assert all(len(set(row)) == 5 for row in mdp.successor.reshape(-1, 5).tolist())
    assert 0.35 < np.count_nonzero(mdp.expected_reward) / 120 < 0.65
    assert 0.15 < mdp.terminated.mean(axis=(0, 1, 2)) < 0.35


def test_a_layered_mdp_ends_in_as_many_steps_as_it_has_layers() -> None:
    mdp = layered(5, 4, 3, np.random.default_rng(0))
    here = mdp.start > 0
    for step in range(5):
        assert mdp.terminated[here].all() == (step == 4)
        here = np.isin(np.arange(20), mdp.successor[here])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rng: garnet(3, 1, 4, rng), "num_successors 4: give a number from 1 to num_states, 3"),
        (lambda rng: garnet(0, 1, 1, rng), "0 states and 1 actions"),
        (lambda rng: garnet(3, 1, 1, rng, ending=1.5), r"probability 1\.5"),
        (lambda rng: random_grid(3, 3, rng, holes=-0.1), r"probability -0\.1"),
        (lambda rng: garnet(3, 1, 1, 0), "rng must be a numpy Generator, got 0: pass numpy.random.default_rng"),  # type: ignore[arg-type]
        (lambda rng: dense_random(3, 1, None), "rng must be a numpy Generator, got None"),  # type: ignore[arg-type]
        (lambda rng: layered(3, 1, 1, np.random), "rng must be a numpy Generator, got <module"),  # type: ignore[arg-type]
        (lambda rng: random_grid(3, 3, 1.5), r"rng must be a numpy Generator, got 1\.5"),  # type: ignore[arg-type]
    ],
)
def test_generators_refuse_what_has_no_meaning(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(np.random.default_rng(0))

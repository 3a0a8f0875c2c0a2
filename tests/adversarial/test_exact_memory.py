"""Victims with a memory: every adversary that knows the whole history, by recursion."""

import numpy as np
import pytest

from rlkit.adversarial import choices_of_neighbors, frame_stack, memory_problem, worst_case
from rlkit.mdp import garnet
from rlkit.planning import solve


def worst_by_recursion(mdp, policy, update, shows, state, memory, steps):
    """The least return over all adversaries that know the history, written as the definition."""
    if steps == 0:
        return 0.0
    least = np.inf
    for seen in np.flatnonzero(shows[state]):
        total = 0.0
        for action, chance in enumerate(policy[memory, seen]):
            for k in range(mdp.num_successors):
                after = 0.0
                if not mdp.terminated[state, action, k] and chance > 0:
                    ahead = (int(mdp.successor[state, action, k]), int(update[memory, seen]), steps - 1)
                    after = worst_by_recursion(mdp, policy, update, shows, *ahead)
                total += chance * mdp.probability[state, action, k] * (mdp.reward[state, action, k] + after)
        least = min(least, total)
    return least


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_frame_stack_against_every_adversary(seed):
    rng = np.random.default_rng(seed)
    mdp = garnet(3, 2, 2, rng, ending=0.1)
    update = frame_stack(3, 2)
    policy = rng.dirichlet(np.ones(2), (len(update), 3))
    shows = (rng.random((3, 3)) < 0.5) | np.eye(3, dtype=np.bool_)
    problem, choices = memory_problem(mdp, policy, update, shows, np.arange(3))
    found = worst_case(problem, choices, horizon=4)
    for state in range(3):
        for memory in range(4):
            exact = worst_by_recursion(mdp, policy, update, shows, state, memory, 4)
            assert found.upper[0, state * 4 + memory] == pytest.approx(exact, abs=1e-12)
    natural = worst_by_recursion(mdp, policy, update, np.eye(3, dtype=np.bool_), 0, 0, 4)
    assert found.natural[0, 0] == pytest.approx(natural, abs=1e-12)
    assert found.at_start()[1][0] == pytest.approx(found.upper[0, ::4].mean())


@pytest.mark.slow
def test_a_memory_that_is_not_used_changes_nothing():
    rng = np.random.default_rng(5)
    mdp = garnet(4, 3, 2, rng, ending=0.1)
    policy, near = rng.dirichlet(np.ones(3), (2, 4)), (rng.random((4, 4)) < 0.4) | np.eye(4, dtype=np.bool_)
    plain = worst_case(mdp, choices_of_neighbors(policy, near), 0.9)
    update = frame_stack(4, 2)
    stacked = np.repeat(policy[:, None], len(update), axis=1)
    problem, choices = memory_problem(mdp, stacked, update, near, np.arange(4))
    with_memory = worst_case(problem, choices, 0.9)
    assert np.allclose(with_memory.upper.reshape(2, 4, -1), plain.upper[..., None], atol=1e-5)
    assert np.allclose(with_memory.natural.reshape(2, 4, -1), plain.natural[..., None], atol=1e-9)


def test_a_memory_can_defend():
    """The state is shown once, at the start, and never again: who remembers it acts best for ever."""
    mdp = garnet(2, 2, 1, np.random.default_rng(0))
    best = solve(mdp, 0.9)
    # memory: nothing yet, or the state as dead reckoning has it; observations: state 0, state 1
    ahead = mdp.successor[:, :, 0]
    update = np.array([[1 + ahead[s, best.policy[s]]] * 2 if s >= 0 else [0, 0] for s in (-1, 0, 1)])
    update[0] = [1 + ahead[s, best.policy[s]] for s in (0, 1)]
    policy = np.array([best.policy, [best.policy[0]] * 2, [best.policy[1]] * 2])
    problem, choices = memory_problem(mdp, policy, update, np.ones((2, 2), np.bool_), np.arange(2))
    found = worst_case(problem, choices, 0.9)
    knowing = found.lower[0].reshape(2, 3)
    assert knowing[0, 1] == pytest.approx(best.value[0], abs=1e-5)
    assert knowing[1, 2] == pytest.approx(best.value[1], abs=1e-5)


def test_the_digits_of_a_stack():
    update = frame_stack(2, 3)
    assert update.shape == (9, 2)
    memory = 0
    for seen in (0, 1, 1):
        memory = int(update[memory, seen])
    assert (memory // 3 - 1, memory % 3 - 1) == (1, 1)
    assert frame_stack(4, 1).tolist() == [[0, 0, 0, 0]]


def test_bad_input_is_refused():
    mdp = garnet(2, 2, 1, np.random.default_rng(0))
    update, every, own = frame_stack(2, 2), np.ones((2, 2), np.bool_), np.arange(2)
    good = np.zeros((3, 2), np.int64)
    with pytest.raises(ValueError, match="expected memories"):
        memory_problem(mdp, good, update + 1, every, own)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        memory_problem(mdp, good + 2, update, every, own)
    with pytest.raises(ValueError, match="policy has shape"):
        memory_problem(mdp, good[:2], update, every, own)
    with pytest.raises(ValueError, match="expected booleans"):
        memory_problem(mdp, good, update, every.astype(int), own)
    with pytest.raises(ValueError, match="one observation"):
        memory_problem(mdp, good, update, every, own + 1)
    with pytest.raises(ValueError, match="initial 3"):
        memory_problem(mdp, good, update, every, own, initial=3)
    with pytest.raises(ValueError, match="at least 1"):
        frame_stack(0, 2)

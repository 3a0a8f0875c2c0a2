"""A ring that stores no successor twice gives the transitions that were added, and takes the bytes that it says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.replay import ReplayBuffer, replay_bytes
from rlkit.replay.buffer import _Successors, smallest_integers
from rlkit.types import Transition, segment

ACTIONS = 3


def stream(rng, steps, seeds, copies, moved):
    """An environment's transitions: successors are shown next, unless an episode ended or somebody moved a copy."""
    obs, found = rng.random((seeds, copies, 2), np.float32), []
    for _ in range(steps):
        next_obs = rng.random((seeds, copies, 2), np.float32)
        next_obs[rng.random((seeds, copies)) < 0.02] = np.nan
        terminated, truncated = rng.random((2, seeds, copies)) < 0.1
        found.append(
            Transition(
                *map(torch.from_numpy, (obs, rng.integers(0, ACTIONS, (seeds, copies)))),
                torch.from_numpy(rng.random((seeds, copies), np.float32)),
                *map(torch.from_numpy, (next_obs, terminated, truncated)),
            )
        )
        fresh = terminated | truncated | (rng.random((seeds, copies)) < moved)
        obs = np.where(fresh[..., None], rng.random((seeds, copies, 2), np.float32), next_obs)
    return found


def in_order(buffer, size, seeds):
    return buffer.sample(((torch.arange(size) + 0.5) / size).double().expand(seeds, -1))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    seeds=st.integers(1, 3),
    copies=st.integers(1, 3),
    capacity=st.integers(3, 90),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    moved=st.sampled_from([0.0, 0.1]),
    what=st.sampled_from(["stay", "save", "grow"]),
)
def test_it_gives_the_latest_transitions_to_the_bit(seed, seeds, copies, capacity, lengths, moved, what):
    steps = stream(np.random.default_rng(seed), sum(lengths), seeds, copies, moved)
    buffer, start = ReplayBuffer(capacity, steps[0], ACTIONS), 0
    for length in lengths:
        buffer.add(segment(steps[start : start + length]))
        start += length
        if what == "save":
            again = ReplayBuffer(capacity, steps[0], ACTIONS)
            again.load_state({name: tensor.clone() for name, tensor in buffer.state_dict().items()})
            for name, tensor in buffer.state_dict().items():
                assert tensor.equal(again.state_dict()[name]) or tensor.isnan().any(), name
            buffer = again
        if what == "grow" and buffer.added <= buffer.capacity:
            buffer.grow(buffer.capacity + 5)
    size = min(start * copies, buffer.capacity)
    expected = segment(steps)
    for name, found in in_order(buffer, size, seeds)._asdict().items():
        if found is not None:
            wanted = getattr(expected, name).flatten(1, 2)[:, -size:]
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found.numpy(), wanted.numpy(), err_msg=name)


def test_the_table_of_a_device_is_that_of_the_cpu(monkeypatch):
    steps = stream(np.random.default_rng(0), 200, 3, 2, 0.1)
    tables = []
    for _ in range(2):
        buffer = ReplayBuffer(90, steps[0], ACTIONS)
        for start in range(0, 200, 7):
            buffer.add(segment(steps[start : start + 7]))
        tables.append(buffer.state_dict())
        monkeypatch.setattr(_Successors, "_write_few", _Successors._write_masked)
    for name, tensor in tables[0].items():
        np.testing.assert_array_equal(tables[1][name].numpy(), tensor.numpy(), err_msg=name)


def test_a_transition_of_the_cart_pole_takes_22_bytes():
    example = Transition(
        torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 1), torch.zeros(2, 1, 4),
        *torch.zeros(2, 2, 1, dtype=torch.bool),
    )  # fmt: skip
    assert replay_bytes(50_000, example, num_actions=2) == 2 * 50_000 * 22
    buffer = ReplayBuffer(1000, example, num_actions=2)
    for t in range(3000):  # an episode ends every 20 steps
        ended = torch.full((2, 1), t % 20 == 19)
        obs, next_obs = torch.full((2, 1, 4), float(t)), torch.full((2, 1, 4), float(t + 1))
        buffer.add(segment([example._replace(obs=obs, next_obs=next_obs, terminated=ended)]))
    table = buffer._successors
    used = sum(tensor.nbytes for tensor in (*buffer._fields.values(), table._numbers, table._obs))
    assert used < 2 * 1000 * 24.1


@pytest.mark.parametrize(("count", "bytes_"), [(2, 1), (256, 1), (257, 2), (2**15, 2), (2**15 + 1, 4), (None, 8)])
def test_actions_take_the_smallest_integers_that_hold_them(count, bytes_):
    dtype = smallest_integers(count)
    assert dtype.itemsize == bytes_
    assert count is None or torch.tensor(count - 1).to(dtype) == count - 1

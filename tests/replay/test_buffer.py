"""The replay buffer against literal numbers, brute force and a ring that stores every successor."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.replay import ReplayBuffer, replay_bytes
from rlkit.replay.buffer import _Successors, smallest_integers
from rlkit.types import Transition, segment

ACTIONS = 3


def transition(step, seeds=2, copies=3):
    value = torch.arange(seeds * copies).view(seeds, copies) + 100 * step
    false = torch.zeros(seeds, copies, dtype=torch.bool)
    return Transition(value[..., None].float(), value % 2, value.float(), value[..., None] + 0.5, false, false)


def test_replay_keeps_the_last_transitions_of_each_seed_and_no_others():
    buffer = ReplayBuffer(7, transition(0))
    for step in range(5):
        buffer.add(segment([transition(step)]))
    u = ((torch.arange(7) + 0.5) / 7).expand(2, 7).double()
    batch = buffer.sample(u)
    for seed in range(2):
        everything = [float(r) for step in range(5) for r in transition(step).reward[seed]]
        assert sorted(batch.reward[seed].tolist()) == everything[-7:]
    assert torch.equal(batch.obs[..., 0], batch.reward)
    assert torch.equal(batch.next_obs[..., 0], batch.reward + 0.5)
    assert torch.equal(batch.action, batch.reward.long() % 2)
    assert not batch.truncated.any()


@pytest.mark.parametrize("capacity", [3, 7, 20])
def test_replay_of_many_steps_at_once_is_step_by_step(capacity):
    at_once, by_step = ReplayBuffer(capacity, transition(0)), ReplayBuffer(capacity, transition(0))
    at_once.add(segment([transition(0)]))
    at_once.add(segment([transition(step) for step in range(1, 5)]))
    for step in range(5):
        by_step.add(segment([transition(step)]))
    u = torch.rand(2, 50, dtype=torch.float64)
    theirs = by_step.sample(u)._asdict()
    for name, ours in at_once.sample(u)._asdict().items():
        assert (ours is None and theirs[name] is None) or torch.equal(ours, theirs[name]), name


def test_replay_samples_only_what_was_added():
    buffer = ReplayBuffer(100, transition(0))
    buffer.add(segment([transition(1)]))
    u = torch.tensor([[0.0, 0.5, 1 - 2.0**-53]] * 2, dtype=torch.float64)
    assert buffer.sample(u).reward.tolist() == [[100.0, 101.0, 102.0], [103.0, 104.0, 105.0]]


@pytest.mark.slow
@given(st.integers(1, 4), st.integers(1, 3), st.integers(4, 20), st.integers(1, 25), st.integers(0, 2**32 - 1))
def test_n_step_transitions_are_brute_force_sums(n, copies, capacity, steps, seed):
    rng = np.random.default_rng(seed)
    gamma = torch.tensor([0.9, 0.5])
    shape = (steps, 2, copies)
    stream = Transition(
        obs=torch.from_numpy(rng.random((*shape, 1), np.float32)),
        action=torch.from_numpy(rng.integers(0, 3, shape)),
        reward=torch.from_numpy(rng.random(shape, np.float32)),
        next_obs=torch.from_numpy(rng.random((*shape, 1), np.float32)),
        terminated=torch.from_numpy(rng.random(shape) < 0.2),
        truncated=torch.from_numpy(rng.random(shape) < 0.2),
    )
    buffer = ReplayBuffer(capacity, Transition(*(field[0] for field in stream[:6])))  # all but masks
    for t in range(steps):
        buffer.add(segment([Transition(*(field[t] for field in stream[:6]))]))
    size = min(steps * copies, capacity)
    u = ((torch.arange(size) + 0.5) / size).expand(2, size).double()
    batch, discount = buffer.sample_n_step(u, n, gamma)
    for s in range(2):
        for m, number in enumerate(range(steps * copies - size, steps * copies)):  # oldest first
            t, b = divmod(number, copies)
            total, k = 0.0, 0
            while True:
                total += float(gamma[s]) ** k * float(stream.reward[t + k, s, b])
                k += 1
                if stream.done[t + k - 1, s, b] or k == n or t + k == steps:
                    break
            assert float(batch.reward[s, m]) == pytest.approx(total, rel=1e-5)
            assert float(discount[s, m]) == pytest.approx(float(gamma[s]) ** k, rel=1e-5)
            assert torch.equal(batch.obs[s, m], stream.obs[t, s, b])
            assert batch.action[s, m] == stream.action[t, s, b]
            assert torch.equal(batch.next_obs[s, m], stream.next_obs[t + k - 1, s, b])
            assert batch.terminated[s, m] == stream.terminated[t + k - 1, s, b]
    one, plain = buffer.sample_n_step(u, 1, gamma)[0], buffer.sample(u)
    assert all(torch.equal(a, b) for a, b in zip(one[:6], plain[:6], strict=True))


def test_replay_grows_until_it_has_wrapped():
    buffer = ReplayBuffer(6, transition(0))
    buffer.add(segment([transition(0)]))
    buffer.add(segment([transition(1)]))
    buffer.grow(9)
    buffer.add(segment([transition(2)]))
    u = ((torch.arange(9) + 0.5) / 9).expand(2, 9).double()
    assert buffer.sample(u).reward[1].tolist() == [3, 4, 5, 103, 104, 105, 203, 204, 205]
    buffer.add(segment([transition(3)]))
    with pytest.raises(RuntimeError, match="cannot grow"):
        buffer.grow(12)


def test_a_buffer_larger_than_memory_is_refused_before_it_is_made():
    assert replay_bytes(10, transition(0)) == 2 * 10 * (4 + 8 + 4 + 1)
    assert replay_bytes(10, transition(0), num_actions=2) == 2 * 10 * (4 + 1 + 4 + 1)
    with pytest.raises(MemoryError, match="lower buffer_size"):
        ReplayBuffer(10**13, transition(0))
    with pytest.raises(ValueError, match="3 copies"):
        ReplayBuffer(2, transition(0))


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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_truncated_copies_end_with_their_last_transition():
    def step(number):
        obs = torch.full((2, 2, 1), float(number))
        ends = torch.zeros(2, 2, dtype=torch.bool)
        return Transition(obs, torch.zeros(2, 2, dtype=torch.int64), torch.ones(2, 2), obs + 1, ends, ends)

    buffer = ReplayBuffer(8, step(0))
    buffer.truncate(torch.ones(2, 2, dtype=torch.bool))  # nothing is stored yet
    for number in (0, 1, 2):
        buffer.add(segment([step(number)]))
    copies = torch.tensor([[False, True], [False, False]])
    buffer.truncate(copies)
    moved = step(10)  # where the truncated copy begins its next episode
    going = step(3)
    here = copies[..., None]
    mixed = going._replace(
        obs=torch.where(here, moved.obs, going.obs), next_obs=torch.where(here, moved.next_obs, going.next_obs)
    )
    buffer.add(segment([mixed]))
    u = torch.arange(8).expand(2, -1) / 8 + 1 / 16  # every transition, oldest first
    batch, discount = buffer.sample_n_step(u, 3, torch.tensor([0.5, 0.5]))
    assert batch.reward[0, 0::2].tolist() == batch.reward[1, 0::2].tolist() == [1.75, 1.75, 1.5, 1.0]
    assert batch.reward[0, 1::2].tolist() == [1.75, 1.5, 1.0, 1.0]  # none passes the cut
    assert batch.truncated[0, 1::2].tolist() == [True, True, True, False]
    assert batch.next_obs[0, 1::2, 0].tolist() == [3.0, 3.0, 3.0, 11.0]
    assert not batch.truncated[1].any()
    assert discount[0, 3] == 0.25

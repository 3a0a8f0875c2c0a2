"""The replay buffer against literal numbers and brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlkit.replay import ReplayBuffer, replay_bytes
from rlkit.types import Transition, segment


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
    assert replay_bytes(10, transition(0)) == 2 * 10 * (4 + 8 + 4 + 4 + 1 + 1)
    with pytest.raises(MemoryError, match="lower buffer_size"):
        ReplayBuffer(10**13, transition(0))
    with pytest.raises(ValueError, match="3 copies"):
        ReplayBuffer(2, transition(0))

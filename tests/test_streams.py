import numpy as np
import pytest
import torch
from devices import CPU_AND_GPUS
from hypothesis import given
from hypothesis import strategies as st

from rlkit.streams import (
    NUMBERS_AHEAD,
    PURPOSES,
    DeviceEpisodeStarts,
    EpisodeStarts,
    Stream,
    _as_int64,
    _generator_at,
    key,
    numbers_from,
    steps_ahead,
    uniform,
)

words = st.integers(0, 2**64 - 1)
ON = pytest.mark.parametrize("device", CPU_AND_GPUS)


def numpy_numbers(words, count):
    philox = np.random.Philox(key=np.array(words, np.uint64))
    return np.random.Generator(philox).random(count)


@pytest.mark.slow
@ON
@given(words, words, st.integers(0, 2**40), st.integers(1, 9))
def test_torch_philox_is_numpys_to_the_bit(device, word0, word1, first, count):
    philox = np.random.Philox(key=np.array([word0, word1], np.uint64), counter=np.array([first, 0, 0, 0], np.uint64))
    expected = np.random.Generator(philox).random(4 * count)
    actual = uniform(_as_int64([(word0, word1)], torch.device(device)), first, count)
    np.testing.assert_array_equal(actual[0].cpu().numpy(), expected)


def test_a_stream_is_numpys_generator_of_its_key_read_in_order():
    stream = Stream([7, 8], "env", width=3, copies=2)
    steps = torch.stack([stream.next() for _ in range(600)], dim=2)  # [S, B, T, width], more than two blocks
    for row, seed in enumerate([7, 8]):
        for copy in range(2):
            expected = numpy_numbers(key(seed, "env", copy), 1800).reshape(600, 3)
            np.testing.assert_array_equal(steps[row, copy].numpy(), expected)


@pytest.mark.parametrize("copies", [None, 2])
def test_many_steps_at_once_are_the_steps_one_by_one(copies):
    at_once, by_step = (Stream([7, 8], "explore", width=3, copies=copies) for _ in range(2))
    for steps in (1, 5, 300, 600):  # within a block and over several
        assert torch.equal(at_once.take(steps), torch.stack([by_step.next() for _ in range(steps)]))
    assert torch.equal(at_once.next(), by_step.next())


def test_rows_and_copies_do_not_depend_on_what_runs_beside_them():
    many, one = Stream(range(5), "explore", width=2, copies=7), Stream([3], "explore", width=2, copies=2)
    for _ in range(300):
        assert torch.equal(many.next()[3:4, :2], one.next())


@pytest.mark.slow
@pytest.mark.parametrize(("width", "copies"), [(3, 30_000), (1001, 400), (4001, 500), (100_003, 40)])
def test_what_is_drawn_ahead_is_bounded_and_changes_no_number(width, copies):
    stream = Stream([5], "attack", width, copies)
    steps = torch.stack([stream.next() for _ in range(5)], dim=2)[0]  # [B, T, width]
    for copy in (0, copies - 1):
        expected = numpy_numbers(key(5, "attack", copy), 5 * width).reshape(5, width)
        np.testing.assert_array_equal(steps[copy].numpy(), expected)
    assert stream._block is not None
    assert stream._block.numel() <= NUMBERS_AHEAD
    again = Stream([5], "attack", width, copies)
    again.load_state({"step": torch.tensor(3)})  # in the middle of a Philox counter if the width is odd
    assert torch.equal(again.next()[0], steps[:, 3])


@pytest.mark.slow
@ON
@given(st.integers(0, 2**40), st.integers(0, 30))
def test_numbers_may_begin_anywhere_in_a_counter(device, first, count):
    keys = [(7, 2**60), (2**64 - 1, 3)]
    on_device = numbers_from(_as_int64(keys, torch.device(device)), first, count).cpu()
    for row, words in zip(on_device, keys, strict=True):
        np.testing.assert_array_equal(row.numpy(), _generator_at(words, first).random(count))


def test_small_steps_are_drawn_many_at_a_time():
    assert steps_ahead(8, 4) == 256
    assert steps_ahead(8192, 16) == steps_ahead(1, 1 << 18) == 16
    assert steps_ahead(16_384, 1) == 128
    assert steps_ahead(5000, 520) == steps_ahead(10_000, 4000) == 1


def test_a_stream_continues_from_its_counter():
    stream, fresh = Stream([1], "replay", width=5), Stream([1], "replay", width=5)
    for _ in range(301):
        stream.next()
    fresh.load_state(stream.state_dict())
    for _ in range(10):
        assert torch.equal(stream.next(), fresh.next())


def test_keys_are_all_different():
    keys = {key(s, p, c) for s in (0, 1, 2**64 - 1) for p in PURPOSES for c in (0, 1, 2**48 - 1)}
    assert len(keys) == 3 * len(PURPOSES) * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((-1, "env"), "seed"), ((2**64, "env"), "seed"), ((0, "noise"), "purpose"), ((0, "env", -1), "copy")],
)
def test_bad_keys_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        key(*arguments)


@pytest.mark.slow
@ON
@pytest.mark.parametrize("width", [1, 4, 6])
def test_episode_starts_are_the_streams_numbers_by_episode_on_both_devices(width, device):
    padded = -(-width // 4) * 4
    host, there = EpisodeStarts([2, 9], width, 3), DeviceEpisodeStarts([2, 9], width, 3, torch.device(device))
    begun = np.zeros((2, 3), np.int64)
    generator = np.random.default_rng(0)
    expected = {
        (s, b): numpy_numbers(key(seed, "start", b), padded * 400).reshape(400, padded)[:, :width]
        for s, seed in enumerate([2, 9])
        for b in range(3)
    }
    for _ in range(300):
        beginning = generator.random((2, 3)) < 0.4
        on_device = there.take(torch.from_numpy(beginning).to(device)).cpu().numpy()
        on_host = host.take(np.flatnonzero(beginning))
        for n, (s, b) in enumerate(zip(*np.nonzero(beginning), strict=True)):
            np.testing.assert_array_equal(on_host[n], expected[s, b][begun[s, b]])
            np.testing.assert_array_equal(on_device[s, b], expected[s, b][begun[s, b]])
        begun += beginning
    again = EpisodeStarts([2, 9], width, 3)
    again.load(host.episode)
    np.testing.assert_array_equal(again.take(np.arange(6)), host.take(np.arange(6)))

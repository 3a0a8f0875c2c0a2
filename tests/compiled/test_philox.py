"""The compiled generator equals numpy's, and the streams, to the bit."""

import numpy as np
import pytest
from finite_problems import needs_numba

from rlkit.compiled.philox import episode_numbers, uniform
from rlkit.streams import EpisodeStarts, Stream, key

pytestmark = [needs_numba, pytest.mark.slow]


@pytest.mark.parametrize("seed", [0, 1, 2**63 + 12345])
def test_numbers_are_those_of_a_stream(seed):
    expected = Stream([seed], "explore", width=1, copies=3).take(4096)[:, 0, :, 0].numpy()  # [steps, copies]
    for copy in range(3):
        words, out = np.array(key(seed, "explore", copy), np.uint64), np.empty(4)
        for counter in (0, 1, 17, 1023):
            uniform(words, counter, out)
            np.testing.assert_array_equal(out, expected[4 * counter : 4 * counter + 4, copy])


@pytest.mark.parametrize("width", [1, 4, 6])
def test_numbers_of_episodes_are_those_of_their_starts(width):
    starts, out = EpisodeStarts([3, 9], width, copies=2), np.empty(width)
    keys, copies = starts.keys.copy(), np.arange(4)
    for episode in range(40):
        expected = starts.take(copies)
        for copy in copies:
            episode_numbers(keys[copy], episode, out)
            np.testing.assert_array_equal(out, expected[copy])

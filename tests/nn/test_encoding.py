"""Observations are encoded by their space."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlkit.nn import encode, num_features


def test_observations_are_encoded_by_their_space():
    one_hot = encode(torch.tensor([[3, 1]]), spaces.Discrete(3, start=1))
    assert one_hot.tolist() == [[[0, 0, 1], [1, 0, 0]]]
    image = spaces.Box(0, 255, (2, 2), np.uint8)
    assert encode(torch.full((1, 1, 2, 2), 255, dtype=torch.uint8), image).tolist() == [[[1, 1, 1, 1]]]
    pixels = torch.full((1, 1, 2, 2), 51.0, dtype=torch.float64)  # what an attack shows of an image
    torch.testing.assert_close(encode(pixels, image), torch.full((1, 1, 4), 0.2, dtype=torch.float64))
    bits = spaces.Box(0, 1, (2, 2), np.uint8)
    assert encode(torch.ones(1, 1, 2, 2, dtype=torch.uint8), bits).tolist() == [[[1, 1, 1, 1]]]
    codes = torch.tensor([[[0.2, 0.5, 0.3]]])
    assert encode(codes, spaces.Discrete(3)) is codes
    assert num_features(image) == 4
    assert num_features(spaces.Discrete(5)) == 5
    with pytest.raises(ValueError, match="FlattenObservation"):
        num_features(spaces.Dict({}))
    with pytest.raises(ValueError, match=r"observations of Box\(.* hold no number: a policy needs at least one"):
        num_features(spaces.Box(-1, 1, (0,)))

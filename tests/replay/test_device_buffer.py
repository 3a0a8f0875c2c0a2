"""The buffer of devices beside that of the CPU: the same samples and the same files from the same steps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.replay.buffer import ReplayBuffer
from rlkit.replay.device_buffer import DeviceReplayBuffer
from rlkit.types import Transition

SEEDS, COPIES, CAPACITY = 2, 3, 20


def steps(generator: torch.Generator, count: int, obs: torch.Tensor) -> tuple[Transition, torch.Tensor]:
    """``count`` random steps from ``obs [S, B]``; after some of them a copy is somewhere else than it was seen."""
    shape, fields = (SEEDS, COPIES), []
    for _ in range(count):
        next_obs, chance = torch.rand(*shape, 1, generator=generator), torch.rand(3, *shape, generator=generator)
        action = torch.randint(0, 4, shape, generator=generator)
        terminated, truncated = chance[0] < 0.2, chance[1] < 0.1
        fields.append((obs, action, chance[0], next_obs, terminated, truncated))
        elsewhere = terminated | truncated | (chance[2] < 0.15)
        obs = torch.where(elsewhere[..., None], torch.rand(*shape, 1, generator=generator), next_obs)
    return Transition(*(torch.stack(field, dim=1) for field in zip(*fields, strict=True))), obs


def assert_same_samples(one: ReplayBuffer, other: ReplayBuffer) -> None:
    u = torch.linspace(0, 0.999, 40, dtype=torch.float64).expand(SEEDS, -1).contiguous()
    gamma = torch.tensor([0.9, 0.5])
    for mine, theirs in zip(one.sample(u), other.sample(u), strict=True):
        assert mine is theirs is None or torch.equal(mine, theirs)
    (mine, discount), (theirs, expected) = (each.sample_n_step(u, 3, gamma) for each in (one, other))
    assert torch.equal(discount, expected)
    for a, b in zip(mine, theirs, strict=True):
        assert a is b is None or torch.equal(a, b)


@pytest.mark.slow
@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_samples_and_files_are_those_of_the_cpu(seed: int, lengths: list[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    obs = torch.rand(SEEDS, COPIES, 1, generator=generator)
    example, _ = steps(generator, 1, obs)
    example = Transition(*(None if field is None else field[:, 0] for field in example))
    host, device = ReplayBuffer(CAPACITY, example, 4), DeviceReplayBuffer(CAPACITY, example, 4)
    for length in lengths:
        segment, obs = steps(generator, length, obs)
        host.add(segment)
        device.add(segment)
        ended = torch.rand(SEEDS, COPIES, generator=generator) < 0.3
        host.truncate(ended)
        device.truncate(ended)
        assert_same_samples(host, device)
        again, across = DeviceReplayBuffer(CAPACITY, example, 4), ReplayBuffer(CAPACITY, example, 4)
        again.load_state(host.state_dict())
        across.load_state(device.state_dict())
        assert_same_samples(host, again)
        assert_same_samples(host, across)
        device = again  # goes on as the one that was saved


def test_room_that_is_added_keeps_what_is_stored() -> None:
    generator = torch.Generator().manual_seed(0)
    segment, _ = steps(generator, 4, torch.rand(SEEDS, COPIES, 1, generator=generator))
    example = Transition(*(None if field is None else field[:, 0] for field in segment))
    host, device = ReplayBuffer(12, example, 4), DeviceReplayBuffer(12, example, 4)
    for each in (host, device):
        each.add(segment)
        each.grow(CAPACITY)
    assert_same_samples(host, device)

"""Means and episode returns against sums taken one by one."""

import math

import numpy as np
import pytest
import torch

from rlkit.tracking import FOLD, EpisodeReturns, Means
from rlkit.types import Transition, segment


@pytest.mark.parametrize("steps", [1, 255, 600])
def test_episode_returns_are_those_of_each_copy_followed_alone(steps):
    generator = np.random.default_rng(steps)
    rewards, dones = generator.normal(size=(steps, 2, 3)).astype(np.float32), generator.random((steps, 2, 3)) < 0.02
    returns = EpisodeReturns(2, 3, torch.device("cpu"))
    finished: list[list[float]] = [[], []]
    for seed in range(2):
        for copy in range(3):
            total = 0.0
            for reward, done in zip(rewards[:, seed, copy], dones[:, seed, copy], strict=True):
                total += float(reward)
                if done:
                    finished[seed].append(total)
                    total = 0.0
    nothing = torch.zeros(2, 3)
    for step, (reward, done) in enumerate(zip(torch.from_numpy(rewards), torch.from_numpy(dones), strict=True)):
        ends = (done, done & False) if step % 2 else (done & False, done)  # for either reason
        returns.add(segment([Transition(nothing, nothing, reward, nothing, *ends)]))
    read = returns.read()
    assert read["episodes"].tolist() == [len(seed) for seed in finished]
    expected = [np.mean(seed) if seed else math.nan for seed in finished]
    np.testing.assert_allclose(read["episode_return"], expected, rtol=1e-3, atol=1e-3)


def test_means_are_of_everything_since_the_last_reading():
    means = Means()
    for value in range(600):
        means.add(loss=torch.tensor([float(value), 1.0]))
    assert means.read()["loss"].tolist() == [299.5, 1.0]
    means.add(loss=torch.tensor([2.0, 3.0]))
    assert means.read()["loss"].tolist() == [2.0, 3.0]
    means.extend(loss=torch.tensor([[2.0, 4.0, 6.0], [1.0, 1.0, 1.0]]))
    means.add(loss=torch.tensor([8.0, 1.0]))
    assert means.read()["loss"].tolist() == [5.0, 1.0]


def test_means_of_several_iterations_are_to_the_bit_those_of_one_after_another():
    values = torch.rand(300, 2, 5, generator=torch.Generator().manual_seed(0))
    together, alone = Means(), Means()
    for part in values.split(7):
        together.extend_repeatedly(loss=part)
    for part in values:
        alone.extend(loss=part)
    found, expected = (means.state_dict() for means in (together, alone))
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert together.read()["loss"].tolist() == alone.read()["loss"].tolist()


@pytest.mark.parametrize("each", [1, 7, 100, 128, 300])
def test_returns_of_several_segments_are_to_the_bit_those_of_one_after_another(each):
    generator, count = torch.Generator().manual_seed(each), 4 * FOLD // each + 1
    reward, nothing = torch.randn(2, count * each, 3, generator=generator), torch.zeros(2, count * each, 3)
    done = torch.rand(2, count * each, 3, generator=generator) < 0.02
    steps = Transition(nothing, nothing, reward, nothing, done, done)
    together, alone = (EpisodeReturns(2, 3, torch.device("cpu")) for _ in range(2))
    together.add(steps)
    for begin in range(0, count * each, each):
        alone.add(Transition(*(field[:, begin : begin + each] for field in steps[:6])))
    assert together._kept == alone._kept
    one, other = together.state_dict(), alone.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert together.read()["episode_return"].tolist() == alone.read()["episode_return"].tolist()


@pytest.mark.parametrize("steps", [3, 300])  # before and after rewards were summed
def test_a_dropped_episode_earns_nothing(steps):
    returns, nothing = EpisodeReturns(2, 2, torch.device("cpu")), torch.zeros(2, 2)
    ends = torch.zeros(2, 2, dtype=torch.bool)

    def step(done):
        returns.add(segment([Transition(nothing, nothing, torch.ones(2, 2), nothing, done, ends)]))

    step(~ends)  # an episode of one step everywhere, which stays
    for _ in range(steps):
        step(ends)
    returns.drop(torch.tensor([[False, True], [False, False]]))
    step(~ends)
    read = returns.read()
    assert read["episodes"].tolist() == [4, 4]
    assert read["episode_return"].tolist() == [(1 + 1 + steps + 1 + 1) / 4, (2 + 2 * (steps + 1)) / 4]

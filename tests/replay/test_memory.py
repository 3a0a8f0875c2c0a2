"""The memory of a learner from replay: each way of sampling is the piece that it is made of."""

import pytest
import torch

from rlkit.replay import SMALLEST_PRIORITY, Memory, Priorities, ReplayBuffer
from rlkit.types import Transition, segment

GAMMA = torch.tensor([0.9, 0.5])
COPIES, CAPACITY = 3, 20


def steps(first, count):
    """``count`` steps of two seeds and three copies whose fields tell when and where they were made."""

    def one(t):
        place = 10.0 * torch.arange(2)[:, None] + torch.arange(COPIES)
        done = torch.full((2, COPIES), t % 4 == 3)
        return Transition(place + 100 * t, place.long(), place + t, place + 100 * (t + 1), done, torch.zeros_like(done))

    return segment([one(t) for t in range(first, first + count)])


def filled(count=5, **settings):
    memory = Memory(COPIES, GAMMA, **settings)
    memory.reserve(CAPACITY)
    memory.add(steps(0, count))
    return memory


def uniform(updates=2, size=4):
    return torch.rand(updates, 2, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def equal(a, b):
    return all(x is y is None or torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("n_steps", [1, 3])
def test_uniform_minibatches_are_the_replays_side_by_side(n_steps):
    memory, replay = filled(n_steps=n_steps), ReplayBuffer(CAPACITY, Transition(*(f[:, 0] for f in steps(0, 1)[:6])))
    replay.add(steps(0, 5))
    u = uniform()
    batch, discount, importance = memory.sample(u)
    assert importance is None
    for update in range(2):
        expected, power = replay.sample_n_step(u[update], n_steps, GAMMA)
        assert equal([field if field is None else field[:, 4 * update :][:, :4] for field in batch], expected)
        assert torch.equal(discount.expand(2, 8)[:, 4 * update :][:, :4], power)


def test_priorities_are_the_errors_that_were_told():
    alpha, beta = torch.tensor([0.6, 1.0]), torch.tensor([0.4, 0.0])
    memory, chances = filled(alpha=alpha, beta=beta), Priorities(CAPACITY, alpha)
    chances.add(5 * COPIES)
    u = uniform(updates=1)
    for remaining in (1.0, 0.25):
        batch, _, importance = memory.sample(u, memory.betas(remaining))
        slot, probability = chances.choose(u[0])
        assert torch.equal(batch.obs, memory.replay.at(chances.number(slot)).obs)
        torch.testing.assert_close(importance, chances.importance(probability, 1.0 - (1.0 - beta) * remaining))
        error = torch.linspace(-2.0, 3.0, 8).view(2, 4)
        memory.update_priorities(error)
        chances.update(slot, error.abs() + SMALLEST_PRIORITY)
        assert equal(memory.priorities.state_dict().values(), chances.state_dict().values())


@pytest.mark.parametrize("n_steps", [1, 3])
def test_a_row_without_priorities_beside_one_with_them_samples_by_age(n_steps):
    mixed = filled(9, alpha=torch.tensor([0.0, 0.6]), beta=torch.tensor([0.4, 0.4]), n_steps=n_steps)
    uniformly = filled(9, n_steps=n_steps)  # 27 transitions went through 20 places
    u = uniform(updates=1)
    for _ in range(2):
        batch, discount, importance = mixed.sample(u, mixed.betas(0.5))
        by_age, discount_by_age, _ = uniformly.sample(u)
        assert equal(*([field if field is None else field[:1] for field in sampled] for sampled in (batch, by_age)))
        assert torch.equal(discount[0], discount_by_age[0])
        assert importance[0].tolist() == [1.0] * 4
        assert not torch.equal(batch.obs[1], by_age.obs[1])
        mixed.update_priorities(torch.linspace(-2.0, 3.0, 8).view(2, 4))


def test_the_latest_come_in_their_order_whatever_the_numbers():
    memory = filled(count=9, latest=True)  # 27 transitions went through 20 places
    batch = memory.sample(uniform(updates=2, size=6)).transition
    newest = torch.cat([steps(7, 2).obs.flatten(1, 2)] * 2, dim=1)
    assert torch.equal(batch.obs, newest)


def test_errors_of_uniform_samples_change_nothing():
    memory = filled()
    memory.sample(uniform())
    before = memory.sample(uniform()).transition
    memory.update_priorities(torch.ones(2, 8))
    assert equal(memory.sample(uniform()).transition, before)


@pytest.mark.parametrize("alpha", [None, torch.tensor([0.6, 1.0])])
def test_a_saved_memory_goes_on_as_the_other(alpha):
    memory = filled(alpha=alpha, beta=torch.tensor([0.4, 0.4]))
    again = Memory(COPIES, GAMMA, alpha=alpha, beta=torch.tensor([0.4, 0.4]))
    again.load_state(memory.state_dict())
    for one in (memory, again):
        one.reserve(30)  # there is room for twenty, and nothing was overwritten
        one.add(steps(5, 4))
    (ours, _, weights), (theirs, _, other_weights) = memory.sample(uniform()), again.sample(uniform())
    assert equal((*ours, weights), (*theirs, other_weights))
    assert int(again.replay.added) == 9 * COPIES


def test_an_empty_memory_is_saved_as_nothing():
    memory = Memory(COPIES, GAMMA)
    assert memory.state_dict() == {}
    memory.load_state({})
    memory.reserve(CAPACITY)
    memory.add(steps(0, 1))
    assert int(memory.replay.added) == COPIES


def test_reserving_less_keeps_the_room():
    memory = filled()
    memory.reserve(4)
    assert memory.replay.capacity == CAPACITY

"""The compiled replay against ``rlkit.replay``: the same memory is written, the same transitions are read."""

import numpy as np
import pytest
import torch
from finite_problems import needs_numba
from hypothesis import given
from hypothesis import strategies as st

from rlkit.compiled import replay
from rlkit.compiled.layout import PriorityArrays, ReplayArrays, TransitionArrays
from rlkit.replay import SMALLEST_PRIORITY, Memory, Priorities, buffer
from rlkit.types import Transition

pytestmark = needs_numba

SEEDS, WIDTH, ACTIONS = 2, 3, 4


class World:
    """Random steps of every copy, in which episodes end, and states are sometimes changed from outside."""

    def __init__(self, seed, copies, masks=False):
        self.rng, self.copies, self.masks = np.random.default_rng(seed), copies, masks
        self.obs = self.drawn(WIDTH)

    def drawn(self, *shape):
        return self.rng.random((SEEDS, self.copies, *shape), dtype=np.float32)

    def segment(self, length):
        fields = []
        for _ in range(length):
            if self.rng.random() < 0.2:
                self.obs = np.where(self.drawn(1) < 0.5, self.drawn(WIDTH), self.obs)
            next_obs, kind = self.drawn(WIDTH), self.drawn()
            terminated, truncated = kind < 0.15, (kind > 0.1) & (kind < 0.25)
            action = self.rng.integers(ACTIONS, size=(SEEDS, self.copies))
            mask = self.drawn(ACTIONS) < 0.6
            fields.append((self.obs, action, self.drawn(), next_obs, terminated, truncated, mask, mask))
            self.obs = np.where((terminated | truncated)[..., None], self.drawn(WIDTH), next_obs)
        stacked = [torch.from_numpy(np.stack(field, axis=1)) for field in zip(*fields, strict=True)]
        return Transition(*stacked) if self.masks else Transition(*stacked[:6])


def example(segment):
    return Transition(*(None if field is None else field[:, 0] for field in segment))


def write(memory, segment):
    """Store a segment as the compiled loops do."""
    length, added = segment.reward.shape[1], int(memory.replay.added)
    ring, steps = ReplayArrays.of(memory.replay, length), TransitionArrays.of(segment)
    for s in range(SEEDS):
        replay.store(ring, s, added, steps, 0, steps.reward.shape[1])
    memory.replay.wrote(length)


def minibatch(size, masks=0, dtype=np.float32):
    features = [np.full((size, WIDTH), np.nan, dtype) for _ in range(2)]
    numbers = [np.full(size, -7, np.int64), np.full(size, np.nan, dtype), np.full(size, np.nan, dtype)]
    return replay.MinibatchArrays(
        *features, *numbers, np.zeros(size, bool), np.zeros((size if masks else 0, ACTIONS), bool)
    )


def test_the_bits_of_flags_are_those_of_the_buffer():
    assert (replay.TERMINATED, replay.TRUNCATED, replay.OWN) == (buffer.TERMINATED, buffer.TRUNCATED, buffer.OWN)
    assert replay.SMALLEST_PRIORITY == SMALLEST_PRIORITY


@pytest.mark.slow
@given(st.integers(1, 3), st.integers(3, 40), st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 999))
def test_what_is_stored_is_what_the_buffer_stores(copies, capacity, lengths, seed):
    """Rings that wrap, segments longer than the ring, episodes cut and states changed from outside."""
    world = World(seed, copies)
    first = world.segment(lengths[0])
    ours, theirs = (Memory(copies, torch.ones(SEEDS)) for _ in range(2))
    for memory in (ours, theirs):
        memory.reserve(capacity)
        memory.add(first)
    for length in lengths[1:]:
        segment = world.segment(length)
        write(ours, segment)
        theirs.add(segment)
        if world.rng.random() < 0.3:
            cut = torch.from_numpy(world.drawn() < 0.5)
            ours.truncate(cut)
            theirs.truncate(cut)
    stored = theirs.replay.state_dict()
    size = min(int(stored["added"]), capacity)
    for name, tensor in ours.replay.state_dict().items():
        written = slice(size if name in ("obs", "action", "reward", "flags", "next_action_mask") else None)
        part = (slice(None), written) if tensor.dim() > 1 else ...
        assert torch.equal(tensor[part], stored[name][part]), name


@pytest.mark.slow
@given(st.integers(1, 3), st.integers(3, 40), st.integers(1, 4), st.booleans(), st.integers(0, 999))
def test_what_is_read_is_what_the_buffer_reads(copies, capacity, n_steps, masks, seed):
    world = World(seed, copies, masks)
    memory = Memory(copies, torch.tensor([0.9, 0.5], dtype=torch.float64), n_steps)
    memory.reserve(capacity)
    for _ in range(5):
        memory.add(world.segment(int(world.rng.integers(1, 9))))
    u = torch.from_numpy(world.rng.random((1, SEEDS, 50)))
    expected, discount, _ = memory.sample(u)
    ring, added = ReplayArrays.of(memory.replay).as_bytes(), int(memory.replay.added)
    for s in range(SEEDS):
        found = minibatch(50, masks, np.float64)
        number = np.array([replay.uniform_number(x, added, capacity) for x in u[0, s].tolist()])
        powers = memory.gamma[s].numpy() ** np.arange(n_steps + 1)
        replay.read(ring, s, added, number, powers, False, found)
        assert (found.features == expected.obs[s].numpy()).all()
        assert (found.next_features == expected.next_obs[s].numpy()).all()
        assert (found.action == expected.action[s].numpy()).all()
        assert (found.terminated == expected.terminated[s].numpy()).all()
        np.testing.assert_allclose(found.reward, expected.reward[s], rtol=1e-12 if n_steps > 1 else 0)
        np.testing.assert_allclose(found.discount, discount.expand(-1, 50)[s], rtol=1e-12)
        if masks:
            assert (found.next_action_mask == expected.next_action_mask[s].numpy()).all()


def test_an_index_is_read_as_its_one_hot_code():
    obs = torch.tensor([[2], [0]])
    memory = Memory(1, torch.ones(2))
    memory.reserve(3)
    false = torch.zeros(2, 1, 1, dtype=torch.bool)
    memory.add(Transition(obs[:, None], obs[:, None], torch.ones(2, 1, 1), 1 + obs[:, None] * 0, false, false))
    found, ring = minibatch(1), ReplayArrays.of(memory.replay).as_bytes()
    replay.read(ring, 0, 1, np.zeros(1, np.int64), np.ones(2, np.float32), True, found)
    assert found.features.tolist() == [[0.0, 0.0, 1.0]]
    assert found.next_features.tolist() == [[0.0, 1.0, 0.0]]


def test_the_bytes_of_an_index_are_read_lowest_first():
    features = np.full((2, 70_000), np.nan)
    replay.write_features(features, 1, np.array([66_051]).view(np.uint8), True)  # 1 256^2 + 2 256 + 3
    assert np.flatnonzero(features[1]).tolist() == [66_051]
    assert features[1, 66_051] == 1.0
    assert np.isnan(features[0]).all()


@pytest.mark.slow
@given(st.integers(1, 30), st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(0, 10**6))
def test_priorities_are_chosen_and_changed_as_by_the_tree(capacity, counts, seed):
    rng = np.random.default_rng(seed)
    alpha = torch.from_numpy(rng.random(SEEDS))
    ours, theirs = Priorities(capacity, alpha), Priorities(capacity, alpha)
    for count in counts:
        for s in range(SEEDS):
            replay.add_priorities(PriorityArrays.of(ours), s, int(ours.added), count, capacity)
        ours.added += count
        theirs.add(count)
        u = torch.from_numpy(np.append(rng.random((SEEDS, 30)), [[1.0 - 2**-53]] * SEEDS, axis=1))
        slot, probability = theirs.choose(u)
        weight = theirs.importance(probability, torch.tensor([0.4, 1.0], dtype=torch.float64))
        number = theirs.number(slot)
        value = torch.from_numpy(rng.uniform(1e-6, 3.0, (SEEDS, capacity))).gather(1, slot)
        added = int(theirs.added)
        stored = min(added, capacity)
        for s in range(SEEDS):
            found, chance, scale = np.zeros(31, np.int64), np.zeros(31), np.zeros(31)
            replay.choose(PriorityArrays.of(ours), s, stored, u[s].numpy(), found, chance)
            assert (found == slot[s].numpy()).all()
            np.testing.assert_allclose(chance, probability[s], rtol=1e-12)
            replay.importance(chance, stored, (0.4, 1.0)[s], scale)
            np.testing.assert_allclose(scale, weight[s], rtol=1e-12)
            ages = [replay.age_of(x, added, capacity) for x in found.tolist()]
            assert ages == number[s].tolist()
            replay.prioritize(PriorityArrays.of(ours), s, found, value[s].numpy())
        theirs.update(slot, value)
        for name, tensor in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-12, atol=0.0)
        torch.testing.assert_close(ours._blocks, theirs._blocks, rtol=1e-12, atol=0.0)


def test_chances_that_are_not_numbers_choose_slots_that_hold_something():
    priorities = Priorities(20, torch.ones(1))
    priorities.add(11)
    replay.prioritize(PriorityArrays.of(priorities), 0, np.array([3, 7]), np.array([np.nan, 1.0]))
    assert torch.isnan(priorities.largest).all()
    slot, chance = np.full(9, -1), np.zeros(9)
    u = np.linspace(0, 1, 9, endpoint=False)
    replay.choose(PriorityArrays.of(priorities), 0, 11, u, slot, chance)
    for chosen in (slot, priorities.choose(torch.from_numpy(u)[None])[0].numpy()):
        assert ((chosen >= 0) & (chosen < 11)).all()

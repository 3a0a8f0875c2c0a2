"""Randomness as data: uniform numbers addressed by (seed, purpose, copy) and a counter.

A stream is a counter-based generator: number n of a stream is a pure function of its key and n. So its bits are
the same on CPU and GPU and do not depend on the number of seeds or copies nor on the block size. A checkpoint saves
one integer, and drawing more numbers for exploration does not change the environment's noise.

The generator is Philox4x64-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3").
On the CPU it is numpy's own; on other devices it is written in torch's 64-bit integers, equal to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import index
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

Purpose = Literal[
    "init", "env", "explore", "replay", "attack", "eval", "start", "timing", "substitute", "term", "smoothing",
    "adversary",
]  # fmt: skip

PURPOSES: tuple[str, ...] = get_args(Purpose)
COPY_BITS = 48  # of the second key word; the purpose has the rest
NUMBERS_IN_CACHE = 1 << 18  # drawn ahead at most, over all rows and copies, for any number of steps
NUMBERS_AHEAD = 1 << 22  # the same for steps that amortize the call of each generator: 32 MB
NUMBERS_OF_CALL = 128  # of a generator, which take about as long as the call

# Philox4x64's multipliers and key increments (Salmon et al. 2011, table 2 and section 3.3)
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
ROUNDS = 10
MASK32 = 0xFFFFFFFF


def as_seeds(given: int | Iterable[int]) -> tuple[int, ...]:
    """Return one seed per row: a count n gives 0, ..., n - 1, a sequence (of numpy or torch too) gives its integers.

    Raises:
        ValueError: a count below one, an empty sequence, or anything that is not integers.
    """
    try:
        seeds = tuple(_integer(seed) for seed in (given if np.iterable(given) else range(_integer(given))))
    except TypeError as error:
        raise ValueError(
            f"seeds must be a count such as 8, or one integer per row such as range(8) or [3], got {given!r}"
        ) from error
    if not seeds:
        raise ValueError(f"seeds must be at least one, got {given!r}: pass seeds=[0] for seed 0 alone")
    return seeds


def key(seed: int, purpose: Purpose, copy: int = 0) -> tuple[int, int]:
    """Return the two 64-bit key words of a stream; different (seed, purpose, copy) never share a key.

    Raises:
        ValueError: seed outside [0, 2**64), unknown purpose, or copy outside [0, 2**48).
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be in [0, 2**64), got {seed}")
    if purpose not in PURPOSES:
        raise ValueError(f"purpose must be one of {', '.join(PURPOSES)}, got {purpose!r}")
    if not 0 <= copy < 2**COPY_BITS:
        raise ValueError(f"copy must be in [0, 2**{COPY_BITS}), got {copy}")
    return seed, PURPOSES.index(purpose) << COPY_BITS | copy


class Stream:
    """Uniform numbers, step by step, for every seed (and copy): ``next`` gives ``[S, width]`` or ``[S, B, width]``.

    Row s is a function of ``seeds[s]`` and the number of steps taken so far, of nothing else; copy b likewise.
    Numbers are float64 on [0, 1) with 53 random bits, as ``numpy.random.Generator.random`` makes them.

    Args:
        seeds: one integer per row.
        purpose: purpose of the numbers; different purposes never share numbers.
        width: numbers per step.
        copies: B, or None for one stream per seed without a copy axis.
        device: where the numbers are needed.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        purpose: Purpose,
        width: int,
        copies: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.width = width
        self.copies = copies
        self.device = torch.device(device)
        self._keys = [key(seed, purpose, copy) for seed in seeds for copy in range(1 if copies is None else copies)]
        self._lead = (len(seeds),) if copies is None else (len(seeds), copies)
        self._block_steps = steps_ahead(len(self._keys), max(width, 1))
        self._block: Tensor | None = None
        self._block_start = 0
        self._generators: list[np.random.Generator] = []  # numpy's, on the CPU
        self._generators_at = -1  # the number that they give next
        self._ahead: _DrawnAhead | None = None
        if self.device.type != "cpu":
            self._ahead = _DrawnAhead(self._draw, self._block_steps)
            self._words = _as_int64(self._keys, self.device)
        self.step = 0  # how many steps have been drawn: the whole state of the stream

    def hold(self, steps: int) -> None:
        """Draw the numbers of the next ``steps`` steps now, if the stream is on a device and does not have them yet.

        ``next`` and ``take`` draw nothing then, so a CUDA graph of them can be replayed.
        """
        if self._ahead is not None:
            self._ahead.draw_until(self.step, steps)

    def next(self) -> Tensor:
        """Return the numbers of this step, ``[S, width]`` or ``[S, B, width]`` float64, and advance by one step."""
        if self._ahead is not None:
            return self.take(1)[0]
        block, offset = self._at_step()
        self.step += 1
        return block[offset]

    def take(self, steps: int) -> Tensor:
        """Return what ``steps`` calls of ``next`` would: ``[steps, S, width]`` or ``[steps, S, B, width]``."""
        if self._ahead is not None:
            self._ahead.draw_until(self.step, steps)
            self.step += steps
            return self._ahead.take(steps)
        pieces, end = [], self.step + steps
        while self.step < end:
            block, offset = self._at_step()
            pieces.append(block[offset : offset + end - self.step])
            self.step += len(pieces[-1])
        return torch.cat(pieces)

    def _at_step(self) -> tuple[Tensor, int]:
        """Return the block of this step, and the step's index in it."""
        offset = self.step - self._block_start
        if self._block is None or not 0 <= offset < self._block_steps:
            self._block_start = self.step // self._block_steps * self._block_steps
            self._block = None  # not both in memory
            self._block = self._draw(self._block_start, self._block_steps)
            offset = self.step - self._block_start
        return self._block, offset

    def state_dict(self) -> dict[str, Tensor]:
        """Return the counter, for a checkpoint."""
        return {"step": torch.tensor(self.step)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved counter."""
        self.step = int(state["step"])

    def _draw(self, start: int, steps: int) -> Tensor:
        """Steps ``start .. start + steps`` -> ``[steps, *lead, width]``."""
        first, count = start * self.width, steps * self.width
        if self.device.type == "cpu":
            numbers = self._draw_numpy(first, count)
        else:
            numbers = numbers_from(self._words, first, count)
        return numbers.view(*self._lead, steps, self.width).movedim(-2, 0).contiguous()

    def _draw_numpy(self, first: int, count: int) -> Tensor:
        """Numbers ``first .. first + count`` of each key by numpy's Philox, ``[len(keys), count]`` float64."""
        if first != self._generators_at:
            self._generators = [_generator_at(words, first) for words in self._keys]
        self._generators_at = first + count
        numbers = np.empty((len(self._keys), count))
        for row, generator in zip(numbers, self._generators, strict=True):
            generator.random(out=row)
        return torch.from_numpy(numbers)


class _DrawnAhead:
    """Numbers of a stream on a device, of which the device knows which come next.

    The host knows it too, and draws more before they are used up; the device is not asked.

    Args:
        draw: (first step, steps) -> ``[steps, ...]``.
        steps: drawn at once, at least.
    """

    def __init__(self, draw: Callable[[int, int], Tensor], steps: int) -> None:
        self._draw, self._steps = draw, steps
        self._numbers: Tensor  # [steps, ...], made by the first draw
        self._index: Tensor  # of the next step and those after it, [steps] int64
        self._drawn = 0  # steps in ``_numbers``
        self._next, self._left = -1, 0  # the step that comes next, and the steps drawn from there on

    def draw_until(self, step: int, steps: int) -> None:
        """Have the numbers of ``steps`` steps from ``step`` on, at the address of those before if there are enough."""
        if steps == 0 or (step == self._next and steps <= self._left):
            return
        self._steps = max(self._steps, steps)
        numbers = self._draw(step, self._steps)
        if self._drawn < self._steps:
            self._numbers, self._drawn = numbers, self._steps
            self._index = torch.arange(self._steps, device=numbers.device)
        else:
            self._numbers.copy_(numbers)
            torch.arange(self._steps, out=self._index)
        self._next, self._left = step, self._steps

    def take(self, steps: int) -> Tensor:
        """Return the numbers of the next steps, ``[steps, ...]``."""
        numbers = self._numbers.index_select(0, self._index[:steps])
        self._index += steps
        self._next, self._left = self._next + steps, self._left - steps
        return numbers


def steps_ahead(streams: int, width: int) -> int:
    """Return how many steps of ``streams`` streams are drawn at once.

    Up to 256 if they fit in the cache, else up to 16, or as many as have 128 numbers of a stream, if they take at most
    32 MB, else one.
    """
    numbers = max(streams * width, 1)
    amortizing = max(16, NUMBERS_OF_CALL // width)
    return max(1, min(amortizing, NUMBERS_AHEAD // numbers), min(256, NUMBERS_IN_CACHE // numbers))


class EpisodeStarts:
    """Uniform numbers for the first state of each episode, on the CPU, drawn when a copy begins an episode.

    Number ``j`` of episode ``e`` is number ``4 ceil(width / 4) e + j`` of the stream (seed, "start", copy). It does not
    depend on the length of earlier episodes: two policies of one seed meet the same first states.

    Args:
        seeds: one integer per row.
        width: numbers per episode.
        copies: B, streams per seed.
    """

    EPISODES = 16  # drawn ahead for a copy

    def __init__(self, seeds: Sequence[int], width: int, copies: int) -> None:
        self.width = width
        self._padded = -(-width // 4) * 4  # whole Philox counters
        # the two key words of each copy, [S B, 2]
        self.keys = np.array([key(seed, "start", copy) for seed in seeds for copy in range(copies)], np.uint64)
        self._generators = [np.random.Generator(_philox_at(words, 0)) for words in self.keys]
        self._drawn = np.empty((len(self.keys), self.EPISODES, self._padded))
        self._block = np.full(len(self.keys), -1)  # which ``EPISODES`` of a copy are drawn
        self.episode = np.zeros(len(self.keys), dtype=np.int64)  # begun so far, by copy: the whole state

    def take(self, copies: np.ndarray) -> np.ndarray:
        """Return the numbers of some copies' next episodes: flat indices ``s B + b``, ``[n]`` -> ``[n, width]``."""
        block, offset = np.divmod(self.episode[copies], self.EPISODES)
        stale = block != self._block[copies]
        for copy, needed in zip(copies[stale], block[stale], strict=True):
            self._draw(copy, needed)
        self.episode[copies] += 1
        numbers: np.ndarray = self._drawn[copies, offset, : self.width]
        return numbers

    def _draw(self, copy: int, block: int) -> None:
        """Draw block ``block`` of a copy's episodes."""
        if block != self._block[copy] + 1:
            first = int(block) * self.EPISODES * self._padded // 4
            self._generators[copy] = np.random.Generator(_philox_at(self.keys[copy], first))
        self._generators[copy].random(out=self._drawn[copy])
        self._block[copy] = block

    def load(self, episode: np.ndarray) -> None:
        """Continue after ``episode`` begun episodes of each copy, ``[S B]``."""
        self.episode[:] = episode


class DeviceEpisodeStarts:
    """The numbers of ``EpisodeStarts`` on a device, without synchronizing with it to learn which copies finished.

    It draws enough for every copy to begin an episode at each of the next steps.

    Args:
        seeds, width, copies: as in ``EpisodeStarts``.
        device: where the numbers are needed.
        first_state: function of the numbers of an episode, ``[..., width] -> [..., k]``, applied when they are drawn;
            None gives the numbers themselves.
    """

    EPISODES = 64  # drawn ahead for a copy, at least

    def __init__(
        self,
        seeds: Sequence[int],
        width: int,
        copies: int,
        device: torch.device,
        first_state: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.width = width
        self._first_state = first_state
        self._counters = -(-width // 4)
        keys = [key(seed, "start", copy) for seed in seeds for copy in range(copies)]
        self._keys = _as_int64(keys, device)
        self._episodes = self.EPISODES
        self._base = torch.zeros(len(seeds), copies, dtype=torch.int64, device=device)  # begun before those drawn
        self._used = torch.zeros_like(self._base)  # of those drawn
        self._drawn = self._draw()
        self._left = self._episodes  # steps for which enough is drawn
        self.step = 0  # how often ``take`` was called

    @property
    def episode(self) -> Tensor:
        """Episodes begun so far, ``[S, B]``: the whole state."""
        return self._base + self._used

    def hold(self, steps: int) -> None:
        """Draw enough for the next ``steps`` steps now, if there is not enough; see ``Stream.hold``."""
        if steps <= self._left:
            return
        self._base += self._used
        self._used.zero_()
        if steps > self._episodes:
            self._episodes = steps
            self._drawn = self._draw()
        else:
            self._drawn.copy_(self._draw())
        self._left = self._episodes

    def take(self, beginning: Tensor) -> Tensor:
        """Return every copy's next episode, ``[S, B, width or k]``; those ``beginning [S, B]`` advance."""
        self.hold(1)
        self._left -= 1
        self.step += 1
        offset = self._used[..., None, None].expand(-1, -1, 1, self._drawn.shape[-1])
        episode = self._drawn.gather(2, offset)[..., 0, :]
        self._used += beginning
        return episode

    def load(self, episode: Tensor) -> None:
        """Continue after ``episode [S, B]`` begun episodes of each copy."""
        self._base.copy_(episode)
        self._used.zero_()
        self._left = 0

    def _draw(self) -> Tensor:
        """Compute the next episodes of every copy, ``[S, B, episodes, width or k]``."""
        first = self._base.flatten()[:, None] * self._counters
        numbers = uniform(self._keys, first, self._episodes * self._counters)
        numbers = numbers.view(*self._base.shape, self._episodes, 4 * self._counters)[..., : self.width]
        return numbers if self._first_state is None else self._first_state(numbers)


def _philox_at(words: tuple[int, int] | np.ndarray, counter: int) -> np.random.Philox:
    """Return numpy's Philox of a key, positioned after ``counter``."""
    return np.random.Philox(key=np.array(words, np.uint64), counter=np.array([counter, 0, 0, 0], np.uint64))


def _generator_at(words: tuple[int, int], number: int) -> np.random.Generator:
    """Return numpy's generator of a key, positioned at its number ``number``; a counter gives four numbers."""
    counter, inside = divmod(number, 4)
    generator = np.random.Generator(_philox_at(words, counter))
    generator.random(inside)
    return generator


def _integer(given: Any) -> int:
    """Return an integer of Python, numpy or torch as int; a boolean is none.

    Raises:
        TypeError: anything else.
    """
    if isinstance(given, bool | np.bool_) or getattr(given, "dtype", None) == torch.bool:
        raise TypeError(f"{given} is a boolean")
    return index(given)


def _as_int64(keys: list[tuple[int, int]], device: torch.device) -> Tensor:
    """Convert key words to int64 bit patterns, ``[len(keys), 2]``."""
    return torch.from_numpy(np.array(keys, dtype=np.uint64).view(np.int64)).to(device)


def uniform(keys: Tensor, first: Tensor | int, count: int) -> Tensor:
    """Compute numbers ``4 first .. 4 (first + count)`` of each key in torch integers, ``[len(keys), 4 count]`` float64.

    keys: ``[n, 2]`` int64 bit patterns; first: one for all or ``[n, 1]``. Word w becomes
    ``(w >> 11) 2**-53``, as numpy does it; numpy counts from 1 because it increments before it encrypts.
    """
    low = (first + torch.arange(1, count + 1, device=keys.device)).expand(len(keys), count)
    zero = torch.zeros_like(low)
    words = philox((low, zero, zero, zero), (keys[:, :1], keys[:, 1:]))
    bits = torch.stack(words, dim=-1).flatten(1)  # [n, 4 count]
    return ((bits >> 11) & (2**53 - 1)).to(torch.float64) * 2.0**-53


def numbers_from(keys: Tensor, first: int, count: int) -> Tensor:
    """Compute numbers ``first .. first + count`` of each key, ``[len(keys), count]`` float64; see ``uniform``."""
    counter, inside = divmod(first, 4)
    return uniform(keys, counter, -(-(inside + count) // 4))[:, inside : inside + count]


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Apply Philox4x64-10: encrypt four 64-bit counter words under two key words, all as int64 bit patterns.

    The two products of a round are one, of the words side by side: half as many operations.
    """
    multiplied, others = torch.stack(counter[::2]), torch.stack(counter[1::2])  # [2, ...]
    keys = torch.stack(key)
    axes = (2,) + (1,) * (multiplied.dim() - 1)
    words = torch.arange(2, device=keys.device).view(axes)  # the constants without a copy from the host

    def pair(first: int, second: int) -> Tensor:
        return _signed(first) + words * _signed((second - first) % 2**64)  # int64 arithmetic wraps modulo 2**64

    multipliers, weyl = pair(*MULTIPLIERS), pair(*WEYL).view(2, *[1] * (keys.dim() - 1))
    halves = (multipliers >> 32) & MASK32, multipliers & MASK32
    for _ in range(ROUNDS):
        high, low = _multiply(multiplied, multipliers, halves)
        multiplied, others = high.flip(0) ^ others ^ keys, low.flip(0)
        keys = keys + weyl
    return multiplied[0], others[0], multiplied[1], others[1]


def _multiply(a: Tensor, b: Tensor, halves: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """High and low 64 bits of the unsigned product a b, by 32-bit halves (torch has no 128-bit product)."""
    a1, a0 = (a >> 32) & MASK32, a & MASK32
    b1, b0 = halves
    middle = a1 * b0 + ((a0 * b0 >> 32) & MASK32)
    cross = a0 * b1 + (middle & MASK32)
    high = a1 * b1 + ((middle >> 32) & MASK32) + ((cross >> 32) & MASK32)
    return high, a * b


def _signed(word: int) -> int:
    """The int64 with the bits of an unsigned 64-bit word."""
    return word - 2**64 if word >= 2**63 else word

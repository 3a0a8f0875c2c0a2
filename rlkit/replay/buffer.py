"""Experience replay (Lin 1992; Mnih et al. 2015): ring buffers for S seeds on the device.

The successor of a step is the observation of the same copy's next step, so it is not stored again. A separate table
holds the successors that no next step shows: the last ones of episodes, and those after which the state of an
environment was changed from outside. A transition of the cart-pole takes 22 bytes: 16 for the observation, 4 for the
reward, 1 for the action and 1 for flags.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from rlkit.types import Transition

TERMINATED, TRUNCATED, OWN = 1, 2, 4  # bits of a transition's flags; OWN: its successor is in the table
FIRST_ROOM = 64  # successors that the table has room for at first
SLACK = 0.8  # largest share of its room that the table fills after it was cleaned
NEVER = torch.iinfo(torch.int64).max  # the number of an empty place in the table


class ReplayBuffer:
    """The last ``capacity`` transitions of each seed, sampled uniformly with replacement.

    Args:
        capacity: transitions kept per seed, over all its copies.
        example: any transition of the environment ``[S, B, ...]``: its shapes and dtypes are those stored.
        num_actions: A; actions are stored in the smallest integers that hold them. None stores int64.

    Raises:
        ValueError: capacity is below the number of copies.
        MemoryError: the buffer would not fit (see ``replay_bytes``).
    """

    stores_successors = False  # all of them, instead of those that no next step shows

    def __init__(self, capacity: int, example: Transition, num_actions: int | None = None) -> None:
        num_seeds, copies = example.reward.shape
        if capacity < copies:
            raise ValueError(f"buffer_size must hold one step of all {copies} copies, got {capacity}")
        device = example.reward.device
        needed, free = replay_bytes(capacity, example, num_actions, self.stores_successors), free_memory(device)
        too_large = (
            f"a replay buffer of {capacity:,} transitions for {num_seeds} seeds takes {needed / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free on {device}, or fewer to this process"
        )
        if needed > free:
            raise MemoryError(f"{too_large}: lower buffer_size or train fewer seeds")
        self.capacity = capacity
        try:
            self._fields = {
                name: torch.empty(num_seeds, capacity, *shape, dtype=dtype, device=device)
                for name, (shape, dtype) in _stored(example, num_actions, self.stores_successors).items()
            }
        except RuntimeError as error:  # the process may have less than the machine
            raise MemoryError(f"{too_large}: lower buffer_size or train fewer seeds") from error
        self._copies = copies
        self._rows = torch.arange(num_seeds, device=device)[:, None] * capacity  # [S, 1], start of each ring
        self._latest = torch.zeros_like(example.next_obs)  # [S, B, *observation], successors of each copy's last step
        self._latest_kept = torch.ones(num_seeds, copies, dtype=torch.bool, device=device)  # in the table?
        self.added = torch.zeros((), dtype=torch.int64, device=device)  # transitions per seed so far
        self._successors = _Successors(example)

    def add(self, segment: Transition) -> None:
        """Store steps of every copy, ``[S, T, B, ...]`` each field, over the oldest."""
        count = segment.reward.shape[1] * self._copies
        self._keep_latest_unless_shown(segment.obs[:, 0])
        own = segment.done
        if segment.reward.shape[1] > 1:
            own[:, :-1] |= _differ(segment.obs[:, 1:], segment.next_obs[:, :-1], axes=3)
        flags = segment.terminated.view(torch.uint8) + TRUNCATED * segment.truncated.view(torch.uint8)
        flags.add_(own.view(torch.uint8), alpha=OWN)
        kept = min(count, self.capacity)
        numbers = self.added + count - kept + torch.arange(kept, device=self.added.device)
        if self.added.is_cuda or own.any():  # asking a GPU would wait for it
            flat = own.flatten(1)[:, count - kept :]
            self._successors.add(numbers, segment.next_obs.flatten(1, 2)[:, count - kept :], flat, self._oldest(count))
        position = numbers % self.capacity
        for name, ring in self._fields.items():
            values = (flags if name == "flags" else getattr(segment, name)).flatten(1, 2)  # [S, T B, ...]
            values = values if kept == count else values[:, count - kept :]
            ring.index_copy_(1, position, values.to(ring.dtype))
        self._latest.copy_(segment.next_obs[:, -1])
        self._latest_kept.copy_(own[:, -1])
        self.added += count

    def _keep_latest_unless_shown(self, obs: Tensor) -> None:
        """Keep successors of the last steps in the table where the next ``obs [S, B, *observation]`` is another."""
        moved = _differ(obs, self._latest, axes=2) & ~self._latest_kept
        if moved.is_cuda or moved.any():
            last = self.added - self._copies + torch.arange(self._copies, device=obs.device)  # numbers, [B]
            at = last.clamp(min=0) % self.capacity
            self._successors.add(last, self._latest, moved, self._oldest(0))
            self._successors.sort()  # other copies of that step may be there already
            flags = self._fields["flags"].index_select(1, at)
            self._fields["flags"].index_copy_(1, at, flags | moved.view(torch.uint8) * OWN)

    def tensors(self, steps: int = 0) -> dict[str, Tensor]:
        """Return the tensors in which everything is stored, with room for ``steps`` more steps of every copy.

        Compiled loops write into them what ``add`` does, and call ``wrote`` afterwards. They may sample in between, so
        the successors of all transitions that are stored now are kept.
        """
        count = steps * self._copies
        if not self._successors.has_room(count + self._copies):
            self._successors.make_room(count + self._copies, self._oldest(0))
        table = self._successors.tensors
        return {**self._fields, "latest": self._latest, "latest_kept": self._latest_kept, **table}

    def wrote(self, steps: int) -> None:
        """Count steps of every copy that were written into ``tensors``."""
        self.added += steps * self._copies
        self._successors.recount()

    def truncate(self, copies: Tensor) -> None:
        """End the running episodes of ``copies [S, B]`` bool with their last transitions stored."""
        at = (self.added - self._copies + torch.arange(self._copies, device=copies.device)).clamp(min=0) % self.capacity
        flags = self._fields["flags"].index_select(1, at)
        ends = copies & (flags & (TERMINATED | TRUNCATED) == 0) & (self.added > 0)
        self._fields["flags"].index_copy_(1, at, flags | ends.view(torch.uint8) * TRUNCATED)

    def _oldest(self, count: int) -> Tensor:
        """Return the number of the oldest transition that is still stored after ``count`` more."""
        return (self.added + count - self.capacity).clamp(min=0)

    def sample(self, u: Tensor) -> Transition:
        """Return the transitions at uniform numbers ``u [S, M]``, ``[S, M, ...]``; row s reads its own ring only."""
        return self.at(self.number(u))

    def at(self, number: Tensor) -> Transition:
        """Return the transitions of these numbers ``[S, M]``, see ``number``."""
        index = self._position(number)
        start = {name: self._read(name, index) for name in ("obs", "action", "reward")}
        return Transition(**start, **self._end(number, index))

    def sample_n_step(self, u: Tensor, n: int, gamma: Tensor) -> tuple[Transition, Tensor]:
        """Return transitions of up to n steps, cut where the episode or the stored experience ends.

        ``reward`` is sum_(k < m) gamma^k r_(t+k) over the m steps that remain (Watkins 1989, section 7.1);
        ``next_obs`` and the flags are those of the last of them. With n = 1 the result is ``sample`` and gamma.

        Args:
            u: uniform numbers ``[S, M]``.
            n: number of steps, at least 1.
            gamma: discounts ``[S]``.

        Returns:
            Transitions ``[S, M, ...]``, and gamma^m, the discount of the bootstrap, ``[S, M]``.
        """
        return self.at_n_step(self.number(u), n, gamma)

    def at_n_step(self, number: Tensor, n: int, gamma: Tensor) -> tuple[Transition, Tensor]:
        """Return what ``sample_n_step`` does, of the transitions of these numbers.

        Args:
            number: see ``number``, ``[S, M]``.
            n: number of steps, at least 1.
            gamma: discounts ``[S]``.
        """
        ahead = torch.arange(n, device=number.device)
        number = number[..., None] + ahead * self._copies  # [S, M, n], the same copy's next steps
        index = self._position(number.clamp(max=self.added - 1))
        done = (self._read("flags", index) & (TERMINATED | TRUNCATED)) > 0
        over = done.cumsum(dim=2) > done.long()  # the episode ended at an earlier step
        counts = ~over & (number < self.added)
        reward = torch.where(counts, gamma[:, None, None] ** ahead * self._read("reward", index), 0.0).sum(dim=2)
        length = counts.sum(dim=2)  # [S, M], m
        last = length[..., None] - 1
        start = {name: self._read(name, index[..., 0]) for name in ("obs", "action")}
        end = self._end(number.gather(2, last)[..., 0], index.gather(2, last)[..., 0])
        return Transition(**start, reward=reward, **end), gamma[:, None] ** length

    def number(self, u: Tensor) -> Tensor:
        """Choose stored transitions at uniform numbers ``[S, M]``; they are numbered from the first ever added."""
        size = self.added.clamp(max=self.capacity)
        return self.added - size + (u * size).long()

    def _position(self, number: Tensor) -> Tensor:
        """Return the positions of transitions ``number [S, ...]`` in the concatenated rings."""
        return number % self.capacity + self._rows.view(-1, *[1] * (number.dim() - 1))

    def _read(self, name: str, position: Tensor) -> Tensor:
        ring = self._fields[name]
        values = ring.flatten(0, 1).index_select(0, position.flatten()).view(*position.shape, *ring.shape[2:])
        return values.long() if name == "action" else values

    def _end(self, number: Tensor, position: Tensor) -> dict[str, Tensor]:
        """Return successors and flags of transitions ``number [S, M]``, and the next action masks if stored."""
        flags = self._read("flags", position)
        following = number + self._copies
        next_obs = self._read("obs", self._position(following.clamp(max=self.added - 1)))
        axes = [1] * (next_obs.dim() - 2)
        newest = following >= self.added
        if newest.is_cuda or newest.any():
            latest = _at(self._latest, number % self._copies)
            next_obs = torch.where(newest.view(*newest.shape, *axes), latest, next_obs)
        own = (flags & OWN).bool()
        if own.is_cuda or own.any():
            found = self._successors.read(number)
            next_obs = torch.where(own.view(*own.shape, *axes), found, next_obs)
        end = {"next_obs": next_obs, "terminated": (flags & TERMINATED).bool(), "truncated": (flags & TRUNCATED).bool()}
        if "next_action_mask" in self._fields:
            end["next_action_mask"] = self._read("next_action_mask", position)
        return end

    def grow(self, capacity: int) -> None:
        """Increase the capacity and keep what is stored; possible only before the ring has wrapped.

        Raises:
            RuntimeError: transitions were overwritten already.
        """
        if int(self.added) > self.capacity:
            raise RuntimeError(f"{int(self.added)} transitions went through a ring of {self.capacity}: it cannot grow")
        for name, ring in self._fields.items():
            larger = torch.empty(len(ring), capacity, *ring.shape[2:], dtype=ring.dtype, device=ring.device)
            larger[:, : self.capacity] = ring
            self._fields[name] = larger
        self._rows = self._rows // self.capacity * capacity
        self.capacity = capacity

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything stored and the position, for a checkpoint."""
        self._successors.forget(self._oldest(0))
        table = {f"successors/{name}": tensor for name, tensor in self._successors.state_dict().items()}
        return {**self._fields, "latest": self._latest, "latest_kept": self._latest_kept, **table, "added": self.added}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved buffer.

        Raises:
            ValueError: its fields, shapes or dtypes differ, or its position is impossible.
        """
        if "next_obs" in state:  # version 0.1.0 stored every successor
            return self._load_with_successors(state)
        table = {name: tensor for name, tensor in state.items() if name.startswith("successors/")}
        rings = {"latest": self._latest, "latest_kept": self._latest_kept, "added": self.added, **self._fields}
        if set(rings) != set(state) - set(table):
            raise ValueError(f"the memory holds {', '.join(sorted(state))} where {', '.join(sorted(rings))} are kept")
        for name, ring in rings.items():
            _check_alike(name, ring, state[name])
        if int(state["added"]) < 0:
            raise ValueError(f"the memory says that {int(state['added'])} transitions were added")
        for name, ring in rings.items():
            ring.copy_(state[name])
        self._successors.load_state({name.removeprefix("successors/"): tensor for name, tensor in table.items()})
        return None

    def _load_with_successors(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a buffer that stored the successor of every transition."""
        self.added.copy_(state["added"])
        for name in self._fields.keys() - {"flags"}:
            self._fields[name].copy_(state[name])
        added, size = int(self.added), min(int(self.added), self.capacity)
        numbers = torch.arange(added - size, added, device=self.added.device)  # [n], oldest first
        at, following = numbers % self.capacity, (numbers + self._copies) % self.capacity
        obs, next_obs = state["obs"], state["next_obs"]
        ended = state["terminated"] | state["truncated"]
        own = ended[:, at] | (_differ(obs[:, following], next_obs[:, at], axes=2) & (numbers + self._copies < added))
        flags = state["terminated"][:, at] * TERMINATED + state["truncated"][:, at] * TRUNCATED + own * OWN
        self._fields["flags"][:, at] = flags.to(torch.uint8)
        newest = numbers[-self._copies :]
        self._latest[:, newest % self._copies] = next_obs[:, newest % self.capacity]
        self._latest_kept[:, newest % self._copies] = own[:, -self._copies :]
        self._successors.add(numbers, next_obs[:, at], own, self._oldest(0))


class _Successors:
    """Successors of some transitions of each seed, found by the numbers of these transitions.

    Args:
        example: any transition ``[S, B, ...]``.
    """

    def __init__(self, example: Transition) -> None:
        num_seeds, device = len(example.reward), example.reward.device
        shape = example.next_obs.shape[2:]
        # one extra place, under the number NEVER: what is not kept is written there
        self._numbers = torch.full((num_seeds, FIRST_ROOM + 1), NEVER, device=device)  # ascending in each row
        self._obs = torch.zeros(num_seeds, FIRST_ROOM + 1, *shape, dtype=example.next_obs.dtype, device=device)
        self._count = torch.zeros(num_seeds, dtype=torch.int64, device=device)
        self._at_most = 0  # no row's count is larger; known without asking the device

    @property
    def room(self) -> int:
        """Successors that every row has room for."""
        return self._numbers.shape[1] - 1

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The whole table: numbers ``[S, room + 1]``, successors, and the count of those kept, ``[S]``."""
        return {"numbers": self._numbers, "successors": self._obs, "kept": self._count}

    def has_room(self, count: int) -> bool:
        """Return whether every row has ``count`` free places."""
        return self._at_most + count <= self.room

    def recount(self) -> None:
        """Take over the counts that others have written."""
        self._at_most = int(self._count.max())

    def add(self, number: Tensor, obs: Tensor, kept: Tensor, oldest: Tensor) -> None:
        """Keep the successors of transitions ``number [n]``, ascending, that are ``kept [S, n]`` bool.

        Args:
            number: larger than every number before, but for those that were not kept.
            obs: ``[S, n, *observation]``.
            kept: which of them, ``[S, T, B]`` or ``[S, n]``.
            oldest: transitions of smaller numbers are forgotten.
        """
        kept = kept.flatten(1)
        self.make_room(len(number), oldest)
        if kept.device.type == "cpu":
            self._write_few(number, obs, kept)
        else:
            self._write_masked(number, obs, kept)

    def _write_few(self, number: Tensor, obs: Tensor, kept: Tensor) -> None:
        """``add`` for the CPU: numpy finds the few that are kept, and moves nothing else."""
        rows, columns = kept.numpy().nonzero()  # row by row
        count = self._count.numpy()
        new = np.bincount(rows, minlength=len(count))
        place = count[rows] + np.arange(len(rows)) - (new.cumsum() - new)[rows]
        self._numbers.numpy()[rows, place] = number.numpy()[columns]
        self._obs.numpy()[rows, place] = obs.numpy()[rows, columns]
        count += new
        self._at_most = int(count.max())

    def _write_masked(self, number: Tensor, obs: Tensor, kept: Tensor) -> None:
        """``add`` for a device: every place is written, and the host waits for nothing."""
        place = torch.where(kept, self._count[:, None] + kept.cumsum(dim=1) - 1, self.room)
        self._numbers.scatter_(1, place, torch.where(kept, number, NEVER))
        axes = [1] * (self._obs.dim() - 2)
        self._obs.scatter_(1, place.view(*place.shape, *axes).expand_as(obs), obs)
        self._count += kept.sum(dim=1)
        self._at_most += len(number)

    def sort(self) -> None:
        """Bring the numbers of every row into ascending order."""
        self._numbers[:, :-1], order = self._numbers[:, :-1].sort(dim=1)
        self._obs[:, :-1] = _at(self._obs, order)

    def make_room(self, count: int, oldest: Tensor) -> None:
        """Have ``count`` free places in every row: forget what is too old, then take more memory."""
        if self.has_room(count):
            return
        self.forget(oldest)
        if self._at_most + count > SLACK * self.room:
            more = int((self._at_most + count) / SLACK) + 1 - self.room
            empty = self._numbers.new_full((len(self._numbers), more), NEVER)
            self._numbers = torch.cat([self._numbers, empty], dim=1)
            self._obs = torch.cat([self._obs, self._obs.new_zeros(*empty.shape, *self._obs.shape[2:])], dim=1)

    def forget(self, oldest: Tensor) -> None:
        """Remove the successors of transitions below ``oldest``, and whatever lies behind the last of each row."""
        stale = (self._numbers[:, :-1] < oldest).sum(dim=1)  # [S], they come first
        self._count -= stale
        self._at_most = int(self._count.max())
        place = torch.arange(self.room + 1, device=stale.device)
        there = place < self._count[:, None]  # [S, room + 1]
        order = (place + stale[:, None]).clamp(max=self.room)
        self._numbers = torch.where(there, self._numbers.gather(1, order), NEVER)
        axes = [1] * (self._obs.dim() - 2)
        self._obs = torch.where(there.view(*there.shape, *axes), _at(self._obs, order), 0)

    def read(self, number: Tensor) -> Tensor:
        """Return the successors of transitions ``number [S, M]``; undefined for those that are not kept."""
        place = torch.searchsorted(self._numbers, number).clamp(max=self.room)  # the last number is NEVER
        return _at(self._obs, place)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what is kept, for a checkpoint."""
        most = int(self._count.max())
        return {"numbers": self._numbers[:, :most], "obs": self._obs[:, :most], "count": self._count}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved table.

        Raises:
            ValueError: its fields, shapes or dtypes differ.
        """
        if set(state) != {"numbers", "obs", "count"}:
            raise ValueError(f"the memory's table of successors holds {', '.join(sorted(state))}")
        _check_alike("successors/count", self._count, state["count"])
        for name, own in (("numbers", self._numbers), ("obs", self._obs)):
            if state[name].dim() != own.dim():
                raise ValueError(f"the memory holds successors/{name} of shape {tuple(state[name].shape)}")
            _check_alike(f"successors/{name}", own[:, :1], state[name][:, :1] if state[name].shape[1] else own[:, :1])
        most = state["numbers"].shape[1]
        if state["obs"].shape[1] != most or not bool(((state["count"] >= 0) & (state["count"] <= most)).all()):
            raise ValueError("the memory's table of successors has another length than its counts say")
        room = max(self.room, most)
        empty = self._numbers.new_full((len(self._numbers), room + 1 - most), NEVER)
        self._numbers = torch.cat([state["numbers"], empty], dim=1)
        self._obs = torch.cat([state["obs"], self._obs.new_zeros(*empty.shape, *self._obs.shape[2:])], dim=1)
        self._count.copy_(state["count"])
        self._at_most = most


def _at(obs: Tensor, place: Tensor) -> Tensor:
    """Select observations ``[S, n, *observation]`` at places ``[S, m]``."""
    rows = torch.arange(0, obs.shape[0] * obs.shape[1], obs.shape[1], device=place.device)
    found = obs.flatten(0, 1).index_select(0, (place + rows[:, None]).flatten())
    return found.view(*place.shape, *obs.shape[2:])


def _differ(one: Tensor, other: Tensor, axes: int) -> Tensor:
    """Find where observations differ, NaN included: bool over their first ``axes`` axes."""
    unequal = one != other
    return unequal.flatten(axes).any(dim=-1) if unequal.dim() > axes else unequal


def _check_alike(name: str, own: Tensor, given: Tensor) -> None:
    if (own.shape, own.dtype) != (given.shape, given.dtype):
        raise ValueError(
            f"the memory holds {name} of shape {tuple(given.shape)} and {given.dtype}, where {tuple(own.shape)} and "
            f"{own.dtype} are kept"
        )


def replay_bytes(capacity: int, example: Transition, num_actions: int | None = None, successors: bool = False) -> int:
    """Return the bytes that the rings of ``ReplayBuffer(capacity, example, num_actions)`` take.

    The table of successors takes an observation and 8 bytes more for every end of an episode; with ``successors`` they
    are in a ring.
    """
    stored = _stored(example, num_actions, successors).values()
    return sum(len(example.reward) * capacity * math.prod(shape) * dtype.itemsize for shape, dtype in stored)


def _stored(
    example: Transition, num_actions: int | None, successors: bool
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Return the shape and dtype of every stored field of a transition.

    The mask of the action itself is not stored: no update needs it.
    """
    stored = {
        "obs": (tuple(example.obs.shape[2:]), example.obs.dtype),
        "action": ((), smallest_integers(num_actions)),
        "reward": ((), example.reward.dtype),
        "flags": ((), torch.uint8),
    }
    if successors:
        stored["next_obs"] = stored["obs"]
    if example.next_action_mask is not None:
        stored["next_action_mask"] = (tuple(example.next_action_mask.shape[2:]), torch.bool)
    return stored


def smallest_integers(count: int | None) -> torch.dtype:
    """Return the smallest integer dtype that holds 0 to ``count - 1``; int64 for None."""
    for dtype in (torch.uint8, torch.int16, torch.int32):
        if count is not None and count - 1 <= torch.iinfo(dtype).max:
            return dtype
    return torch.int64


def free_memory(device: torch.device) -> int:
    """Return the bytes that can still be allocated on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

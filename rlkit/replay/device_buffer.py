"""The ring buffers of a device: every successor is stored, so nothing is searched, sorted or asked of the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rlkit.devices import integers
from rlkit.types import Transition

from .buffer import TERMINATED, TRUNCATED, ReplayBuffer


class DeviceReplayBuffer(ReplayBuffer):
    """``ReplayBuffer`` for a device that the host does not wait for.

    A table of the successors that no next step shows has a size that depends on the data. A device has memory for all
    of them instead: a transition of the cart-pole takes 38 bytes. Files are those of ``ReplayBuffer``.
    """

    stores_successors = True

    def __init__(self, capacity: int, example: Transition, num_actions: int | None = None) -> None:
        super().__init__(capacity, example, num_actions)
        self._example, self._num_actions = _on_host(example), num_actions

    def add(self, segment: Transition) -> None:
        """Store steps of every copy, ``[S, T, B, ...]`` each field, over the oldest."""
        count = segment.reward.shape[1] * self._copies
        kept = min(count, self.capacity)
        position = (self.added + integers(count - kept, count, 1, self.added.device)) % self.capacity
        flags = segment.terminated.view(torch.uint8).add(segment.truncated.view(torch.uint8), alpha=TRUNCATED)
        for name, ring in self._fields.items():
            values = (flags if name == "flags" else getattr(segment, name)).flatten(1, 2)  # [S, T B, ...]
            ring.index_copy_(1, position, values[:, count - kept :].to(ring.dtype))
        self.added += count

    def _end(self, number: Tensor, position: Tensor) -> dict[str, Tensor]:
        """Return successors and flags of transitions ``number [S, M]``, and the next action masks if stored."""
        flags = self._read("flags", position)
        end = {"next_obs": self._read("next_obs", position)}
        end |= {"terminated": (flags & TERMINATED).view(torch.bool), "truncated": flags >= TRUNCATED}
        if "next_action_mask" in self._fields:
            end["next_action_mask"] = self._read("next_action_mask", position)
        return end

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything stored and the position, as ``ReplayBuffer`` on the CPU does."""
        flags = self._fields["flags"].cpu()
        fields = {name: ring.cpu() for name, ring in self._fields.items() if name != "flags"}
        ends = {"terminated": (flags & TERMINATED).bool(), "truncated": (flags & TRUNCATED).bool()}
        host = self._of_host()
        host.load_state({**fields, **ends, "added": self.added.cpu()})
        return host.state_dict()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved buffer; errors as of ``ReplayBuffer``."""
        host, device = self._of_host(), self.added.device
        host.load_state({name: tensor.cpu() for name, tensor in state.items()})
        for name, ring in host._fields.items():
            self._fields[name].copy_(ring & (TERMINATED | TRUNCATED) if name == "flags" else ring)
        added = int(host.added)
        if added:
            stored = torch.arange(max(added - self.capacity, 0), added)
            numbers = stored.repeat(len(self._rows), 1)
            successors = host._end(numbers, host._position(numbers))["next_obs"]
            self._fields["next_obs"].index_copy_(1, (stored % self.capacity).to(device), successors.to(device))
        self.added.copy_(host.added)

    def _of_host(self) -> ReplayBuffer:
        """Make an empty ``ReplayBuffer`` on the CPU for such transitions."""
        return ReplayBuffer(self.capacity, self._example, self._num_actions)


def _on_host(example: Transition) -> Transition:
    """Make an example of the same shapes and dtypes on the CPU."""
    fields = {name: field for name, field in example._asdict().items() if field is not None}
    return Transition(**{name: torch.zeros(field.shape, dtype=field.dtype) for name, field in fields.items()})

"""The actions of episodes under way, from which environments that cannot give their state are restored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FIRST_ROOM = 64  # actions that every copy has room for at first


class RunningEpisodes:
    """Actions taken and rewards paid in the running episode of each of n copies.

    An environment that depends on its seed and its actions alone is in the same state again after a reset with the
    episode's seed and these actions.

    Args:
        count: n.
        num_actions: A; an action takes one byte for at most 256, else four.
    """

    def __init__(self, count: int, num_actions: int) -> None:
        dtype = np.uint8 if num_actions <= 256 else np.int32
        self._actions = np.zeros((count, FIRST_ROOM), dtype=dtype)
        self._every = np.arange(count)
        self.length = np.zeros(count, dtype=np.int64)  # steps so far
        self.paid = np.zeros(count)  # sum of their rewards

    def begin(self, places: NDArray[np.int64]) -> None:
        """Forget the episodes of these copies."""
        self.length[places] = 0
        self.paid[places] = 0.0

    def add(self, actions: NDArray[np.int64], rewards: NDArray[np.float64]) -> None:
        """Add one step of every copy, ``[n]`` each; actions count from 0."""
        if self.length.max() == self._actions.shape[1]:
            self._actions = np.concatenate([self._actions, np.zeros_like(self._actions)], axis=1)
        self._actions[self._every, self.length] = actions
        self.length += 1
        self.paid += rewards

    def actions_of(self, place: int) -> NDArray[np.int64]:
        """Return the actions of one copy's episode, ``[length]``."""
        return self._actions[place, : self.length[place]].astype(np.int64)

    @property
    def actions(self) -> NDArray[np.generic]:
        """Return the actions of all copies, one copy after another, ``[sum of length]``."""
        return self._actions[np.arange(self._actions.shape[1]) < self.length[:, None]]

    def load(self, length: NDArray[np.int64], paid: NDArray[np.float64], actions: NDArray[np.generic]) -> None:
        """Take over saved episodes.

        Args:
            length: ``[n]``.
            paid: ``[n]``.
            actions: ``[sum of length]``.

        Raises:
            ValueError: another number of copies, or of actions than the lengths say.
        """
        if length.shape != self.length.shape or (length < 0).any() or length.sum() != len(actions):
            raise ValueError(f"{len(actions)} actions of running episodes are no episodes of {length.tolist()} steps")
        room = max(int(length.max()), FIRST_ROOM)
        self._actions = np.zeros((len(length), room), dtype=self._actions.dtype)
        self._actions[np.arange(room) < length[:, None]] = actions
        self.length, self.paid = length.copy(), paid.copy()

"""Experience replay: ring buffers, prioritized sampling, and the memory that agents sample minibatches from."""

from .buffer import ReplayBuffer, replay_bytes
from .memory import SMALLEST_PRIORITY, Memory, Minibatch
from .prioritized import Priorities
from .unsigned import as_observed, as_stored

__all__ = [
    "SMALLEST_PRIORITY",
    "Memory",
    "Minibatch",
    "Priorities",
    "ReplayBuffer",
    "as_observed",
    "as_stored",
    "replay_bytes",
]

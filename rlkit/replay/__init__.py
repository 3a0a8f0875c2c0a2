"""Experience replay: ring buffers, prioritized sampling, and the memory that agents sample minibatches from."""

from .buffer import ReplayBuffer, replay_bytes
from .memory import SMALLEST_PRIORITY, Memory, Minibatch
from .prioritized import Priorities

__all__ = ["SMALLEST_PRIORITY", "Memory", "Minibatch", "Priorities", "ReplayBuffer", "replay_bytes"]

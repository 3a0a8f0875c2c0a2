"""Compile the engine's loops once, so that no training waits for it: ``python -m rlkit.experiments.precompile``."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

CART_POLE, GRID = "CartPole-v1", "rlkit/GridWorld-v0"
PPO: dict[str, Any] = {"n_steps": 16, "batch_size": 16}
DQN: dict[str, Any] = {"learning_starts": 8, "batch_size": 8, "target_update_interval": 16}
TRAININGS: tuple[tuple[str, str, dict[str, Any]], ...] = (  # those that compile most first; two at once share little
    ("DQN", CART_POLE, DQN),
    ("PPO", CART_POLE, PPO),
    ("REINFORCE", CART_POLE, {}),
    ("DQN", GRID, DQN),
    ("PPO", GRID, PPO),
    ("A2C", CART_POLE, {}),
    ("REINFORCE", GRID, {}),
    ("A2C", GRID, {}),
)
STEPS = 64


def train_briefly(algorithm: str, env: str, hyperparameters: dict[str, Any]) -> None:
    """Train an agent for a few steps and step its environment once, which compiles what it calls."""
    import rlkit.agents

    agent = getattr(rlkit.agents, algorithm)(env, **hyperparameters).learn(STEPS)
    agent.env.step(agent.act(agent.env.obs))


def main() -> int:
    """Compile in two processes; where numba is not installed there is nothing to do."""
    from rlkit.compiled.jit import COMPILED

    if not COMPILED:
        print("numba is not installed: agents run on torch")
        return 0
    began = time.perf_counter()
    print("compiling the engine's loops once, for this and later processes", flush=True)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(train_briefly, *zip(*TRAININGS, strict=True)))
    print(f"compiled in {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Compile the engine's loops once, so that no training waits for it: ``python -m rlkit.experiments.precompile``."""

from __future__ import annotations

import gc
import logging
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

# the kinds of environments: a cart-pole and a table, which loops step, and one that gymnasium steps
CART_POLE, GRID, FOREIGN = "CartPole-v1", "rlkit/GridWorld-v0", "Acrobot-v1"
PPO: dict[str, Any] = {"n_steps": 16, "batch_size": 16}
DQN: dict[str, Any] = {"learning_starts": 8, "batch_size": 8, "target_update_interval": 16}
Training = tuple[str, str, dict[str, Any]]  # algorithm, environment, hyper-parameters
PARTS: tuple[tuple[Training, ...], ...] = (  # of two processes; the third begins when most of the first is compiled
    (("DQN", CART_POLE, DQN),),
    (
        ("A2C", CART_POLE, {}),
        ("PPO", CART_POLE, PPO),
        ("PPO", GRID, PPO),
        ("REINFORCE", CART_POLE, {}),
        ("REINFORCE", GRID, {}),
    ),
    (
        ("DQN", GRID, DQN),
        ("A2C", GRID, {}),
        ("PPO", FOREIGN, PPO),
        ("A2C", FOREIGN, {}),
        ("DQN", FOREIGN, DQN),
    ),
)
STEPS = 64


def train_briefly(trainings: tuple[Training, ...]) -> None:
    """Train agents for a few steps and step their environments once, which compiles what they call."""
    import rlkit.agents

    logging.getLogger("rlkit").setLevel(logging.ERROR)  # the command says that it compiles
    gc.disable()  # a compiler makes millions of objects, and none is large
    for algorithm, env, hyperparameters in trainings:
        agent = getattr(rlkit.agents, algorithm)(env, device="cpu", **hyperparameters).learn(STEPS)
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
        list(pool.map(train_briefly, PARTS))
    print(f"compiled in {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

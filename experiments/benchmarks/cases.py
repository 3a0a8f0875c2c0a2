"""The cases, as data, and the work of both libraries.

A side is a function that prepares its work and returns a function that does the work and returns its environment steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from ..commands.options import SharedAlgorithm

if TYPE_CHECKING:
    from ..workflows.train import Training

Work = Callable[[], int]  # does the work and returns its environment steps


class BenchmarkCase(NamedTuple):
    """One comparison: the same arguments for both sides."""

    name: str
    title: str
    rlkit: str  # names of sides
    other: str
    arguments: dict[str, int]
    target: float | None  # of the median ratio


CASES = (
    BenchmarkCase("stepping-64", "CartPole, 64 copies", "batched", "gymnasium", {"copies": 64, "steps": 8192}, None),
    BenchmarkCase(
        "stepping-1024", "CartPole, 1,024 copies", "batched", "gymnasium", {"copies": 1024, "steps": 4096}, 1.0
    ),
    BenchmarkCase(
        "stepping-16384", "CartPole, 16,384 copies", "batched", "gymnasium", {"copies": 16384, "steps": 256}, None
    ),
    BenchmarkCase(
        "dqn-one-seed", "DQN 256-256, one seed", "dqn", "sb3-dqn", {"width": 256, "seeds": 1, "steps": 50_000}, 3.0
    ),
    BenchmarkCase(
        "dqn-many-seeds", "DQN 64-64, 16 seeds", "dqn", "sb3-dqn", {"width": 64, "seeds": 16, "steps": 20_000}, 8.0
    ),
    *(
        BenchmarkCase(
            f"{algo}-{name}", f"{algo.upper()}, {title}", algo, f"sb3-{algo}", {"seeds": seeds, "steps": steps}, target
        )
        for algo, steps in (("ppo", 8192), ("a2c", 8000))
        for name, title, seeds, target in (("one-seed", "one seed", 1, 3.0), ("many-seeds", "8 seeds", 8, 8.0))
    ),
)


def batched(copies: int, steps: int) -> Work:
    """``BatchedEnv``: one seed, many copies."""
    import torch

    import rlkit.envs

    env = rlkit.envs.make("CartPole-v1", seeds=[0], num_envs=copies)
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(2, (64, 1, copies), generator=generator).unbind(0)

    def work() -> int:
        for step in range(steps):
            env.step(actions[step % 64])
        return steps * copies

    return work


def gymnasium(copies: int, steps: int) -> Work:
    """Gymnasium's own vectorized CartPole. A copy that finished spends its next step on the reset."""
    import gymnasium
    import numpy as np

    env = gymnasium.make_vec("CartPole-v1", num_envs=copies, vectorization_mode="vector_entry_point")
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(2, size=(64, copies))

    def work() -> int:
        for step in range(steps):
            env.step(actions[step % 64])
        return steps * copies

    return work


def rlkit_side(algo: str, seeds: int, steps: int, width: int | None = None) -> Work:
    """A fresh rlkit agent with the RL Zoo's settings for CartPole, all seeds as one computation."""
    agent = _training(algo, tuple(range(seeds)), steps, width).make_agent()

    def work() -> int:
        return agent.learn(steps).num_timesteps * seeds

    return work


def sb3_side(algo: str, seeds: int, steps: int, width: int | None = None) -> Work:
    """A fresh model of stable-baselines3; always one seed, because it trains seeds one after another."""
    from ..workflows.compare.sb3_job import sb3_job_for
    from ..workflows.compare.sb3_worker import make_model

    training = _training(algo, (0,), steps, width)
    agent = training.make_agent()
    job = sb3_job_for(replace(training, num_envs=agent.env.num_envs), agent.config, seeds=(0,))
    model = make_model(job, seed=0)

    def work() -> int:
        return int(model.learn(steps).num_timesteps)

    return work


def _training(algo: str, seeds: tuple[int, ...], steps: int, width: int | None) -> Training:
    """The zoo's settings, with hidden layers of another width if one is given."""
    from ..workflows.train import Training

    network = {} if width is None else {"net_arch": (width, width)}
    return Training("CartPole-v1", algo, seeds, steps, "rl-zoo", network, num_envs=None)


ALGORITHMS: tuple[str, ...] = get_args(SharedAlgorithm)
SIDES: dict[str, Callable[..., Work]] = {
    "batched": batched,
    "gymnasium": gymnasium,
    **{algo: partial(rlkit_side, algo) for algo in ALGORITHMS},
    **{f"sb3-{algo}": partial(sb3_side, algo) for algo in ALGORITHMS},
}


def prepared(side: str, arguments: dict[str, Any]) -> Work:
    """The work of a side."""
    return SIDES[side](**arguments)

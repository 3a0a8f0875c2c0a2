"""The cases, as data, and the work of both libraries.

A side is a function that prepares its work and returns a function that does the work and returns its environment steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rlkit.agents import Agent

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


LONG = 500_000  # environment steps of a seed in a whole training, over which the start of a process is spread
SIZES = ((64, 8192), (1024, 4096), (16384, 256))  # copies and steps of the stepping cases

CASES = (
    *(
        BenchmarkCase(
            f"{other}-{copies}",
            f"CartPole, {copies:,} copies",
            "cartpole",
            other,
            {"copies": copies, "steps": steps},
            target,
        )
        for other, targets in (("gymnasium", (None, 1.0, None)), ("gymnax", (1.0, 2.0, 2.0)))
        for (copies, steps), target in zip(SIZES, targets, strict=True)
    ),
    *(
        BenchmarkCase(
            f"cartpole-{copies}",
            f"GridWorld 8 x 8, {copies:,} copies",
            "gridworld",
            "cartpole",
            {"copies": copies, "steps": steps},
            None,
        )
        for copies, steps in SIZES
    ),
    *(
        BenchmarkCase(
            f"purejaxrl-{algo}-{seeds}",
            f"{algo.upper()} in PureJaxRL's shape, {seeds} {'seed' if seeds == 1 else 'seeds'}",
            f"shaped-{algo}",
            f"purejaxrl-{algo}",
            {"seeds": seeds, "steps": steps},
            target,
        )
        for algo, target, lengths in (("ppo", 1.3, (65_536, 8192)), ("dqn", 1.0, (16_000, 4000)))
        for seeds, steps in zip((1, 16), lengths, strict=True)
    ),
    BenchmarkCase("cleanrl-ppo", "PPO, 16 seeds", "shaped-ppo", "cleanrl-ppo", {"seeds": 16, "steps": 8192}, 25.0),
    BenchmarkCase(
        "cleanrl-dqn", "DQN 120-84, 16 seeds", "shaped-dqn-alone", "cleanrl-dqn", {"seeds": 16, "steps": 4000}, 25.0
    ),
    BenchmarkCase("sb3-dqn-1", "DQN 256-256, 1 seed", "dqn", "sb3-dqn", {"width": 256, "seeds": 1, "steps": 5000}, 4.0),
    BenchmarkCase(
        "sb3-dqn-16", "DQN 64-64, 16 seeds", "dqn", "sb3-dqn", {"width": 64, "seeds": 16, "steps": 5000}, 30.0
    ),
    *(
        BenchmarkCase(
            f"sb3-{algo}-{seeds}",
            f"{algo.upper()}, {seeds} {'seed' if seeds == 1 else 'seeds'}",
            algo,
            f"sb3-{algo}",
            {"seeds": seeds, "steps": steps},
            target,
        )
        for algo, steps, targets in (("ppo", 8192, (15.0, 25.0)), ("a2c", 8000, (10.0, 30.0)))
        for seeds, target in zip((1, 8), targets, strict=True)
    ),
)


def batched(env_id: str, actions: int, copies: int, steps: int) -> Work:
    """``BatchedEnv``: one seed, many copies."""
    import torch

    import rlkit.envs

    env = rlkit.envs.make(env_id, seeds=[0], num_envs=copies)
    generator = torch.Generator().manual_seed(0)
    taken = torch.randint(actions, (64, 1, copies), generator=generator).unbind(0)

    def work() -> int:
        for step in range(steps):
            env.step(taken[step % 64])
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
    return _learning(_training(algo, tuple(range(seeds)), steps, width).make_agent(), steps)


def sb3_model(algo: str, steps: int, width: int | None = None) -> Any:
    """A fresh model of stable-baselines3 with the RL Zoo's settings for CartPole, of seed 0 on the CPU."""
    from ..workflows.compare.sb3_job import sb3_job_for
    from ..workflows.compare.sb3_worker import make_model

    training = _training(algo, (0,), steps, width)
    agent = training.make_agent()
    job = sb3_job_for(replace(training, num_envs=agent.env.num_envs), agent.config, seeds=(0,))
    return make_model(job, seed=0)


def sb3_side(algo: str, seeds: int, steps: int, width: int | None = None) -> Work:
    """A fresh model of stable-baselines3; always one seed, because it trains seeds one after another."""
    model = sb3_model(algo, steps, width)

    def work() -> int:
        return int(model.learn(steps).num_timesteps)

    return work


def _training(algo: str, seeds: tuple[int, ...], steps: int, width: int | None) -> Training:
    """The zoo's settings, with hidden layers of another width if one is given."""
    from ..workflows.train import Training

    network = {} if width is None else {"net_arch": (width, width)}
    return Training("CartPole-v1", algo, seeds, steps, "rl-zoo", network, num_envs=None)


def shaped(name: str, changed: dict[str, Any], seeds: int, steps: int) -> Work:
    """A fresh rlkit agent with the settings of a case of ``engine``, all seeds as one computation."""
    from .engine import CASES as SHAPES

    case = SHAPES[name]
    return _learning(case.algorithm("CartPole-v1", seeds=seeds, device="cpu", **case.settings | changed), steps)


def _learning(agent: Agent, steps: int) -> Work:
    """Train an agent, with rows of the log as far apart as in ``LONG`` steps; a step of every seed counts."""

    def work() -> int:
        *_, timesteps = agent.training(steps, every=LONG // 100)
        return timesteps * agent.num_seeds

    return work


def of_module(module: str, function: str, **arguments: Any) -> Work:
    """A function of a module of this folder, which imports a library that only it needs."""
    prepare: Callable[..., Work] = getattr(import_module(f"{__package__}.{module}"), function)
    return prepare(**arguments)


LIBRARIES = {"gymnax": "jax", "purejaxrl": "jax", "sb3": "stable_baselines3"}  # modules, by first words of sides
ALGORITHMS = ("a2c", "dqn", "ppo")  # those of rlkit and of stable-baselines3
SQUARED = {"loss": "squared"}
SIDES: dict[str, Callable[..., Work]] = {
    "cartpole": partial(batched, "CartPole-v1", 2),
    "gridworld": partial(batched, "rlkit/GridWorld-v0", 4),
    "gymnasium": gymnasium,
    "gymnax": partial(of_module, "purejaxrl", "stepping"),
    "purejaxrl-ppo": partial(of_module, "purejaxrl", "training", algo="ppo"),
    "purejaxrl-dqn": partial(of_module, "purejaxrl", "training", algo="dqn"),
    "cleanrl-ppo": partial(of_module, "cleanrl", "ppo"),
    "cleanrl-dqn": partial(of_module, "cleanrl", "dqn"),
    "shaped-ppo": partial(shaped, "ppo", {"learning_rate_schedule": "linear"}),
    "shaped-dqn": partial(shaped, "dqn", SQUARED | {"learning_rate_schedule": "linear"}),
    "shaped-dqn-alone": partial(shaped, "dqn", SQUARED | {"num_envs": 1, "train_freq": 10}),
    **{algo: partial(rlkit_side, algo) for algo in ALGORITHMS},
    **{f"sb3-{algo}": partial(sb3_side, algo) for algo in ALGORITHMS},
}


def missing(case: BenchmarkCase) -> str:
    """Name the module that a case needs and that is not installed; "" if there is none."""
    module = LIBRARIES.get(case.other.split("-")[0], "")
    return module if module and find_spec(module) is None else ""


def prepared(side: str, arguments: dict[str, Any]) -> Work:
    """The work of a side."""
    return SIDES[side](**arguments)

"""What is measured, as data, and the work of both sides.

A side is a function that prepares its work and returns a function that does it and counts what was done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

Work = Callable[[], int]  # does the work; how many environment steps that were


class Case(NamedTuple):
    """One comparison: the same arguments for both sides."""

    name: str
    title: str
    ours: str  # names of sides
    peer: str
    arguments: dict[str, int]
    target: float | None  # of the median ratio


CASES = (
    Case("stepping-64", "CartPole, 64 copies", "batched", "gymnasium", {"copies": 64, "steps": 8192}, None),
    Case("stepping-1024", "CartPole, 1,024 copies", "batched", "gymnasium", {"copies": 1024, "steps": 4096}, 1.0),
    Case("stepping-16384", "CartPole, 16,384 copies", "batched", "gymnasium", {"copies": 16384, "steps": 256}, None),
    Case("dqn-one-seed", "DQN 256-256, one seed", "dqn", "sb3", {"width": 256, "seeds": 1, "steps": 50_000}, 3.0),
    Case("dqn-many-seeds", "DQN 64-64, 16 seeds", "dqn", "sb3", {"width": 64, "seeds": 16, "steps": 20_000}, 8.0),
    *(
        Case(
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
    """Gymnasium's own vectorised CartPole. A copy that finished spends its next step on the reset."""
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


def dqn(width: int, seeds: int, steps: int) -> Work:
    """A fresh agent of ours with all seeds side by side."""
    from rlkit.agents import DQN

    agent = DQN("CartPole-v1", seeds=range(seeds), device="cpu", preset="rl-zoo", net_arch=(width, width))

    def work() -> int:
        return agent.learn(steps).num_timesteps * seeds

    return work


def sb3(width: int, seeds: int, steps: int) -> Work:
    """A fresh model of stable-baselines3; one seed, whatever ``seeds`` is, because they would follow each other."""
    from rlkit.agents.dqn import DQNConfig
    from rlkit.agents.presets import DQN_PRESETS

    from ..compare.order import order_for
    from ..compare.peer import make_model
    from ..train import Training

    config = DQNConfig(**DQN_PRESETS["rl-zoo"]["CartPole-v1"] | {"net_arch": (width, width)})
    training = Training(env="CartPole-v1", algo="dqn", seeds=(0,), steps=steps)
    model = make_model(order_for(training, config, seeds=(0,)), seed=0)

    def work() -> int:
        return model.learn(steps).num_timesteps

    return work


def on_policy(algo: str, seeds: int, steps: int) -> Work:
    """A fresh PPO or A2C of ours with the RL Zoo's settings for CartPole, all seeds side by side."""
    from rlkit.agents.load import ALGORITHMS

    agent = ALGORITHMS[algo]("CartPole-v1", seeds=range(seeds), device="cpu", preset="rl-zoo")

    def work() -> int:
        return agent.learn(steps).num_timesteps * seeds

    return work


def sb3_on_policy(algo: str, seeds: int, steps: int) -> Work:
    """stable-baselines3's model with the same settings; one seed, whatever ``seeds`` is."""
    import gymnasium
    import stable_baselines3
    from stable_baselines3.common.vec_env import DummyVecEnv

    from rlkit.agents.load import ALGORITHMS

    settings = dict(ALGORITHMS[algo].presets["rl-zoo"]["CartPole-v1"])
    envs = DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * settings.pop("num_envs"))
    for name in ("learning_rate", "clip_range"):
        if settings.pop(f"{name}_schedule", "constant") == "linear":
            settings[name] = partial(line, settings[name])
    model = getattr(stable_baselines3, algo)("MlpPolicy", envs, device="cpu", seed=0, **settings)

    def work() -> int:
        return int(model.learn(steps).num_timesteps)

    return work


def line(initial: float, remaining: float) -> float:
    """A linear schedule to zero as stable-baselines3 takes it, which asks below zero where it rounds steps up."""
    return initial * max(remaining, 0.0)


SIDES: dict[str, Callable[..., Work]] = {
    "batched": batched,
    "gymnasium": gymnasium,
    "dqn": dqn,
    "sb3": sb3,
    **{algo.lower(): partial(on_policy, algo) for algo in ("PPO", "A2C")},
    **{f"sb3-{algo.lower()}": partial(sb3_on_policy, algo) for algo in ("PPO", "A2C")},
}


def prepared(side: str, arguments: dict[str, Any]) -> Work:
    """The work of a side."""
    return SIDES[side](**arguments)

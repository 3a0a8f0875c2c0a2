"""Probe environments: one idea each, values known in closed form, seconds to learn.

An agent that cannot learn a probe has a bug in exactly the machinery that the probe needs, and each probe needs one
thing more than the one before. The first five follow A. Jones (2021), "Debugging reinforcement learning, without
the agonizing pain", after J. Schulman (2017), "The nuts and bolts of deep RL experimentation"; the next two
separate a time limit from an ending (Pardo et al. 2018, "Time limits in reinforcement learning").
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from rlkit.mdp import TabularMDP

from .tabular import TabularDynamics

QFunction = Callable[[float], ArrayLike]  # gamma -> optimal action values [N, A]


class Probe(TabularDynamics):
    """The dynamics of a deterministic finite MDP whose optimal action values are known in closed form.

    Args:
        name: the idea.
        successor, reward, terminated: of every state and action, ``[N, A]``.
        features: observation of every state, ``[N, D]`` in [-1, 1].
        q: optimal action values in closed form, gamma -> ``[N, A]``.
        start: probability of starting in a state, ``[N]``; uniform over all states if None.
        max_steps: time limit.
    """

    def __init__(
        self,
        name: str,
        successor: ArrayLike,
        reward: ArrayLike,
        terminated: ArrayLike,
        features: ArrayLike,
        q: QFunction,
        start: ArrayLike | None = None,
        max_steps: int | None = None,
    ) -> None:
        successor, reward, terminated = (np.asarray(table)[..., None] for table in (successor, reward, terminated))
        self.name = name
        mdp = TabularMDP(successor, np.ones(successor.shape), reward, terminated, start, max_steps, name)
        seen = np.asarray(features, dtype=np.float32)  # [N, D]
        super().__init__(mdp, seen, spaces.Box(-1.0, 1.0, seen.shape[1:], np.float32))
        self._q = q

    def q_values(self, gamma: float) -> NDArray[np.float64]:
        """Optimal action values of every state, ``[N, A]``.

        Raises:
            ValueError: gamma outside [0, 1).
        """
        if not 0 <= gamma < 1:
            raise ValueError(f"gamma must be in [0, 1), got {gamma}")
        return np.asarray(self._q(gamma), dtype=np.float64)


def constant_reward() -> Probe:
    """One state, one action, one step, reward 1: Q = 1. Is a value learned at all?"""
    return Probe("constant-reward", [[0]], [[1.0]], [[True]], features=[[0.0]], q=lambda gamma: [[1.0]])


def observation_reward() -> Probe:
    """One step whose reward is the observation, -1 or 1: Q(o) = o. Does the network see its input?"""
    return Probe(
        "observation-reward",
        successor=[[0], [1]],
        reward=[[-1.0], [1.0]],
        terminated=[[True], [True]],
        features=[[-1.0], [1.0]],
        q=lambda gamma: [[-1.0], [1.0]],
    )


def delayed_reward() -> Probe:
    """Observation 0, then 1, then reward 1: Q(0) = gamma, Q(1) = 1. Is the future discounted?"""
    return Probe(
        "delayed-reward",
        successor=[[1], [0]],
        reward=[[0.0], [1.0]],
        terminated=[[False], [True]],
        features=[[0.0], [1.0]],
        q=lambda gamma: [[gamma], [1.0]],
        start=[1.0, 0.0],
    )


def action_reward() -> Probe:
    """One state, one step, reward -1 for action 0 and 1 for action 1: Q = (-1, 1). Does the policy improve?"""
    return Probe(
        "action-reward", [[0, 0]], [[-1.0, 1.0]], [[True, True]], features=[[0.0]], q=lambda gamma: [[-1.0, 1.0]]
    )


def action_observation_reward() -> Probe:
    """One step; reward 1 for action 0 where -1 is seen and action 1 where 1 is seen, else -1: Q is that table.

    Does the policy depend on the observation, and do batches keep observation, action and reward together?
    """
    reward = [[1.0, -1.0], [-1.0, 1.0]]
    return Probe(
        "action-observation-reward",
        successor=[[0, 0], [1, 1]],
        reward=reward,
        terminated=[[True, True], [True, True]],
        features=[[-1.0], [1.0]],
        q=lambda gamma: reward,
    )


def truncation(steps: int = 5) -> Probe:
    """An endless task of reward 1 that a time limit cuts after ``steps``: Q = 1 / (1 - gamma) all the same.

    The agent cannot see the time, and the cut is no part of the problem: a target must continue to bootstrap there.
    Taking it for an ending gives, with every step sampled alike, 1 / (1 - gamma (steps - 1) / steps).

    Raises:
        ValueError: fewer than one step.
    """
    _verify(steps)
    return Probe(
        "truncation",
        successor=[[0]],
        reward=[[1.0]],
        terminated=[[False]],
        features=[[0.0]],
        q=lambda gamma: [[1 / (1 - gamma)]],
        max_steps=steps,
    )


def termination(steps: int = 5) -> Probe:
    """The twin of ``truncation`` that ends: reward 1 for ``steps`` steps, the step shown one-hot, then it is over.

    Q(t) = (1 - gamma^(steps - t)) / (1 - gamma), so 1 at the last step: a target must not bootstrap there.

    Raises:
        ValueError: fewer than one step.
    """
    _verify(steps)
    time = np.arange(steps)
    return Probe(
        "termination",
        successor=(time[:, None] + 1) % steps,
        reward=np.ones((steps, 1)),
        terminated=time[:, None] == steps - 1,
        features=np.eye(steps),
        q=lambda gamma: (1 - gamma ** (steps - time[:, None])) / (1 - gamma),
        start=np.eye(steps)[0],
    )


def cycle_or_stay(steps: int | None = None) -> Probe:
    """Three states shown as -1, 0 and 1; action 0 stays, action 1 goes on in a cycle; known worst cases under attack.

    Action 1 pays 1 in the first state and action 0 pays 1 in the others, everything else nothing: one action of every
    state pays, so that Q is 1 / (1 - gamma) for it and gamma / (1 - gamma) for the other. At gamma .99, where an
    attacker may show any state for any other, the optimal policy falls from 100 to 0, the uniform one stays at 50,
    always staying at (0, 100, 100) and always going at (33.67, 33.00, 33.33). It has no end: ``steps`` cuts episodes.

    Raises:
        ValueError: fewer than one step.

    Source: Zhang et al. 2020, "Robust deep reinforcement learning against adversarial perturbations on state
    observations", the example of appendix A, whose printed transitions exchange the two actions.
    """
    if steps is not None:
        _verify(steps)
    reward = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    return Probe(
        "cycle-or-stay",
        successor=[[0, 1], [1, 2], [2, 0]],
        reward=reward,
        terminated=np.zeros((3, 2), dtype=bool),
        features=[[-1.0], [0.0], [1.0]],
        q=lambda gamma: np.where(reward > 0, 1.0, gamma) / (1 - gamma),
        max_steps=steps,
    )


def _verify(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")


PROBES: dict[str, Callable[..., Probe]] = {
    "constant-reward": constant_reward,
    "observation-reward": observation_reward,
    "delayed-reward": delayed_reward,
    "action-reward": action_reward,
    "action-observation-reward": action_observation_reward,
    "truncation": truncation,
    "termination": termination,
}

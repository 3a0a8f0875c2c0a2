"""A finite problem with the observations of its states, for exact worst cases."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from rlkit.arrays import Given, as_observations, refuse_nonfinite
from rlkit.mdp import TabularMDP
from rlkit.planning.operators import as_table

from ..victims.base import IsolatedVictim, OneHot, isolated, name_of, scores_of
from .choices import Array


class FiniteProblem(Protocol):
    """A table and its observations, such as ``rlkit.envs.GridWorld`` and ``rlkit.envs.TabularDynamics``."""

    @property
    def mdp(self) -> TabularMDP:
        """The table."""
        ...

    def observations(self) -> Any:
        """Return the observation of every state, ``[N, *observation]``."""
        ...


class ObservedProblem(NamedTuple):
    """A table, its victim and the observation of every state."""

    mdp: TabularMDP
    victim: IsolatedVictim
    obs: Tensor  # [S, N, *observation], floating; codes for a ``OneHot`` victim


def observed(problem: Any, victim: Any, observations: Given | None = None) -> ObservedProblem:
    """Pose a victim in a finite problem.

    Args:
        problem: a ``FiniteProblem``, or a ``TabularMDP`` together with ``observations``.
        victim: the policy under attack, S rows.
        observations: the observation of every state, ``[N, *observation]``; None for ``problem.observations()``.

    Raises:
        ValueError: no observations, another number of them than states, integers that the victim does not encode, or
            numbers that are not finite.
    """
    if observations is None:
        if not callable(getattr(problem, "observations", None)):
            raise ValueError(
                f"{type(problem).__name__} says nothing about observations: pass observations [N, *observation], or a "
                "problem that has them, such as GridWorld(..., observation='coordinates')"
            )
        observations = np.array(problem.observations())
    mdp, asked = as_table(getattr(problem, "mdp", problem)), isolated(victim)
    obs = as_observations(observations, asked)
    if isinstance(asked.victim, OneHot):
        obs = asked.victim.encode(obs)
    if obs.shape[1] != mdp.num_states:
        raise ValueError(
            f"{obs.shape[1]} observations do not fit an MDP of {mdp.num_states} states: give one per state"
        )
    if not obs.is_floating_point():
        raise ValueError(
            f"observations of {obs.dtype} have no small changes: use floating ones, such as observation='coordinates', "
            "wrap the victim in OneHot, or give choices_of_neighbors a matrix of states"
        )
    refuse_nonfinite(obs, "observations")
    return ObservedProblem(mdp, asked, obs)


def action_distributions(victim: Any, obs: Tensor, sampled: bool, num_actions: int) -> Array:
    """Give the distribution of the victim's action at observations ``[S, B, *observation]``: ``[S, B, A]`` float64.

    Args:
        victim: acts greedily, or samples from the softmax of its scores.
        obs: observations that it receives.
        sampled: whether it samples.
        num_actions: A.

    Raises:
        ValueError: an action or scores that do not fit A; sampling from a victim whose scores are action values.
    """
    if not sampled:
        actions = victim.act(obs, True).cpu().numpy()
        if actions.max() >= num_actions:
            raise ValueError(
                f"the victim takes action {actions.max()} and the MDP has {num_actions} actions: they do not fit"
            )
        return np.asarray(np.eye(num_actions)[actions])
    if getattr(victim, "scores_are_values", True):
        raise ValueError(
            f"the scores of {name_of(victim)} are action values, whose softmax is no policy: use sampled=False, or "
            "mark a victim whose scores are logits with scores_are_values = False"
        )
    scores = scores_of(victim, obs)
    if scores.shape[-1] != num_actions:
        raise ValueError(f"the victim has {scores.shape[-1]} actions and the MDP {num_actions}: they do not fit")
    refuse_nonfinite(scores, "the victim's scores")
    policy: Array = torch.softmax(scores.double(), dim=-1).cpu().numpy()
    return policy

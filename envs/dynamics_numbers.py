"""The numbers of dynamics for the compiled engine, which does their arithmetic on one copy at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.compiled.rollout import CartPoleNumbers, TableNumbers
from rlkit.nn import encode, num_features

from .cartpole import START, CartPole, Constants
from .dynamics import Dynamics
from .tabular import TabularDynamics

StepNumbers = CartPoleNumbers | TableNumbers
LARGEST_FEATURES = 2**22  # numbers of the features of all states of a table
METHODS = ("initial", "transition", "observe")


def numbers_of(dynamics: Dynamics, state_dtype: Any, dtype: torch.dtype) -> StepNumbers | None:
    """Return the numbers of dynamics that have a compiled form, else None.

    A subclass that defines a method of the dynamics anew has none.

    Args:
        dynamics: a cart-pole or a finite MDP.
        state_dtype: dtype of a cart-pole's states.
        dtype: dtype of a table's features.
    """
    if isinstance(dynamics, CartPole) and keeps(CartPole, dynamics):
        exact = dynamics.constants(np.dtype("float64"))
        constants = Constants(*(state_dtype(number) for number in exact))
        return CartPoleNumbers(**constants._asdict(), start=START, sutton_barto_reward=dynamics.sutton_barto_reward)
    if isinstance(dynamics, TabularDynamics) and keeps(TabularDynamics, dynamics) and features_fit(dynamics):
        return table_numbers(dynamics, dtype)
    return None


def step_limit(dynamics: Dynamics) -> int:
    """Return the time limit of dynamics; a number of steps that no episode has where there is none."""
    return 2**62 if dynamics.max_steps is None else dynamics.max_steps


def keeps(of: type, dynamics: Dynamics) -> bool:
    """Return whether dynamics have the methods of a class, and have defined none of them anew."""
    return all(getattr(type(dynamics), name) is getattr(of, name) for name in METHODS)


def features_fit(dynamics: TabularDynamics) -> bool:
    """Return whether the features of all states take no more than ``LARGEST_FEATURES``."""
    return dynamics.mdp.num_states * num_features(dynamics.observation_space) <= LARGEST_FEATURES


def table_numbers(dynamics: TabularDynamics, dtype: torch.dtype) -> TableNumbers:
    """Return the numbers of a finite MDP."""
    tables, mdp = dynamics.tables, dynamics.mdp
    seen = torch.from_numpy(np.array(dynamics.observations()))
    return TableNumbers(
        _own(tables.cumulative),
        _own(tables.successor),
        _own(tables.reward),
        _own(tables.terminated),
        _own(tables.start_state),
        _own(tables.start_cumulative),
        _own(encode(seen, dynamics.observation_space).reshape(mdp.num_states, -1).to(dtype).numpy()),
        mdp.num_actions,
        mdp.num_successors,
    )


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array that is contiguous and may be written to, as compiled loops expect it; a copy if it is not."""
    return np.require(array, requirements=["C", "W"])

"""The one definition of an environment: pure functions of state, action and uniform noise.

Every form of an environment (batched tensors, ``gymnasium.Env``, ``gymnasium.vector.VectorEnv``) calls the same
three functions and differs only in where the noise comes from and who restarts a finished episode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces

Array = Any  # a numpy array or a torch tensor: the functions below answer in the kind they are given
DEFAULT_FPS = 10  # frames a second of dynamics that do not have ``render_fps``


@runtime_checkable
class Dynamics(Protocol):
    """Pure dynamics over leading axes ``...`` (none for one environment, ``[S, B]`` for a batch).

    A state is an array ``[..., k]``. Noise ``u`` is uniform on [0, 1), float64, of the declared width: all the
    randomness there is. The functions accept numpy arrays and torch tensors alike, any leading axes, and the
    floating dtype of ``state`` is kept.

    Optional attributes: ``start_options``, the names of further arguments of ``initial``, which ``gymnasium.Env.reset``
    takes as its options; ``render_modes``, ``render_fps`` and ``render(state, mode)`` of dynamics that can be drawn;
    ``mdp``, the ``TabularMDP`` of dynamics that are finite.
    """

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Of one copy."""
        ...

    @property
    def action_space(self) -> spaces.Discrete:
        """Of one copy."""
        ...

    @property
    def initial_noise(self) -> int:
        """Width of u in ``initial``."""
        ...

    @property
    def transition_noise(self) -> int:
        """Width of u in ``transition``; 0 if the dynamics are deterministic."""
        ...

    @property
    def max_steps(self) -> int | None:
        """Time limit of an episode, None without one."""
        ...

    def initial(self, u: Array) -> Array:
        """Return the first state of an episode: u ``[..., initial_noise]`` -> state ``[..., k]``."""
        ...

    def transition(self, state: Array, action: Array, u: Array) -> tuple[Array, Array, Array]:
        """Take one step.

        Args:
            state: ``[..., k]``.
            action: ``[...]``.
            u: uniforms on [0, 1) ``[..., transition_noise]``.

        Returns:
            Next state ``[..., k]``, reward ``[...]`` floating and terminated ``[...]`` bool.
        """
        ...

    def observe(self, state: Array) -> Array:
        """Return the observation of a state in the space's dtype, ``[..., k] -> [..., *observation_space.shape]``."""
        ...


class DynamicsWrapper:
    """Dynamics that behave as ``dynamics`` do; a subclass overrides the parts that it changes.

    Args:
        dynamics: dynamics to wrap.
    """

    def __init__(self, dynamics: Dynamics) -> None:
        self.dynamics = dynamics

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """The inner observation space."""
        return self.dynamics.observation_space

    @property
    def action_space(self) -> Any:
        """The inner action space."""
        return self.dynamics.action_space

    @property
    def initial_noise(self) -> int:
        """The inner width of u in ``initial``."""
        return self.dynamics.initial_noise

    @property
    def transition_noise(self) -> int:
        """The inner width of u in ``transition``."""
        return self.dynamics.transition_noise

    @property
    def max_steps(self) -> int | None:
        """The inner time limit."""
        return self.dynamics.max_steps

    @property
    def render_modes(self) -> Sequence[str]:
        """The inner ways to be drawn; none where the inner dynamics cannot be drawn."""
        return getattr(self.dynamics, "render_modes", ())

    @property
    def render_fps(self) -> int:
        """The inner frames a second."""
        return getattr(self.dynamics, "render_fps", DEFAULT_FPS)

    @property
    def start_options(self) -> Sequence[str]:
        """The inner names of what ``initial`` takes beside u."""
        return getattr(self.dynamics, "start_options", ())

    def initial(self, u: Array, **options: Any) -> Array:
        """Begin an episode of the inner dynamics."""
        return self.dynamics.initial(u, **options)

    def transition(self, state: Array, action: Array, u: Array) -> tuple[Array, Array, Array]:
        """Step the inner dynamics."""
        return self.dynamics.transition(state, action, u)

    def observe(self, state: Array) -> Array:
        """Return what the inner dynamics show of a state."""
        return self.dynamics.observe(state)

    def render(self, state: Array, mode: str) -> Any:
        """Draw a state as the inner dynamics do.

        Raises:
            ValueError: they offer no such render mode.
        """
        if mode not in self.render_modes:
            offered = ", ".join(self.render_modes) or "none"
            raise ValueError(f"render mode {mode!r} of {type(self.dynamics).__name__}: it offers {offered}")
        drawable: Any = self.dynamics
        return drawable.render(state, mode)


def noiseless_step(dynamics: Dynamics) -> Callable[[Array, Array], tuple[Array, Array, Array]]:
    """The transition of deterministic dynamics as a function of state and action alone, for ``LatticeMDP``.

    Raises:
        ValueError: the dynamics draw noise in a step.
    """
    if dynamics.transition_noise:
        raise ValueError(
            f"{type(dynamics).__name__} draws {dynamics.transition_noise} random numbers a step: a lattice needs "
            "deterministic dynamics; where states are finite use their table"
        )
    nothing = np.zeros(0)
    return lambda state, action: dynamics.transition(state, action, nothing)

"""The cart-pole of Barto, Sutton & Anderson (1983), with the constants and Euler step of Gymnasium's CartPole-v1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces

from .dynamics import Array

START = 0.05  # bound of every component of a first state


class Constants(NamedTuple):
    """What the equations of motion multiply by; Python numbers, or numpy's of no dimension."""

    gravity: Any
    push: Any  # force / total mass
    twice_push: Any
    moment: Any  # pole mass half length / total mass
    length: Any  # 4/3 of the half length
    time_step: Any
    x_limit: Any
    theta_limit: Any


class _Tensors(NamedTuple):
    """The constant tensors of a step in torch, on one device."""

    one: torch.Tensor  # []
    equations: torch.Tensor  # [2, 6], by action: the numbers of the equations of motion that do not depend on the state
    beyond: torch.Tensor  # [4], the smallest magnitude of each component of a state that fails


@dataclass(frozen=True)
class CartPole:
    """A pole hinged on a cart that is pushed left (0) or right (1) with a constant force.

    State and observation are (x [m], x' [m/s], theta [rad], theta' [rad/s]). An episode terminates when the
    cart leaves +-2.4 m or the pole +-12 degrees, and is cut after ``max_steps``. The reward is 1 for every step,
    the failing one included; with ``sutton_barto_reward`` it is 0 and the failing step costs 1.

    Args:
        cart_mass: kg.
        pole_mass: kg.
        half_length: half length of the pole, m.
        force: force of a push, N.
        gravity: m/s^2.
        time_step: s.
        sutton_barto_reward: the reward of Sutton & Barto (2018, example 3.4).
        max_steps: the time limit, None without one.

    Raises:
        ValueError: a mass, length, force or time step that is not positive, or a limit below one.
    """

    cart_mass: float = 1.0
    pole_mass: float = 0.1
    half_length: float = 0.5
    force: float = 10.0
    gravity: float = 9.8
    time_step: float = 0.02
    sutton_barto_reward: bool = False
    max_steps: int | None = 500

    initial_noise = 4
    transition_noise = 0
    x_limit = 2.4
    theta_limit = 12 * 2 * math.pi / 360
    start_options = ("low", "high")
    render_modes = ("rgb_array",)
    render_fps = 50

    def __post_init__(self) -> None:
        for name in ("cart_mass", "pole_mass", "half_length", "force", "time_step"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive, got {value}")
        if not math.isfinite(self.gravity):
            raise ValueError(f"gravity must be finite, got {self.gravity}")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1 or None, got {self.max_steps}")

    @property
    def observation_space(self) -> spaces.Box:
        """Gymnasium's: twice the failing limits, so that the failing observation is inside."""
        high = np.array([2 * self.x_limit, np.inf, 2 * self.theta_limit, np.inf], dtype=np.float32)
        return spaces.Box(-high, high, dtype=np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        """Push left (0) or right (1)."""
        return spaces.Discrete(2)

    def initial(self, u: Array, low: float = -START, high: float = START) -> Array:
        """Draw every component uniformly from [low, high): u ``[..., 4]`` -> state ``[..., 4]``.

        Raises:
            ValueError: bounds that are no numbers, or low above high.
        """
        try:
            least, most = float(low), float(high)
        except (TypeError, ValueError) as error:
            raise ValueError(f"low and high must be numbers, got {low!r} and {high!r}") from error
        if not least <= most:
            raise ValueError(f"low must be at most high, got {low} and {high}")
        return least + (most - least) * u

    @cached_property
    def _constants(self) -> dict[Any, Constants]:
        """By the dtype of states: on small arrays numpy's own numbers take half the time of Python's."""
        total_mass = self.pole_mass + self.cart_mass
        push, moment = self.force / total_mass, self.pole_mass * self.half_length / total_mass
        length = 4 / 3 * self.half_length
        exact = Constants(self.gravity, push, 2 * push, moment, length, self.time_step, self.x_limit, self.theta_limit)
        numpys = {np.dtype(name): Constants(*(np.array(c, name) for c in exact)) for name in ("float32", "float64")}
        return {torch.float32: exact, torch.float64: exact, **numpys}

    def constants(self, dtype: Any) -> Constants:
        """Return what the equations of motion multiply by, for states of a dtype."""
        return self._constants[dtype]

    def transition(self, state: Array, action: Array, u: Array) -> tuple[Array, Array, Array]:
        """Take one Euler step: (next state, reward, terminated); arguments as in ``Dynamics.transition``.

        ``state`` is ``[..., 4]``, ``action`` ``[...]``; ``u`` is not used.

        The equations of motion are Florian (2007), "Correct equations for the dynamics of the cart-pole system",
        without friction, with the constants of the masses folded.
        """
        in_torch = isinstance(state, torch.Tensor)
        next_state, terminated = self._torch_step(state, action) if in_torch else self._numpy_step(state, action)
        xp: Any = torch if in_torch else np
        if self.sutton_barto_reward:
            reward = -xp.asarray(terminated, dtype=state.dtype)
        elif in_torch:
            reward = self._tensors_for(state).one.expand(terminated.shape)
        else:
            reward = np.ones_like(next_state[..., 0])
        return next_state, reward, terminated

    def _numpy_step(self, state: Array, action: Array) -> tuple[Array, Array]:
        """Compute the next state and whether it has failed."""
        c = self._constants[state.dtype]
        x_dot, theta, theta_dot = state[..., 1:2], state[..., 2:3], state[..., 3:4]
        cos, sin = np.cos(theta), np.sin(theta)

        pushed = np.asarray(action, dtype=state.dtype)[..., None] * c.twice_push - c.push
        drive = c.moment * np.square(theta_dot) * sin + pushed
        theta_acc = (c.gravity * sin - cos * drive) / (c.length - c.moment * np.square(cos))
        x_acc = drive - c.moment * theta_acc * cos
        next_state = state + c.time_step * np.concatenate((x_dot, x_acc, theta_dot, theta_acc), -1)
        return next_state, (abs(next_state[..., 0]) > c.x_limit) | (abs(next_state[..., 2]) > c.theta_limit)

    def _torch_step(self, state: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``_numpy_step`` in 9 operations of torch instead of 27: a device waits for the launch of each.

        The accelerations solve x'' / m' + cos theta'' = d and cos x'' + l theta'' = sin, in units of gravity, where m'
        is the moment and d the drive over m'. Cramer's rule gives both in one cross product of the equations' numbers.
        """
        c, tensors = self._constants[state.dtype], self._tensors_for(state)
        unit = c.gravity or 1.0
        position, speed, theta = state[..., 0::2], state[..., 1::2], state[..., 2]

        numbers = tensors.equations[action]  # [..., (1 / m', d, cos, sin, l, -)], with d of the push alone
        torch.polar(tensors.one.expand(theta.shape), theta, out=torch.view_as_complex(numbers[..., 2:4]))
        sin, square = numbers[..., 3], state[..., 3].square()
        numbers[..., 1].addcmul_(square, sin, value=1.0 / unit)
        if c.gravity == 0.0:
            sin.zero_()
        crossed = torch.linalg.cross(numbers[..., 0:3], numbers[..., 2:5])  # x'', -1 and theta'' times the determinant

        next_state = torch.empty_like(state)
        step = -c.time_step * unit
        torch.addcdiv(speed, crossed[..., 0::2], crossed[..., 1:2], value=step, out=next_state[..., 1::2])
        torch.add(position, speed, alpha=c.time_step, out=next_state[..., 0::2])
        # a quotient of 1 or more is a component beyond its limit
        return next_state, torch.div(next_state, tensors.beyond, rounding_mode="trunc").any(dim=-1)

    def _tensors_for(self, state: torch.Tensor) -> _Tensors:
        """Return the constant tensors of a step, on the device of the state."""
        place = (state.device, state.dtype)
        if place not in self._tensors:
            c = self._constants[state.dtype]
            push = c.push / (c.moment * (c.gravity or 1.0))
            # filled there, because a copy from the host would wait
            equations, limits = state.new_zeros(2, 6), state.new_full((4,), math.inf)
            equations[:, 0], equations[:, 4] = 1.0 / c.moment, c.length
            equations[0, 1], equations[1, 1] = -push, push
            limits[0], limits[2] = c.x_limit, c.theta_limit
            self._tensors[place] = _Tensors(state.new_ones(()), equations, limits.nextafter(2.0 * limits))
        return self._tensors[place]

    @cached_property
    def _tensors(self) -> dict[Any, _Tensors]:
        """By device and dtype."""
        return {}

    def observe(self, state: Array) -> Array:
        """The state itself, in float32."""
        return state.to(torch.float32) if isinstance(state, torch.Tensor) else np.asarray(state, dtype=np.float32)

    def render(self, state: Array, mode: str) -> Array:
        """A picture of one state ``[4]``, ``[H, W, 3]`` uint8."""
        from .render import draw_cartpole

        return draw_cartpole(float(state[0]), float(state[2]), half_length=self.half_length, x_limit=self.x_limit)

    def render_observation(self, observation: Array) -> Array:
        """A picture of what an observation ``[4]`` says, with its four numbers, ``[H, W, 3]`` uint8."""
        from .render import draw_cartpole

        x, x_dot, theta, theta_dot = (float(number) for number in observation)
        pole = f"pole {math.degrees(theta):+.1f}°, {math.degrees(theta_dot):+.0f}°/s"
        label = f"x {x:+.2f} m, {x_dot:+.2f} m/s     {pole}"
        return draw_cartpole(x, theta, half_length=self.half_length, x_limit=self.x_limit, label=label)

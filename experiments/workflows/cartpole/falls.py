"""How soon an adversary can make a policy of the cart-pole fall: what the search needs to know of the physics."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.envs import CartPole

ROUNDING = 1e-3  # share by which limits are taken narrower, for the simulator's float32
AHEAD = 0.3  # s, over which a beam extrapolates
LONGEST = 256  # steps that the floor looks ahead


class CartPoleFalls(NamedTuple):
    """The order of a beam and the floor of branch and bound for one cart-pole."""

    env: CartPole

    def danger(self, state: NDArray[np.floating]) -> NDArray[np.floating]:
        """Give how near to a limit pole or cart are in 0.3 s at their present speed, ``[..., 4] -> [...]``."""
        x, x_dot, theta, theta_dot = (state[..., i] for i in range(4))
        pole = np.abs(theta + AHEAD * theta_dot) / self.env.theta_limit
        return np.maximum(pole, np.abs(x + AHEAD * x_dot) / self.env.x_limit)

    def floor(self, state: NDArray[np.floating]) -> NDArray[np.int64]:
        """Bound the steps to a fall from below, whatever the pushes: ``[..., 4] -> [...]``, at least 1.

        Envelopes of angle, position and speeds, to the right and, mirrored, to the left, take the largest acceleration
        that the equations of motion allow at them: ``theta'' <= (g sin theta + F/M + m theta'^2 sin limit) / (l - m)``
        and ``x'' <= F/M + m (theta'^2 sin limit + |theta''|)`` in the notation of ``CartPole.transition``. Euler's step
        keeps the order of envelopes, so that none falls after the pole.
        """
        exact = state.astype(np.float64)
        return np.minimum(self._steps_to_the_right(exact), self._steps_to_the_right(-exact))

    def _steps_to_the_right(self, state: NDArray[np.float64]) -> NDArray[np.int64]:
        """The first step after which an envelope is beyond a limit on the right."""
        env, dt = self.env, self.env.time_step
        total = env.pole_mass + env.cart_mass
        push, moment = env.force / total, env.pole_mass * env.half_length / total
        lever, sine = 4 / 3 * env.half_length - moment, math.sin(env.theta_limit)
        x, x_dot, theta, theta_dot = (state[..., i] for i in range(4))
        speed = np.abs(theta_dot)  # of the pole in either direction
        steps = np.full(x.shape, LONGEST)
        for step in range(1, LONGEST + 1):
            swing = push + moment * speed**2 * sine
            either = (abs(env.gravity) * sine + swing) / lever
            lean = np.sin(np.clip(theta, -env.theta_limit, env.theta_limit))
            pole = (np.where(env.gravity > 0, env.gravity * lean, abs(env.gravity) * sine) + swing) / lever
            theta, theta_dot = theta + dt * theta_dot, theta_dot + dt * np.maximum(pole, 0.0)
            x, x_dot = x + dt * x_dot, x_dot + dt * (swing + moment * either)
            speed = speed + dt * either
            fallen = (theta > env.theta_limit * (1 - ROUNDING)) | (x > env.x_limit * (1 - ROUNDING))
            steps = np.where(fallen & (steps == LONGEST), step, steps)
            if fallen.all():
                break
        return steps

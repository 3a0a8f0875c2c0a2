"""Schedules of learning rates and clip ranges: a factor as a function of the fraction of training done.

Every schedule but the constant and the linear one ends at 1 / decay.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

Schedule = Literal["constant", "linear", "exponential", "inverse", "step"]
SCHEDULES: tuple[str, ...] = get_args(Schedule)


def factor(schedule: Schedule, done: float, decay: float = 10.0) -> float:
    """Return the factor of the initial value after a fraction ``done`` in [0, 1] of training.

    - constant: 1
    - linear: 1 - done, stable-baselines3's ``LinearSchedule`` to zero
    - exponential: exp(-k done) with k = log decay
    - inverse: 1 / (1 + k done) with k = decay - 1
    - step: 1, then decay^(-1/2), then 1 / decay, a third of training each

    Raises:
        ValueError: an unknown schedule.
    """
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return max(1.0 - done, 0.0)
    if schedule == "exponential":
        return math.exp(-math.log(decay) * done)
    if schedule == "inverse":
        return 1.0 / (1.0 + (decay - 1.0) * done)
    if schedule == "step":
        return math.pow(decay, -min(math.floor(3.0 * done), 2) / 2.0)
    raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")

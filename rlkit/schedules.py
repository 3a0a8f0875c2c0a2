"""Schedules of learning rates and clip ranges: a factor as a function of the fraction of training done.

Every schedule but the constant and the linear one ends at 1 / decay.
"""

from __future__ import annotations

import math
from typing import Literal, get_args, overload

import torch
from torch import Tensor

Schedule = Literal["constant", "linear", "exponential", "inverse", "step"]
SCHEDULES: tuple[str, ...] = get_args(Schedule)


@overload
def factor(schedule: Schedule, done: float, decay: float = ...) -> float: ...
@overload
def factor(schedule: Schedule, done: Tensor, decay: float = ...) -> float | Tensor: ...
def factor(schedule: Schedule, done: float | Tensor, decay: float = 10.0) -> float | Tensor:
    """Return the factor of the initial value after a fraction ``done`` in [0, 1] of training.

    - constant: 1
    - linear: 1 - done, stable-baselines3's ``LinearSchedule`` to zero
    - exponential: exp(-k done) with k = log decay
    - inverse: 1 / (1 + k done) with k = decay - 1
    - step: 1, then decay^(-1/2), then 1 / decay, a third of training each

    A fraction on a device is a tensor, and so is its factor: a number of the host would stay as it was in a CUDA graph.

    Raises:
        ValueError: an unknown schedule.
    """
    if schedule == "constant":
        return 1.0
    if isinstance(done, Tensor):
        return _factor_on_device(schedule, done, decay)
    if schedule == "linear":
        return max(1.0 - done, 0.0)
    if schedule == "exponential":
        return math.exp(-math.log(decay) * done)
    if schedule == "inverse":
        return 1.0 / (1.0 + (decay - 1.0) * done)
    if schedule == "step":
        return math.pow(decay, -min(math.floor(3.0 * done), 2) / 2.0)
    raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")


def _factor_on_device(schedule: Schedule, done: Tensor, decay: float) -> Tensor:
    if schedule == "linear":
        return (1.0 - done).clamp(min=0.0)
    if schedule == "exponential":
        return torch.exp(-math.log(decay) * done)
    if schedule == "inverse":
        return 1.0 / (1.0 + (decay - 1.0) * done)
    if schedule == "step":
        return torch.pow(decay, -torch.floor(3.0 * done).clamp(max=2.0) / 2.0)
    raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")

"""The base class of defenses: a strength for every row, a budget, its curriculum, and the agents that it serves.

A defense is a term of the loss: ``term(network, features, targets) -> [S]``, see ``rlkit.types.Targets``. Agents take a
sequence of them as ``terms``. Budgets are of the *features*, what the network sees: of observations as they are, except
where an agent normalizes or encodes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rlkit.arrays import as_tensor
from rlkit.types import Targets

from ..budget import Budget

ByRow = float | Sequence[float] | Tensor  # one number for all rows, or one per row [S]
Serves = Literal["any", "values", "policies"]  # which scores a defense needs: any, action values, or logits
INSTEAD = {"values": "a defense of policies, such as SAPPOKL", "policies": "one of action values, such as SADQNHinge"}


@dataclass(frozen=True)
class Curriculum:
    """A linear ramp of epsilon: 0 up to the fraction ``start`` of training, all of epsilon from ``end`` on.

    Args:
        start: fraction of training at which epsilon begins to grow.
        end: fraction of training from which it is whole.

    Raises:
        ValueError: not 0 <= start <= end <= 1.

    Source: Gowal et al. 2018, "On the effectiveness of interval bound propagation for training verifiably robust
    models".
    """

    start: float = 0.0
    end: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.start <= self.end <= 1.0:
            raise ValueError(f"a curriculum needs 0 <= start <= end <= 1, got {self.start} and {self.end}")

    def factor(self, progress_remaining: float) -> float:
        """Return the share of epsilon, from 0 to 1, while ``progress_remaining`` falls from 1 to 0."""
        done = 1.0 - progress_remaining
        if done >= self.end:
            return 1.0
        return max((done - self.start) / (self.end - self.start), 0.0)


def by_row(number: ByRow, name: str, features: Tensor) -> Tensor:
    """Return one number per row, ``[S]``, in the dtype and on the device of features ``[S, M, D]``.

    Args:
        number: one for all rows, or ``[S]``.
        name: name of the argument, for the message.
        features: features of the minibatch.

    Raises:
        ValueError: another count than one or S.
    """
    numbers = as_tensor(number, name, double=True).to(features)
    if numbers.numel() not in (1, len(features)) or numbers.dim() > 1:
        raise ValueError(
            f"{name} must be one number or one per seed, [{len(features)}], got shape {list(numbers.shape)}"
        )
    return numbers.expand(len(features))


def not_negative(number: ByRow, name: str) -> None:
    """Refuse numbers that are negative, NaN or infinite.

    Raises:
        ValueError: such a number, named.
    """
    numbers = as_tensor(number, name, double=True)
    wrong = ~((numbers >= 0) & (numbers < math.inf))
    if wrong.any():
        raise ValueError(f"{name} must be finite and not negative, got {numbers[wrong][0].item()}")


def check_serves(defense: Any, serves: Serves, targets: Targets) -> None:
    """Refuse an agent whose scores are of the kind that a defense does not serve.

    Raises:
        ValueError: a defense of action values for a policy, or the reverse.
    """
    values = targets.advantage is None
    if serves == "any" or values == (serves == "values"):
        return
    needs, got = ("action values", "logits") if serves == "values" else ("logits", "action values")
    raise ValueError(f"{type(defense).__name__} needs {needs} and the scores are {got}: use {INSTEAD[serves]}")


@dataclass(frozen=True, eq=False)
class Defense:
    """A term of the loss that depends on a budget: ``strength`` times a penalty of each row.

    A subclass defines ``penalty``.

    Args:
        budget: the ball around every observation of a minibatch. A number or one per row ``[S]`` is epsilon of the
            norm "inf" in raw units; a ``Budget`` has one epsilon, or one per row ``[S, 1]``.
        strength: weight of the penalty, one for all rows or one per row ``[S]``.
        curriculum: how epsilon grows over training; None for all of it from the start.

    Raises:
        ValueError: a strength that is negative or not finite, a budget that ``Budget`` refuses, or an epsilon for each
            example.
    """

    budget: Budget | ByRow
    strength: ByRow = 1.0
    curriculum: Curriculum | None = None
    serves: ClassVar[Serves] = "any"
    name: ClassVar[str]

    def __post_init__(self) -> None:
        not_negative(self.strength, "strength")
        budget = self.budget
        if not isinstance(budget, Budget):
            epsilon = as_tensor(budget, "budget", double=True)
            budget = Budget(epsilon[:, None] if epsilon.dim() == 1 else epsilon)
        epsilon = torch.as_tensor(budget.epsilon)
        if epsilon.numel() > 1 and epsilon.shape[1:] != (1,):
            raise ValueError(f"a defense needs one epsilon per row, [S, 1], got shape {list(epsilon.shape)}")
        object.__setattr__(self, "budget", replace(budget, epsilon=epsilon.reshape(-1, 1)))

    def __call__(self, network: Any, features: Tensor, targets: Targets) -> Tensor:
        """Return the numbers ``[S]`` that are added to the loss.

        Args:
            network: gives scores ``[S, M, A]`` of features.
            features: ``[S, M, D]``.
            targets: targets of the update.

        Raises:
            ValueError: the agent is one that the defense does not serve, or a number per row has another count.
        """
        check_serves(self, self.serves, targets)
        budget = self.budget_at(features, targets.progress_remaining)
        return by_row(self.strength, "strength", features) * self.penalty(network, features.detach(), budget, targets)

    def penalty(self, network: Any, features: Tensor, budget: Budget, targets: Targets) -> Tensor:
        """Return the penalty of every row, ``[S]``.

        Args:
            network: gives scores ``[S, M, A]`` of features.
            features: ``[S, M, D]``, without a graph.
            budget: at this point of training.
            targets: targets of the update.
        """
        raise NotImplementedError

    def budget_at(self, features: Tensor, progress_remaining: float) -> Budget:
        """Return the budget of features ``[S, M, D]`` at a point of training, with epsilon ``[S, 1]``.

        Args:
            features: features of the minibatch.
            progress_remaining: from 1 to 0 over training.

        Raises:
            ValueError: epsilons of another number of rows, or a scale of another number of features.
        """
        budget = self.budget
        assert isinstance(budget, Budget)
        epsilon = by_row(torch.as_tensor(budget.epsilon)[:, 0], "epsilon", features)
        factor = 1.0 if self.curriculum is None else self.curriculum.factor(progress_remaining)
        try:
            budget.extent(features)
        except RuntimeError as error:
            raise ValueError(f"scale or mask do not fit features of width {features.shape[-1]}: {error}") from None
        return replace(budget, epsilon=factor * epsilon[:, None])

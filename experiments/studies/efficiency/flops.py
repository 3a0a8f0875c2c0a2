"""Floating-point operations of training by formula: products of matrices, a multiplication and an addition each.

A layer of ``n_in x n_out`` weights takes 2 n_in n_out operations for an example forward; backward as many for the
weights, and as many for its input unless it is the first layer. Activations, optimizers and environments are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any


def forward_flops(widths: Sequence[int], examples: int = 1) -> int:
    """Return the operations of a fully connected network of layer ``widths``, inputs and outputs included."""
    return 2 * examples * sum(a * b for a, b in pairwise(widths))


def backward_flops(widths: Sequence[int], examples: int = 1) -> int:
    """Return the operations of the gradient by all weights; the gradient by the input is not computed."""
    return 2 * forward_flops(widths, examples) - 2 * examples * widths[0] * widths[1]


def update_flops(widths: Sequence[int], examples: int) -> int:
    """Return the operations of one gradient step on a minibatch: forward and backward."""
    return forward_flops(widths, examples) + backward_flops(widths, examples)


def training_flops(
    algorithm: str, hyperparameters: Mapping[str, Any], copies: int, steps: int, inputs: int, actions: int
) -> int:
    """Return the operations of one seed's training of ``steps`` environment steps.

    Args:
        algorithm: "dqn", "ppo", "a2c" or "reinforce".
        hyperparameters: of the agent.
        copies: of the environment.
        steps: environment steps of all copies together.
        inputs: features of an observation.
        actions: number of actions.

    PPO's epochs are counted in full: ``target_kl`` ends some batches earlier, so its number is an upper bound.
    """
    of: dict[str, int] = {name: value for name, value in hyperparameters.items() if isinstance(value, int)}
    hidden: tuple[int, ...] = tuple(hyperparameters["net_arch"])
    policy, value = (inputs, *hidden, actions), (inputs, *hidden, 1)
    acting = forward_flops(policy, steps)
    if algorithm == "dqn":
        learning = max(steps - of["learning_starts"], 0)
        updates = learning * of["gradient_steps"] // (of["train_freq"] * copies)
        return acting + updates * (forward_flops(policy, of["batch_size"]) + update_flops(policy, of["batch_size"]))
    both = update_flops(policy, steps) + update_flops(value, steps)
    if algorithm == "reinforce":
        return acting + forward_flops(value, 2 * steps) + update_flops(policy, steps) + (
            of["value_steps"] * update_flops(value, steps)
        )  # fmt: skip
    epochs = of["n_epochs"] if algorithm == "ppo" else 1
    return acting + forward_flops(value, steps) + epochs * both

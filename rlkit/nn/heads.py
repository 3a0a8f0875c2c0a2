"""Two networks as one: dueling action values, and a policy with its value function."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from .mlp import MLP, Pullback, gradients_of


class PullbackOfBoth(Protocol):
    """Derivatives of a loss by logits ``[S, M, A]`` and by values ``[S, M]`` -> d loss / d parameters ``[S, P]``."""

    def __call__(self, logits_grad: Tensor, values_grad: Tensor, out: Tensor | None = None) -> Tensor:
        """Apply the pullback; both arguments may be overwritten."""
        ...


class Dueling:
    """Q = V + A - mean_a A of a value's and an advantage's networks (Wang et al. 2016, equation 9): ``[S, M, A]``.

    The streams share nothing, and their parameters become one matrix ``flat [S, P]``.

    Args:
        advantage: gives ``[S, M, A]``.
        value: gives ``[S, M, 1]``.
    """

    def __init__(self, advantage: MLP, value: MLP) -> None:
        self.advantage, self.value = advantage, value
        self.columns = torch.cat([advantage.columns, advantage.flat.shape[1] + value.columns])
        self.place(torch.cat([advantage.flat, value.flat], dim=1))

    def place(self, flat: Tensor) -> None:
        """Use this matrix ``[S, P]`` as the parameters, the advantage's before the value's."""
        self.flat = flat
        _place_both(flat, self.advantage, self.value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle or a deep copy, whose networks share ``flat`` again."""
        vars(self).update(state)
        self.place(self.flat)

    @property
    def blocks(self) -> dict[str, Tensor]:
        """Weights and biases of every layer of both, by name."""
        both = {"advantage": self.advantage, "value": self.value}
        return {f"{name}'s {block}": tensor for name, mlp in both.items() for block, tensor in mlp.blocks.items()}

    @property
    def parameters(self) -> list[Tensor]:
        """Weights and biases of every layer of both as leaves for autograd, see ``MLP``."""
        return self.advantage.parameters + self.value.parameters

    def __call__(self, x: Tensor) -> Tensor:
        """``[S, M, in] -> [S, M, A]``, differentiable in x and in ``parameters`` where gradients are enabled."""
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(dim=2, keepdim=True)

    def gradient(self, loss: Tensor) -> Tensor:
        """As ``MLP.gradient``."""
        return _gradient_of_both(loss, self.advantage, self.value)

    def vjp(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """As ``MLP.vjp``."""
        advantage, advantage_pullback = self.advantage.vjp(x)
        value, value_pullback = self.value.vjp(x)

        def pullback(grad_output: Tensor, out: Tensor | None = None) -> Tensor:
            out, of_advantage, of_value = _of_both(self.flat, self.advantage, out)
            advantage_pullback(grad_output - grad_output.mean(dim=2, keepdim=True), of_advantage)
            value_pullback(grad_output.sum(dim=2, keepdim=True), of_value)
            return out

        return value + advantage - advantage.mean(dim=2, keepdim=True), pullback

    def copy(self) -> Dueling:
        """A separate stack with the same parameters, for example a target network."""
        return Dueling(self.advantage.copy(), self.value.copy())


class ActorCritic:
    """A policy's and a value's networks side by side, S of each; their parameters become one matrix ``flat [S, P]``.

    One optimizer step moves both and one norm clips both, as in stable-baselines3's ActorCriticPolicy. They share
    nothing, whereas stable-baselines3's share their convolutions.

    Args:
        policy: gives logits ``[S, M, A]``.
        value: gives ``[S, M, 1]``.
    """

    def __init__(self, policy: MLP, value: MLP) -> None:
        self.policy, self.value = policy, value
        self.place(torch.cat([policy.flat, value.flat], dim=1))

    def place(self, flat: Tensor) -> None:
        """Use this matrix ``[S, P]`` as the parameters, the policy's before the value's."""
        self.flat = flat
        _place_both(flat, self.policy, self.value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle or a deep copy, whose networks share ``flat`` again."""
        vars(self).update(state)
        self.place(self.flat)

    @property
    def parameters(self) -> list[Tensor]:
        """Weights and biases of every layer of both as leaves for autograd, see ``MLP``."""
        return self.policy.parameters + self.value.parameters

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[S, M, A]`` and values ``[S, M]``, differentiable as those of ``MLP``."""
        return self.policy(x), self.value(x).squeeze(-1)

    def gradient(self, loss: Tensor) -> Tensor:
        """As ``MLP.gradient``."""
        return _gradient_of_both(loss, self.policy, self.value)

    def vjp(self, x: Tensor) -> tuple[Tensor, Tensor, PullbackOfBoth]:
        """Logits ``[S, M, A]``, values ``[S, M]`` and the pullback of a loss's derivatives by both -> ``[S, P]``."""
        logits, policy_pullback = self.policy.vjp(x)
        values, value_pullback = self.value.vjp(x)

        def pullback(logits_grad: Tensor, values_grad: Tensor, out: Tensor | None = None) -> Tensor:
            out, of_policy, of_value = _of_both(self.flat, self.policy, out)
            policy_pullback(logits_grad, of_policy)
            value_pullback(values_grad[..., None], of_value)
            return out

        return logits, values[..., 0], pullback

    def values(self, x: Tensor) -> Tensor:
        """V of features, ``[S, M, D] -> [S, M]``, without gradients."""
        with torch.no_grad():
            return self.value(x)[..., 0]


def _of_both(flat: Tensor, first: MLP, out: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """A matrix like ``flat``, ``out`` if it is given, and its parts of two stacks that share it."""
    out = torch.empty_like(flat) if out is None else out
    split = first.flat.shape[1]
    return out, out[:, :split], out[:, split:]


def _gradient_of_both(loss: Tensor, first: MLP, second: MLP) -> Tensor:
    """Gradient of a loss by the parameters of two stacks that share a matrix, ``[S, P]``."""
    gradients, split = gradients_of(loss, first.parameters + second.parameters), len(first.parameters)
    return torch.cat([first.in_order(gradients[:split]), second.in_order(gradients[split:])], dim=1)


def _place_both(flat: Tensor, first: MLP, second: MLP) -> None:
    """Two stacks in one matrix, one after the other."""
    split = first.flat.shape[1]
    first.place(flat[:, :split])
    second.place(flat[:, split:])

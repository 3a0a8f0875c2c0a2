"""Two networks as one: dueling action values, and a policy with its value function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .matmul import ALIGNMENT
from .mlp import MLP, Pullback, gradients_of


class NetworkPair:
    """Two networks of S rows that share no parameters; these become one matrix ``flat [S, P]``.

    Args:
        first, second: the networks.
    """

    def __init__(self, first: MLP, second: MLP) -> None:
        self.parts = first, second
        self.place(torch.cat([first.flat, second.flat], dim=1))

    def place(self, flat: Tensor) -> None:
        """Use this matrix ``[S, P]`` as the parameters, the first network's before the second's."""
        self.flat = flat
        for network, own in zip(self.parts, self.split(flat), strict=True):
            network.place(own)

    def split(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Cut a matrix like ``flat`` into the columns of the two networks."""
        width = self.parts[0].flat.shape[1]
        return matrix[:, :width], matrix[:, width:]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle or a deep copy, whose networks share ``flat`` again."""
        vars(self).update(state)
        self.place(self.flat)

    @property
    def parameters(self) -> list[Tensor]:
        """Weights and biases of every layer of both as leaves for autograd, see ``MLP``."""
        return self.parts[0].parameters + self.parts[1].parameters

    def gradient(self, loss: Tensor) -> Tensor:
        """As ``MLP.gradient``."""
        gradients, count = gradients_of(loss, self.parameters), len(self.parts[0].parameters)
        own = gradients[:count], gradients[count:]
        return torch.cat([network.in_order(each) for network, each in zip(self.parts, own, strict=True)], dim=1)


class Dueling(NetworkPair):
    """Q = V + A - mean_a A of a value's and an advantage's networks (Wang et al. 2016, equation 9): ``[S, M, A]``.

    Args:
        advantage: gives ``[S, M, A]``.
        value: gives ``[S, M, 1]``.
    """

    def __init__(self, advantage: MLP, value: MLP) -> None:
        self.advantage, self.value = advantage, value
        self.columns = torch.cat([advantage.columns, advantage.flat.shape[1] + value.columns])
        super().__init__(advantage, value)

    @property
    def blocks(self) -> dict[str, Tensor]:
        """Weights and biases of every layer of both, by name."""
        both = {"advantage": self.advantage, "value": self.value}
        return {f"{name}'s {block}": tensor for name, mlp in both.items() for block, tensor in mlp.blocks.items()}

    def __call__(self, x: Tensor) -> Tensor:
        """``[S, M, in] -> [S, M, A]``, differentiable in x and in ``parameters`` where gradients are enabled."""
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(dim=2, keepdim=True)

    def vjp(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """As ``MLP.vjp``."""
        advantage, advantage_pullback = self.advantage.vjp(x)
        value, value_pullback = self.value.vjp(x)

        def pullback(grad_output: Tensor, out: Tensor | None = None) -> Tensor:
            out = torch.empty_like(self.flat) if out is None else out
            of_advantage, of_value = self.split(out)
            advantage_pullback(grad_output - grad_output.mean(dim=2, keepdim=True), of_advantage)
            value_pullback(grad_output.sum(dim=2, keepdim=True), of_value)
            return out

        return value + advantage - advantage.mean(dim=2, keepdim=True), pullback

    def copy(self) -> Dueling:
        """A separate stack with the same parameters, for example a target network."""
        return Dueling(self.advantage.copy(), self.value.copy())


class ActorCritic(NetworkPair):
    """A policy's and a value's networks side by side, S of each.

    One optimizer step moves both and one norm clips both, as in stable-baselines3's ActorCriticPolicy. They share
    no parameters, whereas those of stable-baselines3 share their convolutions.

    Args:
        policy: gives logits ``[S, M, A]``.
        value: gives ``[S, M, 1]``.
    """

    def __init__(self, policy: MLP, value: MLP) -> None:
        self.policy, self.value = policy, value
        super().__init__(policy, value)

    def place(self, flat: Tensor) -> None:
        """As of ``NetworkPair``."""
        super().place(flat)
        alike = flat.device.type != "cpu" and can_stack(self.policy, self.value)
        self._stacked = StackedActorCritic(self.policy, self.value) if alike else None

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[S, M, A]`` and values ``[S, M]``, differentiable as those of ``MLP``."""
        if self._stacked is not None and not torch.is_grad_enabled():
            return self._stacked(self.flat, x)
        return self.policy(x), self.value(x).squeeze(-1)

    def vjp(self, x: Tensor) -> tuple[Tensor, Tensor, Pullback]:
        """Logits ``[S, M, A]``, values ``[S, M]`` and the pullback of a loss's derivatives by both -> ``[S, P]``."""
        if self._stacked is not None:
            return self._stacked.vjp(self.flat, x)
        logits, policy_pullback = self.policy.vjp(x)
        values, value_pullback = self.value.vjp(x)

        def pullback(logits_grad: Tensor, values_grad: Tensor, out: Tensor | None = None) -> Tensor:
            out = torch.empty_like(self.flat) if out is None else out
            of_policy, of_value = self.split(out)
            policy_pullback(logits_grad, of_policy)
            value_pullback(values_grad[..., None], of_value)
            return out

        return logits, values[..., 0], pullback


def can_stack(policy: MLP, value: MLP) -> bool:
    """Whether a policy and its value function have equal hidden layers, and nothing but layers."""
    alike = (policy.sizes[:-1], policy.activation) == (value.sizes[:-1], value.activation)
    return alike and policy.layers_alone and value.layers_alone


class StackedActorCritic:
    """A policy and a value function of equal hidden layers as one stack of 2 S networks, for a device.

    It launches half the operations of the two. The value function has as many outputs as the policy; all but the first
    have weights 0 and are not read. Parameters are copied into the stack, and gradients out of it.

    Args:
        policy: gives logits ``[S, M, A]``.
        value: gives ``[S, M, 1]``.
    """

    def __init__(self, policy: MLP, value: MLP) -> None:
        rows, width = policy.flat.shape
        wide = width + ALIGNMENT  # the last columns are no parameters: their gradient is 0
        self.stack = policy.repeated(2)
        self.stack.place(policy.flat.new_zeros(2 * rows, wide))
        places = torch.full((value.flat.shape[1],), wide - 1)  # of the value function's columns, those of its padding
        for own, stacked in zip(_numbered(value, len(places)), _numbered(policy, wide), strict=True):
            n_in, n_out = own.shape[1:]
            places[own.flatten()] = stacked[:, :n_in, :n_out].flatten()
        # where the columns of the matrix of both are in a pair of rows of the stack
        self.columns = torch.cat([torch.arange(width), wide + places]).to(policy.flat.device)

    def __call__(self, flat: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[S, M, A]`` and values ``[S, M]`` by parameters ``flat [S, P]``, without gradients."""
        self._read(flat)
        return self._parts(self.stack(_twice(x)))

    def vjp(self, flat: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Pullback]:
        """As ``ActorCritic.vjp``, by parameters ``flat [S, P]``."""
        self._read(flat)
        both, stack_pullback = self.stack.vjp(_twice(x))

        def pullback(logits_grad: Tensor, values_grad: Tensor, out: Tensor | None = None) -> Tensor:
            grads = torch.stack([logits_grad, values_grad[..., None].expand_as(logits_grad)], dim=1)
            gradient = stack_pullback(grads.flatten(0, 1)).view(len(flat), -1)
            out = torch.empty_like(flat) if out is None else out
            return torch.index_select(gradient, 1, self.columns, out=out)

        return *self._parts(both), pullback

    def _read(self, flat: Tensor) -> None:
        self.stack.flat.view(len(flat), -1).index_copy_(1, self.columns, flat)

    def _parts(self, both: Tensor) -> tuple[Tensor, Tensor]:
        """Split the outputs ``[2 S, M, A]`` into logits and values."""
        pairs = both.view(-1, 2, *both.shape[1:])
        return pairs[:, 0], pairs[:, 1, :, 0]


def _numbered(network: MLP, width: int) -> list[Tensor]:
    """The columns at which weights and biases lie in a matrix of this width, ``[1, in, out]`` int64 each."""
    one = network.rows(slice(0, 1))
    one.place(torch.arange(width, dtype=torch.float64)[None])
    return [parameter.detach().long() for parameter in one.parameters]


def _twice(x: Tensor) -> Tensor:
    """Every row twice, ``[S, ...] -> [2 S, ...]``."""
    return torch.stack([x, x], dim=1).flatten(0, 1)

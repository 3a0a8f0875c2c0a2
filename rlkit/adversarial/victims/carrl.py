"""CARRL: a policy that acts on lower bounds of its action values over a ball of observations."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn.functional import linear, pad

from rlkit.arrays import Given, as_observations
from rlkit.types import Starts

from ..budget import DUAL, Budget, as_budget
from ..verification.bounds import TILE, TileLayers, bound_below, relax
from ..verification.layers import LayerStack, extract_layers
from .base import Victim, as_victim, name_of

LowerBound = Literal["interval", "linear"]


class CARRL:
    """The policy ``argmax_a`` of a lower bound of ``min Q(x', a)`` over the observations x' within a budget of x.

    It takes the action whose value is best in the worst case, if x is off by that much. With "interval" the bound is
    that of interval arithmetic, whose layers are again layers: lower and upper ends go side by side through twice the
    units. Such a policy is verified completely, as every network is (``reachable_actions``). "linear" bounds (CROWN)
    are tighter; the policy can be attacked, and verification refuses it. At epsilon 0 it is the policy itself.

    The bounds hold up to the rounding of the dtype in which the policy computes. Bounds ``low`` and ``high`` of the
    budget are ignored, which lowers them.

    Args:
        policy: gives action values; fully connected, see ``verification.extract_layers``.
        budget: bound of the errors against which the policy acts safely; a number is epsilon of the norm "inf" in raw
            units.
        bound: "interval" or "linear".

    Raises:
        ValueError: the policy gives logits, has integer observations or layers that are not covered, epsilon is no
            single number, or "linear" is asked for with another norm than "inf".

    Source: Everett, Lütjens & How 2021, "Certifiable robustness to adversarial state uncertainty in deep reinforcement
    learning", equation 5; interval bounds: Gowal et al. 2018.
    """

    scores_are_values = True

    def __init__(self, policy: Victim, budget: Budget | float, bound: LowerBound = "interval") -> None:
        self.policy: Any = as_victim(policy)
        self.budget = as_budget(budget)
        self.bound = bound
        space = getattr(self.policy, "observation_space", None)
        if bound not in get_args(LowerBound):
            raise ValueError(f"bound must be one of {', '.join(get_args(LowerBound))}, got {bound!r}")
        if not getattr(self.policy, "scores_are_values", False):
            raise ValueError(f"{name_of(self.policy)} gives logits, and CARRL bounds action values: use a DQN")
        if isinstance(space, spaces.Discrete) or torch.as_tensor(self.budget.epsilon).numel() != 1:
            raise ValueError(f"CARRL needs floating observations and one epsilon, got {space}, {self.budget.epsilon}")
        if bound == "linear" and self.budget.norm != "inf":
            raise ValueError(f"linear bounds are of boxes, norm 'inf', got {self.budget.norm!r}: use bound='interval'")
        self._stack = _merged(extract_layers(self.policy))
        self._radius = self._in_features(self._stack)
        layers = _doubled(self._stack, self._radius, self.budget.norm)
        self._weights, self._biases = ([each.to(layers.dtype) for each in part] for part in layers[:2])
        self._layers = layers._replace(
            weights=tuple(each.double() for each in self._weights), biases=tuple(each.double() for each in self._biases)
        )

    @property
    def layer_stack(self) -> LayerStack:
        """The layers that give the lower bounds, as verification needs them.

        Raises:
            ValueError: the bounds are linear ones, which are no layers.
        """
        if self.bound == "linear":
            raise ValueError("CARRL with linear bounds cannot be verified: use bound='interval'")
        return self._layers

    @property
    def num_seeds(self) -> int:
        """S."""
        return len(self._weights[0])

    @property
    def starts(self) -> Starts:
        """First numbers of the policy's Discrete actions."""
        return getattr(self.policy, "starts", Starts())

    @property
    def device(self) -> torch.device:
        """The device of observations."""
        return self._weights[0].device

    def __getattr__(self, name: str) -> Any:
        if name in ("seeds", "action_space", "observation_space"):
            return getattr(self.policy, name)
        raise AttributeError(f"CARRL has no attribute {name!r}")

    def __getitem__(self, row: int) -> CARRL:
        """Return the same of one row of the policy, which must support ``policy[row]``."""
        return CARRL(self.policy[row], self.budget, self.bound)

    def scores(self, obs: Given) -> Tensor:
        """Return a lower bound of ``Q(x', a)`` over the budget around observations, ``[S, B, A]``, differentiable."""
        obs = as_observations(obs, self.policy)
        stack = self._stack
        mean, gain, clip = (each.mT.to(obs.dtype) for each in (stack.mean, stack.gain, stack.clip))
        x = ((obs.flatten(2) - mean) * gain).clamp(-clip, clip)  # [S, B, D]
        return self._by_lines(x) if self.bound == "linear" else self._by_layers(x)

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """Return the actions of the highest lower bound, ``[S, B]``; ``deterministic`` makes no difference."""
        with torch.no_grad():
            return self.scores(obs).argmax(dim=-1)

    def _by_layers(self, x: Tensor) -> Tensor:
        """Evaluate the layers of twice the units, row by row: ``[S, B, D] -> [S, B, A]``."""
        rows = []
        for row, h in enumerate(x.to(self._layers.dtype)):
            for i, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
                h = linear(h, weight[row], bias[row, :, 0])
                if i < len(self._layers.activations):
                    h = torch.relu(h) if self._layers.activations[i] == "relu" else torch.tanh(h)
            rows.append(h)
        return torch.stack(rows)

    def _by_lines(self, x: Tensor) -> Tensor:
        """Bound all scores on the box around each point by lines: ``[S, B, D] -> [S, B, A]``."""
        count, actions = x.shape[1], self._stack.num_actions
        layers = TileLayers.of(self._stack)
        rows = torch.eye(actions, dtype=torch.float64, device=x.device)[None, :, :, None].expand(len(x), -1, -1, TILE)
        found = []
        for tile in torch.split(pad(x.double(), (0, 0, 0, -count % TILE)), TILE, dim=1):
            center, radius = tile.mT, self._radius.expand(-1, -1, TILE)
            line = bound_below(layers, relax(layers, center, radius), rows)
            crown = line.constant + (line.slopes * center[:, :, None]).sum(dim=1)
            crown = crown - (line.slopes.abs() * radius[:, :, None]).sum(dim=1)
            found.append(torch.maximum(crown, line.interval).mT)  # [S, TILE, A]
        return torch.cat(found, dim=1)[:, :count].to(self._layers.dtype)

    def _in_features(self, stack: LayerStack) -> Tensor:
        """Give the size of the budget in normalized features, ``[S, D, 1]``."""
        shape = self._observation_shape(stack)
        extent = self.budget.extent(torch.zeros(1, 1, *shape, dtype=torch.float64, device=stack.gain.device)).flatten()
        return stack.gain * extent[:, None] * torch.as_tensor(self.budget.epsilon, dtype=torch.float64).reshape(())

    def _observation_shape(self, stack: LayerStack) -> tuple[int, ...]:
        """The shape of an observation; flat where the policy has no space."""
        shape = getattr(getattr(self.policy, "observation_space", None), "shape", None)
        return (stack.num_features,) if shape is None else tuple(shape)


def _merged(stack: LayerStack) -> LayerStack:
    """Make one layer of layers without an activation between them."""
    weights, biases = list(stack.weights), list(stack.biases)
    activations = list(stack.activations)
    while "none" in activations:
        i = activations.index("none")
        biases[i : i + 2] = [weights[i + 1] @ biases[i] + biases[i + 1]]
        weights[i : i + 2] = [weights[i + 1] @ weights[i]]
        del activations[i]
    terms = tuple(weight.shape[2] + 2 for weight in weights)
    return stack._replace(
        weights=tuple(weights), biases=tuple(biases), activations=tuple(activations), terms=terms, log_softmax=False
    )


def _doubled(stack: LayerStack, radius: Tensor, norm: str) -> LayerStack:
    """The layers of interval arithmetic: lower ends above upper ends, and lower ends of the scores alone.

    ``low' = W+ low + W- high + b`` and ``high' = W+ high + W- low + b``. In the first layer they are ``W x + b`` less
    and plus the dual norm of ``W radius``.
    """
    first = torch.linalg.vector_norm(stack.weights[0] * radius.mT, ord=DUAL[norm], dim=2, keepdim=True)  # [S, out, 1]
    weights = [torch.cat([stack.weights[0], stack.weights[0]], dim=1)]
    biases = [torch.cat([stack.biases[0] - first, stack.biases[0] + first], dim=1)]
    for weight, bias in zip(stack.weights[1:], stack.biases[1:], strict=True):
        up, down = weight.clamp_min(0.0), weight.clamp_max(0.0)
        weights.append(torch.cat([torch.cat([up, down], dim=2), torch.cat([down, up], dim=2)], dim=1))
        biases.append(torch.cat([bias, bias], dim=1))
    actions = stack.num_actions
    weights[-1], biases[-1] = weights[-1][:, :actions].contiguous(), biases[-1][:, :actions].contiguous()
    terms = tuple(weight.shape[2] + 2 for weight in weights)
    return stack._replace(weights=tuple(weights), biases=tuple(biases), terms=terms)

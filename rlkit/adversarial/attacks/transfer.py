"""Transferred attacks: computed on a source policy, which may be distilled from the victim's answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from rlkit.arrays import Given, as_observations, refuse_nonfinite
from rlkit.nn import MLP, Adam
from rlkit.streams import Stream
from rlkit.types import Policy

from ..budget import Budget, as_budget
from ..checks import as_attack
from ..victims.base import Access, Victim, isolated, name_of, scores_of
from .base import Attack

Answers = Literal["labels", "scores"]
NETWORK = 2  # index of the network of a seed that a substitute is; agents use 0 and 1
MINIBATCH = 256
LEAST_OBSERVATIONS = 10  # so that one can be held out
WIDER = 2.0  # neighbors are drawn from this multiple of the budget


@dataclass(frozen=True, eq=False)
class Transfer:
    """An attack that is computed on a source policy and shown to the victim, without a query of the victim.

    Args:
        attack: the attack on the source.
        source: the policy that the attack queries, with as many rows as the victim; its row s attacks the victim's
            row s.
    """

    attack: Attack
    source: Victim
    access: ClassVar[Access] = "nothing"

    def __post_init__(self) -> None:
        as_attack(self.attack)

    @property
    def name(self) -> str:
        """For example ``transferred FGSM``."""
        return f"transferred {self.attack.name}"

    def noise_width(self, num_features: int) -> int:
        """Return that of the attack."""
        return self.attack.noise_width(num_features)

    def propose(
        self, victim: Policy, obs: Tensor, budget: Budget, u: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the proposal of the attack for the source; arguments as in ``Attack.propose``."""
        return self.attack.propose(isolated(self.source), obs, budget, u, target)


class Substitute:
    """Networks that imitate a victim, one per row, made by ``distill``; a victim with scores and gradients.

    Args:
        network: network of normalized observations, S rows.
        mean: mean of the observations that it was fitted to, ``[S, 1, D]``.
        deviation: their standard deviation, ``[S, 1, D]``.
        queries: number of observations per row at which the victim was queried.
    """

    scores_are_values = False

    def __init__(self, network: MLP, mean: Tensor, deviation: Tensor, queries: int) -> None:
        self.network = network
        self.mean, self.deviation = mean, deviation
        self.queries = queries

    @property
    def num_seeds(self) -> int:
        """Number of rows S."""
        return len(self.mean)

    def scores(self, obs: Given) -> Tensor:
        """Return logits ``[S, B, A]`` of observations ``[S, B, *observation]``, differentiable."""
        obs = as_observations(obs, self)
        return self.network((obs.flatten(2) - self.mean) / self.deviation)

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """Return the greedy actions ``[S, B]``; ``deterministic`` makes no difference."""
        with torch.no_grad():
            return self.scores(obs).argmax(dim=-1)


@torch.no_grad()
def distill(
    victim: Policy,
    obs: Given,
    budget: Budget | float,
    answers: Answers = "labels",
    neighbors: int = 4,
    net_arch: Sequence[int] = (64, 64),
    steps: int = 2_000,
    learning_rate: float = 3e-3,
    seeds: Sequence[int] | None = None,
) -> tuple[Substitute, Tensor]:
    """Fit a substitute to the victim's answers at natural observations and near them.

    The victim is queried at every observation and at ``neighbors`` random points in twice the budget around it, because
    the attack will move there. With "labels" the networks learn the victim's actions by cross-entropy. With "scores"
    they learn its scores by least squares, after removing level and unit, so that action values and logits are treated
    alike.

    Args:
        victim: queried at N (1 + neighbors) observations per row.
        obs: natural observations ``[S, N, *observation]``.
        budget: budget of the later attack.
        answers: whether the victim answers with "labels", its actions, or with "scores".
        neighbors: random points around every observation.
        net_arch: hidden widths.
        steps: steps of Adam, on minibatches of up to 256.
        learning_rate: learning rate of Adam.
        seeds: one integer per row; None for 0, 1, ...

    Returns:
        The substitute, and its agreement ``[S]``: the share of held-out queries at which it acts as the victim. A tenth
        of the observations, with their neighbors, is held out.

    Raises:
        ValueError: answers is unknown, the victim has no scores to answer with, there are fewer than 10 observations,
            or a number is below its minimum.

    Source: Papernot et al. 2017, "Practical black-box attacks against machine learning", with random neighbors in
    place of Jacobian-based ones.
    """
    victim, budget = isolated(victim), as_budget(budget)
    obs = as_observations(obs, victim)
    refuse_nonfinite(obs, "obs")
    if answers not in get_args(Answers):
        raise ValueError(f"answers must be one of {', '.join(get_args(Answers))}, got {answers!r}")
    if answers == "scores" and not hasattr(victim, "scores"):
        raise ValueError(f"{name_of(victim)} has no scores: use answers='labels'")
    if neighbors < 0 or steps < 1 or not learning_rate > 0:
        raise ValueError(
            "neighbors must not be negative, steps at least 1 and learning_rate positive, got "
            f"{neighbors}, {steps} and {learning_rate}"
        )
    num_obs = obs.shape[1]
    if num_obs < LEAST_OBSERVATIONS:
        raise ValueError(f"a substitute needs at least {LEAST_OBSERVATIONS} observations, got {num_obs}")
    rows = tuple(range(len(obs)) if seeds is None else seeds)
    stream = Stream(rows, "substitute", math.prod(obs.shape[2:]) + 1, device=obs.device)
    asked = _with_neighbors(obs, budget, neighbors, stream)  # [S, M, *observation]
    action = victim.act(asked, True)  # [S, M]
    wanted = _wanted(victim, asked, action, answers)  # [S, M, A]
    features = asked.flatten(2).to(torch.float32)
    mean, deviation = features.mean(dim=1, keepdim=True), features.std(dim=1, keepdim=True)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    network = MLP((features.shape[-1], *net_arch, wanted.shape[-1]), rows, device=obs.device, network_index=NETWORK)
    held_out = num_obs // 10 * (1 + neighbors)
    order = held_out + stream.take(asked.shape[1] - held_out)[..., 0].argsort(dim=0).T  # [S, M - held out]
    _fit(network, (features - mean) / deviation, wanted, order, answers, steps, learning_rate)
    substitute = Substitute(network, mean, deviation, asked.shape[1])
    same = substitute.act(asked[:, :held_out]) == action[:, :held_out]
    return substitute, same.double().mean(dim=1)


def _with_neighbors(obs: Tensor, budget: Budget, neighbors: int, stream: Stream) -> Tensor:
    """Add random observations near each one, ``[S, N, ...] -> [S, N (1 + neighbors), ...]``."""
    truth = obs.repeat_interleave(neighbors, dim=1)
    numbers = stream.take(truth.shape[1]).movedim(0, 1)  # [S, N neighbors, D + 1]
    near = budget.cut(truth + WIDER * budget.sample(truth, numbers))
    near = near.reshape(*obs.shape[:2], neighbors, *obs.shape[2:])
    return torch.cat([obs[:, :, None], near], dim=2).flatten(1, 2)


def _wanted(victim: Policy, asked: Tensor, action: Tensor, answers: Answers) -> Tensor:
    """Return the targets of the fit, ``[S, M, A]``: one-hot actions, or scores of mean 0 and deviation 1 per row."""
    if answers == "labels":
        space = getattr(victim, "action_space", None)
        num_actions = int(action.amax(dim=(0, 1))) + 1 if space is None else int(space.n)
        return torch.nn.functional.one_hot(action, num_actions).to(torch.float32)
    scores = scores_of(victim, asked).to(torch.float32)  # type: ignore[arg-type]  # it has scores
    centered = scores - scores.mean(dim=-1, keepdim=True)
    deviation = centered.std(dim=(1, 2), keepdim=True)
    return centered / torch.where(deviation > 0, deviation, 1.0)


def _fit(
    network: MLP, x: Tensor, wanted: Tensor, order: Tensor, answers: Answers, steps: int, learning_rate: float
) -> None:
    """Fit by Adam, on minibatches taken cyclically from ``order [S, n]``."""
    optimizer = Adam(network.flat)
    rates = torch.full((len(x),), learning_rate, dtype=torch.float32, device=x.device)
    active = torch.ones(len(x), dtype=torch.bool, device=x.device)
    row = torch.arange(len(x), device=x.device)[:, None]
    size = min(MINIBATCH, order.shape[1])
    for i in range(steps):
        picked = order.roll(-i * size, dims=1)[:, :size]
        output, pullback = network.vjp(x[row, picked])  # [S, size, A]
        predicted = output.softmax(dim=-1) if answers == "labels" else output
        # the derivative of cross-entropy by logits, and that of half the squared error, are this same difference
        optimizer.step(pullback((predicted - wanted[row, picked]) / size), rates, active)

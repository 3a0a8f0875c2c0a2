"""The variance of REINFORCE's gradient with each baseline, at equal policies and on equal batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.agents import REINFORCE

from ...workflows.train import Training
from ..common.sweeps import RunRow

STAGES = (0, 30_000, 90_000)  # environment steps after which the policies of baseline "value" are taken
SEEDS = 10  # the first of the training
BATCHES = 32  # of n_steps of every copy


@dataclass(frozen=True)
class VarianceRow(RunRow):
    """The gradient estimate of one seed's policy with one baseline; ``cell`` is the baseline."""

    stage: int  # environment steps of training
    variance: float  # of the gradient of a batch, summed over parameters
    squared_norm: float  # of the mean gradient


def variance_rows(training: Training, baselines: Sequence[str]) -> list[VarianceRow]:
    """Measure every baseline at each of ``STAGES`` of a training with baseline "value"."""
    found = []
    for stage, trained in stages(training):
        estimates = gradients(training, trained, baselines)
        for baseline, gradient in estimates.items():  # [K, S, P]
            variance = gradient.var(axis=0, ddof=1).sum(axis=1)
            norms = np.square(gradient.mean(axis=0)).sum(axis=1)
            found += [
                VarianceRow(baseline, seed, stage, float(variance[row]), float(norms[row]))
                for row, seed in enumerate(training.seeds)
            ]
    return found


def stages(training: Training) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Yield the parameters of the networks ``[S, P]`` at every stage of a training, and stop after the last."""
    agent = training.make_agent()
    yield 0, {name: network.flat.clone() for name, network in agent.networks.items()}
    later = list(STAGES[1:])
    for done in agent.training(training.steps, every=1):
        if done >= later[0]:
            yield later.pop(0), {name: network.flat.clone() for name, network in agent.networks.items()}
        if not later:
            return


def gradients(
    training: Training, parameters: dict[str, Tensor], baselines: Sequence[str], batches: int = BATCHES
) -> dict[str, NDArray[np.float32]]:
    """Estimate the gradient of given policies on ``batches`` successive batches with every baseline, ``[K, S, P]``.

    All baselines see the same batches; the networks do not change.
    """
    agents = {name: _with(training, name, parameters) for name in baselines}
    player = agents[baselines[0]]
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in baselines}
    for _ in range(batches):
        batch = player.play(player.config.n_steps)
        for name, agent in agents.items():
            gradient = agent.gradients(batch, agent.returns(batch)).by_copy.mean(dim=1)
            found[name].append(gradient.numpy())
    return {name: np.stack(each) for name, each in found.items()}


def _with(training: Training, baseline: str, parameters: dict[str, Tensor]) -> REINFORCE:
    """An agent with a baseline and given networks."""
    hyperparameters = {**training.hyperparameters, "baseline": baseline, "unfinished": "end"}
    agent = replace(training, hyperparameters=hyperparameters, engine="torch").make_agent()
    assert isinstance(agent, REINFORCE)
    with torch.no_grad():
        for name, network in agent.networks.items():
            network.flat.copy_(parameters[name])
    return agent

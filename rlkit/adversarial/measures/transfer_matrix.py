"""Attacks made on one policy and executed on another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.arrays import Given
from rlkit.types import Policy

from ..attacks.base import Attack, execute, perturb, posed, warn_if_nonfinite
from ..attacks.noise import Noise
from ..budget import Budget
from ..victims.base import Victim, isolated


class TransferMatrix(NamedTuple):
    """What attacks on I sources do to J targets, by row of S. Shares are of states, means over rows are the matrix."""

    sources: tuple[str, ...]  # I names
    targets: tuple[str, ...]  # J names
    flips: NDArray[np.float64]  # [I, J, S] share of states at which the target's action changes
    noise: NDArray[np.float64]  # [J, S] the same under sign noise of the same norm and size, the attack being nobody's
    agreement: NDArray[np.float64]  # [I, J, S] of the states at which both change, where to the same; NaN without any
    alike: NDArray[np.float64]  # [I, J, S] share of states at which both act alike at the truth
    queries: tuple[int, ...]  # I, of each source about every state; the targets are asked nothing

    @property
    def excess(self) -> NDArray[np.float64]:
        """Flips beyond those of noise, ``[I, J, S]``."""
        return self.flips - self.noise


@torch.no_grad()
def transfer_matrix(
    attack: Attack,
    sources: Mapping[str, Victim],
    targets: Mapping[str, Policy],
    obs: Given,
    budget: Budget | float,
    u: Given,
    roll: int = 0,
) -> TransferMatrix:
    """Make an attack on every source and execute it on every target.

    Policies that acted alike at the truth and have two actions agree on the wrong one; with A actions, errors that have
    nothing to do with each other agree in 1 / (A - 1).

    Args:
        attack: made on the sources.
        sources: victims of S rows, by name.
        targets: policies of S rows, by name; the same as sources for a square matrix.
        obs: true observations ``[S, B, *observation]``, the same for all.
        budget: what may be spent.
        u: uniforms ``[S, B, w]``, w at least what the attack and sign noise need; they share them.
        roll: what was made on row s is executed on row s + roll (modulo S): 0 for the row itself, 1 for another seed.

    Raises:
        ValueError: no source or target, and what ``perturb`` refuses.
    """
    if not sources or not targets:
        raise ValueError(f"sources and targets must hold at least one policy, got {len(sources)} and {len(targets)}")
    sources = {name: isolated(source) for name, source in sources.items()}
    targets = {name: isolated(target) for name, target in targets.items()}
    _, obs, budget, numbers, _ = posed(next(iter(sources.values())), obs, budget, u)
    assert numbers is not None
    features = math.prod(obs.shape[2:])
    truth = obs.roll(roll, dims=0)
    for target in targets.values():
        warn_if_nonfinite(target, truth)
    own = {name: target.act(truth, True) for name, target in targets.items()}
    sign_noise = Noise("sign")
    noisy = perturb(
        sign_noise, next(iter(sources.values())), truth, budget, numbers[..., : sign_noise.noise_width(features)]
    )
    noise = [_share(target.act(noisy, True) != own[name]) for name, target in targets.items()]
    flips, agreement, alike, queries = [], [], [], []
    width = attack.noise_width(features)
    for source in sources.values():
        result = execute(attack, source, obs, budget, numbers[..., :width] if width else None)
        queries.append(result.queries)
        shown, led_to = result.obs.roll(roll, dims=0), source.act(result.obs, True).roll(roll, dims=0)
        fooled = result.success.roll(roll, dims=0)
        before = source.act(obs, True).roll(roll, dims=0)
        actions = [target.act(shown, True) for target in targets.values()]
        changed = [action != own[name] for name, action in zip(targets, actions, strict=True)]
        flips.append([_share(each) for each in changed])
        alike.append([_share(before == own[name]) for name in targets])
        agreement.append(
            [_share_of(each & fooled, action == led_to) for each, action in zip(changed, actions, strict=True)]
        )
    return TransferMatrix(
        tuple(sources),
        tuple(targets),
        np.array(flips),
        np.array(noise),
        np.array(agreement),
        np.array(alike),
        tuple(queries),
    )


def _share(where: Tensor) -> NDArray[np.float64]:
    """Of ``[S, B]`` along the copies, ``[S]``."""
    share: NDArray[np.float64] = where.to(torch.float64).mean(dim=1).cpu().numpy()
    return share


def _share_of(among: Tensor, where: Tensor) -> NDArray[np.float64]:
    """Of those ``among [S, B]``, how many are ``where [S, B]``; NaN without any, ``[S]``."""
    number = among.sum(dim=1).to(torch.float64)
    share: NDArray[np.float64] = ((among & where).sum(dim=1) / number).cpu().numpy()
    return share

"""Transfer matrices: attacks computed on one policy and executed on another."""

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
from ..checks import as_attack
from ..victims.base import Victim, isolated


class TransferMatrix(NamedTuple):
    """Effect of attacks on I sources on J targets, per row of S.

    Numbers are shares of states; their mean over rows is the matrix.
    """

    sources: tuple[str, ...]  # I names
    targets: tuple[str, ...]  # J names
    flips: NDArray[np.float64]  # [I, J, S] share of states at which the target's action changes
    noise: NDArray[np.float64]  # [J, S] the same under sign noise of the same norm and budget
    agreement: NDArray[np.float64]  # [I, J, S] share with equal new actions among states where both change; NaN if none
    alike: NDArray[np.float64]  # [I, J, S] share of states at which both act equally at the truth
    queries: tuple[int, ...]  # I, queries of each source per state; the targets are not queried

    @property
    def excess(self) -> NDArray[np.float64]:
        """Flips minus those of noise, ``[I, J, S]``."""
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
    """Compute an attack on every source and execute it on every target.

    Two policies with two actions that act equally at the true observation always agree in their errors. With A actions,
    independent errors agree at a share 1 / (A - 1) of the states.

    Args:
        attack: the attack, computed on the sources.
        sources: victims of S rows, by name.
        targets: policies of S rows, by name; the same as ``sources`` for a square matrix.
        obs: true observations ``[S, B, *observation]``, the same for all.
        budget: bounds the difference between shown and true observations.
        u: uniforms ``[S, B, w]``, which the attack and sign noise share; w is at least what each of them needs.
        roll: the attack on row s is executed on row s + roll (modulo S): 0 for the same seed, 1 for another one.

    Raises:
        ValueError: there is no source or no target, or ``perturb`` refuses an argument.
    """
    if not sources or not targets:
        raise ValueError(f"sources and targets must hold at least one policy, got {len(sources)} and {len(targets)}")
    as_attack(attack)
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
    """Return the share of true values along the copies, ``[S, B] -> [S]``."""
    share: NDArray[np.float64] = where.to(torch.float64).mean(dim=1).cpu().numpy()
    return share


def _share_of(among: Tensor, where: Tensor) -> NDArray[np.float64]:
    """Return the share of ``where [S, B]`` among ``among [S, B]``, ``[S]``; NaN where there is none."""
    number = among.sum(dim=1).to(torch.float64)
    share: NDArray[np.float64] = ((among & where).sum(dim=1) / number).cpu().numpy()
    return share

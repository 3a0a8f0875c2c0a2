"""Rollouts to returns.

``rollout`` plays one episode in every copy of a batched environment, ``evaluate_policy`` has stable-baselines3's
signature and takes any environment. Both count the first episodes *started*, not the first finished (short episodes
finish first, so those would be a biased sample), both stop at a step cap, and both say so when they hit it.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.types import Env, Policy, Transition

EVALUATION_SEED = 10_000  # where paired evaluation seeds start by default, away from the small ones used in training
STEP_CAP = 10_000  # of an episode whose environment has no time limit
CUDA_CHECK_STEPS = 32  # reading "is any copy still running?" stalls a GPU, so it is asked only this often there

Perturb = Callable[[Tensor], Tensor]  # true observation [S, B, *observation] -> what the policy is shown


class Episodes(NamedTuple):
    """One episode per copy."""

    returns: Tensor  # [S, B] float64, undiscounted sum of rewards
    lengths: Tensor  # [S, B] int64, steps
    capped: Tensor  # [S, B] bool, still running at the step cap: the return is what it had by then
    flips: Tensor  # [S, B] int64, steps at which the perturbation changed the greedy action; 0 without one
    attacks: Tensor  # [S, B] int64, steps at which the policy was shown something else than the truth


class Step(NamedTuple):
    """One step of a rollout."""

    obs: Tensor  # [S, B, *observation], the true one
    seen: Tensor  # [S, B, *observation], what the policy was shown
    transition: Transition
    running: Tensor  # [S, B] bool, whether the copy was still in its first episode
    attacked: Tensor  # [S, B] bool, whether something else than the truth was shown
    mask: Tensor | None  # [S, B, A] bool, the actions that the policy was told are allowed; None: it was told nothing


@torch.no_grad()
def rollout(
    policy: Policy,
    env: Env,
    max_steps: int | None = None,
    deterministic: bool = True,
    perturb: Perturb | None = None,
) -> Episodes:
    """Play every copy of ``env`` from where it stands to the end of that episode.

    A newly made environment stands at its first observations, so two of them made alike give paired episodes.

    Args:
        policy: acts on ``[S, B, *observation]``.
        env: finished copies may restart or stay; what they do after their first episode is not counted.
        max_steps: step cap; None means the environment's time limit, or 10,000 without one.
        deterministic: passed to ``policy.act``.
        perturb: an attack: the policy is shown ``perturb(obs)`` instead of ``obs``. Flips compare the greedy
            actions at both, by asking the policy itself. A policy or attack that remembers its episode has a method
            ``restart``, see ``walk``.

    Warns:
        RuntimeWarning: episodes were still running at the cap.

    Raises:
        ValueError: max_steps below 1, or a policy with another number of seeds than the environment's.
    """
    episodes = _rollout(policy, env, max_steps, deterministic, perturb)
    _warn_capped(episodes.capped.cpu().numpy(), _step_cap(max_steps, env.max_episode_steps))
    return episodes


def _rollout(policy: Policy, env: Env, max_steps: int | None, deterministic: bool, perturb: Perturb | None) -> Episodes:
    """``rollout`` without its warning."""
    running = torch.ones(env.obs.shape[:2], dtype=torch.bool, device=env.obs.device)
    returns = torch.zeros(running.shape, dtype=torch.float64, device=running.device)
    lengths = torch.zeros(running.shape, dtype=torch.int64, device=running.device)
    flips, attacks = torch.zeros_like(lengths), torch.zeros_like(lengths)
    for step in walk(policy, env, max_steps, deterministic, perturb):
        # where, not a product: what a finished copy pays may be NaN
        returns += torch.where(step.running, step.transition.reward.to(torch.float64), 0.0)
        lengths += step.running
        if perturb is not None:
            shown = step.transition.action if deterministic else _act(policy, step.seen, True, step.mask)
            flips += step.running & (_act(policy, step.obs, True, step.mask) != shown)
            attacks += step.running & step.attacked
        running = step.running & ~step.transition.done
    return Episodes(returns, lengths, running, flips, attacks)


def walk(
    policy: Policy, env: Env, max_steps: int | None, deterministic: bool = True, perturb: Perturb | None = None
) -> Iterator[Step]:
    """The steps of a rollout, until every copy has finished an episode or the cap is reached.

    If policy or perturb (or the object that it is a method of) has a method ``restart``, it is called without argument
    before the first step and with the copies that ended, ``[S, B]`` bool, after every step.

    Raises:
        ValueError: max_steps below 1, or a policy with another number of seeds than the environment's.
    """
    num_seeds = getattr(policy, "num_seeds", None)
    if num_seeds not in (None, len(env.seeds)):
        raise ValueError(
            f"the policy has {num_seeds} seeds and the environment {len(env.seeds)} rows: make it with one seed a row"
        )
    attacker: Any = getattr(perturb, "__self__", perturb)
    heeds_mask = _takes(policy.act, "action_mask")  # stable-baselines3's models do not
    restarts = [each.restart for each in (policy, attacker) if hasattr(each, "restart")]
    for restart in restarts:
        restart()
    running = torch.ones(env.obs.shape[:2], dtype=torch.bool, device=env.obs.device)
    check_steps = CUDA_CHECK_STEPS if running.is_cuda else 1
    for t in range(1, _step_cap(max_steps, env.max_episode_steps) + 1):
        obs = env.obs
        seen = obs if perturb is None else perturb(obs)
        attacked = getattr(attacker, "attacked", None)  # one that knows may show the truth in another encoding
        if attacked is None:
            attacked = (seen != obs).flatten(2).any(dim=-1) if obs.dim() > 2 else seen != obs
        mask = getattr(env, "action_mask", None) if heeds_mask else None
        transition = env.step(_act(policy, seen, deterministic, mask))
        yield Step(obs, seen, transition, running, attacked, mask)
        running = running & ~transition.done
        for restart in restarts:
            restart(transition.done)
        if t % check_steps == 0 and not running.any():
            return


@torch.no_grad()
def observation_std(policy: Policy, env: Env, max_steps: int | None = None) -> Tensor:
    """Standard deviation of every observation feature over natural rollouts, ``[*observation]`` float64.

    One episode per copy, greedy, every step of every copy and seed with equal weight. It is the scale in which an
    attack budget means the same on a position as on an angular velocity; a feature that never varies has 0, which a
    budget takes as "cannot be perturbed".

    Raises:
        ValueError: integer observations of a Discrete space, which have no spread.
    """
    if isinstance(env.observation_space, gymnasium.spaces.Discrete):
        raise ValueError(
            f"observations are indices of {env.observation_space}, whose spread means nothing: "
            "make the environment with an encoding, such as observation='onehot' or 'coordinates'"
        )
    pivot = env.obs[0, 0].to(torch.float64)  # variances are of differences from it: no cancellation far from 0
    count = torch.zeros((), dtype=torch.float64, device=pivot.device)
    total, squares = torch.zeros_like(pivot), torch.zeros_like(pivot)
    for step in walk(policy, env, max_steps):
        running = step.running.reshape(*step.running.shape, *(1,) * pivot.dim())
        difference = torch.where(running, step.obs.to(torch.float64) - pivot, 0.0)
        count += step.running.sum(dim=(0, 1))
        total += difference.sum(dim=(0, 1))
        squares += (difference**2).sum(dim=(0, 1))
    return (squares / count - (total / count) ** 2).clamp(min=0.0).sqrt()


def _act(policy: Policy, obs: Tensor, deterministic: bool, mask: Tensor | None) -> Tensor:
    """The policy's actions ``[S, B]``, of those that a mask ``[S, B, A]`` allows."""
    act: Any = policy.act
    actions: Tensor = act(obs, deterministic) if mask is None else act(obs, deterministic, mask)
    return actions


def _takes(function: Any, name: str) -> bool:
    """Whether a function has a parameter of this name."""
    return name in inspect.signature(function).parameters


def _step_cap(max_steps: int | None, limit: int | None) -> int:
    """Steps an episode may take: what was asked for, else the environment's limit, else 10,000."""
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    return max_steps or limit or STEP_CAP


def _warn_capped(capped: NDArray[np.bool_], cap: int) -> None:
    if capped.any():
        warnings.warn(
            f"{capped.sum()} of {capped.size} episodes were still running after {cap} steps and count with the return "
            "they had by then: pass a larger max_steps, or give the environment a time limit",
            RuntimeWarning,
            stacklevel=3,
        )

"""Rollouts to returns.

``rollout`` plays one episode in every copy of a batched environment; ``evaluate_policy`` has stable-baselines3's
signature and takes any environment. Both count the first episodes *started*, not the first finished (short episodes
finish first, so those would be a biased sample). Both stop at a step cap and warn when they reach it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium
import torch
from torch import Tensor

from rlkit.types import Env, EpisodicPolicy, Policy, Transition, heeds_masks

from .limits import step_cap, warn_capped
from .perturbation import Perturb, Perturbation, as_perturbation

DEVICE_CHECK_STEPS = 32  # steps between two questions "is any copy still running?" off the CPU, which stall the device


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


def rollout(
    policy: Policy,
    env: Env,
    max_steps: int | None = None,
    deterministic: bool = True,
    perturb: Perturbation | Perturb | None = None,
    *,
    warn: bool = True,
) -> Episodes:
    """Play every copy of ``env`` from its present state to the end of that episode.

    A newly made environment is at its first observations, so two environments made alike give paired episodes.

    Args:
        policy: acts on ``[S, B, *observation]``.
        env: finished copies may restart or stay; what they do after their first episode is not counted.
        max_steps: step cap; None means the environment's time limit, or 10,000 without one.
        deterministic: passed to ``policy.act``.
        perturb: an attack, for example an ``AttackedPolicy``, or a function of the observation: the policy is shown
            what it returns. Flips compare the policy's greedy actions at the true and at the shown observation.
        warn: warn about capped episodes.

    Warns:
        RuntimeWarning: episodes were still running at the cap.

    Raises:
        ValueError: max_steps is below 1 or not a whole number, the policy has another number of seeds than the
            environment, the environment is of another library, or ``as_perturbation`` refuses ``perturb``.
    """
    as_batched_env(env)
    attack = None if perturb is None else as_perturbation(perturb)
    with torch.no_grad():
        episodes = _played(policy, env, max_steps, deterministic, attack)
    if warn:
        warn_capped(episodes.capped.cpu().numpy(), step_cap(max_steps, env.max_episode_steps))
    return episodes


def as_batched_env(env: Any, name: str = "env") -> Env:
    """Return an ``Env`` of rlkit as it is.

    Args:
        env: the object given.
        name: name of the argument, for the message.

    Raises:
        ValueError: something else, such as an id, a function, or an environment of gymnasium.
    """
    if all(hasattr(env, part) for part in ("obs", "seeds", "num_envs", "step")):
        return env  # type: ignore[no-any-return]
    raise ValueError(
        f"{name} must be a batched Env of rlkit, got {env!r:.80}: pass agent.evaluation_env(episodes), or "
        "rlkit.envs.make(id, seeds=.., num_envs=.., restart=False); evaluate_policy takes those of other libraries"
    )


def _played(
    policy: Policy, env: Env, max_steps: int | None, deterministic: bool, attack: Perturbation | None
) -> Episodes:
    """Sum up the steps of a rollout."""
    running = torch.ones(env.obs.shape[:2], dtype=torch.bool, device=env.obs.device)
    returns = torch.zeros(running.shape, dtype=torch.float64, device=running.device)
    lengths = torch.zeros(running.shape, dtype=torch.int64, device=running.device)
    flips, attacks = torch.zeros_like(lengths), torch.zeros_like(lengths)
    for step in walk(policy, env, max_steps, deterministic, attack):
        # where, not a product: what a finished copy pays may be NaN
        returns += torch.where(step.running, step.transition.reward.to(torch.float64), 0.0)
        lengths += step.running
        if attack is not None:
            shown = step.transition.action if deterministic else choose(policy, step.seen, True, step.mask)
            flips += step.running & (choose(policy, step.obs, True, step.mask) != shown)
            attacks += step.running & step.attacked
        running = step.running & ~step.transition.done
    return Episodes(returns, lengths, running, flips, attacks)


def walk(
    policy: Policy,
    env: Env,
    max_steps: int | None,
    deterministic: bool = True,
    perturb: Perturbation | Perturb | None = None,
) -> Iterator[Step]:
    """Yield the steps of a rollout until every copy has finished an episode or the cap is reached.

    The ``restart`` of the perturbation and of an ``EpisodicPolicy`` is called without argument before the first step,
    and with the copies that ended, ``[S, B]`` bool, after every step. Arguments as in ``rollout``.

    Raises:
        ValueError: see ``rollout``.
    """
    as_batched_env(env)
    num_seeds = getattr(policy, "num_seeds", None)
    if num_seeds not in (None, len(env.seeds)):
        raise ValueError(
            f"the policy has {num_seeds} seeds and the environment {len(env.seeds)} rows: make it with one seed a row, "
            "as the policy's own evaluation_env does (of one row that is agent[0].evaluation_env)"
        )
    attack = None if perturb is None else as_perturbation(perturb)
    with_memory = [each for each in (policy, attack) if isinstance(each, EpisodicPolicy | Perturbation)]
    for each in with_memory:
        each.restart()
    running = torch.ones(env.obs.shape[:2], dtype=torch.bool, device=env.obs.device)
    nothing_attacked = torch.zeros_like(running)
    check_steps = 1 if running.device.type == "cpu" else DEVICE_CHECK_STEPS
    for t in range(1, step_cap(max_steps, env.max_episode_steps) + 1):
        obs = env.obs
        seen = obs if attack is None else attack.perturb(obs.clone())
        attacked = nothing_attacked if attack is None else attack.attacked
        mask = env.action_mask if heeds_masks(policy) else None
        transition = env.step(choose(policy, seen, deterministic, mask))
        yield Step(obs, seen, transition, running, attacked, mask)
        running = running & ~transition.done
        for each in with_memory:
            each.restart(transition.done)
        if t % check_steps == 0 and not running.any():
            return


def choose(policy: Policy, obs: Tensor, deterministic: bool, mask: Tensor | None) -> Tensor:
    """Return the policy's actions ``[S, B]``; one that heeds masks chooses among those that ``mask [S, B, A]`` allows.

    None allows every action. The policy receives copies, which it may change.
    """
    obs = obs.clone()
    if not heeds_masks(policy):
        return policy.act(obs, deterministic)
    return policy.act(obs, deterministic, None if mask is None else mask.clone())


@torch.no_grad()
def observation_std(policy: Policy, env: Env, max_steps: int | None = None) -> Tensor:
    """Return the standard deviation of every observation feature over natural rollouts, ``[*observation]`` float64.

    One greedy episode per copy is played; every step of every copy and seed has the same weight. In these units an
    attack budget has the same meaning for a position and for an angular velocity. A feature that never varies has 0,
    and a budget in this unit cannot change it.

    Args:
        policy: acts greedily.
        env: a new environment.
        max_steps: see ``rollout``.

    Raises:
        ValueError: integer observations of a Discrete space, which have no spread.
    """
    if isinstance(as_batched_env(env).observation_space, gymnasium.spaces.Discrete):
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

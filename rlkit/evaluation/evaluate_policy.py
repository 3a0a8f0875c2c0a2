"""Evaluate a policy with the signature and result of stable-baselines3's ``evaluate_policy``."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.types import Env, Policy, Starts

from .env_adapters import EnvAdapter, adapter_of, changes_returns, frozen, generator_kept
from .rollout import EVALUATION_SEED, _act, _rollout, _step_cap, _takes, _warn_capped


class Predictor(Protocol):
    """What stable-baselines3 calls a model: chooses actions for a batch of numpy observations."""

    def predict(  # noqa: D102
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]: ...


def evaluate_policy(
    model: Policy | Predictor | Any,
    env: Any,
    n_eval_episodes: int = 10,
    deterministic: bool = True,
    render: bool = False,
    callback: Callable[[dict[str, Any], dict[str, Any]], None] | None = None,
    reward_threshold: float | None = None,
    return_episode_rewards: bool = False,
    warn: bool = True,
    *,
    seed: int | None = None,
    max_steps: int | None = None,
) -> Any:
    """Mean and standard deviation of the return, with stable-baselines3's signature and result.

    Episode e starts from ``reset(seed=seed + e)``, whoever is evaluated and whatever kind of environment it is, so
    results are reproducible and comparisons paired. A vector environment of n copies plays them in waves of n. An
    ``Env`` of ours is reset as often as needed and takes its noise from its own streams; one that was made for
    evaluation has one episode a copy, the first ``n_eval_episodes`` of which are played.

    Returns are sums of ``env.step``'s rewards; under a ``Monitor`` (stable-baselines3) or
    ``RecordEpisodeStatistics`` (gymnasium) they are what that reports at the end of an episode, as in
    stable-baselines3. Where infos hold an ``"action_mask"``, a model whose ``predict`` takes ``action_masks`` is given
    them, as by sb3-contrib. Running normalisations are frozen meanwhile, and VecNormalize gives raw rewards; what the
    copies of an ``AsyncVectorEnv`` or ``SubprocVecEnv`` are wrapped in cannot be seen, and goes on.
    Afterwards a ``gymnasium.Env`` has the random generator it had before; a vector environment's cannot be put back
    and continue from the last seeds used here. Reset the environment before using it again.

    Args:
        model: an agent of ours, a stable-baselines3 model, anything with its ``predict``, or a ``Policy``.
        env: a ``gymnasium.Env``, a gymnasium ``VectorEnv``, a stable-baselines3 ``VecEnv`` or an ``Env`` of ours.
        n_eval_episodes: E, episodes per training seed.
        deterministic: greedy actions.
        render: call ``env.render()`` after every step.
        callback: called with ``locals(), globals()`` for every running copy after every step.
        reward_threshold: what the mean return must exceed, of every seed.
        return_episode_rewards: return every episode instead of the mean.
        warn: warn about capped episodes and about wrappers that change the rewards that are summed.
        seed: of the first episode, 10,000 by default.
        max_steps: cap on an episode's steps; None means the environment's time limit, or 10,000 without one.

    Returns:
        ``(mean, std)``, floats for one training seed, arrays ``[S]`` for more; with ``return_episode_rewards``
        ``(returns, lengths)`` by episode, lists for one seed, arrays ``[S, E]`` for more.

    Warns:
        RuntimeWarning: capped episodes, or rewards that a wrapper changes (only with ``warn``).

    Raises:
        ValueError: n_eval_episodes or max_steps below 1; a seed, callback or rendering asked of an ``Env`` of ours, or
            more episodes than it has where a reset repeats them; an environment or model of no known kind.
        AssertionError: the mean return is not above ``reward_threshold``.
    """
    if n_eval_episodes < 1:
        raise ValueError(f"n_eval_episodes must be at least 1, got {n_eval_episodes}")
    adapter = adapter_of(env)
    cap = _step_cap(max_steps, env.max_episode_steps if adapter is None else adapter.limit)
    if adapter is None:
        if seed is not None or callback is not None or render:
            raise ValueError(
                "a batched Env has its own noise and no callback or rendering: leave seed, callback and render out"
            )
        returns, lengths, capped = _evaluate_batched(_as_policy(model), env, n_eval_episodes, deterministic, cap)
    else:
        if warn:
            _warn_changed_rewards(adapter, env)
        first_seed = EVALUATION_SEED if seed is None else seed
        with frozen(env), generator_kept(env):
            rows = [
                _evaluate_row(row, env, adapter, n_eval_episodes, first_seed, cap, deterministic, render, callback)
                for row in _rows(model)
            ]
        returns, lengths, capped = (np.stack(part) for part in zip(*rows, strict=True))  # [S, E]
    if warn:
        _warn_capped(capped, cap)
    mean, std = returns.mean(axis=1), returns.std(axis=1)  # [S]
    if reward_threshold is not None and not (mean > reward_threshold).all():
        raise AssertionError(f"mean return {mean.min(axis=0):.2f} is not above the threshold {reward_threshold:.2f}")
    if len(returns) > 1:
        return (returns, lengths) if return_episode_rewards else (mean, std)
    return (returns[0].tolist(), lengths[0].tolist()) if return_episode_rewards else (float(mean[0]), float(std[0]))


Scores = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]  # returns, lengths, capped


def _evaluate_row(
    model: Predictor,
    env: Any,
    adapter: EnvAdapter,
    n_eval_episodes: int,
    first_seed: int,
    cap: int,
    deterministic: bool,
    render: bool,
    callback: Callable[[dict[str, Any], dict[str, Any]], None] | None,
) -> Scores:
    """One policy's episodes, ``[E]`` each: waves of one episode per copy, each copy reset with the episode's seed."""
    heeds_masks = _takes(model.predict, "action_masks")
    episode_rewards = np.zeros(n_eval_episodes)
    episode_lengths = np.zeros(n_eval_episodes, dtype=np.int64)
    capped = np.zeros(n_eval_episodes, dtype=np.bool_)
    for first in range(0, n_eval_episodes, adapter.num_envs):
        running = np.arange(adapter.num_envs) < n_eval_episodes - first
        (observations, infos), states = adapter.start(first_seed + first), None
        episode_starts = np.ones(adapter.num_envs, dtype=np.bool_)
        for _ in range(cap):
            masks = adapter.masks(infos) if heeds_masks else None
            actions, states = model.predict(
                observations,
                state=states,
                episode_start=episode_starts,
                deterministic=deterministic,
                **({} if masks is None else {"action_masks": masks}),
            )
            observations, rewards, dones, infos = adapter.step(np.asarray(actions))
            for i in np.flatnonzero(running).tolist():
                reward, done, info = rewards[i], dones[i], infos[i]
                episode_rewards[first + i] += reward
                episode_lengths[first + i] += 1
                episode_starts[i] = done
                if callback is not None:
                    callback(locals(), globals())
                if done and adapter.monitored and "episode" in info:
                    episode_rewards[first + i], episode_lengths[first + i] = info["episode"]["r"], info["episode"]["l"]
                # under a monitor an end that it does not report (a life lost) is not the episode's
                running[i] = not done or (adapter.monitored and "episode" not in info)
            if render:
                env.render()
            if not running.any():
                break
        in_use = min(adapter.num_envs, n_eval_episodes - first)
        capped[first : first + in_use] = running[:in_use]
    return episode_rewards, episode_lengths, capped


def _evaluate_batched(policy: Policy, env: Env, n_eval_episodes: int, deterministic: bool, cap: int) -> Scores:
    """Every seed's episodes ``[S, E]`` in an ``Env`` of ours: waves of one episode per copy."""
    if getattr(env, "repeats", False) and n_eval_episodes > env.num_envs:
        raise ValueError(
            f"the environment has {env.num_envs} episodes, which a reset repeats, and {n_eval_episodes} were asked "
            f"for: make it with as many copies, as agent.evaluation_env({n_eval_episodes}) does"
        )
    waves = []
    with torch.no_grad():
        for _ in range(math.ceil(n_eval_episodes / env.num_envs)):
            env.reset()
            waves.append(_rollout(policy, env, cap, deterministic, None))
    returns, lengths, capped, *_ = (torch.cat(part, dim=1)[:, :n_eval_episodes] for part in zip(*waves, strict=True))
    return returns.cpu().numpy(), lengths.cpu().numpy(), capped.cpu().numpy()


class _PredictorOfPolicy:
    """A ``Policy`` of one seed with stable-baselines3's ``predict``."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[Any, Any]:
        device, starts = getattr(self.policy, "device", None), getattr(self.policy, "starts", Starts())
        obs = starts.to_zero_based(torch.as_tensor(observation, device=device))[None]  # [1, n, *observation]
        mask = None
        if action_masks is not None and _takes(self.policy.act, "action_mask"):
            mask = torch.as_tensor(np.asarray(action_masks, dtype=bool), device=device)[None]  # [1, n, A]
        return _act(self.policy, obs, deterministic, mask)[0].cpu().numpy() + starts.action, state


class _PolicyOfPredictor:
    """A model with stable-baselines3's ``predict`` as a ``Policy``: the same one for every row."""

    def __init__(self, model: Predictor) -> None:
        self.model = model

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        actions, _ = self.model.predict(obs.flatten(0, 1).cpu().numpy(), deterministic=deterministic)
        return torch.as_tensor(np.asarray(actions), device=obs.device).reshape(obs.shape[:2])  # [S, B]


def _as_policy(model: Any) -> Policy:
    _check_model(model)
    return model if hasattr(model, "act") else _PolicyOfPredictor(model)


def _rows(model: Any) -> list[Predictor]:
    """The model of every training seed."""
    _check_model(model)
    num_seeds = getattr(model, "num_seeds", None) or 1
    rows = [model] if num_seeds == 1 else [model[i] for i in range(num_seeds)]
    return [row if hasattr(row, "predict") else _PredictorOfPolicy(row) for row in rows]


def _check_model(model: Any) -> None:
    if not hasattr(model, "act") and not hasattr(model, "predict"):
        raise ValueError(f"a model needs predict or act, got {type(model).__name__}")


def _warn_changed_rewards(adapter: EnvAdapter, env: Any) -> None:
    if changes_returns(env, adapter.monitored):
        warnings.warn(
            "a wrapper changes the rewards, so these are not the returns of the task: put a Monitor or "
            "RecordEpisodeStatistics below it in every copy and none above, or leave the wrapper out",
            RuntimeWarning,
            stacklevel=3,
        )

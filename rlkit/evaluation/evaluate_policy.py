"""Evaluate a policy with the signature and result of stable-baselines3's ``evaluate_policy``."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.arrays import as_whole_number
from rlkit.types import Env, Policy, Starts

from .env_adapters import EnvAdapter, adapter_of, changes_returns, frozen, generator_kept
from .limits import EVALUATION_SEED, step_cap, warn_capped
from .rollout import choose, rollout

Callback = Callable[[dict[str, Any], dict[str, Any]], None]


class Predictor(Protocol):
    """A model as in stable-baselines3: it chooses actions for a batch of numpy observations."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Return actions ``[n]`` and the next state.

        Args:
            observation: a batch ``[n, *observation]``.
            state: state of a recurrent model; None at first.
            episode_start: booleans ``[n]``, true where an episode begins.
            deterministic: whether to choose greedy actions.
        """
        ...


class Scores(NamedTuple):
    """The episodes of one or several rows, ``[..., E]``."""

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]  # steps
    capped: NDArray[np.bool_]  # still running at the step cap
    unseen: NDArray[np.bool_]  # ended where no monitor saw it: the return is the sum of what ``env.step`` paid


def evaluate_policy(
    model: Policy | Predictor | Any,
    env: Any,
    n_eval_episodes: int = 10,
    deterministic: bool = True,
    render: bool = False,
    callback: Callback | None = None,
    reward_threshold: float | None = None,
    return_episode_rewards: bool = False,
    warn: bool = True,
    *,
    seed: int | None = None,
    max_steps: int | None = None,
) -> Any:
    """Return the mean and the standard deviation of the return, with stable-baselines3's signature and result.

    Episode e starts from ``reset(seed=seed + e)`` for every model and every kind of environment, so results are
    reproducible and comparisons paired. A vector environment of n copies plays the episodes in waves of n. A batched
    ``Env`` of rlkit is reset as often as needed and takes its noise from its own streams. An ``Env`` that was made for
    evaluation has one episode per copy, and the first ``n_eval_episodes`` of them are played.

    Returns are sums of the rewards of ``env.step``. Under a ``Monitor`` (stable-baselines3) or
    ``RecordEpisodeStatistics`` (gymnasium) they are what the monitor reports at the end of an episode, as in
    stable-baselines3. An end that no monitor reports counts as an end if the episode was truncated, for example
    by a ``TimeLimit`` above the monitor, or if the reset that follows reaches the monitor; then the sums count.
    Otherwise a life was lost (``EpisodicLifeEnv``) and the episode continues. Where infos hold an ``"action_mask"``, it
    is passed to a model whose ``predict`` takes ``action_masks``, as in sb3-contrib.

    Running normalizations are frozen during the evaluation, and VecNormalize gives raw rewards. The wrappers inside the
    copies of an ``AsyncVectorEnv`` or ``SubprocVecEnv`` cannot be seen: they are not frozen, and an end that a monitor
    there does not report is a lost life unless it is a truncation. Afterwards a ``gymnasium.Env`` has the random
    generator it had before; a vector environment continues from the last seeds used here. Reset the environment before
    using it again.

    A callback finds the local variables of stable-baselines3's function: ``observations`` is what ``actions`` were
    chosen from, ``new_observations`` what followed; ``current_rewards`` and ``current_lengths`` are of the running
    episodes, ``episode_counts`` are the copies' finished ones, ``episode_rewards`` and ``episode_lengths`` lists of
    all finished ones. At the end of an episode a single ``gymnasium.Env`` has its last observation as
    ``new_observations``, where stable-baselines3 has the next episode's first; both have it as
    ``info["terminal_observation"]``.

    Args:
        model: an agent of rlkit, a stable-baselines3 model, anything with its ``predict``, or a ``Policy``.
        env: a ``gymnasium.Env``, a gymnasium ``VectorEnv``, a stable-baselines3 ``VecEnv`` or an ``Env`` of rlkit.
        n_eval_episodes: E, episodes per training seed.
        deterministic: greedy actions.
        render: call ``env.render()`` after every step.
        callback: called with ``locals(), globals()`` for every running copy after every step.
        reward_threshold: threshold that the mean return of every seed must exceed.
        return_episode_rewards: return every episode instead of the mean.
        warn: warn about capped episodes and about wrappers that change the rewards that are summed.
        seed: seed of the first episode, 10,000 by default.
        max_steps: cap on an episode's steps; None means the environment's time limit, or 10,000 without one.

    Returns:
        ``(mean, std)``, floats for one training seed, arrays ``[S]`` for more; with ``return_episode_rewards``
        ``(returns, lengths)`` by episode, lists for one seed, arrays ``[S, E]`` for more.

    Warns:
        RuntimeWarning: capped episodes, or rewards that a wrapper changes (only with ``warn``).

    Raises:
        ValueError: n_eval_episodes or max_steps is below 1 or not a whole number; a seed, callback or rendering asked
            of an ``Env`` of rlkit, or more episodes than it has where a reset repeats them; an environment or model of
            no known kind.
        AssertionError: the mean return is not above ``reward_threshold``.
    """
    n_eval_episodes = as_whole_number(n_eval_episodes, "n_eval_episodes")
    adapter = adapter_of(env)
    cap = step_cap(max_steps, env.max_episode_steps if adapter is None else adapter.limit)
    if adapter is None:
        if seed is not None or callback is not None or render:
            raise ValueError(
                "a batched Env has its own noise and no callback or rendering: leave seed, callback and render out"
            )
        scores = _evaluate_batched(_as_policy(model), env, n_eval_episodes, deterministic, cap)
    else:
        first_seed = EVALUATION_SEED if seed is None else seed
        with frozen(env), generator_kept(env):
            rows = [
                _evaluate_row(row, env, adapter, n_eval_episodes, first_seed, cap, deterministic, render, callback)
                for row in _rows(model)
            ]
        scores = Scores(*(np.stack(part) for part in zip(*rows, strict=True)))  # [S, E]
        if warn:
            _warn_changed_rewards(env, adapter.monitored and not scores.unseen.any(axis=None))
    if warn:
        warn_capped(scores.capped, cap)
    returns, lengths = scores.returns, scores.lengths
    mean, std = returns.mean(axis=1), returns.std(axis=1)  # [S]
    if reward_threshold is not None and not (mean > reward_threshold).all():
        raise AssertionError(f"mean return {mean.min(axis=0):.2f} is not above the threshold {reward_threshold:.2f}")
    if len(returns) > 1:
        return (returns, lengths) if return_episode_rewards else (mean, std)
    return (returns[0].tolist(), lengths[0].tolist()) if return_episode_rewards else (float(mean[0]), float(std[0]))


def _evaluate_row(
    model: Predictor,
    env: Any,
    adapter: EnvAdapter,
    n_eval_episodes: int,
    first_seed: int,
    cap: int,
    deterministic: bool,
    render: bool,
    callback: Callback | None,
) -> Scores:
    """Play one policy's episodes: waves of one episode per copy, each copy reset with the episode's seed.

    Local variables have stable-baselines3's names, because the callback reads them.
    """
    masked = _takes_action_masks(model)
    n_envs = adapter.num_envs
    scores = Scores(
        returns=np.zeros(n_eval_episodes),
        lengths=np.zeros(n_eval_episodes, dtype=np.int64),
        capped=np.zeros(n_eval_episodes, dtype=np.bool_),
        unseen=np.zeros(n_eval_episodes, dtype=np.bool_),
    )
    episode_rewards: list[float] = []
    episode_lengths: list[int] = []
    episode_counts = np.zeros(n_envs, dtype="int")
    episode_count_targets = np.array([len(range(i, n_eval_episodes, n_envs)) for i in range(n_envs)])
    for first in range(0, n_eval_episodes, n_envs):
        running = np.arange(n_envs) < n_eval_episodes - first
        current_rewards, current_lengths = np.zeros(n_envs), np.zeros(n_envs, dtype="int")
        (observations, infos), states = adapter.start(first_seed + first), None
        episode_starts = np.ones(n_envs, dtype=np.bool_)
        while running.any():
            masks = adapter.masks(infos) if masked else None
            actions, states = model.predict(
                deepcopy(observations),  # the callback sees them after the model, which may change its own
                state=states,
                episode_start=episode_starts,
                deterministic=deterministic,
                **({} if masks is None else {"action_masks": masks}),
            )
            new_observations, rewards, dones, ended, counted, infos = adapter.step(np.asarray(actions))
            current_rewards += np.where(counted, rewards, 0.0)
            current_lengths += counted
            for i in np.flatnonzero(running).tolist():
                reward, done, info = rewards[i], dones[i], infos[i]
                episode_starts[i] = done
                if callback is not None and counted[i]:
                    callback(locals(), globals())
                capped = not ended[i] and current_lengths[i] >= cap
                if not ended[i] and not capped:
                    continue
                reported = ended[i] and adapter.monitored and "episode" in info
                total, length = current_rewards[i], current_lengths[i]
                if reported:
                    total, length = info["episode"]["r"], info["episode"]["l"]
                scores.returns[first + i], scores.lengths[first + i] = total, length
                scores.capped[first + i], scores.unseen[first + i] = capped, not reported
                episode_rewards.append(total)
                episode_lengths.append(length)
                episode_counts[i] += 1
                current_rewards[i] = current_lengths[i] = 0
                running[i] = False
            observations = new_observations
            if render:
                env.render()
    return scores


def _evaluate_batched(policy: Policy, env: Env, n_eval_episodes: int, deterministic: bool, cap: int) -> Scores:
    """Play every seed's episodes ``[S, E]`` in an ``Env`` of rlkit: waves of one episode per copy."""
    if getattr(env, "repeats", False) and n_eval_episodes > env.num_envs:
        raise ValueError(
            f"the environment has {env.num_envs} episodes, which a reset repeats, and {n_eval_episodes} were asked "
            f"for: make it with as many copies, as agent.evaluation_env({n_eval_episodes}) does"
        )
    waves = []
    for _ in range(math.ceil(n_eval_episodes / env.num_envs)):
        env.reset()
        waves.append(rollout(policy, env, cap, deterministic, warn=False)[:3])
    returns, lengths, capped = (torch.cat(part, dim=1)[:, :n_eval_episodes] for part in zip(*waves, strict=True))
    arrays = returns.cpu().numpy(), lengths.cpu().numpy(), capped.cpu().numpy()
    return Scores(*arrays, unseen=np.zeros_like(arrays[2]))


def _takes_action_masks(model: Predictor) -> bool:
    """Return whether ``predict`` has the argument ``action_masks``: no other sign is common to all libraries."""
    return "action_masks" in inspect.signature(model.predict).parameters


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
        own = torch.as_tensor(starts.flatten(observation), device=device)  # [n, *observation]
        obs = starts.to_zero_based(own)[None]  # [1, n, *observation]
        mask = None  # [1, n, A]
        if action_masks is not None:
            mask = torch.as_tensor(np.asarray(action_masks, dtype=bool), device=device)[None]
        return choose(self.policy, obs, deterministic, mask)[0].cpu().numpy() + starts.action, state


class _PolicyOfPredictor:
    """A model with stable-baselines3's ``predict`` as a ``Policy``: the same one for every row."""

    def __init__(self, model: Predictor) -> None:
        self.model = model

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        actions, state = self.model.predict(obs.flatten(0, 1).cpu().numpy(), deterministic=deterministic)
        if state is not None:
            raise ValueError(
                f"{type(self.model).__name__} is recurrent, and a batched Env passes no states on: evaluate it on a "
                "gymnasium or stable-baselines3 environment"
            )
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


def _warn_changed_rewards(env: Any, monitored: bool) -> None:
    """Warn of returns that are not the task's; ``monitored``: a monitor reported every one."""
    if changes_returns(env, monitored):
        warnings.warn(
            "a wrapper changes the rewards, so these are not the returns of the task: put a Monitor or "
            "RecordEpisodeStatistics below it in every copy, above whatever ends episodes, and none above it, or leave "
            "the wrapper out",
            RuntimeWarning,
            stacklevel=3,
        )

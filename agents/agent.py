"""What every agent is: a configuration, a training loop that can be watched, and a policy that can be asked.

An algorithm's file gives its configuration and its ``iteration``; everything else is here once.
"""

from __future__ import annotations

import difflib
import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import gymnasium
import numpy as np
import torch
from torch import Tensor

import rlkit
import rlkit.envs
from rlkit.architectures import Architecture
from rlkit.checkpoint import load_tensors, save_tensors
from rlkit.evaluation import EVALUATION_SEED, rollout
from rlkit.exploration import categorical, epsilon_greedy, greedy_mixture, masked
from rlkit.networks import MLP, encode, num_features
from rlkit.normalise import Normaliser
from rlkit.optim import Optimizer, clip_rows_, flush_denormals, known_within, row_norm
from rlkit.schedules import Schedule, factor
from rlkit.streams import Stream
from rlkit.tracking import EpisodeReturns, Means
from rlkit.types import Env, Transition, segment

from .checkpoint import restore, state_of
from .ensemble import Ensemble
from .hyperparameters import PerRowNumbers, as_given, settings_of_row
from .predict import predict
from .progress import progress

RUN = ("env", "num_timesteps", "_end", "active", "diverged_at", "_returns", "normaliser")  # of every agent's checkpoint
EnvSource = str | Callable[[], gymnasium.Env] | rlkit.envs.Dynamics


class Divergence(NamedTuple):
    """A row that stopped learning."""

    seed: int
    step: int  # environment steps done when it was noticed
    what: str  # that was not finite


class HasParameters(Protocol):
    """S networks or tables whose parameters are one matrix, or what else a policy is made of."""

    flat: Tensor  # [S, P]

    @property
    def columns(self) -> Tensor | slice:
        """Those of ``flat`` that are parameters, and not there for the layout."""
        ...


class Agent:
    """S runs of one algorithm trained side by side; row s is exactly the run of ``seeds[s]``.

    Args:
        env: a gymnasium id, a function that makes a ``gymnasium.Env``, or a ``Dynamics``.
        seeds: an integer, or one integer per row.
        num_envs: copies of the environment per seed; None takes the preset's, else 1.
        device: "auto" takes a GPU where there is one.
        backend: "auto" replaces a gymnasium id by its native twin (CartPole-v1); "gymnasium" never does.
        env_kwargs: passed to the environment.
        preset: named hyper-parameters to start from, see ``presets``; None means stable-baselines3's defaults.
        hyperparameters: fields of ``config_class``. A number may be one for all rows or a sequence ``[S]``.

    Raises:
        ValueError: an unknown environment, hyper-parameter or preset, or values that contradict each other.
    """

    config_class: ClassVar[type]
    checkpointed: ClassVar[tuple[str, ...]]  # attributes that a checkpoint holds beside the networks and ``RUN``
    scores_are_values: ClassVar[bool] = False  # whether ``scores`` are action values, else logits of a softmax policy
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]]  # name -> environment id -> hyper-parameters

    def __init__(
        self,
        env: EnvSource,
        *,
        seeds: int | Iterable[int] = 0,
        num_envs: int | None = None,
        device: str | torch.device = "auto",
        backend: str = "auto",
        env_kwargs: dict[str, Any] | None = None,
        preset: str | None = None,
        **hyperparameters: Any,
    ) -> None:
        self.seeds = (seeds,) if isinstance(seeds, int) else tuple(seeds)
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        self.preset = preset
        values = {} if preset is None else dict(self._preset(env, preset))
        copies = int(values.pop("num_envs", 1)) if num_envs is None else num_envs
        self.config = self._configure({name: v for name, v in values.items() if name != "num_envs"}, hyperparameters)
        self.per_row = PerRowNumbers(self.config, len(self.seeds), self.device)
        self._source, self._env_kwargs, self._backend = env, dict(env_kwargs or {}), backend
        self.env: Env = self._make(self.seeds, copies)
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space
        self.num_timesteps = 0  # environment steps per seed, over all its copies
        self.active = torch.ones(len(self.seeds), dtype=torch.bool, device=self.device)
        self.diverged_at = torch.full((len(self.seeds),), -1, dtype=torch.int64, device=self.device)
        self._end = 0  # of the schedules: the timesteps that learn was asked for so far
        self._means = Means()
        self._returns = EpisodeReturns(len(self.seeds), copies, self.device)
        self._log: list[dict[str, np.ndarray]] = []
        self._evaluation_stream: Stream | None = None
        self.normaliser = self._normaliser()
        normalised = {} if self.normaliser is None else {"normaliser": self.normaliser}
        self.networks: dict[str, HasParameters] = {**self._build(), **normalised}

    # What an algorithm's file gives

    def _build(self) -> Mapping[str, HasParameters]:
        """Make the networks and whatever else the algorithm keeps; returns, by name, those that ``save`` writes."""
        raise NotImplementedError

    def _start(self) -> None:
        """Called when training begins or goes on, after ``_end`` has moved."""

    def iteration(self) -> None:
        """Collect one batch of experience and learn from it."""
        raise NotImplementedError

    def scores(self, obs: Tensor) -> Tensor:
        """What actions are chosen by, differentiable in the observation: ``[S, B, ...] -> [S, B, A]``."""
        raise NotImplementedError

    def _score_network(self) -> Any:
        """The network of features that gives ``scores``; None without one."""
        return None

    def scores_and_pullback(self, obs: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]] | None:
        """``scores`` without a graph, and d value / d scores ``[S, B, A]`` -> d value / d obs ``[S, B, D]``.

        None where this is not written out by hand: normalised or encoded observations, networks that are more than
        layers. ``scores`` can be differentiated in any case.
        """
        network = self._score_network()
        plain = isinstance(network, MLP) and not network.convolutions and network.basis is None
        if not plain or self.normaliser is not None or obs.dim() != 3 or not obs.is_floating_point():
            return None
        with torch.no_grad():
            scores, pullback = network.input_vjp(obs)
        return scores, pullback

    def _architecture(self) -> Architecture:
        """What the networks look like."""
        config = self.config
        return Architecture(
            self.observation_space,
            self.seeds,
            config.network,
            config.net_arch,
            config.activation,
            self.device,
            config.network_kwargs,
            config.normalize_observations,
        )

    def _normaliser(self) -> Normaliser | None:
        """Moments of observations and rewards, if either is to be normalised.

        Raises:
            ValueError: one-hot codes, whose scale is one already.
        """
        # a table's configuration has neither
        observations = getattr(self.config, "normalize_observations", False)
        rewards = getattr(self.config, "normalize_rewards", False)
        if observations and not isinstance(self.observation_space, gymnasium.spaces.Box):
            raise ValueError(f"normalize_observations needs Box observations, got {self.observation_space}")
        if not (observations or rewards):
            return None
        features = num_features(self.observation_space)
        return Normaliser(features, self.env.num_envs, self.per_row.gamma, observations, rewards)

    def _features(self, obs: Tensor) -> Tensor:
        """Observations as the networks read them, ``[S, ..., *observation] -> [S, ..., D]``."""
        features = encode(obs, self.observation_space)
        return features if self.normaliser is None else self.normaliser.observations(features)

    # Training

    @property
    def num_seeds(self) -> int:
        """S."""
        return len(self.seeds)

    def learn(self, total_timesteps: int, progress_bar: bool = False) -> Self:
        """Train every seed for ``total_timesteps`` environment steps, over all its copies; again continues.

        The number is rounded up to whole iterations, as stable-baselines3 does.
        """
        steps = self.training(total_timesteps)
        for _ in progress(self, steps, total_timesteps) if progress_bar else steps:
            pass
        return self

    def training(self, total_timesteps: int, every: int | None = None) -> Iterator[int]:
        """``learn`` as a generator: yields the timesteps done, each time ``every`` more have passed and at the end.

        Whatever should happen between (an exact evaluation, a checkpoint) stands in the caller's loop. One row of
        ``history`` is written before each yield.

        Raises:
            ValueError: total_timesteps or every below one.
        """
        every = every or max(total_timesteps // 100, 1)
        if total_timesteps < 1 or every < 1:
            raise ValueError(f"total_timesteps and every must be at least 1, got {total_timesteps} and {every}")
        self._end = self.num_timesteps + total_timesteps
        self._start()
        return self._run(every)

    def _run(self, every: int) -> Iterator[int]:
        due = self.num_timesteps + every
        while self.num_timesteps < self._end:
            with flush_denormals():
                self.iteration()
            self.diverged_at.masked_fill_(~self.active & (self.diverged_at < 0), self.num_timesteps)
            if self.num_timesteps >= due or self.num_timesteps >= self._end:
                due += every
                timesteps = np.full(self.num_seeds, self.num_timesteps)
                self._log.append({"timesteps": timesteps, **self._returns.read(), **self._means.read()})
                yield self.num_timesteps
        self._warn_of_divergence()

    @property
    def progress_remaining(self) -> float:
        """1 at the first step of training, 0 at its end: what schedules are functions of."""
        return 1.0 - self.num_timesteps / self._end if self._end else 1.0

    @property
    def history(self) -> dict[str, np.ndarray]:
        """The training log: each name as ``[rows, S]``, NaN where a row did not have it."""
        names = list(dict.fromkeys(name for row in self._log for name in row))
        nothing = np.full(self.num_seeds, np.nan)
        return {name: np.stack([row.get(name, nothing) for row in self._log]) for name in names}

    def _step(self, action: Tensor) -> Transition:
        """One step of every copy, counted."""
        self.num_timesteps += self.env.num_envs
        return self.env.step(action)

    def _segment(self, steps: int, explore: Stream) -> Transition:
        """``steps`` steps of every copy with actions sampled from softmax(scores), ``[S, T, B, ...]`` each field.

        Normalised rewards are given as they are learned from.
        """
        with torch.no_grad():
            numbers = explore.take(steps)[..., 0]  # [T, S, B]
            batch = segment(
                [self._step(categorical(self.scores(self.env.obs), u, self.env.action_mask)) for u in numbers]
            )
        self._returns.add(batch)
        if self.normaliser is None:
            return batch
        self._update_moments(batch)
        return batch._replace(reward=self.normaliser.rewards(batch.reward))

    def _update_moments(self, batch: Transition) -> None:
        """Let a segment ``[S, T, B, ...]`` enter what observations and rewards are normalised by, if they are."""
        if self.normaliser is not None:
            features = encode(batch.obs, self.observation_space)
            self.normaliser.update(features, batch.reward, batch.done, self.active)

    def _healthy(self, number: Tensor) -> Tensor:
        """Which rows may be updated, ``[S]`` bool: one whose gradient norm or loss is not finite stops for good."""
        self.active &= number < math.inf  # NaN compares false
        return self.active

    def _descend(
        self, optimizer: Optimizer, gradient: Tensor, learning_rate: Tensor, rows: Tensor | None = None
    ) -> Tensor:
        """One step of the healthy rows down a gradient ``[S, P]``, which is clipped in place; its norm ``[S]``.

        ``rows [S]`` bool are those that take part; None: all.
        """
        norm = row_norm(gradient)
        if not known_within(norm, self.per_row.max_grad_norm):
            self._healthy(norm)
            clip_rows_(gradient, norm, self.per_row.max_grad_norm)
        optimizer.step(gradient, learning_rate, self.active if rows is None else self.active & rows)
        return norm

    @property
    def divergences(self) -> tuple[Divergence, ...]:
        """The rows that stopped learning, with the step and what was not finite; the others went on without them."""
        steps = self.diverged_at.tolist()
        return tuple(
            Divergence(seed, steps[row], self._unsound(row)) for row, seed in enumerate(self.seeds) if steps[row] >= 0
        )

    def _unsound(self, row: int) -> str:
        """What made a row stop: what came from outside first, then what it may have done to itself."""
        seen = self._returns.unsound
        for kind in ("reward", "observation"):
            if seen[kind][row]:
                return f"a {kind}" if kind == "reward" else f"an {kind}"
        for name, network in self.networks.items():
            for block, tensor in getattr(network, "blocks", {"values": network.flat}).items():
                if not tensor[row].isfinite().all():
                    return f"{block} of the {name} network"
        return "the loss" if seen["loss"][row] else "the gradient"

    def _warn_of_divergence(self) -> None:
        for seed, step, what in self.divergences:
            warnings.warn(
                f"seed {seed} diverged at step {step}: {what} was not finite, and the seed was not updated after that. "
                "A lower learning_rate may keep it.",
                RuntimeWarning,
                stacklevel=3,
            )

    # Asking the policy

    def act(self, obs: Tensor, deterministic: bool = True, action_mask: Tensor | None = None) -> Tensor:
        """Actions for every row: ``[S, B, *observation] -> [S, B]`` int64.

        The action of the highest score, or with ``deterministic=False`` a sample of softmax(scores), for action values
        the epsilon-greedy action of the present schedule; of the actions that ``action_mask [S, B, A]`` bool allows.
        """
        with torch.no_grad():
            scores = self.scores(obs)
        if deterministic:
            return masked(scores, action_mask).argmax(dim=-1)
        if self.scores_are_values:
            u = self.uniform(copies=scores.shape[1], width=2)
            return epsilon_greedy(scores, self.epsilon()[:, None], u, action_mask)
        return categorical(scores, self.uniform(copies=scores.shape[1], width=1)[..., 0], action_mask)

    def action_probabilities(self, obs: Tensor, action_mask: Tensor | None = None) -> Tensor:
        """pi(.|s) over the actions allowed, without gradients: ``[S, B, *observation] -> [S, B, A]``.

        softmax(scores), or for action values the epsilon-greedy policy of the present schedule.
        """
        with torch.no_grad():
            scores = self.scores(obs)
        if self.scores_are_values:
            return greedy_mixture(scores, self.epsilon()[:, None], action_mask)
        return torch.softmax(masked(scores, action_mask), dim=-1)

    def epsilon(self) -> Tensor:
        """The present probability of a random action, ``[S]``; of agents of action values."""
        raise NotImplementedError

    def q_values(self, obs: Tensor) -> Tensor:
        """Q(s, .) of every row, ``[S, B, *observation] -> [S, B, A]``, without gradients.

        Raises:
            RuntimeError: the agent has a policy and no action values.
        """
        if not self.scores_are_values:
            raise RuntimeError(f"{type(self).__name__} learns no action values: ask its action_probabilities")
        with torch.no_grad():
            return self.scores(obs)

    def values(self, obs: Tensor) -> Tensor:
        """V(s), or max_a Q(s, a), of every row, ``[S, B, *observation] -> [S, B]``, without gradients."""
        return self.q_values(obs).amax(dim=-1)

    def predict(
        self,
        observation: np.ndarray,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """stable-baselines3's: one observation or a batch ``[n, ...]`` -> (action or actions ``[n]``, state).

        Raises:
            ValueError: more than one seed (ask ``agent[i]``), or a shape that does not fit.
        """
        if self.num_seeds > 1:
            raise ValueError(f"predict answers for one seed and this agent has {self.num_seeds}: use agent[i].predict")
        return predict(self, observation, deterministic), state

    def evaluate(self, episodes: int = 100, deterministic: bool = True, seed: int = EVALUATION_SEED) -> np.ndarray:
        """Undiscounted returns ``[S, episodes]``; episode e starts from ``reset(seed=seed + e)`` for every row.

        Raises:
            ValueError: episodes below one.
        """
        if episodes < 1:
            raise ValueError(f"episodes must be at least 1, got {episodes}")
        self._evaluation_stream = None
        played = rollout(self, self.evaluation_env(episodes, seed), deterministic=deterministic)
        returns: np.ndarray = played.returns.cpu().numpy()
        return returns

    def evaluation_env(self, episodes: int, seed: int = EVALUATION_SEED, rows: int | None = None) -> Env:
        """S (or ``rows``) x ``episodes`` copies of one episode each, the same for every row and every agent."""
        return self._make([seed] * (rows or self.num_seeds), episodes, restart=False, noise="gymnasium", double=True)

    def ensemble(self) -> Ensemble:
        """One policy that averages the rows' action values or probabilities."""
        return Ensemble(self)

    def __len__(self) -> int:
        return self.num_seeds

    def __getitem__(self, row: int) -> Self:
        """The agent of one row: the same policy with one seed."""
        if not -self.num_seeds <= row < self.num_seeds:
            raise IndexError(f"row {row} of an agent with {self.num_seeds} seeds")
        row %= self.num_seeds
        twin = self._twin(self._source, (self.seeds[row],), settings_of_row(self.config, row))
        for name, network in twin.networks.items():
            network.flat.copy_(self.networks[name].flat[row : row + 1])
        twin.num_timesteps, twin._end = self.num_timesteps, self._end
        return twin

    # Files

    def save(self, path: str | Path) -> None:
        """Write the policies of all rows as a safetensors file: tensors and a JSON header, no code."""
        parameters = {name: network.flat[:, network.columns] for name, network in self.networks.items()}
        save_tensors(path, parameters, {POLICY: json.dumps(self._header())})

    def checkpoint(self, path: str | Path) -> None:
        """Write the whole run, so that ``resume`` continues it to the bit: also memory, moments, streams, environments.

        For between calls of ``learn``, or inside the loop over ``training``.

        Raises:
            ValueError: an environment that is not ours, whose state cannot be read.
        """
        if not hasattr(self.env, "state_dict"):
            raise ValueError(
                f"the state of {self._source} cannot be read, so a run in it cannot be continued exactly: "
                "save the policy with save, or train in an environment of rlkit"
            )
        run = state_of(self, (*RUN, *self.checkpointed))
        log = {name: torch.from_numpy(values) for name, values in self.history.items()} if self._log else {}
        networks = {name: network.flat for name, network in self.networks.items() if network is not self.normaliser}
        parts = {"run": run, "log": log, "network": networks}
        tensors = {f"{part}:{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
        save_tensors(path, tensors, {CHECKPOINT: json.dumps(self._header())})

    def _header(self) -> dict[str, Any]:
        """What makes an agent like this one, as JSON."""
        return {
            "algorithm": type(self).__name__,
            "rlkit": rlkit.__version__,
            "env": self._source if isinstance(self._source, str) else None,
            "env_kwargs": self._env_kwargs,
            "backend": self._backend,
            "seeds": self.seeds,
            "num_envs": self.env.num_envs,
            "config": asdict(self.config),
            "num_timesteps": self.num_timesteps,
        }

    @classmethod
    def load(cls, path: str | Path, env: EnvSource | None = None, device: str | torch.device = "auto") -> Self:
        """Read what ``save`` wrote.

        Args:
            path: the file.
            env: needed where the agent was not made from an id.
            device: as in the constructor.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a whole file of this algorithm, or no environment.
        """
        tensors, metadata = load_tensors(path)
        header = read_header(path, metadata)
        agent = cls._made_from(path, header, env, device)
        for name, network in agent.networks.items():
            found = tuple(tensors[name].shape) if name in tensors else None
            needed = tuple(network.flat[:, network.columns].shape)
            if found != needed:
                raise ValueError(
                    f"{path} holds parameters of shape {found} as {name!r}, the network for {agent._source} needs "
                    f"{needed}: it was trained on another environment"
                )
            network.flat[:, network.columns] = tensors[name].to(network.flat)
        agent.num_timesteps = agent._end = header["num_timesteps"]
        return agent

    @classmethod
    def resume(cls, path: str | Path, env: EnvSource | None = None, device: str | torch.device = "auto") -> Self:
        """The run that ``checkpoint`` wrote: what it does next is to the bit what the other would have done.

        ``agent.learn(n)`` goes on for n steps; ``agent.learn(agent.timesteps_left)`` finishes what was interrupted.
        Arguments and errors as of ``load``.
        """
        tensors, metadata = load_tensors(path)
        agent = cls._made_from(path, read_header(path, metadata, CHECKPOINT), env, device)
        parts: dict[str, dict[str, Tensor]] = {"run": {}, "log": {}, "network": {}}
        for name, tensor in tensors.items():
            part, _, own = name.partition(":")
            parts[part][own] = tensor.to(agent.device)
        for name, flat in parts["network"].items():
            agent.networks[name].flat.copy_(flat)
        agent._restore(parts["run"])
        log = {name: values.cpu().numpy() for name, values in parts["log"].items()}
        rows = len(log.get("timesteps", ()))
        agent._log = [{name: values[row] for name, values in log.items()} for row in range(rows)]
        return agent

    def _restore(self, run: dict[str, Tensor]) -> None:
        """Take over what a checkpoint holds of a run."""
        restore(self, (*RUN, *self.checkpointed), run)

    @property
    def timesteps_left(self) -> int:
        """How many of the timesteps that were asked for have not been done."""
        return max(self._end - self.num_timesteps, 0)

    # Construction

    @classmethod
    def _made_from(
        cls, path: str | Path, header: dict[str, Any], env: EnvSource | None, device: str | torch.device
    ) -> Self:
        """A fresh agent as the header of a file says."""
        if header["algorithm"] != cls.__name__:
            raise ValueError(f"{path} holds a {header['algorithm']}, not a {cls.__name__}: use rlkit.agents.load")
        source = env if env is not None else header["env"]
        if source is None:
            raise ValueError(f"{path} was saved without an environment id: pass env=")
        return cls(
            source,
            seeds=header["seeds"],
            num_envs=header["num_envs"],
            device=device,
            backend=header["backend"],
            env_kwargs=header["env_kwargs"],
            **header["config"],
        )

    def _make(self, seeds: Sequence[int], num_envs: int, **options: Any) -> Env:
        return rlkit.envs.make(
            self._source,
            seeds=seeds,
            num_envs=num_envs,
            device=self.device,
            backend=self._backend,
            env_kwargs=self._env_kwargs,
            **options,
        )

    def _twin(self, env: EnvSource, seeds: tuple[int, ...], settings: dict[str, Any]) -> Self:
        return type(self)(
            env,
            seeds=seeds,
            num_envs=self.env.num_envs,
            device=self.device,
            backend=self._backend,
            env_kwargs=self._env_kwargs,
            **settings,
        )

    def _configure(self, values: dict[str, Any], hyperparameters: dict[str, Any]) -> Any:
        """Defaults, then the preset's values, then those given."""
        known = [field.name for field in fields(self.config_class)]
        for name in hyperparameters:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                raise ValueError(f"unknown hyper-parameter {name!r} of {type(self).__name__}: {hint}")
        return self.config_class(**as_given(values | hyperparameters))

    def _preset(self, env: EnvSource, preset: str) -> dict[str, Any]:
        if preset not in self.presets:
            raise ValueError(f"unknown preset {preset!r}: known are {', '.join(self.presets)}")
        by_env = self.presets[preset]
        return by_env.get(env, by_env["*"]) if isinstance(env, str) else by_env["*"]

    def _scheduled(self, initial: Tensor, schedule: Schedule) -> Tensor:
        """A learning rate or clip range at this point of training, ``[S]``."""
        return initial if schedule == "constant" else initial * factor(schedule, 1.0 - self.progress_remaining)

    def uniform(self, copies: int, width: int) -> Tensor:
        """Numbers for sampled actions outside training, ``[S, copies, width]``."""
        if self._evaluation_stream is None or self._evaluation_stream.copies != copies:
            self._evaluation_stream = Stream(self.seeds, "eval", width, copies, self.device)
        return self._evaluation_stream.next()


POLICY, CHECKPOINT = "rlkit.agent", "rlkit.checkpoint"  # what a file's header is called
WRITTEN_BY = {POLICY: "a policy, as agent.save writes them", CHECKPOINT: "a run, as agent.checkpoint writes them"}


def read_header(path: str | Path, metadata: dict[str, str], kind: str = POLICY) -> dict[str, Any]:
    """The JSON header of an agent's file.

    Raises:
        ValueError: the file is safetensors but not of this kind.
    """
    if kind not in metadata:
        other = next((f"it holds {WRITTEN_BY[k]}" for k in metadata if k in WRITTEN_BY), "it is not an rlkit agent")
        raise ValueError(f"{path} is a safetensors file but not {WRITTEN_BY[kind]}: {other}")
    header: dict[str, Any] = json.loads(metadata[kind])
    return header

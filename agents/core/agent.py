"""What every agent is: networks that score actions, and a training that can be watched, stopped and taken up again.

An algorithm's file gives the networks and the ``iteration``; the rest is here once. What can be asked of a policy is in
``policy.py``, what is remembered of a training in ``run.py``, what lies in a file in ``files.py``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from rlkit.devices import usable_device
from rlkit.evaluation import EVALUATION_SEED
from rlkit.nn import encode, flush_denormals, normalizer
from rlkit.streams import Stream, as_seeds
from rlkit.types import Env, Transition

from .ensemble import Ensemble
from .env_source import EnvSource, Source
from .hyperparameters import PerRowNumbers, Presets, configured, of_preset, settings_of_row
from .policy import NetworkPolicy
from .progress import progress
from .sb3_hints import ARGUMENTS, OF_LEARN, ORDER, answering
from .serialization import read_policy, read_run, write_policy, write_run
from .training_state import Divergence, HasParameters, TrainingState


class Agent(NetworkPolicy):
    """S runs of one algorithm trained side by side; row s is exactly the run of ``seeds[s]``.

    Args:
        env: a gymnasium id, a function that makes a ``gymnasium.Env``, or a ``Dynamics``.
        seeds: an integer, or one integer per row.
        num_envs: copies of the environment per seed; None takes the preset's, else 1.
        device: "auto" takes a GPU where there is one.
        backend: "auto" replaces a gymnasium id by its native twin (CartPole-v1); "gymnasium" never does.
        env_kwargs: passed to what makes the environment.
        preset: named hyper-parameters to start from, see ``presets``; None means stable-baselines3's defaults. An
            environment is known by its id, a ``Dynamics`` by that of its class.
        hyperparameters: fields of ``config_class``. A number may be one for all rows or a sequence ``[S]``.

    Raises:
        ValueError: an unknown environment, hyper-parameter or preset, a preset without this environment, or values
            that contradict each other; what stable-baselines3 calls otherwise is named as it is called here.
        TypeError: arguments without a name beside the environment.
    """

    config_class: ClassVar[type]
    presets: ClassVar[Presets]
    checkpointed: ClassVar[tuple[str, ...]]  # what a checkpoint of this algorithm holds beside every agent's
    saved: ClassVar[tuple[str, ...]] = ()  # tensors [S, ...] that a policy's file and ``agent[i]`` have beside networks

    @answering(ARGUMENTS, ORDER)
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
        self.seeds = as_seeds(seeds)
        self.device = usable_device(device)
        self.preset = preset
        self.source = Source(env, backend, dict(env_kwargs or {}), self.device)
        suggested = of_preset(self.presets, preset, self.source.id)
        suggested_copies = int(suggested.pop("num_envs", 1))
        self.config: Any = configured(self.config_class, suggested, hyperparameters)
        self.per_row = PerRowNumbers(self.config, self.num_seeds, self.device)
        self.env: Env = self.source.make(self.seeds, suggested_copies if num_envs is None else num_envs)
        copies = self.env.num_envs
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space
        self.starts = getattr(self.env, "starts", self.starts)
        self.num_actions = int(self.action_space.n)
        self.training_state = TrainingState(self.seeds, copies, self.device)
        coins = 2 if self.scores_are_values else 1  # epsilon-greedy: whether to explore, and the action then
        self.explore = Stream(self.seeds, "explore", coins, copies, self.device)
        self.normalizer = normalizer(
            self.observation_space,
            copies,
            self.per_row.gamma,
            getattr(self.config, "normalize_observations", False),  # a table's configuration has neither
            getattr(self.config, "normalize_rewards", False),
        )
        normalized = {} if self.normalizer is None else {"normalizer": self.normalizer}
        self.networks = {**self._build(), **normalized}
        self.score_network = self.networks["q" if self.scores_are_values else "policy"]

    # What an algorithm's file gives

    def _build(self) -> Mapping[str, HasParameters]:
        """Make the networks and whatever else the algorithm keeps; returns, by name, those that ``save`` writes.

        ``"q"`` or ``"policy"`` gives the scores, ``"value"`` the values of states if there is one.
        """
        raise NotImplementedError

    def _start(self) -> None:
        """Called when training begins or goes on, after the end has moved."""

    def iteration(self) -> None:
        """Collect one batch of experience and learn from it."""
        raise NotImplementedError

    # Training

    @answering(OF_LEARN, f"callback: {OF_LEARN['callback']}")
    def learn(self, total_timesteps: int, *, progress_bar: bool = False) -> Self:
        """Train every seed for ``total_timesteps`` environment steps, over all its copies; again continues.

        The number is rounded up to whole iterations, as stable-baselines3 does. What its callbacks do stands in a
        loop over ``training``.
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
        every = max(total_timesteps // 100, 1) if every is None else every
        if total_timesteps < 1 or every < 1:
            raise ValueError(f"total_timesteps and every must be at least 1, got {total_timesteps} and {every}")
        self.training_state.end = self.num_timesteps + total_timesteps
        self._start()
        return self._iterations(every)

    def _iterations(self, every: int) -> Iterator[int]:
        due = self.num_timesteps + every
        while self.timesteps_left:
            with flush_denormals():
                self.iteration()
            self.training_state.record_divergences()
            if self.num_timesteps >= due or not self.timesteps_left:
                due += every
                self.training_state.write_row()
                yield self.num_timesteps
        for divergence in self.divergences:
            warnings.warn(str(divergence), RuntimeWarning, stacklevel=2)

    @property
    def num_timesteps(self) -> int:
        """Environment steps per seed so far, over all its copies."""
        return self.training_state.timesteps

    @property
    def timesteps_left(self) -> int:
        """How many of the timesteps that were asked for have not been done."""
        return max(self.training_state.end - self.training_state.timesteps, 0)

    @property
    def progress_remaining(self) -> float:
        """1 at the first step of training, 0 at its end: what schedules are functions of."""
        return self.training_state.remaining

    @property
    def active(self) -> Tensor:
        """Which rows still learn, ``[S]`` bool."""
        return self.training_state.active

    @property
    def history(self) -> dict[str, np.ndarray]:
        """The training log: each name as ``[rows, S]``, NaN where a row did not have it."""
        return self.training_state.history

    @property
    def divergences(self) -> tuple[Divergence, ...]:
        """The rows that stopped learning, with the step and what was not finite; the others went on without them."""
        return self.training_state.divergences(self.networks)

    # Experience

    def record(self, batch: Transition) -> None:
        """Count a segment ``[S, T, B, ...]`` just played, log it, and let it enter the moments of a normaliser."""
        self.training_state.timesteps += batch.reward.shape[1] * self.training_state.num_envs
        self.training_state.returns.add(batch)
        if self.normalizer is not None:
            features = encode(batch.obs, self.observation_space)
            self.normalizer.update(features, batch.reward, batch.done, self.active)

    # The policy

    def evaluation_env(self, episodes: int, seed: int = EVALUATION_SEED, rows: int | None = None) -> Env:
        """S (or ``rows``) x ``episodes`` copies of one episode each, the same for every row and every agent."""
        seeds = [seed] * (rows or self.num_seeds)
        return self.source.make(seeds, episodes, restart=False, noise="gymnasium", double=True)

    def ensemble(self) -> Ensemble:
        """One policy that averages the rows' action values or probabilities."""
        return Ensemble(self)

    def __len__(self) -> int:
        return self.num_seeds

    def __getitem__(self, row: int) -> Self:
        """The agent of one row: the same policy with one seed.

        Raises:
            TypeError: a slice.
            IndexError: no such row.
        """
        given: Any = row
        if isinstance(given, slice):
            raise TypeError("an agent is indexed by one row: use [agent[i] for i in range(start, stop)] for a slice")
        if not -self.num_seeds <= row < self.num_seeds:
            raise IndexError(f"row {row} of an agent with {self.num_seeds} seeds")
        row %= self.num_seeds
        settings = settings_of_row(self.config, row)
        twin = type(self)(seeds=self.seeds[row], num_envs=self.env.num_envs, **self.source._asdict(), **settings)
        for name, network in twin.networks.items():
            network.flat.copy_(self.networks[name].flat[row : row + 1])
        for name in self.saved:
            getattr(twin, name).copy_(getattr(self, name)[row : row + 1])
        twin.training_state.timesteps, twin.training_state.end = self.training_state.timesteps, self.training_state.end
        return twin

    # Files

    def save(self, path: str | Path) -> None:
        """Write the policies of all rows as a safetensors file: tensors and a JSON header, no code."""
        write_policy(self, path)

    def checkpoint(self, path: str | Path) -> None:
        """Write the whole run, between calls of ``learn`` or inside the loop over ``training``.

        ``resume`` continues it to the bit: also memory, moments, streams and environments are in the file.

        Raises:
            ValueError: an environment that is not ours, whose state cannot be read.
        """
        write_run(self, path)

    @classmethod
    def load(cls, path: str | Path, env: EnvSource | None = None, device: str | torch.device = "auto") -> Self:
        """Read what ``save`` wrote; ``env`` is needed where the agent was not made from an id.

        It is made with the ``env_kwargs`` of the agent, unless one of both is an id and the other is not.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a whole file of this algorithm, or no environment.
        """
        return read_policy(cls, path, env, device)

    @classmethod
    def resume(cls, path: str | Path, env: EnvSource | None = None, device: str | torch.device = "auto") -> Self:
        """The run that ``checkpoint`` wrote: what it does next is to the bit what the other would have done.

        ``agent.learn(n)`` goes on for n steps; ``agent.learn(agent.timesteps_left)`` finishes what was interrupted.
        Arguments and errors as of ``load``.
        """
        return read_run(cls, path, env, device)

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

import rlkit.envs
from rlkit.devices import usable_device
from rlkit.evaluation import EVALUATION_SEED
from rlkit.nn import Optimizer, clip_rows_, encode, flush_denormals, known_within, normalizer, row_norm
from rlkit.streams import Stream, as_seeds
from rlkit.types import Env, Transition

from .ensemble import Ensemble
from .env_source import EnvSource, Source
from .hyperparameters import PerRowNumbers, Presets, configured, of_preset, settings_of_row, suggestion
from .policy import NetworkPolicy
from .progress import progress
from .sb3_hints import ARGUMENTS, OF_LEARN, ORDER, answering
from .serialization import read_policy, read_run, write_policy, write_run
from .training_state import Divergence, HasParameters, TrainingState


class Agent(NetworkPolicy):
    """S runs of one algorithm trained side by side; row s is exactly the run of ``seeds[s]``.

    Args:
        env: a gymnasium id, a function that makes a ``gymnasium.Env``, or a ``Dynamics``.
        seeds: a count, where 8 means ``range(8)``, or one integer per row, where ``[3]`` means seed 3 alone.
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
        seeds: int | Iterable[int] = 1,
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
        copies = suggested_copies if num_envs is None else num_envs
        self.env: Env = self.source.make(self.seeds, copies, freeze_rows=True)
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

    @classmethod
    def presets_for(cls, env: EnvSource) -> tuple[str, ...]:
        """Return the names of the presets that have hyper-parameters for an environment."""
        name = rlkit.envs.registered_id(env)
        return tuple(preset for preset, by_env in cls.presets.items() if suggestion(by_env, name) is not None)

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
        ``history`` is written before each yield. A resumed run that is finished by ``training(timesteps_left)`` goes
        on with the ``every`` that it had, and its rows fall where those of the uninterrupted run fall.

        Args:
            total_timesteps: environment steps per seed, over all its copies.
            every: environment steps between two rows; None means a hundredth of ``total_timesteps``.

        Raises:
            ValueError: total_timesteps or every below one.
        """
        self._begin(total_timesteps, every)
        return (self.num_timesteps for logged in self._iterations() if logged)

    def iterations(self, total_timesteps: int, every: int | None = None) -> Iterator[int]:
        """``training`` that yields after every iteration, so that a caller can stop or write a checkpoint there.

        Arguments and errors as of ``training``.
        """
        self._begin(total_timesteps, every)
        return (self.num_timesteps for _ in self._iterations())

    def _begin(self, total_timesteps: int, every: int | None) -> None:
        """Set the end of the training and the phase of its log."""
        state = self.training_state
        goes_on = 0 < self.timesteps_left == total_timesteps and every in (None, state.every) and state.due > 0
        if every is None:
            every = state.every if goes_on else max(total_timesteps // 100, 1)
        if total_timesteps < 1 or every < 1:
            raise ValueError(f"total_timesteps and every must be at least 1, got {total_timesteps} and {every}")
        if not goes_on:
            state.end = self.num_timesteps + total_timesteps
            state.every, state.due = every, self.num_timesteps + every
        self._start()

    def _iterations(self) -> Iterator[bool]:
        """Iterate to the end; yields after each iteration whether it ended with a row of the log."""
        state = self.training_state
        while self.timesteps_left:
            with flush_denormals():
                self.iteration()
            state.record_divergences()
            logged = self.num_timesteps >= state.due or not self.timesteps_left
            if logged:
                state.due += state.every
                state.write_row()
            yield logged
        for divergence in self.divergences:
            warnings.warn(str(divergence), RuntimeWarning, stacklevel=2)

    def gradient_step(
        self,
        optimizer: Optimizer,
        gradient: Tensor,
        learning_rate: Tensor,
        max_norm: Tensor,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Take one step of every row that still learns down its gradient; deactivate rows whose gradient is not finite.

        Args:
            optimizer: of the parameters.
            gradient: ``[S, P]``; each row is clipped in place to its ``max_norm``.
            learning_rate, max_norm: ``[S]``.
            rows: the rows that take part, ``[S]`` bool; None for all.

        Returns:
            the norms before clipping, ``[S]``.
        """
        norm = row_norm(gradient)
        if not known_within(norm, max_norm):
            self.training_state.deactivate_nonfinite(norm)
            clip_rows_(gradient, norm, max_norm)
        optimizer.step(gradient, learning_rate, self.active if rows is None else self.active & rows)
        return norm

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
        """Count a segment ``[S, T, B, ...]`` just played, log it, and let it enter the moments of a normaliser.

        Raises:
            FaultyEnvironmentError: no row is left that learns, the last because of its environment.
        """
        self.training_state.timesteps += batch.reward.shape[1] * self.training_state.num_envs
        self.training_state.returns.add(batch)
        self.training_state.freeze(getattr(self.env, "faults", {}))
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

    def __getitem__(self, row: int | slice) -> Self:
        """The agent of one row: the same policy with one seed.

        Raises:
            TypeError: a slice.
            IndexError: no such row.
        """
        if isinstance(row, slice):
            raise TypeError("an agent is indexed by one row: use [agent[i] for i in range(start, stop)] for a slice")
        if not -self.num_seeds <= row < self.num_seeds:
            raise IndexError(f"row {row} of an agent with {self.num_seeds} seeds")
        row %= self.num_seeds
        settings = settings_of_row(self.config, row)
        twin = type(self)(seeds=[self.seeds[row]], num_envs=self.env.num_envs, **self.source._asdict(), **settings)
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

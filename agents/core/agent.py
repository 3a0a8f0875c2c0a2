"""The base class of every agent: construction, the training loop, rows, files.

An algorithm's file defines the networks and the ``iteration``. ``policy.py`` holds the methods of a policy,
``training_state.py`` the state of a training, and ``serialization.py`` the files.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

import rlkit.envs
from rlkit.arrays import as_whole_number
from rlkit.devices import usable_device
from rlkit.evaluation import EVALUATION_SEED
from rlkit.nn import Optimizer, clip_rows_, encode, flush_denormals, known_within, normalizer, row_norm
from rlkit.streams import Stream, as_seeds
from rlkit.types import Env, Network, Targets, Term, Transition

from .compiled_engine import EngineName, choose_engine
from .descent import Forward, L
from .ensemble import Ensemble
from .env_source import EnvSource, Source
from .hyperparameters import (
    PerRowNumbers,
    Presets,
    configured,
    of_preset,
    per_row_names,
    settings_of_row,
    suggestion,
)
from .policy import NetworkPolicy
from .progress import progress
from .sb3_hints import ARGUMENTS, OF_LEARN, ORDER, answering
from .serialization import read_policy, read_run, write_policy, write_run
from .terms import Terms
from .torch_engine import Engine
from .training_state import CutEpisode, Divergence, HasParameters, TrainingState


class Agent(NetworkPolicy):
    """S runs of one algorithm trained side by side; row s is exactly the run of ``seeds[s]``.

    Args:
        env: a gymnasium id, a function that makes a ``gymnasium.Env``, or a ``Dynamics``.
        seeds: a count, where 8 means ``range(8)``, or one integer per row, where ``[3]`` means seed 3 alone.
        num_envs: copies of the environment per seed; None means the preset's number, else 1.
        device: "auto" selects a GPU if there is one, else the CPU.
        backend: "auto" replaces a gymnasium id by rlkit's own implementation (CartPole-v1); "gymnasium" never does.
        env_kwargs: arguments of the environment's constructor.
        step_timeout: seconds that a step of a foreign environment may take. With it the environments of a seed step in
            a separate process, which is killed when one takes longer, and the seed is frozen. None: no limit.
        preset: named hyper-parameters to start from, see ``presets``; None means stable-baselines3's defaults. A
            preset is looked up by the environment's id; a ``Dynamics`` has the id of its class.
        terms: functions ``term(network, features, targets) -> [S]`` whose numbers are added to the loss of every
            update, such as a penalty of the weights. ``network`` gives the scores ``[S, M, A]`` of features
            ``[S, M, D]`` and is twice differentiable in its ``parameters`` and in the features; ``Targets`` describes
            the third argument. A term must treat all rows alike; its strength may differ by row. Files do not hold
            terms: pass them to ``resume`` again; ``load`` and ``agent[i]`` give policies without terms.
        engine: "compiled" runs loops in machine code on the CPU, "torch" plain torch; both do the same arithmetic, and
            round differently. "auto" uses the compiled engine where it covers the agent: not for terms, convolutions,
            radial basis functions or a user's algorithm, and not without numba. ``agent.engine`` names the engine.
            "captured" records whole iterations of torch as CUDA graphs and replays them, on a GPU, without terms and in
            rlkit's own environments. "auto" never chooses it, because it has not been run on a GPU yet.
        _dtype: dtype of the networks; float64 is for comparisons of the engines.
        hyperparameters: fields of ``config_class``. A number is one for all rows or a sequence ``[S]``.

    Raises:
        ValueError: an unknown environment, hyper-parameter or preset, a preset without this environment, values that
            contradict each other, terms for a table, or an engine that does not cover the agent. The message gives
            rlkit's name for an argument of stable-baselines3.
        TypeError: a positional argument after the environment.
    """

    config_class: ClassVar[type]
    takes_terms: ClassVar[bool] = True  # whether the algorithm descends a loss
    presets: ClassVar[Presets]
    checkpointed: ClassVar[
        tuple[str, ...]
    ]  # attributes in a checkpoint of this algorithm, in addition to those of every agent
    saved: ClassVar[
        tuple[str, ...]
    ] = ()  # tensors [S, ...] in a policy's file and in ``agent[i]``, in addition to networks

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
        step_timeout: float | None = None,
        preset: str | None = None,
        terms: Sequence[Term] = (),
        engine: EngineName = "auto",
        _dtype: torch.dtype = torch.float32,
        **hyperparameters: Any,
    ) -> None:
        self.seeds = as_seeds(seeds)
        self.dtype = _dtype  # of networks and their hyper-parameters: float64 compares engines
        self.device = usable_device(device)
        self.terms = Terms(terms, self.seeds, self.device)
        if self.terms.names and not self.takes_terms:
            raise ValueError(f"{type(self).__name__} has no loss to which terms could be added: use DQN")
        self.preset = preset
        self.source = Source(env, backend, dict(env_kwargs or {}), self.device, step_timeout)
        suggested = of_preset(self.presets, preset, self.source.id)
        suggested_copies = int(suggested.pop("num_envs", 1))
        self.config: Any = configured(self.config_class, suggested, hyperparameters)
        self.per_row = PerRowNumbers(self.config, self.num_seeds, self.device, self.dtype)
        copies = suggested_copies if num_envs is None else num_envs
        self.env: Env = self.source.make(self.seeds, copies, freeze_rows=True, double=self.dtype == torch.float64)
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
        self.engine: Engine = choose_engine(self, engine)

    @classmethod
    def presets_for(cls, env: EnvSource) -> tuple[str, ...]:
        """Return the names of the presets that have hyper-parameters for an environment."""
        name = rlkit.envs.registered_id(env)
        return tuple(preset for preset, by_env in cls.presets.items() if suggestion(by_env, name) is not None)

    def per_row_names(self) -> tuple[str, ...]:
        """Return the names of the hyper-parameters that may differ by row."""
        return tuple(per_row_names(self.config))

    # Defined by each algorithm

    def _build(self) -> Mapping[str, HasParameters]:
        """Make the networks and the other attributes of the algorithm.

        Returns:
            the networks that ``save`` writes, by name: ``"q"`` or ``"policy"`` computes the scores, ``"value"``, if
            there is one, the values of states.
        """
        raise NotImplementedError

    def _start(self) -> None:
        """Prepare for more training. Called by ``training`` after ``training_state.end`` is set."""

    def torch_iteration(self) -> None:
        """Collect one batch of experience and learn from it, in plain torch."""
        raise NotImplementedError

    def branch(self) -> Hashable:
        """Return what the host will decide in the next iteration: equal values, equal operations on the device."""
        return None

    # Training

    def iteration(self) -> None:
        """Collect one batch of experience and learn from it, on the engine, which may do so several times at once."""
        self.engine.iteration(self)

    @answering(OF_LEARN, f"callback: {OF_LEARN['callback']}")
    def learn(self, total_timesteps: int, *, progress_bar: bool = False) -> Self:
        """Train every seed for ``total_timesteps`` environment steps, summed over its copies.

        A second call continues the training. The number is rounded up to whole iterations, as in stable-baselines3.
        A loop over ``training`` replaces stable-baselines3's callbacks.

        Args:
            total_timesteps: environment steps per seed.
            progress_bar: whether to show the progress, see ``progress``.

        Returns:
            the agent.

        Raises:
            ValueError: total_timesteps is below one or not a whole number; 1e5 is one.
        """
        total_timesteps = as_whole_number(total_timesteps, "total_timesteps")
        steps = self.training(total_timesteps)
        for _ in progress(self, steps, total_timesteps) if progress_bar else steps:
            pass
        return self

    def training(self, total_timesteps: int, every: int | None = None) -> Iterator[int]:
        """Train as ``learn`` does, and yield the timesteps done after every ``every`` steps and at the end.

        The caller's loop evaluates, writes checkpoints or stops. One row of ``history`` is written before each yield. A
        resumed run that is finished by ``training(timesteps_left)`` continues with the ``every`` that it had, and its
        rows fall where those of the uninterrupted run fall.

        Args:
            total_timesteps: environment steps per seed, over all its copies.
            every: environment steps between two rows; None means a hundredth of ``total_timesteps``.

        Raises:
            ValueError: total_timesteps or every is below one or not a whole number; 1e5 is one.
        """
        self._begin(total_timesteps, every)
        return (self.num_timesteps for logged in self._iterations() if logged)

    def iterations(self, total_timesteps: int, every: int | None = None) -> Iterator[int]:
        """``training`` that yields after every iteration, so that a caller can stop or write a checkpoint there.

        The compiled engine makes several iterations at once, for a fraction of a second at most.
        Arguments and errors as in ``training``.
        """
        self._begin(total_timesteps, every)
        return (self.num_timesteps for _ in self._iterations())

    def _begin(self, total_timesteps: int, every: int | None) -> None:
        """Set the end of the training and the phase of its log."""
        state = self.training_state
        total_timesteps = as_whole_number(total_timesteps, "total_timesteps")
        every = None if every is None else as_whole_number(every, "every")
        goes_on = 0 < self.timesteps_left == total_timesteps and every in (None, state.every) and state.due > 0
        if every is None:
            every = state.every if goes_on else max(total_timesteps // 100, 1)
        if not goes_on:
            state.end = self.num_timesteps + total_timesteps
            state.every, state.due = every, self.num_timesteps + every
        self._start()

    def _iterations(self) -> Iterator[bool]:
        """Iterate to the end; yields after each iteration whether it ended with a row of the log."""
        state = self.training_state
        while self.timesteps_left:
            with flush_denormals(), torch.inference_mode(False):
                self.iteration()
            state.record_divergences()
            logged = self.num_timesteps >= state.due or not self.timesteps_left
            if logged:
                state.due += state.every
                state.write_row()
            yield logged
        for divergence in self.divergences:
            warnings.warn(str(divergence), RuntimeWarning, stacklevel=2)

    def differentiate(
        self, forward: Forward, loss: Callable[..., L], targets: Targets, out: Tensor
    ) -> tuple[L, Tensor]:
        """Evaluate a loss and the terms, and differentiate their sum by the parameters.

        Args:
            forward: the outputs of the network that learns.
            loss: function of the outputs, see ``Forward.gradient``.
            targets: data that the terms may use.
            out: ``[S, P]``, to write the gradient into.

        Returns:
            the losses without the terms, and the gradient ``[S, P]``.
        """
        losses, gradient = forward.gradient(loss, out)
        self.add_terms(gradient, forward.network, forward.features, loss, targets)
        return losses, gradient

    def add_terms(
        self, gradient: Tensor, network: Network, features: Tensor, loss: Callable[..., Any], targets: Targets
    ) -> None:
        """Add the gradient of the terms to that of a loss, ``[S, P]``, in place; log them as ``term_NAME``.

        Arguments as of ``differentiate``, with the network and its features ``[S, M, D]``.
        """
        if self.terms.names:
            targets = targets._replace(progress_remaining=self.progress_remaining)
            found = self.terms.add_to(gradient, network, features, loss, targets)
            self.training_state.means.add(**found)

    def gradient_step(
        self,
        optimizer: Optimizer,
        gradient: Tensor,
        learning_rate: Tensor,
        max_norm: Tensor,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Take one gradient step of every row that still learns; deactivate rows whose gradient is not finite.

        Args:
            optimizer: optimizer of the parameters.
            gradient: ``[S, P]``; each row is clipped in place to its ``max_norm``.
            learning_rate, max_norm: ``[S]``.
            rows: the rows to step, ``[S]`` bool; None for all.

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
        """Return how many of the requested timesteps remain."""
        return max(self.training_state.end - self.training_state.timesteps, 0)

    @property
    def progress_remaining(self) -> float:
        """Return the fraction of training that remains, from 1 to 0; schedules are functions of it."""
        return self.training_state.remaining

    @property
    def active(self) -> Tensor:
        """Return which rows still learn, ``[S]`` bool."""
        return self.training_state.active

    @property
    def history(self) -> dict[str, np.ndarray]:
        """Return the training log: each name as ``[rows, S]``, NaN where nothing was logged."""
        return self.training_state.history

    @property
    def divergences(self) -> tuple[Divergence, ...]:
        """Return the rows that stopped learning, with the step and what was not finite."""
        return self.training_state.divergences(self.networks)

    @property
    def resumed_at_boundary(self) -> tuple[CutEpisode, ...]:
        """Return the episodes that ``resume`` could not restore in this run; see ``resume``."""
        return self.training_state.cut

    # Experience

    def record(self, batch: Transition) -> None:
        """Count and log the segment ``[S, T, B, ...]`` just played, and update the moments of the normalizer.

        Raises:
            FaultyEnvironmentError: no row is left that learns, the last because of its environment.
        """
        self.training_state.advance(batch.reward.shape[1] * self.training_state.num_envs)
        self.training_state.returns.add(batch)
        self.training_state.freeze(getattr(self.env, "faults", {}))
        if self.normalizer is not None:
            features = encode(batch.obs, self.observation_space)
            self.normalizer.update(features, batch.reward, batch.done, self.active)

    def drop_episodes(self, copies: Tensor) -> None:
        """Forget the running episodes of ``copies [S, B]`` bool, whose environments have begun others.

        What they have earned does not enter the log. Algorithms forget here what they remember of an episode.
        """
        self.training_state.returns.drop(copies)
        if self.normalizer is not None:
            self.normalizer.drop(copies)

    # The policy

    def evaluation_env(self, episodes: int, seed: int = EVALUATION_SEED, rows: int | None = None) -> Env:
        """Make S (or ``rows``) x ``episodes`` copies of one episode each, the same for every row and every agent."""
        episodes = as_whole_number(episodes, "episodes")
        seeds = [seed] * (rows or self.num_seeds)
        return self.source.make(seeds, episodes, restart=False, noise="gymnasium", double=True)

    def ensemble(self, members: int | None = None) -> Ensemble:
        """Return one policy that averages the rows' action values or probabilities, or one for every ``members`` rows.

        Raises:
            ValueError: ``members`` does not divide the number of seeds.
        """
        return Ensemble(self, members)

    def __len__(self) -> int:
        return self.num_seeds

    def __getitem__(self, row: int) -> Self:
        """Return the agent of one row: its policy with its one seed.

        Raises:
            TypeError: a slice.
            IndexError: a row that does not exist.
        """
        given: Any = row
        if isinstance(given, slice):
            raise TypeError("an agent is indexed by one row: use [agent[i] for i in range(start, stop)] for a slice")
        if not -self.num_seeds <= row < self.num_seeds:
            raise IndexError(f"row {row} of an agent with {self.num_seeds} seeds")
        row %= self.num_seeds
        settings = settings_of_row(self.config, row)
        made_with: dict[str, Any] = {"num_envs": self.env.num_envs, "engine": self.engine.name, "_dtype": self.dtype}
        if self.terms.names:
            made_with["engine"] = "auto"  # the twin has no terms
        twin = type(self)(seeds=[self.seeds[row]], **made_with, **self.source._asdict(), **settings)
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

    def checkpoint(self, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
        """Write the whole run, between calls of ``learn`` or inside the loop over ``training``.

        ``resume`` continues it to the bit: the file also holds memory, moments, streams and environments. Of a foreign
        environment it holds the actions of the running episodes; see ``resume``. ``Checkpoints`` writes such files by
        time or steps, and keeps the newest and the best.

        Args:
            path: the file.
            notes: data of the caller, as JSON; ``Checkpoints.newest`` returns it with the run.

        Raises:
            OSError: the file cannot be written.
        """
        write_run(self, path, notes)

    @classmethod
    def load(cls, path: str | Path, env: EnvSource | None = None, device: str | torch.device = "auto") -> Self:
        """Read the policies that ``save`` wrote.

        Args:
            path: the file.
            env: the environment; required where the saved agent was not made from an id. It is made with the saved
                ``env_kwargs`` if both or neither of the two environments are ids.
            device: as in the constructor.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a whole file of this algorithm, or no environment.
        """
        return read_policy(cls, path, env, device)

    @classmethod
    def resume(
        cls,
        path: str | Path,
        env: EnvSource | None = None,
        device: str | torch.device = "auto",
        terms: Sequence[Term] = (),
        engine: EngineName | None = None,
    ) -> Self:
        """Read the run that ``checkpoint`` wrote, and continue it to the bit.

        A foreign environment is reset with the seed of its running episode and given the episode's actions again. A
        copy that does not reach the saved observation and rewards depends on more than its seed and actions, for
        example on a global generator. It begins its next episode instead. The unfinished episode ends as if truncated,
        its partial return does not enter the log, and ``resumed_at_boundary`` lists it from then on.

        ``agent.learn(n)`` trains n more steps; ``agent.learn(agent.timesteps_left)`` completes an interrupted training.
        Arguments and errors as in ``load``.

        Args:
            path, env, device: as in ``load``.
            terms: those that the run was made with, in their order.
            engine: None for that of the run; another one continues it with other rounding, not to the bit. A run on the
                engine "captured" needs ``engine="torch"`` to continue on a CPU.

        Raises:
            ValueError: terms of other names than those of the run, or its engine is not available here.

        Warns:
            RuntimeWarning: copies that begin their next episode.
        """
        return read_run(cls, path, env, device, terms, engine)

"""S x B copies of one dynamics stepped as one: in machine code or numpy on the CPU, in torch elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.utils.seeding import np_random
from torch import Tensor

from rlkit.streams import DeviceEpisodeStarts, EpisodeStarts, Stream
from rlkit.types import Transition

from .dynamics import Array, Dynamics

if TYPE_CHECKING:  # numba is imported where it is used
    from rlkit.compiled.rollout import Scaling, SegmentArrays

    from .compiled_step import CompiledStep
    from .dynamics_numbers import StepNumbers

Noise = Literal["stream", "gymnasium"]


class BatchedEnv:
    """S seeds x B copies of ``dynamics``; an ``Env`` of ``rlkit.types``.

    On the CPU a step is one call of machine code where numba is installed, copies restart and the dynamics have numbers
    (``rlkit/envs/dynamics_numbers.py``). Otherwise the dynamics run in numpy, whose small operations cost a quarter of
    torch's. Both work on memory that the returned tensors share. On a device they run in torch and nothing is ever read
    back.

    Args:
        dynamics: the pure functions.
        seeds: one integer per row; copy b of row s depends on (seeds[s], b) alone.
        num_envs: B, copies per seed.
        device: where the tensors are.
        restart: begin a new episode in the step that ends one. Without it a finished copy stays as it ended.
        noise: "stream" for training; "gymnasium" for one episode per copy, the episode that the serial
            environment plays after ``reset(seed=seeds[s] + b)``. Every ``reset`` begins it again, and ``repeats`` is
            True. It needs ``restart=False``.
        double: keep floating states in float64, as the serial environment does; observations keep their dtype.
        in_torch: run the dynamics in torch; by default only off the CPU.
        compiled: step in machine code where that is possible. It rounds as numpy does, except that numpy has another
            sine and cosine on some CPUs, and that first states with ``double`` may differ in the last bit.

    Raises:
        ValueError: no seeds, fewer than one copy, actions that are not Discrete, or gymnasium noise with restarts.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        seeds: Sequence[int],
        num_envs: int = 1,
        device: torch.device | str = "cpu",
        restart: bool = True,
        noise: Noise = "stream",
        double: bool = False,
        in_torch: bool | None = None,
        compiled: bool = True,
    ) -> None:
        if len(seeds) == 0:
            raise ValueError("seeds must hold at least one integer, got none")
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        if not isinstance(dynamics.action_space, spaces.Discrete):
            raise ValueError(f"actions must be Discrete, got {dynamics.action_space}: cut them into bins")
        if noise == "gymnasium" and restart:
            raise ValueError("gymnasium noise plays one episode per copy: pass restart=False")
        self.dynamics = dynamics
        self.seeds = tuple(seeds)
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.observation_space: spaces.Space[Any] = dynamics.observation_space
        self.action_space: spaces.Discrete = dynamics.action_space
        self.max_episode_steps = dynamics.max_steps
        self.action_mask: Tensor | None = None  # dynamics allow every action everywhere
        self.repeats = noise == "gymnasium"
        self._restart = restart
        self._in_torch = self.device.type != "cpu" if in_torch is None else in_torch
        self._compiled = compiled and find_spec("numba") is not None
        # a tensor as one of the dynamics' arrays and back, without a copy on the CPU
        self._native: Callable[[Tensor], Array] = self._to_device if self._in_torch else torch.Tensor.numpy
        self._tensor: Callable[[Array], Tensor] = torch.as_tensor if self._in_torch else torch.from_numpy
        self._limit = None if dynamics.max_steps is None else self._native(torch.tensor(dynamics.max_steps))
        self._no_noise = (
            self._native(torch.empty(len(seeds), num_envs, 0, dtype=torch.float64))
            if dynamics.transition_noise == 0
            else None
        )
        self._float = self._xp.float64 if double else self._xp.float32
        self._noise: StreamNoise | GymnasiumNoise
        if noise == "stream":
            self._noise = StreamNoise(
                dynamics, self.seeds, num_envs, self.device, self._first_state if self._in_torch else None
            )
        else:
            self._noise = GymnasiumNoise(dynamics, self.seeds, num_envs)
        self._never = self._zeros(torch.bool)  # [S, B]
        self.reset()

    @property
    def _xp(self) -> Any:
        """The library of the dynamics' arrays: torch or numpy."""
        return torch if self._in_torch else np

    def reset(self) -> Tensor:
        """Begin a new episode in every copy; observations ``[S, B, *observation]``."""
        first = self._native(self._noise.initial())
        self.state = first if self._noise.gives_states else self._first_state(first)  # [S, B, k]
        self._elapsed = self._zeros(torch.int64)
        self._ended: tuple[Array, ...] = (
            self._zeros(torch.bool),
            self._zeros(torch.bool),
        )  # flags of held copies; False with restarts
        self.obs: Tensor = self._tensor(self.dynamics.observe(self.state))
        return self.obs

    def step(self, action: Tensor) -> Transition:
        """Step every copy with ``action [S, B]`` int64; finished copies start again in the same call."""
        if self._machine_code is not None:
            return self._compiled_step(self._machine_code, action)
        noise = self._native(self._noise.transition()) if self._no_noise is None else self._no_noise
        state, reward, terminated = self.dynamics.transition(self.state, self._native(action), noise)
        self._elapsed += 1
        truncated = self._never if self._limit is None else self._elapsed >= self._limit
        obs, self.obs = self.obs, self._tensor(self.dynamics.observe(state))
        transition = Transition(
            obs=obs,
            action=action,
            reward=self._tensor(self._xp.asarray(reward, dtype=self._xp.float32)),
            next_obs=self.obs,
            terminated=self._tensor(terminated),
            truncated=self._tensor(truncated),
        )
        if not self._restart:
            return self._hold(transition, state)
        self._begin(state, terminated if self._limit is None else terminated | truncated)
        return transition

    @cached_property
    def _machine_code(self) -> CompiledStep | None:
        """Return the compiled step where the dynamics and the device allow it, else None."""
        numbers = self.numbers(torch.float32) if self._compiled else None
        if numbers is None:
            return None
        from .compiled_step import CompiledStep

        assert isinstance(self._noise, StreamNoise)
        return CompiledStep(self.dynamics, numbers, *self._noise.first_states(self._elapsed.shape))

    def _compiled_step(self, step: CompiledStep, action: Tensor) -> Transition:
        """``step`` in one call of machine code."""
        noise = self._noise.transition().numpy() if self._no_noise is None else self._no_noise
        ended, states, reward, flags = step(self.state, self._elapsed, action.numpy(), noise)
        obs, self.obs = self.obs, torch.from_numpy(self.dynamics.observe(states[0]))
        paid, terminated, truncated = torch.from_numpy(reward), torch.from_numpy(flags[0]), torch.from_numpy(flags[1])
        transition = Transition(obs, action, paid, self.obs, terminated, truncated)
        self.state = states[1]
        if ended:
            self.obs = torch.from_numpy(self.dynamics.observe(self.state))
        return transition

    def numbers(self, dtype: torch.dtype) -> StepNumbers | None:
        """Return the numbers of the dynamics for compiled loops; None where there are none.

        There are none for some dynamics, without restarts, and in torch.

        Args:
            dtype: dtype of the policy's features.
        """
        if not self._restart or self._in_torch or isinstance(self._noise, GymnasiumNoise):
            return None
        from .dynamics_numbers import numbers_of

        return numbers_of(self.dynamics, self._float, dtype)

    def play(
        self,
        numbers: StepNumbers,
        policy: Any,
        scaling: Scaling,
        u: Tensor,
        loop: Callable[..., SegmentArrays] | None = None,
    ) -> Transition:
        """Play T steps of every copy by a policy, in machine code; see ``rlkit.compiled``.

        It equals ``step`` after ``step``, up to rounding.

        Args:
            numbers: numbers of these dynamics.
            policy: as in ``rlkit.compiled.rollout.act``.
            scaling: scaling of its features.
            u: uniform numbers of the actions, ``[T, S, B, ...]``.
            loop: what plays, with the arguments of ``rlkit.compiled.rollout.play``; None for that function.

        Returns:
            the segment, ``[S, T, B, ...]``.
        """
        from rlkit.compiled.rollout import RunningArrays, play

        from .dynamics_numbers import step_limit

        assert isinstance(self._noise, StreamNoise)
        state, elapsed = self.state.copy(), self._elapsed.copy()  # what was returned before may share their memory
        noise = self._noise.transitions(len(u))
        running = RunningArrays(state, elapsed, *self._noise.first_states(elapsed.shape), step_limit(self.dynamics))
        played = (loop or play)(numbers, running, policy, scaling, np.ascontiguousarray(u.numpy()), noise)
        self.state, self._elapsed = state, elapsed
        self.obs = torch.from_numpy(self.dynamics.observe(state))
        return Transition(
            obs=torch.from_numpy(self.dynamics.observe(played.state)),
            action=torch.from_numpy(played.action),
            reward=torch.from_numpy(played.reward),
            next_obs=torch.from_numpy(self.dynamics.observe(played.next_state)),
            terminated=torch.from_numpy(played.terminated),
            truncated=torch.from_numpy(played.truncated),
        )

    def _begin(self, state: Array, done: Array) -> None:
        """Take ``state`` as the present one, with the finished copies at the start of their next episode."""
        if self._in_torch:
            self.state = torch.where(done[..., None], self._noise.restart(done), state)
            self._elapsed = self._elapsed.masked_fill(done, 0)
            self.obs = self.dynamics.observe(self.state)
            return
        if np.count_nonzero(done) > 0:
            finished = np.flatnonzero(done)
            state = state.copy()  # the transition's next_obs may share its memory
            state.reshape(-1, state.shape[-1])[finished] = self._first_state(self._noise.restart(finished))
            self._elapsed.reshape(-1)[finished] = 0
            self.obs = torch.from_numpy(self.dynamics.observe(state))
        self.state = state

    def _hold(self, transition: Transition, state: Array) -> Transition:
        """Without restarts: a copy that had finished before this step stays as it ended, flags too, with reward 0."""
        held = self._ended[0] | self._ended[1]
        flags = zip(self._ended, (transition.terminated, transition.truncated), strict=True)
        self._ended = tuple(self._xp.where(held, kept, self._native(new)) for kept, new in flags)
        self.state = self._xp.where(held[..., None], self.state, state)
        self.obs = self._tensor(self.dynamics.observe(self.state))
        return transition._replace(
            reward=transition.reward.masked_fill(self._tensor(held), 0.0),
            next_obs=self.obs,
            terminated=self._tensor(self._ended[0]),
            truncated=self._tensor(self._ended[1]),
        )

    def _first_state(self, u: Array) -> Array:
        state = self.dynamics.initial(u)
        floating = state.is_floating_point() if self._in_torch else state.dtype.kind == "f"
        return self._xp.asarray(state, dtype=self._float) if floating else state

    def _zeros(self, dtype: torch.dtype) -> Array:
        return self._native(torch.zeros(len(self.seeds), self.num_envs, dtype=dtype, device=self.device))

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle or a deep copy holds: no views of the counters."""
        return {name: value for name, value in vars(self).items() if name != "_machine_code"}

    def state_dict(self) -> dict[str, Tensor]:
        """Everything a checkpoint needs to continue these episodes."""
        return {"state": self._tensor(self.state), "elapsed": self._tensor(self._elapsed), **self._noise.state_dict()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue saved episodes."""
        self.state = self._native(state["state"].clone())
        self._elapsed = self._native(state["elapsed"].clone())
        self._noise.load_state(state)
        self.obs = self._tensor(self.dynamics.observe(self.state))


class StreamNoise:
    """Training noise: transitions from the stream "env" by step, first states from the stream "start" by episode.

    Args:
        dynamics: which use it.
        seeds: one per row.
        num_envs: B, copies per seed.
        device: where the numbers are needed.
        first_state: computes first states of their numbers in torch, when they are drawn; None for numpy, where the
            numbers are given.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        seeds: Sequence[int],
        num_envs: int,
        device: torch.device,
        first_state: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.gives_states = first_state is not None
        self._everywhere = torch.ones(len(seeds), num_envs, dtype=torch.bool, device=device)
        self._transitions = Stream(seeds, "env", width=dynamics.transition_noise, copies=num_envs, device=device)
        self._starts: EpisodeStarts | DeviceEpisodeStarts
        if first_state is not None:
            self._starts = DeviceEpisodeStarts(seeds, dynamics.initial_noise, num_envs, device, first_state)
        else:
            self._starts = EpisodeStarts(seeds, dynamics.initial_noise, num_envs)

    def initial(self) -> Tensor:
        """``[S, B, initial_noise]``, or first states ``[S, B, k]``: every copy begins an episode."""
        if isinstance(self._starts, DeviceEpisodeStarts):
            return self._starts.take(self._everywhere)
        numbers = self._starts.take(np.arange(self._everywhere.numel()))
        return torch.from_numpy(numbers).view(*self._everywhere.shape, -1)

    def transition(self) -> Tensor:
        """``[S, B, transition_noise]``."""
        return self._transitions.next()

    def transitions(self, steps: int) -> np.ndarray:
        """Return what ``steps`` calls of ``transition`` would, ``[steps, S, B, transition_noise]``, on the CPU."""
        if self._transitions.width == 0:  # ``step`` draws none either
            return np.empty((steps, *self._everywhere.shape, 0))
        numbers: np.ndarray = self._transitions.take(steps).numpy()
        return numbers

    def first_states(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, int]:
        """Return how many episodes each copy has begun ``[S, B]``, a view, the keys ``[S, B, 2]`` and the width."""
        assert isinstance(self._starts, EpisodeStarts)
        return self._starts.episode.reshape(shape), self._starts.keys.reshape(*shape, 2), self._starts.width

    def restart(self, finished: Array) -> Array:
        """Numpy: flat indices ``[n]`` -> ``[n, initial_noise]``; torch: a mask -> first states ``[S, B, k]``."""
        return self._starts.take(finished)

    def state_dict(self) -> dict[str, Tensor]:
        """The counters."""
        return {**self._transitions.state_dict(), "episode": torch.as_tensor(self._starts.episode).flatten()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from saved counters."""
        self._transitions.load_state(state)
        if isinstance(self._starts, DeviceEpisodeStarts):
            self._starts.load(state["episode"].view(self._everywhere.shape))
        else:
            self._starts.load(state["episode"].flatten().numpy())


class GymnasiumNoise:
    """Evaluation noise: copy b of row s is the serial environment after ``reset(seed=seeds[s] + b)``, for one episode.

    Rows of equal seeds share their numbers, so policies of different rows meet the same episodes.
    """

    STEPS = 64  # drawn ahead
    gives_states = False  # but numbers

    def __init__(self, dynamics: Dynamics, seeds: Sequence[int], num_envs: int) -> None:
        self._dynamics = dynamics
        distinct = sorted(set(seeds))
        self._rows = torch.tensor([distinct.index(seed) for seed in seeds])
        self._seeds = [[seed + copy for copy in range(num_envs)] for seed in distinct]
        self._shape = (len(seeds), num_envs)
        self.initial()

    def initial(self) -> Tensor:
        """``[S, B, initial_noise]``: from the seeds, the same at every call."""
        self._generators = [[np_random(seed)[0] for seed in row] for row in self._seeds]
        self._used = self.STEPS
        return self._draw(self._dynamics.initial_noise)

    def transition(self) -> Tensor:
        """``[S, B, transition_noise]``."""
        width = self._dynamics.transition_noise
        if self._used == self.STEPS:
            self._block = self._draw(self.STEPS * width).view(*self._shape, self.STEPS, width)
            self._used = 0
        self._used += 1
        return self._block[..., self._used - 1, :]

    def restart(self, finished: Array) -> Array:
        """Raise: an evaluation copy plays one episode."""
        raise RuntimeError("an evaluation environment plays one episode per copy and does not restart")

    def state_dict(self) -> dict[str, Tensor]:
        """Raise: an evaluation is not continued."""
        raise RuntimeError("an evaluation environment plays one episode per copy and is not checkpointed")

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Raise: an evaluation is not continued."""
        raise RuntimeError("an evaluation environment plays one episode per copy and is not checkpointed")

    def _draw(self, width: int) -> Tensor:
        numbers = np.array([[generator.random(width) for generator in row] for row in self._generators])
        rows: Tensor = torch.from_numpy(numbers)[self._rows]
        return rows  # [S, B, width]

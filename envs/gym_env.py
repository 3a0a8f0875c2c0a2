"""Dynamics as ordinary gymnasium environments: one copy (``DynamicsEnv``) or many (``DynamicsVectorEnv``).

Both run the pure functions of a ``Dynamics`` in numpy, states in float64, and feed them from gymnasium's own
generators (``numpy.random.PCG64`` behind ``np_random``): copy i of a vector seeded s gives, to the bit, the
episodes of the serial environment seeded s + i.

Ids. ``import rlkit`` registers ``rlkit/CartPole-v1`` and ``rlkit/GridWorld-v0``. Where nothing has imported it, such as
the workers of another process, ``gymnasium.make("rlkit:rlkit/GridWorld-v0")`` imports rlkit first; gymnasium has no
plugin entry points that could do it since version 1.0.

Time limits. A limit that belongs to the problem (``dynamics.max_steps``) is applied here; one that belongs to the
registered id, or to ``gymnasium.make(..., max_episode_steps=N)``, is applied by gymnasium's ``TimeLimit`` around
the serial environment and is handed to the vector. Where both are known the shorter one counts, so
``max_episode_steps`` can shorten a grid world's limit; ``max_steps=...`` changes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from rlkit.mdp import Outcome, TabularMDP

from .cartpole import CartPole
from .dynamics import DEFAULT_FPS, Dynamics
from .gridworld import GridWorld

if TYPE_CHECKING:
    from .render import Window

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
DRAWN_AHEAD = 256  # numbers that a vector's copy draws at once: 2 kB a copy, a generator call every few hundred steps


class Drawable(Protocol):
    """Dynamics that can be drawn. Where they offer ``rgb_array``, ``DynamicsEnv`` adds ``human``, a window."""

    render_modes: Sequence[str]  # "rgb_array", "ansi"

    def render(self, state: NDArray[Any], mode: str) -> Any:
        """One state ``[k]`` as an image ``[height, width, 3]`` uint8 (``rgb_array``) or as text (``ansi``)."""
        ...


class DynamicsEnv(gymnasium.Env[Any, Any]):
    """The dynamics as a ``gymnasium.Env``; ``info`` is always empty.

    An episode is truncated at ``dynamics.max_steps``, which ``spec.max_episode_steps`` reports. The spaces are
    copies: seeding them does not affect other environments of the same dynamics. Finite dynamics have gymnasium's table
    ``P`` of the toy-text environments, so ``TabularMDP.from_gymnasium`` reads them.

    Raises:
        ValueError: a render mode that the dynamics do not offer, an action outside the action space, unknown reset
            options.
        gymnasium.error.ResetNeeded: a step or a picture before the first reset, a step after the episode's end.
    """

    def __init__(self, dynamics: Dynamics, render_mode: str | None = None) -> None:
        self.dynamics = dynamics
        self.observation_space = deepcopy(dynamics.observation_space)
        self.action_space = deepcopy(dynamics.action_space)
        self.metadata = _render_metadata(dynamics, human=True)
        self.render_mode = _offered(render_mode, self.metadata["render_modes"])
        self.state: NDArray[Any] | None = None  # [k]
        self._steps = 0  # of this episode
        self._ended = False
        self._window: Window | None = None
        self._spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """Gymnasium's record of how this environment was made, with the problem's own time limit."""
        return self._spec

    @spec.setter
    def spec(self, value: EnvSpec | None) -> None:
        if value is not None and value.max_episode_steps is None:
            value = replace(value, max_episode_steps=self.dynamics.max_steps)
        self._spec = value

    @cached_property
    def P(self) -> dict[int, dict[int, list[Outcome] | None]]:
        """The transition table ``P[s][a] = [(probability, successor, reward, terminated), ...]``.

        Raises:
            AttributeError: the dynamics are not finite.
        """
        return self._mdp.to_gymnasium()

    @property
    def initial_state_distrib(self) -> NDArray[np.float64]:
        """The probability of every first state, ``[N]``.

        Raises:
            AttributeError: the dynamics are not finite.
        """
        return self._mdp.start

    @property
    def _mdp(self) -> TabularMDP:
        mdp: TabularMDP | None = getattr(self.dynamics, "mdp", None)
        if mdp is None:
            raise AttributeError(f"{type(self.dynamics).__name__} has no transition table: it is not a finite MDP")
        return mdp

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode -> (observation, {}); a seed makes it and all that follow it reproducible.

        Options are those of the dynamics: ``low`` and ``high``, the bounds of first states, of the cart-pole.
        """
        start = _start_options(self.dynamics, options)
        super().reset(seed=seed)
        self.state = self.dynamics.initial(self.np_random.random(self.dynamics.initial_noise), **start)
        self._steps, self._ended = 0, False
        return self._shown(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act once -> (observation, reward, terminated, truncated, {})."""
        if self.state is None or self._ended:
            raise ResetNeeded(f"{'the episode is over' if self._ended else 'no episode has begun'}: call reset() first")
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is not in {self.action_space}: pass one of its integers")
        noise = self.np_random.random(self.dynamics.transition_noise)
        self.state, reward, failed = self.dynamics.transition(self.state, np.asarray(action), noise)
        self._steps += 1
        terminated, truncated = bool(failed), self._steps >= (self.dynamics.max_steps or np.inf)
        self._ended = terminated or truncated
        return self._shown(), float(reward), terminated, truncated, {}

    def render(self) -> Any:
        """The picture of the present state in ``render_mode``; None, with gymnasium's warning, without a mode."""
        if self.render_mode is None:
            gymnasium.logger.warn('no render mode was chosen: make the environment with, say, render_mode="rgb_array"')
            return None
        if self.state is None:
            raise ResetNeeded("nothing to render before the first reset()")
        if self.render_mode != "human":
            return cast(Drawable, self.dynamics).render(self.state, self.render_mode)
        if self._window is None:
            from .render import Window  # matplotlib, only where something is drawn

            self._window = Window(type(self.dynamics).__name__)
        frame = cast(Drawable, self.dynamics).render(self.state, "rgb_array")
        self._window.show(frame, seconds=1 / self.metadata["render_fps"])
        return None

    def close(self) -> None:
        """Close the window of render mode ``human``, if one is open."""
        if self._window is not None:
            self._window.close()
            self._window = None

    def _shown(self) -> Any:
        """The present observation, newly made; drawn on the screen as well in render mode ``human``."""
        if self.render_mode == "human":
            self.render()
        observation = np.array(self.dynamics.observe(self.state), dtype=self.observation_space.dtype)
        return observation[()]  # a Discrete observation is an integer, not an array


class DynamicsVectorEnv(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """Many copies of one environment in one numpy computation, under gymnasium's vector interface.

    Observations, rewards, flags and infos are those of ``gymnasium.vector.SyncVectorEnv`` over ``DynamicsEnv``, to
    the bit, in every mode of restarting: ``NEXT_STEP`` (the step after an episode's end ignores its action and
    returns the first observation of the next episode), ``SAME_STEP`` (the ending step returns it, the true last
    observation is ``infos["final_obs"]``) and ``DISABLED`` (the caller resets with ``options={"reset_mask": ...}``).

    Args:
        dynamics: dynamics to simulate.
        num_envs: copies.
        autoreset_mode: who restarts a finished copy and when; a member of ``AutoresetMode`` or its value.
        max_episode_steps: a time limit beside ``dynamics.max_steps``, the shorter one counts; None or -1 for none.
        render_mode: what ``render`` returns for every copy; windows (``human``) are for ``DynamicsEnv``.

    Raises:
        ValueError: fewer than one copy, an unknown mode, a limit below one step, an action outside the action
            space (named with its copy), seeds or a reset mask of another length, unknown reset options.
        gymnasium.error.ResetNeeded: a step before the first reset or, if ``DISABLED``, of a finished copy.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.dynamics = dynamics
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.max_episode_steps = shorter_limit(dynamics.max_steps, max_episode_steps)
        self.metadata = _render_metadata(dynamics, human=False) | {"autoreset_mode": self.autoreset_mode}
        self.render_mode = _offered(render_mode, self.metadata["render_modes"])
        self.single_observation_space = deepcopy(dynamics.observation_space)
        self.single_action_space = deepcopy(dynamics.action_space)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.state: NDArray[Any] | None = None  # [num_envs, k]
        self._steps = np.zeros(num_envs, dtype=np.int64)  # of the copy's episode
        self._ended = np.zeros(num_envs, dtype=np.bool_)
        self._noise = CopiesNoise(num_envs, max(dynamics.initial_noise, dynamics.transition_noise))

    @property
    def np_random_seed(self) -> tuple[int | None, ...]:  # type: ignore[override]
        """The seed of each copy's generator, None before the first reset."""
        return tuple(self._noise.seeds)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode in every copy, or in those of ``options["reset_mask"]`` -> (observations, {}).

        seed: an int seeds copy i with seed + i; a sequence gives every copy its own, None continuing its generator.
        Other options are those of ``DynamicsEnv.reset``; they hold for the episodes that begin here.
        """
        copies = self._to_reset(options)
        start = _start_options(self.dynamics, {n: v for n, v in (options or {}).items() if n != "reset_mask"})
        for copy, own_seed in zip(copies, self._seeds(seed)[copies], strict=True):
            self._noise.seed(copy, own_seed)
        self._restart(copies, start)
        return self._observe(), {}

    def step(
        self, actions: ArrayLike
    ) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Act once in every copy -> (observations, rewards, terminated, truncated, infos), leading axis num_envs."""
        if self.state is None:
            raise ResetNeeded("no episode has begun: call reset() first")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._ended.any():
            finished = np.flatnonzero(self._ended).tolist()
            raise ResetNeeded(f"copies {finished} are finished: reset(options={{'reset_mask': ...}}) them first")
        # Copies that wait for their reset are computed too and thrown away: cheaper than picking out the others.
        running = ~self._ended
        actions = self._checked(np.asarray(actions), running)
        self.state, rewards, failed = self.dynamics.transition(self.state, actions, self._transition_noise(running))
        self._steps += 1
        rewards = np.where(running, rewards, 0.0).astype(np.float64, copy=False)
        terminated = failed & running
        truncated = (self._steps >= (self.max_episode_steps or np.inf)) & running
        self._ended = terminated | truncated
        self._restart(np.flatnonzero(~running))  # under NEXT_STEP this is their step
        observations, infos = self._observe(), {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._ended.any():
            infos = final_infos(observations, self._ended)
            self._restart(np.flatnonzero(self._ended))
            observations = self._observe()
        return observations, rewards, terminated, truncated, infos

    def render(self) -> tuple[Any, ...] | None:
        """A picture of every copy in ``render_mode``; None, with gymnasium's warning, without a mode."""
        if self.render_mode is None:
            gymnasium.logger.warn('no render mode was chosen: make the environment with, say, render_mode="rgb_array"')
            return None
        if self.state is None:
            raise ResetNeeded("nothing to render before the first reset()")
        return tuple(cast(Drawable, self.dynamics).render(state, self.render_mode) for state in self.state)

    def _seeds(self, seed: int | Sequence[int | None] | None) -> NDArray[np.object_]:
        """One seed (or None) per copy, ``[num_envs]``."""
        if seed is None:
            seed = [None] * self.num_envs
        elif isinstance(seed, int | np.integer):
            seed = [int(seed) + copy for copy in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"{len(seed)} seeds for {self.num_envs} copies: pass one each, or a single int")
        return np.array(seed, dtype=object)

    def _to_reset(self, options: dict[str, Any] | None) -> NDArray[np.int64]:
        """Indices of the copies to reset: those of the mask, else all."""
        mask = (options or {}).get("reset_mask")
        if mask is None:
            return np.arange(self.num_envs)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(
                f"options['reset_mask'] must be a numpy bool array of {self.num_envs} copies, got {mask!r}"
            )
        if not mask.any():
            raise ValueError("options['reset_mask'] names no copy: set at least one element, or do not reset")
        if self.state is None and not mask.all():
            raise ResetNeeded("the first reset() must start every copy: leave options['reset_mask'] out")
        return np.flatnonzero(mask)

    def _restart(self, copies: NDArray[np.int64], start: Mapping[str, Any] = NO_OPTIONS) -> None:
        """Begin an episode in these copies."""
        if len(copies) == 0:
            return
        first = self.dynamics.initial(self._noise.take(copies, self.dynamics.initial_noise), **start)  # [copies, k]
        if self.state is None:
            self.state = first
        self.state[copies] = first
        self._steps[copies], self._ended[copies] = 0, False

    def _transition_noise(self, running: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Numbers for the running copies, ``[num_envs, transition_noise]``; the other generators stand still."""
        width = self.dynamics.transition_noise
        noise = np.zeros((self.num_envs, width))
        if width:
            noise[running] = self._noise.take(np.flatnonzero(running), width)
        return noise

    def _checked(self, actions: NDArray[Any], running: NDArray[np.bool_]) -> NDArray[Any]:
        """One integer per copy, an action where it is used; where it is not, some action."""
        if actions.shape != (self.num_envs,) or actions.dtype.kind not in "iu":
            raise ValueError(f"actions must be {self.num_envs} integers, got {actions.dtype} of shape {actions.shape}")
        space = cast(spaces.Discrete, self.single_action_space)
        wrong = (actions < space.start) | (actions >= space.start + space.n)
        if not wrong.any():
            return actions
        if (wrong & running).any():
            copy = np.flatnonzero(wrong & running)[0]
            raise ValueError(f"action {actions[copy]} of copy {copy} is not in {space}: pass one of its integers")
        return np.where(wrong, space.start, actions)

    def _observe(self) -> NDArray[Any]:
        """Observations of every copy, newly made."""
        return np.array(self.dynamics.observe(self.state), dtype=self.single_observation_space.dtype)


class CopiesNoise:
    """Uniform numbers of one generator per copy, handed out in each generator's own order.

    A call of numpy's generator costs a microsecond for any number of draws, so every copy draws a block ahead. How many
    numbers each of its requests takes does not change the sequence: ``random(2)`` after ``random(3)`` is
    ``random(5)``, which is what keeps a copy equal to the serial environment.
    """

    def __init__(self, copies: int, largest_request: int) -> None:
        self.seeds: list[int | None] = [None] * copies
        self._generators: list[np.random.Generator | None] = [None] * copies
        self._numbers = np.empty((copies, max(DRAWN_AHEAD, largest_request)))
        self._used = np.full(copies, self._numbers.shape[1])  # where the copy's unused numbers begin

    def seed(self, copy: int, seed: int | None) -> None:
        """Give a copy gymnasium's generator of this seed; None keeps the generator it has, else picks one at random."""
        if seed is None and self._generators[copy] is not None:
            return
        self._generators[copy], self.seeds[copy] = seeding.np_random(seed)
        self._used[copy] = self._numbers.shape[1]

    def take(self, copies: NDArray[np.int64], width: int) -> NDArray[np.float64]:
        """The next ``width`` numbers of each of these copies, ``[len(copies), width]``."""
        for copy in copies[self._used[copies] + width > self._numbers.shape[1]]:
            self._refill(copy)
        first = self._used[copies]
        self._used[copies] = first + width
        return self._numbers[copies[:, None], first[:, None] + np.arange(width)]

    def _refill(self, copy: int) -> None:
        """Move the unused numbers to the front and draw what fits behind them."""
        generator = self._generators[copy]
        assert generator is not None
        row, unused = self._numbers[copy], self._numbers[copy, self._used[copy] :].copy()
        row[: len(unused)] = unused
        generator.random(out=row[len(unused) :])
        self._used[copy] = 0


def final_infos(observations: NDArray[Any], ended: NDArray[np.bool_]) -> dict[str, Any]:
    """What gymnasium's ``SAME_STEP`` mode reports of the episodes that ended: ``final_obs`` (an object array, None
    for the others), ``final_info`` and their masks."""
    last = np.full(len(ended), None, dtype=object)
    for copy in np.flatnonzero(ended):
        last[copy] = observations[copy]
    return {"final_obs": last, "_final_obs": ended.copy(), "final_info": {}, "_final_info": ended.copy()}


def shorter_limit(*limits: int | None) -> int | None:
    """The shortest of some time limits in steps; None and gymnasium's -1 stand for no limit.

    Raises:
        ValueError: a limit below one step.
    """
    known = [limit for limit in limits if limit is not None and limit != -1]
    if any(limit < 1 for limit in known):
        raise ValueError(f"a time limit must be at least one step, got {min(known)}; None or -1 means no limit")
    return min(known, default=None)


def _render_metadata(dynamics: Dynamics | type[Dynamics], human: bool) -> dict[str, Any]:
    """Return gymnasium's metadata of what the dynamics can draw."""
    modes = list(getattr(dynamics, "render_modes", ()))
    if human and "rgb_array" in modes:
        modes.append("human")
    return {"render_modes": modes, "render_fps": getattr(dynamics, "render_fps", DEFAULT_FPS)}


def _offered(render_mode: str | None, modes: Sequence[str]) -> str | None:
    """The render mode, if it is one of those offered."""
    if render_mode is not None and render_mode not in modes:
        raise ValueError(f"render_mode {render_mode!r} is not offered: choose from {', '.join(modes) or 'None only'}")
    return render_mode


def _start_options(dynamics: Dynamics, options: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the reset options as further arguments of ``dynamics.initial``.

    Raises:
        ValueError: options that it does not take.
    """
    known = getattr(dynamics, "start_options", ())
    unknown = sorted(set(options or {}) - set(known))
    if unknown:
        raise ValueError(
            f"unknown reset options {unknown}: {type(dynamics).__name__} takes {', '.join(known) or 'none'}"
        )
    return options or NO_OPTIONS


# What the registered ids call. CartPole's 500 steps belong to its id, so gymnasium.make(..., max_episode_steps=N)
# replaces them, as for gymnasium's own; a grid world's limit belongs to its map. gymnasium.make reads the metadata of
# the class before it makes one, to offer "rgb_array_list" and "ansi_list".


class CartPoleEnv(DynamicsEnv):
    """``rlkit/CartPole-v1``: ``parameters`` are those of ``CartPole``."""

    metadata = _render_metadata(CartPole, human=True)

    def __init__(self, render_mode: str | None = None, **parameters: Any) -> None:
        super().__init__(CartPole(**{"max_steps": None, **parameters}), render_mode)


def make_cartpole_vector(
    num_envs: int = 1,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    max_episode_steps: int | None = None,
    render_mode: str | None = None,
    **parameters: Any,
) -> DynamicsVectorEnv:
    """``rlkit/CartPole-v1`` under ``gymnasium.make_vec``."""
    dynamics = CartPole(**{"max_steps": None, **parameters})
    return DynamicsVectorEnv(dynamics, num_envs, autoreset_mode, max_episode_steps, render_mode)


class GridWorldEnv(DynamicsEnv):
    """``rlkit/GridWorld-v0``: ``parameters`` are those of ``GridWorld`` (``map``, ``slip``, ``max_steps``, ...)."""

    metadata = _render_metadata(GridWorld, human=True)

    def __init__(self, render_mode: str | None = None, **parameters: Any) -> None:
        super().__init__(GridWorld(**parameters), render_mode)


def make_gridworld_vector(
    num_envs: int = 1,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    max_episode_steps: int | None = None,
    render_mode: str | None = None,
    **parameters: Any,
) -> DynamicsVectorEnv:
    """``rlkit/GridWorld-v0`` under ``gymnasium.make_vec``."""
    return DynamicsVectorEnv(GridWorld(**parameters), num_envs, autoreset_mode, max_episode_steps, render_mode)

"""Gymnasium environments with attacked observations, for any agent that steps a gymnasium environment.

The shown observation is computed from the true one of the same step, which ``info`` holds. Rewards, flags and the state
of the environment do not change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from .attacked_policy import AttackedPolicy
from .attacks.base import Attack
from .budget import Budget, as_budget
from .checks import as_attack
from .timing import Timing
from .victims.base import OneHot, Victim, as_victim

Draw = Callable[[Any], NDArray[np.uint8]]  # an observation -> a picture of it [H, W, 3]
CAPTIONS = ("true", "shown")
CAPTION_HEIGHT, GAP = 28, 4  # pixels


class AttackedObservation(gymnasium.Wrapper[Any, Any, Any, Any]):
    """``env`` with an attacker between it and the agent: observations are those of ``AttackedPolicy.perturb``.

    ``info`` of every reset and step holds ``true_observation``, ``perturbation`` (shown minus true) and ``attacked``
    (whether they differ). Shown observations stay within the observation space: its bounds are added to the budget's.
    ``reset(seed=s)`` starts the streams of random attacks and timings at seed s: an episode is a function of its seed.

    With ``draw``, ``render`` of mode ``rgb_array`` shows the true and the shown observation side by side. Grid worlds
    and the cart-pole provide it as ``dynamics.render_observation``.

    Args:
        env: has observations in a Box, or Discrete ones if the victim is ``OneHot`` (the agent is then shown codes).
        victim: the policy that the attack queries, of one seed; usually the agent itself.
        attack: chooses the observations to show.
        budget: bounds the difference between shown and true observations.
        timing: when to attack; None for always.
        attacks_per_episode: maximum attacks per episode; None for no limit.
        target: true observations ``[1, 1, *observation]`` -> actions ``[1, 1]`` that the attack aims at; None for
            any other than its own.
        draw: an observation -> a picture ``[H, W, 3]``; None renders the environment itself.

    Raises:
        ValueError: the victim has more than one seed, the observation space cannot be attacked, or
            ``AttackedPolicy`` refuses an argument.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        victim: Victim,
        attack: Attack,
        budget: Budget | float,
        timing: Timing | None = None,
        attacks_per_episode: int | None = None,
        target: Callable[[Tensor], Tensor] | None = None,
        draw: Draw | None = None,
    ) -> None:
        super().__init__(env)
        self.observation_space = _shown_space(env.observation_space, victim)
        within = _within(budget, self.observation_space)
        self._new_attacker = _maker(victim, attack, within, timing, attacks_per_episode, target)
        self.attacker = self._new_attacker([0])
        self.draw = draw
        self._pictured: tuple[Any, Any] | None = None  # the last true and shown observation

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode and return (shown observation, info); ``seed`` and ``options`` go to ``env``."""
        obs, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self.attacker = self._new_attacker([seed])
        self.attacker.restart()
        return self._show(obs, info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment and return (shown observation, reward, terminated, truncated, info)."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        shown, told = self._show(obs, info)
        return shown, reward, terminated, truncated, told

    def render(self) -> Any:
        """Render the true and the shown observation side by side if ``draw`` was given and the mode is rgb_array.

        Otherwise return what ``env`` renders.

        Raises:
            gymnasium.error.ResetNeeded: no episode has begun.
        """
        if self.draw is None or self.render_mode != "rgb_array":
            return self.env.render()
        if self._pictured is None:
            raise gymnasium.error.ResetNeeded("nothing to render before the first reset()")
        return side_by_side([self.draw(obs) for obs in self._pictured], CAPTIONS)

    def _show(self, obs: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        shown, perturbation, attacked = _perturbed(self.attacker, np.asarray(obs)[None], self.observation_space)
        self._pictured = (obs, shown[0])
        told = {"true_observation": obs, "perturbation": perturbation[0], "attacked": bool(attacked[0])}
        return shown[0], {**info, **told}


class AttackedVectorObservation(VectorWrapper[Any, Any, Any, Any, Any]):
    """``AttackedObservation`` of a gymnasium ``VectorEnv``: all copies are attacked as one batch.

    ``infos`` hold ``true_observation``, ``perturbation`` and ``attacked``, an entry per copy. ``final_obs`` of the mode
    SAME_STEP is the true one. After ``reset(seed=s)`` copy i draws from the streams (s, purpose, i).

    Args:
        env: restarts its own copies (NEXT_STEP or SAME_STEP).
        victim, attack, budget, timing, attacks_per_episode, target: as in ``AttackedObservation``.

    Raises:
        ValueError: the environment leaves restarting to its caller, or ``AttackedObservation`` refuses an argument.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        victim: Victim,
        attack: Attack,
        budget: Budget | float,
        timing: Timing | None = None,
        attacks_per_episode: int | None = None,
        target: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(env)
        self._mode = env.metadata.get("autoreset_mode")
        if self._mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
            raise ValueError(
                f"autoreset mode {self._mode} is not supported: a reset of some copies would attack the others twice "
                "at one step. Make the environment with AutoresetMode.NEXT_STEP or SAME_STEP"
            )
        self.single_observation_space = _shown_space(env.single_observation_space, victim)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        within = _within(budget, self.single_observation_space)
        self._new_attacker = _maker(victim, attack, within, timing, attacks_per_episode, target)
        self.attacker = self._new_attacker([0])
        self._done = np.zeros(env.num_envs, dtype=np.bool_)  # copies whose next observation begins an episode

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in every copy and return (shown observations ``[n, *observation]``, infos)."""
        any_seed: Any = seed  # a list is accepted, though the type of the base class excludes it
        obs, infos = self.env.reset(seed=any_seed, options=options)
        first = seed if seed is None or isinstance(seed, int) else seed[0]
        if first is not None:
            self.attacker = self._new_attacker([first])
        self.attacker.restart()
        self._done[:] = False
        return self._show(obs, infos)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every copy and return (shown observations, rewards, terminated, truncated, infos)."""
        obs, rewards, terminated, truncated, infos = self.env.step(actions)
        done = terminated | truncated
        self.attacker.restart(torch.from_numpy(done if self._mode == AutoresetMode.SAME_STEP else self._done)[None])
        self._done = done
        shown, told = self._show(obs, infos)
        return shown, rewards, terminated, truncated, told

    def _show(self, obs: Any, infos: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        shown, perturbation, attacked = _perturbed(self.attacker, obs, self.single_observation_space)
        told = {"true_observation": obs, "perturbation": perturbation, "attacked": attacked}
        every = np.ones(self.num_envs, dtype=np.bool_)
        return shown, {**infos, **told, **{f"_{name}": every for name in told}}


def side_by_side(images: Sequence[NDArray[np.uint8]], captions: Sequence[str]) -> NDArray[np.uint8]:
    """Join images ``[H, W, 3]`` horizontally, each under its caption, with a line of 4 pixels between.

    Raises:
        ValueError: the images have different heights, or the numbers of images and captions differ.
    """
    if len({image.shape[0] for image in images}) != 1 or len(images) != len(captions):
        raise ValueError(
            f"give equally high images and a caption each, got shapes {[image.shape for image in images]} and "
            f"{len(captions)} captions"
        )
    columns = [
        np.concatenate([_caption(text, image.shape[1]), image]) for image, text in zip(images, captions, strict=True)
    ]
    line = np.full((len(columns[0]), GAP, 3), 128, dtype=np.uint8)
    return np.concatenate([part for column in columns for part in (line, column)][1:], axis=1)


@lru_cache(maxsize=16)
def _caption(text: str, width: int) -> NDArray[np.uint8]:
    """Draw a text on a strip ``[28, width, 3]`` uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 100, CAPTION_HEIGHT / 100), dpi=100)
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=11)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.array(canvas.buffer_rgba(), dtype=np.uint8)[..., :3]  # type: ignore[no-untyped-call]
    return pixels[:CAPTION_HEIGHT, :width].copy()


def _maker(victim: Victim, *rest: Any) -> Callable[[Sequence[int]], AttackedPolicy]:
    """Return a function from seeds to an attacker of the victim."""
    victim = as_victim(victim)
    rows = getattr(victim, "num_seeds", None)
    if rows not in (None, 1):
        raise ValueError(f"the victim has {rows} seeds and an environment shows one: use victim[i]")
    attack, budget, timing, attacks_per_episode, target = as_attack(rest[0]), *rest[1:]
    return lambda seeds: AttackedPolicy(victim, attack, budget, seeds, target, timing, attacks_per_episode)


def _shown_space(space: spaces.Space[Any], victim: Victim) -> spaces.Box:
    """Return the space of shown observations: the space itself, or all codes for integers behind ``OneHot``."""
    if isinstance(space, spaces.Discrete) and isinstance(victim, OneHot):
        return spaces.Box(-np.inf, np.inf, (int(space.n),), np.float32)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return space
    raise ValueError(
        f"observations in {space} cannot be attacked: use an environment with floating observations, or for Discrete "
        "ones a victim in OneHot"
    )


def _within(budget: Budget | float, space: spaces.Box) -> Budget:
    """Return the budget with the bounds of the space added to its own."""
    budget = as_budget(budget)
    low, high = (torch.as_tensor(bound, dtype=torch.float64).numpy() for bound in (budget.low, budget.high))
    return replace(budget, low=np.maximum(low, space.low), high=np.minimum(high, space.high))


def _perturbed(
    attacker: AttackedPolicy, obs: NDArray[Any], space: spaces.Space[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Return shown observations for true ones ``[n, ...]``, the differences, and where they are not zero."""
    device = getattr(attacker.policy, "device", None)
    true = attacker.starts.to_zero_based(torch.as_tensor(np.array(obs), device=device))[None]  # [1, n, *observation]
    shown = attacker.perturb(true)
    if isinstance(attacker.policy, OneHot):
        true = attacker.policy.encode(true)
    arrays = (tensor[0].cpu().numpy() for tensor in (shown, shown - true, attacker.attacked))
    seen, difference, attacked = arrays
    return seen.astype(space.dtype, copy=False), difference, attacked

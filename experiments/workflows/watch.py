"""Show the episodes of one seed of a policy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rlkit.adversarial import Attack, AttackedObservation, Budget, Timing, Victim
from rlkit.atomic_files import whole_file
from rlkit.envs import find_dynamics
from rlkit.envs.gym_env import DynamicsEnv
from rlkit.evaluation import EVALUATION_SEED, STEP_CAP

from .attack import ATTACKS
from .policies import Subject
from .threat import NormName, Unit, threat_of

Mode = Literal["human", "ansi", "gif"]
RENDER_MODES: dict[Mode, str] = {"human": "human", "ansi": "ansi", "gif": "rgb_array"}


class Frame(NamedTuple):
    """The picture after a step, or at the start of an episode."""

    episode: int
    step: int
    earned: float  # return so far
    done: bool
    image: Any  # [H, W, 3] uint8, a text, or None where the environment draws its own window


class Tampering(NamedTuple):
    """The attack on the observations of the watched policy."""

    attack: Attack
    budget: Budget
    timing: Timing | None = None  # None: always


def tampering_of(subject: Subject, attack: str, epsilon: float, unit: Unit | None, norm: NormName) -> Tampering:
    """An attack of ``rlkit attack`` at one epsilon.

    Raises:
        ValueError: see ``threat_of``.
    """
    return Tampering(ATTACKS[attack], threat_of(subject, unit=unit, norm=norm).budget(epsilon))


def watch(
    subject: Subject,
    mode: Mode,
    episodes: int = 1,
    row: int = 0,
    max_steps: int | None = None,
    tampering: Tampering | None = None,
) -> Iterator[Frame]:
    """Play ``episodes`` episodes of seed ``row`` greedily, the same as ``evaluate``, and yield every frame.

    Under ``tampering`` a frame of mode gif shows the true state next to the observation that the policy receives.

    Raises:
        ValueError: the environment cannot be shown that way, or a row that the policy does not have.
    """
    if not 0 <= row < len(subject.seeds):
        raise ValueError(f"the policy has seeds {list(subject.seeds)}: --row must be 0 to {len(subject.seeds) - 1}")
    policy: Any = subject.policy
    model = policy[row] if len(subject.seeds) > 1 else policy
    env = make_shown(subject, mode)
    if tampering is not None:
        env = tampered(env, model, tampering, mode)
    try:
        for episode in range(episodes):
            obs, _ = env.reset(seed=EVALUATION_SEED + episode)
            earned, done, step = 0.0, False, 0
            yield Frame(episode, step, earned, done, _picture(env))
            while not done and step < (STEP_CAP if max_steps is None else max_steps):
                action, _ = model.predict(obs, deterministic=True)
                obs, reward, terminated, truncated, _ = env.step(action)
                earned, done, step = earned + float(reward), terminated or truncated, step + 1
                yield Frame(episode, step, earned, done, _picture(env))
    finally:
        env.close()


def make_shown(subject: Subject, mode: Mode) -> gymnasium.Env:
    """Make one environment with a render mode; rlkit's own if there is one, whose pictures need only matplotlib.

    Raises:
        ValueError: the environment does not have that mode.
    """
    dynamics = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    if dynamics is not None:
        return DynamicsEnv(dynamics, RENDER_MODES[mode])
    offered = gymnasium.make(subject.env, **subject.env_kwargs).metadata.get("render_modes", [])
    if RENDER_MODES[mode] not in offered:
        raise ValueError(f"{subject.env} cannot be shown as {mode}: it renders {', '.join(offered)}")
    return gymnasium.make(subject.env, render_mode=RENDER_MODES[mode], **subject.env_kwargs)


def tampered(env: gymnasium.Env, model: Victim, tampering: Tampering, mode: Mode) -> gymnasium.Env:
    """Put an attacker between an environment and the policy.

    Raises:
        ValueError: a mode other than gif, or an environment that cannot draw observations.
    """
    dynamics: Any = env.dynamics if isinstance(env, DynamicsEnv) else None
    if mode != "gif":
        raise ValueError(f"attacked observations are drawn in pictures only: use --mode gif, not {mode}")
    if not hasattr(dynamics, "render_observation"):
        raise ValueError("only the cart-pole and grid worlds can draw observations: leave --attack out")
    attack, budget, timing = tampering
    return AttackedObservation(env, model, attack, budget, timing, draw=dynamics.render_observation)


def has_display() -> bool:
    """Whether matplotlib can open a window here."""
    import matplotlib.pyplot as plt  # chooses the backend, which needs a display and a toolkit

    figure = plt.figure()
    plt.close(figure)
    return type(figure.canvas).required_interactive_framework is not None


def _picture(env: gymnasium.Env) -> Any:
    """The current frame; None for a window, which draws itself."""
    return None if env.render_mode == "human" else env.render()


def write_gif(path: Path, images: list[NDArray[np.uint8]], fps: int = 30) -> None:
    """Write an animation of images ``[H, W, 3]`` of one size, whole or not at all.

    Raises:
        ValueError: no images, or frames that are not images.
    """
    if not images or not all(isinstance(image, np.ndarray) and image.ndim == 3 for image in images):
        raise ValueError("the environment gave no images to write: choose another --mode")
    from PIL import Image

    frames = [Image.fromarray(image) for image in images]
    with whole_file(path) as file:
        frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0)

"""Animations: values spreading over sweeps, a policy that learns a grid, and attacked episodes beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from rlkit.atomic_files import whole_file
from rlkit.envs.render import DrawnGrid, draw_values, figure_image
from rlkit.figure_style import in_style
from rlkit.planning import bellman, greedy, q_backup

from ..report.grid_panel import GridPanel
from ..workflows.policies import Subject
from ..workflows.watch import Tampering, watch

TILE = 0.62  # inches of a tile
COLORS_OF_GIF = 64

Frames = Sequence[NDArray[np.uint8]]  # [H, W, 3] each, of one size


def value_iteration_frames(grid: DrawnGrid, gamma: float, sweeps: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Draw the values and the greedy policy after numbers of sweeps of value iteration from zero; zeros are blank.

    Args:
        grid: the map.
        gamma: discount.
        sweeps: numbers of sweeps, increasing from 0 or more.
    """
    values = [np.zeros(grid.mdp.num_states)]
    for _ in range(max(sweeps)):
        values.append(bellman(grid.mdp, values[-1], gamma))
    last = values[-1][~grid.mdp.ended]
    limits = min(float(last.min(axis=0)), 0.0), max(float(last.max(axis=0)), 0.0)
    policies = [greedy(q_backup(grid.mdp, values[k], gamma)) for k in sweeps]
    titles = ["after 1 sweep" if k == 1 else f"after {k} sweeps" for k in sweeps]
    return [
        _map_frame(grid, values[k], policy, limits, title, blank=True)
        for k, policy, title in zip(sweeps, policies, titles, strict=True)
    ]


def learning_frames(grid: DrawnGrid, panel: GridPanel) -> list[NDArray[np.uint8]]:
    """Draw what the panel of a training shows at every position of its slider.

    Raises:
        ValueError: the panel has two sliders.
    """
    (slider,) = panel.sliders
    known = panel.value[np.isfinite(panel.value)]
    limits = float(known.min(axis=0)), float(known.max(axis=0))
    return [
        _map_frame(grid, np.nan_to_num(value), policy, limits, f"{position:,.0f} {slider.name}")
        for position, value, policy in zip(slider.positions, panel.value, panel.policy, strict=True)
    ]


def attacked_frames(subject: Subject, tampering: Tampering, steps: int) -> list[NDArray[np.uint8]]:
    """Play the first evaluation episode of the first seed, with the truth beside what the policy is shown.

    Args:
        subject: the policy.
        tampering: the attack.
        steps: most steps.
    """
    return [frame.image for frame in watch(subject, "gif", max_steps=steps, tampering=tampering)]


@in_style
def _map_frame(
    grid: DrawnGrid,
    value: NDArray[Any],
    policy: NDArray[Any],
    limits: tuple[float, float],
    title: str,
    blank: bool = False,
) -> NDArray[np.uint8]:
    rows, columns = grid.letters.shape
    figure = Figure(figsize=(TILE * columns + 1.0, TILE * rows + 0.5), dpi=100, layout="constrained")
    draw_values(grid, value, policy, axes=figure.add_subplot(), limits=limits, title=title, blank=blank)
    return figure_image(figure)


def write_small_gif(path: Path, frames: Frames, width: int = 720, fps: float = 8.0) -> None:
    """Write an animation of at most ``width`` pixels across in few colors, whole or not at all.

    The last frame is shown for two seconds.

    Raises:
        ValueError: no frame, or frames of different sizes.
    """
    if not frames or len({frame.shape for frame in frames}) != 1:
        raise ValueError(f"frames must be images of one size, got the sizes {sorted({f.shape for f in frames})}")
    height = round(frames[0].shape[0] * min(1.0, width / frames[0].shape[1]))
    size = min(width, frames[0].shape[1]), height
    images = [Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS) for frame in frames]
    palette = images[-1].quantize(COLORS_OF_GIF)
    small = [image.quantize(COLORS_OF_GIF, palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [round(1000 / fps)] * (len(small) - 1) + [2000]
    with whole_file(path) as file:
        small[0].save(
            file, format="GIF", save_all=True, append_images=small[1:], duration=durations, loop=0, optimize=True
        )

"""Pictures of grid worlds, their values and policies, and of the cart-pole, by matplotlib alone.

Images are drawn off screen; only ``Window`` opens one.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Circle, Polygon, Rectangle
from numpy.typing import ArrayLike, NDArray

from rlkit.figure_style import ON_DARK, ON_LIGHT, VALUES, blank_zeros, in_style
from rlkit.mdp import TabularMDP

from .maps import FREE, GOAL, HOLE, START, WALL

TILE_COLORS = {START: "#cfe8ff", FREE: "#f7f7f5", WALL: "#3c4650", HOLE: "#24476b", GOAL: "#4fa96a"}
LETTER_COLOR = "#f0c36d"
AGENT_COLOR = "#d9482b"
DPI = 100
# Steps of a unit arrow for 0 left, 1 down, 2 right, 3 up, in image coordinates (rows grow downwards).
ARROWS = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])


class DrawnGrid(Protocol):
    """What a drawing reads of a grid world."""

    @property
    def letters(self) -> NDArray[np.str_]:
        """The map, ``[rows, columns]``."""
        ...

    @property
    def tile_of(self) -> NDArray[np.int64]:
        """Row and column of every state, ``[N, 2]``."""
        ...

    @property
    def mdp(self) -> TabularMDP:
        """What is walked on."""
        ...

    def to_map(self, values: ArrayLike) -> NDArray[Any]:
        """Numbers of the states ``[..., N]`` laid out on the map ``[..., rows, columns]``."""
        ...


class GridPicture:
    """The drawing of a grid world: the map once, then the agent on a copy of it, frame by frame."""

    def __init__(self, grid: DrawnGrid) -> None:
        rows, columns = grid.letters.shape
        self.tile_size = int(np.clip(960 // max(rows, columns), 2, 64))  # pixels
        self._background = _map_image(grid, self.tile_size)

    def frame(self, row: float, column: float) -> NDArray[np.uint8]:
        """The map with the agent at (row, column), which may lie between tiles, ``[H, W, 3]`` uint8."""
        return self.discs(np.array([[row, column]]), np.ones(1))

    def discs(self, places: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.uint8]:
        """The map with a disc at every place ``[n, 2]`` (row, column), as opaque as its weight ``[n]`` in [0, 1].

        Places beyond the border are drawn at it, and weights are cut to [0, 1].
        """
        size = self.tile_size
        image = self._background.copy()
        center = (size - 1) / 2
        y, x = np.mgrid[:size, :size] - center
        cover = np.clip(0.32 * size - np.hypot(x, y) + 0.5, 0, 1)[..., None]  # 1 inside the disc, soft at its rim
        corners = np.rint(places * size).clip(0, np.array(image.shape[:2]) - size).astype(int)  # [n, 2] pixels
        for (top, left), weight in zip(corners, np.clip(weights, 0.0, 1.0), strict=True):
            tile = image[top : top + size, left : left + size]  # a view
            tile[...] = np.rint((1 - weight * cover) * tile + weight * cover * 255 * np.array(to_rgb(AGENT_COLOR)))
        return image


class Window:
    """A matplotlib window that shows one image after another. Where there is no display, nothing is seen and nothing
    fails: matplotlib then draws off screen."""

    def __init__(self, title: str = "") -> None:
        import matplotlib.pyplot as plt  # chooses a backend, so only where a window is wanted

        self._figure: Figure | None = plt.figure(num=None, figsize=(6, 6), layout="tight")
        if self._figure.canvas.manager is not None:
            self._figure.canvas.manager.set_window_title(title)
        self._axes = self._figure.add_subplot()
        self._axes.set_axis_off()
        self._image: Any = None
        self._on_screen = type(self._figure.canvas).required_interactive_framework is not None

    def show(self, image: NDArray[np.uint8], seconds: float = 0.1) -> None:
        """Show an image ``[H, W, 3]`` for at least this number of seconds.

        Raises:
            RuntimeError: the window was closed by ``close``.
        """
        if self._figure is None:
            raise RuntimeError("the window is closed: make a new one")
        if self._image is None:
            self._image = self._axes.imshow(image)
            if self._on_screen:
                self._figure.show()
        self._image.set_data(image)
        if self._on_screen:
            self._figure.canvas.draw_idle()
            self._figure.canvas.start_event_loop(seconds)
        else:
            self._figure.canvas.draw()

    def close(self) -> None:
        """Close the window; closing twice does nothing."""
        if self._figure is not None:
            import matplotlib.pyplot as plt

            plt.close(self._figure)
            self._figure = None


@in_style
def draw_values(
    grid: DrawnGrid,
    value: ArrayLike,
    policy: ArrayLike | None = None,
    *,
    axes: Axes | None = None,
    limits: tuple[float, float] | None = None,
    title: str = "",
    color_bar: bool = True,
    label: str = "value",
    blank: bool = False,
) -> Figure | SubFigure:
    """Colors for values ``[N]`` and arrows for a policy, on the map; the figure that holds them.

    ``policy`` is an action for every state ``[N]`` int, a set of actions ``[N, A]`` bool (for instance
    ``Solution.optimal_actions``), or probabilities ``[N, A]``; an arrow is as long as its action is likely. Maps drawn
    side by side get their ``axes`` and the same color ``limits`` (lowest, highest). ``label`` names the color bar, and
    ``blank`` leaves states with value zero without color and number.

    Raises:
        ValueError: values or a policy that are not one entry for every state, or a value that is not finite.
    """
    values = np.asarray(value, dtype=np.float64)
    if values.shape != (grid.mdp.num_states,):
        raise ValueError(f"value has shape {values.shape}: give one number for each of {grid.mdp.num_states} states")
    if not np.isfinite(values).all():
        state = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"value {values[state]} of state {state}: only finite values can be drawn, leave this run out")
    rows, columns = grid.letters.shape
    if axes is None:
        figure = Figure(figsize=(0.9 * min(columns, 16) + 1.2, 0.9 * min(rows, 16) + 0.6), layout="constrained")
        axes = figure.add_subplot()
    over = grid.mdp.ended  # [N]: no value and no arrow to show
    shown = np.where(over, np.nan, values)
    lowest, highest = limits if limits is not None else (np.nanmin(shown), np.nanmax(shown))
    colors = colormaps[VALUES].with_extremes(bad=(0, 0, 0, 0))
    axes.imshow(_tile_colors(grid))
    on_map = np.asarray(grid.to_map(shown))
    image = axes.imshow(
        blank_zeros(on_map) if blank else np.ma.masked_invalid(on_map),
        cmap=colors,
        norm=Normalize(float(lowest), float(highest)),
    )
    if max(rows, columns) <= 16:
        _write_values(axes, grid, shown, image)
    if policy is not None:
        _draw_arrows(axes, grid, _action_weights(policy, grid.mdp.num_states, grid.mdp.num_actions), ~over)
    axes.set(xticks=[], yticks=[], title=title)
    axes.grid(visible=False)
    if color_bar:
        axes.figure.colorbar(image, ax=axes, shrink=0.8, label=label)
    return axes.figure


def draw_cartpole(
    x: float,
    theta: float,
    *,
    half_length: float = 0.5,
    x_limit: float = 2.4,
    width: int = 600,
    height: int = 400,
    label: str = "",
) -> NDArray[np.uint8]:
    """The cart-pole seen from the side, ``[height, width, 3]`` uint8.

    ``x`` is the cart's place in meters, ``theta`` the pole's angle in radians, clockwise from upright, and
    ``half_length`` half the pole's length in meters, as in gymnasium's CartPole. The picture ends at ``x_limit``, and
    ``label`` is written at its top.
    """
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    meters_high = 2 * x_limit * height / width
    axes = _bare_axes(figure, (-x_limit, x_limit), (-0.25 * meters_high, 0.75 * meters_high))
    axes.axhline(0.0, color="#444444", linewidth=2)
    axes.text(0.0, 0.7 * meters_high, label, ha="center", va="top", fontsize=10)
    axes.add_patch(Rectangle((x - 0.25, -0.12), 0.5, 0.24, facecolor=TILE_COLORS[WALL]))
    along = np.array([np.sin(theta), np.cos(theta)])
    across = 0.045 * np.array([along[1], -along[0]])
    pivot = np.array([x, 0.12])
    tip = pivot + 2 * half_length * along
    axes.add_patch(Polygon([pivot - across, pivot + across, tip + across, tip - across], facecolor="#c98a4b"))
    axes.add_patch(Circle((float(pivot[0]), float(pivot[1])), 0.05, facecolor="#8fa3c7"))
    return figure_image(figure)


def figure_image(figure: Figure) -> NDArray[np.uint8]:
    """The pixels of a figure, ``[H, W, 3]`` uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.array(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()  # type: ignore[no-untyped-call]


def _bare_axes(figure: Figure, x_limits: tuple[float, float], y_limits: tuple[float, float]) -> Axes:
    """Axes that fill the figure, without frame or ticks."""
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set(xlim=x_limits, ylim=y_limits)
    return axes


def _tile_colors(grid: DrawnGrid) -> NDArray[np.float64]:
    """The color of every tile, ``[rows, columns, 3]`` in [0, 1]."""
    colors = np.empty((*grid.letters.shape, 3))
    for letter in np.unique(grid.letters):
        colors[grid.letters == letter] = to_rgb(TILE_COLORS.get(str(letter), LETTER_COLOR))
    return colors


def _map_image(grid: DrawnGrid, tile_size: int) -> NDArray[np.uint8]:
    """The map without the agent, ``[rows * tile_size, columns * tile_size, 3]`` uint8."""
    rows, columns = grid.letters.shape
    figure = Figure(figsize=(columns * tile_size / DPI, rows * tile_size / DPI), dpi=DPI)
    axes = _bare_axes(figure, (-0.5, columns - 0.5), (rows - 0.5, -0.5))
    axes.imshow(_tile_colors(grid), aspect="auto", interpolation="nearest")
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    if tile_size >= 16:
        axes.hlines(np.arange(rows + 1) - 0.5, -0.5, columns - 0.5, color="#b9bec4", linewidth=0.8)
        axes.vlines(np.arange(columns + 1) - 0.5, -0.5, rows - 0.5, color="#b9bec4", linewidth=0.8)
        points = 0.4 * tile_size * 72 / DPI
        for row, column in grid.tile_of:
            letter = str(grid.letters[row, column])
            if letter != FREE:
                color = "white" if letter in (HOLE, GOAL) else "#333333"
                axes.text(column, row, letter, ha="center", va="center", fontsize=points, color=color)
    return figure_image(figure)


def _write_values(axes: Axes, grid: DrawnGrid, values: NDArray[np.float64], image: Any) -> None:
    """The number of every state at the foot of its tile; the letter where there is no value, nothing where blank."""
    blank = np.ma.getmaskarray(image.get_array())  # [rows, columns]
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    decimals = max(2 - math.floor(math.log10(largest)), 0) if largest > 0 else 2  # the largest number has three digits
    for (row, column), number in zip(grid.tile_of, values, strict=True):
        if np.isnan(number):
            letter = str(grid.letters[row, column])
            axes.text(column, row, letter, ha="center", va="center", color=ON_DARK, fontsize=11, fontweight="bold")
        elif not blank[row, column]:
            red, green, blue, _ = image.cmap(image.norm(number))
            color = ON_LIGHT if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else ON_DARK
            axes.text(column, row + 0.36, f"{number:z.{decimals}f}", ha="center", va="center", color=color, fontsize=7)


def _action_weights(policy: ArrayLike, num_states: int, num_actions: int) -> NDArray[np.float64]:
    """Any kind of policy as the length of its arrows, ``[N, A]`` in [0, 1]."""
    given = np.asarray(policy)
    if given.shape == (num_states,) and np.issubdtype(given.dtype, np.integer):
        return np.array(given[:, None] == np.arange(num_actions), dtype=np.float64)
    if given.shape == (num_states, num_actions):
        return np.array(given, dtype=np.float64)
    raise ValueError(
        f"policy is {given.dtype} of shape {given.shape}: give actions [{num_states}], or a set of actions or "
        f"probabilities [{num_states}, {num_actions}]"
    )


def _draw_arrows(axes: Axes, grid: DrawnGrid, weights: NDArray[np.float64], acting: NDArray[np.bool_]) -> None:
    """An arrow for every action with weight in each acting state: from the center, or across it if it is alone."""
    weights = np.where(acting[:, None], weights, 0.0)
    state, action = np.nonzero(weights > 0)  # [number of arrows]
    step = 0.34 * weights[state, action, None] * ARROWS[action]  # [number of arrows, 2]
    alone = np.count_nonzero(weights > 0, axis=1)[state] == 1
    center = grid.tile_of[state, ::-1] - np.array([0, 0.08])  # (x, y)
    x, y = (center - np.where(alone[:, None], step / 2, 0.0)).T
    axes.quiver(
        x, y, step[:, 0], step[:, 1],
        angles="xy", scale_units="xy", scale=1, units="xy", width=0.045, color=ON_DARK, edgecolor=ON_LIGHT,
        linewidth=0.4, headwidth=4, headlength=4, headaxislength=3.6, pivot="tail",
    )  # fmt: skip

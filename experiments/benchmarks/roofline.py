"""The roofline of one update, and where an iteration spends its time, on both engines.

    python -m rlkit.experiments.benchmarks.roofline --figure results/benchmarks/roofline.svg

An update of a minibatch has a number of operations and a least number of bytes to move: the minibatch is read,
parameters and moments are read and written. Their ratio and the machine's peak rates, of a large matrix product and of
a sum of large arrays, give the roof (Williams, Waterman & Patterson 2009). Times are CPU seconds of one thread. The
compiled engine makes whole iterations in one call. What these calls take is measured in a training and "rest" is what
the training takes beyond them. The calls are divided by repeating one of them from the same state, without its updates
and with its steps alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch

from rlkit.agents import Agent, EngineName
from rlkit.agents.core import compiled_iterations
from rlkit.compiled.iterations import PlayArrays, iterate_rows
from rlkit.compiled.q_learning import QLearner
from rlkit.compiled.rollout import play_rows
from rlkit.compiled.threads import one_blas_thread
from rlkit.figure_style import COLORS, INK, in_style, legend_below, panels, svg
from rlkit.nn import flush_denormals

from .engine import BEFORE, CASES, ENGINES
from .growth import least_seconds

COMMAND = "python -m rlkit.experiments.benchmarks.roofline"
SEEDS = (1, 16)


class Shape(NamedTuple):
    """The work of one update: networks by their widths, and how often each goes forward and backward."""

    minibatch: int
    networks: tuple[tuple[int, ...], ...]
    forwards: int  # of every network
    updates: int  # of one iteration
    parts: dict[str, str]  # of an iteration on torch: what methods do, by their names


ACTOR_CRITIC = ((4, 64, 64, 2), (4, 64, 64, 1))

SHAPES = {
    "ppo": Shape(128, ACTOR_CRITIC, 1, 16, {"play": "play", "experience": "advantages", "update": "updates"}),
    # the forward pass of the target network too
    "dqn": Shape(128, ((4, 120, 84, 2),), 2, 1, {"collect": "play", "update": "updates"}),
    "a2c": Shape(20, ACTOR_CRITIC, 1, 1, {"play": "play", "update": "updates"}),
    # a step of the policy and ten of the value function
    "reinforce": Shape(512, (ACTOR_CRITIC[0], *[ACTOR_CRITIC[1]] * 10), 1, 1, {"play": "play", "update": "updates"}),
}
# of an iteration of REINFORCE on the compiled engine, which is no single call
REINFORCE_PARTS = {"play": "play", "weights": "advantages", "descend_policy": "updates", "fit_value": "updates"}
DRAWN = ("ppo", "dqn")


def layers(shape: Shape) -> list[tuple[int, int]]:
    """Widths of the input and the output of every layer."""
    return [pair for widths in shape.networks for pair in pairwise(widths)]


def operations(shape: Shape) -> int:
    """Floating-point operations of the matrix products of an update; the input needs no gradient."""
    multiply_adds = 0
    for widths in shape.networks:
        weights = [n * m for n, m in pairwise(widths)]
        multiply_adds += (shape.forwards + 2) * sum(weights) - weights[0]
    return 2 * shape.minibatch * multiply_adds


def least_bytes(shape: Shape) -> int:
    """Bytes that an update has to move in float32: parameters and two moments both ways, and the minibatch."""
    parameters = sum((n + 1) * m for n, m in layers(shape))
    return 4 * (6 * parameters + shape.minibatch * (shape.networks[0][0] + 4))


def products_seconds(shape: Shape) -> float:
    """Seconds of the matrix products of an update alone, by numpy."""
    rng, work = np.random.default_rng(0), []
    for widths in shape.networks:
        for number, (n, m) in enumerate(pairwise(widths)):
            sizes = (shape.minibatch, n), (n, m), (shape.minibatch, m)
            x, w, d = (rng.standard_normal(size, dtype=np.float32) for size in sizes)
            work += [(x, w, np.empty_like(d))] * shape.forwards + [(x.T, d, np.empty_like(w))]
            work += [(d, w.T, np.empty_like(x))] if number else []

    def multiply() -> None:
        for _ in range(20):
            for left, right, out in work:
                np.matmul(left, right, out=out)

    return least_seconds(multiply, 9) / 20


def peaks() -> tuple[float, float]:
    """Operations a second of a large matrix product, and bytes a second of a sum of large arrays."""
    a = np.ones((1024, 1024), np.float32)
    out = np.empty_like(a)
    product = least_seconds(lambda: np.matmul(a, a, out=out), 5)
    x, y, z = (np.ones(24 * 10**6) for _ in range(3))
    return 2 * 1024**3 / product, 3 * x.nbytes / least_seconds(lambda: np.add(x, y, out=z), 5)


class Stopwatch:
    """Sums the CPU time of methods."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, owner: Any, method: str, part: str) -> None:
        """Time the calls of a method of an object from now on."""
        setattr(owner, method, self.timed(getattr(owner, method), part))

    def timed(self, called: Callable[..., Any], part: str) -> Callable[..., Any]:
        """Return a function that times its calls."""
        self.seconds.setdefault(part, 0.0)

        def timed(*args: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return called(*args, **named)
            finally:
                self.seconds[part] += time.process_time() - began

        return timed


def iteration_parts(name: str, engine: EngineName, seeds: int, steps: int | None = None) -> dict[str, float]:
    """Microseconds of an iteration and a seed, by part; "rest" is what no part has."""
    case, shape = CASES[name], SHAPES[name]
    agent: Agent = case.algorithm("CartPole-v1", seeds=seeds, device="cpu", engine=engine, **case.settings)
    agent.learn(case.before or BEFORE * agent.config.n_steps * agent.env.num_envs)
    per_iteration = agent.env.num_envs * (agent.config.train_freq if name == "dqn" else agent.config.n_steps)
    measured = steps or case.steps
    iterations = -(-measured // per_iteration)
    if engine == "torch":
        parts = parts_by_methods(agent, agent, shape.parts, measured)
    elif name == "reinforce":
        parts = parts_by_methods(agent, agent.engine._iteration, REINFORCE_PARTS, measured)  # type: ignore[attr-defined]
    else:
        parts = parts_by_calls(agent, measured)
    return {part: 1e6 * seconds / iterations / seeds for part, seconds in parts.items()}


def train(agent: Agent, steps: int) -> None:
    """Train with one row of the log, at the end."""
    for _ in agent.training(steps, every=steps):
        pass


def parts_by_methods(agent: Agent, owner: Any, methods: dict[str, str], steps: int) -> dict[str, float]:
    """Seconds of a training by part, and the rest of it: of methods that do not call each other.

    Args:
        agent: which trains.
        owner: of the methods.
        methods: the part that each of them is of.
        steps: environment steps of a seed.
    """
    watch = Stopwatch()
    for method, part in methods.items():
        watch.watch(owner, method, part)
    watch.watch(agent, "iteration", "rest")
    train(agent, steps)
    parts = watch.seconds
    parts["rest"] -= sum(seconds for part, seconds in parts.items() if part != "rest")
    return parts


def parts_by_calls(agent: Agent, steps: int, repeats: int = 7) -> dict[str, float]:
    """Seconds of a training by part, and the rest of it, where one call plays and learns for several iterations.

    What such calls take is measured in the training, and the rest is outside them. A call is then repeated from the
    same state without its updates, and with its steps alone: differences give the parts of it.
    """
    taken = []
    for _ in range(3):
        watch = Stopwatch()
        watch.watch(agent, "iteration", "whole")
        with patch.object(compiled_iterations, "iterate_rows", watch.timed(iterate_rows, "calls")):
            train(agent, steps)
        del vars(agent)["iteration"]
        taken.append((watch.seconds["whole"], watch.seconds["calls"]))
    whole, in_calls = min(taken)
    recorder = CallRecorder()
    with patch.object(compiled_iterations, "iterate_rows", recorder):
        train(agent, steps)
    with torch.no_grad(), one_blas_thread(), flush_denormals():
        nested = recorder.nested_seconds(repeats)
    outermost = [seconds * in_calls / nested["updates"] for seconds in nested.values()]
    parts = dict(zip(nested, np.diff(outermost, prepend=0.0).tolist(), strict=True))
    return {**parts, "rest": whole - in_calls}


class CallRecorder:
    """Keeps the longest of the calls that make iterations, and what its arrays held before it, to repeat it."""

    def __init__(self) -> None:
        self.iterations = 0
        self.rows: list[tuple[int, int]] = []  # the call's blocks of them

    def __call__(self, first: int, last: int, iterations: int, play: PlayArrays, learner: Any) -> None:
        """Make the iterations of rows ``first .. last``, as ``iterate_rows``."""
        if first == 0 and iterations >= self.iterations:
            self.iterations, self.play, self.learner, self.rows = iterations, play, learner, []
            self.held = [(array, array.copy()) for array in arrays_of((play, learner)) if array.flags.writeable]
        if learner is self.learner:
            self.rows.append((first, last))
        iterate_rows(first, last, iterations, play, learner)

    def restore(self) -> None:
        """Bring every array back to what it held."""
        for array, held in self.held:
            array[...] = held

    def repeat(self, learner: Any) -> None:
        """Make the iterations again with a learner; None plays their steps alone."""
        for first, last in self.rows:
            if learner is None:
                play_rows(first, last, *self.play)
            else:
                iterate_rows(first, last, self.iterations, self.play, learner)

    def nested_seconds(self, repeats: int) -> dict[str, float]:
        """CPU seconds of the call up to the end of each part, the least of several repetitions.

        DQN's "play" is to play and to store.
        """
        learners = {"play": None, "advantages": without_updates(self.learner), "updates": self.learner}
        if isinstance(self.learner, QLearner):
            learners["play"] = learners.pop("advantages")
        return {part: self._least_seconds(learner, repeats) for part, learner in learners.items()}

    def _least_seconds(self, learner: Any, repeats: int) -> float:
        taken = []
        for _ in range(repeats + 1):  # the first compiles and is not counted
            self.restore()
            began = time.process_time()
            self.repeat(learner)
            taken.append(time.process_time() - began)
        return min(taken[1:])


def without_updates(learner: Any) -> Any:
    """Return a learner that makes as many updates as its log has room for: none."""
    log = learner.log
    if isinstance(learner, QLearner):
        return learner._replace(log=type(log)(*(numbers[:, :, :0].copy() for numbers in log)))
    return learner._replace(log=log._replace(losses=log.losses[:, :, :0].copy()))


def arrays_of(arguments: Any) -> Iterator[np.ndarray]:
    """Yield the arrays in tuples of tuples."""
    if isinstance(arguments, np.ndarray):
        yield arguments
    elif isinstance(arguments, tuple):
        for each in arguments:
            yield from arrays_of(each)


Found = dict[tuple[str, int, EngineName], dict[str, float]]


@in_style
def draw(found: Found, products: dict[str, float], roof: tuple[float, float], path: Path) -> None:
    """Draw the roofline, and a panel of shares of an iteration for each algorithm."""
    shapes = {name: SHAPES[name] for name in DRAWN}
    figure, (plot, *places) = panels(1 + len(shapes), 1 + len(shapes), (3.6, 3.0))
    peak, bandwidth = roof
    intensity = np.geomspace(0.5, 300, 50)
    plot.loglog(intensity, np.minimum(peak, bandwidth * intensity) / 1e9, color=INK, lw=1)
    for (name, shape), color, side in zip(shapes.items(), COLORS, ("right", "left"), strict=False):
        x = operations(shape) / least_bytes(shape)
        plot.plot(x, operations(shape) / products[name] / 1e9, "_", ms=14, color=color)
        for (of, seeds, engine), parts in found.items():
            if of == name:
                rate = operations(shape) * shape.updates / parts["updates"] / 1e3
                fill = color if engine == "compiled" else "none"
                plot.plot(x, rate, "o" if seeds == 1 else "s", color=color, markerfacecolor=fill)
        plot.annotate(name.upper(), (x, peak / 1e9), (0, 3), textcoords="offset points", ha=side, color=color)
    plot.set(xlabel="operations per byte", ylabel="billion operations per second", title="an update")
    for axes, (name, shape) in zip(places, shapes.items(), strict=True):
        draw_shares(
            axes, {key[1:]: parts for key, parts in found.items() if key[0] == name}, products[name] * shape.updates
        )
        axes.set(title=f"an iteration of {name.upper()}", ylabel="share of the time")
    legend_below(figure, columns=5)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(svg(figure))


def draw_shares(axes: Any, found: dict[tuple[int, EngineName], dict[str, float]], products: float) -> None:
    """Draw one bar for each number of seeds and engine, with the whole time of a seed below it."""
    whole, base = np.array([sum(parts.values()) for parts in found.values()]), np.zeros(len(found))
    in_products = np.full(len(found), 1e6 * products)
    heights = {
        "play and store": np.array([parts.get("play", 0.0) for parts in found.values()]),
        "advantages": np.array([parts.get("advantages", 0.0) for parts in found.values()]),
        "products of the updates": in_products,
        "rest of the updates": np.array([parts["updates"] for parts in found.values()]) - in_products,
        "rest": np.array([parts["rest"] for parts in found.values()]),
    }
    for (label, height), color in zip(heights.items(), COLORS, strict=False):
        axes.bar(range(len(found)), height / whole, bottom=base, label=label, color=color)
        base += height / whole
    names = [f"{seeds} seed{'s' * (seeds > 1)}\n{engine}" for seeds, engine in found]
    labels = (f"{name}\n{time / 1e3:,.1f} ms" for name, time in zip(names, whole, strict=True))
    axes.set_xticks(range(len(found)), list(labels))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and draw the figure into the file ``--figure``."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--figure", type=Path, default=None, help="where to draw it")
    parser.add_argument("--steps", type=int, default=None, help="environment steps per seed that are measured")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    roof, products = peaks(), {name: products_seconds(shape) for name, shape in SHAPES.items()}
    print(f"peak {roof[0] / 1e9:.0f} GFLOP/s, {roof[1] / 1e9:.1f} GB/s\n")
    print("| iteration, µs a seed | seeds | engine | play | advantages | updates | rest | an update / its products |")
    print("| --- " * 8 + "|")
    found: Found = {}
    for name, shape in SHAPES.items():
        for seeds in SEEDS:
            for engine in ENGINES if name in DRAWN else ENGINES[:1]:
                parts = found[name, seeds, engine] = iteration_parts(name, engine, seeds, options.steps)
                cells = [
                    f"{parts[part]:,.0f}" if part in parts else "" for part in ("play", "advantages", "updates", "rest")
                ]
                ratio = parts["updates"] / 1e6 / shape.updates / products[name]
                print(f"| {name.upper()} | {seeds} | {engine} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)
    if options.figure is not None:
        draw(found, products, roof, options.figure)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

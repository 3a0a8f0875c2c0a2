"""Coverage of 95 % intervals of a mean on the returns of this project, by simulation.

    python -m rlkit.experiments.benchmarks.coverage --out results/intervals/coverage.csv \
        --figure results/intervals/coverage.svg

Each list of final returns in ``results/`` (one case, one library, greedy or sampled actions) is taken as the
distribution of a training seed's return. n seeds are drawn from it with replacement, again and again, and intervals of
the mean are computed:

- t: ``mean_interval``,
- bootstrap: percentiles of 1,000 resamples. Blocks of 500 replications share the counts of their resamples, so that the
  means of all are one matrix product; each interval has the distribution that it has alone,
- DKW: ``bounded_mean_interval`` between the least and the greatest return that are possible.

The table says how often each contains the true mean, and how wide it is on average. Every row has a random generator of
its own, so a case has the same figures alone and among others.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlkit.envs import GridWorld
from rlkit.figure_style import COLORS, DASHES, INK, MUTED, in_style, panels, svg
from rlkit.mdp import TabularMDP
from rlkit.planning import backward_induction, start_value
from rlkit.statistics import Estimate, bounded_mean_interval, mean_interval

from ..studies.common import rows
from ..studies.common.scores import Score
from ..studies.grids.run import GridRow

Floats = NDArray[np.float64]

SEEDS = (10, 30, 100)
REPLICATIONS = 10_000
BLOCK = 500  # replications that share the counts of their resamples
RESAMPLES = 1000
ROUNDING = 1e-9  # of the range of returns: the mean of equal values may differ from them by rounding
CARTPOLE, ACROBOT = (0.0, 500.0), (-500.0, 0.0)  # least and greatest return of an episode


class Population(NamedTuple):
    """Final returns of one case, as a distribution."""

    name: str
    returns: Floats  # [K], one for each training seed
    low: float  # least return that is possible
    high: float  # greatest return that is possible


@dataclass(frozen=True)
class CoverageRow:
    """Coverage and width of the 95 % intervals of ``n`` seeds on one population."""

    population: str
    committed: int  # returns in the file
    mean: float
    low: float
    high: float
    n: int
    t_coverage: float
    bootstrap_coverage: float
    dkw_coverage: float
    t_width: float  # mean over the replications
    bootstrap_width: float
    dkw_width: float


def populations(data: Path) -> Iterator[Population]:
    """Yield the final returns of every case in a folder such as ``results/``."""
    for file in ("matched/matched.csv", "tuned/tuned.csv", "replay/replay.csv"):
        scores = rows.read(data / file, Score)
        for case, maker in dict.fromkeys((score.case, score.maker) for score in scores):
            here = [score for score in scores if (score.case, score.maker) == (case, maker)]
            bounds = ACROBOT if case.startswith("acrobot") else CARTPOLE
            study = file.partition("/")[0]
            yield Population(f"{study} {case} {maker} greedy", np.array([each.greedy for each in here]), *bounds)
            sampled = [each.sampled for each in here if each.sampled is not None]
            if sampled:
                yield Population(f"{study} {case} {maker} sampled", np.array(sampled), *bounds)
    known = rows.read(data / "grids/grids.csv", GridRow)
    worst: dict[tuple[str, int], float] = {}
    for map, agent in dict.fromkeys((row.map, row.agent) for row in known):
        grid = [row for row in known if (row.map, row.agent) == (map, agent)]
        key = map, grid[0].limit
        worst[key] = worst[key] if key in worst else least_return(*key)
        returns = np.array([row.exact_return for row in grid])
        bounds = min(worst[key], returns.min()), max(grid[0].optimum, returns.max())  # two roundings of one value
        yield Population(f"grids {map} {agent} greedy", returns, *(float(bound) for bound in bounds))


def least_return(map: str, limit: int) -> float:
    """Return the least expected return of an episode of ``limit`` steps: minus the optimum of negated rewards."""
    mdp = GridWorld(map, max_steps=limit).mdp
    negated = TabularMDP(mdp.successor, mdp.probability, -mdp.reward, mdp.terminated, mdp.start)
    return 0.0 - float(start_value(negated, backward_induction(negated, limit).value[0]))


def bootstrap_means(samples: Floats, generator: np.random.Generator) -> Floats:
    """Return the means of ``RESAMPLES`` resamples of each sample ``[R, n]``, ``[R, RESAMPLES]``."""
    n = samples.shape[1]
    drawn = generator.integers(n, size=(RESAMPLES, n)) + n * np.arange(RESAMPLES)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * n).reshape(RESAMPLES, n)
    means: Floats = samples @ (counts.T / n)
    return means


def bootstrap_intervals(samples: Floats, generator: np.random.Generator) -> Estimate[Floats]:
    """Return percentile intervals of the mean of each sample ``[R, n]``."""
    lower, upper = np.quantile(bootstrap_means(samples, generator), (0.025, 0.975), axis=1)
    return Estimate(samples.mean(axis=1), lower, upper, samples.shape[1], 0.95, "bootstrap")


def coverage(population: Population, n: int, replications: int = REPLICATIONS) -> CoverageRow:
    """Draw ``replications`` times n seeds of a population, and count how often each interval contains its mean."""
    generator = np.random.default_rng([zlib.crc32(population.name.encode()), n])
    returns, low, high = population.returns, population.low, population.high
    methods: tuple[Callable[[Floats], Estimate[Floats]], ...] = (
        lambda samples: mean_interval(samples, axis=1),
        lambda samples: bootstrap_intervals(samples, generator),
        lambda samples: bounded_mean_interval(samples, low, high, axis=1),
    )
    true, slack = returns.mean(axis=0), ROUNDING * (high - low)
    covered, widths = np.zeros(len(methods)), np.zeros(len(methods))
    for first in range(0, replications, BLOCK):
        samples = returns[generator.integers(len(returns), size=(min(BLOCK, replications - first), n))]
        for index, method in enumerate(methods):
            estimate = method(samples)
            inside = (estimate.lower <= true + slack) & (true - slack <= estimate.upper)
            covered[index] += inside.sum(axis=0)
            widths[index] += (estimate.upper - estimate.lower).sum(axis=0)
    figures = [float(each) for each in (*(covered / replications), *(widths / replications))]
    return CoverageRow(population.name, len(returns), float(true), low, high, n, *figures)


def table(found: Sequence[CoverageRow]) -> str:
    """Write one line for each population: coverage in percent and mean width at each n."""
    sizes = tuple(dict.fromkeys(row.n for row in found))
    at = ", ".join(str(n) for n in sizes)
    names = ("t covers", "bootstrap covers", "DKW covers", "t width", "bootstrap width", "DKW width")
    lines = [f"| returns | committed | mean | {' | '.join(names)} |", f"| --- | --- | --- |{' --- |' * len(names)}"]
    for name in dict.fromkeys(row.population for row in found):
        here = [row for row in found if row.population == name]
        shares = [
            ", ".join(f"{100.0 * share:.0f}" for share in column)
            for column in zip(
                *((row.t_coverage, row.bootstrap_coverage, row.dkw_coverage) for row in here), strict=True
            )
        ]
        widths = [
            ", ".join(f"{width:.3g}" for width in column)
            for column in zip(*((row.t_width, row.bootstrap_width, row.dkw_width) for row in here), strict=True)
        ]
        cells = (name, str(here[0].committed), f"{here[0].mean:.4g}", *shares, *widths)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join((f"Coverage in percent and mean width at {at} seeds, nominally 95 %:", "", *lines))


def summary(found: Sequence[CoverageRow]) -> str:
    """Write the least and the median coverage over populations, for each method and n."""
    lines = [
        "| seeds | t: least, median | bootstrap: least, median | DKW: least, median |",
        "| --- | --- | --- | --- |",
    ]
    for n in dict.fromkeys(row.n for row in found):
        here = [(row.t_coverage, row.bootstrap_coverage, row.dkw_coverage) for row in found if row.n == n]
        cells = [
            f"{100.0 * min(column):.1f}, {100.0 * float(np.median(column)):.1f}" for column in zip(*here, strict=True)
        ]
        lines.append(f"| {n} | {' | '.join(cells)} |")
    return "\n".join(lines)


@in_style
def figure(found: Sequence[CoverageRow]) -> Figure:
    """Draw the coverage of the populations, a panel for each n: range, quartiles and median for each method."""
    sizes = tuple(dict.fromkeys(row.n for row in found))
    parts = ("medianprops", "whiskerprops", "capprops", "boxprops")
    lines: dict[str, Any] = {part: {"color": INK, "linewidth": 1.1} for part in parts}
    drawn, axes = panels(len(sizes), side_by_side=3, size=(2.4, 2.8), sharey=True)
    for place, n in zip(axes, sizes, strict=True):
        here = [row for row in found if row.n == n]
        shares = [
            [100.0 * share for share in column]
            for column in zip(
                *((row.t_coverage, row.bootstrap_coverage, row.dkw_coverage) for row in here), strict=True
            )
        ]
        boxes = place.boxplot(shares, whis=(0, 100), widths=0.5, patch_artist=True, **lines)
        for box, color in zip(boxes["boxes"], COLORS, strict=False):
            box.set(facecolor=color, alpha=0.6)
        place.axhline(95.0, color=MUTED, linewidth=1.1, linestyle=DASHES[0])
        place.set_xticks((1, 2, 3), ("t", "bootstrap", "DKW"))
        place.set(title=f"{n} seeds", ylim=(0.0, 102.0))
    axes[0].set_ylabel("coverage [%]")
    return drawn


def main(words: Sequence[str] | None = None) -> int:
    """Measure the populations whose names begin with a given word, all by default, and print the tables."""
    parser = argparse.ArgumentParser(description="Coverage of intervals on committed returns")
    parser.add_argument("names", nargs="*", help="first words of the populations to measure; all by default")
    parser.add_argument("--data", type=Path, default=Path("results"), help="folder of the studies' rows")
    parser.add_argument("--replications", type=int, default=REPLICATIONS, help="samples of each population and n")
    parser.add_argument("--out", type=Path, help="CSV file for one row of each population and n; replaced if it exists")
    parser.add_argument("--figure", type=Path, help="SVG file for the figure; replaced if it exists")
    options = parser.parse_args(words)
    if options.replications < 1:
        parser.error(f"--replications must be at least 1, got {options.replications}")
    everything = [each for each in populations(options.data) if each.name.startswith(tuple(options.names) or "")]
    if not everything:
        parser.error(f"no returns in {options.data} whose names begin with {', '.join(options.names) or 'anything'}")
    spread = [each for each in everything if np.ptp(each.returns) > ROUNDING * (each.high - each.low)]
    began = time.process_time()
    found = [coverage(population, n, options.replications) for population in spread for n in SEEDS]
    if found:
        print(table(found), "", summary(found), sep="\n")
    print(
        f"\n{len(spread)} populations, {options.replications} replications, {time.process_time() - began:.0f} CPU "
        f"seconds; {len(everything) - len(spread)} more are constant: "
        "every interval contains their mean, and those of t and the bootstrap have width 0"
    )
    if options.out is not None and found:
        options.out.unlink(missing_ok=True)
        rows.append(options.out, found)
    if options.figure is not None and found:
        options.figure.write_bytes(svg(figure(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

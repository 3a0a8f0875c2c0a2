"""Several runs beside each other: learning curves in one figure, and tests of the differences of their returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.figure_style import svg
from rlkit.plotting import Curve, learning_curves
from rlkit.statistics import difference_interval, holm, seeds_needed, sign_flip_test, welch_test

from .ledger import Cell, Picture, ReportTable, RunRecord
from .summary import place_of
from .text import as_text, in_words, setting_text

MOST_PAIRED = 8  # runs of an environment whose pairs are all tested; of more, each with the best
LEVEL = 0.05
POWER = 0.8
COLUMNS = ("first", "second", "seeds", "difference", "test", "p", "p by Holm", "conclusion", "seeds needed")
MOST_ANSWERS = 3  # pairs of a table that a summary reports
CONCLUSIONS = {"differ": "they differ", "not shown": "a difference is not shown", "not tested": "not tested"}
LEAST_PAIRS = 6  # whose signs can give a probability below LEVEL
UNNAMED = ("algorithm", "environment", "engine", "training_seeds")  # settings that are not part of a short name
SIGN_SEED = 0  # of the random signs of a test with more than 16 pairs

Floats = NDArray[np.float64]


class Compared(NamedTuple):
    """Figures and tables of several runs together."""

    tables: tuple[ReportTable, ...] = ()
    pictures: tuple[Picture, ...] = ()
    warnings: tuple[str, ...] = ()


class Tested(NamedTuple):
    """A pair of runs with its test."""

    cells: tuple[Cell, ...]  # the first five columns
    probability: float | None  # None where nothing can be tested
    needed: int | None  # seeds that show the observed difference with probability ``POWER``
    seeds: int


def compared(runs: Sequence[RunRecord]) -> Compared:
    """Compare the runs of every environment that has several; empty where there is none."""
    places: dict[str, list[RunRecord]] = {}
    for run in runs:
        if "seed_returns" in run.results or "training_curve" in run.results:
            places.setdefault(place_of(run), []).append(run)
    tables: list[ReportTable] = []
    pictures: list[Picture] = []
    warnings: list[str] = []
    shared = {place: members for place, members in places.items() if len(members) > 1}
    for number, (place, members) in enumerate(shared.items()):
        named = dict(zip(labels(members), members, strict=True))
        table, told = difference_table(place, named, f"differences-{number + 1}")
        tables += [] if table is None else [table]
        warnings += told
        pictures += curves_together(place, named, f"curves-{number + 1}")
    return Compared(tuple(tables), tuple(pictures), tuple(warnings))


def differences_in_words(table: ReportTable) -> list[str]:
    """Say for each pair of a table of differences what was found; nothing for a table of more than three pairs."""
    if len(table.rows) > MOST_ANSWERS:
        return []
    found = []
    for row in as_text(table)[1]:
        first, second, _, difference, _, _, p, conclusion, _ = row
        tested = f" (p {p})" if p else ""
        found.append(f"{first} minus {second}: {difference}{tested}; {CONCLUSIONS[conclusion]}.")
    return found


def labels(runs: Sequence[RunRecord]) -> list[str]:
    """Short different names of runs: the algorithm, with the settings in which those of one algorithm differ."""
    return _told_apart([str(run.settings.get("algorithm", run.title)) for run in runs], runs)


def with_different_titles(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs with titles that tell them apart: those of one title get the settings in which they differ."""
    titles = _told_apart([run.title for run in runs], runs)
    return [replace(run, title=title) for run, title in zip(runs, titles, strict=True)]


def _told_apart(names: Sequence[str], runs: Sequence[RunRecord]) -> list[str]:
    """The names of runs, with the first two settings in which runs of one name differ, else with a number."""
    settings = [{key: setting_text(value) for key, value in _flat(run).items()} for run in runs]
    rivals: dict[str, list[dict[str, str]]] = {}
    for name, own in zip(names, settings, strict=True):
        rivals.setdefault(name, []).append(own)
    differing = {name: _differing(several) for name, several in rivals.items()}
    texts = []
    for name, own in zip(names, settings, strict=True):
        told = [key for key in own if key in differing[name]][:2]
        texts.append(", ".join([name, *(f"{in_words(key)} {own[key][:40]}" for key in told)]))
    return [
        text if texts.count(text) == 1 else f"{text} ({texts[: i + 1].count(text)})" for i, text in enumerate(texts)
    ]


def _differing(settings: Sequence[Mapping[str, str]]) -> set[str]:
    """The keys whose values are not the same in all settings; a missing one counts as None."""
    missing = setting_text(None)
    return {key for key in set().union(*settings) if len({own.get(key, missing) for own in settings}) > 1}


def difference_table(
    place: str, runs: Mapping[str, RunRecord], name: str
) -> tuple[ReportTable | None, tuple[str, ...]]:
    """Test the differences of final returns between runs, with Holm's correction; and warnings of too few seeds.

    Runs with the same training seeds are compared by the paired sign-flip test, others by Welch's test.
    """
    returns = {label: np.asarray(run.results["seed_returns"], dtype=np.float64)
               for label, run in runs.items() if "seed_returns" in run.results}  # fmt: skip
    pairs = list(combinations(returns, 2))
    if len(returns) > MOST_PAIRED:
        best = max(returns, key=lambda label: float(returns[label].mean()))
        pairs = [(best, label) for label in returns if label != best]
    tests = [_tested(first, second, runs, returns) for first, second in pairs]
    if not tests:
        return None, ()
    corrected = iter(holm([each.probability for each in tests if each.probability is not None]))
    rows, warnings = [], []
    for each in tests:
        p = None if each.probability is None else next(corrected)
        shown = p is not None and p <= LEVEL
        conclusion = "not tested" if p is None else "differ" if shown else "not shown"
        rows.append((*each.cells, each.probability, p, conclusion, each.needed))
        if not shown and each.needed is not None and each.needed > each.seeds:
            warnings.append(
                f"{each.cells[0]} and {each.cells[1]}: {each.seeds} seeds are too few. To show the observed difference "
                f"with probability {POWER:g}, about {each.needed:,} seeds of each are needed."
            )
    tested = "one test" if len(tests) == 1 else f"{len(tests)} tests"
    title = f"{place}: differences of the mean return, first minus second; p corrected for {tested}"
    return ReportTable(name, title, COLUMNS, tuple(rows), digits=3), tuple(warnings)


def _tested(first: str, second: str, runs: Mapping[str, RunRecord], returns: Mapping[str, Floats]) -> Tested:
    """Test one pair."""
    x, y = returns[first], returns[second]
    paired = _seeds(runs[first]) == _seeds(runs[second]) and len(x) == len(y)
    count = min(len(x), len(y))
    seeds = f"{len(x)}" if len(x) == len(y) else f"{len(x)}, {len(y)}"
    if count < 2:
        difference = float(x.mean() - y.mean())
        return Tested((first, second, seeds, difference, "one seed"), None, None, count)
    estimate = difference_interval(x, y, paired=paired)
    spread: Any = float((x - y).std(ddof=1)) if paired else (float(x.std(ddof=1)), float(y.std(ddof=1)))
    if not np.any(np.asarray(spread) > 0):
        return Tested((first, second, seeds, estimate, "no spread"), None, None, count)
    if paired:
        probability = sign_flip_test(x - y, np.random.default_rng(SIGN_SEED))
    else:
        probability = welch_test(x, y)
    needed = None
    if estimate.value != 0 and np.all(np.asarray(spread) > 0):
        with suppress(ValueError):  # more than ten million
            needed = max(seeds_needed(POWER, estimate.value, spread, paired=paired), LEAST_PAIRS if paired else 2)
    return Tested((first, second, seeds, estimate, "paired" if paired else "Welch"), probability, needed, count)


def curves_together(place: str, runs: Mapping[str, RunRecord], name: str) -> list[Picture]:
    """The learning curves of runs in one figure; none where fewer than two have one."""
    curves = {label: curve for label, run in runs.items() if (curve := _curve(run)) is not None}
    if len(curves) < 2:
        return []
    figure = learning_curves(curves, ylabel="return of training episodes", title=place)
    return [Picture(name, f"{place}: returns during training, with exploration.", svg(figure))]


def _curve(run: RunRecord) -> Curve | None:
    """The learning curve of a run, if its record holds one."""
    saved = run.results.get("training_curve")
    if not isinstance(saved, Mapping):
        return None
    x, y = (np.asarray(saved.get(part), dtype=np.float64) for part in ("timesteps", "returns"))
    return Curve(x, y) if y.ndim == 2 and x.shape == y.shape[:1] and np.isfinite(y).any() else None


def _flat(run: RunRecord) -> dict[str, Any]:
    """Settings and hyper-parameters in which runs may differ, without what is named elsewhere."""
    inner = run.settings.get("hyperparameters")
    own = {key: value for key, value in run.settings.items() if not isinstance(value, Mapping)}
    flat = {**own, **(inner if isinstance(inner, Mapping) else {})}
    return {key: value for key, value in flat.items() if key not in UNNAMED}


def _seeds(run: RunRecord) -> list[Any]:
    return list(run.settings.get("training_seeds", ()))

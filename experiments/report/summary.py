"""The summary at the head of a report: the question of a run, its answer with an interval, and its warnings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from typing import Any, NamedTuple

from rlkit.statistics import Estimate
from rlkit.statistics.estimate import number_text

from .ledger import RunRecord
from .text import cell_text, in_words, setting_text

FEW_SEEDS = 10  # with fewer, the worst intervals of committed returns cover less than half of their nominal level
LONGEST_ANSWER = 300  # characters of a note that answers


class Summary(NamedTuple):
    """A question, its answer, and warnings."""

    question: str
    answer: str
    warnings: tuple[str, ...] = ()


def summary_of(run: RunRecord) -> Summary:
    """Summarize a run; a kind without a summary of its own is summarized by its title and its first note."""
    found = SUMMARIES.get(run.kind, _of_any)(run)
    return found._replace(warnings=(*_general_warnings(run), *found.warnings))


def seeds_of(run: RunRecord) -> int | None:
    """The number of training seeds; None if the run has none."""
    seeds = run.settings.get("training_seeds")
    return len(seeds) if isinstance(seeds, Sized) and not isinstance(seeds, str) else None


def place_of(run: RunRecord) -> str:
    """The environment of a run with its arguments, as a text."""
    kwargs = run.settings.get("env_kwargs") or {}
    arguments = ", ".join(f"{in_words(name)} {setting_text(value)}" for name, value in kwargs.items())
    environment = str(run.settings.get("environment", ""))
    return f"{environment} ({arguments})" if arguments else environment


def _of_any(run: RunRecord) -> Summary:
    return Summary(f"{run.title}?", run.notes[0][:LONGEST_ANSWER] if run.notes else "See the tables.")


def _of_training(run: RunRecord) -> Summary:
    """Of a policy that was trained or evaluated."""
    settings, earned = run.settings, run.results.get("return")
    steps = settings.get("steps_per_seed")
    after = f" after {steps:,} steps" if isinstance(steps, int) else ""
    how = settings.get("actions", "greedy")
    question = (
        f"What return does the {how} policy of {settings.get('algorithm', 'the agent')} get on {place_of(run)}{after}?"
    )
    answer = f"{_with_seeds(earned)}." if isinstance(earned, Estimate) else "See the tables."
    exact = run.results.get("exact")
    if isinstance(exact, Mapping) and isinstance(exact.get("optimum"), float):
        answer += f" The exact optimum is {number_text(exact['optimum'])} ({exact.get('measure')})."
    diverged = run.results.get("diverged_seeds", ())
    capped = run.results.get("capped_episodes", 0)
    warnings = []
    if diverged:
        warnings.append(f"{len(diverged)} of {seeds_of(run)} seeds diverged: {', '.join(map(str, diverged))}.")
    if capped:
        warnings.append(f"{capped} episodes were cut off by the step cap.")
    return Summary(question, answer, tuple(warnings))


def _of_attack(run: RunRecord) -> Summary:
    """Of policies under attack: the natural return and the least one that an attack left at the largest epsilon."""
    curves = run.results.get("curves")
    question = (
        f"Which return does {run.settings.get('algorithm', 'the policy')} keep under attacks on its observations?"
    )
    if not isinstance(curves, Mapping):
        return Summary(question, "See the tables.")
    parts, warnings = [], []
    for name, points in curves.items():
        largest = max(point["epsilon"] for point in points)
        last = min((p for p in points if p["epsilon"] == largest), key=lambda point: point["mean_return"].value)
        parts.append(
            f"{name}: {cell_text(points[0]['mean_return'])} without attack, {cell_text(last['mean_return'])} under "
            f"{last['attack']} at epsilon {largest:g}"
        )
    found = run.results.get("warnings")
    for name, several in found.items() if isinstance(found, Mapping) else ():
        warnings += [f"{name}: {each['message']}." for each in several]
    if not {"worst_case", "falls"} & set(run.results):
        warnings.append("No worst case was computed: a stronger attack may lower the return further.")
    return Summary(question, f"{'; '.join(parts)}.", tuple(warnings))


def _of_solution(run: RunRecord) -> Summary:
    """Of an exact solution."""
    results = run.results
    question = (
        f"What is the value of {run.settings.get('environment')} at gamma {run.settings.get('gamma')}, from the start?"
    )
    names = [f"start_{name}" for name in ("value", "lower", "upper")]
    if not all(isinstance(results.get(name), float) for name in names):
        return _of_any(run)
    value, lower, upper = (results[name] for name in names)
    answer = f"{value:.6g}; proven to lie between {lower:.11g} and {upper:.11g}."
    warnings = () if results.get("finished", True) else ("Interrupted: the bounds hold, but may be wide.",)
    return Summary(question, answer, warnings)


def _of_comparison(run: RunRecord) -> Summary:
    """Of a comparison with stable-baselines3."""
    parts = [run.results.get(name) for name in ("return", "sb3_return", "difference")]
    if not all(isinstance(part, Estimate) for part in parts):
        return _of_any(run)
    own, other, difference = map(cell_text, parts)
    question = f"Do rlkit and stable-baselines3 reach the same return on {place_of(run)} with equal hyper-parameters?"
    answer = f"rlkit {own}, stable-baselines3 {other}; difference {difference}."
    seeds = run.results.get("sb3_seeds", ())
    warnings = ["A difference that is not significant does not prove equality."]
    if len(seeds) < FEW_SEEDS:
        warnings.append(f"stable-baselines3 has {len(seeds)} seeds; claims need {FEW_SEEDS} or more.")
    return Summary(question, answer, tuple(warnings))


def _of_sweep(run: RunRecord) -> Summary:
    """Of a sweep: its question, and the cell with the highest return."""
    question = str(run.settings.get("question") or f"{run.title}?")
    cells = run.results.get("cells", ())
    known = [cell for cell in cells if isinstance(cell.get("return"), Estimate)]
    if not known:
        return Summary(question, "No run has a result yet.")
    best = max(known, key=lambda cell: cell["return"].value)
    where = cell_in_words(best["cell"])
    answer = f"Highest mean return: {where} with {_with_seeds(best['return'])}, of {len(cells)} settings."
    lost = sum(run.results.get(state, 0) for state in ("failed", "damaged", "missing"))
    few = min(cell["return"].n for cell in known)
    warnings = [f"{lost} of {run.results.get('runs')} runs have no result."] if lost else []
    if few < FEW_SEEDS:
        warnings.append(f"A setting has {few} seeds. Claims about differences need {FEW_SEEDS} or more.")
    return Summary(question, answer, tuple(warnings))


SUMMARIES: Mapping[str, Callable[[RunRecord], Summary]] = {
    "train": _of_training,
    "evaluate": _of_training,
    "attack": _of_attack,
    "solve": _of_solution,
    "compare": _of_comparison,
    "sweep": _of_sweep,
}


def _with_seeds(earned: Estimate[float]) -> str:
    if earned.n <= 1:
        return cell_text(earned)  # says itself that it is of one seed
    method = f", {earned.confidence:.0%} interval, {earned.method}" if earned.has_interval else ""
    return f"{cell_text(earned)} (mean over {earned.n} seeds{method})"


def _general_warnings(run: RunRecord) -> Iterator[str]:
    """Warn of few seeds."""
    count = seeds_of(run)
    if count is not None and count < FEW_SEEDS and run.kind != "solve":
        seeds = "One training seed" if count == 1 else f"{count} training seeds"
        consequence = "says nothing about others" if count == 1 else "are few: an interval may miss rare failures"
        yield f"{seeds} {consequence}. Claims about the algorithm need {FEW_SEEDS} or more."


def all_warnings(runs: Sequence[RunRecord]) -> list[str]:
    """Return the warnings of all runs, each once; with the title of the run where there are several."""
    found = [(run.title, warning) for run in runs for warning in summary_of(run).warnings]
    if len(runs) == 1:
        return [warning for _, warning in found]
    titles: dict[str, list[str]] = {}
    for title, warning in found:
        titles.setdefault(warning, []).append(title)
    return [f"{'; '.join(dict.fromkeys(names))}: {warning}" for warning, names in titles.items()]


def cell_in_words(cell: str) -> str:
    """A cell of a sweep as people say it: "tabularq on lake gamma=0.9" is "Q-learning on lake, gamma 0.9"."""
    agent, on, rest = cell.partition(" on ")
    settings = re.sub(r" (\w+)=", lambda found: f", {in_words(found[1])} ", rest)
    return f"{in_words(agent)}{on}{settings}"


def settings_of(run: RunRecord) -> tuple[dict[str, Any], dict[str, Mapping[str, Any]]]:
    """The settings that are single values, and those that are groups of values."""
    groups = {name: value for name, value in run.settings.items() if isinstance(value, Mapping) and value}
    single = {name: value for name, value in run.settings.items() if not isinstance(value, Mapping)}
    return single, groups

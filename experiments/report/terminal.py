"""What commands show on the terminal: tables, notes, progress."""

from __future__ import annotations

import math
import shlex
import threading
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from rlkit.agents import Agent, progress

from .ledger import ReportTable, RunRecord
from .text import LONGEST_TABLE, as_text, column_widths, fitting_columns, headers, numeric_columns, wrapped_header

Watch = Callable[[Agent, Iterator[int], int], Iterator[int]]  # shows progress while steps pass through

SECONDS_BETWEEN_LINES = 15.0  # of progress in a pipe
REPORT_COMMAND = "rlkit report {folder} --out {folder}/report.html"
NEXT_COMMANDS = {  # by kind of run
    "train": "rlkit attack {folder} --out {folder}-attack, or rlkit watch {folder} --mode gif --out {name}.gif",
    "attack": "open {folder}/report.html",
    "solve": f"{REPORT_COMMAND}, or train a policy to compare: rlkit train",
    "sweep": f"{REPORT_COMMAND}, or rlkit rerun {{folder}}",
    "tune": "rlkit train --algo ALGO --env ENV --preset {folder}/preset.json, with those of the search",
}

LOOK: dict[str, Any] = {"title_justify": "left", "title_style": "bold", "header_style": "", "box": None}


def show(run: RunRecord, shown: Container[str] = (), plain: bool = False) -> None:
    """A run's tables and notes, without the tables that were ``shown`` before."""
    for table in run.tables:
        if table.name in shown:
            continue
        if len(table.rows) > LONGEST_TABLE:
            say(f"{table.title}: {len(table.rows)} rows, in {table.name}.csv of --out")
        else:
            show_table(table, plain)
    for note in run.notes:
        say(note)


def show_table(table: ReportTable, plain: bool = False) -> None:
    """One table; columns that do not fit the width of the terminal are left out, and named below.

    Args:
        table: the table.
        plain: write all columns, separated by tabs, for other programs.
    """
    console = _console()
    title, rows = as_text(table)
    if plain:
        for line in (title, *("\t".join(row) for row in (table.columns, *rows)), ""):
            print(line)
        return
    names = headers(table)
    widths, numeric = column_widths(names, rows, console.width), numeric_columns(table)
    columns = fitting_columns(widths, rows, console.width)
    drawn = RichTable(title=title, **LOOK)
    for i in columns:
        justify: Literal["left", "right"] = "right" if numeric[i] else "left"
        drawn.add_column(Text(wrapped_header(names[i], widths[i])), justify=justify, no_wrap=numeric[i])
    for row in rows:
        drawn.add_row(*(Text(row[i]) for i in columns))
    console.print(drawn)
    left_out = [name for i, name in enumerate(names) if i not in columns]
    if left_out:
        say(f"Left out at {console.width} characters: {', '.join(left_out)} (--plain and --out have them).")
    console.print()


def say(text: str) -> None:
    """One line of text, wrapped at the width of a terminal or notebook; a pipe gets it whole."""
    console = _console()
    console.print(text, markup=False, highlight=False, soft_wrap=not _has_width(console))


def _console() -> Console:
    """Made at every use: the standard output may have been replaced since. Tables in a pipe have 200 characters."""
    console = Console()
    return console if _has_width(console) else Console(width=200)


def _has_width(console: Console) -> bool:
    """Whether people read it where a line has a width: in a terminal or a notebook."""
    return console.is_terminal or console.is_jupyter


def watch(quiet: bool = False) -> Watch | None:
    """The progress of one training: a bar on a terminal, else a line every 15 seconds; None if ``quiet``."""
    return None if quiet else progress


def next_step(run: RunRecord, folder: Path | None) -> str:
    """A next command for a run, or how to keep the run."""
    if folder is None:
        return "Next: --out FOLDER keeps this run with tables, figures and a record that rlkit report reads."
    there = shlex.quote(str(folder))
    return f"Next: {NEXT_COMMANDS.get(run.kind, REPORT_COMMAND).format(folder=there, name=shlex.quote(folder.name))}"


@contextmanager
def stages(name: str, total: int, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Show the progress of work in stages: how many are done, the elapsed and the remaining time.

    On a terminal it is a bar; elsewhere a line at the first stage that ends 15 seconds after the last line.

    Args:
        name: what a stage is, such as "attacks".
        total: number of stages.
        quiet: whether to show nothing.

    Yields:
        a function to call with a name whenever a stage is done.
    """
    console = _console()
    if quiet or total == 0:
        yield lambda stage: None
    elif console.is_terminal:
        columns = (
            TextColumn("{task.completed:.0f}/{task.total:.0f} {task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[stage]}"),
            TextColumn("elapsed"),
            TimeElapsedColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, auto_refresh=False) as bar:
            task = bar.add_task(name, total=total, stage="")

            def drawn(stage: str) -> None:
                bar.update(task, advance=1, stage=stage, refresh=True)

            bar.refresh()
            yield drawn
    else:
        yield StageLines(name, total, say)


class StageLines:
    """Lines of text about work in stages, at most one every 15 seconds; call it whenever a stage is done.

    Args:
        name: what a stage is.
        total: number of stages.
        tell: gets a line.
        clock: returns seconds since an arbitrary origin.
    """

    def __init__(
        self, name: str, total: int, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._total, self._tell, self._clock = name, total, tell, clock
        self._done, self._began = 0, clock()
        self._told = self._began

    def __call__(self, stage: str) -> None:
        """Count a stage that is done, and write a line if one is due."""
        self._done += 1
        now = self._clock()
        if now - self._told < SECONDS_BETWEEN_LINES:
            return
        self._told, elapsed = now, now - self._began
        remaining = elapsed * (self._total - self._done) / self._done
        self._tell(
            f"{self._done}/{self._total} {self._name} ({stage}), elapsed {duration(elapsed)}, "
            f"remaining {duration(remaining)}"
        )


@contextmanager
def going_on(
    name: str, done: Callable[[], str], quiet: bool = False, every: float = SECONDS_BETWEEN_LINES
) -> Iterator[None]:
    """Show the progress of work of unknown length: what is done, and the elapsed time.

    On a terminal it is a line that is drawn again; elsewhere a line every 15 seconds. A thread writes it.

    Args:
        name: name of the work.
        done: tells how far it is; called in the thread.
        quiet: whether to show nothing.
        every: seconds between two lines of a pipe.
    """
    console = _console()
    if quiet:
        yield
    elif console.is_terminal:
        told = TextColumn("{task.description}"), SaidColumn(done), TextColumn("elapsed"), TimeElapsedColumn()
        with Progress(*told, console=console, refresh_per_second=1, transient=True) as line:
            line.add_task(name, total=None)
            yield
    else:
        over, began = threading.Event(), time.monotonic()

        def lines() -> None:
            while not over.wait(every):
                parts = filter(None, (done(), f"elapsed {duration(time.monotonic() - began)}"))
                say(f"{name}: {', '.join(parts)}")

        writer = threading.Thread(target=lines, daemon=True)
        writer.start()
        try:
            yield
        finally:
            over.set()
            writer.join()


class SaidColumn(ProgressColumn):
    """A column of a progress line that shows what a function says.

    Args:
        said: the function.
    """

    def __init__(self, said: Callable[[], str]) -> None:
        super().__init__()
        self._said = said

    def render(self, task: Task) -> Text:
        """Return the text of now."""
        return Text(self._said())


def duration(seconds: float) -> str:
    """Seconds, rounded up, as hours, minutes and seconds: ``0:01:05``."""
    return str(timedelta(seconds=math.ceil(seconds)))


class Bars:
    """Several bars at once, for jobs that run side by side; use it in a ``with`` block.

    Without a terminal to draw on they are a line of text now and then.
    """

    def __init__(self, quiet: bool = False) -> None:
        console = _console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            TextColumn("{task.fields[score]}"),
            TextColumn("elapsed"),
            TimeElapsedColumn(),
            console=console,
            auto_refresh=False,  # a refreshing thread would be counted in the CPU seconds of training
            disable=quiet or not console.is_terminal,
        )
        self._followed: dict[TaskID, Callable[[], int]] = {}
        self._in_lines = not quiet and not console.is_terminal
        self._began = self._last_line = time.perf_counter()

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.refresh()
        self._progress.stop()
        if self._in_lines:
            self._say_line()

    def follow(self, name: str, read: Callable[[], int], total: int) -> None:
        """A bar of a job elsewhere: ``read()`` tells how far it is at every refresh."""
        self._followed[self._progress.add_task(name, total=total, score="")] = read

    def watching(self, name: str) -> Watch:
        """What passes training steps through a bar of their own, with the mean training return beside it."""

        def watch(agent: Agent, steps: Iterator[int], total: int) -> Iterator[int]:
            task = self._progress.add_task(name, total=agent.num_timesteps + total, score="")  # also a continued one
            for done in steps:
                earned = agent.history["episode_return"][-1]  # [S]
                known = earned[~np.isnan(earned)]
                score = f"return {known.mean(axis=0):.3g}" if len(known) else ""
                self._progress.update(task, completed=done, score=score)
                self.refresh()
                yield done

        return watch

    def refresh(self) -> None:
        """Draw everything as it is now."""
        for task, read in self._followed.items():
            self._progress.update(task, completed=read())
        self._progress.refresh()
        if self._in_lines and time.perf_counter() - self._last_line > SECONDS_BETWEEN_LINES:
            self._say_line()

    def _say_line(self) -> None:
        self._last_line = time.perf_counter()
        jobs = (
            f"{task.description} {task.percentage:.0f} %{task.fields['score'] and ', '}{task.fields['score']}"
            for task in self._progress.tasks
        )
        say(f"{self._last_line - self._began:4.0f} s  " + "; ".join(jobs))

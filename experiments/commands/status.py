"""``rlkit status``."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from .options import DONE, FAILED, Json, Output, print_json


def status(folder: Positional[Path], traceback: bool = False, json: Json = False) -> int:
    """Show which runs of a sweep are done, running, failed or missing, its speed, and the time left.

    The sweep may run on another machine. A run counts as running while its process writes a heartbeat. The exit code
    is 1 if a run failed or a result is damaged.

    Example: rlkit status runs/learning-rates

    Args:
        folder: Folder of the sweep.
        traceback: Print the traceback of every run that failed.
    """
    from ..report import terminal
    from ..report.ledger import Cell, ReportTable
    from ..workflows.sweep.driver import cells_of, counts, problem_tables
    from ..workflows.sweep.progress import sweep_progress
    from ..workflows.sweep.sweep_ledger import SweepLedger

    sweep = SweepLedger(folder)
    states = sweep.states()
    total = counts(states)
    progress = sweep_progress(sweep)._replace(done=total["done"])  # damaged results do not count
    if json:
        runs = [{**run._asdict(), **states[run.id]._asdict()} for run in sweep.experiment.runs]
        now = progress._asdict()
        print_json({"name": sweep.experiment.name, "counts": total, "progress": now, "runs": runs})
    else:
        rows: list[tuple[Cell, ...]] = []
        for cell, members in cells_of(sweep).items():
            here = counts({run.id: states[run.id] for run in members})
            steps = max((states[run.id].steps for run in members if states[run.id].state == "running"), default=None)
            rows.append((cell, len(members), *here.values(), steps))
        columns = ("cell", "runs", *total, "at step")
        terminal.show_table(ReportTable("status", f"{sweep.experiment.name}: runs by state", columns, tuple(rows)))
        for table in problem_tables(sweep, states):
            terminal.show_table(table)
        output = Output()
        for run in sweep.experiment.runs if traceback else ():
            if states[run.id].state == "failed":
                output.tell(f"{run.cell}, seed {run.seed}:\n{states[run.id].reason}")
        output.tell(str(progress))
    return FAILED if total["failed"] or total["damaged"] else DONE

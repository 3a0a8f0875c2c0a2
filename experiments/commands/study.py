"""``rlkit study``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from ..studies import NAMES, StudyName
from .options import DONE, Device, Json, print_json, unset

Maker = Literal["rlkit", "stable-baselines3"]
STUDIES = f"Study: {', '.join(NAMES)}. experiments/studies/STUDY/README.md describes it."


def study(
    name: Annotated[Positional[StudyName], arg(metavar="STUDY", help=STUDIES)],
    cases: Annotated[Positional[tuple[str, ...]], unset("[CASE ...]", "all")] = (),
    data: Annotated[Path | None, unset("FOLDER", "results/STUDY")] = None,
    models: Annotated[Path | None, unset("FOLDER", "runs/robustness")] = None,
    makers: Annotated[tuple[Maker, ...] | None, unset("{rlkit,stable-baselines3} ...", "both")] = None,
    device: Device = "cpu",
    json: Json = False,
) -> int:
    """Run a study: measure every case that has no row yet, then make its tables and figures from all rows.

    A study may take hours. The first Ctrl-C or SIGTERM saves a checkpoint and stops; the second one stops at once.
    The same command continues: rows are kept, and a training of rlkit continues from its newest checkpoint.

    rlkit trains on --device; policies are measured, and stable-baselines3 trains, on the CPU. Rows do not name the
    device, and those in results/ are of the CPU: write rows of a GPU to another folder with --data and --models.

    Example: rlkit study matched cartpole-ppo

    Args:
        name: One of the studies.
        cases: Cases to measure.
        data: Folder of rows, tables and figures.
        models: Folder of trained policies (robustness, worst_case, transfer, defenses); missing ones are trained and
            saved there.
        makers: Libraries whose policies are measured (matched, robustness).
    """
    import torch

    from rlkit.devices import usable_device

    from .. import studies
    from ..report import terminal
    from ..stopping import Stopped
    from ..studies.common.case_selection import chosen
    from ..studies.common.devices import on_device
    from ..studies.common.study import StudyOptions

    torch.set_num_threads(1)
    found = studies.find(name)
    asked = {"models": models, "makers": makers, "device": None if device == "cpu" else device}
    given: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    for option in given:
        if option not in found.takes:
            raise ValueError(f"the study {name} has no --{option}: leave it out")
    usable_device(device)
    options = StudyOptions(data or Path("results", name), **given)
    measured = tuple(on_device(case, device) for case in chosen(cases, found.cases))
    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        try:
            tables = found.run(measured, options)
        except Stopped as stopped:
            stopped.kept = True
            raise
    if json:
        print_json({"study": name, "tables": [table._asdict() for table in tables]})
    else:
        for table in tables:
            terminal.show_table(table)
        terminal.say(f"written to {options.data}")
    return DONE

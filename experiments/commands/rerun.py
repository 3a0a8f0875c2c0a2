"""``rlkit rerun``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from .. import command_line
from .options import DONE, Json, Output, unset


def rerun(
    folder: Positional[Path],
    out: Annotated[Path | None, unset("FOLDER", "the folder's name with -again")] = None,
    trust: bool = False,
    json: Json = False,
) -> int:
    """Run the command that wrote a folder again, into another folder, and compare the results.

    The command is in run.json, with its --device. Relative paths in it are relative to the current folder. The
    experiment of a sweep is read from the folder itself.

    Example: rlkit rerun runs/cartpole

    Args:
        folder: Folder with the run.json of a command.
        out: Folder of the new results.
        trust: Allow a command with --trust, which can run any code in the files that it names.
    """
    from ..report import ledger
    from ..workflows.rerun import arguments_of, differences
    from ..workflows.sweep.sweep_ledger import SWEEP

    output = Output(json=json)
    before = ledger.read(folder)
    command = arguments_of(before, folder)
    if "--trust" in command and not trust:
        raise ValueError(f"{folder} was written by a command with --trust: if you trust its files, pass --trust")
    again = folder.with_name(f"{folder.name}-again") if out is None else out
    if any((again / name).exists() for name in (ledger.RECORD, SWEEP)):
        raise ValueError(f"{again} holds a run already: choose another folder with --out")
    command = [*command, "--out", str(again)]
    output.tell(f"rlkit {shlex.join(command)}")
    code = command_line.run([*command, "--json"] if json else command)
    if code != DONE or not (again / ledger.RECORD).is_file():
        return code
    found = differences(before.results, ledger.read(again).results)
    if found:
        output.tell(f"The results differ from those in {folder}: {', '.join(found)}.")
    else:
        output.tell(f"The results equal those in {folder}; times are not compared.")
    return code

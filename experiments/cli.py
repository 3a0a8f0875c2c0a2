"""The command line: ``rlkit COMMAND``, also ``python -m rlkit COMMAND``.

Exit codes: 0 done; 1 a target was missed or a computation failed; 2 wrong use, with one line that says what to change;
130 or 143 interrupted by SIGINT (Ctrl-C) or SIGTERM. The commands are in ``commands/``.
"""

from __future__ import annotations

import atexit
import difflib
import inspect
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import NoReturn

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes

import rlkit

from . import command_line
from .commands.attack import attack
from .commands.benchmark import benchmark
from .commands.certify import certify
from .commands.compare import compare
from .commands.demo import demo
from .commands.evaluate import evaluate
from .commands.export import export
from .commands.hijack import hijack
from .commands.options import DONE, FAILED, INTERRUPTED, MISUSED, show_finished
from .commands.report import report
from .commands.rerun import rerun
from .commands.solve import solve
from .commands.status import status
from .commands.study import study
from .commands.sweep import sweep
from .commands.train import train
from .commands.transfer import transfer
from .commands.tune import tune
from .commands.watch import watch
from .commands.zoo import zoo
from .option_names import in_options, refuse_empty
from .parser_text import errors_in_one_line, help_that_fits, joined_lines
from .stopping import FinishedRun, Stopped, stop_signals

COMMANDS: dict[str, Callable[..., int]] = {
    "train": train,
    "evaluate": evaluate,
    "solve": solve,
    "attack": attack,
    "certify": certify,
    "transfer": transfer,
    "hijack": hijack,
    "zoo": zoo,
    "benchmark": benchmark,
    "compare": compare,
    "report": report,
    "rerun": rerun,
    "watch": watch,
    "sweep": sweep,
    "tune": tune,
    "status": status,
    "export": export,
    "study": study,
    "demo": demo,
}
LOOK = (FlagCreatePairsOff, OmitArgPrefixes)

OVERVIEW = """\
usage: rlkit COMMAND [OPTIONS]

Reinforcement learning whose numbers can be checked.

{commands}

rlkit COMMAND --help      options of a command
rlkit --version           version
rlkit --tyro-write-completion bash FILE
                          completion for bash (or zsh, fish): source FILE in your shell

Exit codes: 0 done; 1 a target was missed or a computation failed; 2 wrong use; 130 or 143 interrupted.
"""


def run() -> NoReturn:
    """Be the process of a command: run it, clean up, and end without taking the interpreter apart.

    Python would unload every module before it leaves, which takes torch a second.
    """
    try:
        code = main()
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has gone
        code = FAILED
    os._exit(code)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. A wrong use is one line on the standard error.

    SIGINT and SIGTERM stop the command; a second one ends the process at once.
    """
    with stop_signals() as stop:
        code = _run(args)
    return stop.stopped().code if code == INTERRUPTED and stop() else code


def _run(args: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if args is None else args)
    first = arguments[0] if arguments else ""
    if first in ("-h", "--help"):
        print(overview(), end="")
        return DONE
    if first == "--version":
        print(f"rlkit {rlkit.__version__}")
        return DONE
    try:
        if first.startswith("--tyro-"):  # shell completion of all commands
            with errors_in_one_line():
                return int(tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="rlkit", args=arguments, config=LOOK))
        if first not in COMMANDS:
            return _failed(f"{unknown_command(first)}; rlkit --help lists the commands", MISUSED)
        command = COMMANDS[first]
        command.__doc__ = joined_lines(inspect.getdoc(command) or "")
        logging.getLogger("rlkit").setLevel(logging.ERROR if "--quiet" in arguments else logging.NOTSET)
        with command_line.running(arguments, main):
            refuse_empty(command, arguments[1:])
            return parsed(command, f"rlkit {first}", arguments[1:])()
    except SystemExit as end:  # help, or an argument that the parser does not know
        return DONE if end.code is None else end.code if isinstance(end.code, int) else MISUSED
    except KeyboardInterrupt as error:
        stopped = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
        again = f"; continue with: {continuing(arguments)}" if stopped.kept else ""
        return _failed(f"{stopped.message}{again}", stopped.code)
    except FinishedRun as finished:
        return show_finished(finished, as_json="--json" in arguments)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        return _failed(in_options(str(error), COMMANDS[first]) if first in COMMANDS else str(error), MISUSED)
    except Exception as error:
        if is_out_of_memory(error):
            return _failed(memory_sentence(error), MISUSED)
        if not isinstance(error, _foreseen()):
            raise
        return _failed(str(error), FAILED)


def parsed(command: Callable[..., int], name: str, arguments: Sequence[str]) -> Callable[[], int]:
    """The command with its arguments, ready to run; help ends the process.

    Raises:
        ValueError: an argument that the command does not take, in one line.
    """

    @wraps(command)
    def with_arguments(*given: object, **options: object) -> Callable[[], int]:
        return partial(command, *given, **options)

    with errors_in_one_line(), help_that_fits():
        return tyro.cli(with_arguments, prog=name, args=arguments, config=LOOK)


def continuing(arguments: Sequence[str]) -> str:
    """The command that continues the one with these arguments."""
    words = [word for word in arguments if word not in ("--resume", "--overwrite")]
    return shlex.join(["rlkit", *words, *(() if words[:1] == ["study"] else ("--resume",))])  # a study always goes on


def overview() -> str:
    """Return the text of ``rlkit --help``: a line for each command."""
    summaries = {name: (inspect.getdoc(command) or "").splitlines()[0] for name, command in COMMANDS.items()}
    return OVERVIEW.format(commands="\n".join(f"  {name:9} {summary}" for name, summary in summaries.items()))


def unknown_command(name: str) -> str:
    """Return a sentence that refuses the first argument and suggests the nearest command."""
    if not name:
        return "no command given"
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"unknown command {name!r}" + (f": did you mean {near[0]!r}?" if near else "")


def _foreseen() -> tuple[type[Exception], ...]:
    """Failures that are no defect of this program."""
    import gymnasium

    from rlkit.env_checker import FaultyEnvironmentError
    from rlkit.planning import NotConverged

    from .workflows.compare.sb3_process import SB3Failed

    return FaultyEnvironmentError, gymnasium.error.Error, NotConverged, SB3Failed


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory could not be allocated. Errors of torch and of an import are told apart by their text alone."""
    texts = ("allocate memory", "not enough memory", "out of memory", "failed to map segment")
    told = isinstance(error, RuntimeError | ImportError) and any(text in str(error) for text in texts)
    return isinstance(error, MemoryError) or told


def memory_sentence(error: Exception) -> str:
    """What to do about an error that ``is_out_of_memory``; one of rlkit's own says it itself."""
    if type(error) is MemoryError and str(error):
        return str(error)
    reason = str(error) or "nothing more can be allocated"
    return f"out of memory: take fewer seeds, copies or points, or smaller networks ({reason})"


def _failed(message: str, code: int) -> int:
    print(f"rlkit: {' '.join(message.split())}", file=sys.stderr)
    return code

"""The command line: ``rlkit train | evaluate | solve | attack | hijack | compare | report | watch | demo``.

Exit codes: 0 done; 1 a target was missed or a computation failed; 2 misuse, with one line that says what to change;
130 interrupted. The commands are in ``commands/``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes

import rlkit

from .commands.attack import attack
from .commands.compare import compare
from .commands.demo import demo
from .commands.evaluate import evaluate
from .commands.hijack import hijack
from .commands.options import DONE, FAILED, INTERRUPTED, MISUSED
from .commands.report import report
from .commands.solve import solve
from .commands.train import train
from .commands.watch import watch

COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train,
    "evaluate": evaluate,
    "solve": solve,
    "attack": attack,
    "hijack": hijack,
    "compare": compare,
    "report": report,
    "watch": watch,
    "demo": demo,
}


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Errors of use are one line on the standard error."""
    arguments = list(sys.argv[1:] if args is None else args)
    if arguments == ["--version"]:
        print(f"rlkit {rlkit.__version__}")
        return DONE
    try:
        code: int = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="rlkit",
            description="Reinforcement learning whose numbers can be checked.",
            args=arguments,
            config=(FlagCreatePairsOff, OmitArgPrefixes),
        )
    except SystemExit as end:  # the parser's own: help, or an argument it does not know
        return end.code if isinstance(end.code, int) else MISUSED
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except (ValueError, OSError, ModuleNotFoundError, MemoryError) as error:
        return _failed(str(error), MISUSED)
    except Exception as error:
        if not isinstance(error, _foreseen()):
            raise
        return _failed(str(error), FAILED)
    return code


def _foreseen() -> tuple[type[Exception], ...]:
    """Failures that are no defect of this program."""
    import gymnasium

    from rlkit.env_checker import FaultyEnvironmentError
    from rlkit.planning import NotConverged

    from .workflows.compare.sb3_process import PeerFailed

    return FaultyEnvironmentError, gymnasium.error.Error, NotConverged, PeerFailed


def _failed(message: str, code: int) -> int:
    print(f"rlkit: {' '.join(message.split())}", file=sys.stderr)
    return code

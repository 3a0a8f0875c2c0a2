"""The process of one side: ``python -m rlkit.experiments.benchmarks.worker SIDE ARGUMENTS``, ARGUMENTS in JSON.

Its first line is the CPU time that the process took until it was ready: imports, compilation or the loading of machine
code, and a first part of the work. Each line on its standard input then asks for one repetition. The answer is a line
``steps cpu_seconds wall_seconds``.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from .cases import prepared

WARM_UP = 4  # a first repetition, not reported, does this part of the work, in which DQN begins to learn


def main(side: str, arguments: dict[str, Any]) -> None:
    """Do the repetitions that are asked for."""
    prepared(side, arguments | {"steps": -(-arguments["steps"] // WARM_UP)})()
    print(time.process_time(), flush=True)
    for _ in sys.stdin:
        work = prepared(side, arguments)
        wall, cpu = time.perf_counter(), time.process_time()
        steps = work()
        print(steps, time.process_time() - cpu, time.perf_counter() - wall, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))

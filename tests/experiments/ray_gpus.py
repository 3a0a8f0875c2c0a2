"""Tasks of Ray on a node that says it has two GPUs: ``python ray_gpus.py FOLDER``.

Prints a JSON object: the tasks that there is room for, the least number of GPUs that were free while two ran, the GPUs
that each was given, and what is said of a task that needs three.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import ray

from rlkit.experiments.workflows.sweep.executors import RayExecutor
from rlkit.experiments.workflows.sweep.executors import ray as executor_module
from rlkit.experiments.workflows.sweep.sweep_ledger import SweepAttempt


def note_gpus(folder: str) -> str:
    """Stand in for an attempt: write which GPUs Ray has given to this task."""
    (Path(folder) / "gpus").write_text(json.dumps(ray.get_gpu_ids()), encoding="utf-8")
    time.sleep(3.0)  # so that both run at the same time
    return folder


def main(folder: Path) -> None:
    """Run two tasks, and ask for one that no node has room for."""
    executor_module._attempt_in = note_gpus
    ray.init(num_cpus=4, num_gpus=2, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
    attempts = [SweepAttempt(folder / name) for name in ("one", "two")]
    free, ended = float("inf"), 0
    with RayExecutor(gpus=1.0) as executor:
        places = executor.free()
        for attempt in attempts:
            attempt.folder.mkdir()
            executor.submit(attempt)
        while ended < len(attempts):
            free = min(free, ray.available_resources().get("GPU", 0.0))
            ended += len(executor.wait(0.2))
    try:
        with RayExecutor(gpus=3.0):
            refused = ""
    except ValueError as error:
        refused = str(error)
    gpus = [json.loads((attempt.folder / "gpus").read_text(encoding="utf-8")) for attempt in attempts]
    print(json.dumps({"places": places, "free": free, "gpus": gpus, "refused": refused}))
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

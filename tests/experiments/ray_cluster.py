"""A sweep on a Ray cluster of three nodes on this machine, one of which is killed: ``python ray_cluster.py FOLDER``.

FOLDER holds the file experiment.toml, and the sweep is written to FOLDER/out. The driver is on the head, which runs no
task. Prints a JSON object: the number of the process that was killed with its node, and what the driver told.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from rlkit.experiments.workflows.sweep.driver import SweepDriver
from rlkit.experiments.workflows.sweep.executors import Ended, RayExecutor
from rlkit.experiments.workflows.sweep.experiment import read_experiment
from rlkit.experiments.workflows.sweep.sweep_ledger import SweepAttempt, SweepLedger

NODE = {"object_store_memory": 80 * 2**20, "include_dashboard": False}


class KillingExecutor(RayExecutor):
    """Kills a node as soon as an attempt that has a checkpoint runs there."""

    def __init__(self, cluster: Cluster, doomed: object, folder: Path) -> None:
        super().__init__()
        self.cluster, self.doomed, self.folder, self.killed = cluster, doomed, folder, 0

    def wait(self, seconds: float) -> list[Ended]:
        for checkpoint in self.folder.glob("batches/*/attempt-*/checkpoints/*.safetensors"):
            beat = SweepAttempt(checkpoint.parent.parent).heartbeat()
            if not self.killed and beat is not None and runs_below(beat["process"], self.doomed):
                self.killed = beat["process"]
                os.kill(self.killed, signal.SIGSTOP)  # the run cannot end before its node is gone
                self.cluster.remove_node(self.doomed, allow_graceful=False)
                os.kill(self.killed, signal.SIGKILL)
        return super().wait(0.02)


def runs_below(process: int, node: object) -> bool:
    """Whether a process is a child of the raylet of a node."""
    try:
        parent = int(Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except FileNotFoundError:
        return False
    return parent == node.all_processes["raylet"][0].process.pid


def main(folder: Path) -> None:
    """Run the sweep."""
    cluster = Cluster()
    try:
        cluster.add_node(**NODE, num_cpus=0)
        doomed, _ = (cluster.add_node(**NODE, num_cpus=1) for _ in range(2))
        ray.init(address=cluster.address, log_to_driver=False)
        sweep = SweepLedger.begin(folder / "out", read_experiment(folder / "experiment.toml"))
        told: list[str] = []
        with KillingExecutor(cluster, doomed, sweep.folder) as executor:
            finished = SweepDriver(sweep, executor, told.append).run(lambda: False)
        print(json.dumps({"finished": finished, "places": executor._room, "killed": executor.killed, "told": told}))
        ray.shutdown()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

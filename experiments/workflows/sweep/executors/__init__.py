"""Executors of the attempts of a sweep: worker processes of this machine, a Ray cluster, or the queue of SLURM.

An executor is given the folder of an attempt and tells when the attempt has ended. It carries no result: the ledger
says what became of the attempt, and the driver of the sweep decides what is tried again.
"""

from .base import Ended, Executor
from .local import LocalExecutor
from .ray import RayExecutor
from .slurm import SlurmExecutor

__all__ = ["Ended", "Executor", "LocalExecutor", "RayExecutor", "SlurmExecutor"]

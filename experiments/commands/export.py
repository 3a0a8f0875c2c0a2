"""``rlkit export``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from .options import DONE, Output


def export(folder: Positional[Path], to: Literal["wandb", "mlflow"], project: str = "rlkit") -> int:
    """Copy a finished run to Weights & Biases or MLflow: settings, training log, results and tables.

    Both read the account and the server from their own settings, such as WANDB_API_KEY and MLFLOW_TRACKING_URI.

    Example: rlkit export runs/cartpole --to mlflow

    Args:
        folder: Folder of a finished run.
        to: Service to copy to.
        project: Project of Weights & Biases, or experiment of MLflow.
    """
    from ..workflows.export import finished_record, to_mlflow, to_wandb

    run = finished_record(folder)
    if to == "wandb":
        to_wandb(run, project)
    else:
        to_mlflow(run, project)
    Output().tell(f"{folder} was copied to {project}")
    return DONE

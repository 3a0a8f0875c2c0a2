"""``rlkit zoo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from .options import DONE, Algorithm, Json, TrainingOptions, at_least_one, print_json, unset


def zoo(
    out: Path,
    training: TrainingOptions,
    policies: Positional[tuple[Path, ...]] = (),
    algos: tuple[Algorithm, ...] = ("dqn", "ppo"),
    secret: Annotated[str | None, unset("TEXT", "random")] = None,
    overwrite: bool = False,
    json: Json = False,
) -> int:
    """Make a zoo of victims for rlkit benchmark: train plain policies, add given ones, and write all digests.

    The folder holds one .safetensors file a victim and zoo.json: the SHA-256 of every file, how it was made, the
    threat, and a digest of the secret from which hidden test starts follow. The secret is printed and not written:
    keep it until submissions are in.

    Example: rlkit zoo runs/defended --env CartPole-v1 --seeds 10 --out zoo

    Args:
        out: Folder of the zoo.
        policies: Policies of rlkit to add, such as defended ones; their folder or file names them.
        algos: Algorithms to train without defense.
        secret: Text that gives the hidden starts, of at least 16 characters.
        overwrite: Replace the zoo that --out already holds.
    """
    from ..report import ledger, terminal
    from ..workflows.victim_zoo import MANIFEST, commitment_of, make_zoo

    at_least_one("victims", len(algos) + len(policies))
    if secret is not None:
        commitment_of(secret)
    trainings = [training.training(algo) for algo in algos]
    if (out / MANIFEST).exists() and not overwrite:
        raise ValueError(f"{out} already holds a zoo: choose another folder, or replace it with --overwrite")
    with ledger.locked_folder(out) as folder:
        kept = make_zoo(folder, trainings, policies, secret, terminal.watch(json))
    if json:
        print_json({"folder": str(out), "secret": kept, "commitment": commitment_of(kept)})
    else:
        print(f"written to {out}\nsecret (it is written nowhere; keep it): {kept}")
    return DONE

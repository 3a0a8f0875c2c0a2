"""``rlkit zoo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from .options import DONE, Algorithm, Json, Paths, TrainingOptions, at_least_one, print_json, unset


def zoo(
    out: Path,
    training: TrainingOptions,
    policies: Paths = (),
    algos: tuple[Algorithm, ...] = ("dqn", "ppo"),
    defenses: Annotated[tuple[str, ...], unset("NAME:epsilon=FLOAT,strength=FLOAT,ramp=FLOAT ...", "none")] = (),
    secret: Annotated[str | None, unset("TEXT", "random")] = None,
    overwrite: bool = False,
    json: Json = False,
) -> int:
    """Make a zoo of victims for rlkit benchmark: train plain and defended policies, add given ones, write all digests.

    The folder holds one .safetensors file for each victim and zoo.json: the SHA-256 of every file, how it was made, the
    threat, and a digest of the secret. The secret determines the hidden test starts. It is printed and not written to a
    file: keep it until all submissions are in.

    Example: rlkit zoo --algos ppo --defenses radial:epsilon=0.4,ramp=0.5 sa_ppo_kl:epsilon=0.4 --seeds 10 --out zoo

    Args:
        out: Folder of the zoo.
        policies: Policies of rlkit to add; their folder or file names them.
        algos: Algorithms to train, without a defense and with every defense that applies to them.
        defenses: Defenses of rlkit train with their numbers: epsilon in units of the threat's scale, the strength, and
            the fraction of training over which epsilon grows (ramp).
        secret: Text of at least 16 characters that determines the hidden starts.
        overwrite: Replace the zoo that --out already holds.
    """
    from rlkit.devices import usable_device

    from ..report import ledger, terminal
    from ..workflows.victim_zoo import MANIFEST, commitment_of, make_zoo, with_defenses

    at_least_one("victims", len(algos) + len(policies))
    usable_device(training.device)
    if secret is not None:
        commitment_of(secret)
    trainings = with_defenses([training.training(algo) for algo in algos], defenses)
    if (out / MANIFEST).exists() and not overwrite:
        raise ValueError(f"{out} already holds a zoo: choose another folder, or replace it with --overwrite")
    with ledger.locked_folder(out) as folder:
        kept = make_zoo(folder, trainings, policies, secret, terminal.watch(json))
    if json:
        print_json({"folder": str(out), "secret": kept, "commitment": commitment_of(kept)})
    else:
        print(f"written to {out}\nsecret (not saved in any file; keep it): {kept}")
    return DONE

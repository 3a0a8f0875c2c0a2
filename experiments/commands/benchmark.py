"""``rlkit benchmark``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from .options import Device, Output, at_least_one, unset


def benchmark(
    zoo: Positional[Path],
    output: Output,
    submissions: tuple[str, ...] = ("noise", "fgsm", "pgd"),
    trust: bool = False,
    secret: Annotated[str | None, unset("TEXT", "public starts")] = None,
    certificates: Annotated[Path | None, unset("FILE", "none")] = None,
    episodes: int = 20,
    epsilons: Annotated[tuple[float, ...] | None, unset("FLOAT ...", "all of the zoo's threat")] = None,
    nodes: int = 500,
    device: Device = "auto",
) -> int:
    """Execute submitted attacks on the victims of a zoo, verify certificates, and write one table and a checklist.

    The command does not trust a submission: it executes every attack and computes every lower bound itself. A submitted
    certificate is verified if the computed bound is at least as high, and refuted if an attack went below it. With
    --secret the starts are those to which the zoo committed before there were submissions.

    Example: rlkit benchmark zoo --submissions pgd:steps=50 lookahead my_attack.py --trust --out runs/benchmark

    Args:
        zoo: Folder that rlkit zoo wrote.
        submissions: Attacks: names as in rlkit attack, names with settings (pgd:steps=50,restarts=3), or Python files
            that define attack(victim, threat, epsilon).
        trust: Run submitted Python files, which can do anything.
        secret: Text to which the zoo committed; it determines the hidden starts.
        certificates: JSON file of lower bounds: victim, then epsilon, then one number for every seed.
        episodes: Episodes per training seed; the strongest attack is selected on the same number of other episodes.
        epsilons: Attack sizes; each must be one of the zoo's threat.
        nodes: States verified per start of the cart-pole.
    """
    import torch

    from ..workflows.benchmark import benchmark as run_benchmark
    from ..workflows.benchmark import submission
    from ..workflows.victim_zoo import read_zoo

    torch.set_num_threads(1)
    at_least_one("episodes", episodes)
    at_least_one("nodes", nodes)
    found = read_zoo(zoo, device)
    read = [submission(text, trust) for text in submissions]
    claims = None
    if certificates is not None:
        try:
            claims = json.loads(certificates.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{certificates} is not a JSON file: {error}") from error
    return output.finish(run_benchmark(found, read, episodes, epsilons, secret, claims, nodes))

"""``rlkit transfer``."""

from __future__ import annotations

from typing import Literal

from .options import Output, PoliciesOptions, ThreatOptions, at_least_one


def transfer(
    policies: PoliciesOptions,
    threat: ThreatOptions,
    output: Output,
    attack: Literal["fgsm", "pgd", "deepfool"] = "pgd",
    episodes: int = 20,
) -> int:
    """Attack every policy with observations that are computed on every other policy: returns and changed actions.

    The matrix has a line for each policy on which the attack is computed (source) and a column for each policy that
    plays (target). Policies need the same environment and the same number of training seeds; row s of a target plays
    under the attack on row s of a source.

    Example: rlkit transfer runs/dqn runs/ppo --epsilons 0.2 0.4 --out runs/transfer

    Args:
        attack: Attack computed on the sources.
        episodes: Episodes per training seed.
    """
    from ..workflows.attack import ATTACKS
    from ..workflows.transfer import transfer as run_transfer

    at_least_one("episodes", episodes)
    subjects = policies.load()
    return output.finish(run_transfer(subjects, threat.threat(subjects[0], *subjects[1:]), ATTACKS[attack], episodes))

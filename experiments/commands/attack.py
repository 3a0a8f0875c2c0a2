"""``rlkit attack``."""

from __future__ import annotations

from typing import Annotated, Literal

from .options import DONE, ContinuedOutput, PolicyOptions, ThreatOptions, at_least_one, unset


def attack(
    policy: PolicyOptions,
    threat: ThreatOptions,
    output: ContinuedOutput,
    attacks: tuple[str, ...] = ("noise", "fgsm", "pgd"),
    episodes: int = 100,
    timing: Literal["always", "every", "random", "strategic", "value", "critical"] = "always",
    share: float = 0.25,
    temperature: Annotated[float | None, unset("FLOAT", "none")] = None,
    measures: Annotated[
        tuple[Literal["distance", "saliency", "sections"], ...], unset("{distance,saliency,sections} ...", "none")
    ] = (),
    worst_case: bool = False,
) -> int:
    """Attack the observations of a policy, and measure its return against epsilon, the size of the attack.

    Epsilon is in units of the task's committed scale where there is one. --threat reads a file with all limits of the
    attacker; docs/reference/adversarial.md describes it.

    The table starts with the natural return, without attack, on the same episodes. A failed attack proves nothing about
    the policy; a checklist warns of attacks that are suspiciously weak.

    With --out every finished attack is kept in the folder; after a stop the same command with --resume goes on with the
    others.

    Example: rlkit attack runs/dqn-CartPole-v1 --attacks noise fgsm --epsilons 0.1 0.5 1
    --measures distance saliency sections --out runs/attack

    Args:
        attacks: Attacks to run: noise (random signs of full size), uniform or gaussian (other noise), fgsm (one
            gradient step), pgd (20 gradient steps), search (random search on scores), boundary (decision-based), best
            (the best of several at every step), deepfool, square; fitted to the policy: lookahead (provokes the action
            of the lowest value), learned (an adversary trained by PPO), universal (one offset for all observations),
            substitute (PGD on an imitation of its actions).
        episodes: Episodes per training seed; as many others select the strongest attack.
        timing: Steps to attack: always (all), every (every n-th), random, strategic (strong preference for one action),
            value (high expected return), or critical (one wrong action is dangerous).
        share: Fraction of steps to attack (ignored for always). Thresholds are measured on natural episodes.
        temperature: Softmax temperature of the strategic timing, in units of return. Required if scores are action
            values (DQN).
        measures: Further measures at natural states: the distance to the nearest observation that changes the action
            (distance), the influence of every feature over an episode (saliency), and scores along lines and planes
            of observations (sections).
        worst_case: On a grid world, also compute the exact worst case within the threat, between a certified bound and
            an adversary that attains it. On CartPole-v1, bound the fewest steps to a fall from five starts.
    """
    from ..report import ledger
    from ..report.html import write_report
    from ..workflows.attack import KeptCurves, attack_plan
    from ..workflows.attack import attack as run_attack
    from ..workflows.attack_timing import timing_of
    from ..workflows.measures import with_measures
    from ..workflows.worst_case import with_worst_case

    at_least_one("episodes", episodes)
    at_least_one("attacks", len(attacks))
    subject = policy.load()
    limits = threat.threat(subject)
    plan = attack_plan(subject, attacks, limits, timing_of(timing, share, temperature, subject))
    settings = {
        "command": "attack",
        **policy.identity(),
        "episodes": episodes,
        "attacks": attacks,
        "threat": limits.as_dict(),
        "timing": timing,
        "share": share,
        "temperature": temperature,
    }
    with output.folder_if_given(settings) as folder:
        kept = None if folder is None else KeptCurves(folder, output.tell)
        run = run_attack([subject], plan, episodes, kept)
        run = with_measures(run, subject, plan, measures)
        run = with_worst_case(run, subject, plan) if worst_case else run
        if folder is not None:
            write_report(folder / "report.html", run.title, [run])
            ledger.write(run, folder)
    output.show(run)
    if folder is not None:
        output.tell(f"written to {folder}")
    return DONE

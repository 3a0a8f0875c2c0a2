"""``rlkit attack``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

from .options import DONE, ContinuedOutput, PoliciesOptions, ThreatOptions, at_least_one, unset


def attack(
    policies: PoliciesOptions,
    threat: ThreatOptions,
    output: ContinuedOutput,
    attacks: tuple[str, ...] = ("noise", "fgsm", "pgd"),
    episodes: int = 100,
    timing: Literal["always", "every", "random", "strategic", "value", "critical"] = "always",
    share: float = 0.25,
    temperature: Annotated[float | None, unset("FLOAT", "none")] = None,
    measures: Annotated[
        tuple[Literal["distance", "saliency", "sections", "substitutes"], ...],
        unset("{distance,saliency,sections,substitutes} ...", "none"),
    ] = (),
    worst_case: bool = False,
    norms: Annotated[tuple[Literal["inf", "2", "1"], ...], unset("{inf,2,1} ...", "--norm alone")] = (),
    latex: bool = False,
) -> int:
    """Attack the observations of policies, and measure their return against epsilon, the size of the attack.

    Epsilon is in units of the task's committed scale where there is one. --threat reads a file with all limits of the
    attacker; docs/manual/attacks.md describes it.

    The table starts with the natural return, without attack, on the same episodes. A failed attack proves nothing about
    the policy; a checklist warns of attacks that seem too weak. The last sentence says how far the strongest attack is
    from the worst case, or that the worst case is not known. One table may hold several policies.

    With --out every finished attack is saved in the folder. After a stop, the same command with --resume continues with
    the other attacks.

    Example: rlkit attack runs/dqn-CartPole-v1 --attacks noise fgsm --epsilons 0.1 0.5 1
    --measures distance saliency sections --out runs/attack

    Args:
        attacks: Attacks to run: noise (random signs of full size), uniform or gaussian (other noise), fgsm (one
            gradient step), pgd (20 gradient steps), search (random search on scores), boundary (decision-based), best
            (the best of several at every step), deepfool, square; fitted to the policy: lookahead (tries to cause the
            action of the lowest value), tree (plans through the simulator, CartPole-v1 only), learned (an adversary
            trained by PPO, where rlkit has the dynamics), linear (a linear rule that chooses the action to cause),
            universal (one offset for all observations), substitute (PGD on an imitation of its actions).
        episodes: Episodes per training seed; the strongest attack is selected on the same number of other episodes.
        timing: Steps to attack: always (all), every (every n-th), random, strategic (strong preference for one action),
            value (high expected return), or critical (one wrong action is dangerous).
        share: Fraction of steps to attack (ignored for always). Thresholds are measured on natural episodes.
        temperature: Softmax temperature of the strategic timing, in units of return. Required if scores are action
            values (DQN).
        measures: Further measures at natural states: the distance to the nearest observation that changes the action
            (distance), the influence of every feature over an episode (saliency), scores along lines and planes of
            observations (sections), and the effect of attacks that are computed on imitations of the policy, which are
            fitted to 50 to 5,000 of its actions (substitutes).
        worst_case: On a grid world, also compute the exact worst case within the threat, between a certified bound and
            an adversary that attains it. On CartPole-v1, bound the fewest steps to a fall from five starts.
        norms: Norms of the attack, in one table at the same epsilons.
        latex: Also write every table for LaTeX: with --out to files next to the CSV files, else to the terminal.
    """
    from ..report import ledger, terminal
    from ..report.html import write_report
    from ..report.latex import as_latex, write_latex
    from ..workflows.attack import KeptCurves, attack_plan
    from ..workflows.attack import attack as run_attack
    from ..workflows.attack_timing import timing_of
    from ..workflows.measures import with_measures
    from ..workflows.worst_case import with_distance, with_worst_case

    at_least_one("episodes", episodes)
    if norms and threat.norm is not None:
        raise ValueError("--norm gives one norm and --norms several: leave one of them out")
    if (len(policies.policies) > 1 or len(norms) > 1) and (measures or worst_case):
        raise ValueError("--measures and --worst-case need a single policy and a single norm: run them separately")
    subjects = policies.load()
    subject = subjects[0]
    limits = threat.threat(subject, *subjects[1:])
    when = timing_of(timing, share, temperature, subject)
    plans = [
        attack_plan(subject, attacks, replace(limits, norm=norm), when)
        for norm in dict.fromkeys(norms or (limits.norm,))
    ]
    plan = plans[0]
    settings = {
        "command": "attack",
        **policies.identity(),
        "episodes": episodes,
        "attacks": attacks,
        "threat": limits.as_dict(),
        "norms": norms,
        "timing": timing,
        "share": share,
        "temperature": temperature,
    }
    with output.folder_if_given(settings) as folder:
        kept = None if folder is None else partial(KeptCurves, folder, output.tell)
        total = 2 * sum(len(each.attacks) for each in plans) * len(subjects)
        with terminal.stages("attacks", total, output.silent) as done:
            run = run_attack(subjects, plans, episodes, kept, done)
        run = with_measures(run, subject, plan, measures)
        run = with_distance(with_worst_case(run, subject, plan) if worst_case else run)
        if folder is not None:
            write_report(folder / "report.html", run.title, [run])
            ledger.write(run, folder)
            if latex:
                write_latex(run.tables, folder)
    output.show(run)
    if latex and folder is None:
        output.tell("\n".join(map(as_latex, run.tables)))
    output.end(run, folder)
    return DONE

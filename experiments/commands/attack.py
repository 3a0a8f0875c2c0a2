"""``rlkit attack``."""

from __future__ import annotations

from typing import Literal, cast

from .options import EvaluationOptions, Output, PolicyOptions, at_least_one


def attack(
    policy_options: PolicyOptions,
    evaluation_options: EvaluationOptions,
    output: Output,
    attacks: tuple[str, ...] = ("noise", "fgsm", "pgd"),
    epsilons: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0),
    unit: Literal["std", "raw"] = "std",
    norm: str = "inf",
    timing: Literal["always", "every", "random", "strategic", "value", "critical"] = "always",
    share: float = 0.25,
    temperature: float | None = None,
    attacks_per_episode: int | None = None,
    measures: tuple[Literal["distance", "saliency", "sections"], ...] = (),
) -> int:
    """Measure the return of a policy whose observations are tampered with, against the size of the change.

    The natural return stands first, on the same episodes. An attack that fails proves nothing: a checklist says where
    one is suspiciously weak.

    Example: rlkit attack runs/cartpole/agent.safetensors --attacks noise fgsm --epsilons 0.1 0.5 1
    --measures distance saliency sections --out runs/attack

    Args:
        attacks: Which attacks: noise (random signs of full size), uniform or gaussian (other noise), fgsm (one step
            along the gradient), pgd (20 steps), search (random search, sees scores), boundary (sees actions only),
            best (at every step the best of several).
        epsilons: Sizes of the change.
        unit: Of epsilon: standard deviations of natural observations (std), or raw observation units (raw).
        norm: inf bounds every feature by itself, 2 and 1 all of them together.
        timing: When to attack: always, every n-th step, at random, where the preference of one action is strong
            (strategic), where the policy expects much (value), or where one wrong action is dangerous (critical).
        share: Of steps to attack, for every timing but always; thresholds are measured on natural episodes.
        temperature: Of a strategic timing's softmax, in units of return; needed where scores are action values (DQN).
        attacks_per_episode: At most so many attacks in an episode; no limit by default.
        measures: What else to measure at natural states: how near the nearest observation is that changes the action
            (distance), what every feature weighs over an episode (saliency), scores along a line and over a plane of
            observations, in the steepest direction and a random one (sections).
    """
    from ..report.html import write_report
    from ..workflows.attack import NormName, threat
    from ..workflows.attack import attack as run_attack
    from ..workflows.attack_timing import timing_of
    from ..workflows.measures import with_measures

    at_least_one("episodes", evaluation_options.episodes)
    subject = policy_options.open()
    threatened = threat(subject, attacks, epsilons, unit, cast(NormName, norm))._replace(
        timing=timing_of(timing, share, temperature, subject), attacks_per_episode=attacks_per_episode
    )
    run = run_attack([subject], threatened, evaluation_options.episodes, evaluation_options.first_seed)
    run = with_measures(run, subject, threatened, measures, evaluation_options.first_seed)
    code = output.finish(run)
    if output.out is not None:
        write_report(output.out / "report.html", run.title, [run])
    return code

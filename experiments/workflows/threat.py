"""The threat of a command: a file, or the committed threat of the task with the options that were given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rlkit.adversarial import CARRL, Threat, committed_threat
from rlkit.evaluation import EVALUATION_SEED, observation_std

from .policies import Subject

Unit = Literal["task", "std", "raw"]
NormName = Literal["inf", "2", "1"]
SCALE_EPISODES = 20  # natural episodes per seed that standard deviations are measured on
OWN_STD = "standard deviations of this policy's natural observations (not comparable with other policies)"


def threat_of(subject: Subject, file: Path | None = None, unit: Unit | None = None, **given: Any) -> Threat:
    """Return the threat of a file, else of the subject's task, with the fields that are given.

    Args:
        subject: the policy, with its environment.
        file: a TOML file; None for the committed threat of the task.
        unit: "task" for the committed scale, "std" for deviations of the subject's own natural observations, "raw"
            for raw units; None for "task" where a scale is committed, else "std".
        given: fields of ``Threat`` that replace those of the file or task; None leaves a field as it is.

    Raises:
        ValueError: a wrong value, a threat to another task, a unit beside a file, or a unit "task" without a committed
            scale.
    """
    changes = {name: value for name, value in given.items() if value is not None}
    if file is not None:
        if unit is not None:
            raise ValueError(f"{file} has a scale of its own: leave --unit out")
        found = Threat.read(file)
        task = (found.env, dict(found.env_kwargs))
        if found.env is not None and task != (subject.env, dict(subject.env_kwargs)):
            raise ValueError(
                f"{file} is a threat to {found.env} {dict(found.env_kwargs)}, and the policy plays {subject.env} "
                f"{dict(subject.env_kwargs)}: choose another file, or leave env out of it"
            )
        return replace(found, **changes)
    committed = committed_threat(subject.env, subject.env_kwargs)
    if unit == "task" and committed is None:
        raise ValueError(f"no scale is committed for {subject.env} {dict(subject.env_kwargs)}: use --unit std or raw")
    base = Threat(subject.env, subject.env_kwargs) if committed is None else committed
    if unit == "raw":
        base = replace(base, scale=(1.0,), unit=Threat().unit)
    elif unit == "std" or committed is None:
        std = observation_std(subject.policy, subject.make_env(SCALE_EPISODES, EVALUATION_SEED)).cpu()
        base = replace(base, scale=tuple(std.flatten().tolist()), shape=tuple(std.shape), unit=OWN_STD)
    return replace(base, **changes)


def acting_safely(subject: Subject, epsilon: float) -> Subject:
    """Let a subject act on lower bounds of its action values over the ball of an epsilon (``rlkit.adversarial.CARRL``).

    Epsilon is in units of the task's committed scale, else in raw ones, with the norm "inf".

    Raises:
        ValueError: see ``CARRL``.
    """
    task = committed_threat(subject.env, subject.env_kwargs) or Threat()
    policy = CARRL(subject.policy, task.budget(epsilon))
    return subject._replace(policy=policy, algorithm=f"{subject.algorithm} with CARRL {epsilon:g}")


def refuse_episode_budget(threat: Threat, what: str) -> None:
    """Refuse a threat whose epsilon is of a whole episode.

    Raises:
        ValueError: the threat is such a one; the message begins with ``what``.
    """
    if threat.epsilon_per == "episode":
        raise ValueError(
            f"{what} of an epsilon per step, and the threat has one per episode: set epsilon_per to 'step', or use "
            "rlkit certify --smoothing"
        )


def described(threat: Threat) -> str:
    """Describe the unit, the norm and the digest of a threat, for the title of a table."""
    return f"epsilon in {threat.unit} (norm {threat.norm}, threat {threat.digest})"

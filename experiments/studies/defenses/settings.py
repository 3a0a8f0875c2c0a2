"""The defenses, the trainings and the attacks, as data; fixed before anything was measured on these seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rlkit.adversarial import PGD, Attack, Noise

from ...workflows.defense import DefenseSettings
from ...workflows.train import Training
from ..common.tasks import CARTPOLE

SEEDS = tuple(range(200, 210))  # no number here was chosen on them
STEPS = {"ppo": 60_000, "dqn": 80_000}  # environment steps per seed, the same with and without a defense
EPISODES = 20
EPSILONS = (0.1, 0.2, 0.4, 0.6)  # norm "inf", in units of the task's scale
DEFENDED_EPSILON = 0.4  # of the training
RAMP = 0.5  # of training, over which epsilon grows

PLAIN, FLOOR, CEILING = "plain", "constant pushes", "linear policy"
LINEAR = (0.1, 0.3, 3.0, 0.5)  # pushes right where its product with the observation is positive; it balances

# weights other than the defense's own
STRENGTHS: Mapping[str, tuple[float, ...]] = {"gaussian_augmentation": (1.0,)}
# at most six; the same question of both algorithms, where there is one
PRIMARY: Mapping[str, tuple[str, ...]] = {
    "ppo": ("sa_ppo_kl", "radial", "adversarial_training", "gaussian_augmentation", "J1"),
    "dqn": ("sa_dqn_hinge", "radial", "adversarial_training", "gaussian_augmentation", "J1", "car_dqn"),
}


class Attacker(NamedTuple):
    """An attack, and whether it provokes the actions that the linear policy avoids."""

    name: str
    attack: Attack
    provokes: bool = False


ATTACKERS = (Attacker("noise", Noise()), Attacker("PGD", PGD(20)), Attacker("provoking", PGD(20), provokes=True))


class DefenseCase(NamedTuple):
    """One way to train, with every seed; no training for the two hand-made policies."""

    name: str
    training: Training | None
    twin: str | None = None  # the plain case with the same seeds


def cases_of(algo: str) -> tuple[DefenseCase, ...]:
    """Plain training and all defenses of an algorithm."""
    plain = DefenseCase(f"{algo}-{PLAIN}", training_of(algo, None))
    defended = (
        DefenseSettings(name, (DEFENDED_EPSILON,), STRENGTHS.get(name, ()), CARTPOLE.scale, RAMP)
        for name in PRIMARY[algo]
    )
    return plain, *(DefenseCase(f"{algo}-{each.name}", training_of(algo, each), plain.name) for each in defended)


def training_of(algo: str, defense: DefenseSettings | None) -> Training:
    """The training of every case of an algorithm: only the defense differs."""
    kwargs: dict[str, Any] = {"preset": "tuned", "num_envs": None, "defense": defense}
    return Training(CARTPOLE.env, algo, SEEDS, STEPS[algo], **kwargs)


CASES = (DefenseCase(FLOOR, None), DefenseCase(CEILING, None), *cases_of("ppo"), *cases_of("dqn"))

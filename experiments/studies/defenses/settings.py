"""The defenses, the trainings and the attacks, as data; fixed before anything was measured on the test seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from ...workflows.defense import DefenseSettings
from ...workflows.train import Training
from ..common.tasks import CARTPOLE, THREATS

TUNING_SEEDS = (2000, 2001)  # every choice was made on these
SEEDS = tuple(range(210, 220))  # no number here was chosen on them
STEPS = {"ppo": 40_000}  # environment steps per seed, the same with and without a defense
RAMP = 0.5  # of training, over which epsilon grows
THREAT = THREATS["CartPole-v1"]
EPSILONS = (0.1, 0.2, 0.4)  # norm "inf", in units of the task's scale
TUNING_EPSILON = 0.4  # at which configurations are compared
SELECTED_ON, REPORTED_ON = 5, 10  # episodes per seed on which attacks are selected, and other ones that are reported

MASKING_EPSILON = 0.4  # at which defended policies are asked whether their gradients mislead
ADVERSARIES = 3  # trained afresh on every defended policy
ADVERSARY_STEPS = (10_000, 20_000, 40_000, 80_000)  # of their training, until a doubling changes nothing
SETTLED = 0.02  # relative change of the mean return that counts as nothing

SOLVED = 475.0  # natural return that a policy needs
BROKEN = 100.0  # the bar is set at the smallest epsilon at which plain policies earn no more
KEPT = 250.0  # median that a defense needs there

PLAIN, FLOOR, CEILING = "plain", "constant pushes", "linear policy"
LINEAR = (0.1, 0.3, 3.0, 0.5)  # pushes right where its product with the observation is positive; it balances


class Configuration(NamedTuple):
    """Numbers of one training that are chosen on the tuning seeds."""

    epsilon: float = 0.0  # of the defense, in units of the task's scale
    strength: float = 0.0  # of the defense
    hyperparameters: tuple[tuple[str, float], ...] = ()  # of the algorithm, in place of the preset's

    def __str__(self) -> str:
        """For example ``epsilon 0.4, strength 1, gamma 0.98``; plain training has no epsilon and no strength."""
        own = (("epsilon", self.epsilon), ("strength", self.strength)) if self.epsilon else ()
        return ", ".join(f"{name} {value:g}" for name, value in (*own, *self.hyperparameters))


# four of every defense, plain training included; the preset's gamma and entropy bonus are among those of plain training
CONFIGURATIONS: Mapping[str, Mapping[str, tuple[Configuration, ...]]] = {
    "ppo": {
        PLAIN: tuple(
            Configuration(hyperparameters=(("gamma", gamma), ("ent_coef", bonus)))
            for gamma, bonus in product((0.98, 0.99), (0.0, 0.01))
        ),
        "radial": tuple(Configuration(*each) for each in product((0.2, 0.4), (0.25, 1.0))),
        "sa_ppo_kl": tuple(Configuration(*each) for each in ((0.2, 0.3), (0.4, 0.3), (0.4, 1.0), (0.4, 3.0))),
        "gaussian_augmentation": tuple(Configuration(*each) for each in product((0.4, 0.8), (0.5, 1.0))),
    },
}


class DefenseCase(NamedTuple):
    """One way to train; no configurations for the two hand-made policies."""

    name: str
    algo: str = ""
    defense: str = ""  # of ``APPLICABILITY``, or "plain"
    twin: str | None = None  # the plain case with the same seeds
    longer: int = 1  # times the environment steps of the others
    chosen_in: str = ""  # the case whose configuration is used; its own by default

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """What is chosen from; empty for the hand-made policies."""
        return CONFIGURATIONS[self.algo][self.defense] if self.algo else ()

    def training(self, rows: Sequence[tuple[Configuration, int]]) -> Training:
        """The training of rows, a configuration and a seed each, as one computation: only these numbers differ."""
        chosen = [configuration for configuration, _ in rows]
        names = [name for name, _ in chosen[0].hyperparameters]
        varied = {name: tuple(dict(each.hyperparameters)[name] for each in chosen) for name in names}
        defense = None
        if self.defense != PLAIN:
            numbers = tuple(each.epsilon for each in chosen), tuple(each.strength for each in chosen)
            defense = DefenseSettings(self.defense, *numbers, CARTPOLE.scale, RAMP)
        kwargs: dict[str, Any] = {"preset": "tuned", "num_envs": None, "defense": defense}
        seeds = tuple(seed for _, seed in rows)
        return Training(
            CARTPOLE.env,
            self.algo,
            seeds,
            self.longer * STEPS[self.algo],
            hyperparameters=varied,
            **kwargs,
        )


def cases_of(algo: str) -> tuple[DefenseCase, ...]:
    """Plain training and all defenses of an algorithm."""
    names = {name: f"{algo}-{name}" for name in CONFIGURATIONS[algo]}
    return tuple(DefenseCase(case, algo, name, None if name == PLAIN else names[PLAIN]) for name, case in names.items())


# one minibatch of SA-PPO's divergence costs eight evaluations of a gradient: the loss, five steps of ascent, and the
# divergence at two observations
EQUAL_GRADIENTS = 8
LONGER = DefenseCase("ppo-plain-longer", "ppo", PLAIN, longer=EQUAL_GRADIENTS, chosen_in="ppo-plain")  # no defense

CASES = (DefenseCase(FLOOR), DefenseCase(CEILING), *cases_of("ppo"), LONGER)

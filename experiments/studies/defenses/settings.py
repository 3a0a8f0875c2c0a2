"""The comparisons, the trainings and the epsilons, as data; fixed before the test seeds were run, or marked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import product
from typing import Any, NamedTuple

from rlkit.adversarial import APPLICABILITY, Threat

from ...workflows.defense import DefenseSettings, DistillationSettings
from ...workflows.train import Training
from ..common.tasks import ACROBOT, CARTPOLE, GRID, THREATS, Task

RAMP = 0.5  # of training, over which epsilon grows
EPSILONS = (0.1, 0.2, 0.4)  # norm "inf", in units of the task's scale; of comparisons without their own
SELECTED_ON, REPORTED_ON = 5, 10  # episodes per seed on which attacks are selected, and other ones that are reported

MASKING_EPSILON = 0.4  # at which defended policies are asked whether their gradients mislead
ADVERSARIES = 3  # of every learner, trained afresh on every defended policy
# of a linear one's search, until a doubling changes nothing; added after the other rows
ADVERSARY_GENERATIONS = (2, 4, 8, 16, 32)
ADVERSARY_STEPS = (10_000, 20_000, 40_000, 80_000)  # of the training of one by PPO, likewise
SETTLED = 0.02  # relative change of the mean return that counts as nothing

OPTIMUM = {CARTPOLE.name: 500.0, GRID.name: 0.7053082191780823}  # largest expected return of an episode
SOLVED = 0.95  # share of the optimum that a policy needs without an attack
THRESHOLDS = {ACROBOT.name: -100.0}  # that return in a task whose optimum is not known: gymnasium's threshold
BROKEN = 0.2  # the bar is set at the smallest epsilon at which plain policies keep no larger share
KEPT = 0.5  # share of the optimum that a defense needs there in the median

PLAIN, FLOOR, CEILING = "plain", "constant pushes", "linear policy"
DISTILLATION = "distillation"
WOCAR, PENALTY = "wocar", "sa_dqn_hinge"  # an agent of its own, and the penalty that its paper adds
LINEAR = (0.1, 0.3, 3.0, 0.5)  # pushes right where its product with the observation is positive; it balances

# gradient evaluations that a minibatch costs, by agent and training: backward passes of its observations through the
# network of the scores, that of the loss included; interval bounds are two passes, of centers and of radii
GRADIENT_EVALUATIONS: Mapping[str, Mapping[str, int]] = {
    "dqn": {
        PLAIN: 1,
        "sa_dqn_hinge": 3,
        "radial": 3,
        "car_dqn": 4,
        "adversarial_training": 4,
        "lipschitz_hinge": 1,
        "gaussian_augmentation": 3,
    },
    "ppo": {
        PLAIN: 1,
        "sa_ppo_kl": 8,
        "radial": 3,
        "adversarial_training": 4,
        "lipschitz_hinge": 1,
        "gaussian_augmentation": 3,
    },
}


class Configuration(NamedTuple):
    """Numbers of one training that are chosen on the tuning seeds."""

    epsilon: float = 0.0  # of the defense, in units of the task's scale
    strength: float = 0.0  # of the defense
    numbers: tuple[tuple[str, float], ...] = ()  # others of the defense, or hyper-parameters in place of the preset's

    def __str__(self) -> str:
        """For example ``epsilon 0.4, strength 1``; what is 0 is left out, and plain training has ``gamma 0.98``."""
        own = (("epsilon", self.epsilon), ("strength", self.strength))
        return ", ".join(f"{name} {value:g}" for name, value in (*(each for each in own if each[1]), *self.numbers))


class DefenseComparison(NamedTuple):
    """An agent in a task, trained plainly and with several defenses, as a table of ``comparisons.toml`` says."""

    name: str
    task: Task
    algo: str
    steps: int  # environment steps per seed, the same with and without a defense
    tuning_seeds: tuple[int, ...]  # every choice was made on these
    seeds: tuple[int, ...]  # no number was chosen on these
    hyperparameters: Mapping[str, Any]  # in place of the preset's, the same for all
    configurations: Mapping[str, tuple[Configuration, ...]]  # of plain training and every defense, plain first
    primary: bool = False  # its tests belong to the primary comparison
    exploratory: tuple[str, ...] = ()  # defenses of it that have no part in the tests
    of: str = ""  # the comparison whose plain training is the twin of these arms, where it is not its own
    settings: Mapping[str, Mapping[str, Any]] = {}  # of an arm, the same in all its configurations
    twins: Mapping[str, str] = {}  # arms that are compared with another arm than plain training
    teacher: Configuration = Configuration()  # of the plain training that is distilled
    epsilons: tuple[float, ...] = EPSILONS  # of the attacks; configurations are compared at the last one
    preset: str = "tuned"  # of the hyper-parameters

    @property
    def threat(self) -> Threat:
        """The committed threat of the task."""
        return THREATS[self.task.env]

    @property
    def optimum(self) -> float | None:
        """The largest expected return of an episode; None where it is not known, so that there is no bar."""
        return OPTIMUM.get(self.task.name)

    @property
    def solved(self) -> float:
        """The natural return that a policy needs."""
        return THRESHOLDS[self.task.name] if self.optimum is None else SOLVED * self.optimum

    @property
    def gradient_evaluations(self) -> int:
        """The gradient evaluations of a minibatch of the most expensive defense that is tested."""
        of = GRADIENT_EVALUATIONS[self.algo]
        return max(of[defense] for defense in self.configurations if defense not in self.exploratory)

    @property
    def plain(self) -> str:
        """The case of plain training that its arms are compared with."""
        return f"{self.of or self.name}-{PLAIN}"

    def training(
        self, defense: str, rows: Sequence[tuple[Configuration, int]], longer: int = 1, teacher: str = ""
    ) -> Training:
        """The training of rows, a configuration and a seed each, as one computation: only these numbers differ.

        Args:
            defense: the arm.
            rows: a configuration and a seed each.
            longer: times the steps.
            teacher: file of the policy that is distilled.
        """
        chosen = [configuration for configuration, _ in rows]
        names = [name for name, _ in chosen[0].numbers]
        varied = {name: tuple(dict(each.numbers)[name] for each in chosen) for name in names}
        settings, algo = dict(self.settings.get(defense, {})), self.algo
        terms: DefenseSettings | DistillationSettings | None = None
        epsilon, strength = (tuple(each) for each in zip(*(each[:2] for each in chosen), strict=True))
        strength = strength if any(strength) else ()
        if defense == DISTILLATION:
            terms = DistillationSettings(teacher, strength=strength, **varied)
        elif defense in APPLICABILITY:
            terms = DefenseSettings(defense, epsilon, strength, self.task.scale, RAMP, varied)
        else:
            settings |= varied
        if defense == WOCAR:
            algo = "wocardqn"
            settings |= {"attack_epsilon": epsilon, "attack_scale": self.task.scale, "worst_case_fraction": RAMP}
            terms = DefenseSettings(PENALTY, epsilon, strength, self.task.scale, RAMP) if strength else None
        return Training(
            self.task.env,
            algo,
            tuple(seed for _, seed in rows),
            longer * self.steps,
            self.preset,
            {**self.hyperparameters, **settings},
            self.task.env_kwargs,
            None,
            defense=terms,
        )


class DefenseCase(NamedTuple):
    """One way to train, or one of the two hand-made policies."""

    name: str
    comparison: DefenseComparison
    defense: str = ""  # of ``APPLICABILITY``, or "plain"; empty for the hand-made policies
    twin: str | None = None  # the plain case with the same seeds
    longer: int = 1  # times the environment steps of the others
    chosen_in: str = ""  # the case whose configuration is used; its own by default
    given: Configuration | None = None  # used without a choice

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """What is chosen from; empty for the hand-made policies."""
        return self.comparison.configurations[self.defense] if self.defense else ()

    @property
    def arm(self) -> str:
        """Its name within the comparison."""
        return self.name.removeprefix(f"{self.comparison.name}-")

    @property
    def tested(self) -> bool:
        """Whether it is a defense that is tested against plain training."""
        return self.twin is not None and self.defense not in self.comparison.exploratory

    def training(self, rows: Sequence[tuple[Configuration, int]], teacher: str = "") -> Training:
        """The training of rows, a configuration and a seed each, as one computation; see ``DefenseComparison``."""
        return self.comparison.training(self.defense, rows, self.longer, teacher)


def product_of(numbers: Mapping[str, Any]) -> tuple[Configuration, ...]:
    """All configurations of a table that has a number, or a list of numbers, for every name."""
    lists = [value if isinstance(value, list) else [value] for value in numbers.values()]
    found = []
    for values in product(*lists):
        each = dict(zip(numbers, values, strict=True))
        found.append(Configuration(each.pop("epsilon", 0.0), each.pop("strength", 0.0), tuple(each.items())))
    return tuple(found)


def comparison_of(name: str, table: Mapping[str, Any], others: Mapping[str, Any]) -> DefenseComparison:
    """The comparison of a table; a list of tables of numbers stands for the products of each.

    One that is ``of`` another of the ``others`` has its task, agent, steps and seeds, and is exploratory.
    """
    fields = dict(table)
    if "of" in fields:
        shared = ("task", "algo", "steps", "tuning_seeds", "seeds", "hyperparameters")
        fields |= {key: others[fields["of"]][key] for key in shared if key in others[fields["of"]]}
        fields |= {"exploratory": list(fields["configurations"])}
        (fields["teacher"],) = product_of(fields.pop("teacher", {}))
    task = {task.name: task for task in (CARTPOLE, GRID, ACROBOT)}[fields.pop("task")]
    configurations = {
        defense: tuple(
            each for part in (numbers if isinstance(numbers, list) else [numbers]) for each in product_of(part)
        )
        for defense, numbers in fields.pop("configurations").items()
    }
    hyperparameters = {key: tuple(value) if isinstance(value, list) else value
                       for key, value in fields.pop("hyperparameters", {}).items()}  # fmt: skip
    lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
    return DefenseComparison(
        name, task, hyperparameters=hyperparameters, configurations=configurations, **{**fields, **lists}
    )


def comparisons() -> tuple[DefenseComparison, ...]:
    """The comparisons of ``comparisons.toml``, in its order."""
    text = (files(__package__) / "comparisons.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    return tuple(comparison_of(name, table, tables) for name, table in tables.items())


def cases_of(comparison: DefenseComparison) -> tuple[DefenseCase, ...]:
    """Plain training and all defenses of a comparison."""
    names = {defense: f"{comparison.name}-{defense}" for defense in comparison.configurations}
    twins = {defense: names[twin] for defense, twin in comparison.twins.items()}
    return tuple(
        DefenseCase(case, comparison, defense, None if defense == PLAIN else twins.get(defense, comparison.plain))
        for defense, case in names.items()
    )


COMPARISONS = comparisons()
FIRST = COMPARISONS[0]  # the smaller one, of PPO on the cart-pole


def longer(comparison: DefenseComparison) -> DefenseCase:
    """Plain training for as many gradient evaluations as the most expensive defense has; it is no defense."""
    plain = f"{comparison.name}-{PLAIN}"
    return DefenseCase(f"{plain}-longer", comparison, PLAIN, longer=comparison.gradient_evaluations, chosen_in=plain)


LONGER = {each.name: longer(each) for each in COMPARISONS if each is FIRST or each.primary}

GRID_DQN = next(each for each in COMPARISONS if each.name == "grid-dqn")
EQUAL = DefenseCase(  # plain training with the hyper-parameters that all defenses were given; no defense
    "grid-dqn-plain-equal",
    GRID_DQN,
    PLAIN,
    given=Configuration(numbers=tuple((name, GRID_DQN.hyperparameters[name]) for name in ("gamma", "learning_rate"))),
)

LINEAR_EQUAL = DefenseCase(  # a linear policy with the hyper-parameters that the one with weight decay was given
    "grid-ppo-further-linear-equal",
    next(each for each in COMPARISONS if each.name == "grid-ppo-further"),
    "linear",
    given=Configuration(numbers=(("gamma", 0.995), ("ent_coef", 0.1))),
)

CASES = (
    DefenseCase(FLOOR, FIRST),
    DefenseCase(CEILING, FIRST),
    *(case for comparison in COMPARISONS for case in cases_of(comparison)),
    *LONGER.values(),
    EQUAL,
    LINEAR_EQUAL,
)

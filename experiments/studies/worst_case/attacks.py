"""The attacks and the rules of when to attack, made for the policies of a case."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.adversarial import (
    FGSM,
    PGD,
    Always,
    AtRandom,
    Attack,
    BestOf,
    CriticalPoint,
    DeepFool,
    Every,
    Noise,
    RandomSearch,
    Strategic,
    Timing,
    ValueAware,
    ValueGuided,
    Victim,
    at_share,
)
from rlkit.envs import GridWorld
from rlkit.planning import evaluate_finite, q_backup
from rlkit.types import Env

from ...workflows.fitted_attacks import LINEAR_ADVERSARY, learned, linear
from ...workflows.policies import Subject
from .settings import SHARE, THREAT

PROVOKE = PGD(20, every_action=False)
LEARNED_STEPS = 20_000  # environment steps of a learned adversary, per seed
SHARE_EPISODES = 20  # natural episodes per seed, on which the thresholds of timings are measured


class StateTable:
    """Numbers of the states of a grid, ``[S, N, ...]``, by true observation."""

    def __init__(self, world: GridWorld, numbers: NDArray[np.float64] | NDArray[np.bool_]) -> None:
        self.observations = torch.from_numpy(np.array(world.observations()))
        self.numbers = torch.from_numpy(numbers)

    def state(self, obs: Tensor) -> Tensor:
        """Find the states of observations ``[S, B, 2]``: ``[S, B]``."""
        return torch.cdist(obs, self.observations.to(obs)).argmin(dim=-1)

    def __call__(self, obs: Tensor) -> Tensor:
        """Look up observations ``[S, B, 2]``: ``[S, B, ...]``."""
        state = self.state(obs)
        return self.numbers.to(obs)[torch.arange(len(obs), device=obs.device)[:, None], state]


class AtStates:
    """A rule of when to attack that depends on the state alone, asked once at every state.

    Args:
        world: the grid.
        subject: the policies.
        rule: with its threshold.
    """

    noise_width = 0

    def __init__(self, world: GridWorld, subject: Subject, rule: Strategic | ValueGuided | CriticalPoint) -> None:
        obs = torch.from_numpy(np.array(world.observations())).repeat(len(subject.seeds), 1, 1)
        self.name = rule.name
        self._attacked = StateTable(world, (rule.urgency(subject.policy, obs) > rule.threshold).numpy())

    def when(self, victim: Victim, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None = None) -> Tensor:
        """Attack where the rule would; arguments as of ``Timing.when``."""
        return self._attacked(obs) != 0


def natural_actions(world: GridWorld, subject: Subject) -> NDArray[np.int64]:
    """Ask a policy for its greedy action in every state, ``[S, N]``."""
    obs = torch.from_numpy(np.array(world.observations())).expand(len(subject.seeds), -1, -1)
    return subject.policy.act(obs, True).cpu().numpy()


def natural_values(world: GridWorld, subject: Subject) -> NDArray[np.float64]:
    """Compute what a greedy policy earns from every state on without an attack, ``[S, N]``."""
    return evaluate_finite(world.mdp, natural_actions(world, subject))[:, 0]


def attacks(world: GridWorld, subject: Subject) -> Mapping[str, Attack]:
    """Make the attacks on a policy, by name.

    "value-aware" provokes the action of the lowest value, by the policy's exact value without an attack.
    """
    q = q_backup(world.mdp, natural_values(world, subject), 1.0)  # [S, N, A]
    best = BestOf((Noise("sign"), PGD(20, restarts=2), RandomSearch(20)))
    return {
        "sign noise": Noise("sign"),
        "uniform noise": Noise("uniform"),
        "FGSM": FGSM(),
        "PGD-20": PGD(20),
        "PGD-20 cross-entropy": PGD(20, objective="cross_entropy"),
        "DeepFool": DeepFool(),
        "random search": RandomSearch(),
        "best by margin": best,
        "value-aware": ValueAware(StateTable(world, q), PROVOKE),
    }


def by_ppo(subject: Subject, epsilon: float) -> Attack:
    """Train an adversary on every policy that chooses in each state which action to provoke, or none."""
    return learned(subject, THREAT.budget(epsilon), THREAT, LEARNED_STEPS)


def by_search(subject: Subject, epsilon: float) -> Attack:
    """Search for a linear rule on every policy that chooses which action to provoke."""
    return linear(subject, THREAT.budget(epsilon), THREAT)


ADVERSARIES: Mapping[str, Callable[[Subject, float], Attack]] = {"learned": by_ppo, LINEAR_ADVERSARY: by_search}


def timings(world: GridWorld, subject: Subject) -> Mapping[str, Timing]:
    """Make the rules of when to attack, each set to about the same share of natural steps.

    The critical point predicts by the most likely successor of every action, and its danger is minus the policy's exact
    value. The temperature of action values is 1, the size of the rewards at the goals.
    """
    value = natural_values(world, subject)
    danger = StateTable(world, -value)
    likely = np.take_along_axis(world.mdp.successor, world.mdp.probability.argmax(axis=2)[..., None], axis=2)[..., 0]

    def model(obs: Tensor, action: Tensor) -> Tensor:
        return danger.observations.to(obs)[torch.from_numpy(likely)[danger.state(obs), action]]

    def episodes() -> Env:
        return subject.make_env(SHARE_EPISODES, THREAT.selection_seed)

    rules = (
        at_share(Strategic(0.0, temperature=1.0), SHARE, subject.policy, episodes()),
        at_share(ValueGuided(0.0), SHARE, subject.policy, episodes()),
        at_share(CriticalPoint(0.0, model, danger), SHARE, subject.policy, episodes()),
    )
    strategic, value_guided, critical_point = (AtStates(world, subject, rule) for rule in rules)
    return {
        "always": Always(),
        "every 3 steps": Every(round(1 / SHARE)),
        "at random": AtRandom(SHARE),
        "strategic": strategic,
        "value-guided": value_guided,
        "critical point": critical_point,
    }

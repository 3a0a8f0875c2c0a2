"""Attacks of ``rlkit attack`` that are fitted to a policy and a budget before they are used."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rlkit.adversarial import (
    PGD,
    Attack,
    Budget,
    LearnedAttack,
    TargetAction,
    Threat,
    Transfer,
    TreeSearch,
    Universal,
    ValueAware,
    bracket,
    distill,
    linear_adversary,
    universal_offset,
    visited,
)
from rlkit.agents import PPO
from rlkit.envs import AdversaryDynamics, CartPole, GridWorld, find_dynamics

from .cartpole.adversary import PROVOKE, lattice_attack
from .cartpole.falls import CartPoleFalls
from .policies import Subject

FIT_SEED_STEP = 1_000  # episodes that attacks are fitted on begin so far above those of the selection
FIT_EPISODES = 5  # natural episodes per seed, whose states attacks are fitted to
GRID_BOXES = 2_000  # per state of a grid, to find what can be provoked there
FIT_STATES = 500  # of every seed
LEARNED_STEPS, LEARNED_COPIES = 50_000, 8  # of the adversary's training, per seed
GENERATIONS = 8  # of the search for a linear adversary
LINEAR_ADVERSARY = "linear adversary"  # its name in the rows of studies

IMITATION_STEPS = 2_000  # of the optimizer

Fit = Callable[[Subject, Budget, Threat], Attack]


def lookahead(subject: Subject, budget: Budget, threat: Threat) -> Attack:
    """Provoke the action of the lowest value under the worst case, exact on a grid, on a lattice for the cart-pole.

    Elsewhere it is the action of the lowest value by the victim's own Q.

    Raises:
        ValueError: another environment than the cart-pole and grids, and a policy without action values.
    """
    dynamics = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    if isinstance(dynamics, CartPole):
        return lattice_attack(dynamics, rows_of(subject), budget)
    if isinstance(dynamics, GridWorld):
        return bracket(dynamics, subject.policy, budget, 1.0, threat.horizon, max_boxes=GRID_BOXES).attack
    if subject.policy.scores_are_values:
        return ValueAware(None, PROVOKE, "value-aware, own Q")
    raise ValueError(
        f"the attack 'lookahead' needs values: {subject.env} has no lattice here, and {subject.name} gives logits. Use "
        "'linear', or rlkit.adversarial.ValueAware with values of your own"
    )


def learned(subject: Subject, budget: Budget, threat: Threat, steps: int = LEARNED_STEPS) -> Attack:
    """Train an adversary by PPO on the attacker's decision problem, one per seed, all side by side.

    It chooses which action to cause, or to leave the observation as it is (Sun et al. 2022).

    Raises:
        ValueError: an environment that rlkit has no dynamics of.
    """
    return next(learned_longer(subject, budget, threat, (steps,), subject.seeds))


def learned_longer(
    subject: Subject, budget: Budget, threat: Threat, steps: Sequence[int], seeds: Sequence[int]
) -> Iterator[LearnedAttack]:
    """Train the adversary of ``learned`` on, and yield it after each of several numbers of steps.

    Each that was yielded is the same adversary, so it is used before the next one is asked for.

    Args:
        subject: the policy under attack.
        budget: budget of the attack.
        threat: not used; the adversary draws its own starts.
        steps: ascending numbers of environment steps per seed.
        seeds: seeds of the adversary's training, one for each of the subject's.

    Raises:
        ValueError: an environment that rlkit has no dynamics of.
    """
    dynamics = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    if dynamics is None:
        raise ValueError(
            f"the attack 'learned' needs the dynamics of {subject.env}, which rlkit does not have: use 'linear', "
            "or train an agent on rlkit.adversarial.AdversaryEnv and wrap it in LearnedAttack"
        )
    moves = TargetAction(PROVOKE, int(dynamics.action_space.n))
    problem = AdversaryDynamics(dynamics, subject.policy, moves, budget)
    adversary = PPO(
        problem, seeds=seeds, num_envs=LEARNED_COPIES, device=subject.policy.device, n_steps=128, batch_size=256
    )
    for more in steps:
        yield LearnedAttack(adversary.learn(more - adversary.num_timesteps), moves)


def linear(subject: Subject, budget: Budget, threat: Threat, generations: int = GENERATIONS) -> Attack:
    """Search for an adversary that chooses by a linear rule which action to cause, by the cross-entropy method.

    Unlike ``learned``, it attacks at every step.
    """
    return next(linear_longer(subject, budget, threat, (generations,), subject.seeds))


def linear_longer(
    subject: Subject, budget: Budget, threat: Threat, generations: Sequence[int], seeds: Sequence[int]
) -> Iterator[LearnedAttack]:
    """Search as ``linear`` does, and yield the adversary after each of several numbers of generations.

    Args:
        subject: the policy under attack.
        budget: budget of the attack.
        threat: its episodes of the report and the selection are not used; its horizon caps episodes.
        generations: ascending numbers.
        seeds: seeds of the search, one for each of the subject's.
    """
    env = subject.make_env(1, fit_seed(threat))
    moves = TargetAction(PROVOKE, int(env.action_space.n))
    return linear_adversary(
        subject.policy, subject.make_env, moves, budget, generations, seeds, fit_seed(threat), threat.horizon
    )


def universal(subject: Subject, budget: Budget, threat: Threat) -> Attack:
    """One offset for all observations of a seed."""
    return Universal(universal_offset(subject.policy, fit_states(subject, threat), budget))


def substitute(subject: Subject, budget: Budget, threat: Threat) -> Attack:
    """PGD on networks that imitate the policy's actions, for an attacker that sees actions alone."""
    imitation, _ = distill(
        subject.policy, fit_states(subject, threat), budget, steps=IMITATION_STEPS, seeds=subject.seeds
    )
    return Transfer(PGD(20), imitation)


def tree(subject: Subject, budget: Budget, threat: Threat) -> Attack:
    """Plan through the cart-pole's own equations which actions to cause; nothing is fitted.

    Raises:
        ValueError: another environment, which is not deterministic or whose observations are not its states.
    """
    dynamics = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    if not isinstance(dynamics, CartPole):
        raise ValueError(
            f"the attack 'tree' searches a deterministic simulator whose observations are its states, CartPole-v1, not "
            f"{subject.env}: use 'lookahead' on grids, or rlkit.adversarial.TreeSearch with dynamics of your own"
        )
    falls = CartPoleFalls(dynamics)
    return TreeSearch(dynamics, lambda states: -falls.danger(states), horizon=threat.horizon)


FITTED: Mapping[str, Fit] = {
    "lookahead": lookahead,
    "tree": tree,
    "learned": learned,
    "linear": linear,
    "universal": universal,
    "substitute": substitute,
}
WITHOUT_WEIGHTS = ("substitute",)  # attacks that ask for actions alone while they are fitted


class FittedAttacks:
    """The fitted attacks of a subject within a threat; each is fitted once, when it is first asked for."""

    def __init__(self, subject: Subject, threat: Threat) -> None:
        self._subject, self._threat = subject, threat
        self._found: dict[tuple[str, float], Attack] = {}
        self.seconds: dict[tuple[str, float], float] = {}  # of CPU time, of every fit

    def __call__(self, name: str, epsilon: float) -> Attack:
        """Return the attack ``name`` at an epsilon."""
        if (name, epsilon) not in self._found:
            began = time.process_time()
            self._found[name, epsilon] = FITTED[name](self._subject, self._threat.budget(epsilon), self._threat)
            self.seconds[name, epsilon] = time.process_time() - began
        return self._found[name, epsilon]


def fit_states(subject: Subject, threat: Threat, count: int = FIT_STATES) -> Any:
    """States of natural episodes that are neither reported nor used for a selection, ``[S, count, *obs]``."""
    return visited(subject.policy, subject.make_env(FIT_EPISODES, fit_seed(threat)), count)


def fit_seed(threat: Threat) -> int:
    """The first episode that attacks are fitted on, above those of the report and the selection."""
    return max(threat.first_seed, threat.selection_seed) + FIT_SEED_STEP


def rows_of(subject: Subject) -> list[Any]:
    """The policies of every seed, one by one."""
    policy: Any = subject.policy
    return [policy[row] for row in range(len(subject.seeds))] if len(subject.seeds) > 1 else [policy]

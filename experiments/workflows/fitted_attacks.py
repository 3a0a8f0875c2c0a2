"""Attacks of ``rlkit attack`` that are fitted to a policy and a budget before they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rlkit.adversarial import (
    PGD,
    Attack,
    Budget,
    LearnedAttack,
    TargetAction,
    Threat,
    Transfer,
    Universal,
    ValueAware,
    bracket,
    distill,
    universal_offset,
    visited,
)
from rlkit.agents import PPO
from rlkit.envs import AdversaryDynamics, CartPole, GridWorld, find_dynamics

from .cartpole.adversary import PROVOKE, lattice_attack
from .policies import Subject

FIT_SEED_STEP = 1_000  # episodes that attacks are fitted on begin so far above those of the selection
FIT_EPISODES = 5  # natural episodes per seed, whose states attacks are fitted to
GRID_BOXES = 2_000  # per state of a grid, to find what can be provoked there
FIT_STATES = 500  # of every seed
LEARNED_STEPS, LEARNED_COPIES = 50_000, 8  # of the adversary's training, per seed

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
        "'learned', or rlkit.adversarial.ValueAware with values of your own"
    )


def learned(subject: Subject, budget: Budget, threat: Threat, steps: int = LEARNED_STEPS) -> Attack:
    """Train an adversary by PPO on the attacker's decision problem, one per seed, all side by side.

    It chooses which action to provoke, or to leave the observation as it is (Sun et al. 2022).

    Raises:
        ValueError: an environment that rlkit has no dynamics of.
    """
    dynamics = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    if dynamics is None:
        raise ValueError(
            f"the attack 'learned' needs the dynamics of {subject.env}, which rlkit does not have: train an agent on "
            "rlkit.adversarial.AdversaryEnv and wrap it in LearnedAttack"
        )
    moves = TargetAction(PROVOKE, int(dynamics.action_space.n))
    problem = AdversaryDynamics(dynamics, subject.policy, moves, budget)
    adversary = PPO(
        problem, seeds=subject.seeds, num_envs=LEARNED_COPIES, device=subject.policy.device, n_steps=128, batch_size=256
    )
    return LearnedAttack(adversary.learn(steps), moves)


def universal(subject: Subject, budget: Budget, threat: Threat) -> Attack:
    """One offset for all observations of a seed."""
    return Universal(universal_offset(subject.policy, fit_states(subject, threat), budget))


def substitute(subject: Subject, budget: Budget, threat: Threat) -> Attack:
    """PGD on networks that imitate the policy's actions, for an attacker that sees actions alone."""
    imitation, _ = distill(
        subject.policy, fit_states(subject, threat), budget, steps=IMITATION_STEPS, seeds=subject.seeds
    )
    return Transfer(PGD(20), imitation)


FITTED: Mapping[str, Fit] = {
    "lookahead": lookahead,
    "learned": learned,
    "universal": universal,
    "substitute": substitute,
}
WITHOUT_WEIGHTS = ("substitute",)  # attacks that ask for actions alone while they are fitted


class FittedAttacks:
    """The fitted attacks of a subject within a threat; each is fitted once, when it is first asked for."""

    def __init__(self, subject: Subject, threat: Threat) -> None:
        self._subject, self._threat = subject, threat
        self._found: dict[tuple[str, float], Attack] = {}

    def __call__(self, name: str, epsilon: float) -> Attack:
        """Return the attack ``name`` at an epsilon."""
        if (name, epsilon) not in self._found:
            self._found[name, epsilon] = FITTED[name](self._subject, self._threat.budget(epsilon), self._threat)
        return self._found[name, epsilon]


def fit_states(subject: Subject, threat: Threat) -> Any:
    """States of natural episodes that are neither reported nor used for a selection, ``[S, FIT_STATES, *obs]``."""
    first = max(threat.first_seed, threat.selection_seed) + FIT_SEED_STEP
    return visited(subject.policy, subject.make_env(FIT_EPISODES, first), FIT_STATES)


def rows_of(subject: Subject) -> list[Any]:
    """The policies of every seed, one by one."""
    policy: Any = subject.policy
    return [policy[row] for row in range(len(subject.seeds))] if len(subject.seeds) > 1 else [policy]

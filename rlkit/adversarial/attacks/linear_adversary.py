"""An adversary found by the cross-entropy method: the action to cause has the highest linear score.

The adversary scores the victim's actions linearly in the true observation and tries to cause the action of the highest
score. The search over its weights needs the returns of episodes, and no dynamics, discount or critic. It works in every
environment with discrete actions and real-valued observations. The attack that causes the action may need the victim's
gradients. Each generation draws weights from a normal distribution, plays every draw on the same episodes, and fits the
distribution to the draws with the lowest returns of the victim.

Sources: Rubinstein 1999, "The cross-entropy method for combinatorial and continuous optimization"; Szita & Lorincz
2006, "Learning Tetris using the noisy cross-entropy method", section 2.3, for the decreasing noise; Mania, Guy & Recht
2018, "Simple random search of static linear policies is competitive for reinforcement learning", for linear policies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from rlkit.arrays import as_whole_number
from rlkit.evaluation import ConcatEnv, rollout
from rlkit.streams import Stream, as_seeds
from rlkit.types import Env

from ..attacked_policy import AttackedPolicy
from ..budget import SMALLEST_UNIFORM, Budget, as_budget
from ..checks import made_env
from ..victims.base import Victim, as_victim
from .learned import LearnedAttack, TargetAction

POPULATION, ELITE = 16, 4  # draws of a generation, and those that the next one is fitted to
EPISODES = 2  # of every draw, the same for all draws of a generation
FIRST_DEVIATION = 1.0  # of a weight; features are in units of the budget's scale
NOISE, NOISE_GENERATIONS = 0.15, 10  # added to the deviations, and the generations after which it has fallen to zero


@dataclass(frozen=True, eq=False)
class LinearAdversary:
    """Aims at the action whose score is highest; scores are linear in the true observation.

    It always aims at an action and never leaves the observation as it is.

    Args:
        weights: of all actions but the last, whose score is 0: float64 ``[S, A - 1, D + 1]``, or for one adversary per
            copy ``[S, B, A - 1, D + 1]``. The last column is the constant.
        scale: units of the D features, positive, ``[D]`` or a single one.
    """

    weights: Tensor
    scale: Tensor

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        """Return the actions to cause, ``[S, B]`` int64, at true observations ``[S, B, *observation]``."""
        features = obs.flatten(2).to(self.weights.dtype) / self.scale  # [S, B, D]
        weights = self.weights if self.weights.dim() == 4 else self.weights[:, None]
        scores = (features[:, :, None] * weights[..., :-1]).sum(dim=-1) + weights[..., -1]
        return pad(scores, (0, 1)).argmax(dim=-1)


class CrossEntropy:
    """The cross-entropy method for S rows side by side: a normal distribution of weights, fitted to its best draws.

    Row s depends on ``seeds[s]`` and the costs of row s alone.

    Args:
        seeds: one integer per row.
        shape: shape of the weights of a row.
        device: where the weights are needed.

    Source: Szita & Lorincz 2006, section 2.3. They add the noise to the variance; here it is added to the standard
    deviation.
    """

    def __init__(self, seeds: Sequence[int], shape: tuple[int, ...], device: torch.device) -> None:
        self.mean = torch.zeros(len(seeds), *shape, dtype=torch.float64, device=device)
        self.deviation = torch.full_like(self.mean, FIRST_DEVIATION)
        self.generation = 0
        self._numbers = Stream(seeds, "adversary", POPULATION * math.prod(shape), device=device)

    def draw(self) -> Tensor:
        """Draw the weights of a generation, ``[S, N, *shape]``."""
        normal: Tensor = torch.special.ndtri(self._numbers.next().clamp(min=SMALLEST_UNIFORM))
        return self.mean[:, None] + self.deviation[:, None] * normal.reshape(-1, POPULATION, *self.mean.shape[1:])

    def fit(self, drawn: Tensor, costs: Tensor) -> None:
        """Fit mean and deviation to the draws ``[S, N, *shape]`` of the smallest costs ``[S, N]``."""
        best = costs.argsort(dim=1, stable=True)[:, :ELITE]
        elite = drawn[torch.arange(len(drawn), device=drawn.device)[:, None], best]
        noise = NOISE * max(0.0, 1.0 - self.generation / NOISE_GENERATIONS)
        self.mean, self.deviation = elite.mean(dim=1), elite.std(dim=1, correction=0) + noise
        self.generation += 1


def linear_adversary(
    victim: Victim,
    make_env: Callable[[int, int], Env],
    moves: TargetAction,
    budget: Budget | float,
    generations: Sequence[int],
    seeds: Sequence[int],
    first_seed: int = 0,
    max_steps: int | None = None,
) -> Iterator[LearnedAttack]:
    """Search for the linear adversary with the lowest return of the victim; yield it after some numbers of generations.

    A generation plays 16 draws on the same two episodes. Row s depends on ``seeds[s]`` and the victim's row s alone.

    Args:
        victim: S policies, which act greedily.
        make_env: (E, first seed) -> a new environment of S x E copies, of which copy e plays the episode of seed
            ``first seed + e``; observations are numbers, not indices.
        moves: how an action is caused.
        budget: bounds the difference between shown and true observations; has one epsilon, or one per row. Features are
            read in units of its scale, or in raw units where it is 0.
        generations: ascending numbers; on the cart-pole four to eight suffice.
        seeds: one integer per row, of the search's random numbers.
        first_seed: of the episodes; each generation has new ones.
        max_steps: step cap of an episode; see ``rlkit.evaluation.rollout``.

    Yields:
        The attack of the mean weights.

    Raises:
        ValueError: generations are not ascending whole numbers, make_env returns no environment, there is another
            number of seeds than the environment has rows, ``moves`` have an attack with random numbers, or observations
            do not fit the budget (``Budget.check``).
    """
    victim, budget, seeds = as_victim(victim), as_budget(budget), as_seeds(seeds)
    given = generations if isinstance(generations, Sequence) else [generations]
    generations = [as_whole_number(number, "generations") for number in given]
    if not generations or list(generations) != sorted(set(generations)):
        raise ValueError(f"generations must be ascending numbers of at least 1, got {list(generations)}")
    if not isinstance(moves, TargetAction):
        raise ValueError(f"moves must be TargetAction(attack, num_actions), got {moves!r:.80}")
    env = made_env(make_env, "agent.evaluation_env", episodes=EPISODES, first_seed=first_seed)
    if len(env.seeds) != len(seeds):
        raise ValueError(f"there must be one seed for each of {len(env.seeds)} rows, got {len(seeds)}")
    budget.check(env.obs)
    shape = env.obs.shape[2:]
    if moves.attack.noise_width(math.prod(shape)) > 0:
        raise ValueError(
            "moves need an attack without random numbers, such as FGSM or PGD without restarts, got "
            f"{moves.attack.name}"
        )
    scale = torch.as_tensor(budget.scale, dtype=torch.float64, device=env.device).expand(shape).flatten()
    scale = torch.where(scale > 0, scale, 1.0)
    search = CrossEntropy(seeds, (moves.num_actions - 1, math.prod(shape) + 1), env.device)
    for generation in range(generations[-1]):
        drawn, first = search.draw(), first_seed + generation * EPISODES
        search.fit(drawn, _returns(victim, make_env, moves, budget, LinearAdversary(drawn, scale), first, max_steps))
        if generation + 1 in generations:
            yield LearnedAttack(LinearAdversary(search.mean, scale), moves, "linear adversary")


def _returns(
    victim: Victim,
    make_env: Callable[[int, int], Env],
    moves: TargetAction,
    budget: Budget,
    drawn: LinearAdversary,
    first_seed: int,
    max_steps: int | None,
) -> Tensor:
    """Play the same episodes under N adversaries, ``[S, N, A - 1, D + 1]``: mean returns ``[S, N]``."""
    number = drawn.weights.shape[1]
    each = LinearAdversary(drawn.weights.repeat_interleave(EPISODES, dim=1), drawn.scale)
    # by a target, because a LearnedAttack is shown some of the copies, and here each copy has its own weights
    attacker = AttackedPolicy(victim, moves.attack, budget, target=each.act, groups=number, once=True)
    env = ConcatEnv([make_env(EPISODES, first_seed) for _ in range(number)])
    returns = rollout(victim, env, max_steps, True, attacker, warn=False).returns
    return returns.reshape(-1, number, EPISODES).mean(dim=2)

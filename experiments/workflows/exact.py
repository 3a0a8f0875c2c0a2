"""Exact values of policies in finite problems, computed in the table that the simulator samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard

import gymnasium
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlkit.adversarial import FGSM, Threat, committed_threat
from rlkit.agents import Agent
from rlkit.envs import GridWorld, TabularDynamics, find_dynamics
from rlkit.envs.gridtable import reachable
from rlkit.envs.render import draw_values
from rlkit.figure_style import in_style, svg
from rlkit.mdp import TabularMDP
from rlkit.planning import (
    FiniteHorizonSolution,
    Solution,
    backward_induction,
    evaluate,
    evaluate_finite,
    q_error,
    solve,
    start_value,
    state_regret,
    suboptimal_probability,
)
from rlkit.plotting import Curve, Reference, learning_curves

from ..report.grid_panel import GridPanel, Slider
from ..report.ledger import Picture, ReportTable
from .policies import Scored
from .solve import Lake, lake_of

CURVE_WORK = 10**7  # seeds x states x steps of an episode; up to this a curve is cheap compared with training
FINAL_WORK = 10**9  # the same for one evaluation in less than a minute
PICTURED_TILES = 16  # per side; pictures of larger maps are not legible

Floats = NDArray[np.float64]


class Finite(Protocol):
    """A finite problem and the observations of its states."""

    @property
    def mdp(self) -> TabularMDP:
        """The table that is sampled."""
        ...

    def observations(self) -> NDArray[Any]:
        """Observations of all states, ``[N, *observation]``."""
        ...


class Exact(NamedTuple):
    """The exact solutions of a finite problem."""

    problem: Finite
    limited: FiniteHorizonSolution | None  # the optimum under the step limit, undiscounted; None without a limit
    discounted: Solution | None  # the optimum at the agent's gamma; None where rows differ in gamma, or it is 1

    @property
    def optimum(self) -> float:
        """Optimal return from the start: under the step limit, or discounted if there is no limit."""
        best = self.limited.value[0] if self.limited is not None else self.by_gamma.value
        return float(start_value(self.problem.mdp, best))

    @property
    def by_gamma(self) -> Solution:
        """``discounted``, which must exist."""
        assert self.discounted is not None
        return self.discounted

    @property
    def stationary(self) -> float | None:
        """Return under the step limit of the policy that is optimal at gamma."""
        if self.limited is None or self.discounted is None:
            return None
        return float(returns_of_policy(self, self.discounted.policy))

    @property
    def measure(self) -> str:
        """Description of the quantity of ``optimum`` and of exact returns."""
        if self.limited is not None:
            return f"return in {self.limited.horizon} steps"
        return f"return at gamma {self.by_gamma.gamma:g}"


class ExactValues(NamedTuple):
    """Exact values of S policies."""

    returns: Floats  # [S], under the step limit, undiscounted; at gamma without one
    discounted: Floats | None  # [S], at gamma without a step limit
    suboptimal_probability: Floats | None  # [S, N], probability of an action that is not optimal at gamma
    regret: Floats | None  # [S, N], loss of value at gamma
    errors_at_start: Floats | None  # [S], max_a |Q - Q*| over first states; None unless ``rates_by_reward``
    errors_mean: Floats | None  # [S], over all states that are not ends


def finite_problem(name: str, env_kwargs: Mapping[str, Any]) -> Finite | None:
    """The finite problem of an environment of rlkit, or of gymnasium with a table ``P``; None for others."""
    dynamics = find_dynamics(name, env_kwargs=dict(env_kwargs))
    if dynamics is not None:
        return dynamics if hasattr(dynamics, "mdp") and hasattr(dynamics, "observations") else None  # type: ignore[return-value]
    env = gymnasium.make(name, **env_kwargs)
    space = env.observation_space
    if not hasattr(env.unwrapped, "P") or not isinstance(space, gymnasium.spaces.Discrete):
        return None
    mdp = TabularMDP.from_gymnasium(env)
    if space.n != mdp.num_states or space.start != 0:
        return None
    return lake_of(env, mdp) or TabularDynamics(mdp)


def exact_answer(problem: Finite, gamma: float | None) -> Exact | None:
    """Both optima. ``gamma`` None or 1 means no discounted one; None if there is neither."""
    mdp = problem.mdp
    limited = None if mdp.max_steps is None else backward_induction(mdp)
    discounted = None if gamma is None or gamma >= 1 else solve(mdp, gamma)
    return None if limited is None and discounted is None else Exact(problem, limited, discounted)


def work(num_seeds: int, problem: Finite) -> int:
    """Cost of evaluating S policies: the number of state values to compute."""
    return num_seeds * problem.mdp.num_states * (problem.mdp.max_steps or 100)


def exact_of(policy: Scored, name: str, env_kwargs: Mapping[str, Any], most: int) -> Exact | None:
    """The exact solutions of a policy's problem; None if it is not finite, or costs more ``work`` than ``most``."""
    problem = finite_problem(name, env_kwargs)
    if problem is None or work(policy.num_seeds, problem) > most:
        return None
    return exact_answer(problem, gamma_of(policy))


def gamma_of(policy: Scored) -> float | None:
    """The discount that a policy was trained with; None if its rows differ."""
    if isinstance(policy, Agent):
        found = policy.config.gamma
        return None if isinstance(found, tuple) and len(set(found)) > 1 else float(np.ravel(found)[0])
    models = getattr(policy, "models", ())
    gammas = {float(model.gamma) for model in models}
    return gammas.pop() if len(gammas) == 1 else None


def rates_by_reward(policy: Scored) -> bool:
    """Whether scores are action values of the environment's own rewards, not of normalized ones, and not logits."""
    rescaled = isinstance(policy, Agent) and getattr(policy.config, "normalize_rewards", False)
    return policy.scores_are_values and not rescaled


def all_scores(policy: Scored, problem: Finite) -> Floats:
    """Every seed's action values or logits at every state, ``[S, N, A]``."""
    states = torch.as_tensor(problem.observations().copy(), device=policy.device)  # [N, *observation]
    with torch.no_grad():
        return policy.scores(states.expand(policy.num_seeds, *states.shape)).double().cpu().numpy()


def pictured_threat(problem: Finite, name: str, env_kwargs: Mapping[str, Any]) -> Threat | None:
    """The threat to the policies on a map: that of the task, else one in raw units.

    None without a picture of the map, or where an observation is no list of real numbers.
    """
    if not is_pictured(problem) or not np.issubdtype(problem.observations().dtype, np.floating):
        return None
    return committed_threat(name, env_kwargs) or Threat()


def greedy_under_fgsm(policy: Scored, problem: Finite, threat: Threat) -> NDArray[np.int64]:
    """Every seed's greedy action at every state where FGSM changes what is seen, at each epsilon, ``[L, S, N]``."""
    states = torch.as_tensor(problem.observations().copy(), device=policy.device)  # [N, *observation]
    obs = states.expand(policy.num_seeds, *states.shape)
    actions = []
    for epsilon in threat.epsilons:
        budget = threat.budget(epsilon)
        shown = budget.project(obs, FGSM().propose(policy, obs, budget))
        with torch.no_grad():
            actions.append(policy.scores(shown).argmax(dim=-1).cpu().numpy())
    return np.stack(actions)


def all_probabilities(policy: Scored, problem: Finite) -> Floats:
    """Every seed's action probabilities at every state, ``[S, N, A]``."""
    assert isinstance(policy, Agent)  # other policies are not sampled
    states = torch.as_tensor(problem.observations().copy(), device=policy.device)
    return policy.action_probabilities(states.expand(policy.num_seeds, *states.shape)).double().cpu().numpy()


def exact_returns(policy: Scored, problem: Finite, horizon: int) -> Floats:
    """The expected return of every seed's greedy policy in episodes of at most ``horizon`` steps, ``[S]``."""
    greedy = all_scores(policy, problem).argmax(axis=-1)  # [S, N]
    return start_value(problem.mdp, evaluate_finite(problem.mdp, greedy, horizon)[:, 0])


def values_of_policy(exact: Exact, policy: NDArray[Any]) -> Floats:
    """The exact value of every state under policies ``[..., N]`` or ``[..., N, A]``, as ``Exact.measure`` says."""
    mdp = exact.problem.mdp
    if exact.limited is not None:
        return evaluate_finite(mdp, policy, exact.limited.horizon)[..., 0, :]
    return evaluate(mdp, policy, exact.by_gamma.gamma)


def returns_of_policy(exact: Exact, policy: NDArray[Any]) -> Floats:
    """The exact return of policies ``[..., N]`` or ``[..., N, A]``, ``[...]``, as ``Exact.measure`` says."""
    return start_value(exact.problem.mdp, values_of_policy(exact, policy))


def is_pictured(problem: Any) -> TypeGuard[GridWorld | Lake]:
    """Whether a problem is a map that is small enough for a picture."""
    return isinstance(problem, GridWorld | Lake) and max(problem.letters.shape) <= PICTURED_TILES


def optimum_of(exact: Exact) -> tuple[Floats, Floats]:
    """The optimal value of every state ``[N]`` as ``Exact.measure`` says, and shares of the optimal actions."""
    if exact.limited is None:
        return exact.by_gamma.value, exact.by_gamma.optimal_actions.astype(np.float64)
    q = exact.limited.q[0]  # [N, A]
    best = np.isclose(q, q.max(axis=-1, keepdims=True), rtol=0.0, atol=max(exact.limited.error_bound * 2, 1e-12))
    return exact.limited.value[0], best.astype(np.float64)


def map_panel(
    exact: Exact,
    title: str,
    sliders: Sequence[Slider],
    value: Floats,
    policy: Floats,
    shown: str,
) -> GridPanel:
    """A panel of values ``[T, L?, N]`` and action shares ``[T, L?, N, A]`` on a map, beside the optimum."""
    grid: Any = exact.problem
    ended = grid.mdp.ended
    best, best_policy = optimum_of(exact)
    return GridPanel(
        title=title,
        map=tuple("".join(row) for row in grid.letters.tolist()),
        tiles=np.asarray(grid.tile_of, dtype=np.float64),
        sliders=tuple(sliders),
        value=np.where(ended, np.nan, value),
        policy=policy,
        shown=shown,
        reference="Optimal, exact",
        reference_value=np.where(ended, np.nan, best),
        reference_policy=best_policy,
    )


def evaluate_exactly(policy: Scored, exact: Exact, sampled: bool = False) -> ExactValues:
    """Evaluate the policies of all seeds exactly: the greedy ones, or the stochastic ones if ``sampled``."""
    problem, solution = exact.problem, exact.discounted
    scores = all_scores(policy, problem)  # [S, N, A]
    followed = all_probabilities(policy, problem) if sampled else scores.argmax(axis=-1)  # [S, N, A] or [S, N]
    returns = returns_of_policy(exact, followed)
    if solution is None:
        return ExactValues(returns, None, None, None, None, None)
    regret = state_regret(problem.mdp, followed, solution)
    wrong = suboptimal_probability(followed, solution)
    start, deciding = problem.mdp.start, ~problem.mdp.ended
    errors: tuple[Floats | None, Floats | None] = (None, None)
    if rates_by_reward(policy):
        weights = deciding / deciding.sum(axis=0)
        errors = (q_error(scores, solution, start), q_error(scores, solution, weights))
    value = start_value(problem.mdp, solution.value) - start_value(problem.mdp, regret)
    return ExactValues(returns, value, wrong, regret, *errors)


class ExactPart(NamedTuple):
    """The part of a run's record with exact values."""

    tables: tuple[ReportTable, ...] = ()
    pictures: tuple[Picture, ...] = ()
    results: Mapping[str, Any] = {}


def exact_part(
    name: str, seeds: tuple[int, ...], policy: Scored, exact: Exact | None, curve: Curve | None, sampled: bool = False
) -> ExactPart:
    """Tables, pictures and numbers of S policies, empty without ``exact``; ``curve`` is of training."""
    if exact is None:
        return ExactPart()
    found = evaluate_exactly(policy, exact, sampled)
    numbers = exact_results(seeds, exact, found)
    pictures = mistakes_picture(exact, found)
    if curve is not None:
        pictures = (curve_picture(name, exact, curve), *pictures)
        numbers["curve"] = {"timesteps": curve.x, "returns": curve.y}
    return ExactPart((exact_table(seeds, exact, found, sampled),), pictures, {"exact": numbers})


def exact_results(seeds: tuple[int, ...], exact: Exact, found: ExactValues) -> dict[str, Any]:
    """The numbers for scripts."""
    visited = reachable(exact.problem.mdp) & ~exact.problem.mdp.ended  # [N]
    return {
        "measure": exact.measure,
        "optimum": exact.optimum,
        "discounted_policy_under_limit": exact.stationary,
        "gamma": None if exact.discounted is None else exact.discounted.gamma,
        "step_limit": None if exact.limited is None else exact.limited.horizon,
        "seeds": list(seeds),
        "seed_returns": found.returns,
        "seed_regrets": exact.optimum - found.returns,
        "seed_discounted_returns": found.discounted,
        "seed_q_errors_at_start": found.errors_at_start,
        "seed_q_errors_mean": found.errors_mean,
        "seed_mistakes": None
        if found.suboptimal_probability is None
        else found.suboptimal_probability[:, visited].sum(axis=1),
        "deciding_states": int(visited.sum(axis=0)),
        "state_mistakes": None if found.suboptimal_probability is None else found.suboptimal_probability.mean(axis=0),
        "state_regrets": None if found.regret is None else found.regret.mean(axis=0),
    }


def exact_table(seeds: tuple[int, ...], exact: Exact, found: ExactValues, sampled: bool = False) -> ReportTable:
    """One line for the optimum and one per seed."""
    numbers = exact_results(seeds, exact, found)
    gamma = None if exact.discounted is None else f"gamma {exact.discounted.gamma:g}"
    best = None if exact.discounted is None else float(start_value(exact.problem.mdp, exact.discounted.value))
    columns = {
        "policy": ["optimal", *(f"seed {seed}" for seed in seeds)],
        exact.measure: [exact.optimum, *found.returns.tolist()],
        "regret": [0.0, *numbers["seed_regrets"].tolist()],
    }
    if found.discounted is not None and exact.limited is not None:
        columns[f"return at {gamma}"] = [best, *found.discounted.tolist()]
    if found.errors_mean is not None and found.errors_at_start is not None:
        columns["error of Q at start"] = [0.0, *found.errors_at_start.tolist()]
        columns["mean error of Q"] = [0.0, *found.errors_mean.tolist()]
    if found.suboptimal_probability is not None:
        columns[f"states wrong, of {numbers['deciding_states']}"] = [0.0, *numbers["seed_mistakes"].tolist()]
    kind = "Sampled" if sampled else "Greedy"
    title = f"{kind} policies, exactly: expected returns, and in how many states the action is not optimal"
    return ReportTable("exact", title, tuple(columns), tuple(zip(*columns.values(), strict=True)))


def curve_picture(name: str, exact: Exact, curve: Curve) -> Picture:
    """Exact regret of the greedy policy by training step."""
    regret = Curve(curve.x, exact.optimum - np.asarray(curve.y))
    references = [Reference("the optimum", 0.0)]
    if exact.stationary is not None:
        references.append(
            Reference(f"optimal policy of gamma {exact.by_gamma.gamma:g}", exact.optimum - exact.stationary)
        )
    figure = learning_curves({name: regret}, ylabel=f"exact regret of the {exact.measure}", references=references)
    return Picture("regret", "Exact regret of the greedy policy during training.", svg(figure))


@in_style
def mistakes_picture(exact: Exact, found: ExactValues) -> tuple[Picture, ...]:
    """Suboptimal states and their regret on the map; empty without a map, or with a large one."""
    grid, solution = exact.problem, exact.discounted
    if solution is None or not is_pictured(grid):
        return ()
    assert found.suboptimal_probability is not None
    assert found.regret is not None
    rows, columns = grid.letters.shape
    figure = Figure(figsize=(2 * (0.62 * columns + 1.2), 0.62 * rows + 0.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    share, cost = found.suboptimal_probability.mean(axis=0), found.regret.mean(axis=0).clip(min=0)
    top = max(float(cost.max(axis=0)), 1e-12)
    wrong: dict[str, Any] = {"title": "Where seeds choose a wrong action", "label": "share of seeds"}
    lost: dict[str, Any] = {"title": "Loss from each state", "label": f"mean regret at gamma {solution.gamma:g}"}
    draw_values(grid, share, solution.optimal_actions, axes=left, limits=(0, 1), blank=True, **wrong)
    draw_values(grid, cost, axes=right, limits=(0, top), blank=True, **lost)
    caption = (
        "Errors of the greedy policies: the share of seeds whose action is not optimal (arrows are the optimal "
        "actions), and the mean regret of the seeds from each state."
    )
    return (Picture("mistakes", caption, svg(figure)),)

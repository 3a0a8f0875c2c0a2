"""The contents of the gallery: small trainings, and every figure and animation that is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

from rlkit.adversarial import bracket
from rlkit.agents import Agent
from rlkit.envs import GridWorld
from rlkit.figure_style import in_style, panels, svg
from rlkit.plotting import strips

from ..report.comparison import compared
from ..report.ledger import RunRecord
from ..workflows.attack import attack, attack_plan
from ..workflows.cartpole import cartpole_of
from ..workflows.cartpole.analysis import solve_cartpole
from ..workflows.evaluate import play
from ..workflows.exact import exact_of, gamma_of
from ..workflows.hijack import hijack
from ..workflows.measures import with_measures
from ..workflows.policies import Subject, of_agent
from ..workflows.solve import find_problem, solve
from ..workflows.threat import threat_of
from ..workflows.train import ExactCurve, Training, train, training_run
from ..workflows.watch import Tampering, tampering_of
from .animations import Frames, attacked_frames, learning_frames, value_iteration_frames

LAKE = "frozenlake-4x4"
GRID = "russell-norvig-4x3"
GRID_ENV = "rlkit/GridWorld-v0"
POLE = "CartPole-v1"
EPSILON = 0.3  # of the worst case on the grid, in raw coordinates
POLE_EPSILON = 1.0


class FigureExhibit(NamedTuple):
    """A figure of the gallery."""

    name: str  # of its file
    title: str
    code: str  # the function that draws it
    command: str  # that draws one; "" for Python alone
    image: bytes


class StudyFigure(NamedTuple):
    """A committed figure of a study or benchmark."""

    path: str  # in results/
    title: str
    code: str
    command: str  # that draws it of the committed rows, or measures again


STUDIES = "rlkit.experiments.studies"
STUDY_FIGURES = (
    StudyFigure("robustness/cartpole.svg", "Attacks on six kinds of policies, as small multiples",
                f"{STUDIES}.robustness.analysis.figure", "rlkit study robustness"),
    StudyFigure("defenses/defenses.svg", "Medians of defended policies under the strongest attack",
                f"{STUDIES}.defenses.analysis.figure", "rlkit study defenses"),
    StudyFigure("transfer/transfer.svg", "Attacks made on one policy and shown to another",
                f"{STUDIES}.transfer.figures.transfer_figure", "rlkit study transfer"),
    StudyFigure("transfer/universal.svg", "One offset for all states",
                f"{STUDIES}.transfer.figures.universal_figure", "rlkit study transfer"),
    StudyFigure("transfer/dimension.svg", "Measured beside predicted, on logarithmic axes",
                f"{STUDIES}.transfer.figures.dimension_figure", "rlkit study transfer"),
    StudyFigure("zoo/grid/benchmark.svg", "Certified bound, best attack and natural return of victims",
                "rlkit.experiments.workflows.benchmark.benchmark_figure", "rlkit benchmark"),
    StudyFigure("baselines/variance.svg", "Ratios of variances with quartiles",
                f"{STUDIES}.baselines.figure.variance_figure", "rlkit study baselines"),
    StudyFigure("ablations/cliff.svg", "Every seed on a line for each variant",
                f"{STUDIES}.ablations.run.picture", "rlkit study ablations"),
    StudyFigure("benchmarks/roofline.svg", "A roofline, and shares of the time",
                "rlkit.experiments.benchmarks.roofline.draw", "python -m rlkit.experiments.benchmarks.roofline"),
    StudyFigure("planning/growth.svg", "Time of a solve against the size of a problem",
                "rlkit.experiments.benchmarks.growth.draw", "python -m rlkit.experiments.benchmarks.growth"),
)  # fmt: skip


class AnimationExhibit(NamedTuple):
    """An animation of the gallery."""

    name: str
    title: str
    code: str
    frames: Frames
    fps: float = 8.0


class Models:
    """The small trainings that the gallery is made of; each is trained when it is asked for."""

    def __init__(self, steps: float = 1.0) -> None:
        self._steps = steps  # share of the steps, to test with less

    def _record(self, training: Training) -> RunRecord:
        agent = training.make_agent()
        exact = exact_of(agent, training.env, training.env_kwargs, 10**8)
        curve = None if exact is None else ExactCurve(exact)
        trained = train(training, agent, curve)
        return training_run(training, trained, play(agent, agent.evaluation_env(20)), curve)

    def _count(self, steps: int) -> int:
        return max(round(steps * self._steps), 60)

    @cached_property
    def lake(self) -> RunRecord:
        """Eight seeds of Q-learning on the lake."""
        return self._record(self._lake_training(None))

    @cached_property
    def slow_lake(self) -> RunRecord:
        """The same with a small learning rate."""
        return self._record(self._lake_training(0.02))

    def _lake_training(self, rate: float | None) -> Training:
        changed = {} if rate is None else {"learning_rate": rate}
        steps = self._count(8000)
        return Training(GRID_ENV, "tabularq", tuple(range(8)), steps, "tuned", changed, {"map": LAKE})

    @cached_property
    def grid(self) -> Subject:
        """Three seeds of DQN on a grid whose observations are coordinates."""
        kwargs = {"map": GRID, "observation": "coordinates"}
        return self._subject(Training(GRID_ENV, "dqn", (0, 1, 2), self._count(3000), "sb3", {}, kwargs))

    @cached_property
    def pole(self) -> Subject:
        """One seed of DQN on the cart-pole."""
        return self._subject(Training(POLE, "dqn", (0,), self._count(8000), "tuned"))

    def _subject(self, training: Training) -> Subject:
        agent: Agent = training.make_agent()
        train(training, agent)
        return of_agent(agent, training.env, training.env_kwargs)


def figures(models: Models) -> Iterator[FigureExhibit]:
    """Yield every kind of figure."""
    lake = _by_name(models.lake)
    train_lake = "rlkit train --env rlkit/GridWorld-v0 --algo tabularq --env-kwargs map=frozenlake-4x4"
    curves = "rlkit.plotting.learning_curves"
    yield FigureExhibit("learning-curves", "Returns during training", curves, train_lake, lake["training"])
    (together,) = compared([models.lake, models.slow_lake]).pictures
    yield FigureExhibit("runs-together", "Several runs", curves, "rlkit report RUN RUN", together.image)
    yield FigureExhibit("regret", "Exact regret during training", curves, train_lake, lake["regret"])
    yield FigureExhibit("strips", "Every seed and the mean", "rlkit.plotting.strips", "", _strips(models))
    solved = _by_name(solve(find_problem(LAKE)))
    draw = "rlkit.envs.render.draw_values"
    yield FigureExhibit("values", "Values and policy on a map", draw, f"rlkit solve {LAKE} --out RUN", solved["values"])
    yield FigureExhibit("mistakes", "Where seeds go wrong", draw, train_lake, lake["mistakes"])
    yield from _attack_figures(models)
    dynamics = cartpole_of(POLE, {})
    assert dynamics is not None
    gamma = gamma_of(models.pole.policy)
    assert gamma is not None
    planes = _by_name(solve_cartpole(dynamics, POLE, 7, gamma, 1e-6, learned=models.pole))
    code, command = "rlkit.experiments.workflows.cartpole.solve_cartpole", f"rlkit solve {POLE} --out RUN"
    yield FigureExhibit("balance", "What can be balanced", code, command, planes["balance"])
    title = "Learned values beside the optimum of a lattice"
    yield FigureExhibit("learned", title, code, f"{command} --policy RUN", planes["learned"])


def _attack_figures(models: Models) -> Iterator[FigureExhibit]:
    """Yield the figures of attacks on the grid."""
    grid = models.grid
    plan = attack_plan(grid, ("noise", "fgsm"), threat_of(grid, unit="raw", epsilons=(0.1, 0.2, 0.3)))
    run = attack([grid], [plan], 2)
    pictures = _by_name(with_measures(run, grid, plan, ("distance", "saliency", "sections", "substitutes")))
    command = "rlkit attack RUN --attacks noise fgsm --out OUT"
    code = "rlkit.plotting.robustness_curves"
    yield FigureExhibit("attacks", "Return against epsilon", code, command, pictures["attacks"])
    titles = {
        "distance": "Distance to the nearest observation that changes the action",
        "saliency": "Influence of every feature over an episode",
        "sections": "Scores along lines and the margin over a plane",
        "substitutes": "Attacks on a copy that was learned from few queries",
    }
    for name, title in titles.items():
        code = f"rlkit.experiments.workflows.measures.{name}"
        yield FigureExhibit(name, title, code, f"{command} --measures {name}", pictures[name])
    found = _by_name(hijack(grid, "G", (0.1, 0.2, 0.3), unit="raw", episodes=2))
    code = "rlkit.experiments.workflows.hijack.hijack"
    yield FigureExhibit(
        "hijack", "An attacker with a goal of its own", code, "rlkit hijack RUN --toward G", found["hijack"]
    )


@in_style
def _strips(models: Models) -> bytes:
    figure, (axes,) = panels(1)
    runs = {"tuned": models.lake, "learning rate 0.02": models.slow_lake}
    strips(axes, {name: run.results["exact"]["seed_returns"] for name, run in runs.items()}, "exact return")
    return svg(figure)


def _by_name(run: RunRecord) -> dict[str, bytes]:
    return {picture.name: picture.image for picture in run.pictures}


def animations(models: Models) -> Iterator[AnimationExhibit]:
    """Yield every animation."""
    frames = value_iteration_frames(GridWorld(GRID), 0.99, [*range(12), 14, 17, 20, 25, 30])
    code = "rlkit.experiments.gallery.animations.value_iteration_frames"
    yield AnimationExhibit("value-iteration", "Value iteration: values spread from the ends", code, frames, 3.0)
    (panel,) = models.lake.panels
    code = "rlkit.experiments.gallery.animations.learning_frames"
    frames = learning_frames(GridWorld(LAKE), panel)
    yield AnimationExhibit("learning", "Eight seeds of Q-learning learn a grid", code, frames)
    code = "rlkit.experiments.gallery.animations.attacked_frames"
    shown = attacked_frames(models.pole, tampering_of(models.pole, "fgsm", POLE_EPSILON, None, "inf"), 200)
    yield AnimationExhibit(
        "attacked-cart-pole", "An attacked cart-pole: truth, and what the policy sees", code, shown, 6.0
    )
    frames = attacked_frames(models.grid, worst_adversary(models.grid), 40)
    yield AnimationExhibit(
        "worst-case", "The worst-case adversary at work: truth, and what the policy sees", code, frames, 2.0
    )


def worst_adversary(subject: Subject) -> Tampering:
    """The adversary that attains the worst case of the first seed of a policy on a grid."""
    grid = GridWorld(**subject.env_kwargs)
    policy: Any = subject.policy
    alone = policy[0] if len(subject.seeds) > 1 else policy
    threat = threat_of(subject, unit="raw", epsilons=(EPSILON,))
    budget = threat.budget(EPSILON)
    found = bracket(grid, alone, budget, 1.0, max_boxes=2**12)
    return Tampering(found.attack, budget)

"""The rounds of a search, and the record of what they found."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rlkit.optional_packages import require
from rlkit.statistics import Estimate

from ...report.ledger import Cell, ReportTable, RunRecord
from ..evaluate import mean_return, possible_returns
from ..preset_file import PresetFile
from ..sweep.experiment import Experiment, experiment_of
from ..sweep.sweep_ledger import SweepLedger
from .search import FIRST_EPISODE, Interval, Search

FOLDER_OF_ROUND = "round-{round}-rung-{rung}"
Drive = Callable[[Experiment, Path], SweepLedger | None]  # runs a sweep to its end in a folder; None if it was stopped


@dataclass
class Trial:
    """One configuration, and the returns of its tuning seeds on every rung that it trained on."""

    number: int
    round: int
    values: dict[str, Any]  # of the hyper-parameters that are searched
    returns: list[tuple[float, ...]] = field(default_factory=list)  # a rung each, [seeds]
    failed: bool = False  # a run has no result or no finite return

    @property
    def name(self) -> str:
        """Of the agent in the sweeps."""
        return f"trial-{self.number}"

    def score(self, rung: int = -1) -> float:
        """Mean return over the tuning seeds on a rung, by default the last one."""
        return math.fsum(self.returns[rung]) / len(self.returns[rung])


class Tuning:
    """A search that runs: Optuna proposes configurations, and sweeps train them, a round at a time.

    All configurations of a round train on the first rung, and the best share of them again, with more steps, on the
    next one. Proposals follow from the sampler's seed and from results alone, so the same search in the same folder
    goes on where it was stopped: finished sweeps are read, not run.

    Args:
        search: the search.
        drive: runs a sweep.

    Raises:
        ModuleNotFoundError: Optuna is not installed.
    """

    def __init__(self, search: Search, drive: Drive) -> None:
        require("optuna", "Optuna", "tune")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.search, self.drive = search, drive
        self.trials: list[Trial] = []
        sampler = optuna.samplers.TPESampler(seed=search.sampler_seed, n_startup_trials=search.configurations)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._configurations: dict[str, dict[str, Any]] = {}  # trial -> resolved configuration of its longest runs

    def run(self, folder: Path) -> bool:
        """Run all rounds in a folder; False if a sweep was stopped."""
        for number in range(self.search.rounds):
            proposed = [self._study.ask() for _ in range(self.search.configurations)]
            trials = [Trial(len(self.trials) + i, number, self._values_of(each)) for i, each in enumerate(proposed)]
            if not self._train(trials, folder):
                return False
            self.trials += trials
            for each, trial in zip(proposed, trials, strict=True):
                self._tell(each, trial)
        return True

    def best(self) -> Trial | None:
        """The trial with the greatest mean return among those that trained on the last rung; None if all failed."""
        whole = [trial for trial in self.trials if not trial.failed and len(trial.returns) == self.search.rungs]
        return max(whole, key=lambda trial: trial.score(), default=None)

    def preset(self, trial: Trial) -> PresetFile:
        """The resolved configuration of a trial that trained on the last rung, to be frozen."""
        configuration = self._configurations[trial.name]
        return PresetFile(
            algorithm=self.search.algo,
            environment=self.search.env,
            num_envs=configuration["num_envs"],
            hyperparameters=configuration["hyperparameters"],
            tuning_seeds=self.search.seeds,
            provenance={
                "search": self.search._asdict(),
                "trial": trial.number,
                "values": trial.values,
                "tuning_returns": trial.returns[-1],
            },
        )

    def _train(self, trials: Sequence[Trial], folder: Path) -> bool:
        """Train the trials of a round on one rung after the other; False if a sweep was stopped."""
        left = list(trials)
        for rung in range(self.search.rungs):
            left = left[: self.search.promoted(rung)]
            if not left:
                break
            name = FOLDER_OF_ROUND.format(round=left[0].round, rung=rung)
            sweep = self.drive(self._experiment(left, rung), folder / name)
            if sweep is None:
                return False
            self._read(sweep, left)
            left = sorted((trial for trial in left if not trial.failed), key=lambda trial: -trial.score())
        return True

    def _experiment(self, trials: Sequence[Trial], rung: int) -> Experiment:
        """The sweep of a rung; trials of the same values share their runs."""
        search = self.search
        agents = [
            {
                "algo": search.algo,
                "name": names[0],
                "set": {**search.fixed, **values},
                **({} if search.preset is None else {"preset": search.preset}),
                **({} if search.num_envs is None else {"num_envs": search.num_envs}),
            }
            for names, values in _by_values(trials)
        ]
        return experiment_of(
            {
                "name": FOLDER_OF_ROUND.format(round=trials[0].round, rung=rung),
                "question": f"Which configuration of {search.algo} is best on {search.env}?",
                "hypothesis": "None: hyper-parameters are searched on seeds that no result is reported of.",
                "agents": agents,
                "environments": [{"env": search.env, "env_kwargs": search.env_kwargs}],
                "seeds": list(search.seeds),
                "steps": search.steps_of(rung),
                "episodes": search.episodes,
                "first_episode": FIRST_EPISODE,
                **search.passed_on,
            }
        )

    def _read(self, sweep: SweepLedger, trials: Sequence[Trial]) -> None:
        """Take the returns of a finished sweep."""
        returns: dict[str, dict[int, float | None]] = {}
        for run in sweep.experiment.runs:
            result = sweep.result(run.id)
            found = None if result is None else result["results"]["mean_return"]
            returns.setdefault(run.agent, {})[run.seed] = found
            self._configurations[run.agent] = dict(run.configuration)
        shared = {name: names[0] for names, _ in _by_values(trials) for name in names}
        for trial in trials:
            by_seed = returns[shared[trial.name]]
            self._configurations[trial.name] = self._configurations[shared[trial.name]]
            known = [value for seed in self.search.seeds if (value := by_seed[seed]) is not None]
            trial.failed = len(known) < len(self.search.seeds)
            if not trial.failed:
                trial.returns.append(tuple(known))

    def _values_of(self, proposal: Any) -> dict[str, Any]:
        """The values that Optuna proposes."""
        values: dict[str, Any] = {}
        for name, space in self.search.space.items():
            if not isinstance(space, Interval):
                values[name] = space[proposal.suggest_categorical(name, range(len(space)))]
            elif isinstance(space.low, int) and isinstance(space.high, int):
                values[name] = proposal.suggest_int(name, space.low, space.high, log=space.log)
            else:
                values[name] = proposal.suggest_float(name, space.low, space.high, log=space.log)
        return values

    def _tell(self, proposal: Any, trial: Trial) -> None:
        """Tell Optuna how a trial ended."""
        from optuna.trial import TrialState

        for rung in range(len(trial.returns)):
            proposal.report(trial.score(rung), self.search.steps_of(rung))
        if trial.failed:
            self._study.tell(proposal, state=TrialState.FAIL)
        elif len(trial.returns) < self.search.rungs:
            self._study.tell(proposal, state=TrialState.PRUNED)
        else:
            self._study.tell(proposal, trial.score())


def _by_values(trials: Sequence[Trial]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """The names of the trials of the same values, and the values."""
    groups: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for trial in trials:
        groups.setdefault(json.dumps(trial.values, sort_keys=True), ([], trial.values))[0].append(trial.name)
    yield from groups.values()


def tuning_record(tuning: Tuning, best: Trial | None) -> RunRecord:
    """The record of a finished search: every trial with its returns, and the best one."""
    search = tuning.search
    limits = possible_returns(search.env, search.env_kwargs)
    rows: list[tuple[Cell | Estimate[float], ...]] = []
    for trial in sorted(tuning.trials, key=_rank, reverse=True):
        values = (
            value if isinstance(value, str | int | float) else json.dumps(value) for value in trial.values.values()
        )
        means = [mean_return(np.array(returns), limits) for returns in trial.returns]
        missing = [None] * (search.rungs - len(means))
        state = "failed" if trial.failed else "pruned" if missing else "finished"
        rows.append((trial.number, *values, *means, *missing, state))
    rungs = (f"return after {search.steps_of(rung):,} steps" for rung in range(search.rungs))
    table = ReportTable(
        "trials", "Configurations, the best first", ("trial", *search.space, *rungs, "state"), tuple(rows)
    )
    trials = [{"values": trial.values, "returns": trial.returns, "failed": trial.failed} for trial in tuning.trials]
    note = (
        "The return of the best trial is the greatest of many and therefore too high; train its preset on other seeds."
    )
    return RunRecord(
        kind="tune",
        title=f"{search.name}: {search.algo} on {search.env}",
        settings=search._asdict(),
        results={"best": None if best is None else best.number, "trials": trials},
        tables=(table,),
        notes=(note,),
    )


def _rank(trial: Trial) -> tuple[int, float]:
    return (len(trial.returns), trial.score() if trial.returns else -math.inf)

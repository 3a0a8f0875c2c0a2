"""``rlkit study``: one entry for all studies, and the rows that are kept of each."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from rlkit.agents import DQN, TabularQ
from rlkit.experiments import studies
from rlkit.experiments.cli import main
from rlkit.experiments.commands import study as command
from rlkit.experiments.stopping import Stopped
from rlkit.experiments.studies import NAMES
from rlkit.experiments.studies.agreement.run import AgreementRow, LatticeRow, WorldRow
from rlkit.experiments.studies.baselines.variance import VarianceRow
from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.outcomes import OutcomeRow
from rlkit.experiments.studies.common.policy_cache import rlkit_policy
from rlkit.experiments.studies.common.scores import Point, Score
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.defenses import analysis as defenses
from rlkit.experiments.studies.defenses.analysis import DefenseRow
from rlkit.experiments.studies.ensembles.run import MemberRow
from rlkit.experiments.studies.grids import run as grids
from rlkit.experiments.studies.grids.run import GridRow
from rlkit.experiments.studies.grids.settings import GridCase
from rlkit.experiments.studies.networks.run import NetworkRow
from rlkit.experiments.studies.overestimation.run import ValueRow
from rlkit.experiments.studies.power.run import PowerRow
from rlkit.experiments.studies.robustness.analysis import AttackRow
from rlkit.experiments.studies.robustness.objectives import Pair
from rlkit.experiments.studies.transfer.run import PARTS
from rlkit.experiments.studies.worst_case.analysis import AttackedRow, BoundRow
from rlkit.experiments.workflows.train import Training

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"matched": Score, "tuned": Score, "equivalence": Score, "grids": GridRow, "rows": AttackRow, "pairs": Pair}
KINDS |= dict.fromkeys(("arms-tuning", "arms", "reuse-tuning", "reuse", "baselines", "ablations"), OutcomeRow)
KINDS |= {"variance": VarianceRow, "power": PowerRow, "agreement": AgreementRow, "worlds": WorldRow}
KINDS |= {"ensembles": MemberRow, "overestimation": ValueRow, "networks": NetworkRow, "lattice": LatticeRow}
KINDS |= {"defense-rows": DefenseRow, "defenses/bounds-rows": defenses.WorstCaseRow}
KINDS |= {"worst_case/bounds-rows": BoundRow, "attacked-rows": AttackedRow}
KINDS |= {f"{part.name}-rows": part.row for part in PARTS}


def test_every_study_has_cases_a_readme_with_its_command_and_results() -> None:
    folders = {path.parent.name for path in (ROOT / "experiments" / "studies").glob("*/run.py")}
    assert set(NAMES) == folders
    for name in NAMES:
        cases = [case.name for case in studies.find(name).cases]
        assert len(set(cases)) == len(cases) > 0
        readme = ROOT / "experiments" / "studies" / name / "README.md"
        assert f"rlkit study {name}" in readme.read_text(encoding="utf-8")
        assert (ROOT / "results" / name).is_dir()


@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_rows_that_are_kept_can_be_read(name: str) -> None:
    (path,) = (ROOT / "results").glob(f"**/{name}.csv")
    assert rows.read(path, KINDS[name])


def test_curves_that_are_kept_can_be_read() -> None:
    curves = list((ROOT / "results").glob("*/curve-*.csv"))
    assert len(curves) > 5
    for path in curves:
        assert rows.read(path, Point)


@pytest.mark.slow
def test_tables_are_printed_and_rows_written(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    found = studies.find("tuned")
    tiny = tuple(case._replace(training=replace(case.training, seeds=(0, 1), steps=1100)) for case in found.cases)
    monkeypatch.setattr(studies, "find", {"tuned": found._replace(cases=tiny)}.__getitem__)
    assert main(["study", "tuned", "dqn-50k", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["tables"][0]["rows"][0][3] == 2
    assert "dqn-50k: 2 seeds of rlkit" in said.err
    assert [row.case for row in rows.read(tmp_path / "results" / "tuned" / "tuned.csv", Score)] == ["dqn-50k"] * 2
    assert main(["study", "tuned", "dqn-50k", "--data", str(tmp_path / "other")]) == 0
    assert "written to" in capsys.readouterr().out
    assert (tmp_path / "other" / "tuned.csv").is_file()


@pytest.mark.slow
def test_a_stopped_study_saves_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No iteration follows the first signal, nothing at all the second; no iteration with a checkpoint is repeated."""
    found, original, done = studies.find("tuned"), DQN.iteration, list[int]()
    tiny = tuple(case._replace(training=replace(case.training, seeds=(0, 1), steps=1100)) for case in found.cases)
    monkeypatch.setattr(studies, "find", {"tuned": found._replace(cases=tiny)}.__getitem__)

    def ended(code: int) -> None:
        raise SystemExit(code)

    def study(name: str, signals: Mapping[int, Sequence[signal.Signals]]) -> int:
        """Run the study with signals in some of its iterations; the exit code."""
        done.clear()

        def iterate(agent: DQN) -> None:
            original(agent)
            done.append(agent.num_timesteps)
            for number in signals.get(len(done), ()):
                os.kill(os.getpid(), number)

        with monkeypatch.context() as patch:
            patch.setattr(DQN, "iteration", iterate)
            patch.setattr(os, "_exit", ended)
            return main(["study", "tuned", "dqn-50k", "--data", str(tmp_path / name)])

    assert study("whole", {}) == 0
    steps = list(done)
    assert not (tmp_path / "whole" / "unfinished").exists()
    assert study("again", {3: [signal.SIGTERM]}) == 143
    assert done == steps[:3]
    continued = shlex.join(["rlkit", "study", "tuned", "dqn-50k", "--data", str(tmp_path / "again")])
    capsys.readouterr()
    assert study("again", {1: [signal.SIGINT]}) == 130
    told = f"rlkit: interrupted at step {steps[3]:,} of 1,100 of dqn-50k; continue with: {continued}\n"
    assert capsys.readouterr().err == told
    assert done == steps[3:4]
    assert not (tmp_path / "again" / "tuned.csv").exists()
    assert study("again", {1: [signal.SIGINT, signal.SIGTERM]}) == 143
    assert study("again", {}) == 0
    assert done == steps[4:]
    assert sorted(os.listdir(tmp_path / "again")) == sorted(os.listdir(tmp_path / "whole"))
    one, other = (rows.read(tmp_path / name / "tuned.csv", Score) for name in ("whole", "again"))
    assert [replace(row, cpu_seconds=0.0) for row in one] == [replace(row, cpu_seconds=0.0) for row in other]
    curves = [(tmp_path / name / "curve-dqn-50k.csv").read_text(encoding="utf-8") for name in ("whole", "again")]
    assert curves[0] == curves[1]


@pytest.mark.slow
def test_trainings_of_grids_and_of_shared_policies_go_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = {"map": "frozenlake-4x4", "max_steps": 20}
    training = Training("rlkit/GridWorld-v0", "tabularq", (0, 1), 400, None, {}, {**lake, "observation": "index"})
    case = GridCase(grids.DRAWN, "tabularq", "frozenlake-4x4", training)
    original, done = TabularQ.iteration, list[int]()

    def iterate(agent: TabularQ) -> None:
        original(agent)
        done.append(agent.num_timesteps)
        if len(done) == 100:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TabularQ, "iteration", iterate)
    file, policies = tmp_path / "grids.csv", tmp_path / "policies"
    for act in (lambda: grids.run_case(case, file, tmp_path / "points.csv"), lambda: rlkit_policy(training, policies)):
        done.clear()
        with pytest.raises(Stopped, match="interrupted at step 100 of 400 of "):
            act()
        assert len(done) == 100
        act()
        assert len(done) == 400
    assert len(rows.read(file, GridRow)) == 2
    steps = [point.timesteps for point in rows.read(tmp_path / "points.csv", Point) if point.seed == 0]
    assert steps == list(range(8, 401, 8))
    assert sorted(os.listdir(policies)) == ["agent.safetensors"]
    assert torch.equal(rlkit_policy(training, policies).table.flat, training.make_agent().learn(400).table.flat)


def test_the_command_lists_the_studies_and_passes_options_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_args(command.StudyName) == NAMES
    asked: list[tuple[list[str], StudyOptions]] = []

    def run(cases, options):
        asked.append(([case.name for case in cases], options))
        return ()

    found = studies.find("robustness")
    monkeypatch.setattr(studies, "find", lambda name: found._replace(run=run))
    given = ("--makers", "rlkit", "--models", str(tmp_path / "m"), "--data", str(tmp_path))
    assert main(["study", "robustness", "cartpole-ppo", *given]) == 0
    assert main(["study", "robustness"]) == 0
    capsys.readouterr()
    assert asked[0] == (["cartpole-ppo"], StudyOptions(tmp_path, tmp_path / "m", ("rlkit",)))
    assert asked[1] == ([case.name for case in found.cases], StudyOptions(Path("results/robustness")))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("matched", "cartpole-ppq"), "did you mean 'cartpole-ppo'"),
        (("tuned", "tinny"), "known are dqn"),
        (("grids", "dqn-atlantis"), "unknown case 'dqn-atlantis'"),
        (("transfer", "transfers"), "did you mean 'transfer'"),
        (("tuned", "--makers", "rlkit"), "the study tuned has no --makers"),
        (("replay", "--models", "x"), "the study replay has no --models"),
        (("equivalence", "ppo-shrt"), "did you mean 'ppo-short'"),
    ],
)
def test_misuse(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", *arguments]) == 2
    assert said in capsys.readouterr().err

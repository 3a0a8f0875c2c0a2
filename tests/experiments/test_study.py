"""``rlkit study``: one entry for all studies, and the rows that are kept of each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rlkit.experiments import studies
from rlkit.experiments.cli import main
from rlkit.experiments.commands import study as command
from rlkit.experiments.studies import NAMES
from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.scores import Point, Score
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.defenses.analysis import DefenseRow
from rlkit.experiments.studies.grids.run import GridRow
from rlkit.experiments.studies.robustness.analysis import AttackRow
from rlkit.experiments.studies.robustness.objectives import Pair
from rlkit.experiments.studies.transfer.run import PARTS

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"matched": Score, "tuned": Score, "replay": Score, "grids": GridRow, "rows": AttackRow, "pairs": Pair}
KINDS["defense-rows"] = DefenseRow
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
    (path,) = (ROOT / "results").glob(f"*/{name}.csv")
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
    found = studies.find("replay")
    tiny = tuple(case._replace(training=replace(case.training, seeds=(0, 1), steps=1100)) for case in found.cases)
    monkeypatch.setattr(studies, "find", {"replay": found._replace(cases=tiny)}.__getitem__)
    assert main(["study", "replay", "no-replay", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["tables"][0]["rows"][0][1] == 2
    assert "no-replay: 2 seeds of rlkit" in said.err
    assert [row.case for row in rows.read(tmp_path / "results" / "replay" / "replay.csv", Score)] == ["no-replay"] * 2
    assert main(["study", "replay", "no-replay", "--data", str(tmp_path / "other")]) == 0
    assert "written to" in capsys.readouterr().out
    assert (tmp_path / "other" / "replay.csv").is_file()


def test_the_command_lists_the_studies_and_passes_options_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.NAMES == NAMES
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
    ],
)
def test_misuse(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", *arguments]) == 2
    assert said in capsys.readouterr().err

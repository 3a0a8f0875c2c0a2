"""The experiment on transfer: it goes on where it stopped, and its tables are of its rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.common.tasks import CARTPOLE
from rlkit.experiments.studies.transfer import analysis, figures, run, settings
from rlkit.experiments.studies.transfer.analysis import RANDOM, Flipped, Natural, Offset, Spread
from rlkit.experiments.workflows.policies import RLKIT
from rlkit.experiments.workflows.train import Training
from rlkit.figure_style import svg
from rlkit.statistics import Estimate

TINY = {"n_steps": 64, "batch_size": 32, "n_epochs": 1}


def kept(name: str, network: str, hyperparameters: dict[str, object]) -> settings.Kept:
    training = Training(CARTPOLE.env, "ppo", (0, 1), 256, None, {**TINY, **hyperparameters})
    return settings.Kept(name, CARTPOLE, RLKIT, "PPO", network, name, training)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "KEPT": (kept("a", "16", {"net_arch": (16,)}), kept("b", "linear", {"network": "linear"})),
        "TREE_OF": "a",
        "DEPTH": 3,
        "SEEDS": (0, 1),
        "EPISODES": 2,
        "STATES": 10,
        "EPSILONS": {"cartpole": 0.5},
        "FITTED_ON": ("a",),
        "SHOWN_TO": ("a", "b", "tree"),
        "OFFSET_EPSILONS": (0.5,),
        "COUNTS": (1, 5),
        "HELD_OUT": 20,
        "RANDOM_OFFSETS": 3,
        "SPREAD": ("b",),
        "LENGTHS": (4, 8),
        "ROTATIONS": 2,
        "LARGEST": 1000.0,
        "CODED_STATES": 10,
    }.items():
        monkeypatch.setattr(settings, name, value)


@pytest.mark.slow
def test_the_whole_experiment_runs_once(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = StudyOptions(tmp_path / "data", tmp_path / "models")
    tables = run.run(run.PARTS, options)
    assert [table.name for table in tables][:2] == ["natural", "transfer-relations"]
    files = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    assert {"natural.csv", "transfer.csv", "transfer.svg", "universal.svg", "dimension.svg"} <= set(files)
    data = tmp_path / "data"
    assert len(rows.read(data / "natural-rows.csv", Natural)) == 3 * 2
    flipped = rows.read(data / "transfer-rows.csv", Flipped)
    assert len(flipped) == 2 * 2 * 3 * 2  # rolls, sources, targets, seeds
    assert all(row.alike == 1 for row in flipped if row.source == row.target and row.roll == 0)
    offsets = rows.read(data / "universal-rows.csv", Offset)
    assert len(offsets) == 2 * 2 * 3 * 2 + 3 * 2  # rolls, counts, targets, seeds; and random ones
    spread = rows.read(data / "dimension-rows.csv", Spread)
    assert len(spread) == 2 * 2 * 2
    assert all(row.measured == pytest.approx(row.predicted, rel=0.02) for row in spread)  # a linear policy
    monkeypatch.setattr(run, "POLICIES", {})  # nothing is opened or measured again
    assert run.run(run.PARTS[:1], options) == tables[:1]
    assert {path.name: path.read_bytes() for path in data.iterdir()} == files


@pytest.mark.slow
def test_only_what_is_asked_for_is_opened(small: None, tmp_path: Path) -> None:
    policies = run.Policies(tmp_path)
    assert (list(policies), len(policies)) == (["a", "b", "tree"], 3)
    assert policies["b"] is policies["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert policies["tree"].depth == 3
    assert (tmp_path / "a" / "agent.safetensors").is_file()  # which the tree imitates
    with pytest.raises(KeyError):
        policies["c"]


def value(cell: object) -> float:
    assert isinstance(cell, Estimate)
    return cell.value


def test_what_transfers_is_averaged_by_what_is_different(small: None) -> None:
    def made(source: str, target: str, flips: list[float], agreement: float | None = 0.5) -> list[Flipped]:
        return [Flipped(source, target, 0, seed, 9, each, 0.1, 0.75, agreement) for seed, each in enumerate(flips)]

    known = [*made("a", "a", [0.5, 0.7]), *made("a", "b", [0.3, 0.1]), *made("b", "a", [0.1, 0.5], None)]
    known += made("b", "b", [0.6, 0.6])
    relations, sources, targets, pairs = analysis.transfer_tables(known)
    assert [row[1:3] for row in relations.rows] == [("cartpole", "the same"), ("cartpole", "another network")]
    other = relations.rows[1]
    assert value(other[3]) == pytest.approx(0.25)
    assert value(other[4]) == pytest.approx(0.15)
    assert isinstance(other[3], Estimate)
    assert other[3].n == 2  # seeds, not pairs
    assert [(row[1], row[2], value(row[3])) for row in sources.rows] == [("a", 9, 0.2), ("b", 9, 0.3)]
    assert [row[1] for row in targets.rows] == ["b", "a"]
    assert pairs.rows[2][6] is None  # nothing changed at both
    panel = figures.transfer_figure(known).axes[0]
    assert [text.get_text() for text in panel.texts] == ["50", "10", "20", "50"]


def test_offsets_are_compared_with_random_ones_target_by_target() -> None:
    known = [Offset(RANDOM, "PPO", 0.5, 0, 0, seed, 0.1 * seed) for seed in range(3)]
    known += [Offset("PPO", "PPO", 0.5, 0, 10, seed, 0.1 * seed + 0.2) for seed in range(3)]
    relations, pairs = analysis.universal_tables(known)
    assert [row[:5] for row in pairs.rows] == [
        (0.5, "same seed", RANDOM, "PPO", 0), (0.5, "same seed", "PPO", "PPO", 10)
    ]  # fmt: skip
    assert value(pairs.rows[0][6]) == 0.0
    assert [row[:4] for row in relations.rows] == [(0.5, "same seed", "the same", 10)]
    assert value(relations.rows[0][4]) == pytest.approx(0.3)
    beyond = relations.rows[0][5]
    assert isinstance(beyond, Estimate)
    assert (beyond.lower, beyond.upper) == (pytest.approx(0.2), pytest.approx(0.2))  # paired


@pytest.mark.slow
def test_lengths_are_compared_with_the_fewest() -> None:
    known = [Spread("a", "rotated", n, seed, (1.0 + seed) / n, 1.0 / n, 1 / n) for n in (4, 16) for seed in (0, 1)]
    (table,) = analysis.dimension_tables(known)
    assert [value(cell) for cell in table.rows[1][3:]] == pytest.approx([1.5 / 16, 1 / 16, 1.5, 0.25, 1.0])
    assert svg(figures.dimension_figure(known)).startswith(b"<?xml")


@pytest.mark.slow
def test_in_what_policies_differ_first() -> None:
    names = ("PPO", "PPO gamma 0.95", "PPO 64-64", "A2C", "SB3 A2C", settings.TREE)
    found = tuple(analysis.relation("PPO", name) for name in names)
    assert found == analysis.RELATIONS
    assert {kept.name for kept in settings.KEPT} >= {*settings.FITTED_ON, *settings.SPREAD, settings.TREE_OF}
    assert set(settings.EPSILONS) == {kept.task.name for kept in settings.KEPT}
    assert settings.task_of(settings.TREE) is CARTPOLE
    assert len({(kept.folder, kept.maker) for kept in settings.KEPT}) == len(settings.KEPT)
    for each in settings.KEPT:
        each.training.make_agent()

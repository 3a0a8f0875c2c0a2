"""Small versions of studies whose settings are TOML, from the file to the tables."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from rlkit.experiments.studies.ablations import run as ablations
from rlkit.experiments.studies.agreement import lattice
from rlkit.experiments.studies.agreement import run as agreement
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.common.sweeps import Part
from rlkit.experiments.studies.ensembles import run as ensembles
from rlkit.experiments.studies.overestimation import run as overestimation
from rlkit.experiments.workflows.cartpole.reference import solved


def small(part: Part, folder: Path, steps: int) -> Part:
    """The same part with two seeds and fewer steps."""
    text = (part.folder / f"{part.name}.toml").read_text(encoding="utf-8")
    text = re.sub(r"^seeds = \[[^]]*\]", "seeds = [0, 1]", text, flags=re.MULTILINE)
    text = re.sub(r"^steps = [\d_]+", f"steps = {steps}", text, flags=re.MULTILINE)
    (folder / f"{part.name}.toml").write_text(text, encoding="utf-8")
    return Part(part.name, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "steps", "lines", "files"),
    [
        (ablations, 1024, (4, 4), {"ablations.csv", "lakes.svg", "cliff.svg"}),
        (agreement, 512, (8, 2, 17), {"agreement.csv", "lattice.csv", "worlds.csv"}),
        (ensembles, 1280, (4,), {"ensembles.csv"}),
        (overestimation, 1280, (6,), {"overestimation.csv"}),
    ],
)
def test_a_small_study_is_trained_once_and_tabled(
    study: ModuleType,
    steps: int,
    lines: tuple[int, ...],
    files: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    smaller = {part: small(part, tmp_path, steps) for part in study.CASES}
    parts = tuple(smaller.values())
    for name, value in vars(study).copy().items():  # the module's names of its parts
        if isinstance(value, Part):
            monkeypatch.setattr(study, name, smaller[value])
        elif isinstance(value, tuple) and value and all(each in smaller for each in value):
            monkeypatch.setattr(study, name, tuple(smaller[part] for part in value))
    for name in ("EPISODES", "MEMBERS"):
        monkeypatch.setattr(study, name, 2, raising=False)
    monkeypatch.setattr(agreement, "SLIPS", dict.fromkeys(agreement.SLIPS, (0.1,)))
    coarse = solved(lattice.POLE, points=5, tolerance=1e-6)
    monkeypatch.setattr(lattice, "reference", lambda: coarse)
    monkeypatch.setattr(lattice, "random_states", lambda: coarse.mdp.lattice.points(300, 330))
    monkeypatch.setattr(lattice, "LIMIT", 20)
    options = StudyOptions(tmp_path / "data")
    tables = study.run(parts, options)
    assert tuple(len(table.rows) for table in tables) == lines
    assert {path.name for path in options.data.iterdir()} == files
    for name in ("train", "train_and_score"):
        monkeypatch.setattr(study, name, None, raising=False)
    assert study.run(parts, options) == tables

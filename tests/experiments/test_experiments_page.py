"""The chapter on experiments: its files are read, its sweep runs, and its program reads the results."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from small_sweep import run_all
from source_tree import ROOT

from rlkit.experiments.cli import main
from rlkit.experiments.workflows.sweep import experiment
from rlkit.experiments.workflows.tune import search

PAGE = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
EXPERIMENT, SEARCH = (tomllib.loads(text) for text in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
(PROGRAM,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_program_reads_the_results_of_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_all(Path("runs/lake"), experiment.experiment_of({**EXPERIMENT, "name": "lake"}))
    capsys.readouterr()
    exec(compile(PROGRAM, "experiments.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["0.03", "0.1", "0.3"]
    for line in printed:
        value, low, high = map(float, re.findall(r"-?[\d.]+(?:e-\d+)?", line.split(maxsplit=1)[1])[:3])
        assert low <= value <= high
        assert 0.0 <= value <= 1.0


def test_every_key_is_explained_and_the_search_is_read() -> None:
    made = search.search_of({"name": "search", **SEARCH})
    assert (made.steps_of(0), made.promoted(1)) == (16_666, 3)
    sweeps, tuning = PAGE.split("## Tuning")
    for keys, text in (
        ((*experiment.NEEDED, *experiment.OPTIONAL), sweeps),
        ((*search.NEEDED, *search.OPTIONAL), tuning),
    ):
        explained = " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
        assert set(re.findall(r"`(\w+)`", explained)) == set(keys)


@pytest.mark.parametrize("command", re.findall(r"^rlkit .+$", PAGE, re.MULTILINE))
def test_the_commands_exist_with_their_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, name, *arguments = shlex.split(command)
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert option in text, f"{name} has no {option}"

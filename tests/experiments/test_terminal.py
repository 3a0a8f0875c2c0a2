"""What commands print: numbers with the digits that are known, progress in lines, the next step, quiet and plain."""

from __future__ import annotations

import math
import re
import threading
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rlkit.experiments.cli import main
from rlkit.experiments.command_line import kept
from rlkit.experiments.report import terminal
from rlkit.experiments.report.ledger import ReportTable, RunRecord
from rlkit.experiments.report.terminal import StageLines, going_on, next_step, say
from rlkit.experiments.report.text import as_text, cell_text, column_decimals, fitting_columns, in_words
from rlkit.statistics import Estimate


@pytest.mark.parametrize(
    ("value", "lower", "upper", "text"),
    [
        (490.0, 465.161, 514.839, "490 [465, 515]"),
        (0.744194, 0.7311, 0.7573, "0.744 [0.731, 0.757]"),
        (9.4, 9.31, 9.49, "9.400 [9.310, 9.490]"),
        (-0.0004, -12.0, 12.0, "0 [-12, 12]"),
        (500.0, 500.0, 500.0, "500 [500, 500]"),
        (12345.0, 10000.0, 14690.0, "12345 [10000, 14690]"),
        (196.42857143, 196.42857142, 196.42857144, "196.4 [196.4, 196.4]"),  # rounding
    ],
)
def test_an_interval_decides_how_many_decimals_are_shown(value: float, lower: float, upper: float, text: str) -> None:
    assert cell_text(Estimate(value, lower, upper, 8, 0.95, "Student t")) == text


@given(st.floats(-1e5, 1e5), st.floats(1e-5, 1e5))
def test_half_an_interval_has_two_significant_digits(ratio: float, half: float) -> None:
    value = ratio * half
    shown = cell_text(Estimate(value, value - half, value + half, 8, 0.95, "Student t"))
    number, lower, upper = shown.replace("[", "").replace("]", "").replace(",", "").split()
    decimals = {len(part.partition(".")[2]) for part in (number, lower, upper)}
    assert len(decimals) == 1
    error = max(abs(float(upper) - value - half), abs(float(lower) - value + half))
    assert error <= max(half * 0.05, 0.5) * (1 + 1e-6)  # half a unit of the second digit, or a whole number
    assert decimals == {0} or float(f"1e-{decimals.pop()}") > half / 1000


def test_a_column_of_numbers_has_one_number_of_decimals() -> None:
    rows = ((0.1, 487.25, 1e-6), (0.25, 455.03125, 1.0), (None, 500.0, 3.0))
    table = ReportTable("a", "Title", ("epsilon", "return", "p"), rows)
    assert as_text(table)[1] == [["0.10", "487.2", "1e-06"], ["0.25", "455.0", "1"], ["", "500.0", "3"]]
    assert column_decimals([1, 0.5], 4) is None  # counts are whole
    assert as_text(ReportTable("a", "Title", ("x",), ((-0.004,), (3.99,)), digits=3))[1] == [["0.00"], ["3.99"]]
    assert column_decimals([0.0, math.nan], 4) is None


def test_values_of_one_seed_have_the_decimals_of_their_column() -> None:
    returns = [Estimate(value, -math.inf, math.inf, 1, 0.95, "Student t") for value in (156.5, 96.0, 77.5)]
    title, rows = as_text(ReportTable("attacks", "Return", ("return",), tuple((each,) for each in returns)))
    assert title == "Return (one seed: no interval)"
    assert rows == [["156.5"], ["96.0"], ["77.5"]]


def test_a_notebook_shows_tables_of_its_own_width(monkeypatch: pytest.MonkeyPatch) -> None:
    assert terminal._console().width == 200  # of a pipe
    monkeypatch.setenv("JUPYTER_COLUMNS", "96")
    monkeypatch.setattr(terminal, "Console", partial(Console, force_jupyter=True))
    assert terminal._console().width == 96


def test_columns_that_name_a_row_are_never_left_out() -> None:
    rows = [["a", "x", "1"], ["a", "y", "2"], ["b", "x", "3"], ["b", "y", "4"]]
    wide = [[*row[:2], "1", "2", "3"] for row in rows]
    assert fitting_columns([10, 10, 10, 10, 10], wide, 58) == [0, 1, 2, 3, 4]
    assert fitting_columns([10, 10, 10, 10, 10], wide, 57) == [0, 1, 2, 3]
    assert fitting_columns([10, 10, 10, 10, 10], wide, 5) == [0, 1]


def test_keys_are_said_in_words() -> None:
    assert in_words("env_kwargs") == "arguments of the environment"
    assert in_words("target_update_interval") == "target update interval"


def test_lines_of_stages_come_every_15_seconds_with_the_time_left() -> None:
    seconds = iter([0.0, 10.0, 16.0, 20.0, 32.0])
    said: list[str] = []
    done = StageLines("attacks", 8, said.append, lambda: next(seconds))
    for stage in ("noise", "fgsm", "pgd", "search"):
        done(stage)
    assert said == [
        "2/8 attacks (fgsm), elapsed 0:00:16, remaining 0:00:48",
        "4/8 attacks (search), elapsed 0:00:32, remaining 0:00:32",
    ]


def test_work_without_a_known_end_says_how_far_it_is_until_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    asked = threading.Event()

    def done() -> str:
        asked.set()
        return "3 sweeps"

    with going_on("Solving lake", done, every=0.001):
        assert asked.wait(10)
    said = capsys.readouterr().out.splitlines()
    assert said
    assert all(re.fullmatch(r"Solving lake: 3 sweeps, elapsed 0:00:\d\d", line) for line in said)
    with going_on("Solving lake", done, quiet=True, every=0.001):
        pass
    assert capsys.readouterr().out == ""


def test_the_last_line_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a b"
    assert main(["solve", "frozenlake-4x4", "--out", str(out)]) == 0
    *_, written, following = capsys.readouterr().out.splitlines()
    assert written == f"written to {out}"
    assert following.startswith(f"Next: rlkit report '{out}' --out '{out}'/report.html")
    assert main(["report", str(out), "--out", f"{out}/report.html"]) == 0
    capsys.readouterr()
    assert main(["solve", "frozenlake-4x4", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["solve", "frozenlake-4x4", "--plain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "quantity\tvalue\tlower\tupper"
    assert lines[-1].startswith("Next: --out FOLDER")
    assert next_step(RunRecord("other", "title", {}, {}), Path("x")) == "Next: rlkit report x --out x/report.html"
    assert next_step(RunRecord("train", "title", {}, {}), Path("a b")).endswith(" --out 'a b'.gif")


def test_a_pipe_gets_a_long_line_whole(capsys: pytest.CaptureFixture[str]) -> None:
    text = "word " * 100 + "[end]"
    say(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_a_record_keeps_no_option_of_what_is_printed() -> None:
    assert kept(["train", "--quiet", "--plain", "--steps", "5"]) == ("train", "--steps", "5")

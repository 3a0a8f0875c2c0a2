"""Ledger and report: what is written can be read again, and a page needs nothing but itself."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from rlkit.experiments.cli import main
from rlkit.experiments.report import ledger
from rlkit.experiments.report.html import write_report
from rlkit.experiments.report.ledger import Picture, ReportTable, RunRecord
from rlkit.experiments.report.text import cell_text
from rlkit.figure_style import png, svg
from rlkit.plotting import Curve, Reference, filled_forward, learning_curves, robustness_curves, strips
from rlkit.statistics import Estimate, mean_interval

ESTIMATE = mean_interval([480.0, 490.0, 500.0])
UNKNOWN = mean_interval([480.0])  # one seed: an infinite interval
ROWS = (("rlkit", ESTIMATE, True), ("x", UNKNOWN, None))


def small_picture() -> bytes:
    return svg(learning_curves({"a": Curve([0, 1], np.eye(2))}))


@pytest.fixture
def run() -> RunRecord:
    return RunRecord(
        kind="evaluate",
        title="DQN & <friends>",
        settings={"environment": "CartPole-v1", "backend": "gymnasium", "training_seeds": (0, 1, 2), "kwargs": {}},
        results={"return": ESTIMATE, "other": UNKNOWN, "seed_returns": np.array([480.0, 490.0, 500.0])},
        tables=(ReportTable("returns", "Returns", ("policy", "return", "solved"), ROWS),),
        pictures=(Picture("curve", "A curve", small_picture()),),
        notes=("A note.",),
    )


def test_what_is_written_is_read_again(run: RunRecord, tmp_path: Path) -> None:
    ledger.write(run, tmp_path)
    again = ledger.read(tmp_path)
    assert again.results["return"] == ESTIMATE
    assert again.results["other"].lower == -math.inf
    assert again.results["seed_returns"] == (480.0, 490.0, 500.0)
    assert (again.tables, again.pictures, again.notes, again.title) == (run.tables, run.pictures, run.notes, run.title)
    assert again.versions == run.versions
    assert ledger.record(again) == ledger.record(run)


def test_json_is_strict(run: RunRecord, tmp_path: Path) -> None:
    ledger.write(run, tmp_path)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads((tmp_path / "run.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_estimates_in_csv_are_three_columns(run: RunRecord, tmp_path: Path) -> None:
    ledger.write(run, tmp_path)
    with (tmp_path / "returns.csv").open(newline="", encoding="utf-8") as file:
        header, first, _ = csv.reader(file)
    assert header == ["policy", "return", "return lower", "return upper", "solved"]
    assert first == ["rlkit", "490.0", str(ESTIMATE.lower), str(ESTIMATE.upper), "True"]


def test_an_older_run_is_only_replaced_on_request(run: RunRecord, tmp_path: Path) -> None:
    ledger.write(run, tmp_path)
    with pytest.raises(ValueError, match="holds a run already"):
        ledger.new_folder(tmp_path)
    assert (tmp_path / "run.json").exists()
    ledger.new_folder(tmp_path, overwrite=True)
    assert not (tmp_path / "run.json").exists()  # until the new one is complete
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        ledger.new_folder(tmp_path / "file")


def test_a_record_that_was_cut_short_is_refused(run: RunRecord, tmp_path: Path) -> None:
    ledger.write(run, tmp_path)
    path = tmp_path / "run.json"
    path.write_text(path.read_text(encoding="utf-8")[:200], encoding="utf-8")
    with pytest.raises(ValueError, match="cut short"):
        ledger.read(tmp_path)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="not the record of a run"):
        ledger.read(tmp_path)


def test_runs_are_found_one_level_below(run: RunRecord, tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        ledger.write(run, tmp_path / name)
    assert list(ledger.find([tmp_path])) == [tmp_path / "a", tmp_path / "b"]
    assert list(ledger.find([tmp_path / "b"])) == [tmp_path / "b"]
    with pytest.raises(FileNotFoundError, match=r"holds no run\.json"):
        list(ledger.find([tmp_path / "nothing"]))


def test_one_damaged_run_is_named_and_the_others_are_shown(
    run: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cut", "good", "ragged", "settings"):
        (tmp_path / name).mkdir()
        ledger.write(run, tmp_path / name)
    text = (tmp_path / "good" / "run.json").read_text(encoding="utf-8")
    (tmp_path / "cut" / "run.json").write_text(text[:300], encoding="utf-8")
    saved = json.loads(text)
    saved["tables"][0]["rows"][0].pop()
    (tmp_path / "ragged" / "run.json").write_text(json.dumps(saved), encoding="utf-8")
    (tmp_path / "settings" / "run.json").write_text(json.dumps({**json.loads(text), "settings": []}), encoding="utf-8")
    with ledger.open_folder(tmp_path / "stopped"):
        pass  # a command that leaves no record
    page = tmp_path / "report.html"
    assert main(["report", str(tmp_path), "--out", str(page), "--json"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4
    html = page.read_text(encoding="utf-8")
    assert html.count("<section>") == 1
    left_out = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["left_out"]
    assert [Path(entry["folder"]).name for entry in left_out] == ["cut", "ragged", "settings", "stopped"]
    for entry, reason in zip(
        left_out, ("cut short", "does not have 3 cells", "not the record", "stopped"), strict=True
    ):
        assert reason in entry["reason"]
        assert entry["folder"] in html
    assert main(["report", str(tmp_path / "cut"), "--out", str(page)]) == 2
    assert "no run can be shown" in capsys.readouterr().err


def test_pictures_from_outside_the_folder_are_not_read(run: RunRecord, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    ledger.write(run, folder)
    (folder / "curve.svg").replace(tmp_path / "secret.svg")
    (folder / "curve.svg").symlink_to(tmp_path / "secret.svg")
    with pytest.raises(ValueError, match="not a file of the folder itself"):
        ledger.read(folder)
    (folder / "curve.svg").unlink()
    text = (folder / "run.json").read_text(encoding="utf-8")
    for name in ("../secret", str(tmp_path / "secret")):
        (folder / "run.json").write_text(text.replace('"name": "curve"', f'"name": "{name}"'), encoding="utf-8")
        with pytest.raises(ValueError, match="not a file of the folder itself"):
            ledger.read(folder)


def test_nothing_is_read_through_links(run: RunRecord, tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "runs"
    for path in (secret, folder / "linked"):
        path.mkdir(parents=True)
        ledger.write(run, path)
    (folder / "linked" / "run.json").unlink()
    (folder / "linked" / "run.json").symlink_to(secret / "run.json")
    (folder / "other").symlink_to(secret)
    assert list(ledger.find([folder])) == [folder / "linked"]
    with pytest.raises(ValueError, match="is a symbolic link: only files of the folder itself are read"):
        ledger.read(folder / "linked")


RECORDS: dict[str, dict[str, object]] = {
    "kind is a number": {"kind": 3},
    "title is a list": {"title": []},
    "settings of text": {"settings": "x"},
    "results is none": {"results": None},
    "results is a list": {"results": [1]},
    "tables is an object": {"tables": {"a": 1}},
    "a table of nothing": {"tables": [{}]},
    "a table of another field": {"tables": [{"name": "a", "title": "b", "columns": [], "rows": [], "zzz": 1}]},
    "columns of numbers": {"tables": [{"name": "a", "title": "b", "columns": [1], "rows": [[1]]}]},
    "columns is a text": {"tables": [{"name": "a", "title": "b", "columns": "ab", "rows": [[1, 2]]}]},
    "rows is a number": {"tables": [{"name": "a", "title": "b", "columns": ["c"], "rows": 1}]},
    "a row of text": {"tables": [{"name": "a", "title": "b", "columns": ["c"], "rows": ["x"]}]},
    "a ragged row": {"tables": [{"name": "a", "title": "b", "columns": ["c"], "rows": [[1, 2]]}]},
    "a cell of a list": {"tables": [{"name": "a", "title": "b", "columns": ["c"], "rows": [[[1]]]}]},
    "digits of text": {"tables": [{"name": "a", "title": "b", "columns": [], "rows": [], "digits": "x"}]},
    "a million digits": {"tables": [{"name": "a", "title": "b", "columns": [], "rows": [], "digits": 10**6}]},
    "the name of a table is a number": {"tables": [{"name": 1, "title": "b", "columns": [], "rows": []}]},
    "a picture of nothing": {"pictures": [{}]},
    "a picture without a file": {"pictures": [{"name": "zzz", "caption": "c"}]},
    "a picture of a number": {"pictures": [{"name": 1, "caption": "c"}]},
    "a picture outside": {"pictures": [{"name": "../curve", "caption": "c"}]},
    "a picture of a null byte": {"pictures": [{"name": "a\0b", "caption": "c"}]},
    "a picture that is none": {"pictures": [{"name": "text", "caption": "c"}]},
    "a picture of a pipe": {"pictures": [{"name": "pipe", "caption": "c"}]},
    "notes is a text": {"notes": "abc"},
    "notes of numbers": {"notes": [1]},
    "versions is a list": {"versions": []},
    "versions of numbers": {"versions": {"a": 1}},
    "an estimate of text": {"results": {"return": {**ESTIMATE._asdict(), "value": "x"}}},
    "an estimate of an object": {"results": {"return": {**ESTIMATE._asdict(), "n": {}}}},
    "an estimate in a cell of lists": {
        "tables": [
            {"name": "a", "title": "b", "columns": ["c"], "rows": [[{**ESTIMATE._asdict(), "value": [1.0]}]]},
        ]
    },
}
TEXTS = {
    "nothing": "",
    "a number": "7",
    "a list": "[]",
    "nested": "[" * 100_000,
    "nested in settings": '{"kind": "a", "title": "b", "settings": {"a": ' + "[" * 500 + "]" * 500 + "}}",
    "digits": '{"kind": ' + "9" * 10_000 + "}",
    "no UTF-8": "\udcff",
}


def refused_record(folder: Path, said: pytest.CaptureFixture[str]) -> None:
    """``rlkit report`` names the record in one sentence, and shows the other run."""
    page = folder.parent / "report.html"
    assert main(["report", str(folder.parent), "--out", str(page)]) == 0
    lines = said.readouterr().err.splitlines()
    assert len(lines) == 1
    assert str(folder) in lines[0]
    assert len(lines[0]) < 1000
    assert page.read_text(encoding="utf-8").count("<section>") == 1


@pytest.fixture
def bad(run: RunRecord, tmp_path: Path) -> Path:
    """A folder to be damaged, beside a good one."""
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        ledger.write(run, tmp_path / name)
    (tmp_path / "bad" / "text.png").write_text("no picture", encoding="utf-8")
    os.mkfifo(tmp_path / "bad" / "pipe.png")
    return tmp_path / "bad"


@pytest.mark.slow
@pytest.mark.parametrize("changes", RECORDS.values(), ids=RECORDS)
def test_records_that_are_wrong_are_named(
    changes: dict[str, object], bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((bad / "run.json").read_text(encoding="utf-8"))
    (bad / "run.json").write_text(json.dumps({**record, **changes}), encoding="utf-8")
    refused_record(bad, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_texts_that_are_no_records_are_named(text: str, bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bad / "run.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    refused_record(bad, capsys)


def test_a_record_without_end_is_not_read(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.truncate(bad / "run.json", 2**34)  # sparse: no disk is used
    refused_record(bad, capsys)


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_record_with_changed_characters_is_read_and_shown_or_refused(
    data: st.DataObject, run: RunRecord, tmp_path: Path
) -> None:
    ledger.write(run, tmp_path)
    raw = bytearray((tmp_path / "run.json").read_bytes())
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=3)):
        raw[place] = byte
    (tmp_path / "run.json").write_bytes(raw)
    try:
        read = ledger.read(tmp_path)
    except (ValueError, FileNotFoundError) as error:
        assert str(tmp_path) in str(error)  # noqa: PT017
    else:
        write_report(tmp_path / "report.html", "Title", [read])


@pytest.mark.slow
def test_a_thousand_runs_are_read_once_each(
    run: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.write(replace(run, pictures=()), tmp_path)
    text = (tmp_path / "run.json").read_bytes()
    runs = tmp_path / "runs"
    for number in range(1000):
        (runs / f"{number:04}").mkdir(parents=True)
        (runs / f"{number:04}" / "run.json").write_bytes(text[: 200 if number == 500 else None])
    opened: list[Path] = []
    read_bytes = Path.read_bytes

    def counted(path: Path) -> bytes:
        opened.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    assert main(["report", str(runs), "--out", str(tmp_path / "report.html")]) == 0
    assert len(opened) == len(set(opened)) == 1000
    assert "0500" in capsys.readouterr().err
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("<section>") == 999


def test_texts_in_csv_files_are_no_formulas(tmp_path: Path) -> None:
    formula = '=HYPERLINK("http://example.com")'
    ledger.write_csv(tmp_path / "a.csv", ("@name", "value"), [(formula, -1.5), ("+1", "-1"), ("a=b", 2)])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["'@name", "value"], ["'" + formula, "-1.5"], ["'+1", "'-1"], ["a=b", "2"]]


@pytest.mark.slow
def test_a_folder_has_one_writer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ledger.open_folder(tmp_path / "run"):
        args = ["train", "--steps", "20", "--seeds", "1", "--episodes", "1", "--out", str(tmp_path / "run")]
        code = f"import sys; from rlkit.experiments.cli import main; sys.exit(main({args}))"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert other.returncode == 2
        assert "is being written by" in other.stderr
        assert other.stderr.count("\n") == 1
    with ledger.open_folder(tmp_path / "run"):
        pass  # it is free again


def test_the_page_is_self_contained_and_says_what_is_known(run: RunRecord, tmp_path: Path) -> None:
    page, numbers, lines, latex = write_report(tmp_path / "out" / "report.html", "Title", [run])
    html = page.read_text(encoding="utf-8")
    assert not re.search(r"https?:(?!//www.w3.org/2000/svg)|src=\"(?!data:)|<link|<script src|@import", html)
    assert "DQN &amp; &lt;friends&gt;" in html  # escaped
    assert html.index("Natural return") < html.index("<section>")
    for fact in ("490 [465, 515]", "480 (one seed: no interval)", "gymnasium", "CartPole-v1", "A note.", "A curve"):
        assert fact in html
    assert html.count("data:image/svg+xml;base64,") == 1
    assert json.loads(numbers.read_text(encoding="utf-8"))["runs"][0]["results"]["return"]["value"] == 490.0
    with lines.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert r"\caption{Returns}" in latex.read_text(encoding="utf-8")
    assert {"section": "DQN & <friends>", "table": "returns", "row": "0", "column": "return", "value": "490.0"} in rows


def test_a_report_of_nothing_or_of_another_kind_is_refused(run: RunRecord, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one run"):
        write_report(tmp_path / "a.html", "Title", [])
    with pytest.raises(ValueError, match=r"ends in \.html"):
        write_report(tmp_path / "a.pdf", "Title", [run])
    assert list(tmp_path.iterdir()) == []


def test_report_command(run: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        ledger.write(run, tmp_path / name)
    args = ["report", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "r.html"), "--json"]
    assert main(args) == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text(encoding="utf-8").count("<section>") == 2


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (0.74419, "0.7442"),
        (500.0, "500"),
        (3, "3"),
        (True, "yes"),
        (None, ""),
        ("rlkit", "rlkit"),
        (Estimate(1.0, 0.5, 1.5, 8, 0.95, "Student t"), "1.00 [0.50, 1.50]"),
        (math.nan, "nan"),
    ],
)
def test_how_a_cell_is_shown(cell: object, text: str) -> None:
    assert cell_text(cell) == text


def test_gaps_are_filled_forward_and_starts_stay_empty() -> None:
    nan = math.nan
    filled = filled_forward([[nan, 1.0], [2.0, nan], [nan, 3.0]])
    np.testing.assert_array_equal(filled, [[nan, 1.0], [2.0, 1.0], [2.0, 3.0]])


def test_learning_curves_draw_mean_seeds_and_reference() -> None:
    x, y = np.arange(4), np.arange(12.0).reshape(4, 3)
    figure = learning_curves({"rlkit": Curve(x, y)}, references=[Reference("optimum", 12.0)], ylabel="exact return")
    (axes,) = figure.axes
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["rlkit, mean of 3 seeds, 95 % interval", "optimum"]
    mean = next(line for line in axes.lines if line.get_label() == labels[0])
    np.testing.assert_allclose(mean.get_ydata(), y.mean(axis=1))
    assert axes.get_ylabel() == "exact return"
    assert axes.get_xlabel() == "environment steps per seed"


def test_two_seeds_get_no_band_and_one_no_mean() -> None:
    figure = learning_curves({"b": Curve([0, 1], np.eye(2)), "c": Curve([0, 1], [[1.0], [2.0]])})
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["b, mean of 2 seeds, too few for a band", "c, 1 seed"]
    assert not figure.axes[0].collections


@pytest.mark.slow
def test_robustness_curves_are_panels_of_one_height() -> None:
    falling = Curve([0.0, 0.1], [[500.0, 400.0, 450.0], [100.0, 90.0, 110.0]])
    policies = {"rlkit": {"FGSM": falling, "noise": falling}, "other": {"FGSM": Curve([0.0, 0.1], [[9.0], [8.0]])}}
    figure = robustness_curves(policies, xlabel="epsilon [standard deviations]")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["rlkit", "other"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert figure.axes[0].get_xlabel() == "epsilon [standard deviations]"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [f"{name}, mean of 3 seeds, 95 % interval" for name in ("FGSM", "noise")] + ["FGSM, 1 seed"]
    assert png(figure).startswith(b"\x89PNG")


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one curve"):
        learning_curves({})
    with pytest.raises(ValueError, match="at least one policy"):
        robustness_curves({}, xlabel="epsilon")
    with pytest.raises(ValueError, match=r"x of shape \(3,\)"):
        learning_curves({"a": Curve([0, 1, 2], np.eye(2))})


def test_strips_show_every_seed_and_the_interval_of_the_mean() -> None:
    axes = Figure().add_subplot()
    strips(axes, {"rlkit": [1.0, 3.0, 2.0], "other": [4.0, 6.0]}, "return", "two sides")
    dots = [line for line in axes.lines if line.get_linestyle() == "None" and line.get_marker() == "o"]
    assert [sorted(line.get_ydata()) for line in dots] == [[1.0, 2.0, 3.0], [4.0, 6.0]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["rlkit", "other"]
    expected, known = mean_interval([1.0, 2.0, 3.0]), axes.containers
    (segment,) = known[0].lines[2][0].get_segments()
    np.testing.assert_allclose(segment[:, 1], [expected.lower, expected.upper])
    (nothing,) = known[1].lines[2][0].get_segments()  # two seeds: no interval worth drawing
    np.testing.assert_allclose(nothing[:, 1], [5.0, 5.0])
    cut = Figure().add_subplot()
    strips(cut, {"rlkit": [1.0, 3.0, 2.0]}, "return", limits=(0.0, 4.0))
    (segment,) = cut.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(segment[:, 1], [0.0, 4.0])
    with pytest.raises(ValueError, match="at least one group"):
        strips(axes, {}, "return")
    with pytest.raises(ValueError, match="one number per seed"):
        strips(axes, {"square": np.eye(2)}, "return")

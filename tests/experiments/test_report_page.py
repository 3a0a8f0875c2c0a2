"""The page of a report as a reader meets it: contents, summary, warnings, tables that sort, panels that move."""

from __future__ import annotations

import html as html_text
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from source_tree import ROOT

from rlkit.envs.render import ARROWS, LETTER_COLOR, TILE_COLORS
from rlkit.experiments.cli import main
from rlkit.experiments.report import ledger
from rlkit.experiments.report.grid_panel import GridPanel, Slider, read_panel, shares
from rlkit.experiments.report.html import heading, write_report
from rlkit.experiments.report.ledger import Picture, ReportTable, RunRecord
from rlkit.experiments.report.provenance import commit, provenance
from rlkit.experiments.report.summary import summary_of
from rlkit.figure_style import svg
from rlkit.plotting import Curve, learning_curves
from rlkit.statistics import mean_interval

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RETURNS = [480.0, 9.0, 500.0]
PROBE = """
<script>
const header = document.querySelectorAll("th button");
const column = () => [...document.querySelector("section table").tBodies[0].rows].map(row => row.cells[1].textContent);
const [slider, other] = document.querySelectorAll(".panel input"), first = document.querySelector(".panel svg");
const drawn = () => first.querySelectorAll("text")[0].textContent;
const move = (range, place) => { range.value = place; range.dispatchEvent(new Event("input")); return drawn(); };
const before = column(), last = drawn();
const by_return = [...document.querySelectorAll("section th button")].find(each => each.textContent === "mean return");
by_return.click();
const up = column();
by_return.click();
const down = column();
const attacked = move(other, 1), both = move(slider, 0), begin = move(other, 0);
const records = [...document.querySelectorAll("details.record")], folded = records.filter(each => !each.open).length;
dispatchEvent(new Event("beforeprint"));
document.body.insertAdjacentHTML("beforeend", "<pre id='probe'></pre>");
document.querySelector("#probe").textContent = JSON.stringify({
  before, up, down, last, attacked, both, begin,
  said: [...document.querySelectorAll(".panel output")].map(each => each.textContent),
  records: [records.length, folded, records.filter(each => each.open).length],
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  broken: [...document.querySelectorAll("nav a")].filter(link => !document.querySelector(link.hash)).length,
  images: [...document.images].every(image => image.naturalWidth > 0),
});
</script>
"""


def panel() -> GridPanel:
    """Two states and an end on one row, at two positions of either slider."""
    value = np.array(
        [[[0.125, 0.25, np.nan], [0.0625, 0.25, np.nan]], [[0.5, 0.75, np.nan], [0.375, 0.75, np.nan]]],
    )
    policy = shares([[[[0, 2, 0], [2, 2, 0]], [[0, 2, 0], [0, 2, 0]]], [[[2, 2, 0], [2, 2, 0]]] * 2], 4)
    tiles = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    return GridPanel(
        "Values </script><b>", ("SFG",), tiles,
        (Slider("environment steps", (10.0, 20.0)), Slider("epsilon", (0.0, 0.5))),
        value, policy, "Learned", "Optimal", value[1, 0], policy[1, 0],
    )  # fmt: skip


@pytest.fixture
def run() -> RunRecord:
    wide = tuple(f"a rather long heading number {i}" for i in range(12))
    steps = np.arange(0, 500, 100)
    returns = np.linspace(0.0, 1.0, 5)[:, None] * RETURNS
    return RunRecord(
        kind="train",
        title="DQN & <friends>",
        settings={
            "environment": "CartPole-v1",
            "env_kwargs": {},
            "algorithm": "rlkit DQN",
            "training_seeds": (0, 1, 2),
            "steps_per_seed": 8000,
            "hyperparameters": {"learning_rate": 1e-3, "net_arch": (64, 64)},
        },
        results={
            "return": mean_interval(RETURNS)._replace(lower=0.0, upper=500.0),
            "seed_returns": np.array(RETURNS),
            "diverged_seeds": [1],
            "training_curve": {"timesteps": steps, "returns": returns},
        },
        tables=(
            ReportTable("returns", "Returns", ("seed", "mean return"), ((0, 480.0), (1, 9.0), (2, 500.0))),
            ReportTable("wide", "A wide table", wide, (tuple(0.5 + i for i in range(12)),)),
        ),
        pictures=(Picture("curve", "A curve. Of two seeds.", svg(learning_curves({"a": Curve([0, 1], np.eye(2))}))),),
        notes=("A note.",),
        panels=(panel(),),
        arguments=("train", "--env", "CartPole-v1"),
    )


class Outline(HTMLParser):
    """The links, the ids and the texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.buttons = 0
        self.keys: list[str] = []
        self._labels = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [found["href"]] if tag == "a" and found["href"] else []
        self.ids += [found["id"]] if found.get("id") else []
        self.buttons += tag == "button"
        self._labels = tag == "th" and found.get("scope") == "row"

    def handle_data(self, data: str) -> None:
        if self._labels and data.strip():
            self.keys.append(data.strip())


def test_the_contents_name_everything_and_no_key_is_raw(run: RunRecord, tmp_path: Path) -> None:
    page = write_report(tmp_path / "a.html", "Title", [run, replace(run, title="another")])[0]
    text = page.read_text(encoding="utf-8")
    outline = Outline(text)
    assert len(outline.ids) == len(set(outline.ids))
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
    parts = ("", "-table-1", "-table-2", "-panel-1", "-figure-1", "-record")
    wanted = {f"#run-{number}{part}" for number in (1, 2) for part in parts}
    assert wanted | {"#together"} == set(outline.links)
    assert not [key for key in outline.keys if "_" in key]
    expected = {"environment steps per seed", "hidden layers", "learning rate", "command", "date", "commit", "CPU"}
    assert expected <= set(outline.keys)
    assert "rlkit train --env CartPole-v1" in text
    assert text.count("prefers-color-scheme: dark") >= 1
    assert "@media print" in text
    assert heading("A curve. Of two seeds.") == "A curve"
    assert heading("Up to epsilon 0.5") == "Up to epsilon 0.5"


def test_the_summary_asks_answers_and_warns(run: RunRecord) -> None:
    told = summary_of(run)
    assert told.question == "What return does the greedy policy of rlkit DQN get on CartPole-v1 after 8,000 steps?"
    assert told.answer == "330 [0, 500] (mean over 3 seeds, 95% interval, Student t)."
    few, diverged = told.warnings
    assert few.startswith("3 training seeds are few")
    assert diverged == "1 of 3 seeds diverged: 1."
    many = replace(run, settings={**run.settings, "training_seeds": range(10)}, results={"return": 1.0})
    assert summary_of(many).warnings == ()


def test_the_summary_of_an_attack_is_the_least_return_at_the_largest_epsilon() -> None:
    points = [
        {"attack": attack, "epsilon": epsilon, "mean_return": mean_interval(returns)}
        for attack, epsilon, returns in (
            ("none", 0.0, [500.0, 500.0]),
            ("noise", 0.1, [5.0, 5.0]),
            ("noise", 0.2, [400.0, 400.0]),
            ("fgsm", 0.2, [30.0, 30.0]),
            ("pgd", 0.2, [90.0, 90.0]),
        )
    ]
    told = summary_of(RunRecord("attack", "title", {}, {"curves": {"DQN": points}}))
    assert told.answer == "DQN: 500 [500, 500] without attack, 30 [30, 30] under fgsm at epsilon 0.2."
    assert told.warnings == ("No worst case was computed: a stronger attack may lower the return further.",)


def test_the_summary_of_a_sweep_is_the_cell_with_the_highest_return() -> None:
    cells = [
        {"cell": name, "return": mean_interval([value] * seeds)}
        for name, value, seeds in (("a", 1.0, 12), ("tabularq on lake learning_rate=0.1 gamma=0.9", 2.0, 9))
    ]
    results = {"runs": 24, "done": 21, "failed": 2, "damaged": 1, "missing": 0, "cells": [*cells, {"cell": "c"}]}
    told = summary_of(RunRecord("sweep", "title", {"question": "Which?"}, results))
    assert told.question == "Which?"
    assert told.answer == (
        "Highest mean return: Q-learning on lake, learning rate 0.1, gamma 0.9 with 2 [2, 2] (mean over 9 seeds, 95% "
        "interval, Student t), of 3 settings."
    )
    lost, few = told.warnings
    assert lost == "3 of 24 runs have no result."
    assert few.startswith("A setting has 9 seeds.")


def test_runs_that_crashed_are_named_above_all(run: RunRecord, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        changed = {**run.settings, "hyperparameters": {"learning_rate": 1e-3 * len(name + name)}}
        ledger.write(replace(run, settings=changed, title=name), tmp_path / name)
    (tmp_path / "crashed").mkdir()
    (tmp_path / "crashed" / ledger.LOCK).touch()
    out = tmp_path / "r.html"
    assert main(["report", *(str(tmp_path / name) for name in ("one", "two", "crashed")), "--out", str(out)]) == 0
    text = html_text.unescape(out.read_text(encoding="utf-8"))
    assert f"Not shown, for the reasons below: {tmp_path / 'crashed'}" in text[: text.index("<nav")]
    assert "still runs or was stopped" in text


def test_a_panel_is_kept_and_nothing_in_it_ends_its_element(run: RunRecord, tmp_path: Path) -> None:
    ledger.write(run, tmp_path)
    (again,) = ledger.read(tmp_path).panels
    for name, part in panel()._asdict().items():
        if isinstance(part, np.ndarray):
            np.testing.assert_array_equal(getattr(again, name), part)
        else:
            assert getattr(again, name) == part
    text = write_report(tmp_path / "a.html", "Title", [run])[0].read_text(encoding="utf-8")
    (kept,) = re.findall(r'<script type="application/json">(.*?)</script>', text)
    assert json.loads(kept) == json.loads(json.dumps(panel().as_json()))
    assert shares([[0, 1], [0, 0], [0, 1]], 2).tolist() == [[1.0, 0.0], [1 / 3, 2 / 3]]


def test_a_panel_has_the_tiles_and_the_directions_of_a_figure() -> None:
    source = (ROOT / "experiments" / "report" / "panels.js").read_text(encoding="utf-8")
    (tiles,), (letter,) = re.findall(r"const TILES = \{(.*)\};", source), re.findall(r'const LETTER = "(.*)";', source)
    colors = {quoted or plain: color for quoted, plain, color in re.findall(r'(?:"(.)"|(\w)): "(#\w+)"', tiles)}
    assert (colors, letter) == (TILE_COLORS, LETTER_COLOR)
    (arrows,) = re.findall(r"const ARROWS = (.*);", source)
    assert json.loads(arrows) == ARROWS.tolist()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"title": 3}, "text is expected"),
        ({"value": [[1.0]]}, "shapes"),
        ({"policy": "x"}, "numbers are expected"),
        ({"tiles": [[0, 0], [0, 1], [0, 3]]}, "outside its map"),
        ({"map": ["SFG", "S"]}, "outside its map"),
        ({"sliders": []}, "shapes"),
        ({"sliders": [{"name": "steps", "positions": []}, {"name": "epsilon", "positions": [0, 1]}]}, "shapes"),
        ({"sliders": [{"name": "steps"}]}, "a name and positions"),
        ({"sliders": [{"name": "steps", "positions": 1}]}, "shape"),
    ],
)
def test_a_panel_that_is_wrong_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        read_panel({**panel().as_json(), **change})


def test_provenance_says_when_which_code_and_which_processor(tmp_path: Path) -> None:
    found = provenance()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", found["date"])
    assert found["CPU"]
    assert "without its repository" in commit.__wrapped__(tmp_path)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert commit.__wrapped__(tmp_path) == "unknown: git could not tell"  # it has no commit
    (tmp_path / "file").write_text("a", encoding="utf-8")
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    assert re.fullmatch(r"[0-9a-f]{12}", commit.__wrapped__(tmp_path))
    (tmp_path / "file").write_text("b", encoding="utf-8")
    assert commit.__wrapped__(tmp_path).endswith("-dirty")


def in_browser(page: Path, width: int) -> dict[str, Any]:
    """What the probe finds in the page, with the scripts of the page run."""
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    assert BROWSER is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'profile'}"]
    command = [BROWSER, *options, f"--window-size={width},1000", "--virtual-time-budget=3000", "--dump-dom"]
    said = subprocess.run(
        [*command, probed.as_uri()], capture_output=True, text=True, encoding="utf-8", timeout=120, check=True
    )
    (found,) = re.findall(r'<pre id="probe">(.*?)</pre>', said.stdout)
    return dict(json.loads(html_text.unescape(found)))


@pytest.mark.slow
def test_in_a_browser_tables_sort_panels_move_and_nothing_is_cut(run: RunRecord, tmp_path: Path) -> None:
    page = write_report(tmp_path / "a.html", "Title", [run])[0]
    if BROWSER is None:  # the same facts as far as the text of the page holds them
        text = page.read_text(encoding="utf-8")
        assert Outline(text).buttons == 4 + 12 + 2 + 1  # a button in every header, and the panel's
        assert [float(key) for key in re.findall(r'data-key="([\d.]+)" class="number"', text)]
        assert re.search(r"\.scroll \{ overflow-x: auto", text)
        return
    for width in (800, 1280):
        found = in_browser(page, width)
        assert found["before"] == ["480", "9", "500"]
        assert found["up"] == ["9", "480", "500"]  # as numbers, not as texts
        assert found["down"] == ["500", "480", "9"]
        moved = [found[name] for name in ("last", "attacked", "both", "begin")]
        assert moved == ["0.500", "0.375", "0.0625", "0.125"]
        assert found["said"] == ["environment steps 10", "epsilon 0"]
        count, folded, opened = found["records"]
        assert count == folded == opened > 0  # a printed page shows the settings and the origin
        assert found["overflow"] <= 0
        assert found["broken"] == 0
        assert found["images"]

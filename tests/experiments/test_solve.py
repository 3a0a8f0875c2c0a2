"""``rlkit solve``: every option, as somebody uses it who has not read the code."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from rlkit.experiments.cli import main
from rlkit.mdp import TabularMDP

KNOWN = 0.54202593200047  # FrozenLake 4x4 at gamma 0.99, proved in rationals


def solve(capsys: pytest.CaptureFixture[str], *args: str) -> dict:
    assert main(["solve", *args, "--json"]) == 0
    out: dict = json.loads(capsys.readouterr().out)
    return out


def misuse(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(["solve", *args]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("rlkit: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.slow
def test_the_table_shows_bounds_method_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", "FrozenLake-v1"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "optimal value of the start, gamma 0.99 0.5420259" in said
    assert "Method: modified policy iteration (episodes end: " in said
    assert "The bounds are at most " in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["value iteration", "gauss-seidel", "modified policy iteration", "prioritized sweeping",
               "inexact policy iteration", "policy iteration", "stencil"],
)  # fmt: skip
def test_every_method_can_be_asked_for(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    results = solve(capsys, "frozenlake-4x4", "--method", method)["results"]
    assert results["start_lower"] - 1e-12 <= KNOWN <= results["start_upper"] + 1e-12
    assert results["method"].split()[0] == method.split()[0]
    assert results["reason"] == ""
    assert results["converged"] is True


@pytest.mark.slow
def test_a_device_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    out = solve(capsys, "FrozenLake-v1", "--device", "cpu")
    assert out["results"]["method"] == "device iteration"
    assert out["results"]["start_value"] == pytest.approx(KNOWN, abs=1e-9)
    assert out["settings"]["device"] == "cpu"


@pytest.mark.slow
def test_without_discount_the_optimum_is_enclosed_too(capsys: pytest.CaptureFixture[str]) -> None:
    results = solve(capsys, "FrozenLake-v1", "--gamma", "1")["results"]
    assert results["start_lower"] <= 14 / 17 <= results["start_upper"] <= results["start_lower"] + 1e-9
    assert results["method"] == "interval iteration"


@pytest.mark.slow
def test_a_proof_is_said_in_words_and_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    results = solve(capsys, "FrozenLake-v1", "--prove")["results"]
    assert results["proved_policy_is_optimal"] is True
    assert results["proved_enclosed"] is True
    assert results["proved_start_value"].startswith("0.54202593200047")
    assert main(["solve", "FrozenLake-v1", "--prove"]) == 0
    assert "Proved in rational arithmetic" in capsys.readouterr().out


@pytest.mark.slow
def test_gymnasiums_lake_is_drawn_as_its_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    solve(capsys, "FrozenLake-v1", "--env-kwargs", "map_name=8x8", "--out", str(tmp_path / "lake"))
    assert (tmp_path / "lake" / "values.svg").read_bytes().startswith(b"<?xml")
    last = (tmp_path / "lake" / "values.csv").read_text(encoding="utf-8").splitlines()[-1].split(",")
    assert last[:3] == ["62", "7", "6"]  # beside the goal, which ends the episode


def test_a_saved_table_is_the_same_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TabularMDP.from_gymnasium(gymnasium.make("FrozenLake-v1")).save(tmp_path / "lake.npz")
    results = solve(capsys, str(tmp_path / "lake.npz"))["results"]
    assert results["start_value"] == pytest.approx(KNOWN, abs=1e-9)
    assert results["step_limit"] == 100


@pytest.mark.slow
def test_a_probe_is_a_finite_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert solve(capsys, "rlkit/probe-delayed-reward", "--gamma", "0.5")["results"]["converged"] is True


@pytest.mark.slow
def test_what_cannot_be_solved_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = "FrozenLake-v1"
    assert "gamma 1.5: a discount lies between 0 and 1" in misuse(capsys, lake, "--gamma", "1.5")
    assert "gamma nan" in misuse(capsys, lake, "--gamma", "nan")
    assert "tolerance 0.0" in misuse(capsys, lake, "--tolerance", "0")
    assert "interval_iteration can certify" in misuse(capsys, lake, "--gamma", "1", "--tolerance", "1e-30")
    assert "limit must be at least 1 step, got 0" in misuse(capsys, lake, "--limit", "0")
    assert "needs a GridMDP" in misuse(capsys, lake, "--method", "stencil")
    assert "leave it out, or leave out device" in misuse(capsys, lake, "--method", "gauss-seidel", "--device", "cpu")
    assert "gamma 1 has one method" in misuse(capsys, lake, "--gamma", "1", "--method", "gauss-seidel")
    assert "a proof needs gamma below 1" in misuse(capsys, lake, "--gamma", "1", "--prove")
    assert "device 'tpu0' cannot be used" in misuse(capsys, lake, "--device", "tpu0")
    assert "--points and --policy are for CartPole-v1" in misuse(capsys, lake, "--points", "7")
    assert "unknown '9x9'" in misuse(capsys, lake, "--env-kwargs", "map_name=9x9")
    assert "mapname" in misuse(capsys, lake, "--env-kwargs", "mapname=4x4")
    text, empty, table = tmp_path / "text.npz", tmp_path / "empty.npz", tmp_path / "table.npz"
    text.write_text("hello", encoding="utf-8")
    assert "is not a .npz file" in misuse(capsys, str(text))
    np.savez(empty, a=1)
    assert "has no successor, probability, reward, terminated" in misuse(capsys, str(empty))
    TabularMDP.from_transitions([[[(1.0, 0, 0.0, True)]]]).save(table)
    assert "holds a complete table" in misuse(capsys, str(table), "--env-kwargs", "slip=0.3")
    assert "neither a file" in misuse(capsys, str(tmp_path / "nothing.npz"))
    ragged = tmp_path / "ragged.txt"
    ragged.write_text("S.G\n..\n", encoding="utf-8")
    assert "ragged.txt: the map is ragged" in misuse(capsys, str(ragged))
    latin = tmp_path / "latin.txt"
    latin.write_bytes("S\xe9G\n".encode("latin-1"))
    assert "latin.txt is not UTF-8 text (byte 1" in misuse(capsys, str(latin))

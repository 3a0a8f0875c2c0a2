"""The sandwich of a map: its order, its rows, and the command that trains and prints it."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from rlkit.adversarial import FGSM, Noise
from rlkit.agents import DQN, PPO
from rlkit.envs import GridWorld
from rlkit.experiments.report.text import cell_text
from rlkit.experiments.workflows.bracket import Sandwich, main, sandwich
from rlkit.experiments.workflows.worst_case import sandwich_cells

WORLD = GridWorld("russell-norvig-4x3", observation="coordinates")


@pytest.mark.slow
@pytest.mark.parametrize("maker", [DQN, PPO], ids=["relu", "tanh"])
@pytest.mark.parametrize("attacks", [None, 3])
def test_the_order_of_untrained_agents(maker, attacks):
    agent = maker(WORLD, seeds=range(2))
    found = sandwich(WORLD, agent, 0.3, horizon=12, attacks=(FGSM(), Noise()), attacks_per_episode=attacks)
    assert (found.certified <= found.exact).all()
    assert (found.exact <= found.best_attack + 1e-9).all()
    assert (found.best_attack <= found.natural).all()
    assert np.abs(found.exact - found.certified).max() < 0.01 * np.abs(found.natural).max()
    assert len(found.attacked) == (2 if attacks is None else 8)
    assert all((distance >= -1e-9).all() for distance in found.distances().values())
    assert len(found.lines()) == 1 + 2 + len(found.attacked)


@pytest.mark.slow
def test_the_command_prints_the_sandwich_and_keeps_its_rows(tmp_path, capsys):
    main(["--steps", "200", "--seeds", "2", "--epsilons", "0.1", "0.2", "--out", str(tmp_path / "rows.csv")])
    printed = capsys.readouterr().out
    assert "epsilon 0.1: bracketed in" in printed
    assert "seed  certified      exact  best attack" in printed
    assert printed.count("above the worst case") == 2 * 4
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["epsilon"]) for row in rows] == [("0", "0.1"), ("1", "0.1"), ("0", "0.2"), ("1", "0.2")]
    attacked = [name for name in rows[0] if name not in ("seed", "epsilon", "undecided choices", "boxes")][3:]
    assert len(attacked) == 4
    for row in rows:
        exact = float(row["exact"])
        assert float(row["certified"]) - 1e-9 <= exact <= float(row["natural"]) + 1e-9  # rounding
        assert all(float(row[name]) >= exact - 1e-9 for name in attacked)
        assert f"{exact:10.5f}" in printed


def test_the_rounding_of_a_bound_is_shown_as_zero():
    certified, exact = np.array([-2e-13, -2e-13]), np.array([0.0, 1e-13])
    closed = SimpleNamespace(closed=np.array([True, True]))
    found = Sandwich(certified, exact, {"FGSM": np.array([0.25, 0.5])}, np.array([0.5, 0.5]), closed)
    cells = [cell_text(cell) for cell in sandwich_cells(found, None)]
    assert cells[:2] == ["0 [0, 0]"] * 2
    assert cells[2].startswith("0.4 [")  # as many digits as its interval supports
    assert cells[3:] == ["0.5 [0.5, 0.5]", "2 of 2 seeds"]
    assert "-0.0" not in "".join(found.lines())
    assert found.certified[0] == -2e-13  # results keep the bound itself

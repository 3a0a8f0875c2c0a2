"""The study of defenses, at tiny sizes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rlkit.adversarial import APPLICABILITY, PGD
from rlkit.envs import CartPole
from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.defenses import run, settings
from rlkit.experiments.studies.defenses.run import DefenseRow, avoided, by_hand, strongest, table
from rlkit.experiments.studies.defenses.settings import CASES, CEILING, FLOOR, PRIMARY, Attacker


def test_cases_of_an_algorithm_differ_in_the_defense_alone():
    for algo, names in PRIMARY.items():
        assert len(names) <= 6
        cases = [case for case in CASES if case.training is not None and case.training.algo == algo]
        assert len({repr(replace(case.training, defense=None)) for case in cases}) == 1
        assert [case.training.defense and case.training.defense.name for case in cases] == [None, *names]
        assert {case.twin for case in cases[1:]} == {cases[0].name}
        for name in names:
            served = APPLICABILITY[name]
            assert served.values if algo == "dqn" else served.policies
        assert all(case.training.defense.terms() for case in cases[1:])


def test_the_floor_always_pushes_and_the_ceiling_balances():
    obs = torch.tensor([[[0.0, 0.0, 0.1, 0.0], [0.0, 0.0, -0.1, 0.0]]]).expand(10, -1, -1)
    assert by_hand(FLOOR).act(obs).tolist() == [[1, 1]] * 10
    assert by_hand(CEILING).act(obs).tolist() == [[1, 0]] * 10
    assert avoided(obs).tolist() == [[0, 1]] * 10


def test_the_strongest_attack_has_the_lowest_median(monkeypatch):
    monkeypatch.setattr(run, "EPSILONS", (0.1,))
    earned = {"noise": [500.0, 500.0, 500.0], "PGD": [10.0, 300.0, 500.0], "provoking": [200.0, 250.0, 260.0]}
    known = [
        DefenseRow("ppo-plain", attack, 0.1, seed, one)
        for attack, by_seed in earned.items()
        for seed, one in enumerate(by_seed)
    ]
    name, returns = strongest(known, "ppo-plain", 0.1)
    assert name == "provoking"
    assert returns.tolist() == [200.0, 250.0, 260.0]
    known += [replace(row, case="ppo-J1", earned=row.earned + 5.0 - 10.0 * (row.seed == 2)) for row in known]
    known += [DefenseRow(case, "natural", 0.0, seed, 500.0) for case in ("ppo-plain", "ppo-J1") for seed in range(3)]
    plain, defended = table(known).rows
    assert plain[3].value == 250.0
    assert plain[-2:] == ("provoking", None)
    assert defended[-2:] == ("provoking", 2)


@pytest.mark.slow
def test_cases_are_measured_once(tmp_path, monkeypatch):
    quick = [Attacker(attacker.name, PGD(1), attacker.provokes) for attacker in settings.ATTACKERS[1:]]
    for name, small in (("SEEDS", (0, 1)), ("EPISODES", 1), ("EPSILONS", (0.4,)), ("ATTACKERS", quick)):
        monkeypatch.setattr(run, name, small)
    tiny = [case if case.training is None else case._replace(training=replace(case.training, seeds=(0, 1), steps=600))
            for case in CASES if case.name in (FLOOR, CEILING, "ppo-plain", "ppo-sa_ppo_kl")]  # fmt: skip
    options = StudyOptions(tmp_path / "rows", tmp_path / "models")
    (found,) = run.run(tiny, options)
    assert [line[0] for line in found.rows] == [case.name for case in tiny]
    known = rows.read(tmp_path / "rows" / "defense-rows.csv", DefenseRow)
    assert len(known) == len(tiny) * 2 * (1 + len(run.ATTACKERS))
    fewest = [row.earned for row in known if row.case == FLOOR]
    assert len({*fewest}) == 1  # whatever is shown
    assert fewest[0] < 12
    assert (
        np.mean([row.earned for row in known if row.case == CEILING and row.attack == "natural"]) == CartPole.max_steps
    )
    monkeypatch.setattr(run, "measured", None)
    assert run.run(tiny, options) == (found,)

"""The study of distances to the exact worst case, at tiny sizes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rlkit.adversarial import FGSM, PGD, Strategic, ValueAware
from rlkit.agents import PPO
from rlkit.envs import GridWorld
from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.common.tasks import GRID
from rlkit.experiments.studies.worst_case import attacks as study_attacks
from rlkit.experiments.studies.worst_case import run, settings
from rlkit.experiments.studies.worst_case.analysis import (
    OPTIMAL,
    UNLIMITED,
    WORST,
    AttackedRow,
    BoundRow,
    bound_table,
    distance,
    distance_table,
    figure,
    timing_table,
)
from rlkit.experiments.studies.worst_case.attacks import AtStates, StateTable, attacks, natural_values, timings
from rlkit.experiments.workflows.fitted_attacks import linear
from rlkit.experiments.workflows.policies import of_agent

WORLD = GridWorld("russell-norvig-4x3", observation="coordinates")


def subject(rows=2):
    return of_agent(
        PPO(GRID.env, seeds=rows, env_kwargs=dict(GRID.env_kwargs), device="cpu"), GRID.env, GRID.env_kwargs
    )


def test_numbers_of_states_are_found_by_observation():
    numbers = np.arange(2.0 * WORLD.mdp.num_states * 4).reshape(2, -1, 4)
    table = StateTable(WORLD, numbers)
    obs = torch.from_numpy(np.array(WORLD.observations())).repeat(2, 1, 1)
    assert torch.equal(table(obs).double(), torch.from_numpy(numbers))
    assert torch.equal(table(obs.flip(1)).double(), torch.from_numpy(numbers[:, ::-1].copy()))


def test_a_rule_asked_once_decides_as_it_would_at_every_step():
    asked = subject()
    obs = torch.from_numpy(np.array(WORLD.observations())).repeat(2, 1, 1)
    rule = Strategic(float(Strategic(0.0).urgency(asked.policy, obs).detach().median()))
    moment = torch.zeros(obs.shape[:2], dtype=torch.int64)
    decided = AtStates(WORLD, asked, rule).when(asked.policy, obs, moment, moment + 1)
    expected = rule.when(asked.policy, obs, moment, moment + 1)
    assert torch.equal(decided, expected)
    assert expected.any()
    assert not expected.all()


def bound(epsilon, limit, seed, natural, lower, upper):
    return BoundRow("grid-ppo", seed, epsilon, limit, natural, lower, upper, 0)


def attacked(epsilon, limit, seed, attack, timing, earned):
    return AttackedRow("grid-ppo", seed, epsilon, limit, attack, timing, earned)


def test_distances_are_of_each_seed_to_its_own_worst_case():
    bounds = [bound(0.1, UNLIMITED, s, 0.7, w - 1e-12, w) for s, w in ((1, -1.0), (0, -0.5))]
    bounds += [bound(0.1, "3", s, 0.7, 0.2, 0.2) for s in (0, 1)]
    known = [attacked(0.1, UNLIMITED, s, "FGSM", "always", e) for s, e in ((0, -0.25), (1, -0.5))]
    known += [
        attacked(0.1, "3", s, "FGSM", timing, e) for s in (0, 1) for timing, e in (("always", 0.5), (OPTIMAL, 0.2))
    ]
    assert distance(bounds, known, "grid-ppo", 0.1, UNLIMITED, "FGSM", "always").tolist() == [0.25, 0.5]
    (line,) = distance_table(bounds, known).rows
    assert line[:4] == ("grid-ppo", UNLIMITED, "FGSM", "always")
    assert line[4].value == pytest.approx(0.375)
    assert line[5:] == (None, None)  # other epsilons
    always, best = timing_table(bounds, known).rows
    assert (always[4].value, best[4].value) == pytest.approx((0.3, 0.0))
    first, _ = bound_table(bounds).rows
    assert first[:3] == ("grid-ppo", UNLIMITED, 0.1)
    assert (first[3].value, first[5].value) == pytest.approx((0.7, -0.75))


def test_the_figure_has_attacks_without_a_limit_above_the_worst_case():
    bounds = [bound(e, UNLIMITED, s, 0.7, w, w) for s in (0, 1) for e, w in ((0.1, 0.2), (0.2, -1.0 - s))]
    bounds += [bound(e, "3", s, 0.7, 0.6, 0.6) for s in (0, 1) for e in (0.1, 0.2)]
    known = [attacked(e, UNLIMITED, s, "PGD-20", "always", r) for s in (0, 1) for e, r in ((0.1, 0.5), (0.2, -0.5))]
    known += [
        attacked(0.1, UNLIMITED, s, "linear adversary", "always", 0.3) for s in (0, 1)
    ]  # not at every epsilon yet
    (axes,) = figure(bounds, known).axes
    means = {line.get_label().split(",")[0]: line.get_ydata() for line in axes.lines if line.get_marker() == "o"}
    assert set(means) == {"PGD-20", WORST}
    assert means["PGD-20"].tolist() == pytest.approx([0.7, 0.5, -0.5])
    assert means[WORST].tolist() == pytest.approx([0.7, 0.2, -1.5])


@pytest.mark.slow
def test_every_attack_and_timing_is_at_or_above_the_worst_case(tmp_path, monkeypatch):
    case = settings.CASES[2]
    assert case.name == "grid-ppo"
    tiny = case._replace(training=replace(case.training, steps=500, seeds=(0, 1)))
    provoke = PGD(3, every_action=False)

    def quick(world, asked):
        made = attacks(world, asked)
        return {
            "FGSM": FGSM(),
            "PGD-20": made["PGD-20"],
            "value-aware": ValueAware(made["value-aware"].values, provoke),
        }

    def few(world, asked):
        return dict(list(timings(world, asked).items())[:4:3])  # always and strategic

    for name, value in {"attacks": quick, "timings": few, "EPSILONS": (0.2,), "MAX_BOXES": 4096}.items():
        monkeypatch.setattr(run, name, value)
    monkeypatch.setattr(study_attacks, "LEARNED_STEPS", 1024)
    monkeypatch.setitem(
        study_attacks.ADVERSARIES,
        "linear adversary",
        lambda asked, epsilon: linear(asked, settings.THREAT.budget(epsilon), settings.THREAT, 1),
    )
    options = StudyOptions(tmp_path / "rows", tmp_path / "models")
    found = run.run([tiny], options)
    bounds = rows.read(tmp_path / "rows" / run.BOUNDS, BoundRow)
    known = rows.read(tmp_path / "rows" / run.ATTACKED, AttackedRow)
    assert len(bounds) == 2 * 2
    assert len(known) == 2 * (3 + 3 * (2 + 1) + 2)
    for name in study_attacks.ADVERSARIES:
        assert [row.seed for row in known if row.attack == name] == [0, 1]
    worst = {(row.seed, row.limit): row for row in bounds}
    for row in known:
        assert row.earned >= worst[row.seed, row.limit].lower - 1e-9
    for attack in ("PGD-20", "value-aware", WORST):
        for seed in (0, 1):
            own = {row.timing: row.earned for row in known if (row.attack, row.seed, row.limit) == (attack, seed, "3")}
            assert own[OPTIMAL] <= min(own.values()) + 1e-9
    monkeypatch.setattr(run, "rlkit_policy", None)
    assert run.run([tiny], options) == found


@pytest.mark.slow
def test_the_values_and_the_rules_of_timing():
    asked = subject()
    assert natural_values(WORLD, asked).shape == (2, WORLD.mdp.num_states)
    rules = timings(WORLD, asked)
    assert list(rules) == ["always", "every 3 steps", "at random", "strategic", "value-guided", "critical point"]
    assert rules["critical point"].name.startswith("critical point above")

"""The benchmarks' plumbing at tiny sizes: nothing here looks at a speed."""

import json

import pytest

from rlkit.agents import DQN
from rlkit.experiments.benchmarks import checkpoints, run, verification
from rlkit.experiments.benchmarks.cases import CASES, SIDES, BenchmarkCase, prepared
from rlkit.experiments.benchmarks.run import Repetition, Timings, chosen, main, measure, ratio_table, record

TINY = BenchmarkCase("tiny", "CartPole, 3 copies", "batched", "gymnasium", {"copies": 3, "steps": 20}, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "arguments", "steps"),
    [
        ("batched", {"copies": 3, "steps": 70}, 210),
        ("gymnasium", {"copies": 3, "steps": 70}, 210),
        ("dqn", {"width": 16, "seeds": 2, "steps": 1100}, 2560),  # whole iterations of 256; learning starts at 1,000
        ("sb3-dqn", {"width": 16, "seeds": 2, "steps": 1100}, 1280),  # one seed of them
        ("ppo", {"seeds": 2, "steps": 300}, 1024),
        ("sb3-ppo", {"seeds": 2, "steps": 300}, 512),
        ("a2c", {"seeds": 2, "steps": 30}, 80),
        ("sb3-a2c", {"seeds": 2, "steps": 30}, 40),
    ],
)
def test_every_side_does_its_work_and_counts_it(side, arguments, steps):
    assert prepared(side, arguments)() == steps


def test_both_sides_of_a_case_are_known_and_take_its_arguments():
    for case in CASES:
        assert {case.rlkit, case.other} <= set(SIDES)
    assert [case.target for case in CASES] == [None, 1.0, None, 3.0, 8.0, 3.0, 8.0, 3.0, 8.0]


def test_names_choose_by_their_beginning():
    assert chosen([]) == CASES
    assert [case.name for case in chosen(["dqn"])] == ["dqn-one-seed", "dqn-many-seeds"]
    assert [case.name for case in chosen(["stepping-1024", "dqn-one"])] == ["stepping-1024", "dqn-one-seed"]
    with pytest.raises(ValueError, match="known are stepping-64"):
        chosen(["steping"])


def test_ratios_are_taken_within_a_repetition():
    rlkit = (Repetition(100, 1.0, 2.0), Repetition(100, 2.0, 2.0), Repetition(100, 4.0, 4.0))
    other = (Repetition(50, 1.0, 1.0), Repetition(50, 1.0, 1.0), Repetition(50, 1.0, 1.0))
    measured = Timings(TINY, rlkit, other)
    assert measured.ratios == (2.0, 1.0, 0.5)
    (row,) = ratio_table([measured]).rows
    assert row == ("CartPole, 3 copies", "gymnasium", 50.0, 50.0, 0.5, 1.0, 2.0, "met: at least 1")
    (saved,) = json.loads(record([measured]))["cases"]
    assert saved["ratios"] == [2.0, 1.0, 0.5]
    assert saved["median_ratio"] == 1.0
    assert saved["rlkit_repetitions"][0] == {"steps": 100, "cpu_seconds": 1.0, "wall_seconds": 2.0}


def test_a_name_that_is_none_is_refused_before_anything_runs(capsys):
    with pytest.raises(SystemExit):
        main(["walking"])
    assert "unknown benchmark 'walking'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_measures_both_sides_and_leaves_a_record(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "CASES", (TINY,))
    assert main(["tiny", "--repetitions", "1", "--out", str(tmp_path / "new" / "speed.json")]) == 0
    assert "CartPole, 3 copies" in capsys.readouterr().out
    saved = json.loads((tmp_path / "new" / "speed.json").read_text(encoding="utf-8"))
    assert [repetition["steps"] for repetition in saved["cases"][0]["other_repetitions"]] == [60]
    assert saved["versions"]["torch"]


@pytest.mark.slow
def test_a_side_that_fails_is_an_error():
    with pytest.raises(run.WorkerFailed, match="ended with 1"):
        measure(TINY._replace(arguments={"copies": 0, "steps": 1}), repetitions=1)


@pytest.mark.slow
def test_the_cost_of_checkpoints_is_counted(capsys):
    cost = checkpoints.measure(2, 1100, 3)
    assert (cost.transitions, len(cost.save_seconds)) == (2200, 3)
    assert cost.written == 1  # a training this short has the one at its end
    assert cost.file_bytes > 2200 * 20
    assert 0 < cost.share < 1
    checkpoints.main(["--seeds", "1", "--steps", "1100", "--repetitions", "1"])
    assert "| 1 | 1,100 |" in capsys.readouterr().out


def test_verification_is_measured_of_saved_policies(tmp_path, capsys):
    agent, file = DQN("CartPole-v1", seeds=[0], net_arch=(8,)), tmp_path / "small.safetensors"
    agent.save(file)
    assert verification.main(["--policies", str(file), "--states", "20", "--repetitions", "1"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("small") == len(verification.EPSILONS) * len(verification.SCALES)
    assert "committed scale" in shown

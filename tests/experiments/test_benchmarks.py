"""The benchmarks' plumbing at tiny sizes: nothing here looks at a speed."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from finite_problems import needs_numba

from rlkit.agents import DQN
from rlkit.agents.core import compiled_iterations
from rlkit.compiled.threads import one_blas_thread
from rlkit.envs import CartPole
from rlkit.experiments.benchmarks import checkpoints, cold, engine, roofline, run, scaling, verification
from rlkit.experiments.benchmarks.cases import CASES, SIDES, BenchmarkCase, prepared
from rlkit.experiments.benchmarks.run import (
    Repetition,
    Timings,
    chosen,
    main,
    markdown,
    measure,
    ratio_table,
    record,
)
from rlkit.nn import flush_denormals

TINY = BenchmarkCase("tiny", "CartPole, 3 copies", "cartpole", "gymnasium", {"copies": 3, "steps": 20}, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "arguments", "steps"),
    [
        ("cartpole", {"copies": 3, "steps": 70}, 210),
        ("gridworld", {"copies": 3, "steps": 70}, 210),
        ("gymnasium", {"copies": 3, "steps": 70}, 210),
        ("dqn", {"width": 16, "seeds": 2, "steps": 1100}, 2560),  # whole iterations of 256; learning starts at 1,000
        ("sb3-dqn", {"width": 16, "seeds": 2, "steps": 1100}, 1280),  # one seed of them
        ("ppo", {"seeds": 2, "steps": 300}, 1024),
        ("sb3-ppo", {"seeds": 2, "steps": 300}, 512),
        ("a2c", {"seeds": 2, "steps": 30}, 80),
        ("sb3-a2c", {"seeds": 2, "steps": 30}, 40),
        ("shaped-ppo", {"seeds": 2, "steps": 300}, 1024),
        ("cleanrl-ppo", {"seeds": 2, "steps": 300}, 512),
        ("shaped-dqn", {"seeds": 2, "steps": 295}, 600),
        ("shaped-dqn-alone", {"seeds": 2, "steps": 295}, 600),
        ("cleanrl-dqn", {"seeds": 2, "steps": 300}, 300),
    ],
)
def test_every_side_does_its_work_and_counts_it(side, arguments, steps):
    assert prepared(side, arguments)() == steps


def test_both_sides_of_a_case_are_known_and_take_its_arguments():
    for case in CASES:
        assert {case.rlkit, case.other} <= set(SIDES)
    stepping, shaped = [None, 1.0, None, 1.0, 2.0, 2.0], [1.3, 1.3, 1.0, 1.0, 25.0, 25.0]
    assert [case.target for case in CASES] == [*stepping, None, None, None, *shaped, 4.0, 30.0, 15.0, 25.0, 10.0, 30.0]


@pytest.mark.slow
def test_the_cart_pole_in_jax_is_that_of_rlkit():
    jax, purejaxrl = pytest.importorskip("jax"), pytest.importorskip("rlkit.experiments.benchmarks.purejaxrl")
    physics = np.array([[0.1, -0.2, 0.05, 0.3], [0.0, 0.5, -0.1, -1.0], [2.39, 3.0, 0.0, 0.0]], np.float32)
    action, time = np.array([1, 0, 1]), np.array([3, 498, 3], np.int32)
    state = purejaxrl.CartPoleState(physics, time)
    obs, after, reward, done = purejaxrl.step_copies(jax.random.key(0), state, action)
    successor, _, terminated = CartPole().transition(physics, action, np.zeros((3, 0)))
    assert done.tolist() == terminated.tolist() == [False, False, True]
    np.testing.assert_allclose(after.physics[:2], successor[:2], rtol=1e-5)
    assert (obs == after.physics).all()
    assert (abs(obs[2]) <= 0.05).all()  # begins anew
    assert after.time.tolist() == [4, 499, 0]
    assert reward.tolist() == [1.0, 1.0, 1.0]
    _, _, _, late = purejaxrl.step_copies(jax.random.key(0), state._replace(time=time + 1), action)
    assert late.tolist() == [False, True, True]  # 500 steps


@pytest.mark.slow
@pytest.mark.parametrize(("algo", "steps"), [("ppo", 2 * 1024), ("dqn", 2 * 300)])
def test_the_trainings_in_jax_count_the_steps_of_all_seeds(algo, steps):
    pytest.importorskip("jax")
    assert prepared(f"purejaxrl-{algo}", {"seeds": 2, "steps": steps // 2})() == steps


def test_names_choose_by_their_beginning():
    assert chosen([]) == CASES
    assert [case.name for case in chosen(["sb3-dqn"])] == ["sb3-dqn-1", "sb3-dqn-16"]
    assert [case.name for case in chosen(["gymnax-1024", "sb3-ppo-8"])] == ["gymnax-1024", "sb3-ppo-8"]
    with pytest.raises(ValueError, match="known are gymnasium-64"):
        chosen(["steping"])


def test_ratios_are_taken_within_a_repetition():
    rlkit = (Repetition(100, 1.0, 2.0), Repetition(100, 2.0, 2.0), Repetition(100, 4.0, 4.0))
    other = (Repetition(50, 1.0, 1.0), Repetition(50, 1.0, 1.0), Repetition(50, 1.0, 1.0))
    measured = Timings(TINY, rlkit, other, (3.0, 4.0))
    assert measured.ratios == (2.0, 1.0, 0.5)
    (row,) = ratio_table([measured]).rows
    assert row == ("CartPole, 3 copies", "gymnasium", 50.0, 50.0, 0.5, 1.0, 2.0, "met: at least 1", 3.0, 4.0, None)
    assert markdown(ratio_table([measured])).splitlines()[-1].startswith("| CartPole, 3 copies | gymnasium | 50 | 50 |")
    (saved,) = json.loads(record([measured]))["cases"]
    assert saved["ratios"] == [2.0, 1.0, 0.5]
    assert saved["median_ratio"] == 1.0
    assert saved["rlkit_repetitions"][0] == {"steps": 100, "cpu_seconds": 1.0, "wall_seconds": 2.0}


def test_the_start_of_a_process_is_spread_over_long_trainings():
    case = TINY._replace(arguments={"seeds": 4, "steps": 10})
    fast, slow = (Repetition(1000, 0.001, 1.0),), (Repetition(1000, 0.004, 1.0),)  # 2 and 8 s for 4 seeds
    assert Timings(case, fast, slow, (3.0, 2.0)).whole == pytest.approx((2.0 + 8.0) / (3.0 + 2.0))


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


def test_a_policy_is_solved_by_two_good_evaluations_in_a_row():
    returns = iter([480.0, 470.0, 475.0, 500.0])
    check = cold.TwiceInARow(lambda: next(returns))
    assert [check() for _ in range(4)] == [False, False, False, True]


def test_the_work_of_an_update_is_counted():
    shape = roofline.Shape(10, ((3, 5, 2),), 1, 1, {})
    # forward and weights: 10 (3 5 + 5 2) multiply-adds each; input gradients: 10 (5 2)
    assert roofline.operations(shape) == 2 * (2 * 10 * 25 + 10 * 10)
    assert roofline.operations(shape._replace(forwards=2)) == 2 * (3 * 10 * 25 + 10 * 10)
    assert roofline.least_bytes(shape) == 4 * (6 * (4 * 5 + 6 * 2) + 10 * 7)


@pytest.mark.slow
@needs_numba
def test_an_iteration_is_cut_into_parts():
    whole = ["play", "advantages", "updates", "rest"]
    cases = {("ppo", "compiled"): whole, ("ppo", "torch"): whole, ("a2c", "compiled"): whole}
    cases |= {("reinforce", "compiled"): whole, ("dqn", "compiled"): ["play", "updates", "rest"]}
    for (name, by), names in cases.items():
        parts = roofline.iteration_parts(name, by, 2, 512)
        assert list(parts) == names
        assert parts["rest"] > 0  # the parts are measured inside the whole


@pytest.mark.slow
@needs_numba
@pytest.mark.parametrize("name", ["ppo", "a2c", "dqn"])
def test_a_call_of_iterations_is_repeated_from_the_same_state(name, monkeypatch):
    case, recorder = engine.CASES[name], roofline.CallRecorder()
    agent = case.algorithm("CartPole-v1", seeds=2, device="cpu", engine="compiled", **case.settings)
    monkeypatch.setattr(compiled_iterations, "iterate_rows", recorder)
    agent.learn(case.before or 2048)
    recorder.iterations = 0
    roofline.train(agent, 2 * agent.env.num_envs * (agent.config.train_freq if name == "dqn" else agent.config.n_steps))
    network = agent.network if name == "dqn" else agent.actor_critic
    after = network.flat.clone()
    assert (recorder.iterations, recorder.rows[0][0], recorder.rows[-1][1]) == (2, 0, 2)
    with torch.no_grad(), one_blas_thread(), flush_denormals():
        recorder.restore()
        before = network.flat.clone()
        assert not torch.equal(before, after)
        for learner, expected in ((recorder.learner, after), (roofline.without_updates(recorder.learner), before)):
            recorder.restore()
            recorder.repeat(learner)
            assert torch.equal(network.flat, expected)


@pytest.mark.slow
@needs_numba
def test_the_cost_of_a_seed_has_a_column_for_each_number_of_seeds(monkeypatch):
    monkeypatch.setattr(scaling, "TRAININGS", 2)
    lines = scaling.seed_table(1, (1, 2), 512)
    assert [line.count("|") for line in lines] == [4] * 6
    assert lines[0].endswith("| 1 | 2 |")
    assert lines[3].startswith("| to one seed | 1.00 |")


def test_the_gain_of_two_processes_is_twice_the_time_of_one_by_that_of_both(monkeypatch):
    began = []

    @contextmanager
    def process(side, arguments):
        began.append((side, arguments))
        yield len(began)

    monkeypatch.setattr(scaling, "worker", process)
    monkeypatch.setattr(scaling, "answer", lambda process: "1.0")
    monkeypatch.setattr(scaling, "seconds_together", lambda processes: {1: 3.0, 2: 4.0}[len(processes)])
    assert scaling.process_gain("shaped-ppo", {"seeds": 2}, 2) == [1.5, 1.5]
    assert began == [("shaped-ppo", {"seeds": 2})] * 2

"""Sweeps: the grid of an experiment, and the files of its ledger."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sweep import LAKE, SMALL, TOML

from rlkit.experiments.benchmarks.pretend_device import NAME, pretending
from rlkit.experiments.cli import main
from rlkit.experiments.workflows.evaluate import Played
from rlkit.experiments.workflows.sweep import sweep_ledger
from rlkit.experiments.workflows.sweep.experiment import batch_training, experiment_of, read_experiment, run_id
from rlkit.experiments.workflows.sweep.sweep_ledger import NewerLedger, SweepLedger, publish
from rlkit.experiments.workflows.train import TrainingResult, training_run

# The grid


def test_the_grid_is_the_product_and_numbers_of_a_row_share_a_batch() -> None:
    grid = {"learning_rate": [0.1, 0.5], "algorithm": ["q-learning", "sarsa"]}
    made = experiment_of({**SMALL, "settings": grid, "seeds": [4, 7, 9]})
    assert len(made.runs) == 2 * 2 * 3
    assert len({run.id for run in made.runs}) == 12
    assert [len(batch) for batch in made.batches] == [6, 6]
    for batch, algorithm in zip(made.batches, grid["algorithm"], strict=True):
        training = batch_training([run.configuration for run in batch])
        assert training.seeds == (4, 7, 9, 4, 7, 9)
        assert training.hyperparameters["learning_rate"] == (0.1, 0.1, 0.1, 0.5, 0.5, 0.5)
        assert training.hyperparameters["algorithm"] == algorithm
    assert [len(batch) for batch in experiment_of({**SMALL, "rows": 3}).batches] == [3, 1]


def test_a_number_that_switches_the_computation_on_is_not_mixed_with_zero() -> None:
    agent = {"algo": "dqn", "preset": "sb3", "set": {"net_arch": [16], "buffer_size": 64, "batch_size": 16}}
    made = experiment_of(
        {
            **SMALL,
            "agents": [agent],
            "environments": ["CartPole-v1"],
            "settings": {"priority_exponent": [0.0, 0.5, 0.6]},
        }
    )
    assert [len(batch) for batch in made.batches] == [2, 4]


def test_a_setting_of_one_agent_leaves_the_other_alone() -> None:
    other = {"algo": "tabularq", "name": "sarsa", "preset": "sb3", "set": {"algorithm": "sarsa"}}
    agents = [{**SMALL["agents"][0], "settings": {"power": [0.0, 1.0]}}, other]
    made = experiment_of({**SMALL, "agents": agents, "settings": {}})
    assert [run.cell for run in made.runs[::2]] == [
        "tabularq on rlkit/GridWorld-v0 power=0.0",
        "tabularq on rlkit/GridWorld-v0 power=1.0",
        "sarsa on rlkit/GridWorld-v0",
    ]


@pytest.mark.slow
def test_an_experiment_on_a_device_may_name_the_engine_of_graphs() -> None:
    with pretending():
        made = experiment_of({**SMALL, "device": NAME, "engine": "captured"})
        assert {run.configuration["engine"] for run in made.runs} == {"captured"}
        training = batch_training([run.configuration for run in made.batches[0]])
        ones = np.ones((4, 1), np.int64)
        played = Played(ones.astype(float), ones, ones < 0)
        trained = TrainingResult(training.make_agent().learn(40), 0.0, 0.0)
        record = training_run(training, trained, played)
    assert record.settings["engine"] == "captured"


def test_steps_of_an_agent_replace_those_of_the_experiment() -> None:
    longer = {**SMALL["agents"][0], "name": "longer", "steps": 400}
    made = experiment_of({**SMALL, "agents": [*SMALL["agents"], longer]})
    assert {(run.agent, run.configuration["steps"]) for run in made.runs} == {("tabularq", 300), ("longer", 400)}
    assert [len(batch) for batch in made.batches] == [4, 4]
    with pytest.raises(ValueError, match="steps of the agent 'longer' must be an integer at least 1, got 0"):
        experiment_of({**SMALL, "agents": [{**longer, "steps": 0}]})


def test_the_id_is_of_what_is_said_and_not_of_how(tmp_path: Path) -> None:
    (tmp_path / "lake.toml").write_text(f"steps = 300\n{TOML}", encoding="utf-8")
    backwards = "\n".join(reversed([*TOML.strip().splitlines(), "steps = 300"]))
    (tmp_path / "again.toml").write_text(backwards, encoding="utf-8")
    one, other = read_experiment(tmp_path / "lake.toml"), read_experiment(tmp_path / "again.toml")
    assert one.name == "lake"
    assert [run.id for run in one.runs] == [run.id for run in other.runs]
    # a default that is written out, and a whole number without its point
    written = {
        **SMALL,
        "agents": [{"algo": "tabularq", "preset": "sb3", "set": {"initial_value": 0.5, "power": 0, "gamma": 0.99}}],
    }
    assert [run.id for run in experiment_of(written).runs] == [run.id for run in one.runs]
    assert {run.id for run in experiment_of({**SMALL, "steps": 301}).runs}.isdisjoint(run.id for run in one.runs)


KEYS = st.text(st.characters(categories=["L"]), min_size=1, max_size=3)
LEAVES = st.integers(-3, 3) | st.booleans() | st.text(max_size=2) | st.floats(allow_nan=False, allow_infinity=False)
TABLES = st.recursive(
    st.dictionaries(KEYS, LEAVES, max_size=4), lambda inner: st.dictionaries(KEYS, inner | LEAVES, max_size=3)
)


def reordered(value: object) -> object:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return value


@settings(max_examples=30)
@given(TABLES)
def test_an_id_does_not_depend_on_the_order_of_keys(table: dict) -> None:
    assert run_id(table) == run_id(reordered(table)) == run_id(json.loads(json.dumps(table)))
    assert run_id({**table, "seed": 1}) != run_id({**table, "seed": 2})
    assert run_id({"x": True}) != run_id({"x": 1})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sede": 3}, "unknown key 'sede': did you mean 'seeds'"),
        ({"agents": [{"algo": "tabularq", "presett": "sb3"}]}, "did you mean 'preset'"),
        ({"environments": [{"env": "CartPole-v1", "kwargs": {}}]}, "unknown key 'kwargs': did you mean 'env_kwargs'"),
        ({"agents": [{"alg": "tabularq"}]}, "an agent has the unknown key 'alg': did you mean 'algo'"),
        ({"agents": [{"name": "mine"}]}, "the agent 'mine' has no algo: add it"),
        ({"environments": [{}]}, "an environment has no env: add it"),
        ({"agents": ["tabularQ"]}, "did you mean 'tabularq'"),
        ({"settings": {"learning_rat": [0.1]}}, "did you mean 'learning_rate'"),
        ({"agents": []}, "the grid is empty: agents"),
        ({"environments": []}, "the grid is empty: environments"),
        ({"settings": {"learning_rate": []}}, "the grid is empty: learning_rate"),
        ({"seeds": []}, "the grid is empty: seeds"),
        ({"seeds": 0}, "seeds must be an integer at least 1"),
        ({"seeds": 10**12}, "seeds must be at most 100,000"),
        ({"seeds": [1, 1]}, "the seed 1 is given twice"),
        ({"seeds": [-1]}, "at least 0, got -1"),
        ({"seeds": True}, "seeds must be an integer"),
        ({"seeds": 60_000}, "120,000 runs"),
        ({"steps": 0}, "steps must be an integer at least 1"),
        ({"settings": {"learning_rate": [0.1, 0.1]}}, "the value 0.1 twice"),
        ({"settings": {"power": [1, 1.0]}}, "the value 1 twice"),
        ({"settings": {"learning_rate": 0.1}}, "must be a list of values"),
        ({"settings": {"learning_rate": [[0.1, 0.2]]}}, "learning_rate"),
        ({"settings": {"learning_rate": [-1.0]}}, "learning_rate=-1.0: learning_rate must be"),
        ({"agents": [{"algo": "tabularq", "set": {"learning_rate": 1.0}}]}, "varied in settings: keep one"),
        ({"agents": [{"algo": "tabularq", "settings": {"learning_rate": [1.0]}}]}, "varied both in settings and"),
        ({"agents": ["tabularq", "tabularq"]}, "two agents are named 'tabularq'"),
        ({"environments": [LAKE, LAKE]}, "two environments are named"),
        ({"environments": [LAKE, {**LAKE, "name": "other"}]}, "are the same run"),
        ({"name": "../up"}, "the name of the experiment"),
        ({"name": "a\\b"}, "the name of the experiment"),
        ({"name": "<b>x</b>"}, "the name of the experiment"),
        ({"name": ""}, "the name of the experiment"),
        ({"agents": [{"algo": "tabularq", "name": "<script>"}]}, "the name of the agent"),
        ({"environments": [{**LAKE, "name": "a/b"}]}, "the name of the environment"),
        ({"question": " "}, "question must be a text"),
        ({"engine": "captured"}, "engine 'captured' is not possible: the device is cpu"),
    ],
    ids=range(37),
)
def test_a_grid_that_is_wrong_is_refused_in_words(change: dict, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        experiment_of({**SMALL, **change})


def test_what_an_experiment_needs_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("question", "hypothesis", "agents", "environments", "seeds", "steps"):
        with pytest.raises(ValueError, match=f"has no {key}: add it"):
            experiment_of({name: value for name, value in SMALL.items() if name != key})
    file = tmp_path / "broken.toml"
    file.write_text("question = ", encoding="utf-8")
    assert main(["sweep", str(file)]) == 2
    assert "is no TOML file" in capsys.readouterr().err
    assert main(["sweep", str(tmp_path / "none.toml")]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert main(["status", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith("holds no sweep.json: give the folder of a sweep\n")
    (tmp_path / "search" / "round-0-rung-1").mkdir(parents=True)
    (tmp_path / "search" / "round-0-rung-1" / "sweep.json").touch()
    assert main(["status", str(tmp_path / "search")]) == 2
    assert f"such as {tmp_path / 'search' / 'round-0-rung-1'}" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "search")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.toml"]
    (tmp_path / "a <b>.toml").write_text(f"steps = 300\n{TOML}", encoding="utf-8")
    assert main(["sweep", str(tmp_path / "a <b>.toml")]) == 2
    assert "which is that of its file unless there is a key name" in capsys.readouterr().err


# The commit


def files(folder: Path) -> tuple[Path, Path]:
    source, target = folder / "result.json", folder / "DONE"
    source.write_text("own", encoding="utf-8")
    return source, target


def test_the_first_link_wins_and_nobody_removes_it(tmp_path: Path) -> None:
    source, target = files(tmp_path)
    later = tmp_path / "later.json"
    later.write_text("later", encoding="utf-8")
    assert publish(source, target)
    assert not publish(later, target)
    assert publish(source, target)  # told again
    assert target.read_text(encoding="utf-8") == "own"
    assert (source.stat().st_nlink, later.stat().st_nlink) == (2, 1)


@pytest.mark.parametrize("number", [errno.EEXIST, errno.EIO, errno.ESTALE])
def test_the_count_of_links_decides_where_the_reply_was_lost(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = files(tmp_path)
    link = os.link

    def lost_reply(one: Path, other: Path) -> None:
        link(one, other)
        raise OSError(number, "no reply")

    monkeypatch.setattr(os, "link", lost_reply)
    assert publish(source, target)


def test_a_stale_handle_is_tried_again_and_another_error_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = files(tmp_path)
    link, left = os.link, [errno.ESTALE, errno.ESTALE]
    monkeypatch.setattr(sweep_ledger, "PAUSES", (0.0, 0.0, 0.0))

    def faulty(one: Path, other: Path) -> None:
        if left:
            raise OSError(left.pop(), "fault")
        link(one, other)

    monkeypatch.setattr(os, "link", faulty)
    assert publish(source, target)
    target.unlink()
    left[:] = [errno.ESTALE] * 4
    with pytest.raises(OSError, match="fault") as stale:
        publish(source, target)
    assert stale.value.errno == errno.ESTALE
    left[:] = [errno.EPERM]
    with pytest.raises(PermissionError, match="must have hard links"):
        publish(source, target)
    assert not target.exists()


# The ledger


def test_a_newer_ledger_and_another_experiment_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = experiment_of(SMALL)
    sweep = SweepLedger.begin(tmp_path, experiment)
    assert SweepLedger(tmp_path).experiment == experiment
    with pytest.raises(ValueError, match="pass --resume"):
        SweepLedger.begin(tmp_path, experiment)
    with pytest.raises(ValueError, match=r"other runs \(2 are new, 0 are gone\)"):
        SweepLedger.begin(tmp_path, experiment_of({**SMALL, "seeds": 3}), resume=True)
    run = experiment.runs[0].id
    (tmp_path / "runs" / run).mkdir(parents=True)
    newer = sweep_ledger._sealed({"schema": sweep_ledger.SCHEMA + 1, "id": run})
    (tmp_path / "runs" / run / "DONE").write_bytes(newer)
    with pytest.raises(NewerLedger, match="update rlkit"):
        sweep.states()
    saved = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))
    (tmp_path / "sweep.json").write_text(json.dumps({**saved, "schema": 2}), encoding="utf-8")
    assert main(["status", str(tmp_path)]) == 2
    assert "its schema is 2, this version of rlkit knows 1: update rlkit" in capsys.readouterr().err
    for damaged in ({**saved, "batches": [["unknown"]]}, {**saved, "runs": 3}, [], {"schema": 1}):
        (tmp_path / "sweep.json").write_text(json.dumps(damaged), encoding="utf-8")
        assert main(["status", str(tmp_path)]) == 2


def test_a_result_is_flushed_before_it_is_published_and_its_folders_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    fsync, link = os.fsync, os.link

    def flush(descriptor: int) -> None:
        calls.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def linked(source: Path, target: Path) -> None:
        calls.append("link")
        link(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "link", linked)
    attempt = sweep_ledger.SweepAttempt(tmp_path / "batches" / "batch" / "attempt-1")
    attempt.folder.mkdir(parents=True)
    assert sweep_ledger.commit(attempt, "some-run", {})
    assert calls[1:] == ["results", "runs", "link", "some-run"]  # the file's temporary name is the first

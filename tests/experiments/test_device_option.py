"""``--device``: every command that computes with torch has it, and what it computes on another device is right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_sweep import TOML

from rlkit.adversarial import FGSM, Budget, TargetAction, bracket, fall_bounds
from rlkit.agents import PPO
from rlkit.devices import usable_device
from rlkit.envs import AdversaryDynamics, CartPole, GridWorld
from rlkit.envs.dynamics import noiseless_step
from rlkit.experiments import studies
from rlkit.experiments.benchmarks.pretend_device import NAME, pretending
from rlkit.experiments.cli import main
from rlkit.experiments.demo.settings import QUICK
from rlkit.experiments.studies.common.devices import on_device, trained_at_once
from rlkit.experiments.workflows.defense import DistillationSettings
from rlkit.experiments.workflows.sweep.experiment import read_experiment, with_device
from rlkit.experiments.workflows.train import Training

TINY = ("--steps", "64", "--set", "net_arch=(8,)", "n_steps=32", "batch_size=32")
SEARCH = 'algo = "tabularq"\nenv = "rlkit/GridWorld-v0"\nsteps = 90\n[search]\nlearning_rate = [0.1, 0.5]\n'
WITH_DEFAULT = (
    *("train", "evaluate", "attack", "certify", "transfer", "hijack", "watch"),
    *("compare", "zoo", "benchmark", "demo"),
)
OTHER_DEFAULTS = {"sweep": "the file's, else cpu", "tune": "the file's, else cpu", "study": "cpu"}
OTHER_DEFAULTS |= {"solve": "the compiled solvers on the CPU"}


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two policies of the cart-pole."""
    path = tmp_path_factory.mktemp("policy") / "pole.safetensors"
    PPO("CartPole-v1", seeds=2, device="cpu", net_arch=(8,)).save(path)
    return path


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo of one victim, trained where ``auto`` computes."""
    folder = tmp_path_factory.mktemp("zoo") / "zoo"
    assert main(["zoo", "--algos", "ppo", "--seeds", "2", *TINY, "--out", str(folder), "--json"]) == 0
    return folder


def arguments(command: str, policy: Path, zoo: Path, folder: Path) -> Sequence[str]:
    """Return the options of the command other than the device."""
    (folder / "lake.toml").write_text(f"steps = 90\n{TOML}", encoding="utf-8")
    (folder / "search.toml").write_text(SEARCH, encoding="utf-8")
    out = ("--out", str(folder / "out"))
    given: dict[str, Sequence[str]] = {
        "train": out,
        "compare": out,
        "zoo": out,
        "demo": ("--quick", *out),
        "benchmark": (str(zoo),),
        "transfer": (str(policy), str(policy)),
        "hijack": (str(policy), "--toward", "left"),
        "watch": (str(policy), "--mode", "ansi"),
        "sweep": (str(folder / "lake.toml"), *out),
        "tune": (str(folder / "search.toml"), *out),
        "study": ("tuned", "--data", str(folder / "out")),
        "solve": ("frozenlake-4x4",),
    }
    return given.get(command, (str(policy),))


@pytest.mark.slow
@pytest.mark.parametrize("command", [*WITH_DEFAULT, *OTHER_DEFAULTS])
def test_a_device_that_is_not_there_is_refused_before_a_folder_is_made(
    command: str, policy: Path, zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(command, policy, zoo, tmp_path)
    assert main([command, *given, "--device", "cuda:99"]) == 2
    said = capsys.readouterr().err
    assert "device 'cuda:99' cannot be used" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [*WITH_DEFAULT, *OTHER_DEFAULTS])
def test_help_says_the_same_of_every_device(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main([command, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    where = "--device DEVICE Where to compute: cpu, cuda, or auto (a GPU if there is one)."
    assert f"{where} (default: {OTHER_DEFAULTS.get(command, 'auto')})" in said


@pytest.mark.slow
def test_a_zoo_names_the_device_that_its_victims_trained_on_and_is_attacked_on_the_cpu(
    zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = json.loads((zoo / "zoo.json").read_text(encoding="utf-8"))["victims"][0]["recipe"]
    assert recipe["device"] == str(usable_device("auto"))
    small = ("--submissions", "noise", "--episodes", "2", "--epsilons", "0.4", "--nodes", "2", "--json")
    assert main(["benchmark", str(zoo), *small, "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["results"]["victims"]


def test_the_device_of_an_option_replaces_that_of_the_file_also_in_the_text_that_is_kept(tmp_path: Path) -> None:
    for name, before in (("none", ""), ("one", "device = 'cuda'  # a GPU\n")):
        path = tmp_path / f"{name}.toml"
        path.write_text(f'name = "lake"\n{before}steps = 90\n{TOML}', encoding="utf-8")
        asked = read_experiment(path, device="cpu")
        assert asked.device == "cpu"
        (tmp_path / "kept.toml").write_text(asked.text, encoding="utf-8")
        assert read_experiment(tmp_path / "kept.toml").runs == asked.runs
        assert asked.text.count("device") == 1
    plain = read_experiment(tmp_path / "none.toml")
    assert [run.id for run in plain.runs] == [run.id for run in asked.runs]  # cpu is the default of the file
    assert plain.text == (tmp_path / "none.toml").read_text(encoding="utf-8")


def test_a_device_that_cannot_be_replaced_in_the_text_is_refused() -> None:
    assert with_device('[a]\ndevice = "x"\n', "cpu") == 'device = "cpu"\n[a]\ndevice = "x"\n'
    for text in ('"device" = "cuda"\n', 'a = """\ndevice = 3\n"""\n"device" = "cuda"\n'):
        with pytest.raises(ValueError, match='cannot be replaced: write device = "cpu" in its file'):
            with_device(text, "cpu")


@pytest.mark.slow
def test_a_sweep_with_the_option_is_the_sweep_of_the_file_and_runs_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lake.toml").write_text(f"steps = 90\n{TOML}", encoding="utf-8")
    given = ["sweep", str(tmp_path / "lake.toml"), "--out", str(tmp_path / "lake"), "--workers", "1"]
    assert main([*given, "--device", "cpu"]) == 0
    assert 'device = "cpu"' in (tmp_path / "lake" / "experiment.toml").read_text(encoding="utf-8")
    assert main([*given, "--resume"]) == 0
    capsys.readouterr()
    assert main(["rerun", str(tmp_path / "lake")]) == 0
    assert "The results equal those" in capsys.readouterr().out


def test_the_demo_trains_every_agent_on_the_device() -> None:
    made = QUICK.on("cuda")
    assert {each.device for each in (*made.grid, *made.cartpole)} == {"cuda"}
    assert made.on("cpu") == QUICK


def test_a_study_that_trains_nothing_has_no_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "power", "--device", "auto"]) == 2
    assert "the study power has no --device: leave it out" in capsys.readouterr().err
    takes = {name: "device" in studies.find(name).takes for name in studies.NAMES}
    assert [name for name, device in takes.items() if not device] == ["efficiency", "power"]


def test_cases_with_a_training_move_to_the_device() -> None:
    (case, *_), device = studies.find("tuned").cases, "cuda"
    moved = on_device(case, device)
    assert moved.training == replace(case.training, device="cuda")
    assert on_device(case, "cpu") is case
    (part, *_) = studies.find("replay").cases
    assert on_device(part, device) is part


@pytest.mark.slow
def test_a_study_trains_on_the_device_and_measures_on_the_cpu() -> None:
    here = Training("CartPole-v1", "ppo", (0, 1), 128, "sb3", {"net_arch": (8,), "n_steps": 64}, engine="torch")
    with pretending():
        there = trained_at_once(replace(here, device=NAME)).agent
    same = trained_at_once(here).agent
    assert there.device.type == "cpu"
    assert there.num_timesteps == same.num_timesteps
    np.testing.assert_array_equal(there.history["timesteps"], same.history["timesteps"])
    for name, network in same.networks.items():
        torch.testing.assert_close(there.networks[name].flat, network.flat)


@pytest.mark.slow
def test_a_policy_is_distilled_on_the_device(policy: Path) -> None:
    settings = DistillationSettings(str(policy), temperature=(1.0,), strength=(1.0,))
    small = {"net_arch": (8,), "n_steps": 64}
    with pretending():
        made = Training("CartPole-v1", "ppo", (0, 1), 64, "sb3", small, device=NAME, defense=settings)
        assert trained_at_once(made).agent.num_timesteps == 64


# On a pretend device, which refuses what a GPU refuses


@pytest.mark.slow
@pytest.mark.parametrize("sampled", [False, True])
def test_the_worst_case_is_that_of_the_cpu(sampled: bool, tmp_path: Path) -> None:
    world = GridWorld("two-goal", observation="coordinates")
    agent = PPO(world, seeds=2, device="cpu", net_arch=(8,))
    agent.save(tmp_path / "grid.safetensors")
    found = bracket(world, agent, 0.1, horizon=10, sampled=sampled, max_boxes=50)
    with pretending():
        there = bracket(
            world, PPO.load(tmp_path / "grid.safetensors", world, NAME), 0.1, horizon=10, sampled=sampled, max_boxes=50
        )
    np.testing.assert_allclose(there.lower, found.lower, atol=1e-5)
    np.testing.assert_allclose(there.upper, found.upper, atol=1e-5)


@pytest.mark.slow
def test_falls_and_the_adversarys_dynamics_are_those_of_the_cpu(policy: Path) -> None:
    pole, start = CartPole(), np.array([[0.01, -0.02, 0.03, 0.04]])
    limits: dict[str, Any] = {"danger": lambda states: np.abs(states[..., 2]), "max_nodes": 5, "beam": 2, "horizon": 30}

    def measured(agent: PPO) -> tuple[Any, Any]:
        problem = AdversaryDynamics(pole, agent[0], TargetAction(FGSM(), 2), Budget(0.1))
        return fall_bounds(pole, agent, start, 0.1, **limits), noiseless_step(problem)(start, np.array([2]))

    falls, after = measured(PPO.load(policy, device="cpu"))
    with pretending():
        falls_there, after_there = measured(PPO.load(policy, device=NAME))
    for name in ("lower", "upper", "natural", "actions"):
        np.testing.assert_array_equal(getattr(falls_there, name), getattr(falls, name))
    for one, other in zip(after, after_there, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["certify", "benchmark", "compare", "zoo"])
def test_commands_compute_on_the_device(
    command: str, policy: Path, zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Sequence[str]] = {
        "certify": (str(policy), "--epsilons", "0.1", "--states", "3", "--no-radius"),
        "benchmark": (str(zoo), "--submissions", "fgsm", "--episodes", "1", "--epsilons", "0.4", "--nodes", "2"),
        "compare": ("--algo", "ppo", "--seeds", "2", "--sb3-seeds", "1", "--episodes", "2", *TINY),
        "zoo": ("--algos", "ppo", "--seeds", "2", *TINY),
    }
    with pretending():
        assert main([command, *given[command], "--device", NAME, "--out", str(tmp_path / "out"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    if command == "compare":
        assert said["settings"]["backend"] == f"rlkit on {NAME}:0"
        notes = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["notes"]
        assert any(f"rlkit computed on {NAME}:0 and stable-baselines3 on the CPU" in note for note in notes)
    if command == "zoo":
        manifest = json.loads((tmp_path / "out" / "zoo.json").read_text(encoding="utf-8"))
        assert manifest["victims"][0]["recipe"]["device"] == f"{NAME}:0"

"""The command line: what scripts read, exit codes, one-line errors, and whole files after Ctrl-C."""

from __future__ import annotations

import csv
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from rich.console import Console
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import rlkit
import rlkit.agents
import rlkit.sb3
from rlkit.adversarial import APPLICABILITY, SAPPOKL, Budget, Curriculum
from rlkit.agents import DQN, PPO, load
from rlkit.evaluation import evaluate_policy
from rlkit.experiments.cli import COMMANDS, main
from rlkit.experiments.commands.options import Algorithm, DefenseName, SB3ModelAlgorithm, SharedAlgorithm
from rlkit.experiments.option_names import in_options
from rlkit.experiments.parser_text import HelpScreen, wrapped
from rlkit.experiments.report import terminal
from rlkit.experiments.report.ledger import ReportTable
from rlkit.experiments.report.text import cell_text
from rlkit.experiments.stopping import interruptible
from rlkit.experiments.workflows.attack_timing import TimingName
from rlkit.experiments.workflows.compare.sb3_job import HYPERPARAMETER_MAPS
from rlkit.experiments.workflows.measures import MeasureName
from rlkit.experiments.workflows.threat import Unit
from rlkit.mdp import TabularMDP
from rlkit.planning.solve import Method
from rlkit.statistics import Estimate

QUICK = ("learning_starts=50", "batch_size=16", "net_arch=16,", "train_freq=4", "gradient_steps=1")


def run_json(capsys: pytest.CaptureFixture[str], *args: str) -> dict:
    """Run a command with --json; its standard output must be one JSON object and nothing else."""
    assert main([*args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def misuse(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Run a command that must be refused: exit code 2, one line on stderr, nothing on stdout."""
    assert main(list(args)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("rlkit: ")
    assert said.err.count("\n") == 1
    return said.err


def broken(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Run a command that something outside makes fail: exit code 1 and one line on stderr."""
    assert main(list(args)) == 1
    said = capsys.readouterr().err
    assert said.startswith("rlkit: ")
    assert said.count("\n") == 1
    return said


def needy() -> gymnasium.Env:
    raise gymnasium.error.DependencyNotInstalled("Box2D is not installed, run `pip install gymnasium[box2d]`")


gymnasium.register("Needy-v0", entry_point=needy)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of three seeds."""
    out = tmp_path_factory.mktemp("runs") / "cartpole"
    args = ["train", "--seeds", "3", "--first-seed", "5", "--steps", "400", "--episodes", "3", "--out", str(out)]
    assert main([*args, "--set", *QUICK, "--json"]) == 0
    return out


@pytest.mark.parametrize(
    "command",
    [
        *("train", "evaluate", "solve", "attack", "hijack", "compare", "report", "watch", "study", "demo"),
        *("sweep", "status", "rerun"),
    ],
)
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"Example: rlkit {command} " in text
    assert "--json" in text


@pytest.mark.parametrize("width", [80, 110])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_wrapped_by_words_and_examples_are_not(
    command: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main([command, "--help"]) == 0
    said = capsys.readouterr().out
    description, _, _ = (inspect.getdoc(COMMANDS[command]) or "").partition("\n\nArgs:")
    paragraphs = [" ".join(paragraph.split()) for paragraph in description.split("\n\n")]
    shown = said.split("\n\n")[1 : 1 + len(paragraphs)]  # after the usage
    assert [" ".join(paragraph.split()) for paragraph in shown] == paragraphs
    assert paragraphs[-1] in said.splitlines()  # the example, in one line
    long = [line for line in said.splitlines() if len(line.rstrip()) > width]
    assert set(long) <= {paragraphs[-1]}


def test_help_keeps_the_colors_of_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = HelpScreen(Terminal())
    assert screen.isatty()
    assert not HelpScreen(io.StringIO()).isatty()
    bold = "\x1b[1musage:\x1b[0m rlkit\n"
    assert wrapped(bold, 12) == bold  # colors take no room
    assert wrapped("usage: rlkit\n\none two\n", 6) == "usage:\nrlkit\n\none\ntwo\n"


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ("sweep", "x.toml", "--executor", "foo"),
            "invalid choice 'foo' for argument '--executor'. Expected one of local, ray, slurm. "
            "For full helptext, run rlkit sweep --help",
        ),
        (
            ("export", "runs/x", "--to", "disk"),
            "invalid choice 'disk' for argument '--to'. Expected one of wandb, mlflow. "
            "For full helptext, run rlkit export --help",
        ),
        (("train", "--eggs"), "Unrecognized options: --eggs For full helptext, run rlkit train --help"),
        (
            ("train", "--seeds", "x"),
            "--seeds expects a whole number, got 'x'. For full helptext, see rlkit train --help",
        ),
        (
            ("status",),
            "Missing from rlkit status: PATH Folder of the sweep. (required) "
            "For full helptext, run: rlkit status --help",
        ),
    ],
)
def test_what_the_parser_refuses_is_said_once_and_without_frames_or_colors(
    given: tuple[str, ...],
    said: str,
    terminal: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert misuse(capsys, *given) == f"rlkit: {said}\n"


@pytest.mark.slow
def test_training_takes_the_defaults_where_nothing_is_tuned_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ("--algo", "a2c", "--seeds", "1", "--steps", "20", "--episodes", "1")
    args = ("train", *short, "--env", "rlkit/probe-delayed-reward", "--out", str(tmp_path), "--json")
    assert main(list(args)) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["settings"]["preset"] == "sb3"
    assert "There is no tuned preset of a2c for rlkit/probe-delayed-reward" in said.err


@pytest.mark.slow
def test_help_lists_every_command_and_needs_no_torch() -> None:
    code = "import sys; from rlkit.experiments.cli import main; main(['--help']); assert 'torch' not in sys.modules"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for command in ("train", "evaluate", "solve", "attack", "hijack", "compare", "report", "watch", "study", "demo"):
        assert f" {command} " in said


ENDING = """
import atexit, sys
from rlkit.experiments.cli import run

class Witness:
    def __del__(self):
        print("taken apart")

kept = Witness()
atexit.register(print, "cleaned up")
sys.argv = ["rlkit", *sys.argv[1:]]
run()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "said"), [(["--version"], 0, f"rlkit {rlkit.__version__}\n"), (["trian"], 2, "")]
)
def test_a_command_ends_its_process_cleaned_up_and_not_taken_apart(words: list[str], code: int, said: str) -> None:
    ended = subprocess.run([sys.executable, "-c", ENDING, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert ended.stdout == said + "cleaned up\n"


def test_the_lists_of_algorithms_that_need_no_torch_are_those_of_the_package() -> None:
    assert get_args(Algorithm) == tuple(name.lower() for name in rlkit.agents.ALGORITHMS)
    assert get_args(SB3ModelAlgorithm) == rlkit.sb3.ALGORITHMS == tuple(HYPERPARAMETER_MAPS)
    assert get_args(SharedAlgorithm) == tuple(name.lower() for name in rlkit.sb3.ALGORITHMS)
    assert set(rlkit.sb3.ALGORITHMS) <= set(rlkit.agents.ALGORITHMS)


def test_the_list_of_defenses_is_that_of_the_package() -> None:
    assert {*get_args(DefenseName), "lipschitz_hinge", "distillation"} == set(APPLICABILITY)


@pytest.mark.slow
def test_a_defense_is_trained_with_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--algo", "ppo", "--seeds", "2", "--steps", "64", "--episodes", "1", "--preset", "sb3"]
    arguments += ["--set", "net_arch=16,", "n_steps=32", "batch_size=16"]
    scale = ("0.44", "0.33", "0.037", "0.23")
    given = ["--defense", "sa_ppo_kl", "--defense-epsilon", "0.1", "0.2", "--defense-scale", *scale]
    given += ["--defense-strength", "0.5", "--defense-ramp", "0.25"]
    out = run_json(capsys, *arguments, *given, "--out", str(tmp_path / "a"))
    assert out["settings"]["defense"] == {
        "name": "sa_ppo_kl",
        "epsilon": [0.1, 0.2],
        "strength": [0.5],
        "scale": [0.44, 0.33, 0.037, 0.23],
        "ramp": 0.25,
        "numbers": {},
    }
    header, *_, last = (tmp_path / "a" / "training.csv").read_text(encoding="utf-8").splitlines()
    logged = dict(zip(header.split(","), last.split(","), strict=True))
    assert float(logged["term_sa_ppo_kl"]) > 0
    python = PPO(
        "CartPole-v1", seeds=2, num_envs=1, device="cpu", preset="sb3", net_arch=(16,), n_steps=32, batch_size=16,
        terms=[SAPPOKL(Budget([[0.1], [0.2]], scale=[float(unit) for unit in scale]), 0.5, Curriculum(end=0.25))],
    ).learn(64)  # fmt: skip
    loaded = rlkit.agents.load(tmp_path / "a" / "agent.safetensors", device="cpu")
    assert torch.equal(loaded.networks["policy"].flat, python.networks["policy"].flat)
    plain = run_json(capsys, *arguments, "--out", str(tmp_path / "b"))
    assert "defense" not in plain["settings"]


def test_options_of_defenses_that_do_not_fit_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "options of a defense need --defense NAME" in misuse(capsys, "train", "--defense-ramp", "0.5")
    assert "--defense J1 needs --defense-epsilon" in misuse(capsys, "train", "--defense", "J1")
    assert "weight_decay needs a strength" in misuse(capsys, "train", "--defense", "weight_decay")
    assert "epsilon must be finite" in misuse(capsys, "train", "--defense", "J1", "--defense-epsilon=-1")
    table = ("--algo", "tabularq", "--env", "FrozenLake-v1", "--defense", "J1", "--defense-epsilon", "1")
    assert "TabularQ has no loss to which terms could be added" in misuse(capsys, "train", *table)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rlkit {rlkit.__version__}\n"


@pytest.mark.slow
def test_train_leaves_policy_log_and_record(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert record["kind"] == "train"
    settings = record["settings"]
    assert settings["environment"] == "CartPole-v1"
    assert settings["backend"] == "rlkit on cpu"
    assert settings["training_seeds"] == [5, 6, 7]
    assert settings["hyperparameters"]["net_arch"] == [16]
    assert settings["preset"] == "tuned"
    assert {"rlkit", "python", "torch", "gymnasium", "numpy", "machine"} <= set(record["versions"])
    assert record["results"]["timesteps"] == 400
    assert record["results"]["finished"] is True
    agent = load(folder / "agent.safetensors", device="cpu")
    assert agent.seeds == (5, 6, 7)
    assert agent.evaluate(3).mean(1).tolist() == record["results"]["seed_returns"]
    with (folder / "training.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows[:3]] == ["5", "6", "7"]
    assert rows[-1]["timesteps"] == "400"
    assert not list(folder.glob("*.part"))


def test_the_mean_is_shown_with_its_interval(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = str(folder / "agent.safetensors")
    assert main(["evaluate", policy, "--episodes", "3", "--out", str(folder / "evaluated")]) == 0
    said = capsys.readouterr().out
    mean = json.loads((folder / "evaluated" / "run.json").read_text(encoding="utf-8"))["results"]["return"]
    assert f"Mean return over 3 training seeds: {cell_text(Estimate(**mean))} (95%, Student t)." in said
    assert 0 <= mean["lower"] <= mean["value"] <= mean["upper"] <= 500  # returns of CartPole-v1


@pytest.mark.slow
def test_the_log_for_tensorboard_is_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    command = ["train", "--env", "CartPole-v1", "--seeds", "2", "--steps", "300", "--episodes", "1", "--algo", "a2c"]
    assert main([*command, "--tensorboard", "--out", str(tmp_path)]) == 0
    with (tmp_path / "training.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["seed"] == "1"]
    events = EventAccumulator(str(tmp_path / "tensorboard" / "seed-1")).Reload()
    for name in ("policy_loss", "entropy", "gradient_norm"):
        logged = {scalar.step: scalar.value for scalar in events.Scalars(name)}
        assert logged == pytest.approx({int(row["timesteps"]): float(row[name]) for row in rows}, rel=1e-6)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([*command, "--tensorboard", "--out", str(tmp_path / "without")]) == 2
    assert not (tmp_path / "without").exists()


@pytest.mark.slow
def test_training_from_the_command_line_is_training_in_python(folder: Path) -> None:
    agent = DQN(
        "CartPole-v1", seeds=[5, 6, 7], device="cpu", preset="tuned",
        learning_starts=50, batch_size=16, net_arch=(16,), train_freq=4, gradient_steps=1,
    ).learn(400)  # fmt: skip
    assert (load(folder / "agent.safetensors", device="cpu").network.flat == agent.network.flat).all()


@pytest.mark.slow
def test_a_time_limit_of_steps_changes_no_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = (
        "train",
        "--algo",
        "tabularq",
        "--env",
        "FrozenLake-v1",
        "--seeds",
        "2",
        "--steps",
        "200",
        "--episodes",
        "2",
    )
    for name, more in (("here", ()), ("there", ("--step-timeout", "60"))):
        assert main([*args, *more, "--out", str(tmp_path / name)]) == 0
    here, there = (load(tmp_path / name / "agent.safetensors", device="cpu") for name in ("here", "there"))
    assert (here.table.flat == there.table.flat).all()
    assert (here.source.step_timeout, there.source.step_timeout) == (None, 60.0)
    capsys.readouterr()
    assert main([*args, "--step-timeout", "0", "--out", str(tmp_path / "none")]) == 2
    assert "step_timeout must be a number of seconds above 0" in capsys.readouterr().err


@pytest.mark.slow
def test_a_row_of_hyperparameters_per_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run_json(
        capsys, "train", "--seeds", "2", "--steps", "100", "--episodes", "1", "--out", str(tmp_path / "a"),
        "--set", *QUICK, "learning_rate=1e-3,2e-3",
    )  # fmt: skip
    assert out["settings"]["hyperparameters"]["learning_rate"] == [1e-3, 2e-3]


def test_evaluate_gives_the_interval_over_seeds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run_json(capsys, "evaluate", str(folder / "agent.safetensors"), "--episodes", "4")
    returns = load(folder / "agent.safetensors", device="cpu").evaluate(4)
    assert out["results"]["seed_returns"] == returns.mean(1).tolist()
    assert out["results"]["return"]["n"] == 3
    assert out["results"]["return"]["value"] == pytest.approx(float(returns.mean()))
    assert out["settings"]["evaluation_seeds"] == [10_000, 10_003]


@pytest.mark.slow
def test_solve_gives_frozen_lakes_published_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run_json(capsys, "solve", "FrozenLake-v1", "--gamma", "0.99")
    results = out["results"]
    assert results["start_lower"] <= 0.5420259320 + 1e-9
    assert results["start_upper"] >= 0.5420259320 - 1e-9
    assert results["start_upper"] - results["start_lower"] <= 1e-9
    assert results["limited_optimum"] == pytest.approx(0.7441902879, abs=1e-9)
    assert results["discounted_policy_under_limit"] == pytest.approx(0.7402, abs=1e-4)

    twin = run_json(capsys, "solve", "frozenlake-4x4", "--out", str(tmp_path / "lake"))
    assert twin["results"]["start_value"] == pytest.approx(results["start_value"], abs=1e-9)
    assert (tmp_path / "lake" / "values.svg").read_bytes().startswith(b"<?xml")
    _, *states = (tmp_path / "lake" / "values.csv").read_text(encoding="utf-8").splitlines()
    assert len(states) == 16 - 5  # four holes and the goal end the episode
    assert (states[1].split(",")[-1], states[5].split(",")[-1]) == ("up", "left right")


@pytest.mark.slow
def test_solve_reads_a_map_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "corridor.txt"
    path.write_text("S..G\n", encoding="utf-8")
    out = run_json(capsys, "solve", str(path), "--gamma", "0.9", "--env-kwargs", "slip=0.0")
    assert out["results"]["start_value"] == pytest.approx(0.81)  # three steps, the last one pays 1
    assert out["results"]["step_limit"] is None
    out = run_json(capsys, "solve", str(path), "--gamma", "0.9", "--limit", "2")
    assert out["results"]["limited_optimum"] == 0.0


@pytest.mark.slow
def test_attack_at_epsilon_zero_is_no_attack(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--attacks", "noise", "fgsm", "--epsilons", "0", "0.5", "--episodes", "3", "--out", str(tmp_path / "a"))
    out = run_json(capsys, "attack", str(folder / "agent.safetensors"), *args)
    points = out["results"]["curves"]["rlkit DQN"]
    assert [(point["attack"], point["epsilon"]) for point in points] == [
        ("natural", 0.0), ("sign noise", 0.0), ("sign noise", 0.5), ("FGSM", 0.0), ("FGSM", 0.5),
        ("strongest", 0.0), ("strongest", 0.5),
    ]  # fmt: skip
    for point in (points[1], points[3], points[5]):
        assert point["mean_return"]["value"] == points[0]["mean_return"]["value"]
    for point in points:
        assert np.mean(point["return_of_seeds"]) == pytest.approx(point["mean_return"]["value"])
        assert np.mean(point["attack_rate_of_seeds"]) == pytest.approx(point["attack_rate"]["value"])
    assert out["settings"]["unit"] == "units of the task's scale"
    assert (tmp_path / "a" / "attacks.svg").exists()
    assert "under attack" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert out["results"]["aliasing_epsilon"] is None
    assert isinstance(out["results"]["warnings"]["rlkit DQN"], list)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "named"),
    [("1", ("noise", "fgsm")), ("2", ("noise", "uniform", "gaussian", "fgsm", "pgd", "search", "boundary", "best"))],
)
def test_every_attack_from_the_command_line(
    norm: str, named: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "short.safetensors"
    DQN("CartPole-v1", device="cpu", net_arch=(16,), env_kwargs={"max_steps": 5}).save(policy)
    args = ("--norm", norm, "--epsilons", "0.2", "--episodes", "1", "--attacks", *named)
    out = run_json(capsys, "attack", str(policy), *args)
    assert len(out["results"]["curves"]["rlkit DQN"]) == 1 + len(named) + 1
    assert out["settings"]["norm"] == norm


@pytest.mark.slow
def test_a_grid_says_where_states_read_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = DQN("rlkit/GridWorld-v0", device="cpu", env_kwargs={"observation": "coordinates", "max_steps": 5})
    agent.save(tmp_path / "grid.safetensors")
    args = ("--unit", "raw", "--epsilons", "0.1", "0.25", "--attacks", "fgsm", "--episodes", "2")
    assert main(["attack", str(tmp_path / "grid.safetensors"), *args, "--out", str(tmp_path / "a")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Epsilon 0.1667 is half the smallest distance" in said
    assert "no policy can act optimally in both" in said
    record = json.loads((tmp_path / "a" / "run.json").read_text(encoding="utf-8"))
    (table,) = record["tables"]
    place = table["columns"].index("epsilon / aliasing epsilon")
    assert [row[place] for row in table["rows"]] == [0.0, *[pytest.approx(0.6), pytest.approx(1.5)] * 2]
    assert "checklist found nothing suspicious" in said or "Warning, rlkit DQN" in said


@pytest.mark.slow
def test_watch_writes_the_very_episode(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = folder / "agent.safetensors"
    gif = tmp_path / "a.gif"
    out = run_json(capsys, "watch", str(policy), "--mode", "gif", "--row", "1", "--out", str(gif), "--max-steps", "5")
    assert out == {"returns": [5.0], "file": str(gif)}
    assert gif.read_bytes().startswith(b"GIF89a")


def test_watch_shows_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = DQN("rlkit/GridWorld-v0", device="cpu", env_kwargs={"map": "frozenlake-4x4", "max_steps": 3})
    agent.save(tmp_path / "grid.safetensors")
    assert main(["watch", str(tmp_path / "grid.safetensors"), "--mode", "ansi"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("episode 0, step 0, return 0\n[S] .  .  . \n")
    assert "returns: 0" in said


@pytest.mark.slow
def test_misuse_is_one_line_and_leaves_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    policy = str(folder / "agent.safetensors")
    assert "did you mean 'CartPole-v1'" in misuse(capsys, "train", "--env", "CartPole-v2")
    assert "is continuous" in misuse(capsys, "train", "--env", "Pendulum-v1")
    assert "did you mean 'learning_rate'" in misuse(capsys, "train", "--set", "learning_rat=1")
    assert "learning_rate" in misuse(capsys, "train", "--set", "learning_rate=fast")
    assert "NAME=VALUE" in misuse(capsys, "train", "--set", "learning_rate")
    assert "given twice" in misuse(capsys, "train", "--set", "gamma=1", "gamma=0.9")
    assert "pip install" in broken(capsys, "train", "--env", "Needy-v0")
    assert "pole_length" in misuse(capsys, "train", "--env-kwargs", "pole_length=1")
    assert "unknown preset 'best'" in misuse(capsys, "train", "--preset", "best")
    assert "seeds must be at least 1" in misuse(capsys, "train", "--seeds", "0")
    assert "steps must be at least 1" in misuse(capsys, "train", "--steps", "0")
    assert "holds a run already" in misuse(capsys, "train", "--out", str(folder))
    assert "no file" in misuse(capsys, "evaluate", "nothing.safetensors")
    assert "episodes must be at least 1" in misuse(capsys, "evaluate", policy, "--episodes", "0")
    assert "did you mean 'frozenlake-4x4'" in misuse(capsys, "solve", "frozenlake-4")
    assert "gamma" in misuse(capsys, "solve", "frozenlake-4x4", "--gamma", "1.5")
    assert "tiles_per_row" in misuse(capsys, "solve", "frozenlake-4x4", "--env-kwargs", "tiles_per_row=3")
    assert "transition table" in misuse(capsys, "solve", "Acrobot-v1")
    assert "epsilon" in misuse(capsys, "attack", policy, "--epsilons=-1", "--episodes", "1")
    assert "did you mean 'fgsm'" in misuse(capsys, "attack", policy, "--attacks", "fgms", "--episodes", "1")
    assert "invalid choice" in misuse(capsys, "attack", policy, "--norm", "3", "--episodes", "1")
    assert "another environment" in misuse(capsys, "attack", policy, "--env", "Acrobot-v1", "--episodes", "1")
    assert "--row must be 0 to 2" in misuse(capsys, "watch", policy, "--mode", "gif", "--row", "3")
    assert "holds no run.json" in misuse(capsys, "report", ".")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("attack x --epsilons a b", "--epsilons expects numbers, got 'a'."),  # or left out
        ("attack x --epsilons 0.1 b", "--epsilons expects numbers, got 'b'."),
        ("hijack x --toward G --epsilons 0.1 -", "--epsilons expects numbers, got '-'."),
        ("sweep x --gpu-ids 0 1.5", "--gpu-ids expects whole numbers, got '1.5'."),
        ("sweep x --workers two", "--workers expects a whole number, got 'two'."),  # or left out
        ("train --checkpoint-every 1e3", "--checkpoint-every expects a whole number, got '1e3'."),  # help says STEPS
        ("train --step-timeout soon", "--step-timeout expects a number, got 'soon'."),
        ("train --seeds all", "--seeds expects a whole number, got 'all'."),
        ("solve x --gamma [b", "--gamma expects a number, got '[b'."),
        ("certify x --return-range 0 a", "--return-range expects 2 numbers, got 'a'."),
        ("attack x --norm 3", "invalid choice '3' for argument '--norm'. Expected one of 1, 2, inf."),
        ("attack x --timing never", "Expected one of always, every, random, strategic, value, critical."),
        ("train --num-envs", "Missing value for argument '--num-envs'. Expected 1 value."),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(
    command: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = misuse(capsys, *command.split())
    assert said in message
    assert len(message) < 250
    assert not re.search(r"None|type|tuple|FLOAT|INT|Error parsing", message)


def test_what_does_not_fit_in_memory_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    huge = ("--steps", str(10**12), "--set", f"buffer_size={10**12}", "--out", str(tmp_path / "huge"))
    assert "lower buffer_size or train fewer seeds" in misuse(capsys, "train", *huge, "--json")


def test_seeds_and_counts_are_refused_by_the_name_of_their_option(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    policy = str(folder)
    for words in (
        ["train"],
        ["compare"],
        ["zoo", "--out", "zoo"],
        ["evaluate", policy],
        ["hijack", policy, "--toward", "left"],
        ["attack", policy],
        ["certify", policy],
        ["transfer", policy, policy],
    ):
        assert "--first-seed must be at least 0, got -1" in misuse(capsys, *words, "--first-seed", "-1")
    assert "points 0: an axis needs two or more" in misuse(capsys, "solve", "CartPole-v1", "--points", "0")
    assert "max-steps must be at least 1, got 0" in misuse(capsys, "watch", policy, "--mode", "gif", "--max-steps", "0")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        "attack x --attacks",
        "attack x --norms --episodes 2",
        "attack x --measures --quiet",
        "attack x --epsilons",
        "transfer x y --epsilons",
        "train --set --seeds 2",
        "train --env_kwargs",
        "zoo --out x --algos",
        "benchmark x --submissions",
        "sweep x --gpu-ids",
        "study matched --makers",
    ],
)
def test_an_option_of_several_values_needs_one(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    option = re.findall("--[a-z_-]+", words)[-2 if words.endswith(("2", "--quiet")) else -1].replace("_", "-")
    assert misuse(capsys, *words.split()) == f"rlkit: {option} needs at least one value: give some, or leave it out\n"


@pytest.mark.parametrize(
    ("command", "python", "options"),
    [
        ("evaluate", "Pass trust=True if you made the file", "Pass --trust if you made the file"),
        ("train", "Pass trust=True if you made the file", None),  # has no such option
        ("train", "Pass engine='torch', or 'auto' to choose", "Pass --engine torch, or 'auto' to choose"),
        ("train", "use network='mlp'", "use --set network=mlp"),
        ("sweep", "use network='mlp'", None),
        (
            "train",
            "or pass continuing=True if nothing ends it",
            "or pass --env-kwargs continuing=True if nothing ends it",
        ),
        ("evaluate", "or pass env='my:Own-v0'", "or pass --env my:Own-v0"),
        ("train", "give --set gamma=1 buffer_size=9, or leave it out", None),
        ("train", "run:steps=5 and x.gamma=1 and gamma=one", None),
        (
            "evaluate",
            "use deterministic=True, or model.predict(obs, deterministic=False)",
            "take greedy actions",
        ),
    ],
)
def test_what_python_would_write_becomes_an_option(command: str, python: str, options: str | None) -> None:
    assert in_options(python, COMMANDS[command]) == (options or python)


def test_the_remedies_on_the_command_line_are_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zipped = tmp_path / "model.zip"
    zipped.write_bytes(b"PK\x03\x04")
    said = misuse(capsys, "evaluate", str(zipped), "--algo", "ppo", "--env", "CartPole-v1")
    assert "Pass --trust if you made the file" in said
    assert "use --set network=mlp" in misuse(capsys, "train", "--set", "network=cnn")


def test_a_folder_below_a_file_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("hello", encoding="utf-8")
    for words in (["evaluate", str(folder), "--episodes", "1"], ["train", "--steps", "9"], ["zoo"]):
        said = misuse(capsys, *words, "--out", str(file / "x"))
        assert f"{file} is a file, and {file / 'x'} would be below it: give a folder" in said
    assert f"{file} is a file: give a folder" in misuse(capsys, "report", str(folder), "--out", str(file / "x.html"))


@pytest.mark.slow
def test_quiet_and_json_print_one_object_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ("--algo", "a2c", "--seeds", "1", "--steps", "20", "--episodes", "1")
    assert main(["train", *small, "--out", str(tmp_path / "run"), "--quiet", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["kind"] == "train"
    assert said.err == ""


def test_files_that_are_no_policies(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((folder / "agent.safetensors").read_bytes()[:300])
    assert "cut short" in misuse(capsys, "evaluate", str(cut))
    zipped = tmp_path / "model.zip"
    zipped.write_bytes(b"PK\x03\x04")
    assert "--algo" in misuse(capsys, "evaluate", str(zipped))
    both = ("--algo", "DQN", "--env", "CartPole-v1")
    assert "trust" in misuse(capsys, "evaluate", str(zipped), *both)
    assert "truncated" in misuse(capsys, "evaluate", str(zipped), *both, "--trust")


@pytest.mark.slow
def test_a_model_behind_vec_normalize_is_evaluated_and_attacked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    envs = VecNormalize(DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]))
    envs.seed(0)
    model = stable_baselines3.PPO("MlpPolicy", envs, n_steps=64, batch_size=64, n_epochs=1, device="cpu", seed=0)
    model.learn(64)
    zipped, statistics = tmp_path / "model.zip", tmp_path / "normalize.pkl"
    model.save(zipped)
    envs.save(str(statistics))
    given = (str(zipped), "--algo", "PPO", "--env", "CartPole-v1", "--vec-normalize", str(statistics))
    assert "trust" in misuse(capsys, "evaluate", *given)
    behind = run_json(capsys, "evaluate", *given, "--trust", "--episodes", "3")
    policy = rlkit.sb3.SB3Policy(model, envs)
    mean, _ = evaluate_policy(policy, gymnasium.make("CartPole-v1"), n_eval_episodes=3)
    assert behind["results"]["return"]["value"] == mean
    short = ("--trust", "--episodes", "2", "--epsilons", "0.5", "--attacks", "fgsm", "--timing", "value")
    attacked = run_json(capsys, "attack", *given, *short)
    assert attacked["results"]["return"]["value"] > 0
    assert "value above" in attacked["settings"]["timing"]
    agent = str(folder / "agent.safetensors")
    assert "holds its own moments" in misuse(capsys, "evaluate", agent, "--vec-normalize", str(statistics))


def test_a_grid_world_policy_in_indices_cannot_be_attacked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = DQN("rlkit/GridWorld-v0", device="cpu")
    agent.save(tmp_path / "grid.safetensors")
    assert "onehot" in misuse(capsys, "attack", str(tmp_path / "grid.safetensors"))


@pytest.mark.slow
def test_a_run_folder_is_a_policy(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_folder = run_json(capsys, "evaluate", str(folder), "--episodes", "2")
    by_file = run_json(capsys, "evaluate", str(folder / "agent.safetensors"), "--episodes", "2")
    assert by_folder["results"] == by_file["results"]
    assert f"did you mean {folder}?" in misuse(capsys, "evaluate", str(folder.parent))
    assert "holds no agent.safetensors" in misuse(capsys, "evaluate", str(tmp_path))
    for name in ("sb3-seed0.zip", "sb3-seed1.zip"):
        (tmp_path / name).touch()
    assert "name one: sb3-seed0.zip, sb3-seed1.zip" in misuse(capsys, "evaluate", str(tmp_path))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A stable-baselines3 model, which is one seed."""
    path = tmp_path_factory.mktemp("sb3") / "model.zip"
    stable_baselines3.DQN("MlpPolicy", "CartPole-v1", device="cpu", seed=0, buffer_size=100).save(path)
    return str(path)


@pytest.mark.slow
def test_a_model_of_one_seed_has_a_mean_and_no_interval(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = (model, "--algo", "dqn", "--env", "CartPole-v1", "--trust", "--episodes", "2")  # the case does not matter
    mean = run_json(capsys, "evaluate", *given)["results"]["return"]["value"]
    assert main(["evaluate", *given]) == 0
    assert f"Mean return: {mean:.4g} (one seed: no interval)." in capsys.readouterr().out
    assert main(["attack", *given, "--attacks", "noise", "--epsilons", "0.5"]) == 0
    said = capsys.readouterr().out
    assert "(one seed: no interval)" in said
    assert "inf]" not in said
    assert "unknown" not in said


def test_what_a_model_lacks_is_said(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert misuse(capsys, "evaluate", model, "--algo", "DQN").endswith("everything: pass --env\n")
    assert misuse(capsys, "evaluate", model, "--env", "CartPole-v1").endswith("everything: pass --algo\n")
    assert misuse(capsys, "evaluate", model).endswith("everything: pass --algo and --env\n")


@pytest.mark.parametrize(
    ("typed", "meant"), [("trian", "did you mean 'train'?"), ("xyzzy", "unknown command"), ("", "no command given")]
)
def test_a_mistyped_command_gets_a_suggestion(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert meant in misuse(capsys, *typed.split())


@pytest.mark.slow
def test_python_runs_the_package() -> None:
    said = subprocess.run([sys.executable, "-m", "rlkit", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout == f"rlkit {rlkit.__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_the_commands(shell: str, tmp_path: Path) -> None:
    assert main(["--tyro-write-completion", shell, str(tmp_path / "completion")]) == 0
    script = (tmp_path / "completion").read_text(encoding="utf-8")
    for word in ("compare", "sb3-seeds", "evaluate", "vec-normalize"):
        assert word in script


@pytest.mark.parametrize(("width", "left_out"), [(70, 2), (80, 1), (110, 0)])
def test_wide_tables_fit_the_terminal(
    width: int, left_out: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ("policy", "attack", "epsilon", "return", "change", "share of steps attacked", "share of actions flipped")
    estimate = Estimate(487.5, 321.25, 653.75, 8, 0.95, "Student t")
    attacks = ("natural", "sign noise", "FGSM", "PGD-20")
    rows = tuple(("rlkit DQN", name, 0.5, estimate, estimate, 1.0, estimate) for name in attacks)
    screen = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    monkeypatch.setattr(terminal, "_console", lambda: screen)
    table = ReportTable("attacks", "Return against epsilon", columns, rows)
    terminal.show_table(table)
    said = screen.file.getvalue()
    assert max(map(len, said.splitlines())) <= width
    shown_estimates = {70: 2, 80: 2, 110: 3}[width]
    assert said.count("488 [321, 654]") == shown_estimates * len(rows)  # no cell is wrapped or cut
    assert all(said.count(name) == 1 for name in attacks)
    sentence = " ".join(said.split())
    assert ("Left out" in sentence) == (left_out > 0)
    assert f"characters: {', '.join(columns[len(columns) - left_out :])} (" in sentence or not left_out
    terminal.show_table(table, plain=True)
    title, header, *lines = capsys.readouterr().out.splitlines()
    assert (title, header) == (table.title, "\t".join(columns))
    assert [line.split("\t")[-1] for line in lines[:4]] == ["488 [321, 654]"] * 4


def test_unknown_arguments_are_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--sed", "3"]) == 2
    assert main([]) == 2
    capsys.readouterr()


def test_an_unreachable_tolerance_is_refused_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert "can certify" in misuse(capsys, "solve", "frozenlake-4x4", "--tolerance", "1e-30")


def test_the_first_interrupt_asks_and_the_second_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    before, ended = signal.getsignal(signal.SIGINT), []
    monkeypatch.setattr(os, "_exit", ended.append)
    with interruptible() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        assert ended == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended == [143]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["a2c", "ppo", "reinforce"])
def test_every_algorithm_trains_from_the_command_line(algo: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["--seeds", "2", "--steps", "600", "--episodes", "2", "--json", "--out", str(tmp_path / algo)]
    assert main(["train", "--algo", algo, *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["copies_per_seed"] >= 1
    assert main(["evaluate", str(tmp_path / algo / "agent.safetensors"), "--episodes", "2", "--json"]) == 0


def test_a_saved_table_is_solved(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    TabularMDP.from_gymnasium(gymnasium.make("FrozenLake-v1")).save(tmp_path / "lake.npz")
    assert main(["solve", str(tmp_path / "lake.npz"), "--json"]) == 0
    assert "0.542" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "option", "known"),
    [
        ("solve", "method", Method),
        ("attack", "timing", TimingName),
        ("attack", "measures", MeasureName),
        ("hijack", "unit", Unit),
        ("watch", "unit", Unit),
    ],
)
def test_choices_that_are_listed_for_a_quick_help_are_those_there_are(command, option, known):
    listed = get_type_hints(COMMANDS[command])[option]
    if option in ("measures", "unit"):
        listed, _ = get_args(listed)  # any number of them, or None
    assert get_args(listed) == get_args(known)

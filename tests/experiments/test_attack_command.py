"""``rlkit attack`` of several policies, in several norms, with costs, LaTeX and a last sentence on the worst case."""

import json
from pathlib import Path

import numpy as np
import pytest

from rlkit.adversarial import PGD, AttackedPolicy, Budget, Noise, Threat, committed_threat, robustness_curve
from rlkit.agents import DQN, PPO
from rlkit.evaluation import rollout
from rlkit.experiments.cli import main
from rlkit.experiments.report.latex import as_latex
from rlkit.experiments.report.ledger import ReportTable
from rlkit.experiments.workflows.attack import unit_note
from rlkit.statistics import mean_interval

FAST = ("--attacks", "noise", "--episodes", "2", "--epsilons", "0.4")


@pytest.fixture(scope="module")
def pole(tmp_path_factory) -> Path:
    """Two runs of PPO and one of DQN on the cart-pole, untrained."""
    folder = tmp_path_factory.mktemp("pole")
    for name, make in (("calm", PPO), ("wild", PPO), ("values", DQN)):
        (folder / name).mkdir()
        make("CartPole-v1", seeds=[3 if name == "wild" else 0], device="cpu", net_arch=(8,)).save(
            folder / name / "agent.safetensors"
        )
    return folder


def test_the_note_on_the_unit_gives_raw_numbers_only_where_epsilon_has_another_unit() -> None:
    raw = Threat()
    assert unit_note(raw) == f"Epsilon is in raw observation units. The threat is {raw.digest}."
    task = committed_threat("CartPole-v1")
    assert task is not None
    words = (
        "Epsilon is in units of the task's scale: 1 is 0.44, 0.33, 0.037, 0.23 in raw observation units. The threat is"
    )
    assert unit_note(task) == f"{words} {task.digest}."


def run_json(capsys, *arguments: str):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_several_policies_and_norms_are_one_table(pole: Path, tmp_path: Path, capsys) -> None:
    paths = [str(pole / name) for name in ("calm", "wild", "values")]
    out = ("--out", str(tmp_path / "run"))
    told = run_json(capsys, "attack", *paths, *FAST, "--norms", "inf", "2", "--latex", *out)
    names = ["rlkit PPO (calm)", "rlkit PPO (wild)", "rlkit DQN"]
    assert list(told["results"]["curves"]) == names
    alone = run_json(capsys, "attack", paths[1], *FAST)
    told_of_it = told["results"]["curves"]["rlkit PPO (wild)"]
    own = [{**point, "norm": "inf"} for point in alone["results"]["curves"]["rlkit PPO"]]
    assert [point for point in told_of_it if point["norm"] == "inf"] == own
    lines = (tmp_path / "run" / "attacks.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 3 * (1 + 2 * 2)  # natural once; two norms, the attack and the strongest
    latex = (tmp_path / "run" / "attacks.tex").read_text(encoding="utf-8")
    assert latex.count(r" \\") == len(lines)
    last = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["notes"][-1]
    assert last.startswith("At the largest epsilon the strongest attack changes the return from ")
    assert "The distance to the worst case is not known" in last


@pytest.mark.slow
def test_what_differs_between_policies_is_refused(pole: Path, tmp_path: Path, capsys) -> None:
    both = [str(pole / name) for name in ("calm", "wild")]
    DQN("Acrobot-v1", device="cpu", net_arch=(8,)).save(tmp_path / "other.safetensors")
    for arguments, words in (
        (("attack", both[0], str(tmp_path / "other.safetensors")), "policies that are compared play one environment"),
        (("attack", *both, "--unit", "std"), "cannot be the unit of several policies"),
        (("attack", *both, "--worst-case"), "--measures and --worst-case need a single policy and a single norm"),
        (("attack", both[0], "--norm", "2", "--norms", "inf"), "--norm gives one norm and --norms several"),
        (("attack",), "name at least one policy"),
        (("attack", *both, "--vec-normalize", "file.pkl"), "--vec-normalize belongs to a single policy"),
        (("attack", *both, "--algo", "dqn", "ppo"), "--algo names 2 algorithms for 0 stable-baselines3 models"),
    ):
        assert main([*arguments]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.slow
def test_the_last_sentence_says_how_far_falls_are_from_the_worst_case(pole: Path, tmp_path: Path, capsys) -> None:
    run_json(capsys, "attack", str(pole / "calm"), *FAST, "--worst-case", "--out", str(tmp_path / "run"))
    told = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    lower, upper = (np.array(told["results"]["falls"][0][name]) for name in ("lower", "upper"))
    last = told["notes"][-1]
    assert last.startswith(f"Epsilon 0.4: from {(lower == upper).sum()} of 5 starts")
    assert last.endswith(f"at most {(upper - lower).max()} steps above it.")


@pytest.mark.slow
def test_costs_are_counted() -> None:
    agent = PPO("CartPole-v1", seeds=2, device="cpu", net_arch=(8,))
    budget = Budget(0.0, norm="2")
    curve = robustness_curve(agent, agent.evaluation_env, [Noise(), PGD(3, every_action=False)], [0.1], budget, 16)
    _, noise, pgd = curve.points()
    assert noise.steps == curve.lengths[0].sum()
    assert (curve.seconds > 0).all()
    assert noise.queries < 2  # the check that the policy is deterministic and finite, once
    attacker = AttackedPolicy(agent, PGD(3, every_action=False), Budget(0.1, norm="2"), once=True)
    episodes = rollout(agent, agent.evaluation_env(16), perturb=attacker)
    assert pgd.queries == attacker.queries / episodes.lengths.sum().item()
    assert pgd.queries >= 1 + 3


def test_a_table_for_latex_is_escaped_and_aligned() -> None:
    table = ReportTable("t", "50 % of #1", ("learning_rate", "x"), (("p_&q", 1.5), ("r", mean_interval([1.0, 3.0]))))
    lines = as_latex(table).splitlines()
    assert lines[1] == r"\caption{50 \% of \#1}"
    assert lines[2] == r"\begin{tabular}{lr}"
    assert lines[4] == r"learning rate & x \\"
    assert lines[6] == r"p\_\&q & 1.5 \\"
    assert lines[7].startswith("r & 2 [")

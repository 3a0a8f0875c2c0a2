"""``rlkit zoo`` and ``rlkit benchmark``: digests, hidden starts, executed submissions, verified certificates."""

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rlkit.adversarial import FGSM, robustness_curve
from rlkit.agents import DQN, PPO
from rlkit.experiments.cli import main
from rlkit.experiments.report import ledger
from rlkit.experiments.report.ledger import ReportTable, RunRecord
from rlkit.experiments.workflows.benchmark import Submission, benchmark, benchmark_figure, submission
from rlkit.experiments.workflows.defense import DefenseSettings
from rlkit.experiments.workflows.train import Training
from rlkit.experiments.workflows.victim_zoo import commitment_of, hidden_seed, make_zoo, read_zoo, with_defenses
from rlkit.statistics import Estimate

SECRET = "a secret of many letters"
SETTINGS = ("--num-envs", "2", "--set", "net_arch=(8,)", "n_steps=32", "batch_size=32")
SMALL = ("--episodes", "2", "--epsilons", "0.4", "--nodes", "20")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    """One trained victim and one that was given."""
    folder = tmp_path_factory.mktemp("zoo")
    PPO("CartPole-v1", seeds=[7, 8], device="cpu", net_arch=(8,)).save(folder / "given.safetensors")
    made = ("--env", "CartPole-v1", "--algos", "ppo", "--seeds", "2", "--steps", "64", *SETTINGS)
    given = str(folder / "given.safetensors")
    assert main(["zoo", given, *made, "--secret", SECRET, "--out", str(folder / "zoo"), "--json"]) == 0
    return folder / "zoo"


def run_json(capsys, *arguments: str):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_a_zoo_holds_digests_and_no_secret(zoo: Path, tmp_path: Path) -> None:
    text = (zoo / "zoo.json").read_text(encoding="utf-8")
    assert SECRET not in text
    assert str(hidden_seed(SECRET)) not in text
    found = read_zoo(zoo)
    assert found.commitment == commitment_of(SECRET)
    assert list(found.victims) == ["ppo", "given"]
    for name, digest in found.digests.items():
        assert digest == hashlib.sha256((zoo / f"{name}.safetensors").read_bytes()).hexdigest()
    assert found.recipes["ppo"]["steps"] == 64
    assert found.recipes["given"] is None
    for path in zoo.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    changed = (tmp_path / "given.safetensors").read_bytes()
    (tmp_path / "given.safetensors").write_bytes(changed[:-1] + bytes([changed[-1] ^ 1]))
    with pytest.raises(ValueError, match="is not the victim 'given'"):
        read_zoo(tmp_path)


@pytest.mark.slow
def test_submissions_are_executed_on_the_starts_that_the_secret_gives(zoo: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.py").write_text(
        "from rlkit.adversarial import FGSM\n\n\ndef attack(victim, threat, epsilon):\n    return FGSM()\n",
        encoding="utf-8",
    )
    (tmp_path / "claims.json").write_text(
        json.dumps({"given": {"0.4": [0.0, 1.0]}, "ppo": {"0.4": [500.5, 0.0]}}), encoding="utf-8"
    )
    submitted = ("--submissions", "noise", str(tmp_path / "mine.py"), "--trust")
    claims = ("--certificates", str(tmp_path / "claims.json"))
    out = ("--out", str(tmp_path / "run"))
    told = run_json(capsys, "benchmark", str(zoo), *SMALL, *submitted, *claims, "--secret", SECRET, *out)
    agent = PPO.load(zoo / "given.safetensors")
    threat = read_zoo(zoo).threat
    curve = robustness_curve(
        agent, lambda copies: agent.evaluation_env(copies, hidden_seed(SECRET)), FGSM(), 0.4, threat.budget(), 2,
        max_steps=threat.horizon,
    )  # fmt: skip
    victim = told["results"]["victims"]["given"]
    assert victim["attacked"]["mine"] == curve.returns[0].mean(axis=-1).tolist()
    assert victim["natural"] == curve.natural.mean(axis=-1).tolist()
    assert (np.array(victim["lower"]) <= np.array(victim["upper"])).all()
    assert (np.array(victim["lower"]) >= 1).all()
    assert [each["status"] for each in told["results"]["claims"]] == ["verified", "refuted"]
    checklist = told["results"]["checklist"]
    assert checklist["secret is the one committed to"] == "yes"
    assert checklist["no executed episode is below its certificate"] == "true"
    assert checklist["submitted certificates"] == "1 verified, 1 refuted, 0 not verified"
    assert hashlib.sha256((tmp_path / "mine.py").read_bytes()).hexdigest() in checklist["SHA-256 of submitted files"]
    assert {path.name for path in (tmp_path / "run").glob("*.csv")} == {
        "benchmark.csv", "certificates.csv", "checklist.csv",
    }  # fmt: skip
    drawn = (tmp_path / "run" / "benchmark.svg").read_text(encoding="utf-8")
    assert all(label in drawn for label in ("epsilon 0.4", "certified bound", "best attack", "natural return", "PPO"))
    with (tmp_path / "run" / "benchmark.csv").open(encoding="utf-8") as file:
        intervals = [float(row[f"{cell} lower"]) for row in csv.DictReader(file) for cell in ("upper", "natural")]
    assert min(intervals) == 0.0  # two seeds of some ten steps: without a cut the intervals are wider than that


@pytest.mark.slow
def test_what_does_not_fit_is_refused(zoo: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "claims.json").write_text('{"nobody": {"0.4": [1, 1]}}', encoding="utf-8")
    run = ("benchmark", str(zoo), *SMALL, "--submissions")
    for arguments, words in (
        ((*run, "noise", "--secret", "another secret of many"), "the secret is not the one that the zoo committed to"),
        ((*run, str(tmp_path / "empty.py")), "can run any code: read it, then pass --trust"),
        ((*run, str(tmp_path / "empty.py"), "--trust"), "defines no function attack(victim, threat, epsilon)"),
        ((*run, "nothing"), "unknown attack 'nothing'"),
        ((*run, "noise", "noise"), "submissions must be one or more of different names"),
        ((*run, "noise", "--epsilons", "0.3"), "epsilons must be of the zoo's threat"),
        ((*run, "noise", "--certificates", str(tmp_path / "claims.json")), "a certificate of nobody at epsilon 0.4"),
        (("benchmark", str(tmp_path)), "holds no zoo.json"),
        (("zoo", "--out", str(zoo)), "already holds a zoo"),
        (("zoo", "--out", str(tmp_path / "new"), "--secret", "short"), "a secret needs at least 16 characters"),
    ):
        assert main([*arguments]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.slow
def test_a_victim_of_another_environment_is_refused(tmp_path: Path, capsys) -> None:
    for env in ("CartPole-v1", "Acrobot-v1"):
        DQN(env, device="cpu", net_arch=(8,)).save(tmp_path / f"{env}.safetensors")
    paths = [str(tmp_path / f"{env}.safetensors") for env in ("CartPole-v1", "Acrobot-v1")]
    assert main(["zoo", *paths, "--out", str(tmp_path / "zoo")]) == 2
    assert "a zoo needs victims of one environment and different names" in capsys.readouterr().err


def test_settings_of_an_attack_are_read() -> None:
    named = submission("pgd:steps=3,restarts=2")
    assert named.fit is not None
    attack = named.fit(None, None, 0.1)
    assert (attack.steps, attack.restarts) == (3, 2)
    for text in ("pgd:steps", "pgd:steps=many", "pgd:speed=3", "lookahead:steps=3"):
        with pytest.raises(ValueError, match="is no attack with settings"):
            submission(text)


def test_every_algorithm_is_trained_plain_and_with_the_defenses_that_serve_it() -> None:
    plain = [Training("CartPole-v1", algo, (0, 1), 64, "sb3") for algo in ("dqn", "ppo", "tabularq")]
    defenses = ("radial:epsilon=0.4,strength=0.25,ramp=0.5", "sa_ppo_kl:epsilon=0.2", "sa_dqn_hinge:epsilon=0.1")
    found = with_defenses(plain, defenses)
    assert list(found) == ["dqn", "dqn-radial", "dqn-sa_dqn_hinge", "ppo", "ppo-radial", "ppo-sa_ppo_kl", "tabularq"]
    scale = (0.44, 0.33, 0.037, 0.23)
    assert found["ppo-radial"].defense == DefenseSettings("radial", (0.4,), (0.25,), scale, 0.5)
    assert found["ppo-sa_ppo_kl"].defense == DefenseSettings("sa_ppo_kl", (0.2,), (), scale)
    assert replace(found["ppo-radial"], defense=None) == found["ppo"]
    for text, words in (
        ("speed:epsilon=0.1", "defense must be one of"),
        ("radial:strength=1", "is no defense with its numbers, as radial:epsilon=0.4,ramp=0.5"),
        ("radial:epsilon=0.1,speed=2", "is no defense with its numbers"),
        ("radial:epsilon=-1", "is no defense with its numbers"),
    ):
        with pytest.raises(ValueError, match=words):
            with_defenses(plain, [text])
    with pytest.raises(ValueError, match=r"sa_ppo_kl:epsilon=0\.2 defends none of dqn"):
        with_defenses(plain[:1], defenses[1:2])


def test_the_recipe_of_a_given_policy_is_that_of_its_run_folder(tmp_path: Path) -> None:
    for name in ("run", "file", "out"):
        (tmp_path / name).mkdir()
    agent = PPO("CartPole-v1", seeds=[7], device="cpu", net_arch=(8,))
    agent.save(tmp_path / "run" / "agent.safetensors")
    agent.save(tmp_path / "file" / "other.safetensors")
    ledger.write(RunRecord("train", "a title", {"steps_per_seed": 64}, {}), tmp_path / "run")
    make_zoo(tmp_path / "out", {}, [tmp_path / "run", tmp_path / "file" / "other.safetensors"])
    assert read_zoo(tmp_path / "out").recipes == {"run": {"steps_per_seed": 64}, "other": None}


@pytest.mark.slow
def test_a_submission_is_fitted_once_to_every_victim_and_epsilon(zoo: Path) -> None:
    fits = []

    def fit(subject, threat, epsilon):
        fits.append((subject.algorithm, epsilon))
        return FGSM()

    benchmark(read_zoo(zoo), [Submission("mine", "", fit)], episodes=1, epsilons=(0.1, 0.4), nodes=1)
    assert fits == [(name, epsilon) for name in ("ppo", "given") for epsilon in (0.1, 0.4)]


def test_the_figure_has_every_mean_and_interval_in_the_panel_of_its_epsilon() -> None:
    def mean(value: float) -> Estimate[float]:
        return Estimate(value, value - 1.0, value + 2.0, 10, 0.95, "Student t")

    victims = (("dqn", 0.1, mean(3.0), 5.0), ("ppo", 0.1, None, 6.0), ("dqn", 0.2, mean(1.0), 4.0))
    rows = tuple((name, e, lower, mean(upper), "fgsm", mean(9.0)) for name, e, lower, upper in victims)
    columns = ("victim", "epsilon", "lower", "upper", "best attack", "natural")
    first, second = benchmark_figure(ReportTable("benchmark", "", columns, rows)).axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["DQN", "PPO"]
    for axes, title, means in (
        (first, "epsilon 0.1", {"certified bound": [3.0], "best attack": [5.0, 6.0], "natural return": [9.0, 9.0]}),
        (second, "epsilon 0.2", {"certified bound": [1.0], "best attack": [4.0], "natural return": [9.0]}),
    ):
        assert axes.get_title(loc="left") == title
        drawn = {each.get_label(): each.lines for each in axes.containers}
        assert {label: list(points.get_xdata()) for label, (points, _, _) in drawn.items()} == means
        for points, _, (bars,) in drawn.values():
            ends = [(bar[0, 0], bar[1, 0]) for bar in bars.get_segments()]
            assert ends == [(x - 1.0, x + 2.0) for x in points.get_xdata()]

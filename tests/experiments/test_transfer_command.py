"""``rlkit transfer``, and substitutes against the number of queries."""

import json
from pathlib import Path

import numpy as np
import pytest

from rlkit.adversarial import FGSM, Noise, Threat, robustness_curve
from rlkit.agents import DQN
from rlkit.experiments.cli import main
from rlkit.experiments.workflows.attack import attack_plan
from rlkit.experiments.workflows.measures import substitutes
from rlkit.experiments.workflows.policies import of_agent
from rlkit.experiments.workflows.transfer import transferred

THREAT = Threat("CartPole-v1", epsilons=(0.0, 0.05), scale=(0.44, 0.33, 0.037, 0.23))


def linear(*seeds: int) -> DQN:
    return DQN("CartPole-v1", seeds=seeds, network="linear", device="cpu")


@pytest.mark.slow
def test_the_diagonal_is_the_attack_itself_and_epsilon_0_is_natural() -> None:
    agents = {"a": linear(3, 4), "b": linear(5, 6)}
    subjects = [of_agent(agent, "CartPole-v1", {})._replace(algorithm=name) for name, agent in agents.items()]
    found = transferred(subjects, THREAT, FGSM(), 3)
    assert found.sources == ("sign noise", "rlkit a", "rlkit b")
    assert found.returns.shape == found.flips.shape == (3, 2, 2, 2)
    assert (found.returns[:, :, 0] == found.natural).all()
    assert (found.flips[:, :, 0] == 0).all()
    for j, agent in enumerate(agents.values()):
        own = robustness_curve(agent, agent.evaluation_env, [Noise("sign"), FGSM()], [0.0, 0.05], THREAT.budget(), 3)
        assert (found.returns[0, j] == own.returns[0].mean(axis=-1)).all()
        assert (found.returns[1 + j, j] == own.returns[1].mean(axis=-1)).all()
    assert (found.flips[1, 0, 1] >= found.flips[2, 0, 1] - 1e-12).all()  # FGSM on the policy itself is the worst corner
    with pytest.raises(ValueError, match="at least two policies with equal numbers of seeds, got \\[2, 1\\] seeds"):
        transferred([subjects[0], of_agent(linear(1), "CartPole-v1", {})], THREAT, FGSM(), 3)


@pytest.mark.slow
def test_the_command_prints_a_matrix(tmp_path: Path, capsys) -> None:
    paths = [str(tmp_path / f"{name}.safetensors") for name in ("left", "right")]
    for seed, path in enumerate(paths):
        linear(seed).save(path)
    out = ("--out", str(tmp_path / "run"), "--json")
    assert main(["transfer", *paths, "--epsilons", "0.4", "--episodes", "2", "--attack", "fgsm", *out]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert results["targets"] == ["rlkit DQN (left)", "rlkit DQN (right)"]
    lines = (tmp_path / "run" / "returns-0.4.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines] == ["attack on", "none", "sign noise", *results["targets"]]
    assert main(["transfer", paths[0]]) == 2
    assert "transfer needs at least two policies" in capsys.readouterr().err


@pytest.mark.slow
def test_more_queries_imitate_better_and_attack_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(substitutes, "FIT_STEPS", 150)
    subject = of_agent(linear(3, 4), "CartPole-v1", {})
    plan = attack_plan(subject, ["fgsm"], THREAT)
    few, many = (substitutes.substitute_attack(subject, plan, queries) for queries in (50, 1_000))
    assert (few.queries, many.queries) == (50, 1_000)
    assert many.agreement.mean() > 0.8
    for found in (few, many):
        assert (found.flips[0] == 0).all()
        assert (found.returns[0] == found.natural).all()
        assert (found.flips[1] <= 1).all()
    assert many.flips[1].mean() >= few.flips[1].mean() - 0.1
    assert np.isfinite(many.returns).all()

"""``rlkit attack --measures``: a linear policy, of which distance, saliency and sections are known in closed form."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.adversarial import Budget, first_order_flip, visited
from rlkit.agents import DQN
from rlkit.experiments.cli import main
from rlkit.experiments.workflows.measures.sections import DRAWN, SIDE
from rlkit.experiments.workflows.measures.states import EPISODES, STATES

EPSILONS = (0.05, 0.2, 1.6)
FILES = ("distance", "saliency", "sections", "saliency_steps", "rays", "planes")


@pytest.fixture(scope="module")
def agent() -> DQN:
    """Untrained, with two seeds of their own weights."""
    return DQN("CartPole-v1", seeds=[3, 4], network="linear", device="cpu")


@pytest.fixture(scope="module")
def folder(agent: DQN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The attack of that agent with every measure, in raw units."""
    folder = tmp_path_factory.mktemp("measures")
    agent.save(folder / "agent.safetensors")
    args = ["attack", str(folder / "agent.safetensors"), "--unit", "raw", "--epsilons", *map(str, EPSILONS)]
    args += ["--attacks", "noise", "fgsm", "--episodes", "2", "--out", str(folder / "run"), "--json"]
    assert main([*args, "--measures", "distance", "saliency", "sections"]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))["results"]["measures"]
    return found


def weights(agent: DQN) -> torch.Tensor:
    """``[S, D, A]``."""
    zero, unit = torch.zeros(2, 1, 4), torch.eye(4).expand(2, -1, -1)
    with torch.no_grad():
        return agent.scores(unit) - agent.scores(zero)


@pytest.mark.slow
def test_the_distance_of_a_linear_policy_is_margin_over_the_dual_norm(agent: DQN, results: dict[str, Any]) -> None:
    states = visited(agent, agent.evaluation_env(EPISODES), STATES)
    lead = weights(agent)[..., 1] - weights(agent)[..., 0]  # [S, D]
    scores = agent.scores(states).detach()
    exact = (scores[..., 1] - scores[..., 0]).abs() / lead.abs().sum(dim=-1)[:, None]
    deepfool, noise, fgsm = results["distance"]
    assert (deepfool["attack"], noise["attack"], fgsm["attack"]) == ("DeepFool", "sign noise", "FGSM")
    halved = max(EPSILONS) * 2.0**-10  # how finely bisection looks
    for found in (deepfool, fgsm):
        assert found["median_of_seeds"] == pytest.approx(exact.median(dim=1).values.tolist(), abs=halved)
        assert found["median"]["value"] == pytest.approx(np.mean(found["median_of_seeds"]))
        for epsilon, share in zip(EPSILONS, found["flipped"], strict=True):
            assert share["value"] == pytest.approx((exact <= epsilon).double().mean(dim=(0, 1)).item(), abs=0.01)
    assert all(n["value"] <= f["value"] for n, f in zip(noise["flipped"], fgsm["flipped"], strict=True))


@pytest.mark.slow
def test_the_saliency_of_a_linear_policy_is_its_weights(agent: DQN, results: dict[str, Any], folder: Path) -> None:
    assert results["saliency"]["features"] == ["position", "velocity", "angle", "turning"]
    with (folder / "saliency_steps.csv").open(encoding="utf-8") as file:
        steps = list(csv.DictReader(file))
    sizes = weights(agent)[0].abs().mT  # [A, D]
    for step in steps:
        found = [float(step[name]) for name in results["saliency"]["features"]]
        assert found == pytest.approx(sizes[int(step["action"])].tolist(), rel=1e-4)
    mean = np.mean([sizes[int(step["action"])].tolist() for step in steps], axis=0)
    assert results["saliency"]["mean_of_seeds"][0] == pytest.approx(mean.tolist(), rel=1e-4)


@pytest.mark.slow
def test_a_linear_policy_flips_where_its_gradient_says(agent: DQN, results: dict[str, Any], folder: Path) -> None:
    states = visited(agent, agent.evaluation_env(EPISODES), STATES)
    straight = first_order_flip(agent, states, Budget(0.0))
    for epsilon, row in zip(EPSILONS, results["sections"]["flips"], strict=True):
        assert row["epsilon"] == epsilon
        assert row["steepest direction"]["value"] == pytest.approx(row["predicted by the gradient"]["value"], abs=0.01)
        share = (straight < epsilon).double().mean(dim=(0, 1)).item()
        assert row["steepest direction"]["value"] == pytest.approx(share, abs=0.01)
        assert row["random signs"]["value"] <= row["steepest direction"]["value"]
    with (folder / "planes.csv").open(encoding="utf-8") as file:
        planes = list(csv.DictReader(file))
    assert len(planes) == DRAWN * (2 * SIDE + 1) ** 2
    middle = [row for row in planes if float(row["steepest"]) == float(row["random"]) == 0.0]
    with torch.no_grad():
        own = agent.act(states)[0, [int(row["state"]) for row in middle]]
    assert [int(row["action"]) for row in middle] == own.tolist()
    gain = (weights(agent)[0, :, 1] - weights(agent)[0, :, 0]).abs().sum(dim=0).item()  # per epsilon, norm inf
    first = [row for row in planes if row["state"] == planes[0]["state"] and float(row["random"]) == 0.0]
    rise = float(first[-1]["margin"]) - float(first[0]["margin"])
    assert rise == pytest.approx(2 * EPSILONS[-1] * gain, rel=1e-4)
    with (folder / "rays.csv").open(encoding="utf-8") as file:
        rays = list(csv.DictReader(file))
    assert len(rays) == DRAWN * 2 * (2 * SIDE + 1)
    assert {row["direction"] for row in rays} == {"steepest", "random"}


@pytest.mark.slow
def test_every_measure_is_in_the_report(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    for name in FILES:
        assert (folder / f"{name}.csv").is_file()
    for words in (
        "Adversarial distance in raw observation units",
        "Saliency over an episode",
        "Share of states that flip",
    ):
        assert words in page
    assert page.count("data:image/svg") == 4


@pytest.mark.slow
def test_features_of_other_environments_are_numbered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = DQN("rlkit/GridWorld-v0", env_kwargs={"observation": "coordinates", "max_steps": 5}, device="cpu")
    grid.save(tmp_path / "grid.safetensors")
    args = ["attack", str(tmp_path / "grid.safetensors"), "--unit", "raw", "--epsilons", "0.1", "--attacks", "noise"]
    assert main([*args, "--episodes", "1", "--measures", "saliency", "distance"]) == 0
    said = capsys.readouterr().out
    assert "feature 1" in said
    assert "in 1 of 1 seeds" in said  # noise changes too few actions for a median
    assert "one seed: no interval" in said


@pytest.mark.slow
def test_measures_need_an_epsilon_and_a_known_name(
    agent: DQN, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.save(tmp_path / "agent.safetensors")
    args = ["attack", str(tmp_path / "agent.safetensors"), "--unit", "raw", "--episodes", "1", "--attacks", "noise"]
    assert main([*args, "--epsilons", "0", "--measures", "distance"]) == 2
    assert "need an epsilon above 0, got [0.0]: add one" in capsys.readouterr().err
    assert main([*args, "--epsilons", "0.1", "--measures", "distances"]) == 2
    assert "distances" in capsys.readouterr().err

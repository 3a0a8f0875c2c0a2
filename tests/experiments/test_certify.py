"""``rlkit certify`` and ``rlkit attack --worst-case``: certificates and the exact worst case from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rlkit.adversarial import Threat, certified_action_rate, execute, visited
from rlkit.adversarial.attacks.gradient import PGD
from rlkit.agents import DQN, PPO
from rlkit.experiments.cli import main
from rlkit.experiments.report import ledger
from rlkit.experiments.workflows.certify import EPISODES, certify
from rlkit.experiments.workflows.policies import of_agent

GRID = {"map": "russell-norvig-4x3", "observation": "coordinates"}


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Path:
    """Two seeds of DQN on a grid with coordinates, hardly trained."""
    path = tmp_path_factory.mktemp("grid") / "agent.safetensors"
    DQN("rlkit/GridWorld-v0", seeds=2, device="cpu", env_kwargs=GRID, net_arch=(16,), learning_starts=50).learn(
        500
    ).save(path)
    return path


def run_json(capsys, *arguments: str):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_certified_shares_are_those_of_the_states_and_no_attack_changes_them(tmp_path: Path, capsys) -> None:
    agent = PPO("CartPole-v1", seeds=[0, 4], device="cpu", net_arch=(8, 8))
    agent.save(tmp_path / "agent.safetensors")
    told = run_json(
        capsys, "certify", str(tmp_path / "agent.safetensors"), "--epsilons", "0.01", "0.1", "--states", "20"
    )
    threat = Threat(scale=(0.44, 0.33, 0.037, 0.23))
    obs = visited(agent, agent.evaluation_env(EPISODES, 10_000), 20)
    for epsilon in (0.01, 0.1):
        rates = certified_action_rate(agent, obs, threat.budget(epsilon))
        shares = told["results"]["rates"][str(epsilon)]
        assert shares["certified"] == rates.certified.tolist()
        assert np.allclose(np.sum(list(shares.values()), axis=0), 1.0)
        flipped = execute(PGD(), agent, obs, threat.budget(epsilon)).success.double().mean(dim=1)
        assert (flipped <= rates.changed + rates.open).all()
    radius = told["results"]["radius"]
    found = np.array(radius["achieved"], dtype=float)  # null where none was found
    assert (np.array(radius["certified"]) <= np.where(np.isnan(found), np.inf, found)).all()
    assert told["settings"]["threat"] == Threat(**{**told_threat(told), "env": "CartPole-v1"}).digest


def told_threat(told):
    """The fields of the threat in the settings of a run."""
    names = ("epsilons", "norm", "scale", "unit", "knows", "victim", "horizon", "first_seed", "selection_seed")
    return {name: told["settings"][name] for name in names}


@pytest.mark.slow
def test_the_worst_case_of_a_grid_is_enclosed(grid: Path, tmp_path: Path, capsys) -> None:
    arguments = ("--epsilons", "0.2", "0.4", "--attacks", "noise", "fgsm", "--episodes", "2", "--worst-case")
    told = run_json(capsys, "attack", str(grid), *arguments, "--out", str(tmp_path / "run"))
    assert [each["epsilon"] for each in told["results"]["worst_case"]] == [0.2, 0.4]
    for each in told["results"]["worst_case"]:
        lower, exact, best, natural = (
            np.array(each[name]) for name in ("certified", "worst_case", "best_attack", "natural")
        )
        assert lower.shape == (2,)
        assert (lower <= exact + 1e-9).all()
        assert (exact <= best + 1e-6).all()
        assert (best <= natural + 1e-9).all()
    smaller, larger = (np.array(each["worst_case"]) for each in told["results"]["worst_case"])
    assert (larger <= smaller + 1e-6).all()
    (panel,) = ledger.read(tmp_path / "run").panels
    assert [slider.positions for slider in panel.sliders] == [(0.0, 0.2, 0.4)]
    start = panel.map.index("S..."), 0
    (state,) = [i for i, tile in enumerate(panel.tiles.tolist()) if tuple(tile) == start]
    expected = [np.mean(told["results"]["worst_case"][0]["natural"]), smaller.mean(), larger.mean()]
    np.testing.assert_allclose(panel.value[:, state], expected, rtol=2e-3)
    assert (panel.value[0] >= panel.value[2] - 1e-3)[~np.isnan(panel.value[0])].all()


@pytest.mark.slow
def test_what_has_no_exact_worst_case_or_certificate_is_refused(tmp_path: Path, capsys) -> None:
    options = ("--episodes", "1", "--attacks", "noise", "--worst-case")
    PPO("CartPole-v1", device="cpu", net_arch=(8,)).save(tmp_path / "pole.safetensors")
    assert main(["attack", str(tmp_path / "pole.safetensors"), *options, "--attacks-per-episode", "3"]) == 2
    assert "greedy policies without a limit of attacks" in capsys.readouterr().err
    PPO("Acrobot-v1", device="cpu", net_arch=(8,)).save(tmp_path / "acrobot.safetensors")
    assert main(["attack", str(tmp_path / "acrobot.safetensors"), *options]) == 2
    assert "not for Acrobot-v1" in capsys.readouterr().err
    assert main(["certify", str(tmp_path / "pole.safetensors"), "--states", "0"]) == 2
    assert "states must be at least 1, got 0" in capsys.readouterr().err
    DQN("rlkit/GridWorld-v0", device="cpu").save(tmp_path / "index.safetensors")
    assert main(["certify", str(tmp_path / "index.safetensors"), "--unit", "raw"]) == 2
    assert "cannot be attacked" in capsys.readouterr().err


@pytest.mark.slow
def test_the_lookahead_of_a_grid_is_the_worst_case_by_state(grid: Path, capsys) -> None:
    arguments = ("--epsilons", "0.4", "--attacks", "lookahead", "fgsm", "--episodes", "10")
    told = run_json(capsys, "attack", str(grid), *arguments)
    names = [point["attack"] for point in told["results"]["curves"]["rlkit DQN"]]
    assert names == ["natural", "worst case", "FGSM", "strongest"]


def test_radii_are_left_out_where_they_are_not_wanted() -> None:
    agent = PPO("CartPole-v1", seeds=[1], device="cpu", net_arch=(8,))
    run = certify(of_agent(agent, "CartPole-v1", {}), Threat(epsilons=(0.05,)), states=5, radius=False)
    assert run.results["radius"] is None
    assert len(run.tables) == 1
    assert torch.tensor(run.results["rates"]["0.05"]["open"]).sum() == 0


@pytest.mark.slow
def test_falls_of_the_cart_pole_are_bounded(tmp_path: Path, capsys) -> None:
    PPO("CartPole-v1", seeds=2, device="cpu", net_arch=(8,)).save(tmp_path / "pole.safetensors")
    arguments = ("--attacks", "noise", "--episodes", "2", "--epsilons", "0", "0.2", "--worst-case")
    told = run_json(capsys, "attack", str(tmp_path / "pole.safetensors"), *arguments)
    still, attacked = told["results"]["falls"]
    assert still["lower"] == still["upper"] == still["natural"]
    lower, upper, natural = (np.array(attacked[name]) for name in ("lower", "upper", "natural"))
    assert lower.shape == (2, 5)
    assert (lower >= 1).all()
    assert (lower <= upper).all()
    assert (upper <= natural).all()
    assert (upper < natural).any()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*still running after 20 steps")
def test_the_smoothed_policy_has_a_table_of_its_own(tmp_path: Path, capsys) -> None:
    PPO("CartPole-v1", seeds=2, device="cpu", net_arch=(8,)).save(tmp_path / "pole.safetensors")
    policy = str(tmp_path / "pole.safetensors")
    (tmp_path / "threat.toml").write_text("horizon = 20\nscale = [0.44, 0.33, 0.037, 0.23]", encoding="utf-8")
    threat = ("--threat", str(tmp_path / "threat.toml"), "--epsilons", "0", "2")
    options = (*threat, "--states", "5", "--no-radius", "--smoothing", "0.5")
    told = run_json(capsys, "certify", policy, *options, "--smoothing-episodes", "200")
    found = told["results"]["smoothing"]
    certified, attacked, most = (np.array(found[name]) for name in ("certified", "attacked", "at_most"))
    assert certified.shape == attacked.shape == most.shape == (2, 2)
    natural = np.array(found["natural"])
    assert (certified[:, 0] <= natural).all()
    assert (natural <= most[:, 0]).all()
    assert (certified <= attacked).all()  # a sample, far from the bound
    episode = ("--norm", "2", "--epsilon-per", "episode")
    assert main(["certify", policy, "--states", "5", *episode]) == 2
    assert "certificates of single decisions are of an epsilon per step" in capsys.readouterr().err
    told = run_json(capsys, "attack", policy, *threat, *episode, "--attacks", "fgsm", "--episodes", "3")
    names = {point["attack"] for points in told["results"]["curves"].values() for point in points}
    assert names == {"natural", "strongest", *(f"FGSM over {steps} steps" for steps in (1, 2, 20))}
    assert main(["certify", policy, *options, "--smoothing-episodes", "0"]) == 2
    assert "smoothing_episodes must be at least 1, got 0" in capsys.readouterr().err


@pytest.mark.slow
def test_a_policy_that_acts_on_lower_bounds_is_attacked_and_certified(tmp_path: Path, capsys) -> None:
    DQN("CartPole-v1", seeds=2, device="cpu", net_arch=(8,)).save(tmp_path / "pole.safetensors")
    policy = (str(tmp_path / "pole.safetensors"), "--carrl", "0.1", "--epsilons", "0.1")
    told = run_json(capsys, "certify", *policy, "--states", "5")
    assert told["settings"]["algorithm"] == "rlkit DQN with CARRL 0.1"
    told = run_json(capsys, "attack", *policy, "--attacks", "fgsm", "--episodes", "2")
    assert list(told["results"]["curves"]) == ["rlkit DQN with CARRL 0.1"]
    assert main(["evaluate", *policy[:3], "--episodes", "2"]) == 0
    PPO("CartPole-v1", device="cpu", net_arch=(8,)).save(tmp_path / "ppo.safetensors")
    assert main(["evaluate", str(tmp_path / "ppo.safetensors"), "--carrl", "0.1"]) == 2
    assert "PPO gives logits" in capsys.readouterr().err

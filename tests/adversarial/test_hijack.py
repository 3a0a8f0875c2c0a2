"""Hijacking: counts and returns by hand, the attacker's problem against the exact solver, and victims that obey."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torch import Tensor

import rlkit.envs
from rlkit.adversarial import FGSM, PGD, AttackedPolicy, Budget, Noise, TablePolicy, hijack_rollout
from rlkit.agents import DQN
from rlkit.envs import CartPole, GridWorld, RewardOverride
from rlkit.envs.gym_env import DynamicsEnv
from rlkit.evaluation import rollout
from rlkit.experiments.cli import main
from rlkit.experiments.workflows.attacker_goals import ENOUGH, SetPoint, attacker_goal_of
from rlkit.experiments.workflows.policies import Subject, of_agent
from rlkit.planning import evaluate, solve, start_value
from rlkit.types import Env


class Linear:
    """Scores ``x W + b``: S linear victims."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight, self.bias = weight, torch.zeros(weight.shape[-1]) if bias is None else bias
        self.num_seeds = len(weight)
        self.seeds = tuple(range(self.num_seeds))

    def scores(self, obs: Tensor) -> Tensor:
        return obs @ self.weight + self.bias

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return self.scores(obs).argmax(dim=-1)


GRID = GridWorld("two-goal", observation="coordinates")
# left of the middle it goes left and right of it right, whatever the row; the start is in the middle's left neighbor
DIVIDED = Linear(torch.tensor([[[0.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 1.0, 0.0]]]), torch.tensor([0.3, -9.0, -0.3, -9.0]))


def episodes(dynamics: Any, copies: int, rows: int = 1) -> Env:
    return rlkit.envs.make(dynamics, seeds=[50] * rows, num_envs=copies, restart=False, noise="gymnasium", double=True)


def pole_subject() -> Subject:
    return of_agent(DQN("CartPole-v1", net_arch=(16,), device="cpu"), "CartPole-v1", {})


def grid_subject(**kwargs: Any) -> Subject:
    kwargs = {"map": "two-goal", "observation": "coordinates", **kwargs}
    agent = DQN("rlkit/GridWorld-v0", env_kwargs=kwargs, net_arch=(16,), device="cpu")
    return of_agent(agent, "rlkit/GridWorld-v0", kwargs)


# pieces


def test_another_reward_in_the_same_world() -> None:
    pole = CartPole(max_steps=80)
    angle = RewardOverride(pole, lambda state, action, next_state, terminated: next_state[..., 2] * (1.0 - terminated))
    steps = []
    for dynamics in (pole, angle):
        env = rlkit.envs.make(dynamics, seeds=[1, 2], num_envs=3)
        steps.append([env.step(torch.full((2, 3), t % 2)) for t in range(30)])
    for true, paid in zip(*steps, strict=True):
        assert torch.equal(true.next_obs, paid.next_obs)
        assert torch.equal(true.terminated, paid.terminated)
        expected = torch.where(true.terminated, 0.0, true.next_obs[..., 2])
        torch.testing.assert_close(paid.reward, expected, rtol=1e-5, atol=1e-7)
    assert RewardOverride(GRID, lambda *step: np.float64(0)).render(np.array([0]), "ansi") == GRID.render(np.array([0]))
    check_env(DynamicsEnv(RewardOverride(GRID, lambda *step: 0.0)), skip_render_check=True)


@pytest.mark.parametrize("kind", ["index", "onehot", "coordinates"])
def test_a_table_is_asked_by_what_is_observed(kind: Any) -> None:
    grid = GridWorld("two-goal", observation=kind)
    actions = np.random.default_rng(0).integers(0, 4, grid.mdp.num_states)
    policy = TablePolicy(grid.observations().copy(), actions)
    seen = torch.as_tensor(grid.observations().copy())
    asked = torch.stack([seen, seen.flip(0)])  # [S, B, *observation]
    assert torch.equal(policy.act(asked), torch.from_numpy(np.stack([actions, actions[::-1]])))


def test_following_is_counted_step_by_step() -> None:
    class Alternating:
        """Says 0 where the cart is left of the middle, else 1."""

        def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
            return (obs[..., 0] > 0).long()

    pole = CartPole(max_steps=60)
    victim = Linear(torch.tensor([[[-0.1, 0.1], [-0.3, 0.3], [-3.0, 3.0], [-0.5, 0.5]]]))
    played = hijack_rollout(victim, Alternating(), episodes(pole, 3))
    env, same, total = episodes(pole, 3), torch.zeros(1, 3), torch.zeros(1, 3)
    for _ in range(60):
        action = victim.act(env.obs)
        same += action == (env.obs[..., 0] > 0).long()
        total += env.step(action).reward
    assert torch.equal(played.followed, same.long())
    assert torch.equal(played.returns, total.double())
    assert played.lengths.eq(60).all()
    itself = hijack_rollout(victim, victim, episodes(pole, 3))
    assert torch.equal(itself.followed, itself.lengths)
    assert torch.equal(itself.returns, rollout(victim, episodes(pole, 3)).returns)


# the grid


def test_the_attackers_policy_is_the_exact_optimum_of_its_wish() -> None:
    scheme = attacker_goal_of(grid_subject(slip=0.2), "g")
    assert scheme.description == "share of episodes that end at g"
    played = hijack_rollout(scheme.policy, scheme.policy, episodes(scheme.dynamics, 400))
    share = played.returns.mean(dim=(0, 1)).item()
    # the same wish as a grid of our own whose only paying tile is g
    description = GridWorld(
        "two-goal", slip=0.2, goal_reward=0.0, tiles={"g": rlkit.envs.Tile(reward=1.0, terminal=True)}
    )
    best = solve(description.mdp, 0.99)
    assert isinstance(scheme.policy, TablePolicy)
    value = evaluate(description.mdp, scheme.policy.actions.numpy(), 0.99)
    assert float(start_value(description.mdp, value)) == pytest.approx(
        float(start_value(description.mdp, best.value)), abs=1e-8
    )
    undiscounted = evaluate(description.mdp, scheme.policy.actions.numpy(), 0.99999)
    assert share == pytest.approx(float(start_value(description.mdp, undiscounted)), abs=0.05)


@pytest.mark.slow
def test_a_divided_victim_is_sent_to_the_other_goal_and_noise_does_not_do_it() -> None:
    scheme = attacker_goal_of(grid_subject(), "g")
    assert hijack_rollout(DIVIDED, scheme.policy, episodes(scheme.dynamics, 1)).returns.item() == 0.0

    def share(attack: Any, epsilon: float, targeted: bool) -> float:
        target = scheme.policy.act if targeted else None
        attacked = AttackedPolicy(DIVIDED, attack, Budget(epsilon), (3,), target)
        played = hijack_rollout(DIVIDED, scheme.policy, episodes(scheme.dynamics, 40), attacked)
        assert (played.followed <= played.lengths).all()
        return played.returns.mean(dim=(0, 1)).item()

    # the start reads as right of the line by 3/8 - 0.3; what moves it across suffices, from there on it goes by itself
    assert share(FGSM(), 0.07, True) == 0.0
    assert share(FGSM(), 0.08, True) == 1.0
    assert share(PGD(5), 0.08, True) == 1.0
    assert share(FGSM(), 0.5, False) == 0.0  # away from what it does: back and forth across the line
    assert 0.0 < share(Noise(), 0.08, False) < 1.0


# the cart-pole


@pytest.mark.slow
@pytest.mark.parametrize(("toward", "side"), [("left", -1.0), ("right", 1.0)])
def test_the_controller_keeps_the_pole_up_on_its_side(toward: str, side: float) -> None:
    scheme = attacker_goal_of(pole_subject(), toward)
    played = hijack_rollout(scheme.policy, scheme.policy, episodes(scheme.dynamics, 20))
    assert played.lengths.eq(500).all()
    assert (played.returns > 300).all()
    env, counted = episodes(CartPole(), 20), torch.zeros(1, 20)
    for _ in range(500):
        counted += side * env.step(scheme.policy.act(env.obs)).next_obs[..., 0] >= ENOUGH
    assert torch.equal(played.returns, counted.double())


@pytest.mark.slow
def test_a_balancing_victim_is_driven_to_the_side() -> None:
    gains = torch.tensor([0.1, 0.3, 3.0, 0.5])
    victim = Linear(torch.stack([-gains, gains], dim=-1)[None])
    scheme = attacker_goal_of(pole_subject(), "right")
    budget = Budget(0.2, scale=[0.732, 1.063, 0.122, 0.439])

    def paid(perturb: Any) -> float:
        return (
            hijack_rollout(victim, scheme.policy, episodes(scheme.dynamics, 4), perturb).returns.mean(dim=(0, 1)).item()
        )

    hijacked = paid(AttackedPolicy(victim, FGSM(), budget, target=scheme.policy.act))
    own = paid_itself(scheme)
    assert paid(None) == 0.0
    assert paid(AttackedPolicy(victim, Noise(), budget, (0,))) < 10
    assert paid(AttackedPolicy(victim, FGSM(), budget)) < 0.5 * hijacked
    assert hijacked > 0.6 * own


def paid_itself(scheme: Any) -> float:
    played = hijack_rollout(scheme.policy, scheme.policy, episodes(scheme.dynamics, 4))
    return float(played.returns.mean(dim=(0, 1)))


def test_the_controller_pushes_towards_its_set_point() -> None:
    controller = SetPoint(1.0)
    obs = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.2, 0.0]]])
    assert controller.act(obs).tolist() == [[0, 1, 1]]  # to go right the pole has to lean right first: push left


@pytest.mark.slow
def test_the_lattice_earns_more_than_the_controller() -> None:
    scheme = attacker_goal_of(pole_subject(), "right", points=21)
    controller, lattice = scheme.policies.values()
    env = episodes(scheme.dynamics, 4)
    played = hijack_rollout(lattice, lattice, env)
    assert played.lengths.eq(500).all()
    assert (played.returns > hijack_rollout(controller, controller, episodes(scheme.dynamics, 4)).returns + 50).all()


# the command line


@pytest.mark.slow
def test_the_cart_poles_command_prints_both_of_the_attackers_policies(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["hijack", files["pole"], "--toward", "right", "--epsilons", "0.1", "--episodes", "1", "--points", "5"]
    assert main([*args, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    names = [f"{attack} targeted, {planner}" for attack in ("FGSM", "PGD") for planner in ("controller", "lattice")]
    found = [attempt["attempt"] for attempt in results["attempts"]]
    assert found == ["natural", "sign noise", "FGSM untargeted", *names]
    assert results["attackers_own_return"].keys() == {"controller", "lattice"}
    assert results["attackers_own_return"]["controller"] > 300


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("policies")
    kwargs = {"map": "two-goal", "observation": "coordinates"}
    DQN("CartPole-v1", seeds=[0, 1, 2], net_arch=(16,), device="cpu").save(folder / "pole.safetensors")
    DQN("rlkit/GridWorld-v0", seeds=[0, 1], env_kwargs=kwargs, net_arch=(16,), device="cpu").save(
        folder / "grid.safetensors"
    )
    DQN("Acrobot-v1", net_arch=(16,), device="cpu").save(folder / "acrobot.safetensors")
    return {path.stem: str(path) for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "toward", "unit"), [("pole", "left", "std"), pytest.param("grid", "g", "raw", marks=pytest.mark.slow)]
)
def test_the_command_writes_table_and_figure(
    files: dict[str, str], policy: str, toward: str, unit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["hijack", files[policy], "--toward", toward, "--epsilons", "0.1", "0.0", "--unit", unit, "--episodes", "2"]
    assert main([*args, "--out", str(tmp_path / "a"), "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    attempts = out["results"]["attempts"]
    names = ["sign noise", "FGSM untargeted", "FGSM targeted", "PGD targeted"]
    assert [(a["attempt"], a["epsilon"]) for a in attempts] == [
        ("natural", 0.0),
        *((name, epsilon) for name in names for epsilon in (0.0, 0.1)),
    ]
    assert all(a["return"]["value"] == attempts[0]["return"]["value"] for a in attempts if a["epsilon"] == 0.0)
    for a in attempts:
        assert a["return"]["n"] == len(a["seed_returns"]) == len(a["seed_followed"]) == len(out["results"]["seeds"])
        assert a["return"]["value"] == pytest.approx(np.mean(a["seed_returns"]))
        assert a["followed"]["value"] == pytest.approx(np.mean(a["seed_followed"]))
        assert 0 <= a["return"]["lower"] <= a["return"]["upper"] <= (500 if policy == "pole" else 1)
    assert out["settings"]["aliasing_epsilon"] == (None if policy == "pole" else pytest.approx(1 / 16))
    assert (tmp_path / "a" / "hijack.svg").exists()
    assert (tmp_path / "a" / "hijack.csv").exists()


@pytest.mark.parametrize(
    ("policy", "words", "message"),
    [
        ("pole", ["--toward", "up"], "--toward must be left or right on the cart-pole, got 'up'"),
        ("grid", ["--toward", "S"], "--toward must be a tile that ends the episode, G, g, got 'S'"),
        ("acrobot", ["--toward", "left"], "hijacking works on CartPole-v1 and rlkit/GridWorld-v0, not on Acrobot-v1"),
        ("pole", ["--toward", "left", "--epsilons=-1"], "epsilon must be finite and not negative, got -1"),
        ("grid", ["--toward", "g", "--points", "9"], "--points is for the lattice of the cart-pole"),
        ("pole", ["--toward", "left", "--episodes", "0"], "episodes must be at least 1, got 0"),
    ],
)
def test_misuse_is_one_line(
    files: dict[str, str], policy: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["hijack", files[policy], *words]) == 2
    assert message in capsys.readouterr().err


def test_a_table_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one action per observation, got \[3\] actions for 2 observations"):
        TablePolicy(np.eye(2), [0, 1, 1])

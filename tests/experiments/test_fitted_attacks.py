"""Attacks that are fitted to a policy: on the cart-pole's lattice, learned, universal, and on an imitation."""

from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from rlkit.adversarial import PGD, Threat, ValueAware, committed_threat, robustness_curve
from rlkit.agents import DQN, PPO
from rlkit.envs import CartPole, make
from rlkit.experiments.cli import main
from rlkit.experiments.workflows import fitted_attacks
from rlkit.experiments.workflows.attack import ATTACKS, AttackName, attack_plan, curve, measured_curve
from rlkit.experiments.workflows.cartpole.adversary import LatticeWorstCase, lattice_attack
from rlkit.experiments.workflows.fitted_attacks import FITTED, FittedAttacks, fit_states
from rlkit.experiments.workflows.policies import of_agent


class Balance:
    """The linear policy (.1, .3, 3, .5), which balances for 500 steps; its scores are exact."""

    num_seeds, seeds, scores_are_values, device = 1, (0,), False, torch.device("cpu")
    gains = torch.tensor([0.1, 0.3, 3.0, 0.5], dtype=torch.float64)

    def scores(self, obs):
        lean = obs.to(torch.float64) @ self.gains
        return torch.stack([-lean, lean], dim=-1)

    def act(self, obs, deterministic=True):
        return (self.scores(obs)[..., 1] > 0).long()

    def __getitem__(self, row):
        return self


def small(env: str = "CartPole-v1", algo=PPO, **kwargs):
    agent = algo(env, seeds=[3, 5], device="cpu", net_arch=(8,), **kwargs)
    return of_agent(agent, env, kwargs.get("env_kwargs", {}))


@pytest.mark.slow
def test_at_epsilon_zero_the_lattice_predicts_the_natural_value():
    worst = LatticeWorstCase(CartPole(), [Balance()], Threat().budget(0.0), points=7)
    still = LatticeWorstCase(CartPole(), [Balance()], Threat(scale=(0.0,)).budget(1.0), points=7)
    assert np.array_equal(worst.value, still.value)
    large = LatticeWorstCase(CartPole(), [Balance()], committed_threat("CartPole-v1").budget(3.0), points=7)
    assert (large.value <= worst.value + 1e-2).all()  # up to twice the tolerance of the solutions
    assert (large.value < worst.value - 1.0).any()
    values = worst(torch.zeros(1, 3, 4))
    assert values.shape == (1, 3, 2)
    assert torch.allclose(values[..., 0], values[..., 1], atol=0.2)  # upright, both pushes are alike


@pytest.mark.slow
def test_it_leaves_less_than_pgd():
    victim, budget = Balance(), committed_threat("CartPole-v1").budget(1.6)

    def envs(copies):
        return make(CartPole(), seeds=[100], num_envs=copies, restart=False, noise="gymnasium", double=True)

    attack = lattice_attack(CartPole(), [victim], budget, points=7)
    played = robustness_curve(victim, envs, [PGD(10), attack], 1.6, budget, episodes=4, seeds=[0])
    natural, (by_margin, by_value) = played.natural.mean(), played.returns.mean(axis=(1, 2, 3))
    assert natural == 500
    assert by_value < 0.5 * by_margin


@pytest.mark.slow
@pytest.mark.parametrize("name", FITTED)
def test_every_fitted_attack_is_played_at_every_epsilon_by_its_own_fit(name, monkeypatch):
    learned = partial(fitted_attacks.learned, steps=256)
    monkeypatch.setitem(fitted_attacks.FITTED, "learned", learned)
    monkeypatch.setitem(fitted_attacks.FITTED, "linear", partial(fitted_attacks.linear, generations=1))
    monkeypatch.setattr(fitted_attacks, "IMITATION_STEPS", 50)
    monkeypatch.setattr(
        fitted_attacks, "lattice_attack", lambda pole, rows, budget: lattice_attack(pole, rows, budget, 3)
    )
    subject = small()
    threat = committed_threat("CartPole-v1")
    plan = attack_plan(subject, [name], Threat(epsilons=(0.0, 0.5), scale=threat.scale))
    fits = FittedAttacks(subject, plan.threat)
    found = curve(subject, plan, 3, 10_000, fits)
    assert found.epsilons == (0.0, 0.5)
    assert found.returns.shape == (1, 2, 2, 3)
    assert np.array_equal(found.returns[0, 0], found.natural)  # epsilon 0
    assert fits(name, 0.5) is fits(name, 0.5)
    assert fits(name, 0.5) is not fits(name, 0.0)


@pytest.mark.slow
def test_the_strongest_attack_follows_the_others():
    subject = small()
    plan = attack_plan(subject, ["noise", "universal"], Threat(epsilons=(0.1, 0.2)))
    found = measured_curve(subject, plan, 3)
    assert found.attacks == ("sign noise", "universal", "strongest")
    assert found.returns.shape == (3, 2, 2, 3)


def test_a_policy_without_values_on_another_environment_is_refused():
    threat = Threat()
    with pytest.raises(ValueError, match="no lattice here, and rlkit PPO gives logits"):
        FITTED["lookahead"](small("Acrobot-v1"), threat.budget(0.1), threat)
    with pytest.raises(ValueError, match="needs the dynamics of Acrobot-v1"):
        FITTED["learned"](small("Acrobot-v1"), threat.budget(0.1), threat)
    own = FITTED["lookahead"](small("Acrobot-v1", DQN), threat.budget(0.1), threat)
    assert isinstance(own, ValueAware)
    assert own.name == "value-aware, own Q"


def test_the_adversary_knows_what_the_threat_says():
    subject = small()
    for attack in ("fgsm", "lookahead", "learned", "linear", "universal"):
        with pytest.raises(ValueError, match=f"the attack '{attack}' needs the policy's gradients"):
            attack_plan(subject, [attack], Threat(knows=("state", "step")))
    assert attack_plan(subject, ["boundary", "substitute", "noise"], Threat(knows=("state",))).attacks
    with pytest.raises(ValueError, match="no attack uses the draw"):
        attack_plan(subject, ["noise"], Threat(knows=("state", "draw"), victim="sampled"))


def test_attacks_are_fitted_to_episodes_of_their_own():
    subject = small()
    first = []
    spied = subject._replace(make_env=lambda copies, seed: first.append(seed) or subject.make_env(copies, seed))
    fit_states(spied, Threat(first_seed=10_000, selection_seed=20_000))
    assert first == [21_000]


def test_a_linear_adversary_is_searched_on_episodes_of_its_own(monkeypatch):
    asked = []
    monkeypatch.setattr(fitted_attacks, "linear_adversary", lambda *given: asked.append(given) or iter(["attack"]))
    threat = Threat(first_seed=10_000, selection_seed=20_000, horizon=70)
    assert fitted_attacks.linear(small(), threat.budget(0.1), threat, 2) == "attack"
    assert asked[0][4:] == ((2,), (3, 5), 21_000, 70)


def test_the_command_knows_every_attack():
    assert set(get_args(AttackName)) == {*ATTACKS, *FITTED}


@pytest.mark.slow
def test_the_command_reads_a_threat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small().policy.save(tmp_path / "agent.safetensors")
    threat = tmp_path / "threat.toml"
    threat.write_text('env = "CartPole-v1"\nepsilons = [0.3]\nnorm = "2"\n', encoding="utf-8")
    command = ["attack", str(tmp_path / "agent.safetensors"), "--threat", str(threat), "--episodes", "2"]
    assert main([*command, "--attacks", "noise", "universal"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert Threat.read(threat).digest in said
    assert main([*command, "--unit", "raw"]) == 2
    assert "leave --unit out" in capsys.readouterr().err
    threat.write_text('env = "Acrobot-v1"\n', encoding="utf-8")
    assert main(command) == 2
    assert "is a threat to Acrobot-v1" in capsys.readouterr().err

"""Defenses as terms of agents: their rows to the bit, rows that are not finite, and which agents they serve."""

import math

import numpy as np
import pytest
import torch
from trained_rows import ALL, SMALL, assert_same_run, kept

from rlkit.adversarial import (
    APPLICABILITY,
    CARDQN,
    Budget,
    Curriculum,
    Distillation,
    LipschitzHinge,
    SADQNHinge,
    TwoLip,
    WeightDecay,
)
from rlkit.agents import A2C, DQN, PPO, REINFORCE
from rlkit.agents.core.terms import Terms
from rlkit.losses import huber, log_probability
from rlkit.nn import MLP, Dueling
from rlkit.types import Targets

SCALE = [0.44, 0.33, 0.037, 0.23]
NORMS = {"J2": "2", "two_lip": "2"}


def teacher(features):
    """Scores that are an elementwise function of the features."""
    return torch.stack([features[..., 0] + features[..., 1], features[..., 2] - features[..., 3]], dim=-1)


def defenses_named(name, epsilon, strength, **others):
    """A defense with numbers for each row, or one for all, in each of its forms."""
    defense = APPLICABILITY[name].defense
    if defense is WeightDecay:
        return [WeightDecay(strength)]
    if defense is Distillation:
        return [Distillation(teacher, 20.0, strength)]
    epsilons = torch.as_tensor(epsilon, dtype=torch.float64).reshape(-1, 1)
    budget = Budget(epsilons, NORMS.get(name, "inf"), SCALE)
    forms = {
        "J1": [{"method": "difference"}],
        "J2": [{"method": "difference"}],
        "two_lip": [{"method": "difference"}],
        "lipschitz_hinge": [{"of": "data"}],
        "sa_dqn_hinge": [{"method": "pgd", "steps": 2}],
        "car_dqn": [{"method": "pgd", "steps": 2}],
        "adversarial_training": [{"steps": 3}],
    }
    if defense is LipschitzHinge:
        others["limit"] = 0.01
    made = [defense(budget, strength, **others, **form) for form in [{}, *forms.get(name, [])]]
    if defense is LipschitzHinge:
        made.append(LipschitzHinge(Budget(epsilons, "2", SCALE), strength, **others))
    return made


def mlp(activation, rows):
    return MLP((4, 32, 16, 2), range(rows), activation)


def dueling(activation, rows):
    return Dueling(MLP((4, 32, 2), range(rows), activation), MLP((4, 16, 1), range(rows), activation, network_index=1))


def row_of(network, row):
    one = slice(row, row + 1)
    if isinstance(network, Dueling):
        return Dueling(network.advantage.rows(one), network.value.rows(one))
    return network.rows(one)


def gradient_of(term, network, seeds, features, targets, policy):
    """The number and the gradient of a term, with numbers drawn by the seeds."""

    def loss(scores):
        if policy:
            return (-targets.advantage * log_probability(scores.log_softmax(dim=-1), targets.action)).mean(dim=1)
        return huber(scores.gather(-1, targets.action[..., None])[..., 0] - targets.target).mean(dim=1)

    gradient = torch.zeros_like(network.flat)
    terms = Terms([term], seeds, torch.device("cpu"))
    (number,) = terms.add_to(gradient, network, features, loss, targets).values()
    return number, gradient


def minibatch(rows, size, policy):
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(rows, size, 4)) * SCALE).float()
    action = torch.from_numpy(rng.integers(0, 2, (rows, size)))
    target, advantage = (torch.from_numpy(rng.normal(size=(rows, size))).float() for _ in range(2))
    return features, Targets(action, target, advantage if policy else None)


def rows_of_targets(targets, row):
    return Targets(*(field[row : row + 1] if isinstance(field, torch.Tensor) else field for field in targets[:3]))


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICABILITY)
def test_the_gradient_of_a_row_has_the_same_bits_alone_and_beside_others(name):
    rows, epsilon, strength = 5, [0.1, 0.0, 0.3, 0.7, 0.2], [1.0, 0.5, 0.0, 2.0, 0.3]
    policy = not APPLICABILITY[name].values
    together = defenses_named(name, epsilon, strength)
    alone = [defenses_named(name, [epsilon[row]], [strength[row]]) for row in range(rows)]
    for network in (mlp("relu", rows), mlp("tanh", rows), *([] if policy else [dueling("relu", rows)])):
        for size in (3, 16, 50, 64):
            features, targets = minibatch(rows, size, policy)
            for form, term in enumerate(together):
                number, gradient = gradient_of(term, network, range(rows), features, targets, policy)
                assert gradient.isfinite().all()
                assert (gradient[[0, 3, 4]] != 0).any(dim=1).any(dim=0)
                for row in (0, 2, 3):
                    one = row_of(network, row)
                    own = features[row : row + 1], rows_of_targets(targets, row)
                    one_number, one_gradient = gradient_of(alone[row][form], one, [row], *own, policy)
                    assert torch.equal(one_number[0], number[row])
                    assert torch.equal(one_gradient[0], gradient[row])


@pytest.mark.slow
@pytest.mark.parametrize("what", ["parameter", "feature", "target"])
@pytest.mark.parametrize("name", APPLICABILITY)
def test_what_is_not_finite_stays_in_its_row(name, what):
    policy = not APPLICABILITY[name].values
    for term in defenses_named(name, 0.2, 0.5):
        network, (features, targets) = mlp("tanh", 3), minibatch(3, 20, policy)
        clean = gradient_of(term, network, range(3), features, targets, policy)
        if what == "parameter":
            network.flat[1, 0] = math.nan
        elif what == "feature":
            features[1, 4, 2] = math.nan
        else:
            targets.target[1, 3] = math.inf
        broken = gradient_of(term, network, range(3), features, targets, policy)
        for before, after in zip(clean, broken, strict=True):
            assert torch.equal(before[[0, 2]], after[[0, 2]])


def every_term(algorithm, epsilon, strength):
    served = [
        row for row in APPLICABILITY.items() if (row[1].values if issubclass(algorithm, DQN) else row[1].policies)
    ]
    return [defenses_named(name, epsilon, strength)[0] for name, _ in served]


@pytest.mark.slow
@ALL
def test_a_row_of_defended_runs_is_the_run_of_its_seed_and_strength(algorithm):
    epsilon, strength = [0.05, 0.1, 0.2], [0.0, 0.01, 0.1]

    def trained(seeds, *numbers):
        terms = every_term(algorithm, *numbers)
        return algorithm("CartPole-v1", seeds=seeds, device="cpu", terms=terms, **SMALL[algorithm]).learn(144)

    many = trained([7, 3, 4], epsilon, strength)
    assert not many.divergences
    for row, seed in enumerate([7, 3, 4]):
        assert_same_run(many, row, trained([seed], [epsilon[row]], [strength[row]]), 0)
    plain = algorithm("CartPole-v1", seeds=[7], device="cpu", engine="torch", **SMALL[algorithm]).learn(144)
    assert torch.equal(kept(many)["q" if issubclass(algorithm, DQN) else "policy"][0], plain.score_network.flat[0])


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [DQN, A2C, PPO, REINFORCE], ids=lambda algorithm: algorithm.__name__)
@pytest.mark.parametrize("name", APPLICABILITY)
def test_the_table_says_which_agents_a_defense_serves(name, algorithm):
    row = APPLICABILITY[name]
    (term, *_) = defenses_named(
        name, 0.1, 0.1, **({} if name in ("distillation", "weight_decay") else {"curriculum": Curriculum()})
    )
    settings = {**SMALL[algorithm], "n_steps": 1} if algorithm is DQN else SMALL[algorithm]
    agent = algorithm("CartPole-v1", seeds=2, device="cpu", terms=[term], **settings)
    steps = 72 if algorithm is DQN else 24
    if row.values if algorithm is DQN else row.policies:
        agent.learn(steps)
        assert np.isfinite(agent.history[f"term_{name}"][-1]).all()
        assert not agent.divergences
    else:
        with pytest.raises(ValueError, match=f"{row.defense.__name__} needs .*: use "):
            agent.learn(steps)


@pytest.mark.parametrize("name", APPLICABILITY)
def test_the_table_says_which_networks_a_defense_serves(name):
    row = APPLICABILITY[name]
    (term, *_) = defenses_named(name, 0.1, 0.1)
    algorithm, policy = (DQN, False) if row.values else (PPO, True)
    kwargs = {"network": "rbf", "network_kwargs": {"centers": 16}}
    agent = algorithm("CartPole-v1", seeds=2, device="cpu", **kwargs)
    features, targets = minibatch(2, 20, policy)
    if row.any_network:
        assert gradient_of(term, agent.score_network, [0, 1], features, targets, policy)[1].isfinite().all()
    else:
        with pytest.raises(ValueError, match="fully connected networks"):
            gradient_of(term, agent.score_network, [0, 1], features, targets, policy)


def test_the_other_methods_serve_any_network():
    agent = DQN("CartPole-v1", seeds=2, device="cpu", network="rbf", network_kwargs={"centers": 16})
    features, targets = minibatch(2, 20, False)
    two = Budget(0.1, "2", SCALE)
    for term in (
        SADQNHinge(0.1, method="pgd"),
        CARDQN(0.1, method="pgd"),
        LipschitzHinge(0.1, of="data", limit=0.0),
        TwoLip(two, method="difference"),
    ):
        number, gradient = gradient_of(term, agent.score_network, [0, 1], features, targets, False)
        assert number.isfinite().all()
        assert (gradient != 0).any(dim=1).all()


@ALL
def test_the_loss_at_the_scores_of_the_network_is_the_loss(algorithm):
    seen = []

    def both(network, features, targets):
        scores = network(features)
        seen.append((targets.loss(features), targets.loss_at_scores(scores), targets.loss_at_scores(2.0 * scores)))
        return torch.zeros(2)

    algorithm("CartPole-v1", seeds=2, device="cpu", terms=[both], **SMALL[algorithm]).learn(96)
    loss, same, other = seen[-1]
    torch.testing.assert_close(same, loss)
    assert (other != loss).all()

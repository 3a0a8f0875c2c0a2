"""The gradients that autograd finds, held to closed forms, to the plain differentiable network, and row by row."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from derivatives import a2c_grads, dqn_grad, ppo_grads, reinforce_gradients
from gymnasium import spaces

from rlkit.agents import DQN, PPO, REINFORCE
from rlkit.agents.a2c import a2c_loss
from rlkit.agents.configs import Baseline
from rlkit.agents.core.descent import Forward, loss_of
from rlkit.agents.core.minibatches import blocks, split
from rlkit.agents.dqn import Regression, dqn_loss
from rlkit.agents.ppo import Experience, clip_fraction, ppo_loss
from rlkit.exploration import mask_logits
from rlkit.losses import LOSSES
from rlkit.nn import MLP, ActorCritic, Architecture, Dueling

SEEDS, SIZE, ACTIONS = 3, 40, 4


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def actions(seed=0, size=SIZE):
    return torch.randint(ACTIONS, (SEEDS, size), generator=torch.Generator().manual_seed(seed))


def masks(action):
    allowed = torch.rand(*action.shape, ACTIONS, generator=torch.Generator().manual_seed(1)) < 0.6
    return allowed.scatter(-1, action[..., None], True)


def per_row(*values):
    return torch.tensor(values, dtype=torch.float64)


def derivatives(loss, *outputs):
    """Derivatives of the sum over seeds by the outputs, which become leaves."""
    leaves = [output.clone().requires_grad_() for output in outputs]
    return torch.autograd.grad(loss_of(loss(*leaves)).sum(dim=0), leaves)


BONUS = pytest.mark.parametrize("ent_coef", [None, per_row(0.1, 0.0, 0.5)], ids=["no bonus", "bonus"])
MASKED = pytest.mark.parametrize("masked", [False, True], ids=["all actions", "masked"])


# Closed forms, in float64


@BONUS
@MASKED
def test_the_derivatives_of_a2cs_loss(ent_coef, masked):
    logits, value, action = normal(SEEDS, SIZE, ACTIONS), normal(SEEDS, SIZE, seed=1), actions()
    advantage, target, vf_coef = normal(SEEDS, SIZE, seed=2), normal(SEEDS, SIZE, seed=3), per_row(0.5, 2.0, 0.0)
    mask = masks(action) if masked else None
    given = (action, advantage, target, ent_coef, vf_coef)
    found = derivatives(lambda logits, value: a2c_loss(logits, value, *given, mask), logits, value)
    torch.testing.assert_close(found, a2c_grads(mask_logits(logits, mask), value, *given), rtol=1e-12, atol=1e-14)
    if mask is not None:
        assert (found[0][~mask] == 0).all()


@BONUS
@MASKED
@pytest.mark.parametrize("clip_vf", [None, per_row(0.1, 0.3, 10.0)], ids=["V", "clipped V"])
def test_the_derivatives_of_ppos_loss(ent_coef, masked, clip_vf):
    logits, value, action = normal(SEEDS, SIZE, ACTIONS), normal(SEEDS, SIZE, seed=1), actions()
    mask = masks(action) if masked else None
    log_p = mask_logits(logits, mask).log_softmax(dim=-1).gather(-1, action[..., None])[..., 0]
    old_log_p, old_value = log_p + 0.3 * normal(SEEDS, SIZE, seed=4), value + 0.3 * normal(SEEDS, SIZE, seed=5)
    old_log_p[:, 0], old_value[:, 0] = log_p[:, 0], value[:, 0]  # nothing has changed there
    advantage, target = normal(SEEDS, SIZE, seed=2), normal(SEEDS, SIZE, seed=3)
    batch = Experience(value[..., None], action, old_log_p, old_value, advantage, target, mask)
    given = (batch, per_row(0.1, 0.2, 0.3), clip_vf, ent_coef, per_row(0.5, 2.0, 1.0))
    losses = ppo_loss(logits, value, *given)
    assert (clip_fraction(losses.log_ratio, given[1]) > 0.1).all()
    found = derivatives(lambda logits, value: ppo_loss(logits, value, *given), logits, value)
    expected = ppo_grads(mask_logits(logits, mask), value, *given)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_derivatives_of_dqns_loss(name, weighted):
    q, action, target = normal(SEEDS, SIZE, ACTIONS), actions(), normal(SEEDS, SIZE, seed=1)
    target[:, 0] = q[:, 0].gather(-1, action[:, :1])[:, 0] + 1.0  # where the Huber loss turns
    importance = normal(SEEDS, SIZE, seed=2).sigmoid() if weighted else None
    batch = Regression(q, action, target, importance)
    (found,) = derivatives(lambda q: dqn_loss(q, batch, LOSSES[name]), q)
    torch.testing.assert_close(found, dqn_grad(q, batch, name), rtol=1e-12, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("baseline", Baseline.__args__)
@pytest.mark.parametrize("ent_coef", [0.0, 0.1])
def test_the_gradients_of_reinforce(baseline, ent_coef):
    def agent():
        settings = {"baseline": baseline, "unfinished": "end", "ent_coef": ent_coef, "n_steps": 30}
        made = REINFORCE("CartPole-v1", seeds=2, num_envs=3, device="cpu", **settings)
        made._average.total[:], made._average.mass[:] = 0.7, 1.0
        return made

    found, closed = agent(), agent()
    batch = found.play(30)
    by_autograd = found.gradients(batch, found.returns(batch)).by_copy
    expected = reinforce_gradients(closed, batch, closed.returns(batch))
    assert (by_autograd.abs().sum(dim=(1, 2)) > 0).all()
    torch.testing.assert_close(by_autograd, expected, rtol=1e-4, atol=1e-5)


def test_a_ratio_that_overflows_has_no_derivative_where_the_objective_is_clipped():
    logits, value = torch.zeros(3, 2, 2), torch.zeros(3, 2)
    action, old_log_p = torch.zeros(3, 2, dtype=torch.int64), torch.full((3, 2), math.log(0.5))
    old_log_p[:2, 0] = -200.0  # e^199 is not a float32
    advantage = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, 1.0]])
    batch = Experience(value[..., None], action, old_log_p, value, advantage, value)
    ones = torch.ones(3)
    grad, _ = derivatives(
        lambda logits, value: ppo_loss(logits, value, batch, 0.2 * ones, None, None, ones), logits, value
    )
    assert (grad[0, 0] == 0).all()
    assert not grad[1, 0].isfinite().any()  # there the objective falls without bound: the row is stopped
    assert grad[[0, 2]].isfinite().all()
    torch.testing.assert_close(grad[0, 1], torch.tensor([-0.25, 0.25]))


# From the outputs to the parameters


def image(low, high, *shape):
    return spaces.Box(low, high, shape, np.float32)


ARCHITECTURES = {
    "mlp": lambda seeds: Architecture(image(-1, 1, 4), seeds, net_arch=(32, 24)).network(ACTIONS),
    "linear": lambda seeds: Architecture(image(-1, 1, 4), seeds, "linear").network(ACTIONS),
    "rbf": lambda seeds: Architecture(image(-1, 1, 4), seeds, "rbf", options={"centers": 32}).network(ACTIONS),
    "cnn": lambda seeds: Architecture(image(0, 1, 4, 5, 2), seeds, net_arch=(16,)).network(ACTIONS),
}
ARCHITECTURES["dueling"] = lambda seeds: Dueling(ARCHITECTURES["mlp"](seeds), MLP((4, 16, 1), seeds, network_index=1))
ARCHITECTURES["actor-critic"] = lambda seeds: ActorCritic(
    ARCHITECTURES["mlp"](seeds), MLP((4, 16, 1), seeds, "tanh", network_index=1)
)
EVERY = pytest.mark.parametrize("kind", ARCHITECTURES)


def inputs(kind, minibatch, rows=SEEDS):
    return normal(rows, minibatch, 40 if kind == "cnn" else 4, seed=9)


class Quadratic:
    """A network of a user, one output per action: (w_a x)^2, differentiated by autograd alone."""

    def __init__(self, flat):
        self.flat = flat
        self.columns = slice(None)
        self.parameters = [self.flat.detach().requires_grad_()]

    def __call__(self, x):
        weight = self.parameters[0].view(len(self.flat), 4, ACTIONS)
        return torch.stack([(x * weight[:, None, :, a]).sum(dim=2).square() for a in range(ACTIONS)], dim=2)

    def gradient(self, loss):
        ones = torch.ones_like(loss)
        return torch.autograd.grad(loss, self.parameters, ones, allow_unused=True, materialize_grads=True)[0]


@EVERY
@pytest.mark.parametrize("minibatch", [5, SIZE])
def test_the_gradient_is_that_of_the_plain_differentiable_network(kind, minibatch):
    network, x = ARCHITECTURES[kind](range(SEEDS)), inputs(kind, minibatch)
    network.place(network.flat.double())

    def loss(*outputs):
        return sum(output.flatten(1).square().mean(dim=1) for output in outputs)

    losses, gradient = Forward(network, x).gradient(loss)
    assert (losses.shape, losses.requires_grad) == ((SEEDS,), False)
    outputs = network(x)
    expected = network.gradient(loss(*(outputs if isinstance(outputs, tuple) else (outputs,))))
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)
    out = torch.empty_like(gradient)
    assert Forward(network, x).gradient(loss, out)[1] is out
    assert torch.equal(out, gradient)


def test_a_network_of_a_user_is_differentiated_by_autograd():
    network, x = Quadratic(normal(SEEDS, 4 * ACTIONS)), inputs("mlp", SIZE)
    action, target = actions(), normal(SEEDS, SIZE, seed=1)
    loss = partial(dqn_loss, batch=Regression(x, action, target), loss=LOSSES["huber"])
    out = torch.empty_like(network.flat)
    losses, gradient = Forward(network, x).gradient(loss, out)
    assert gradient is out
    torch.testing.assert_close(gradient, network.gradient(loss_of(loss(network(x)))))
    assert not losses.error.requires_grad


class QuadraticDQN(DQN):
    """DQN with the network of a user."""

    def _build(self):
        networks = super()._build()
        self.network = Quadratic(0.1 * normal(self.num_seeds, 4 * ACTIONS).float())
        self.target_network = Quadratic(self.network.flat.clone())
        self.optimizer = type(self.optimizer)(self.network.flat)
        return networks | {"q": self.network}


def test_an_agent_trains_the_network_of_a_user():
    agent = QuadraticDQN(_FourActions(), seeds=SEEDS, device="cpu", learning_starts=8, batch_size=8)
    before = agent.network.flat.clone()
    agent.learn(60)
    assert torch.isfinite(agent.network.flat).all()
    assert (agent.network.flat != before).any(dim=1).all()


class _FourActions:
    """Four features that stay, four actions, and a reward for the last."""

    observation_space = image(-1, 1, 4)
    action_space = spaces.Discrete(ACTIONS)
    initial_noise, transition_noise, max_steps = 4, 0, 10

    def initial(self, u):
        return 2.0 * u - 1.0

    def transition(self, state, action, u):
        return state, (action == ACTIONS - 1) * 1.0, np.zeros(action.shape, dtype=bool)

    def observe(self, state):
        return state.astype(np.float32)


# Rows


@EVERY
@pytest.mark.parametrize("minibatch", [5, 48])
def test_a_row_of_many_has_the_gradient_of_the_row_alone(kind, minibatch):
    rows = 8
    many, x = ARCHITECTURES[kind](range(rows)), inputs(kind, minibatch, rows).float()
    action = torch.randint(ACTIONS, (rows, minibatch), generator=torch.Generator().manual_seed(0))
    weight, target = (normal(rows, minibatch, seed=seed).float() for seed in (1, 2))

    def loss(rows, *outputs):
        ones = torch.ones(outputs[0].shape[0])
        if len(outputs) == 1:
            return dqn_loss(*outputs, Regression(x[rows], action[rows], target[rows], weight[rows]), LOSSES["huber"])
        batch = Experience(x[rows], action[rows], weight[rows] - 1.4, target[rows], weight[rows], target[rows])
        return ppo_loss(*outputs, batch, 0.2 * ones, 0.2 * ones, 0.1 * ones, 0.5 * ones)

    losses, gradient = Forward(many, x).gradient(partial(loss, slice(None)))
    for row in (0, 3, 7):
        one = slice(row, row + 1)
        alone, own = Forward(ARCHITECTURES[kind]([row]), x[one]).gradient(partial(loss, one))
        assert torch.equal(own[0], gradient[row])
        for each, other in zip(alone, losses, strict=True):
            assert torch.equal(each[0], other[row])


@EVERY
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_in_a_row_does_not_reach_another(kind, bad):
    network, x = ARCHITECTURES[kind](range(SEEDS)), inputs(kind, SIZE).float()
    action, target = actions(), normal(SEEDS, SIZE, seed=1).float()
    ones = torch.ones(SEEDS)

    def gradient(features, target):
        def loss(*outputs):
            if len(outputs) == 1:
                return dqn_loss(*outputs, Regression(features, action, target), LOSSES["squared"])
            return a2c_loss(*outputs, action, target, target, 0.1 * ones, ones)

        return Forward(network, features).gradient(loss)[1]

    clean = gradient(x, target)
    spoilt = target.clone()
    spoilt[1, 3] = bad
    by_target, by_features = gradient(x, spoilt), gradient(x.index_fill(0, torch.tensor([1]), bad), target)
    assert not by_target[1].isfinite().all()
    for found in (by_target, by_features):
        assert torch.equal(found[[0, 2]], clean[[0, 2]])


def test_derivatives_have_the_memory_layout_of_the_outputs():
    """Products of another layout may round differently for one row and for many."""
    network, x = ARCHITECTURES["actor-critic"](range(SEEDS)), inputs("actor-critic", 48).float()
    action, target = actions(size=48), normal(SEEDS, 48, seed=1).float()
    forward, seen = Forward(network, x), []
    pullback = forward._pullback
    forward._pullback = lambda *grads: seen.extend(grads[:-1]) or pullback(*grads)
    forward.gradient(lambda logits, value: a2c_loss(logits, value, action, target, target, None, torch.ones(SEEDS)))
    assert [grad.is_contiguous() for grad in seen] == [True, True]
    assert [grad.shape for grad in seen] == [output.shape for output in forward.outputs]


# Minibatches


def test_a_batch_is_split_field_by_field():
    number = torch.arange(12).view(2, 6)
    parts = list(split(Regression(number[..., None], number, number.float()), 2))
    assert len(parts) == 3
    assert torch.equal(torch.cat([part.features for part in parts], dim=1)[..., 0], number)
    assert all(part.importance is None and part.action.shape == (2, 2) for part in parts)


def test_updates_are_prepared_in_blocks_of_those_that_are_independent():
    left = iter([3, 100, 100, 1])
    assert list(blocks(21, 64, lambda: next(left))) == [3, 16, 2]
    assert list(blocks(3, 10_000, lambda: 100)) == [1, 1, 1]
    assert list(blocks(0, 64, lambda: 100)) == []


def test_an_update_inside_inference_mode_is_the_same():
    settings = {"n_steps": 16, "batch_size": 16, "n_epochs": 1}
    inside, outside = (PPO("CartPole-v1", seeds=2, device="cpu", **settings) for _ in range(2))
    with torch.inference_mode():
        inside.learn(32)
    with torch.no_grad():
        outside.learn(32)
    assert torch.equal(inside.actor_critic.flat, outside.actor_critic.flat)

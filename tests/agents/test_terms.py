"""Terms that a user adds to the loss: their gradients, their rows, their files, and what is refused."""

import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from source_tree import ROOT
from trained_rows import ALL, SMALL, assert_same_run, kept

from rlkit.agents import A2C, DQN, PPO, REINFORCE, Checkpoints, TabularQ, load, resume
from rlkit.agents.core.descent import Forward
from rlkit.agents.core.terms import Terms
from rlkit.types import Targets


class WeightDecay:
    """Half the square of the parameters, times a strength for each seed."""

    name = "weight_decay"

    def __init__(self, strength):
        self.strength = torch.as_tensor(strength, dtype=torch.float32)

    def __call__(self, network, features, targets):
        squares = sum(parameter.square().sum(dim=(1, 2)) for parameter in network.parameters)
        return 0.5 * self.strength * squares


class GradientPenalty:
    """Mean square of the derivative of the score of the action taken by the features, by double backpropagation."""

    name = "gradient_penalty"

    def __init__(self, strength):
        self.strength = torch.as_tensor(strength, dtype=torch.float32)

    def __call__(self, network, features, targets):
        x = features.detach().requires_grad_()
        chosen = network(x).gather(-1, targets.action[..., None]).sum(dim=(1, 2))
        (slope,) = torch.autograd.grad(chosen, x, torch.ones_like(chosen), create_graph=True)
        return self.strength * slope.square().sum(dim=2).mean(dim=1)


def loss_beside_noise(network, features, targets):
    """Return the algorithm's loss at features with noise."""
    noise = 0.1 * (2.0 * targets.uniform(features.shape[2]) - 1.0)
    return targets.loss(features + noise.to(features.dtype))


def both(strength):
    return [WeightDecay(strength), GradientPenalty(strength)]


def trained(algorithm, seeds, **settings):
    settings = {"engine": "torch", **SMALL[algorithm], **settings}
    return algorithm("CartPole-v1", seeds=seeds, device="cpu", **settings).learn(144)


def dqn(**settings):
    agent = DQN("CartPole-v1", seeds=range(3), device="cpu", learning_starts=0, batch_size=20, **settings)
    agent.training_state.end = 1000
    agent._start()
    agent.collect(40)
    return agent


def gradients_of_update(agent, monkeypatch):
    """The gradients ``[S, P]`` of one update, which is not made."""
    seen = []

    def gradient_step(optimizer, gradient, *_):
        seen.append(gradient.clone())
        return gradient.norm(dim=1)

    monkeypatch.setattr(agent, "gradient_step", gradient_step)
    agent.update()
    return seen[0]


# Gradients


@pytest.mark.parametrize("settings", [{}, {"dueling": True}, {"double": True, "priority_exponent": 0.6}], ids=str)
def test_the_gradient_of_weight_decay_is_the_parameters(settings, monkeypatch):
    strength = [0.0, 0.1, 2.0]
    plain, decayed = dqn(**settings), dqn(terms=[WeightDecay(strength)], **settings)
    flat, gradient = plain.network.flat, gradients_of_update(plain, monkeypatch)
    found = gradients_of_update(decayed, monkeypatch)
    assert torch.equal(found[0], gradient[0])  # strength 0
    torch.testing.assert_close(found, gradient + torch.tensor(strength)[:, None] * flat, rtol=1e-5, atol=1e-6)
    logged = decayed.training_state.means.read()["term_weight_decay"]
    np.testing.assert_allclose(logged, 0.5 * np.array(strength) * flat.square().sum(dim=1).numpy(), rtol=1e-5)


NETWORKS = {
    "mlp": {"net_arch": (16, 8), "activation": "tanh"},
    "rbf": {"network": "rbf", "network_kwargs": {"centers": 16}},
    "dueling": {"net_arch": (8,), "dueling": True, "activation": "tanh"},
    "cnn": {"env": "rlkit/GridWorld-v0", "env_kwargs": {"map": "frozenlake-4x4", "observation": "planes"}},
}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("term", [GradientPenalty(1.0), loss_beside_noise], ids=["double backpropagation", "loss"])
def test_the_gradient_of_a_term_is_its_difference_quotient(kind, term):
    settings = {"net_arch": (16,), "activation": "tanh", **NETWORKS[kind]}
    env = settings.pop("env", "CartPole-v1")
    agent = DQN(env, seeds=range(2), device="cpu", batch_size=8, learning_starts=0, **settings)
    agent.training_state.end = 1000
    agent._start()
    agent.collect(20)
    sampled, network = agent.sample(1), agent.network
    batch = agent.regression(sampled, agent.target(sampled.transition, sampled.discount))
    batch = batch._replace(features=batch.features.double(), target=batch.target.double())
    network.place(network.flat.double())
    direction = torch.randn(network.flat.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # the units that only widen a layer are no parameters
    direction = torch.zeros_like(direction).index_copy_(1, network.columns, direction[:, network.columns])

    def loss(q):
        return (q.gather(-1, batch.action[..., None])[..., 0] - batch.target).square().mean(dim=1)

    def evaluated():
        terms, gradient = Terms([term], agent.seeds, agent.device), torch.zeros_like(network.flat)  # the same noise
        targets = Targets(batch.action, batch.target)
        (number,) = terms.add_to(gradient, network, batch.features, loss, targets).values()
        return number, (gradient * direction).sum(dim=1)

    start, step, ends = network.flat.clone(), 1e-6, []
    for sign in (1, -1):
        network.flat.copy_(start + sign * step * direction)
        ends.append(evaluated()[0])
    network.flat.copy_(start)
    _, slope = evaluated()
    assert (slope.abs() > 1e-6).all()
    torch.testing.assert_close(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-7)


def test_a_term_of_an_actor_critic_gets_the_policy_and_the_value(monkeypatch):
    seen = []

    def watch(network, features, targets):
        seen.append((network, features, targets))
        return network(features).square().mean(dim=(1, 2)) + targets.value(features).square().mean(dim=(1, 2))

    for algorithm in (A2C, PPO, REINFORCE):
        agent = algorithm("CartPole-v1", seeds=range(2), device="cpu", terms=[watch], **SMALL[algorithm])
        agent.learn(24)
        network, features, targets = seen[-1]
        size = 12 if algorithm is PPO else SMALL[algorithm]["n_steps"]
        assert (network, targets.value) == (agent.networks["policy"], agent.networks["value"])
        assert features.shape == (2, size, 4)
        assert network(features).shape == (2, size, 2)
        for field in (targets.action, targets.target, targets.advantage):
            assert field.shape == (2, size)
        assert targets.loss(features).shape == (2,)
        assert 0.0 <= targets.progress_remaining <= 1.0
        assert targets.uniform(3).shape == (2, size, 3)
        assert targets.action_mask is None
        assert np.isfinite(agent.history["term_watch"]).all()


@pytest.mark.slow
@ALL
def test_the_loss_of_a_term_is_the_loss_of_the_update(algorithm):
    """With it as a term the gradient is twice as large."""

    def again(network, features, targets):
        return targets.loss(features)

    def first_gradient(terms):
        bonus = {} if issubclass(algorithm, DQN) else {"ent_coef": 0.01}
        settings = {**SMALL[algorithm], **bonus, "max_grad_norm": 1e6, "engine": "torch"}
        agent = algorithm("CartPole-v1", seeds=range(2), device="cpu", terms=terms, **settings)
        seen, step = [], agent.gradient_step

        def watched(optimizer, gradient, *others):
            seen.append(gradient.clone())
            return step(optimizer, gradient, *others)

        agent.gradient_step = watched
        agent.learn(96)
        return agent, seen[0]

    agent, gradient = first_gradient([again])
    torch.testing.assert_close(gradient, 2.0 * first_gradient([])[1], rtol=1e-3, atol=1e-5)
    if algorithm is not REINFORCE:  # which logs parts of its loss alone
        np.testing.assert_allclose(agent.history["term_again"][0], agent.history["loss"][0], rtol=1e-4)


def test_terms_are_added_up_and_may_be_constant(monkeypatch):
    plain, decay = dqn(), WeightDecay(0.5)
    half, other, constant = decay, partial(decay), lambda network, features, targets: torch.ones(3)
    other.name, constant.name = "other", "constant"
    gradient = gradients_of_update(plain, monkeypatch)
    found = gradients_of_update(dqn(terms=[half, other, constant]), monkeypatch)
    torch.testing.assert_close(found, gradient + plain.network.flat, rtol=1e-5, atol=1e-6)
    assert torch.equal(gradients_of_update(dqn(terms=[constant]), monkeypatch), gradient)


# Rows


@pytest.mark.slow
@ALL
def test_a_row_with_terms_is_the_run_of_its_seed_alone_and_without_strength_the_plain_run(algorithm):
    strength = [0.0, 1e-3, 1e-2, 0.1]
    many = trained(algorithm, [7, 3, 4, 3], terms=[*both(strength), _noise(strength)])
    for row, (seed, own) in enumerate(zip([7, 3, 4, 3], strength, strict=True)):
        assert_same_run(many, row, trained(algorithm, [seed], terms=[*both([own]), _noise([own])]), 0)
    plain = trained(algorithm, [7])
    for name, tensor in kept(plain).items():
        if not name.startswith("successors"):
            assert torch.equal(tensor[0], kept(many)[name][0]), name
    assert not torch.equal(many.score_network.flat[1], plain.score_network.flat[0])
    assert many.evaluate(1).shape == (4, 1)


def _noise(strength):
    def beside_noise(network, features, targets):
        return torch.tensor(strength) * loss_beside_noise(network, features, targets)

    return beside_noise


@pytest.mark.slow
@ALL
def test_a_term_that_is_not_finite_stops_its_row_alone(algorithm):
    class Breaks(WeightDecay):
        name = "breaks"

        def __call__(self, network, features, targets):
            if targets.progress_remaining > 0.5:
                return super().__call__(network, features, targets)
            return super().__call__(network, features, targets) * torch.tensor([1.0, math.nan, 1.0])

    clean = trained(algorithm, range(3), terms=[WeightDecay(1e-3)])
    with pytest.warns(RuntimeWarning, match=r"seed 1 diverged at step \d+: the gradient was not finite"):
        broken = trained(algorithm, range(3), terms=[Breaks(1e-3)])
    assert broken.active.tolist() == [True, False, True]
    for name, tensor in kept(broken).items():
        assert torch.equal(tensor[[0, 2]], kept(clean)[name][[0, 2]]), name


# Files


@pytest.mark.slow
@ALL
def test_a_run_resumes_with_its_terms_and_no_others(algorithm, tmp_path):
    def terms():
        return [*both(1e-3), _noise([1.0, 0.5])]

    whole = algorithm("CartPole-v1", seeds=2, device="cpu", terms=terms(), **SMALL[algorithm])
    path, steps = tmp_path / "run.safetensors", whole.training(384, every=192)
    next(steps)
    whole.checkpoint(path)
    list(steps)
    resumed = resume(path, device="cpu", terms=terms())
    resumed.learn(resumed.timesteps_left)
    for row in range(2):
        assert_same_run(whole, row, resumed, row)
    expected = "weight_decay, gradient_penalty, beside_noise in its loss"
    for others in ([], terms()[:2], terms()[::-1]):
        with pytest.raises(ValueError, match=f"{expected} and was given .*pass to resume the terms"):
            algorithm.resume(path, device="cpu", terms=others)


def test_a_run_without_terms_takes_none_and_checkpoints_pass_them_on(tmp_path):
    agent = A2C("CartPole-v1", device="cpu").learn(20)
    agent.checkpoint(tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="no terms in its loss and was given weight_decay"):
        resume(tmp_path / "plain.safetensors", device="cpu", terms=[WeightDecay(1.0)])
    agent = A2C("CartPole-v1", device="cpu", terms=both(1e-3)).learn(20)
    Checkpoints(tmp_path).save(agent)
    found = Checkpoints(tmp_path).newest(device="cpu", terms=both(1e-3))
    assert found.agent.terms.names == ("weight_decay", "gradient_penalty")
    with pytest.raises(ValueError, match="pass to resume the terms"):
        Checkpoints(tmp_path).newest(device="cpu")


def test_a_policy_is_loaded_and_a_row_taken_without_terms(tmp_path):
    agent = PPO("CartPole-v1", seeds=2, device="cpu", terms=both(1e-3), **SMALL[PPO]).learn(48)
    agent.save(tmp_path / "policy.safetensors")
    for policy, row in ((load(tmp_path / "policy.safetensors", device="cpu"), slice(0, 2)), (agent[1], slice(1, 2))):
        assert policy.terms.names == ()
        assert torch.equal(policy.networks["policy"].flat, agent.networks["policy"].flat[row])


@pytest.mark.slow
def test_the_example_of_the_page_runs():
    page = (ROOT / "docs" / "reference" / "agents.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    found = {}
    exec(program, found)
    assert found["agent"].terms.names == ("weight_decay", "gradient_penalty")
    assert np.isfinite(found["agent"].history["term_gradient_penalty"][-1]).all()


# What is refused


def test_what_is_no_sequence_of_named_functions_is_refused():
    decay = WeightDecay(1.0)
    for terms, message in (
        (decay, r"pass terms=\[term\]"),
        ([3.0], "sequence of functions"),
        ([decay, decay], "different names, got weight_decay, weight_decay"),
        ([lambda network, features, targets: 0.0], "needs a name, got '<lambda>'"),
    ):
        with pytest.raises(ValueError, match=message):
            DQN("CartPole-v1", device="cpu", terms=terms)


def test_a_table_takes_no_terms():
    with pytest.raises(ValueError, match="TabularQ has no loss to which terms could be added"):
        TabularQ("FrozenLake-v1", device="cpu", terms=[WeightDecay(1.0)])


@pytest.mark.parametrize(
    ("number", "got"),
    [(torch.ones(()), r"float32 \[\]"), (torch.ones(2), r"\[2\]"), (1.0, "1.0"), (torch.ones(3).long(), "int64")],
    ids=str,
)
def test_a_term_that_is_not_one_number_per_seed_is_refused(number, got):
    def odd(network, features, targets):
        return number

    with pytest.raises(ValueError, match=rf"term odd must return one number per seed, a tensor \[3\], got .*{got}"):
        dqn(terms=[odd]).update()


def test_the_numbers_of_a_term_are_its_seeds():
    terms = Terms([loss_beside_noise], [4, 9], torch.device("cpu"))
    alone = Terms([loss_beside_noise], [9], torch.device("cpu"))
    for width in (1, 5, 64):
        drawn = terms._uniform(7, width)
        assert drawn.shape == (2, 7, width)
        assert torch.equal(drawn[1:], alone._uniform(7, width))
        assert ((drawn >= 0) & (drawn < 1)).all()
        assert len(drawn.unique()) == drawn.numel()
    assert terms.state_dict().keys() == {"stream/step"}
    assert Terms([], [4], torch.device("cpu")).state_dict() == {}


def test_outputs_of_a_forward_pass_are_leaves():
    agent = dqn()
    forward = Forward(agent.network, agent.features(agent.env.obs))
    assert all(output.is_leaf and output.requires_grad for output in forward.outputs)
    assert not agent.network.flat.requires_grad

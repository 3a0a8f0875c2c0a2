"""REINFORCE against the exact policy gradient: every trajectory of a small MDP, weighted by its probability."""

import itertools

import numpy as np
import pytest
import torch

from rlkit.agents import REINFORCE
from rlkit.agents.configs import Baseline
from rlkit.baselines import MovingAverage, leave_one_out_mean, optimal_constant, time_dependent_mean
from rlkit.envs import TabularDynamics
from rlkit.envs.probes import PROBES
from rlkit.mdp import TabularMDP
from rlkit.planning import evaluate, evaluate_finite, policy_gradient, start_value, trajectories
from rlkit.returns import gae
from rlkit.types import Transition


def small_mdp(seed=0, states=2, max_steps=3):
    """Random, with endings, so that trajectories differ in length."""
    rng = np.random.default_rng(seed)
    shape = (states, 2, 2)
    successor, reward = rng.integers(states, size=shape), rng.normal(size=shape)
    chance = rng.dirichlet(np.ones(2), size=shape[:2])
    start = rng.dirichlet(np.ones(states))
    return TabularMDP(successor, chance, reward, rng.random(shape) < 0.3, start, max_steps)


def softmax(logits):
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


# The exact gradient


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [None, 4])
def test_the_exact_gradient_is_the_difference_quotient_of_the_exact_value(horizon):
    mdp, logits, gamma, h = small_mdp(1, states=4), np.random.default_rng(2).normal(size=(4, 2)), 0.8, 1e-6

    def objective(logits):
        policy = softmax(logits)
        if horizon is None:
            return start_value(mdp, evaluate(mdp, policy, gamma))
        return start_value(mdp, evaluate_finite(mdp, policy, horizon, gamma)[0])

    expected = np.zeros_like(logits)
    for index in np.ndindex(*logits.shape):
        shift = np.zeros_like(logits)
        shift[index] = h
        expected[index] = (objective(logits + shift) - objective(logits - shift)) / (2 * h)
    np.testing.assert_allclose(policy_gradient(mdp, softmax(logits), gamma, horizon), expected, atol=1e-8)


def test_without_gamma_the_two_gradients_are_one():
    mdp, policy = small_mdp(3), softmax(np.random.default_rng(0).normal(size=(2, 2)))
    with_states = policy_gradient(mdp, policy, 1.0, 3, discount_states=True)
    np.testing.assert_allclose(policy_gradient(mdp, policy, 1.0, 3, discount_states=False), with_states)
    assert abs(policy_gradient(mdp, policy, 0.5, 3) - policy_gradient(mdp, policy, 0.5, 3, False)).max() > 1e-3


@pytest.mark.slow
def test_trajectories_are_all_there_is():
    mdp, policy = small_mdp(4), softmax(np.random.default_rng(5).normal(size=(2, 2)))
    all_of_them = trajectories(mdp, policy)
    assert all_of_them.probability.sum() == pytest.approx(1.0, abs=1e-12)
    rows = np.concatenate([*(getattr(all_of_them, f) for f in ("state", "action", "reward", "next_state"))], axis=1)
    assert len(np.unique(rows, axis=0)) == len(rows)
    value = (all_of_them.probability * (all_of_them.reward * 0.9 ** np.arange(3)).sum(axis=1)).sum()
    assert value == pytest.approx(start_value(mdp, evaluate_finite(mdp, policy, 3, 0.9)[0]), abs=1e-12)
    assert (all_of_them.taken[:, 1:] == all_of_them.taken[:, :-1] & ~all_of_them.terminated[:, :-1]).all()
    with pytest.raises(ValueError, match="lower the horizon"):
        trajectories(mdp, policy, 40)
    with pytest.raises(ValueError, match="never ends"):
        policy_gradient(TabularMDP([[[0]]], [[[1.0]]], [[[1.0]]], [[[False]]]), np.ones((1, 1)), 0.9, None, False)


# Every estimator is unbiased for its own gradient, and its variance is known


def batches(mdp, policy, copies):
    """Every batch of ``copies`` independent episodes as a row, ``[n^copies, H, copies]``, and its probability."""
    one = trajectories(mdp, policy)
    index = np.array(list(itertools.product(range(len(one.probability)), repeat=copies)))  # [S, B]

    def rows(field):
        return torch.from_numpy(np.ascontiguousarray(field[index].swapaxes(1, 2)))

    terminated = rows(one.terminated)
    truncated = torch.zeros_like(terminated)
    # steps after an end are not counted: they pay nothing and are episodes of their own
    truncated |= ~rows(one.taken)
    truncated[:, -1] = ~terminated[:, -1]
    transition = Transition(
        rows(one.state), rows(one.action), rows(one.reward), rows(one.next_state), terminated, truncated
    )
    return transition, rows(one.taken), one.probability[index].prod(axis=1)


def agent_for(mdp, logits, rows, copies, **settings):
    """A linear agent whose policy is softmax(logits) in every one of many rows, in float64."""
    settings = {"net_arch": (), "unfinished": "end", "n_steps": mdp.max_steps, **settings}
    agent = REINFORCE(TabularDynamics(mdp), seeds=[0] * rows, num_envs=copies, device="cpu", **settings)
    flat = torch.zeros(rows, agent.policy.flat.shape[1], dtype=torch.float64)
    states = len(logits)
    agent.policy.place(flat)
    with torch.no_grad():
        agent.policy.parameters[0].copy_(torch.from_numpy(logits))
    agent.per_row.gamma, agent.per_row.ent_coef = agent.per_row.gamma.double(), agent.per_row.ent_coef.double()
    agent.features = lambda obs: torch.nn.functional.one_hot(obs, states).double()
    return agent


def table(gradient, mdp):
    """The part of a linear network's gradient that belongs to the logits' table, ``[..., N, A]``, of the return."""
    states, actions = mdp.num_states, mdp.num_actions
    weights = gradient[..., : states * actions]
    assert actions >= states  # else the layer narrows and is stored the other way round
    return -weights.unflatten(-1, (states, actions)).numpy()


GAMMA = 0.75  # exact in float32
CASES = [
    ("reward-to-go", True),
    ("reward-to-go", False),
    ("whole", True),
]


BASELINES = ["none", "average", "leave-one-out", "time", "optimal", "value"]
OPTIONS = pytest.mark.parametrize("baseline", BASELINES)
WEIGHTS = pytest.mark.parametrize(("returns", "discount_states"), CASES)


def prepared(mdp, logits, rows, copies, baseline, returns, discount_states):
    """An agent with that baseline; the learned value is some V, which need not be right."""
    settings = {"returns": returns, "discount_states": discount_states, "baseline": baseline, "gamma": GAMMA}
    agent = agent_for(mdp, logits, rows, copies, **settings)
    agent._average.total[:], agent._average.mass[:] = 0.7, 1.0  # what earlier batches have left
    if baseline == "value":
        agent.value.place(agent.value.flat.double())
        with torch.no_grad():
            agent.value.blocks["weights of layer 1"].copy_(torch.tensor([[0.9], [-0.4]]))
            agent.value.blocks["biases of layer 1"].fill_(0.1)
    return agent


def exact_moments(mdp, logits, baseline, returns, discount_states):
    """Mean ``[N, A]`` and total variance of the gradient of a batch of two episodes, over every such batch."""
    transition, taken, probability = batches(mdp, softmax(logits), copies=2)
    agent = prepared(mdp, logits, len(probability), 2, baseline, returns, discount_states)
    counted_only(agent, taken)
    gradient = (
        table(agent.gradients(transition, agent.returns(transition)).by_copy.mean(dim=1), mdp) * mdp.max_steps
    )  # per episode
    mean = np.einsum("s,sna->na", probability, gradient)
    return mean, (probability * np.square(gradient - mean).sum(axis=(1, 2))).sum()


@pytest.mark.slow
@WEIGHTS
@OPTIONS
def test_the_mean_over_every_batch_is_the_exact_gradient(returns, discount_states, baseline):
    mdp, logits = small_mdp(6, max_steps=2), np.random.default_rng(7).normal(size=(2, 2))
    mean, _ = exact_moments(mdp, logits, baseline, returns, discount_states)
    exact = policy_gradient(mdp, softmax(logits), GAMMA, mdp.max_steps, discount_states)
    np.testing.assert_allclose(mean, exact, atol=1e-12)


@pytest.mark.slow
@WEIGHTS
@OPTIONS
def test_sampled_batches_have_the_exact_mean_and_variance(returns, discount_states, baseline):
    """The agent's own episodes, 2,000 batches of two: within 4.5 standard errors of both."""
    mdp, logits, rows = small_mdp(6, max_steps=2), np.random.default_rng(7).normal(size=(2, 2)), 2000
    mean, variance = exact_moments(mdp, logits, baseline, returns, discount_states)
    agent = prepared(mdp, logits, rows, 2, baseline, returns, discount_states)
    agent.env = agent.source.make(range(rows), 2, restart=False)
    agent.explore = type(agent.explore)(range(rows), "explore", width=1, copies=2)
    batch = agent.play(mdp.max_steps)
    taken = ~torch.cat([torch.zeros_like(batch.done[:, :1]), batch.done[:, :-1]], dim=1)
    counted_only(agent, taken)
    batch = batch._replace(reward=batch.reward.double())
    sampled = agent.gradients(batch, agent.returns(batch)).by_copy.mean(dim=1)
    sampled = table(sampled, mdp) * mdp.max_steps  # [S, N, A]
    error = sampled.std(axis=0, ddof=1) / np.sqrt(rows)
    assert (abs(sampled.mean(axis=0) - mean) < 4.5 * error).all()
    squares = np.square(sampled - mean).sum(axis=(1, 2))  # their mean is the variance
    assert abs(squares.mean(axis=0) - variance) < 4.5 * squares.std(axis=0, ddof=1) / np.sqrt(rows)


@pytest.mark.slow
def test_no_baseline_is_always_best():
    """Exact variances on random problems with two copies: any of them can be worse than none, and none is never."""
    worse = dict.fromkeys(BASELINES, 0)
    least = dict.fromkeys(BASELINES, 0)

    def shown():
        return all(worse[name] > 0 for name in BASELINES if name != "none") and sum(map(bool, least.values())) >= 2

    for seed in range(15):
        mdp, logits = small_mdp(seed, max_steps=2), np.random.default_rng(seed).normal(size=(2, 2))
        variance = {name: exact_moments(mdp, logits, name, "reward-to-go", True)[1] for name in BASELINES}
        least[min(variance, key=variance.__getitem__)] += 1
        for name in BASELINES:
            worse[name] += int(variance[name] > variance["none"] + 1e-12)
        if shown():
            break
    assert shown(), (worse, least)


def counted_only(agent, taken):
    """Leave out the padding of trajectories that ended early."""
    weights = agent.weights

    def mask_logits(batch, returns):
        weight, counted, step = weights(batch, returns)
        return weight, counted & taken, step.clamp(max=agent.env.max_episode_steps - 1)

    agent.weights = mask_logits


def exact_variance(mdp, logits, baseline):
    """Total variance of one episode's whole-return gradient with a constant subtracted, by enumeration."""
    pi = softmax(logits)
    one = trajectories(mdp, pi)
    score = np.zeros((len(one.probability), *logits.shape))
    for t in range(mdp.max_steps):
        onehot = np.eye(logits.shape[1])[one.action[:, t]]
        step = (onehot - pi[one.state[:, t]]) * one.taken[:, t, None]
        np.add.at(score, (np.arange(len(step)), one.state[:, t]), step)
    total = (one.reward * GAMMA ** np.arange(mdp.max_steps)).sum(axis=1)  # [n]
    squared = np.square(score).sum(axis=(1, 2))
    optimal = (one.probability * squared * total).sum() / (one.probability * squared).sum()
    b = {"none": 0.0, "mean": (one.probability * total).sum(), "optimal": optimal}.get(baseline, baseline)
    gradient = score * (total - b)[:, None, None]
    mean = np.einsum("n,nsa->sa", one.probability, gradient)
    return (one.probability * np.square(gradient).sum(axis=(1, 2))).sum() - np.square(mean).sum()


@pytest.mark.slow
def test_only_the_optimal_constant_is_a_guaranteed_floor():
    worse = 0
    for seed in range(60):
        mdp, logits = small_mdp(seed), np.random.default_rng(seed).normal(size=(2, 2))
        floor = exact_variance(mdp, logits, "optimal")
        for other in ("none", "mean", *np.linspace(-2, 2, 9)):
            assert floor <= exact_variance(mdp, logits, other) + 1e-12
        worse += exact_variance(mdp, logits, "mean") > exact_variance(mdp, logits, "none")
    assert worse >= 5  # the mean return is no floor


def test_the_batchs_optimal_constant_is_that_of_the_other_copies():
    generator = torch.Generator().manual_seed(0)
    score, reward = torch.randn(2, 4, 5, generator=generator), torch.randn(2, 4, generator=generator)
    ours = optimal_constant(score * reward[..., None], score)
    for s, b in np.ndindex(2, 4):
        others = [i for i in range(4) if i != b]
        squared = score[s, others].square().sum(dim=1)
        assert float(ours[s, b]) == pytest.approx(float((squared * reward[s, others]).sum() / squared.sum()), rel=1e-5)


@pytest.mark.slow
def test_sampled_gradients_have_the_exact_mean_and_variance():
    """The whole agent at work: its own episodes, its logged variance."""
    mdp, logits = small_mdp(8, states=2, max_steps=3), np.random.default_rng(9).normal(size=(2, 2))
    rows, copies = 200, 50
    agent = agent_for(mdp, logits, rows, copies, returns="whole", discount_states=True, baseline="none", gamma=GAMMA)
    agent.env = agent.source.make(range(1000, 1000 + rows), copies, restart=False)
    agent.explore = type(agent.explore)(range(rows), "explore", width=1, copies=copies)
    batch = agent.play(mdp.max_steps)
    taken = ~torch.cat([torch.zeros_like(batch.done[:, :1]), batch.done[:, :-1]], dim=1)
    batch = batch._replace(reward=batch.reward.double())
    counted_only(agent, taken)
    gradient = table(agent.gradients(batch, agent.returns(batch)).by_copy, mdp) * mdp.max_steps  # [S, B, N, A]
    every = gradient.reshape(rows * copies, 2, 2)
    exact = policy_gradient(mdp, softmax(logits), GAMMA, mdp.max_steps)
    error = every.std(axis=0, ddof=1) / np.sqrt(len(every))
    assert (abs(every.mean(axis=0) - exact) < 4 * error).all()
    variance = every.var(axis=0, ddof=1).sum()
    assert variance == pytest.approx(exact_variance(mdp, logits, "none"), rel=0.05)


def test_with_exact_advantages_the_actor_critics_gradient_is_the_exact_one():
    """Sutton et al. 2000: sum over visits of pi (Q - V) grad log pi. What an estimated advantage adds is its bias."""
    mdp, logits = small_mdp(10, states=3, max_steps=None), np.random.default_rng(11).normal(size=(3, 2))
    pi = softmax(logits)
    limited = TabularMDP(mdp.successor, mdp.probability, mdp.reward, mdp.terminated, mdp.start, 5)
    one = trajectories(limited, pi)
    value = evaluate_finite(limited, pi, 5, GAMMA)  # [6, N]
    t = np.arange(5)
    v, after = value[t, one.state], value[t + 1, one.next_state]

    def mean_gradient(v, after, lam):
        fields = (one.reward, v, after, one.terminated, np.zeros_like(one.terminated))
        as_segment = (torch.from_numpy(np.ascontiguousarray(field))[..., None] for field in fields)
        advantage = gae(*as_segment, GAMMA, lam)[..., 0].numpy() * one.taken * GAMMA**t
        onehot = np.eye(2)[one.action]
        terms = one.probability[:, None, None] * advantage[..., None] * (onehot - pi[one.state])
        total = np.zeros_like(logits)
        np.add.at(total, one.state, terms)
        return total

    exact = policy_gradient(limited, pi, GAMMA, 5)
    for lam in (0.0, 0.5, 1.0):  # with the exact V no lambda is biased
        np.testing.assert_allclose(mean_gradient(v, after, lam), exact, atol=1e-12)
    wrong = np.random.default_rng(0).normal(size=value.shape)
    wrong[-1] = 0.0
    v, after = wrong[t, one.state], wrong[t + 1, one.next_state]
    bias = [abs(mean_gradient(v, after, lam) - exact).max() for lam in (0.0, 0.5, 1.0)]
    assert bias[0] > bias[1] > 1e-3
    assert bias[2] < 1e-12  # lambda = 1 has none, however wrong V is


# Baselines by hand


def test_baselines_leave_the_own_copy_out():
    weight = torch.tensor([[[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]]])  # [1, T, B]
    counted = torch.tensor([[[True, True, True], [True, False, True]]])
    assert leave_one_out_mean(weight, counted)[0, 0].tolist() == pytest.approx([310 / 3, 303 / 4, 13 / 3])
    step = torch.tensor([[[0, 0, 1], [1, 1, 0]]])
    by_time = time_dependent_mean(weight, counted, step, longest=2)
    assert by_time[0].tolist() == [[105.0, 100.5, 2.0], [100.0, 51.0, 5.5]]
    alone = torch.tensor([[[True, False, False], [True, False, False]]])
    assert leave_one_out_mean(weight, alone)[0, 0].tolist() == [0.0, 1.5, 1.5]


def test_the_moving_average_knows_only_earlier_batches():
    average = MovingAverage(torch.tensor([0.5]))
    everything = torch.ones(1, 4, 1, dtype=torch.bool)
    seen = [float(average.next(torch.full((1, 4, 1), x), everything)) for x in (8.0, 2.0, 5.0)]
    assert seen == pytest.approx([0.0, 8.0, 4.0])  # (8 / 4 + 2 / 2) / (3 / 4)
    nothing = torch.zeros_like(everything)
    before = float(average.next(torch.full((1, 4, 1), 99.0), nothing))
    assert float(average.next(torch.full((1, 4, 1), 99.0), nothing)) == before


def test_weights_by_hand():
    """Two episodes in one copy: rewards 1, 1 (ends), 1, 1 (cut by the batch)."""
    ends = torch.tensor([[False, True, False, False]])[..., None]
    never = torch.zeros_like(ends)
    obs = torch.zeros(1, 4, 1, 4)
    batch = Transition(obs, torch.zeros(1, 4, 1).long(), torch.ones(1, 4, 1), obs, ends, never)

    def weights(**settings):
        agent = REINFORCE("CartPole-v1", device="cpu", gamma=0.5, baseline="none", **{"unfinished": "end", **settings})
        agent._before[:] = 1
        weight, counted, _ = agent.weights(batch, agent.returns(batch))
        assert agent._before.tolist() == [[2]]
        return weight[0, :, 0].tolist(), counted[0, :, 0].tolist()

    assert weights()[0] == [1.5, 1.0, 1.5, 1.0]
    assert weights(discount_states=True)[0] == [0.75, 0.25, 1.5, 0.5]
    assert weights(discount_states=True, returns="whole")[0] == [0.75, 0.75, 1.5, 1.5]
    assert weights(unfinished="drop")[1] == [True, True, False, False]


# Learning


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBES)
def test_the_probes_are_learned_to_their_exact_values(name):
    probe = PROBES[name]()
    agent = REINFORCE(
        f"rlkit/probe-{name}",
        seeds=range(3),
        num_envs=4,
        device="cpu",
        gamma=0.8,
        n_steps=32,
        learning_rate=1e-2,
        value_learning_rate=1e-2,
        net_arch=(32,),
    ).learn(8000)
    observations = torch.from_numpy(probe.observations()).expand(3, -1, -1)
    q = probe.q_values(0.8)
    np.testing.assert_allclose(
        agent.values(observations).numpy(), np.broadcast_to(q.max(axis=1), (3, len(q))), atol=0.2
    )
    right = (q == q.max(axis=1, keepdims=True)).astype(float)
    assert ((agent.action_probabilities(observations).numpy() * right).sum(axis=2) > 0.9).all()


@pytest.mark.slow
@pytest.mark.parametrize("baseline", Baseline.__args__)
@pytest.mark.parametrize("unfinished", ["end", "drop"])
def test_every_baseline_improves_the_policy(baseline, unfinished):
    probe = PROBES["action-observation-reward"]()
    probe.max_steps = 1  # of which there is only one anyway: the time-dependent baseline wants a limit
    agent = REINFORCE(
        probe,
        seeds=range(3),
        num_envs=4,
        device="cpu",
        n_steps=16,
        learning_rate=2e-2,
        net_arch=(16,),
        baseline=baseline,
        unfinished=unfinished,
    ).learn(3000)
    assert (agent.history["episode_return"][-1] > 0.8).all()
    assert {"gradient_variance", "entropy", "gradient_norm"} <= set(agent.history)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"baseline": "none"}, "bootstrap"),
        ({"returns": "whole"}, "discount_states"),
        ({"baseline": "optimal", "unfinished": "end"}, "num_envs"),
        ({"baseline": "best"}, "baseline"),
        ({"unfinished": "keep"}, "unfinished"),
        ({"n_steps": 0}, "n_steps"),
        ({"average_decay": 2.0}, "average_decay"),
    ],
)
def test_bad_settings_are_refused_when_the_agent_is_made(settings, message):
    with pytest.raises(ValueError, match=message):
        REINFORCE("CartPole-v1", device="cpu", **settings)


def test_no_time_limit_no_time_dependent_baseline():
    with pytest.raises(ValueError, match="time limit"):
        REINFORCE("rlkit/probe-action-reward", num_envs=2, baseline="time", unfinished="end", device="cpu")
    with pytest.raises(ValueError, match="learns no values: use baseline='value'"):
        REINFORCE("CartPole-v1", baseline="none", unfinished="end", device="cpu").values(torch.zeros(1, 1, 4))

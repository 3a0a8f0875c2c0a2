"""Networks, returns of pure functions, optimisers and replay against literal numbers, torch and brute force."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rlkit.exploration import epsilon_greedy, linear_schedule
from rlkit.losses import huber, huber_grad, log_softmax, q_learning_target, squared
from rlkit.nn import MLP, Adam, clip_rows_, encode, flush_denormals, known_within, num_features, row_norm, thin_affine
from rlkit.replay import ReplayBuffer, replay_bytes
from rlkit.tracking import EpisodeReturns, Means
from rlkit.types import Transition, segment

# Networks


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("sizes", [(4, 64, 64, 2), (3, 8, 1), (1, 5, 2)])
def test_a_row_is_the_plain_torch_network_of_that_row(sizes, activation):
    stack = MLP(sizes, range(3), activation)
    x = torch.randn(3, 10, sizes[0])
    for row in range(3):
        torch.testing.assert_close(stack(x)[row], stack.as_module(row)(x[row]))


@pytest.mark.parametrize("sizes", [(4, 64, 64, 2), (4, 256, 256, 2), (16, 64, 64, 4), (4, 32, 1), (1, 16, 3)])
@pytest.mark.parametrize("batch", [1, 5, 64])
def test_rows_and_their_gradients_are_bitwise_those_of_a_stack_of_one(sizes, batch):
    many = MLP(sizes, range(8))
    x = torch.randn(8, batch, sizes[0])
    outputs = many(x)
    gradient = many.gradient(outputs.square().sum())
    for row in (0, 5, 7):
        one = MLP(sizes, [row])
        assert torch.equal(one.flat[0], many.flat[row])
        output = one(x[row : row + 1])
        assert torch.equal(output[0], outputs[row])
        assert torch.equal(one.gradient(output.square().sum())[0], gradient[row])


@pytest.mark.parametrize(
    "sizes", [(4, 64, 64, 2), (4, 256, 256, 2), (16, 64, 64, 4), (4, 32, 1), (1, 16, 3), (84, 512, 7), (37, 16, 17)]
)
@pytest.mark.parametrize("batch", [1, 5, 64, 512])
def test_rows_without_autograd_are_bitwise_those_of_a_stack_of_one(sizes, batch):
    many = MLP(sizes, range(8))
    x, grad = torch.randn(8, batch, sizes[0]), torch.randn(8, batch, sizes[-1])
    outputs, pullback = many.vjp(x)
    gradient = pullback(grad)
    with torch.no_grad():
        torch.testing.assert_close(many(x), outputs)
    for row in (0, 5, 7):
        one = MLP(sizes, [row])
        output, pullback = one.vjp(x[row : row + 1])
        assert torch.equal(output[0], outputs[row])
        assert torch.equal(pullback(grad[row : row + 1])[0], gradient[row])
        with torch.no_grad():
            assert torch.equal(one(x[row : row + 1])[0], many(x)[row])


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("sizes", [(4, 64, 64, 2), (4, 256, 256, 2), (3, 8, 1), (1, 5, 2), (4, 1, 3)])
@pytest.mark.parametrize("batch", [1, 5, 64])
def test_the_pullback_is_autograds_gradient(sizes, activation, batch):
    stack = MLP(sizes, range(3), activation)
    x, grad = torch.randn(3, batch, sizes[0]), torch.randn(3, batch, sizes[-1])
    output, pullback = stack.vjp(x)
    expected = stack(x)
    torch.testing.assert_close(output, expected.detach())
    torch.testing.assert_close(pullback(grad), stack.gradient((expected * grad).sum()), rtol=1e-4, atol=1e-5)


def test_large_products_go_the_other_way_to_the_same_numbers(monkeypatch):
    stack = MLP((4, 256, 256, 2), range(2))
    x, grad = torch.randn(2, 64, 4), torch.randn(2, 64, 2)
    output, pullback = stack.vjp(x)
    gradient = pullback(grad)
    monkeypatch.setattr("rlkit.nn.matmul.ONEDNN_LINEAR", None)
    plain_output, plain_pullback = stack.copy().vjp(x)
    torch.testing.assert_close(output, plain_output)
    torch.testing.assert_close(gradient, plain_pullback(grad), rtol=1e-4, atol=1e-5)


def test_initial_weights_are_uniform_within_torchs_bound():
    stack = MLP((100, 400, 3), [0])
    weight = stack.parameters[0]
    assert weight.abs().max() <= 0.1
    assert weight.abs().max() > 0.0999
    assert abs(float(weight.detach().std()) - 0.1 / math.sqrt(3)) < 1e-3
    assert not torch.equal(MLP((4, 8, 2), [0]).flat, MLP((4, 8, 2), [1]).flat)


def test_the_gradient_is_in_the_order_of_flat():
    stack = MLP((2, 3, 2), range(2))
    x = torch.randn(2, 4, 2)
    gradient = stack.gradient(stack(x).square().sum())
    step = 1e-3
    for index in range(stack.flat.shape[1]):
        values = []
        for sign in (1, -1):
            stack.flat[1, index] += sign * step
            values.append(float(stack(x).square().sum().detach()))
            stack.flat[1, index] -= sign * step
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient[1, index]), abs=2e-2)


def test_a_copy_is_separate():
    stack = MLP((2, 3, 2), range(2))
    twin = stack.copy()
    stack.flat += 1.0
    assert not torch.equal(twin.flat, stack.flat)
    assert torch.equal(twin.rows(slice(1, 2)).flat, twin.flat[1:])


@pytest.mark.parametrize(("sizes", "activation"), [((4,), "relu"), ((4, 0, 2), "relu"), ((4, 2), "gelu")])
def test_bad_networks_are_refused(sizes, activation):
    with pytest.raises(ValueError, match="must be"):
        MLP(sizes, [0], activation)


def test_linear_with_a_width_of_one_is_the_affine_map():
    x, weight, bias = torch.randn(2, 5, 3), torch.randn(2, 3, 1), torch.randn(2, 1, 1)
    torch.testing.assert_close(thin_affine(bias, x, weight), torch.baddbmm(bias, x, weight))


def test_observations_are_encoded_by_their_space():
    one_hot = encode(torch.tensor([[3, 1]]), spaces.Discrete(3, start=1))
    assert one_hot.tolist() == [[[0, 0, 1], [1, 0, 0]]]
    image = spaces.Box(0, 255, (2, 2), np.uint8)
    assert encode(torch.full((1, 1, 2, 2), 255, dtype=torch.uint8), image).tolist() == [[[1, 1, 1, 1]]]
    pixels = torch.full((1, 1, 2, 2), 51.0, dtype=torch.float64)  # what an attack shows of an image
    torch.testing.assert_close(encode(pixels, image), torch.full((1, 1, 4), 0.2, dtype=torch.float64))
    bits = spaces.Box(0, 1, (2, 2), np.uint8)
    assert encode(torch.ones(1, 1, 2, 2, dtype=torch.uint8), bits).tolist() == [[[1, 1, 1, 1]]]
    codes = torch.tensor([[[0.2, 0.5, 0.3]]])
    assert encode(codes, spaces.Discrete(3)) is codes
    assert num_features(image) == 4
    assert num_features(spaces.Discrete(5)) == 5
    with pytest.raises(ValueError, match="FlattenObservation"):
        num_features(spaces.Dict({}))


# Exploration and losses


def test_epsilon_greedy_by_hand():
    q = torch.tensor([[0.0, 2.0, 1.0], [5.0, 5.0, 0.0]])
    u = torch.tensor([[0.1, 0.99], [0.9, 0.0]])
    assert epsilon_greedy(q, 0.5, u).tolist() == [2, 0]
    assert epsilon_greedy(q, 0.0, u).tolist() == [1, 0]
    assert epsilon_greedy(q, 1.0, u).tolist() == [2, 0]


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 7))
def test_a_random_action_is_the_interval_that_u_falls_in(u, actions):
    action = epsilon_greedy(torch.zeros(actions), 1.0, torch.tensor([0.0, u], dtype=torch.float64))
    assert int(action) == min(math.floor(u * actions), actions - 1)


def test_linear_schedule_at_every_step():
    start, end, total = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.5]), torch.tensor([4.0, 0.0])
    values = [linear_schedule(step, total, start, end).tolist() for step in range(6)]
    assert [v[0] for v in values] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert [v[1] for v in values] == [0.5] * 6


def test_q_learning_target_by_hand_and_a_terminals_successor_never_leaks():
    reward, terminated = torch.tensor([1.0, 2.0]), torch.tensor([False, True])
    next_q = torch.tensor([[3.0, 4.0], [math.nan, math.inf]])
    assert q_learning_target(reward, terminated, next_q, 0.5).tolist() == [3.0, 2.0]


@given(st.floats(-50, 50))
def test_huber_is_torchs(error):
    value = torch.tensor([error])
    expected = nn.functional.huber_loss(value, torch.zeros(1), reduction="none")
    torch.testing.assert_close(huber(value), expected)
    assert float(huber_grad(value)) == pytest.approx(max(-1.0, min(1.0, error)))
    torch.testing.assert_close(squared(value), 0.5 * value**2)


# Optimiser


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_adam_on_rows_is_torchs_adam_on_each_row(scale):
    parameters = torch.randn(3, 7, dtype=torch.float64)
    rates = torch.tensor([1e-3, 1e-2, 0.1], dtype=torch.float64)
    rows = [nn.Parameter(row.clone()) for row in parameters]
    peers = [torch.optim.Adam([row], lr=float(rate)) for row, rate in zip(rows, rates, strict=True)]
    adam = Adam(parameters)
    for _ in range(30):
        gradient = scale * torch.randn(3, 7, dtype=torch.float64)
        adam.step(gradient, rates, torch.ones(3, dtype=torch.bool))
        for row, peer, g in zip(rows, peers, gradient, strict=True):
            row.grad = g
            peer.step()
    torch.testing.assert_close(parameters, torch.stack([row.detach() for row in rows]))


@pytest.mark.parametrize("width", [16, 48, 50])  # whole cache lines are stepped in one piece
def test_rows_that_step_alike_step_to_the_bit_as_each_alone(width):
    parameters, rate = torch.randn(3, width), torch.full((3,), 1e-2)
    together, alone = Adam(parameters.clone()), [Adam(row[None].clone()) for row in parameters]
    for step in range(30):
        active = torch.tensor([True, not 10 <= step < 12, True])  # from then on the rows differ in their steps
        gradient = torch.randn(3, width)
        together.step(gradient, rate, active)
        for row, adam in enumerate(alone):
            adam.step(gradient[row : row + 1], rate[:1], active[row : row + 1])
            assert torch.equal(together.parameters[row], adam.parameters[0]), (step, row)


def test_adam_by_row_and_elementwise_are_one_rule():
    parameters, rates = torch.randn(3, 7, dtype=torch.float64), torch.tensor([1e-3, 1e-2, 0.1], dtype=torch.float64)
    by_row, elementwise = Adam(parameters.clone()), Adam(parameters.clone())
    for step in range(30):
        gradient, active = torch.randn(3, 7, dtype=torch.float64), torch.tensor([True, True, step < 20])
        by_row.step(gradient, rates, active)
        elementwise.steps += active
        elementwise._step_elementwise(gradient, rates, active)
    torch.testing.assert_close(by_row.parameters, elementwise.parameters)


@pytest.mark.parametrize("step", [Adam._step_by_row, Adam._step_elementwise])
def test_an_idle_row_keeps_its_parameters_to_the_bit_whatever_its_gradient(step, monkeypatch):
    monkeypatch.setattr(Adam, "_step_by_row", step)
    parameters = torch.randn(2, 5)
    adam = Adam(parameters)
    rate = torch.full((2,), 0.1)
    adam.step(torch.randn(2, 5), rate, torch.tensor([True, True]))
    before = parameters.clone()
    for bad in (math.nan, math.inf, 1.0):
        gradient = torch.randn(2, 5)
        gradient[0] = bad
        adam.step(gradient, rate, torch.tensor([False, True]))
    assert torch.equal(parameters[0], before[0])
    assert torch.isfinite(parameters).all()
    assert not torch.equal(parameters[1], before[1])


def test_clipping_is_torchs_for_each_row():
    gradient = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    limits = torch.tensor([1.0, 1.0])
    clipped = clip_rows_(gradient.clone(), row_norm(gradient), limits)
    for row, expected in zip(gradient, clipped, strict=True):
        parameter = nn.Parameter(torch.zeros(2))
        parameter.grad = row.clone()
        nn.utils.clip_grad_norm_([parameter], 1.0)
        torch.testing.assert_close(expected, parameter.grad)


def test_denormals_are_flushed_within_and_kept_without():
    tiny = torch.tensor([1e-39])
    with flush_denormals():
        assert float(tiny * 1.0) == 0.0
        with flush_denormals():
            pass
        assert float(tiny * 1.0) == 0.0
    assert float(tiny * 1.0) > 0.0


# Replay


def transition(step, seeds=2, copies=3):
    value = torch.arange(seeds * copies).view(seeds, copies) + 100 * step
    false = torch.zeros(seeds, copies, dtype=torch.bool)
    return Transition(value[..., None].float(), value % 2, value.float(), value[..., None] + 0.5, false, false)


def test_replay_keeps_the_last_transitions_of_each_seed_and_no_others():
    buffer = ReplayBuffer(7, transition(0))
    for step in range(5):
        buffer.add(segment([transition(step)]))
    u = ((torch.arange(7) + 0.5) / 7).expand(2, 7).double()
    batch = buffer.sample(u)
    for seed in range(2):
        everything = [float(r) for step in range(5) for r in transition(step).reward[seed]]
        assert sorted(batch.reward[seed].tolist()) == everything[-7:]
    assert torch.equal(batch.obs[..., 0], batch.reward)
    assert torch.equal(batch.next_obs[..., 0], batch.reward + 0.5)
    assert torch.equal(batch.action, batch.reward.long() % 2)
    assert not batch.truncated.any()


@pytest.mark.parametrize("capacity", [3, 7, 20])
def test_replay_of_many_steps_at_once_is_step_by_step(capacity):
    at_once, by_step = ReplayBuffer(capacity, transition(0)), ReplayBuffer(capacity, transition(0))
    at_once.add(segment([transition(0)]))
    at_once.add(segment([transition(step) for step in range(1, 5)]))
    for step in range(5):
        by_step.add(segment([transition(step)]))
    u = torch.rand(2, 50, dtype=torch.float64)
    theirs = by_step.sample(u)._asdict()
    for name, ours in at_once.sample(u)._asdict().items():
        assert (ours is None and theirs[name] is None) or torch.equal(ours, theirs[name]), name


def test_replay_samples_only_what_was_added():
    buffer = ReplayBuffer(100, transition(0))
    buffer.add(segment([transition(1)]))
    u = torch.tensor([[0.0, 0.5, 1 - 2.0**-53]] * 2, dtype=torch.float64)
    assert buffer.sample(u).reward.tolist() == [[100.0, 101.0, 102.0], [103.0, 104.0, 105.0]]


@given(st.integers(1, 4), st.integers(1, 3), st.integers(4, 20), st.integers(1, 25), st.integers(0, 2**32 - 1))
def test_n_step_transitions_are_brute_force_sums(n, copies, capacity, steps, seed):
    rng = np.random.default_rng(seed)
    gamma = torch.tensor([0.9, 0.5])
    shape = (steps, 2, copies)
    stream = Transition(
        obs=torch.from_numpy(rng.random((*shape, 1), np.float32)),
        action=torch.from_numpy(rng.integers(0, 3, shape)),
        reward=torch.from_numpy(rng.random(shape, np.float32)),
        next_obs=torch.from_numpy(rng.random((*shape, 1), np.float32)),
        terminated=torch.from_numpy(rng.random(shape) < 0.2),
        truncated=torch.from_numpy(rng.random(shape) < 0.2),
    )
    buffer = ReplayBuffer(capacity, Transition(*(field[0] for field in stream[:6])))  # all but masks
    for t in range(steps):
        buffer.add(segment([Transition(*(field[t] for field in stream[:6]))]))
    size = min(steps * copies, capacity)
    u = ((torch.arange(size) + 0.5) / size).expand(2, size).double()
    batch, discount = buffer.sample_n_step(u, n, gamma)
    for s in range(2):
        for m, number in enumerate(range(steps * copies - size, steps * copies)):  # oldest first
            t, b = divmod(number, copies)
            total, k = 0.0, 0
            while True:
                total += float(gamma[s]) ** k * float(stream.reward[t + k, s, b])
                k += 1
                if stream.done[t + k - 1, s, b] or k == n or t + k == steps:
                    break
            assert float(batch.reward[s, m]) == pytest.approx(total, rel=1e-5)
            assert float(discount[s, m]) == pytest.approx(float(gamma[s]) ** k, rel=1e-5)
            assert torch.equal(batch.obs[s, m], stream.obs[t, s, b])
            assert batch.action[s, m] == stream.action[t, s, b]
            assert torch.equal(batch.next_obs[s, m], stream.next_obs[t + k - 1, s, b])
            assert batch.terminated[s, m] == stream.terminated[t + k - 1, s, b]
    one, plain = buffer.sample_n_step(u, 1, gamma)[0], buffer.sample(u)
    assert all(torch.equal(a, b) for a, b in zip(one[:6], plain[:6], strict=True))


def test_replay_grows_until_it_has_wrapped():
    buffer = ReplayBuffer(6, transition(0))
    buffer.add(segment([transition(0)]))
    buffer.add(segment([transition(1)]))
    buffer.grow(9)
    buffer.add(segment([transition(2)]))
    u = ((torch.arange(9) + 0.5) / 9).expand(2, 9).double()
    assert buffer.sample(u).reward[1].tolist() == [3, 4, 5, 103, 104, 105, 203, 204, 205]
    buffer.add(segment([transition(3)]))
    with pytest.raises(RuntimeError, match="cannot grow"):
        buffer.grow(12)


def test_a_buffer_larger_than_memory_is_refused_before_it_is_made():
    assert replay_bytes(10, transition(0)) == 2 * 10 * (4 + 8 + 4 + 1)
    assert replay_bytes(10, transition(0), num_actions=2) == 2 * 10 * (4 + 1 + 4 + 1)
    with pytest.raises(MemoryError, match="lower buffer_size"):
        ReplayBuffer(10**13, transition(0))
    with pytest.raises(ValueError, match="3 copies"):
        ReplayBuffer(2, transition(0))


# Tracking


@pytest.mark.parametrize("steps", [1, 255, 600])
def test_episode_returns_are_those_of_each_copy_followed_alone(steps):
    generator = np.random.default_rng(steps)
    rewards, dones = generator.normal(size=(steps, 2, 3)).astype(np.float32), generator.random((steps, 2, 3)) < 0.02
    returns = EpisodeReturns(2, 3, torch.device("cpu"))
    finished: list[list[float]] = [[], []]
    for seed in range(2):
        for copy in range(3):
            total = 0.0
            for reward, done in zip(rewards[:, seed, copy], dones[:, seed, copy], strict=True):
                total += float(reward)
                if done:
                    finished[seed].append(total)
                    total = 0.0
    nothing = torch.zeros(2, 3)
    for step, (reward, done) in enumerate(zip(torch.from_numpy(rewards), torch.from_numpy(dones), strict=True)):
        ends = (done, done & False) if step % 2 else (done & False, done)  # for either reason
        returns.add(segment([Transition(nothing, nothing, reward, nothing, *ends)]))
    read = returns.read()
    assert read["episodes"].tolist() == [len(seed) for seed in finished]
    expected = [np.mean(seed) if seed else math.nan for seed in finished]
    np.testing.assert_allclose(read["episode_return"], expected, rtol=1e-3, atol=1e-3)


def test_known_within_says_no_where_a_norm_is_above_its_limit_or_not_a_number():
    limits = torch.tensor([1.0, 2.0])
    assert known_within(torch.tensor([1.0, 2.0]), limits)
    assert not known_within(torch.tensor([1.0, 2.1]), limits)
    assert not known_within(torch.tensor([math.nan, 0.0]), limits)
    assert not known_within(torch.zeros(2, device="meta"), limits)  # a device that cannot be read


def test_means_are_of_everything_since_the_last_reading():
    means = Means()
    for value in range(600):
        means.add(loss=torch.tensor([float(value), 1.0]))
    assert means.read()["loss"].tolist() == [299.5, 1.0]
    means.add(loss=torch.tensor([2.0, 3.0]))
    assert means.read()["loss"].tolist() == [2.0, 3.0]
    means.extend(loss=torch.tensor([[2.0, 4.0, 6.0], [1.0, 1.0, 1.0]]))
    means.add(loss=torch.tensor([8.0, 1.0]))
    assert means.read()["loss"].tolist() == [5.0, 1.0]

    class Parts(NamedTuple):
        loss: torch.Tensor
        entropy: torch.Tensor

    means.add(Parts(torch.ones(2), torch.zeros(2)), kl=torch.ones(2))
    means.add(Parts(3.0 * torch.ones(2), torch.zeros(2)))
    read = {name: mean.tolist() for name, mean in means.read().items()}
    assert read == {"loss": [2.0, 2.0], "entropy": [0.0, 0.0], "kl": [1.0, 1.0]}


@pytest.mark.parametrize("shape", [(8, 256, 2), (1, 64, 5), (3, 48, 7), (3, 15, 4), (2, 16, 18)])
def test_log_softmax_is_torchs_to_the_bit(shape):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(log_softmax(logits), logits.log_softmax(dim=-1))
    assert torch.equal(log_softmax(logits[-1:]), log_softmax(logits)[-1:])

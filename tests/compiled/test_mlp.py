"""The compiled forward and backward pass held to those of ``rlkit.nn``, and tanh to itself."""

import numpy as np
import pytest
import torch
from finite_problems import needs_numba

from rlkit.compiled import mlp as loops
from rlkit.compiled.jit import compiled
from rlkit.compiled.layout import MLPArrays
from rlkit.nn import MLP, ActorCritic

pytestmark = needs_numba

SHAPES = [(4, 64, 64, 2), (4, 64, 64, 1), (20, 120, 84, 3), (64, 128, 33, 5), (4, 3), (1, 1, 1)]  # in- and out-first


def numbers(*shape, dtype):
    """Numbers of both signs that repeat nowhere."""
    return (
        (torch.arange(1, 1 + int(np.prod(shape)), dtype=torch.float64) * 0.7390851).sin().mul(2.0).view(shape).to(dtype)
    )


def passes(arrays, row, x, grad):
    """Output and gradient by the parameters of one row."""
    p, dtype = arrays.flat[row], arrays.flat.dtype
    h = np.full(loops.room(arrays.layers, len(x)), np.nan, dtype)
    work = np.full((2, len(x) * loops.widest(arrays.layers)), np.nan, dtype)
    g = np.zeros(len(p), dtype)
    output = loops.forward(p, arrays.layers, arrays.tanh, x, h).copy()
    loops.backward(p, arrays.layers, arrays.tanh, x, h, grad.copy(), g, work)
    return output, g


@pytest.mark.slow
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_both_passes_are_those_of_the_networks(sizes, activation, dtype, bound):
    network = MLP(sizes, range(3), activation, dtype=dtype)
    arrays = MLPArrays.of(network)
    for minibatch in (
        1,
        5,
        8,
        9,
        40,
        301,
    ):  # the products of the last are made in blocks, and the last block is smaller
        x, grad = numbers(3, minibatch, sizes[0], dtype=dtype), numbers(3, minibatch, sizes[-1], dtype=dtype)
        expected, pullback = network.vjp(x)
        gradient = pullback(grad.clone())
        for row in range(3):
            output, g = passes(arrays, row, x[row].numpy(), grad[row].numpy())
            np.testing.assert_allclose(output, expected[row].numpy(), rtol=bound, atol=bound)
            np.testing.assert_allclose(g, gradient[row].numpy(), rtol=bound, atol=bound * minibatch)


@pytest.mark.slow
def test_a_row_of_many_is_to_the_bit_the_row_alone():
    many = MLP((4, 64, 64, 2), range(5), "tanh")
    x, grad = numbers(40, 4, dtype=torch.float32).numpy(), numbers(40, 2, dtype=torch.float32).numpy()
    for row in (0, 3, 4):
        together = passes(MLPArrays.of(many), row, x, grad)
        alone = passes(MLPArrays.of(MLP((4, 64, 64, 2), [row], "tanh")), 0, x, grad)
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_networks_that_share_a_matrix_keep_to_their_own_part():
    both = ActorCritic(MLP((4, 64, 64, 2), range(2), "tanh"), MLP((4, 64, 64, 1), range(2), "tanh", network_index=1))
    x = numbers(2, 12, 4, dtype=torch.float32)
    for mlp, other in ((both.policy, both.value), (both.value, both.policy)):
        arrays = MLPArrays.of(mlp, both.flat)
        assert np.shares_memory(arrays.flat, both.flat.numpy())
        grad = numbers(2, 12, mlp.sizes[-1], dtype=torch.float32)
        output, g = passes(arrays, 1, x[1].numpy(), grad[1].numpy())
        torch.testing.assert_close(torch.from_numpy(output), mlp(x)[1].detach())
        own, others = both.policy.flat.shape[1], slice(None)
        others = slice(own, None) if other is both.value else slice(own)
        assert (g != 0).any()
        assert (g[others] == 0).all()


def test_relu_is_that_of_torch_and_nan_stays_nan():
    x = np.tile(np.float32([-1.5, -0.0, 0.0, 2.5, np.inf, -np.inf, np.nan, -np.nan, 1e-40]), (5, 3))
    y = x.copy()
    loops.activate(y, False)
    np.testing.assert_array_equal(y, torch.from_numpy(x).relu().numpy())


@compiled
def tanh_of(x, y):
    """tanh of every number."""
    for i in range(len(x)):
        y[i] = loops.tanh(x[i])


@pytest.mark.slow
def test_tanh_of_float32_is_within_its_stated_error_on_a_dense_grid():
    ends = np.float32([1e-30, 20.0])
    positive = np.arange(*ends.view(np.int32), 97, dtype=np.int32).view(np.float32)  # every 97th float of 30 decades
    x = np.concatenate([-positive, np.float32([0.0]), positive, np.float32([100.0, np.inf, -np.inf])])
    y = np.empty_like(x)
    tanh_of(x, y)
    error = np.abs(y - np.tanh(x.astype(np.float64)))
    assert len(x) > 10_000_000
    assert error.max() < loops.TANH_ERROR
    assert np.abs(y).max() <= 1.0
    assert (np.sign(y) == np.sign(x)).all()


@pytest.mark.slow
def test_tanh_of_float64_is_exact_and_nan_stays_nan():
    x, y = np.linspace(-30.0, 30.0, 9999), np.empty(9999)
    tanh_of(x, y)
    np.testing.assert_allclose(y, np.tanh(x), rtol=5e-16, atol=0.0)
    x32, y32 = np.float32([np.nan, 1.0]), np.empty(2, np.float32)
    tanh_of(x32, y32)
    assert np.isnan(y32[0])
    assert not np.isnan(y32[1])


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_parameter_that_is_not_a_number_makes_output_and_gradient_none(activation):
    for place in (0, 4 * 64, 5 * 64 + 1, -30):  # of both layers and their biases; the last is padding or an output
        network = MLP((4, 64, 2), [0], activation)
        columns = network.columns
        network.flat[0, columns[place]] = torch.nan
        x, grad = numbers(12, 4, dtype=torch.float32).numpy(), numbers(12, 2, dtype=torch.float32).numpy()
        output, g = passes(MLPArrays.of(network), 0, x, grad)
        assert np.isnan(output).any()
        if place < 5 * 64:  # what lies behind the output's own weights has a finite gradient otherwise
            assert np.isnan(g).any()

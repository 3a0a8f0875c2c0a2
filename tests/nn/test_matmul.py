"""Products of stacks of matrices by every library, beside those of torch's ``bmm``."""

import copy
import pickle

import pytest
import torch

from rlkit.nn import MLP
from rlkit.nn import matmul as products
from rlkit.nn.matmul import ONEDNN, THIN, TORCH, choose_backend, onednn_layer, thin_affine


def stacks(seeds, height, n_in, n_out, seed):
    """x ``[S, M, in]``, slopes ``[S, M, out]``, biases and weights, which are parts of longer rows as in a network."""
    generator = torch.Generator().manual_seed(seed)
    x, grad, bias, flat = (
        torch.randn(shape, generator=generator)
        for shape in ((seeds, height, n_in), (seeds, height, n_out), (seeds, 1, n_out), (seeds, n_in * n_out + 32))
    )
    return x, grad, bias, flat[:, 16:-16].view(seeds, n_in, n_out)


@pytest.mark.parametrize("by", [THIN, *([ONEDNN] if products.ONEDNN_LINEAR else [])])
def test_the_other_libraries_give_the_same_products(by):
    for seeds, n_in, n_out in ((1, 64, 32), (3, 64, 32), (3, 5, 7)):
        x, grad_output, bias, weight = stacks(seeds, 40, n_in, n_out, 0)
        rows = list(zip(weight.mT, bias[:, 0], strict=True))
        affine = onednn_layer(x, rows, "none") if by is ONEDNN else by.affine(bias, x, weight)
        torch.testing.assert_close(affine, TORCH.affine(bias, x, weight))
        torch.testing.assert_close(by.product(grad_output, weight.mT), TORCH.product(grad_output, weight.mT))
        torch.testing.assert_close(by.product(x.mT, grad_output), TORCH.product(x.mT, grad_output))


def test_large_products_are_those_of_onednn(monkeypatch):
    kept = {TORCH: "torch", THIN: "thin", ONEDNN: "onednn"}
    monkeypatch.setattr(products, "ONEDNN_LINEAR", torch.nn.functional.linear)
    assert [kept[choose_backend(height, 64, 64, TORCH)] for height in (511, 512)] == ["torch", "onednn"]
    assert kept[choose_backend(32, 64, 1, THIN)] == "thin"
    monkeypatch.setattr(products, "ONEDNN_LINEAR", None)
    assert kept[choose_backend(512, 64, 64, TORCH)] == "torch"


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_network_that_was_used_can_be_copied_and_pickled(activation):
    network, x = MLP((4, 256, 256, 2), range(2), activation), torch.randn(2, 64, 4)
    with torch.no_grad():
        output = network(x)
        assert torch.equal(copy.deepcopy(network)(x), output)
        assert torch.equal(pickle.loads(pickle.dumps(network))(x), output)


def test_large_products_go_the_other_way_to_the_same_numbers(monkeypatch):
    stack = MLP((4, 256, 256, 2), range(2))
    x, grad = torch.randn(2, 64, 4), torch.randn(2, 64, 2)
    output, pullback = stack.vjp(x)
    gradient = pullback(grad)
    monkeypatch.setattr("rlkit.nn.matmul.ONEDNN_LINEAR", None)
    plain_output, plain_pullback = stack.copy().vjp(x)
    torch.testing.assert_close(output, plain_output)
    torch.testing.assert_close(gradient, plain_pullback(grad), rtol=1e-4, atol=1e-5)


def test_linear_with_a_width_of_one_is_the_affine_map():
    x, weight, bias = torch.randn(2, 5, 3), torch.randn(2, 3, 1), torch.randn(2, 1, 1)
    torch.testing.assert_close(thin_affine(bias, x, weight), torch.baddbmm(bias, x, weight))

"""Products of stacks of matrices by numpy's BLAS, beside those of torch's."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matrix_products import all_products, stacks
from source_tree import ROOT

from rlkit.nn import MLP
from rlkit.nn import matmul as products
from rlkit.nn.matmul import NUMPY, ONEDNN, THIN, TORCH, choose_backend, onednn_layer, thin_affine

HEIGHTS = st.integers(2, 700)
WIDTHS = st.sampled_from([16, 32, 48, 64, 96, 128])


@pytest.mark.slow
@given(st.integers(1, 3), HEIGHTS, WIDTHS, WIDTHS, st.integers(0, 99))
def test_numpys_products_are_within_rounding_of_the_exact_ones(seeds, height, n_in, n_out, seed):
    parts = stacks(seeds, height, n_in, n_out, seed)
    exact = all_products(TORCH, *(part.double() for part in parts))
    magnitude = all_products(TORCH, *(part.double().abs() for part in parts))
    for computed, truth, size in zip(all_products(NUMPY, *parts), exact, magnitude, strict=True):
        assert computed.dtype == torch.float32
        # n roundings of a sum of n products: Higham 2002, 3.1
        assert ((computed - truth).abs() <= (max(height, n_in, n_out) + 2) * 2.0**-24 * size).all()


@pytest.mark.slow
@given(st.integers(2, 5), HEIGHTS, WIDTHS, WIDTHS, st.integers(0, 99))
def test_a_row_of_numpys_products_does_not_depend_on_the_others(seeds, height, n_in, n_out, seed):
    parts = stacks(seeds, height, n_in, n_out, seed)
    alone = all_products(NUMPY, *(part[-1:] for part in parts))
    for one, many in zip(alone, all_products(NUMPY, *parts), strict=True):
        assert torch.equal(one[0], many[-1])


def test_other_types_are_refused_and_not_rounded():
    x, _, bias, weight = stacks(1, 20, 16, 16, 0)
    with pytest.raises(TypeError):
        NUMPY.affine(bias, x.double(), weight)


@pytest.mark.parametrize("by", [THIN, *([ONEDNN] if products.ONEDNN_LINEAR else [])])
def test_the_other_libraries_give_the_same_products(by):
    for seeds, n_in, n_out in ((1, 64, 32), (3, 64, 32), (3, 5, 7)):
        x, grad_output, bias, weight = stacks(seeds, 40, n_in, n_out, 0)
        rows = list(zip(weight.mT, bias[:, 0], strict=True))
        affine = onednn_layer(x, rows, "none") if by is ONEDNN else by.affine(bias, x, weight)
        torch.testing.assert_close(affine, TORCH.affine(bias, x, weight))
        torch.testing.assert_close(by.product(grad_output, weight.mT), TORCH.product(grad_output, weight.mT))
        torch.testing.assert_close(by.product(x.mT, grad_output), TORCH.product(x.mT, grad_output))


def test_another_number_of_rows_is_refused():
    x, _, bias, weight = stacks(3, 256, 64, 64, 0)
    for a, b in ((x, weight[:1]), (x[:1], weight)):
        with pytest.raises(ValueError, match="as many matrices"):
            NUMPY.affine(bias, a, b)


def test_a_row_that_diverges_is_no_warning_and_leaves_the_others_alone():
    x, _, bias, weight = stacks(3, 256, 64, 64, 0)
    alone = NUMPY.affine(bias, x, weight)
    for wrong in (torch.inf, torch.nan, 1e38):
        x[1, 7] = wrong
        assert torch.equal(NUMPY.affine(bias, x, weight)[::2], alone[::2])


OPENBLAS = {"internal_api": "openblas", "architecture": "SkylakeX"}


@pytest.mark.parametrize(
    ("libraries", "name", "cpu", "ahead"),
    [
        ([OPENBLAS], "scipy-openblas", "AuthenticAMD", True),
        ([OPENBLAS], "scipy-openblas", "GenuineIntel", False),
        ([OPENBLAS], "mkl", "AuthenticAMD", False),  # scipy's alone
        ([OPENBLAS, {"internal_api": "openblas", "architecture": "Zen"}], "scipy-openblas", "AuthenticAMD", False),
        ([{"internal_api": "openblas"}], "scipy-openblas", "AuthenticAMD", False),
        ([{"internal_api": "openmp"}], "accelerate", "", False),
    ],
)
def test_numpy_is_ahead_where_it_has_avx_512_and_mkl_has_not(libraries, name, cpu, ahead, monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"vendor_id : {cpu}", encoding="utf-8")
    monkeypatch.setattr(products, "threadpool_info", lambda: libraries)
    monkeypatch.setattr(np, "show_config", lambda mode: {"Build Dependencies": {"blas": {"name": name}}})
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(products, "CPU_INFO", tmp_path / "cpuinfo")
    assert products.numpy_is_ahead.__wrapped__() is ahead
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert not products.numpy_is_ahead.__wrapped__()


def chosen(height, summands, width, **others):
    """Who multiplies, by name, where numpy is ahead."""
    libraries = {TORCH: "torch", NUMPY: "numpy", ONEDNN: "onednn"}
    return libraries[choose_backend(height, summands, width, **{"in_lines": True, "others": TORCH, **others})]


def test_the_library_is_chosen_by_the_shape(monkeypatch):
    monkeypatch.setattr(products, "numpy_is_ahead", lambda: True)
    assert chosen(32, 64, 64) == "torch"  # too small to be worth a call
    assert chosen(64, 64, 64) == chosen(256, 64, 64) == chosen(64, 256, 64) == "numpy"
    assert chosen(64, 64, 64, in_lines=False) == "torch"
    assert chosen(16, 256, 256) == "torch"  # cuts of a few rows are slow
    assert chosen(64, 256, 256) == "onednn"
    monkeypatch.setattr(products, "ONEDNN_LINEAR", None)
    assert (chosen(64, 256, 256), chosen(512, 64, 64)) == ("torch", "numpy")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert chosen(512, 64, 64) == "torch"


def test_cuts_are_too_small_for_threads(monkeypatch):
    multiplied = []
    monkeypatch.setattr(products, "_matmul", lambda a, b: (multiplied.append((*a.shape, b.shape[-1])), a @ b)[1])
    x, _, _, weight = stacks(2, 300, 64, 64, 0)
    torch.testing.assert_close(NUMPY.product(x, weight), TORCH.product(x, weight))
    # OpenBLAS starts threads above SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD = 64^3 multiply-adds
    assert multiplied == [(2, 4, 64, 64, 64), (2, 44, 64, 64)]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_networks_are_the_same_functions_either_way(activation, monkeypatch):
    network = MLP((4, 64, 64, 2), range(3), activation)
    x, grad_output = torch.randn(3, 256, 4, requires_grad=True), torch.randn(3, 256, 2)
    ways = []
    for ahead in (False, True):
        monkeypatch.setattr(products, "numpy_is_ahead", lambda ahead=ahead: ahead)
        twin = network.copy()
        output, pullback = twin.vjp(x)
        ways.append((output, pullback(grad_output.clone()), twin.input_vjp(x)[1](grad_output.clone())))
        assert (twin._layers[1]._chosen[256].output is NUMPY) is ahead
    for mine, theirs in zip(*ways, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_network_that_was_used_can_be_copied_and_pickled(activation):
    network, x = MLP((4, 256, 256, 2), range(2), activation), torch.randn(2, 64, 4)
    with torch.no_grad():
        output = network(x)
        assert torch.equal(copy.deepcopy(network)(x), output)
        assert torch.equal(pickle.loads(pickle.dumps(network))(x), output)


SAME_BITS = """
import torch
torch.set_num_threads(1)
from matrix_products import all_products, stacks
from rlkit.nn.matmul import NUMPY, TORCH, numpy_is_ahead
heights = (16, 129, 192, 193, 200, 255, 256, 300, 383, 384, 500, 512, 1000)
parts = [stacks(3, height, 64, 32, height) for height in heights]
pairs = [pair for part in parts for pair in zip(all_products(NUMPY, *part), all_products(TORCH, *part))]
for mine, theirs in pairs:
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-3)
print(numpy_is_ahead(), all(torch.equal(mine, theirs) for mine, theirs in pairs))
"""


@pytest.mark.slow
def test_where_numpy_is_ahead_its_bits_are_those_of_mkl():
    """OpenBLAS chooses its kernels when it is loaded, so another process asks it, unhindered by the environment."""
    free = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    free["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests"), *filter(None, [free.get("PYTHONPATH")])])
    answer = subprocess.run([sys.executable, "-c", SAME_BITS], env=free, capture_output=True, text=True, check=True)
    ahead, equal = (word == "True" for word in answer.stdout.split())
    assert equal or not ahead


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

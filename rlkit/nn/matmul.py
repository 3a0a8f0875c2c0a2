"""Products of S pairs of matrices, by the library with the fastest kernels for their shape on this CPU.

torch's own (``bmm``) are MKL's, which uses AVX-512 on Intel's CPUs alone. On others that have AVX-512, numpy's OpenBLAS
does small products in half the time. oneDNN, which is in torch as well, does large ones. Which library it is depends on
the CPU, on torch's threads and on the shape of one row's matrices, never on S: so a row's bits do not depend on S.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_info  # type: ignore[import-untyped,unused-ignore]
from torch import Tensor

ALIGNMENT = 16  # float32 numbers in a cache line


class MatmulBackend(NamedTuple):
    """The products of one library."""

    # ``baddbmm``: beta b + alpha x W of b [S, 1, N], x [S, M, K] and W [S, K, N]; None where ``onednn_layer`` does more
    affine: Callable[..., Tensor] | None
    product: Callable[[Tensor, Tensor], Tensor]  # ``bmm``: [S, M, K] x [S, K, N] -> [S, M, N]


def choose_backend(height: int, summands: int, width: int, *, in_lines: bool, others: MatmulBackend) -> MatmulBackend:
    """Choose the backend that multiplies ``[M, K] x [K, N]`` matrices of float32 on the CPU.

    Args:
        height, summands, width: M, K and N.
        in_lines: whether the widths of the layer are whole cache lines.
        others: the backend if neither oneDNN nor numpy is chosen.
    """
    work = height * summands * width
    if work >= ONEDNN_WORK and ONEDNN_LINEAR is not None:
        return ONEDNN
    suits_numpy = in_lines and work >= NUMPY_WORK and min(summands, SUMMANDS) * width <= NUMPY_MOST
    # two threads of MKL are as fast as one of OpenBLAS
    return NUMPY if suits_numpy and torch.get_num_threads() == 1 and numpy_is_ahead() else others


TORCH = MatmulBackend(torch.baddbmm, torch.bmm)


# A width of one, where the batched product rounds differently for one row and for many.


def thin_affine(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """``baddbmm`` of matrices that may have a width of one."""
    if weight.shape[2] == 1:
        return (x * weight.mT).sum(dim=2, keepdim=True) + bias
    if weight.shape[1] == 1:
        return x * weight + bias
    return torch.baddbmm(bias, x, weight)


def thin_product(a: Tensor, b: Tensor) -> Tensor:
    """``bmm`` of matrices that may have a width of one."""
    if b.shape[2] == 1:
        return (a * b.mT).sum(dim=2, keepdim=True)
    if b.shape[1] == 1:
        return a * b
    if a.shape[1] == 1:
        return (a.mT * b).sum(dim=1, keepdim=True)
    return torch.bmm(a, b)


THIN = MatmulBackend(thin_affine, thin_product)


# numpy's BLAS, of float32 in the CPU's memory, without gradients. Sums are taken in MKL's blocks: so OpenBLAS's AVX-512
# kernels give the bits of MKL's AVX2 kernels. MKL's blocks are of 192 summands and what is left; up to twice as many
# are halved, and an odd one is added last.


def numpy_affine(bias: Tensor, x: Tensor, weight: Tensor, *, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
    """``baddbmm`` by numpy."""
    first, *others = _block_products(x, weight)
    y = torch.add(bias if beta == 1.0 else beta * bias, first, alpha=alpha, out=None if others else first)
    for block in others:
        y.add_(block, alpha=alpha)
    return y


def numpy_product(a: Tensor, b: Tensor) -> Tensor:
    """``bmm`` by numpy."""
    first, *others = _block_products(a, b)
    for block in others:
        first = first + block
    return first


NUMPY = MatmulBackend(numpy_affine, numpy_product)
NUMPY_WORK = 2**18  # multiply-adds of a row's product from which numpy's call pays
NUMPY_MOST = 2**14  # numbers of a block's b, so that at least 16 rows of a are multiplied at once
NUMPY_CUT = 2**18  # multiply-adds up to which OpenBLAS takes its kernels for small matrices, and starts no threads
SUMMANDS = 192  # in a block


@np.errstate(all="ignore")  # a diverging row is detected by its gradient
def _block_products(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    """Compute the summands of a product ``[S, M, K] x [S, K, N]``, ``[S, M, N]`` each.

    A transposed b, for which OpenBLAS has no fast kernels, is copied.

    Raises:
        ValueError: another S of a than of b.
    """
    (seeds, height, summands), width = a.shape, b.shape[2]
    if len(b) != seeds:
        raise ValueError(f"products are of as many matrices on both sides, got {seeds} and {len(b)}")
    b = b if b.stride(2) == 1 else b.contiguous()
    left, right = a.numpy(), b.numpy()
    if summands <= SUMMANDS:
        return (torch.from_numpy(_cut_product(left, right)),)
    block = SUMMANDS if summands > 2 * SUMMANDS else summands // 2
    count = summands // block
    whole = count * block
    by_block = left[:, :, :whole].reshape(seeds, height, count, block).swapaxes(1, 2)
    blocks = torch.from_numpy(_cut_product(by_block, right[:, :whole].reshape(seeds, count, block, width))).unbind(1)
    if whole == summands:
        return blocks
    return (*blocks, torch.from_numpy(_cut_product(left[:, :, whole:], right[:, whole:])))


def _cut_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``[..., M, K] x [..., K, N] -> [..., M, N]``, in blocks of rows that the kernels for small matrices take."""
    height, summands, width = *a.shape[-2:], b.shape[-1]
    rows = 1 << max((NUMPY_CUT // (summands * width)).bit_length() - 1, 1)
    if height <= rows:
        return _matmul(a, b)
    stack, rest = a.shape[:-2], height % rows
    cut = a[..., : height - rest, :].reshape(*stack, height // rows, rows, summands)
    top = _matmul(cut, b[..., None, :, :]).reshape(*stack, height - rest, width)
    if rest == 0:
        return top
    # a single row would be a product with a vector, which rounds otherwise
    last = _matmul(a[..., -max(rest, 2) :, :], b)[..., -rest:, :]
    return np.concatenate([top, last], axis=-2)


_matmul: Callable[[np.ndarray, np.ndarray], np.ndarray] = partial(np.matmul, casting="no")


@cache
def numpy_is_ahead() -> bool:
    """Whether numpy's OpenBLAS uses AVX-512 here and torch's MKL, which does so on Intel's CPUs alone, does not."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    kernels = openblas_kernels()
    wide = bool(kernels) and kernels <= {"SkylakeX", "Cooperlake", "SapphireRapids"}
    mkl = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return "openblas" in blas and wide and mkl and not _is_intel()


def openblas_kernels() -> set[str]:
    """Return the CPU architectures of the kernels of every OpenBLAS in this process; empty without OpenBLAS."""
    return {blas.get("architecture", "unknown") for blas in threadpool_info() if blas["internal_api"] == "openblas"}


def _is_intel() -> bool:
    text = CPU_INFO.read_text(errors="replace", encoding="utf-8") if CPU_INFO.is_file() else platform.processor()
    return "GenuineIntel" in text


CPU_INFO = Path("/proc/cpuinfo")  # on Linux


# oneDNN, one row at a time. For small products its call costs more than it saves. Not every build of torch has it.

# activation(x w^T + b) of plain matrices
ONEDNN_LINEAR: Any = getattr(getattr(torch.ops.mkldnn, "_linear_pointwise", None), "default", None)
ONEDNN_WORK = 2**21  # multiply-adds from which it wins


def onednn_layer(x: Tensor, rows: Sequence[tuple[Tensor, Tensor]], activation: str) -> Tensor:
    """activation(x W + b), ``[S, M, N]``, of x ``[S, M, K]`` and S pairs of W^T ``[N, K]`` and b ``[N]``."""
    pairs = zip(_rows(x), rows, strict=True)
    return _together([ONEDNN_LINEAR(x_s, w_s, b_s, activation, [], "") for x_s, (w_s, b_s) in pairs])


def onednn_product(a: Tensor, b: Tensor) -> Tensor:
    """``bmm`` by oneDNN."""
    rows = zip(_rows(a), b.unbind(0), strict=True)
    return _together([ONEDNN_LINEAR(a_s, b_s.T, None, "none", [], "") for a_s, b_s in rows])


ONEDNN = MatmulBackend(None, onednn_product)


def _rows(x: Tensor) -> Sequence[Tensor]:
    """``[S, M, K] -> S x [M, K]``, views; one row stays ``[1, M, K]``, which oneDNN takes as well."""
    return x.unbind(0) if x.shape[0] > 1 else (x,)


def _together(products: list[Tensor]) -> Tensor:
    """Stack the rows again."""
    return torch.stack(products) if len(products) > 1 else products[0]

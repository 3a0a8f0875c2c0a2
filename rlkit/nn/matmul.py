"""Products of S pairs of matrices, by ``torch.bmm``; large ones by oneDNN, which torch contains.

The choice depends on the shape of one row's matrices, never on S: so a row's bits do not depend on S.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

ALIGNMENT = 16  # float32 numbers in a cache line


class MatmulBackend(NamedTuple):
    """The products of one library."""

    # ``baddbmm``: beta b + alpha x W of b [S, 1, N], x [S, M, K] and W [S, K, N]; None where ``onednn_layer`` does more
    affine: Callable[..., Tensor] | None
    product: Callable[[Tensor, Tensor], Tensor]  # ``bmm``: [S, M, K] x [S, K, N] -> [S, M, N]


def choose_backend(height: int, summands: int, width: int, others: MatmulBackend) -> MatmulBackend:
    """Choose the backend that multiplies ``[M, K] x [K, N]`` matrices of float32 on the CPU.

    Args:
        height, summands, width: M, K and N.
        others: the backend if oneDNN is not chosen.
    """
    return ONEDNN if height * summands * width >= ONEDNN_WORK and ONEDNN_LINEAR is not None else others


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

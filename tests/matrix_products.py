"""Stacks of matrices and their products by every library."""

import torch


def stacks(seeds, height, n_in, n_out, seed):
    """x ``[S, M, in]``, slopes ``[S, M, out]``, biases and weights, which are parts of longer rows as in a network."""
    generator = torch.Generator().manual_seed(seed)
    x, grad, bias, flat = (
        torch.randn(shape, generator=generator)
        for shape in ((seeds, height, n_in), (seeds, height, n_out), (seeds, 1, n_out), (seeds, n_in * n_out + 32))
    )
    return x, grad, bias, flat[:, 16:-16].view(seeds, n_in, n_out)


def all_products(by, x, grad, bias, weight):
    """Everything that a layer asks for, with the weights as stored and transposed."""
    return (
        by.affine(bias, x, weight),
        by.affine(bias, x, weight, beta=2.0, alpha=2.0),
        by.product(x, weight),
        by.product(grad, weight.mT),
        by.product(x.mT, grad),
        by.product(grad.mT, x),
    )

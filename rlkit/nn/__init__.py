"""Stacked neural networks: S networks of one shape evaluated as one, with their optimizers and normalization."""

from .architectures import Architecture, NetworkName
from .convolution import ChannelsFirst, ChannelsLast, Convolution, ConvolutionLayer, add_patches, convolutions, patches
from .encoding import encode, num_features
from .heads import ActorCritic, Dueling, PullbackOfBoth
from .layers import Activation, Layer, LayerBackends
from .matmul import (
    ALIGNMENT,
    NUMPY,
    ONEDNN,
    THIN,
    TORCH,
    MatmulBackend,
    choose_backend,
    numpy_is_ahead,
    onednn_layer,
    openblas_kernels,
    thin_affine,
)
from .mlp import MLP, Pullback
from .normalization import Moments, Normalizer, merged, normalizer
from .optim import Adam, Optimizer, RMSprop, clip_rows_, flush_denormals, known_within, row_norm
from .rbf import GaussianFeatures, RadialBasis, radial_basis
from .torch_modules import in_evaluation_mode

__all__ = [
    "ALIGNMENT",
    "MLP",
    "NUMPY",
    "ONEDNN",
    "THIN",
    "TORCH",
    "Activation",
    "ActorCritic",
    "Adam",
    "Architecture",
    "ChannelsFirst",
    "ChannelsLast",
    "Convolution",
    "ConvolutionLayer",
    "Dueling",
    "GaussianFeatures",
    "Layer",
    "LayerBackends",
    "MatmulBackend",
    "Moments",
    "NetworkName",
    "Normalizer",
    "Optimizer",
    "Pullback",
    "PullbackOfBoth",
    "RMSprop",
    "RadialBasis",
    "add_patches",
    "choose_backend",
    "clip_rows_",
    "convolutions",
    "encode",
    "flush_denormals",
    "in_evaluation_mode",
    "known_within",
    "merged",
    "normalizer",
    "num_features",
    "numpy_is_ahead",
    "onednn_layer",
    "openblas_kernels",
    "patches",
    "radial_basis",
    "row_norm",
    "thin_affine",
]

"""S neural networks of one shape, evaluated as one; their optimizers, and the normalization of their inputs.

The insides are separate modules: ``layers``, ``matmul``, ``convolution``, ``rbf``, ``initialization``.
"""

from .architectures import Architecture, NetworkName
from .encoding import encode, num_features
from .heads import ActorCritic, Dueling
from .layers import Activation
from .mlp import MLP
from .normalization import Normalizer, normalizer
from .optim import Adam, Optimizer, RMSprop, clip_rows_, flush_denormals, known_within, row_norm
from .torch_modules import in_evaluation_mode

__all__ = [
    "MLP",
    "Activation",
    "ActorCritic",
    "Adam",
    "Architecture",
    "Dueling",
    "NetworkName",
    "Normalizer",
    "Optimizer",
    "RMSprop",
    "clip_rows_",
    "encode",
    "flush_denormals",
    "in_evaluation_mode",
    "known_within",
    "normalizer",
    "num_features",
    "row_norm",
]

"""Layers, the parts that models consist of.

A layer holds parameters and buffers as attributes and computes in `forward`; the operations are
in `minidl.ops`. Images are (N, H, W, C), and features are always the last axis.
"""

from typing import TYPE_CHECKING

from . import (
    init,
    methods,  # noqa: F401  (puts them on Layer)
)
from .activation import GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from .attention import MultiHeadAttention
from .container import Identity, Lambda, LayerList, Sequential
from .conv import Conv, ConvTranspose
from .conv1d import AvgPool1d, Conv1d, MaxPool1d
from .dropout import Dropout
from .embedding import Embedding
from .fold import FoldReport, fold
from .layer import Layer
from .layer_norm import TLU, FilterResponseNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from .linear import Dense
from .norm import BatchNorm, Renorm
from .normalization import Normalization
from .parameter import Parameter
from .pool import AvgPool, Flatten, GlobalAvgPool, MaxPool
from .recalibrate import Gap, Recalibration, batch_statistics, recalibrate
from .recurrent import GRU, LSTM, RNN
from .resample import AdaptiveAvgPool, Upsample
from .state import StateError
from .step_norm import StepNorm
from .weight import weight_norm, weight_standardization

if not TYPE_CHECKING:  # to a type checker a module with __getattr__ has every name
    from .. import foreign_names, hints

    __getattr__ = hints.attributes_of(__name__, foreign_names.LAYERS)

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "TLU",
    "AdaptiveAvgPool",
    "AvgPool",
    "AvgPool1d",
    "BatchNorm",
    "Conv",
    "Conv1d",
    "ConvTranspose",
    "Dense",
    "Dropout",
    "Embedding",
    "FilterResponseNorm",
    "Flatten",
    "FoldReport",
    "Gap",
    "GlobalAvgPool",
    "GroupNorm",
    "Identity",
    "InstanceNorm",
    "Lambda",
    "Layer",
    "LayerList",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool",
    "MaxPool1d",
    "MultiHeadAttention",
    "Normalization",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Recalibration",
    "Renorm",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "StateError",
    "StepNorm",
    "Tanh",
    "Upsample",
    "batch_statistics",
    "fold",
    "init",
    "recalibrate",
    "weight_norm",
    "weight_standardization",
]

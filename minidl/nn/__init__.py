"""Layers: what a model is made of.

A layer holds parameters and buffers as attributes and computes in `forward`; the operations are
in `minidl.ops`. Images are (N, H, W, C), features are the last axis.
"""

from . import init
from .activation import ReLU, Sigmoid, Tanh
from .container import Identity, LayerList, Sequential
from .conv import Conv
from .dropout import Dropout
from .layer import Layer, Parameter, StateError
from .linear import Dense
from .norm import BatchNorm
from .pool import AvgPool, Flatten, GlobalAvgPool, MaxPool

__all__ = [
    "AvgPool", "BatchNorm", "Conv", "Dense", "Dropout", "Flatten", "GlobalAvgPool", "Identity",
    "Layer", "LayerList", "MaxPool", "Parameter", "ReLU", "Sequential", "Sigmoid", "StateError",
    "Tanh", "init",
]

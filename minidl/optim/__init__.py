"""Optimizers, which change parameters by their gradients; averages of parameters; clipping of
gradients; schedules of learning rates."""

from typing import TYPE_CHECKING

from .adagrad import Adagrad
from .adam import Adam, AdamW
from .clip import clip_grad_norm
from .combined import Combined
from .ema import EMA
from .groups import groups
from .lars import LARS
from .lookahead import Lookahead
from .muon import Muon
from .optimizer import Optimizer
from .plateau import ReduceOnPlateau
from .rmsprop import RMSprop
from .schedule import CosineLR, LinearLR, MultiStepLR, OneCycleLR, Schedule, StepLR, WarmupLR
from .sequence import SequenceLR
from .sgd import SGD

if not TYPE_CHECKING:  # to a type checker a module with __getattr__ has every name
    from .. import foreign_names, hints

    __getattr__ = hints.attributes_of(__name__, foreign_names.OPTIMIZERS)

__all__ = [
    "EMA",
    "LARS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Combined",
    "CosineLR",
    "LinearLR",
    "Lookahead",
    "MultiStepLR",
    "Muon",
    "OneCycleLR",
    "Optimizer",
    "RMSprop",
    "ReduceOnPlateau",
    "Schedule",
    "SequenceLR",
    "StepLR",
    "WarmupLR",
    "clip_grad_norm",
    "groups",
]

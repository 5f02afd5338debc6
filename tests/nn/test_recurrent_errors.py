"""These tests check what recurrent layers and StepNorm refuse."""

import numpy as np
import pytest

from minidl import nn
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.recurrent import made

SEQUENCE = uniform(4, 5, 3)
ERRORS = [
    (lambda: nn.RNN(0, 3), ["RNN", "in_features", "0"]),
    (lambda: nn.LSTM(3, 4, 0), ["LSTM", "num_layers", "0"]),
    (lambda: nn.LSTM(3, 4, max_steps=-1), ["LSTM", "max_steps", "-1"]),
    (lambda: nn.LSTM(3, 4, dropout=1.5), ["LSTM", "dropout", "1.5", "0 to 1"]),
    (lambda: nn.GRU(3, 4, dropout=np.nan), ["GRU", "dropout", "nan"]),
    (lambda: nn.RNN(3, 4, norm="group"), ["RNN", "norm", "'group'", '"layer"', '"batch"']),
    (lambda: nn.RNN(3, 4, nonlinearity="gelu"), ["RNN", "nonlinearity", "'gelu'", '"relu"']),
    (lambda: nn.StepNorm(0, 3), ["StepNorm", "features", "0"]),
    (lambda: nn.StepNorm(3, 0), ["StepNorm", "max_steps", "0"]),
    (lambda: nn.StepNorm(3, 3, eps=-1), ["StepNorm", "eps", "-1"]),
    (lambda: nn.StepNorm(3, 3, momentum=2), ["StepNorm", "momentum", "2"]),
    (lambda: nn.StepNorm(3, 3)(uniform(2, 4), 0), ["StepNorm expected (N, 3)", "(2, 4)"]),
    (lambda: nn.StepNorm(3, 3)(uniform(2, 2, 3), 0), ["StepNorm expected (N, 3)", "(2, 2, 3)"]),
    (lambda: nn.StepNorm(3, 3)(uniform(2, 3), -1), ["StepNorm", "step", "-1"]),
    (
        lambda: nn.StepNorm(3, 3)(uniform(1, 3), 0),
        ["StepNorm: batch_norm", "1 value", "larger batch", "eval()"],
    ),
    (lambda: nn.LSTM(3, 4)(uniform(4, 5, 2)), ["LSTM expected sequences (N, T, 3)", "(4, 5, 2)"]),
    (lambda: nn.RNN(3, 4)(uniform(5, 3)), ["RNN expected", "(5, 3)", "x[None]"]),
    (lambda: nn.GRU(3, 4)(uniform(2, 4, 5, 3)), ["GRU expected", "(2, 4, 5, 3)"]),
    (lambda: nn.GRU(3, 4)(uniform(2, 0, 3)), ["GRU", "x (2, 0, 3)", "no time steps"]),
    (lambda: nn.GRU(3, 4)(SEQUENCE, uniform(4, 4)), ["GRU", "state h", "(1, 4, 4)", "(4, 4)"]),
    (lambda: nn.RNN(3, 4, 2)(SEQUENCE, uniform(2, 3, 4)), ["RNN", "(2, 4, 4)", "(2, 3, 4)"]),
    (
        lambda: nn.LSTM(3, 4)(SEQUENCE, (uniform(1, 4, 4), uniform(1, 4, 5))),
        ["LSTM", "state c", "(1, 4, 4)", "(1, 4, 5)"],
    ),
    (lambda: nn.LSTM(3, 4)(SEQUENCE, (uniform(1, 4, 4),)), ["LSTM", "pair (h, c)", "1 of them"]),
    (lambda: nn.LSTM(3, 4, norm="batch")(uniform(1, 5, 3)), ["(1, 16)", "1 value", "eval()"]),
]


@pytest.mark.parametrize("call, words", ERRORS, ids=[" ".join(words) for _, words in ERRORS])
def test_errors_name_the_layer_and_what_is_wrong(call, words):
    with refuses(ValueError, *words):
        call()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: nn.StepNorm(3, 3, gamma_init="a"), ["StepNorm", "gamma_init", "'a'"]),
        (lambda: nn.StepNorm(3, 3)(np.ones((2, 3)), 0), ["StepNorm: batch_norm", "x float64"]),
        (lambda: nn.GRU(3, 2.5), ["GRU", "hidden", "2.5"]),
        (lambda: nn.LSTM(3, 4, norm=1), ["LSTM", "norm", "1"]),
        (lambda: nn.LSTM(3, 4)(SEQUENCE, uniform(1, 4, 4)), ["LSTM", "pair (h, c)", "ndarray"]),
        (lambda: nn.GRU(3, 4, dropout=True), ["GRU", "dropout", "True"]),
        (lambda: nn.RNN(3, 4)(None), ["RNN", "x", "NoneType"]),
        (lambda: nn.RNN(3, 4)(np.ones((2, 3, 3), int)), ["RNN", "int64", "float32"]),
        (lambda: nn.RNN(3, 4)(SEQUENCE.astype(np.float64)), ["float64", "float32"]),
        (
            lambda: nn.RNN(3, 4)(SEQUENCE, uniform(1, 4, 4, dtype=np.float64)),
            ["RNN", "state", "float64"],
        ),
        (lambda: nn.GRU(3, 4)(SEQUENCE, "x"), ["GRU", "state h", "str"]),
    ],
)
def test_arguments_of_a_wrong_type(call, words):
    with refuses(TypeError, *words):
        call()


def test_a_refused_call_leaves_statistics_alone():
    layer = made("RNN", 3, 4, norm="batch")
    before = layer.state_dict()
    with refuses(ValueError, "(4, 4)"):
        layer(uniform(2, 5, 3, dtype=np.float64), uniform(4, 4, dtype=np.float64))
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])

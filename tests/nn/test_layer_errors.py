"""These tests check what every layer refuses."""

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.nn import activation
from tests.support.arrays import uniform
from tests.support.errors import refuses

ERRORS = [
    # making a layer
    (lambda: nn.Dense(0, 3), ["Dense", "in_features", "0"]),
    (lambda: nn.Conv(0, 3, 3), ["Conv", "in_channels", "0"]),
    (lambda: nn.Conv(3, 4, 0), ["Conv", "kernel_size", "0"]),
    (lambda: nn.Conv(3, 4, (3, 3, 3)), ["Conv", "kernel_size", "pair"]),
    (lambda: nn.Conv(3, 4, 3, stride=0), ["Conv", "stride", "0"]),
    (lambda: nn.Conv(3, 4, 3, padding=-1), ["Conv", "padding", "-1"]),
    (lambda: nn.Conv(3, 4, 3, padding="full"), ["Conv", "padding", "'full'", '"same"']),
    (lambda: nn.Conv(3, 4, 3, groups=2), ["Conv", "3", "groups 2"]),
    (lambda: nn.Conv(4, 3, 3, groups=2), ["Conv", "3", "groups 2"]),
    (lambda: nn.Conv(3, 4, 3, padding=((1, 0), (0, -1))), ["Conv: padding", "got (0, -1)"]),
    (lambda: nn.Conv1d(0, 3, 3), ["Conv1d", "in_channels", "0"]),
    (lambda: nn.Conv1d(3, 4, 0), ["Conv1d", "kernel_size", "0"]),
    (lambda: nn.Conv1d(3, 4, 3, groups=2), ["Conv1d", "3", "groups 2"]),
    (lambda: nn.Conv1d(3, 4, 3, padding="full"), ["Conv1d", "padding", '"causal"', "'full'"]),
    (lambda: nn.ConvTranspose(3, 0, 2), ["ConvTranspose", "out_channels", "0"]),
    (
        lambda: nn.ConvTranspose(3, 4, 2, stride=2, output_padding=2),
        ["ConvTranspose", "output_padding", "stride (2, 2)"],
    ),
    (lambda: nn.ConvTranspose(3, 4, 3, groups=2), ["ConvTranspose", "3", "groups 2"]),
    (lambda: nn.Embedding(0, 3), ["Embedding", "rows", "0"]),
    (lambda: nn.Embedding(5, -1), ["Embedding", "features", "-1"]),
    (lambda: nn.GELU("erf"), ["GELU", "approximate", "'erf'"]),
    (lambda: nn.BatchNorm(0), ["BatchNorm", "features", "0"]),
    (lambda: nn.BatchNorm(3, eps=-1e-5), ["BatchNorm", "eps", "-1e-05"]),
    (lambda: nn.BatchNorm(3, eps=np.nan), ["BatchNorm", "eps", "nan"]),
    (lambda: nn.BatchNorm(3, momentum=1.5), ["BatchNorm", "momentum", "1.5"]),
    (lambda: nn.MaxPool(0), ["MaxPool", "window", "0"]),
    (lambda: nn.AvgPool(2, stride=0), ["AvgPool", "stride", "0"]),
    (lambda: nn.AvgPool(2, padding="causal"), ["AvgPool", "padding", "'causal'"]),
    (lambda: nn.MaxPool(2, dilation=0), ["MaxPool", "dilation", "0"]),
    (lambda: nn.MaxPool1d(0), ["MaxPool1d", "window", "0"]),
    (lambda: nn.AvgPool1d(2, padding=(1, 0, 1)), ["AvgPool1d", "padding", "(before, after)"]),
    (lambda: nn.Dropout(1.5), ["Dropout", "p", "1.5"]),
    (lambda: nn.Dropout(-0.1), ["Dropout", "p", "-0.1"]),
    (lambda: nn.Dropout(np.nan), ["Dropout", "p", "nan"]),
    # calling it
    (lambda: nn.Dense(4, 3)(uniform(2, 5)), ["Dense expected 4 features", "(2, 5)"]),
    (lambda: nn.Dense(4, 3)(uniform(2, 2, 2, 1)), ["(2, 2, 2, 1)", "flatten"]),
    (lambda: nn.Dense(4, 3)(np.float32(1)), ["Dense", "()"]),
    (lambda: nn.Conv(3, 4, 3)(uniform(2, 3, 8, 8)), ["(N, H, W, 3)", "(2, 3, 8, 8)"]),
    (lambda: nn.Conv(3, 4, 3)(uniform(8, 8, 3)), ["(N, H, W, 3)", "(8, 8, 3)"]),
    (lambda: nn.Conv(3, 4, 3)(uniform(1, 8, 2, 3)), ["width", "kernel"]),
    (lambda: nn.BatchNorm(3)(uniform(2, 4)), ["BatchNorm expected (..., 3)", "(2, 4)"]),
    (lambda: nn.BatchNorm(3)(uniform(3)), ["BatchNorm", "two axes", "(3,)"]),
    (lambda: nn.MaxPool(2)(uniform(4, 4)), ["max_pool", "(N, H, W, C)", "(4, 4)"]),
    (lambda: nn.MaxPool(5)(uniform(1, 4, 8, 1)), ["max_pool", "window", "(1, 4, 8, 1)"]),
    (lambda: nn.AvgPool(2, padding=2)(uniform(1, 4, 4, 1)), ["avg_pool", "padding", "half"]),
    (
        lambda: nn.MaxPool(2, padding=((2, 0), (0, 0)))(uniform(1, 4, 4, 1)),
        ["max_pool", "padding", "less than window (2, 2)"],
    ),
    (lambda: nn.MaxPool1d(5)(uniform(1, 4, 2)), ["max_pool1d", "window 5", "(1, 4, 2)"]),
    (lambda: nn.AvgPool1d(2)(uniform(1, 4, 4, 2)), ["avg_pool1d", "(N, T, C)", "(1, 4, 4, 2)"]),
    (
        lambda: nn.Conv1d(3, 4, 3)(uniform(2, 8, 8, 3)),
        ["Conv1d expected sequences (N, T, 3)", "(2, 8, 8, 3)"],
    ),
    (lambda: nn.Conv1d(3, 4, 3)(uniform(1, 2, 3)), ["conv1d", "length", "kernel"]),
    (lambda: nn.GlobalAvgPool()(uniform(4, 4)), ["global_avg_pool", "(4, 4)"]),
    (lambda: nn.ConvTranspose(3, 4, 2)(uniform(2, 8, 8, 4)), ["ConvTranspose", "(2, 8, 8, 4)"]),
    (lambda: nn.Embedding(5, 3)([0, 5]), ["embedding", "5", "0..4"]),
    (lambda: nn.Softmax(2)(uniform(4, 4)), ["softmax", "axis", "got 2"]),
    (lambda: nn.LayerNorm(0), ["LayerNorm", "features", "0"]),
    (lambda: nn.LayerNorm(3, eps=-1), ["LayerNorm", "eps", "-1"]),
    (lambda: nn.LayerNorm(3)(uniform(2, 4)), ["LayerNorm expected (..., 3)", "(2, 4)"]),
    (lambda: nn.RMSNorm(3)(uniform(2, 4)), ["RMSNorm expected (..., 3)", "(2, 4)"]),
    (lambda: nn.GroupNorm(2, 3), ["GroupNorm", "3 features", "2 groups"]),
    (lambda: nn.GroupNorm(0, 4), ["GroupNorm", "groups", "0"]),
    (lambda: nn.GroupNorm(2, 4)(uniform(2, 5, 6)), ["GroupNorm expected (..., 4)", "(2, 5, 6)"]),
    (lambda: nn.InstanceNorm(3)(uniform(2, 4, 2)), ["InstanceNorm expected (..., 3)"]),
    (lambda: nn.FilterResponseNorm(0), ["FilterResponseNorm", "features", "0"]),
    (lambda: nn.FilterResponseNorm(3, eps=-1), ["FilterResponseNorm", "eps", "-1"]),
    (
        lambda: nn.FilterResponseNorm(3)(uniform(2, 4, 2)),
        ["FilterResponseNorm expected (..., 3)", "(2, 4, 2)"],
    ),
    (lambda: nn.FilterResponseNorm(3)(uniform(2, 3)), ["filter_response_norm", "3 axes", "(2, 3)"]),
    (lambda: nn.LayerNorm((3, 0)), ["LayerNorm", "features", "(3, 0)"]),
    (lambda: nn.LayerNorm((3, 4))(uniform(2, 4, 3)), ["LayerNorm expected (..., 3, 4)"]),
    (lambda: nn.RMSNorm((3, 4))(uniform(4)), ["RMSNorm expected (..., 3, 4)", "(4,)"]),
    (lambda: nn.AdaptiveAvgPool(0), ["AdaptiveAvgPool", "size", "0"]),
    (lambda: nn.AdaptiveAvgPool(2)(uniform(2, 3)), ["adaptive_avg_pool", "(2, 3)"]),
    (lambda: nn.AdaptiveAvgPool((2, 2))(uniform(2, 3, 4)), ["adaptive_avg_pool", "(2, 2)"]),
    (lambda: nn.Upsample(2, mode="bilinear"), ["Upsample", "mode", "'bilinear'"]),
    (lambda: nn.Upsample(scale_factor=2)(uniform(2, 3)), ["resize", "(N, H, W, C)", "(2, 3)"]),
    (lambda: nn.Upsample(scale_factor=(2, 2))(uniform(2, 3, 4)), ["Upsample", "(2, 3, 4)"]),
    (lambda: nn.MultiHeadAttention(0, 1), ["MultiHeadAttention", "features", "0"]),
    (lambda: nn.MultiHeadAttention(6, 4), ["MultiHeadAttention", "6 features", "4 heads"]),
    (lambda: nn.MultiHeadAttention(6, 2, 1.5), ["MultiHeadAttention", "dropout", "1.5"]),
    (lambda: nn.MultiHeadAttention(6, 2, key_features=0), ["MultiHeadAttention", "key_features"]),
    (lambda: nn.MultiHeadAttention(6, 2)(uniform(5, 6)), ["MultiHeadAttention", "x[None]"]),
    (lambda: nn.TLU(-1), ["TLU", "features", "-1"]),
    (lambda: nn.TLU(3)(uniform(2, 4)), ["TLU expected (..., 3)", "(2, 4)"]),
    # hints
    (lambda: nn.Conv(3, 4, 3)(uniform(2, 3, 8, 8)), ["channels come last", "transpose"]),
    (lambda: nn.Conv(1, 4, 3)(uniform(2, 8, 8)), ["channel axis is missing", "[..., None]"]),
    (lambda: nn.Conv(3, 4, 3)(uniform(8, 8, 3)), ["batch axis is missing", "x[None]"]),
    (lambda: nn.Conv1d(3, 4, 3)(uniform(2, 3, 8)), ["channels come last", "transpose(0, 2, 1)"]),
    (lambda: nn.Conv1d(1, 4, 3)(uniform(2, 8)), ["channel axis is missing", "[..., None]"]),
    # in a Sequential
    (
        lambda: nn.Sequential(nn.Dense(4, 3), nn.Dense(4, 3))(uniform(2, 4)),
        ["layer 1, Dense: Dense expected 4 features", "(2, 3)"],
    ),
    (
        lambda: nn.Sequential(nn.ReLU(), nn.Lambda(lambda x: x.reshape(7)))(uniform(2, 4)),
        ["layer 1, Lambda: reshape", "7"],
    ),
    (
        lambda: nn.Sequential(nn.Flatten(), nn.Sequential(nn.ReLU(), nn.Dense(4, 3)))(
            uniform(2, 5)
        ),
        ["layer 1, Sequential: layer 1, Dense: Dense expected 4 features"],
    ),
]
INTEGERS = [
    layer
    for layer in vars(activation).values()
    if isinstance(layer, type) and issubclass(layer, nn.Layer) and layer is not nn.Layer
]


@pytest.mark.parametrize("call, words", ERRORS, ids=[" ".join(words) for _, words in ERRORS])
def test_errors_name_the_layer_and_what_is_wrong(call, words):
    with refuses(ValueError, *words):
        call()


@pytest.mark.parametrize("make", INTEGERS)
def test_activations_refuse_integers(make):
    with refuses(
        TypeError, make.__name__.lower().replace("leakyrelu", "leaky_relu"), "int64", "astype"
    ):
        make()(np.arange(4))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: nn.Dense(3, 2.5), ["Dense", "out_features", "2.5"]),
        (lambda: nn.Dense(True, 3), ["Dense", "in_features"]),
        (lambda: nn.Conv(3, 4, 3, dilation=1.5), ["Conv", "dilation", "1.5"]),
        (lambda: nn.ConvTranspose(3, 4, 2, padding="same"), ["ConvTranspose", "padding", "'same'"]),
        (lambda: nn.Conv1d(3, 4, (3,)), ["Conv1d", "kernel_size", "(3,)"]),
        (lambda: nn.Conv1d(3, 4, 3, stride=1.5), ["Conv1d", "stride", "1.5"]),
        (lambda: nn.MaxPool1d((2, 2)), ["MaxPool1d", "window", "(2, 2)"]),
        (lambda: nn.AvgPool(2, ceil_mode=2), ["AvgPool", "ceil_mode", "True or False", "2"]),
        (lambda: nn.AvgPool1d(2, count_padding="no"), ["AvgPool1d", "count_padding", "'no'"]),
        (lambda: nn.LeakyReLU("a"), ["LeakyReLU", "slope", "'a'"]),
        (lambda: nn.BatchNorm(3, eps="a"), ["BatchNorm", "eps", "'a'"]),
        (lambda: nn.BatchNorm(3, momentum="a"), ["BatchNorm", "momentum", "'a'"]),
        (lambda: nn.LayerNorm(3, eps="a"), ["LayerNorm", "eps", "'a'"]),
        (lambda: nn.FilterResponseNorm(3, eps="a"), ["FilterResponseNorm", "eps", "'a'"]),
        (lambda: nn.TLU(3)(uniform(2, 3, dtype=np.float64)), ["tlu", "x float64", "tau float32"]),
        (lambda: nn.Upsample(), ["Upsample", "either size or scale_factor"]),
        (lambda: nn.Upsample(2, 2), ["Upsample", "either size or scale_factor"]),
        (lambda: nn.Dense(2, 3).apply(3), ["apply", "function", "got 3"]),
        (lambda: md.softmax(uniform(2, 3), (0, 1)), ["softmax", "axis", "(0, 1)"]),
        (lambda: md.flatten(uniform(2, 3), None), ["flatten", "axis", "None"]),
        (lambda: md.concatenate([uniform(2)], axis=(0, 1)), ["concatenate", "axis", "(0, 1)"]),
        (lambda: md.reshape(uniform(2), "a"), ["reshape", "shape", "'a'"]),
        (
            lambda: md.cross_entropy(uniform(2, 3), [0, 1], label_smoothing="a"),
            ["cross_entropy", "label_smoothing", "'a'"],
        ),
        (
            lambda: md.cross_entropy(uniform(2, 3), [0, 1], ignore_index=1.5),
            ["cross_entropy", "ignore_index", "1.5"],
        ),
        (lambda: optim.SGD(nn.Dense(2, 3), 0.1), ["SGD", "params", "parameters()"]),
        (lambda: nn.Softmax("x"), ["Softmax", "axis", "'x'"]),
        (lambda: nn.init.orthogonal((2, 2), dtype=int), ["orthogonal", "dtype", "int64"]),
        (lambda: md.huber_loss(uniform(2), uniform(2), delta="a"), ["huber_loss", "delta", "'a'"]),
        (lambda: md.concatenate(3), ["concatenate", "tensors", "got 3"]),
        (lambda: md.split(uniform(4), 2.0), ["split", "sections", "2.0"]),
    ],
)
def test_options_of_a_wrong_type(make, words):
    with refuses(TypeError, *words):
        make()


def test_an_error_that_is_not_a_text_passes_a_sequential_as_it_is():
    class Failing(nn.Layer):
        def forward(self, x):
            raise ValueError(1, 2)

    with pytest.raises(ValueError) as info:
        nn.Sequential(Failing())(uniform(2))
    assert info.value.args == (1, 2)


def test_hints_of_layers():
    with refuses(TypeError, "Conv", "uint8", "/ 255", "predict"):
        nn.Conv(3, 4, 3)(np.zeros((2, 8, 8, 3), np.uint8))
    with refuses(ValueError, "(N, T, C)", "nn.Conv1d", "x[None]"):
        nn.Conv(3, 4, 3)(np.zeros((2, 8, 3), np.float32))
    with refuses(TypeError, "int64", "astype"):
        nn.Dense(3, 4)(np.zeros((2, 3), int))
    assert nn.Conv1d(3, 4, 3)(uniform(2, 8, 3)).shape == (2, 6, 4)

"""These tests check what convolution and its gradients refuse: arrays, options and shapes that do
not fit.
"""

import numpy as np
import pytest

from tests.support.kernel_convs import SAME, direct_cases
from tests.support.kernels import KINDS, LAYOUTS, RANKS, checks_out, kernels_of, refuses

native, _ = kernels_of("conv.direct")

NAMES = ("conv", "conv_input_grad", "conv_weight_grad")


@pytest.mark.parametrize("name", NAMES)
def test_out_is_filled_and_bad_arrays_are_refused(name):
    case = direct_cases((2, 6, 7, 4), (3, 3), 6, groups=2, padding=SAME)[name]
    checks_out(getattr(native, name), case)
    for argument in ("x", "w", "dy"):
        if argument in case:
            refuses(getattr(native, name), case, argument, LAYOUTS | KINDS | RANKS)
            wide = {**case, argument: case[argument].astype(np.float64)}
            with pytest.raises(TypeError, match=rf"{name}: \w+ is float\d\d but \w+ is float\d\d"):
                getattr(native, name)(**wide)


def test_bad_bias():
    case = direct_cases((2, 6, 7, 4), (3, 3), 6)["conv"]
    kinds = {
        "axis more": lambda a: a[None],
        "longer": lambda a: np.append(a, a[:1]),
        "shorter": lambda a: a[1:].copy(),
        "float64": lambda a: a.astype(np.float64),
    }
    refuses(native.conv, case, "bias", LAYOUTS | KINDS | kinds)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    (
        {"stride": (0, 1)},
        {"stride": (1, -1)},
        {"dilation": (0, 1)},
        {"dilation": (1, -2)},
        {"padding": ((-1, 1), (0, 0))},
        {"padding": ((0, 0), (0, -1))},
        {"groups": 0},
        {"groups": -2},
        {"groups": 3},
        {"groups": 4},
        {"dilation": (9, 1)},
        {"stride": (2, 2)},
        {"stride": 1},
        {"stride": (1, 1, 1)},
        {"padding": 1},
        {"padding": (1, 1)},
        {"padding": "same"},
        {"dilation": None},
        {"stride": (1.5, 1)},
        {"groups": None},
        {"groups": 1.5},
    ),
    ids=str,
)
def test_bad_options_are_refused(name, options):
    case = direct_cases((2, 6, 7, 4), (3, 3), 6, groups=2)[name]
    if name == "conv" and options == {"stride": (2, 2)}:
        options = {"stride": ()}  # every stride fits it
    with pytest.raises((TypeError, ValueError)):
        getattr(native, name)(**{**case, **options})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dilation", (2**62 - 3, 2**62, 2**64))
def test_a_dilation_beyond_all_memory(name, dilation):
    case = direct_cases((1, 6, 6, 1), (5, 1), 1)[name]
    with pytest.raises((ValueError, OverflowError)):
        getattr(native, name)(**{**case, "dilation": (dilation, 1)})


@pytest.mark.parametrize(
    ("name", "change"),
    (
        # Its channels are not channels / groups.
        ("conv", {"w": np.ones((3, 3, 4, 6), np.float32)}),
        ("conv", {"w": np.ones((7, 3, 2, 6), np.float32)}),  # it is larger than the image
        ("conv", {"w": np.ones((0, 3, 2, 6), np.float32)}),
        ("conv", {"w": np.ones((3, 3, 2, 0), np.float32)}),
        ("conv", {"x": np.ones((2, 6, 7, 0), np.float32)}),
        ("conv", {"x": np.ones((2, 0, 7, 4), np.float32)}),
        ("conv_input_grad", {"w": np.ones((3, 3, 4, 6), np.float32)}),
        ("conv_input_grad", {"dy": np.ones((2, 4, 5, 5), np.float32)}),
        ("conv_input_grad", {"dy": np.ones((2, 5, 5, 6), np.float32)}),
        ("conv_input_grad", {"input_shape": (2, 6, 8, 4)}),
        ("conv_input_grad", {"input_shape": (2, 6, 7)}),
        ("conv_input_grad", {"input_shape": (2, 6, 7, -4)}),
        ("conv_input_grad", {"input_shape": (2, 6, 7.5, 4)}),
        ("conv_input_grad", {"input_shape": None}),
        ("conv_weight_grad", {"dy": np.ones((1, 4, 5, 6), np.float32)}),
        ("conv_weight_grad", {"dy": np.ones((2, 4, 6, 6), np.float32)}),
        ("conv_weight_grad", {"kernel_shape": (3, 4)}),
        ("conv_weight_grad", {"kernel_shape": (0, 3)}),
        ("conv_weight_grad", {"kernel_shape": (3,)}),
        ("conv_weight_grad", {"kernel_shape": 3}),
    ),
)
def test_shapes_that_do_not_fit_are_refused(name, change):
    case = direct_cases((2, 6, 7, 4), (3, 3), 6, groups=2)[name]
    getattr(native, name)(**case)
    with pytest.raises((TypeError, ValueError, IndexError)):
        getattr(native, name)(**{**case, **change})

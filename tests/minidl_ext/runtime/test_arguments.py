"""These tests check the argument checks that all kernels share: which arrays pass, and what an
error says.
"""

import numpy as np
import pytest

from tests.support.kernels import kernels_of, values

native, twin = kernels_of("")
BOTH = pytest.mark.parametrize("kernels", (native, twin), ids=("native", "twin"))
FACTORS = np.ones((5, 4), np.float32)
IMAGES = np.ones((2, 4, 4, 4), np.float32)


@pytest.mark.parametrize("kind", (np.int64, np.longlong, np.intc, np.int32))
def test_integers_are_distinguished_by_their_width(kind):
    """NumPy may have two types of the same width, whose names are the same."""
    table, ids = values(5, 3), np.array([3, 0], kind)
    if ids.itemsize == 8:
        np.testing.assert_array_equal(native.embedding(table, ids), table[[3, 0]])
    else:
        with pytest.raises(TypeError, match="embedding: ids must be int64, got int32"):
            native.embedding(table, ids)


def _refused(error, message, call):
    with pytest.raises(error) as info:
        call()
    assert str(info.value) == message


@pytest.mark.parametrize("name", ("batch_norm_sums", "batch_norm_backward"))
def test_an_output_of_another_name_is_called_by_its_name(name):
    x, dy = values(6, 4), values(6, 4, seed=1)
    locked = dy.copy()
    locked.flags.writeable = False
    for bad, error, words in (
        (dy, ValueError, "masked_out overlaps dy in memory"),
        (x, ValueError, "masked_out overlaps x in memory"),
        (locked, ValueError, "masked_out is read-only"),
        (dy[1:].copy(), ValueError, "masked_out must have shape (6, 4), got (5, 4)"),
        (1, TypeError, "masked_out must be a NumPy array, got int"),
        (None, TypeError, "masked_out must be True, False or an array, got None"),
    ):
        _refused(
            error,
            f"{name}: {words}",
            lambda bad=bad: getattr(native, name)(dy, x, FACTORS, True, masked_out=bad),
        )


@BOTH
@pytest.mark.parametrize("bad", (None, 0, 1, "yes"))
def test_a_masked_gradient_is_asked_for_by_a_bool_or_an_array(kernels, bad):
    x, mask = values(6, 4), np.ones(6, bool)
    for call in (
        lambda: kernels.batch_norm_sums(x, x, FACTORS, True, masked_out=bad),
        lambda: kernels.batch_norm_backward(x, x, FACTORS, True, True, masked_out=bad),
        lambda: kernels.masked_norm_backward(x, x, mask, FACTORS, True, True, masked_out=bad),
    ):
        with pytest.raises(TypeError, match="masked_out must be"):
            call()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    (
        (
            lambda: native.cross_entropy_backward(
                np.zeros(1), np.zeros((1, 3)), np.zeros(1, np.int64), np.zeros(3, np.float32)
            ),
            TypeError,
            "cross_entropy_backward: probabilities is float64 but weight is float32; convert one "
            "with astype",
        ),
        (
            lambda: native.power(np.zeros(4)[::2], 2),
            ValueError,
            "power: a must be C-contiguous, aligned and in native byte order",
        ),
        (
            lambda: native.global_avg_pool_backward(np.zeros((2, 3)), 5),
            ValueError,
            "global_avg_pool_backward: dy (2, 3) does not fit input_shape 5",
        ),
        (
            lambda: native.running_update(
                np.zeros(3), np.zeros(3), 5, np.zeros(3), np.zeros(3), 0.1, 1.0
            ),
            TypeError,
            "running_update: num_batches must be a NumPy array, got int",
        ),
        (
            lambda: native.dropout(np.zeros(3), 0.5, -1),
            ValueError,
            "dropout: key must be from 0 to 2**64 - 1, got -1",
        ),
        (
            lambda: native.dropout(np.zeros(3), 0.5, "key"),
            TypeError,
            "dropout: key must be an int, got str",
        ),
    ),
)
def test_errors_name_kernel_and_argument(call, error, message):
    _refused(error, message, call)


@BOTH
@pytest.mark.parametrize(
    ("name", "arguments"),
    (
        ("dropout", (np.zeros(3), 0.5, -1)),
        ("dropout", (np.zeros(3), 0.5, 2**64)),
        ("dropout", (np.zeros(3), 0.5, 1.5)),
        ("dropout", (np.zeros(3), -0.5, 1)),
        ("dropout", (np.zeros(3), 1.5, 1)),
        ("global_avg_pool_backward", (np.zeros((2, 3)), 5)),
        ("matmul", (np.zeros((2, 0)), np.zeros((0, 3)), False, False, "panels")),
    ),
)
def test_native_and_twin_refuse_the_same(kernels, name, arguments):
    with pytest.raises((TypeError, ValueError)):
        getattr(kernels, name)(*arguments)


# -------------------------------------------------------------------------- pairs and shapes

BAD_PAIRS = (
    ((1,), ValueError, "must have 2 values, got (1,)"),
    ((1, 1, 1), ValueError, "must have 2 values, got (1, 1, 1)"),
    (1, TypeError, "must have 2 values, got 1"),
    (None, TypeError, "must have 2 values, got None"),
    ((1.5, 1), TypeError, "must be given in ints, got 1.5"),
    ((1, None), TypeError, "must be given in ints, got None"),
    ((1, -1), ValueError, "must be in 1..2147483647, got -1"),
    ((1, 2**70), ValueError, f"must be in 1..2147483647, got {2**70}"),
)
PAIRS = (
    ("conv", "stride"),
    ("conv", "dilation"),
    ("conv_input_grad", "stride"),
    ("conv_weight_grad", "dilation"),
    ("max_pool", "window"),
    ("max_pool", "stride"),
    ("avg_pool", "dilation"),
)
KERNEL = np.ones((1, 1, 4, 4), np.float32)
WINDOWS = {
    "conv": {"x": IMAGES, "w": KERNEL},
    "conv_input_grad": {"dy": IMAGES, "w": KERNEL, "input_shape": (2, 4, 4, 4)},
    "conv_weight_grad": {"x": IMAGES, "dy": IMAGES, "kernel_shape": (1, 1)},
    "max_pool": {"x": IMAGES, "window": (1, 1), "stride": (1, 1)},
    "avg_pool": {"x": IMAGES, "window": (1, 1), "stride": (1, 1)},
}


@pytest.mark.parametrize(("name", "argument"), PAIRS)
@pytest.mark.parametrize(("pair", "error", "words"), BAD_PAIRS, ids=str)
def test_pairs(name, argument, pair, error, words):
    call = getattr(native, name)
    _refused(
        error, f"{name}: {argument} {words}", lambda: call(**{**WINDOWS[name], argument: pair})
    )


@pytest.mark.parametrize(
    ("name", "argument", "value", "error", "words"),
    (
        ("conv", "padding", 1, TypeError, "padding must have 2 values, got 1"),
        ("conv", "padding", (1, 1), TypeError, "padding must have 2 values, got 1"),
        ("conv", "padding", ((1, 1),), ValueError, "padding must have 2 values, got ((1, 1),)"),
        (
            "conv",
            "padding",
            ((1, 1), (1, "a")),
            TypeError,
            "padding must be given in ints, got 'a'",
        ),
        ("conv", "groups", 1.5, TypeError, "groups must be given in ints, got 1.5"),
        ("avg_pool", "counted", 3, TypeError, "counted must have 2 values, got 3"),
        ("avg_pool", "counted", ((0, 0),), ValueError, "counted must have 2 values, got ((0, 0),)"),
        (
            "conv_weight_grad",
            "kernel_shape",
            3,
            TypeError,
            "kernel_shape must have 2 values, got 3",
        ),
        (
            "conv_weight_grad",
            "kernel_shape",
            (1, 1, 4),
            ValueError,
            "kernel_shape must have 2 values, got (1, 1, 4)",
        ),
        (
            "conv_input_grad",
            "input_shape",
            5,
            TypeError,
            "the shape (N, H, W, C) of images must have 4 values, got 5",
        ),
        (
            "conv_input_grad",
            "input_shape",
            (2, 4, 4),
            ValueError,
            "the shape (N, H, W, C) of images must have 4 values, got (2, 4, 4)",
        ),
    ),
)
def test_sizes_and_shapes(name, argument, value, error, words):
    call = getattr(native, name)
    _refused(error, f"{name}: {words}", lambda: call(**{**WINDOWS[name], argument: value}))


@pytest.mark.parametrize(("name", "argument"), PAIRS)
@pytest.mark.parametrize("pair", [pair for pair, *_ in BAD_PAIRS if pair != (1, 2**70)], ids=str)
def test_twins_refuse_such_pairs(name, argument, pair):
    """The exception is sizes too large for the native kernels, because Python's integers have no
    limit.
    """
    with pytest.raises((TypeError, ValueError)):
        getattr(twin, name)(**{**WINDOWS[name], argument: pair})


@BOTH
@pytest.mark.parametrize("name", ("conv", "conv_input_grad", "conv_weight_grad", "avg_pool"))
@pytest.mark.parametrize("padding", (1, None, (1, 1), ((1, 1),), ((0, 0), (0, -1)), ((0, 0), "ab")))
def test_paddings(kernels, name, padding):
    with pytest.raises((TypeError, ValueError)):
        getattr(kernels, name)(**{**WINDOWS[name], "padding": padding})

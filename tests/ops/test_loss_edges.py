"""These tests check losses of logits that are infinite or NaN, of weights of 0, and of labels that
are not distributions.
"""

import warnings

import numpy as np
import pytest

import minidl as md
from tests.support.marks import both_backends, both_floats

INF, NAN = np.inf, np.nan
P0, P1 = 1 / (1 + np.e), 1 / (1 + 1 / np.e)  # the softmax of (0, 1)
LOSS = -np.log(P0)
BAD = [NAN] * 3

# Each row has logits, their softmax, log_softmax, logsumexp and its gradient, cross_entropy of
# label 1 and its gradient, and that with label_smoothing 0.3. The values are PyTorch's.
ROWS = [
    (
        [-INF, 0, 1],
        [0, P0, P1],
        [-INF, -LOSS, 1 - LOSS],
        LOSS,
        [0, P0, P1],
        LOSS,
        [0, P0 - 1, P1],
        INF,
        [-0.1, P0 - 0.8, P1 - 0.1],
    ),
    ([INF, 0, 1], BAD, BAD, INF, [NAN, 0, 0], NAN, BAD, NAN, BAD),
    ([INF, INF, 1], BAD, BAD, INF, [NAN, NAN, 0], NAN, BAD, NAN, BAD),
    ([-INF, -INF, -INF], BAD, BAD, -INF, BAD, NAN, BAD, NAN, BAD),
    ([NAN, 0, 1], BAD, BAD, NAN, BAD, NAN, BAD, NAN, BAD),
    ([0, 1, NAN], BAD, BAD, NAN, BAD, NAN, BAD, NAN, BAD),
    (
        [-INF, 5, -INF],
        [0, 1, 0],
        [-INF, 0, -INF],
        5,
        [0, 1, 0],
        0,
        [0, 0, 0],
        INF,
        [-0.1, 0.2, -0.1],
    ),
]


def gradient(f, values, dtype):
    x = md.Tensor(np.array(values, dtype), requires_grad=True)
    y = f(x)
    return y.data, md.grad(y, x)


@both_backends
@both_floats
@pytest.mark.parametrize("row", ROWS, ids=[str(row[0]) for row in ROWS])
def test_rows_of_special_logits(row, dtype, backend):
    x, softmax, log_softmax, lse, lse_slope, loss, slope, smooth, smooth_slope = row
    with md.use_backend(backend), np.errstate(all="ignore"):
        got = [
            md.softmax(md.Tensor(np.array(x, dtype))).data,
            md.log_softmax(md.Tensor(np.array(x, dtype))).data,
            *gradient(md.logsumexp, x, dtype),
            *gradient(lambda v: md.cross_entropy(v, np.array(1)), x, dtype),
            *gradient(lambda v: md.cross_entropy(v, np.array(1), label_smoothing=0.3), x, dtype),
            *gradient(lambda v: md.cross_entropy(v, np.array([0, 1, 0], dtype)), x, dtype),
            *gradient(lambda v: md.nll_loss(md.log_softmax(v), np.array(1)), x, dtype),
        ]
    expected = [
        softmax,
        log_softmax,
        lse,
        lse_slope,
        loss,
        slope,
        smooth,
        smooth_slope,
        loss,
        slope,
        loss,
        slope,
    ]
    for g, w in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-6, atol=1e-6)


@both_backends
def test_a_class_of_weight_0_may_be_impossible(backend):
    x, weight = [[-INF, 0, 1]], [0, 1, 1]
    half = np.float32([[0.5, 0.5, 0]])
    with md.use_backend(backend), np.errstate(all="ignore"):
        for loss in (
            lambda v: md.cross_entropy(v, [0], weight=weight, reduction="sum"),
            lambda v: md.nll_loss(md.log_softmax(v), [0], weight=weight, reduction="sum"),
            lambda v: md.nll_loss(v, [0], weight=weight, reduction="sum"),
            lambda v: md.cross_entropy(v, np.float32([[1, 0, 0]]), weight=weight),
        ):
            y, dx = gradient(loss, x, np.float32)
            assert y == 0
            assert not dx.any()
        y, dx = gradient(lambda v: md.cross_entropy(v, half, weight=weight), x, np.float32)
        assert y == pytest.approx(LOSS / 2)
        np.testing.assert_allclose(dx, [[0, (P0 - 1) / 2, P1 / 2]], rtol=1e-6)
        assert md.cross_entropy(md.tensor(x), half).item() == INF


@both_backends
def test_binary_losses_of_infinite_logits(backend):
    x = np.float32([INF, -INF, INF, -INF, NAN])
    t = np.float32([1, 0, 0, 1, 1])
    with md.use_backend(backend), np.errstate(all="ignore"):
        tensor = md.Tensor(x, requires_grad=True)
        losses = md.binary_cross_entropy_with_logits(tensor, t, reduction="none")
        dx = md.grad(losses.sum(), tensor)
        weighted = md.binary_cross_entropy_with_logits(x[:4], t[:4], weight=[1, 1, 0, 0])
    np.testing.assert_array_equal(losses.data, [0, 0, INF, INF, NAN])
    np.testing.assert_array_equal(dx, [0, 0, 1, -1, NAN])
    assert weighted.item() == 0


def test_rows_that_do_not_add_up_get_a_warning():
    x = md.zeros(3, 4)
    good = np.float32([[0.2, 0.3, 0.5, 0], [0, 0, 0, 0], [0.999, 0, 0, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        md.cross_entropy(x, good, weight=[1, 5, 1, 1], label_smoothing=0.1)
        md.cross_entropy(md.zeros(0, 4), good[:0], reduction="sum")
    good[2] = 1, 1, 0, 0
    with pytest.warns(UserWarning, match=r"row 2 add up to 2.*binary_cross_entropy") as caught:
        md.cross_entropy(x, good)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="row 0 add up to inf"):
        md.cross_entropy(md.zeros(1, 2), np.full((1, 2), 3e38, np.float32))


@both_floats
def test_accuracy_counts_no_row_with_nan(dtype):
    x = np.array([[NAN, 1], [1, NAN], [0, 1], [INF, 0]], dtype)
    assert md.accuracy(x, [0, 1, 1, 0]) == 0.5
    assert md.accuracy(np.array([[1, 2], [3, 0]]), [1, 1]) == 0.5
    assert np.isnan(md.accuracy(np.zeros((0, 3)), np.zeros(0, int)))

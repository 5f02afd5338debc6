"""These tests give the public API bad input, which must raise a clear exception or give the right
answer, and never crash.
"""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn, optim
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.marks import both_backends, small_batches

pytestmark = small_batches


def images(n=4, dtype=np.float32):
    return uniform(n, 28, 28, 1, dtype=dtype, low=0)


def labels(n=4):
    return np.arange(n) % 10


def loss_of(x, y):
    return md.cross_entropy(CNN(x), y)


def logits(n=4):
    return uniform(n, 10)


CNN = models.MnistCNN()

REFUSED = {
    # wrong shapes
    "no channel axis": (lambda: CNN(images()[..., 0]), ValueError, ["(N, H, W, 1)"]),
    "channels first": (lambda: CNN(uniform(4, 1, 28, 28)), ValueError, ["(4, 1, 28, 28)"]),
    "three channels": (lambda: CNN(uniform(4, 28, 28, 3)), ValueError, ["(4, 28, 28, 3)"]),
    "flat rows": (lambda: CNN(uniform(4, 784)), ValueError, ["(4, 784)"]),
    "images too large": (lambda: CNN(uniform(4, 32, 32, 1)), ValueError, ["3136", "4096"]),
    "images too small": (lambda: CNN(uniform(4, 2, 2, 1)), ValueError, ["max_pool"]),
    "a number": (lambda: CNN(np.float32(1)), ValueError, ["()"]),
    # wrong dtypes
    "bytes": (lambda: CNN(np.ones((4, 28, 28, 1), np.uint8)), TypeError, ["uint8", "astype"]),
    "float64 images": (lambda: CNN(images(dtype=np.float64)), TypeError, ["float64", "float32"]),
    "half precision": (lambda: CNN(images().astype(np.float16)), TypeError, ["float16"]),
    "complex": (lambda: CNN(images().astype(complex)), TypeError, ["complex128"]),
    "text": (lambda: CNN(np.full((4, 28, 28, 1), "a")), TypeError, ["<U1"]),
    "objects": (lambda: CNN(np.full((4, 28, 28, 1), None)), TypeError, ["object"]),
    "ragged": (lambda: md.tensor([[1.0, 2.0], [3.0]]), ValueError, [""]),
    "gradients of integers": (lambda: md.tensor([1, 2], requires_grad=True), TypeError, ["int64"]),
    # labels
    "label 10": (lambda: loss_of(images(), [0, 1, 10, 2]), ValueError, ["10", "at 2", "0..9"]),
    "label -1": (lambda: loss_of(images(), [0, 1, 2, -1]), ValueError, ["-1", "at 3", "0..9"]),
    "a huge label": (lambda: loss_of(images(), [2**62, 0, 0, 0]), ValueError, ["0..9"]),
    "a huge unsigned label": (
        lambda: loss_of(images(), np.array([0, 0, 0, 2**64 - 1], "u8")),
        ValueError,
        ["0..9"],
    ),
    "too few labels": (lambda: loss_of(images(), [1, 2, 3]), ValueError, ["(4,)", "(3,)"]),
    "a column of labels": (lambda: loss_of(images(), labels()[:, None]), ValueError, ["(4, 1)"]),
    "one label": (lambda: loss_of(images(), 3), ValueError, ["(4,)", "()"]),
    "fractional labels": (
        lambda: loss_of(images(), np.array([0.5, 1, 2, 3])),
        ValueError,
        ["distribution", "(4, 10)"],
    ),
    "labels that are names": (
        lambda: loss_of(images(), np.array(list("abcd"))),
        TypeError,
        ["<U1"],
    ),
    "no labels": (lambda: loss_of(images(), None), TypeError, ["labels", "NoneType"]),
    "accuracy of other lengths": (
        lambda: md.accuracy(logits(), labels(3)),
        ValueError,
        ["(4, 10)", "(3,)"],
    ),
    # too few values for a normalization
    "an empty batch": (lambda: CNN(images(0)), ValueError, ["(0, 28, 28, 32)", "at least 2"]),
    "a batch of one": (
        lambda: CNN(images(1)),
        ValueError,
        ["(1, 128)", "1 value", "larger batch", "drop_last", "eval()"],
    ),
    # graphs
    "backward of many": (lambda: CNN(images()).backward(), ValueError, ["(4, 10)", "scalar"]),
    "backward of a constant": (lambda: md.ones(()).backward(), RuntimeError, ["require"]),
    "backward under no_grad": (
        lambda: md.no_grad()(loss_of)(images(), labels()).backward(),
        RuntimeError,
        ["no_grad"],
    ),
    "a gradient of another shape": (
        lambda: CNN(images()).backward(np.ones((4, 9))),
        ValueError,
        ["(4, 9)", "(4, 10)"],
    ),
}


@pytest.mark.parametrize("call, error, words", REFUSED.values(), ids=REFUSED)
@both_backends
def test_a_clear_exception(call, error, words, backend):
    with md.use_backend(backend), refuses(error, *words):
        call()
    assert CNN(images(2)).shape == (2, 10)  # the model can still be used


# ---------------------------------------------------------------------------- the right answer


@both_backends
def test_empty_batches(backend):
    model = models.MnistCNN().eval()
    with md.use_backend(backend):
        y = model(images(0))
        assert y.shape == (0, 10) and y.requires_grad
        assert np.isnan(md.cross_entropy(y, labels(0)).item())  # the mean of nothing
        assert md.cross_entropy(y, labels(0), reduction="none").shape == (0,)
        loss = md.cross_entropy(y, labels(0), reduction="sum")
        assert loss.item() == 0
        loss.backward()
        assert all(not p.grad.any() for p in model.parameters())
    assert np.isnan(md.accuracy(y, labels(0)))
    assert model.predict(np.zeros((0, 28, 28, 1), np.uint8)).shape == (0, 10)


@both_backends
def test_one_image_in_eval_mode(backend):
    model = models.MnistCNN().eval()
    x = images(3)
    with md.use_backend(backend):
        np.testing.assert_allclose(model(x[1:2]).data, model(x).data[1:2], rtol=1e-4, atol=1e-6)


def gradients(x, y):
    """Return the loss and every gradient of a fresh model, including that of the images, as
    bytes.
    """
    md.manual_seed(0)
    model = models.MnistCNN()
    x = md.Tensor(x, requires_grad=True)
    loss = md.cross_entropy(model(x), y)
    loss.backward()
    return [loss.data.tobytes(), x.grad.tobytes(), *(p.grad.tobytes() for p in model.parameters())]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    raw = np.empty(a.nbytes + 1, np.uint8)[1:]
    b = raw.view(a.dtype).reshape(a.shape)
    b[...] = a
    assert a.itemsize == 1 or not b.flags.aligned
    return b


ODD = {
    "read-only": read_only,
    "every second": lambda a: np.repeat(a, 2, axis=0)[::2],
    "backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "Fortran order": np.asfortranarray,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "a tensor": md.Tensor,
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_arrays_in_odd_memory_are_read_right(odd):
    x, y = images(6), labels(6)
    expected = gradients(x, y)
    assert gradients(odd(x), y) == expected
    assert gradients(x, odd(y)) == expected
    assert gradients(x, odd(y.astype(np.uint8))) == expected


def test_overlapping_windows_are_read_right():
    strip = uniform(60, 28)
    windows = np.lib.stride_tricks.sliding_window_view(strip, (28, 28)).transpose(0, 2, 3, 1)
    assert np.shares_memory(windows[0], windows[1])
    y = labels(len(windows))
    assert gradients(windows, y) == gradients(windows.copy(), y)


def test_read_only_and_foreign_running_statistics_are_refused():
    x, gamma = uniform(8, 3), np.ones(3, np.float32)
    stats = np.zeros(3, np.float32), np.ones(3, np.float32)
    for wrong, words in (
        (read_only(stats[0]), "read-only"),
        (np.zeros(4, np.float32), "(4,)"),
        (np.zeros(3, np.int64), "int64"),
    ):
        for pair in ((wrong, stats[1].copy()), (stats[0].copy(), wrong)):
            with pytest.raises((ValueError, TypeError)) as info:
                md.batch_norm(x, gamma, gamma, *pair, training=True)
            assert words in str(info.value)


@both_backends
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_spoils_its_own_image_only_in_eval_mode(bad, backend):
    model = models.MnistCNN().eval()
    x, y = images(5), labels(5)
    with md.use_backend(backend), np.errstate(invalid="ignore", over="ignore"):
        clean = model(x).data
        x[2, 14, 14] = bad
        found = model(x)
        losses = md.cross_entropy(found, y, reduction="none").data
    others = np.arange(5) != 2
    np.testing.assert_array_equal(found.data[others], clean[others])
    assert np.isfinite(losses[others]).all() and not np.isfinite(losses[2])


@both_backends
def test_nan_in_training_shows_in_the_loss(backend):
    x = images()
    x[0, 0, 0] = np.nan
    model = models.MnistCNN()
    with md.use_backend(backend), np.errstate(invalid="ignore"):
        loss = md.cross_entropy(model(x), labels())
        loss.backward()
    assert np.isnan(loss.item())
    assert np.isnan(model.conv1.weight.grad).any()
    assert np.isnan(md.accuracy(np.zeros((0, 10)), labels(0)))


@both_backends
def test_huge_logits_do_not_overflow(backend):
    x = md.tensor(np.float32([[1e30, -1e30, 0], [3e38, 3e38, -3e38]]), requires_grad=True)
    with md.use_backend(backend), np.errstate(over="ignore", invalid="ignore"):
        losses = md.cross_entropy(x, [0, 1], reduction="none")
        losses.sum().backward()
    np.testing.assert_allclose(losses.data, [0, np.log(2)], atol=1e-6)
    np.testing.assert_allclose(x.grad, [[0, 0, 0], [0.5, -0.5, 0]], atol=1e-6)


# ------------------------------------------------------------------------- states and graphs


def test_the_state_of_another_model_changes_nothing():
    model = models.MnistCNN()
    before = model.state_dict()
    with refuses(
        nn.StateError,
        "MnistCNN",
        "missing: conv1.weight, conv2.weight, bn2.gamma",
        "fc1.weight: (3136, 128) expected, got (784, 256)",
    ):
        model.load_state_dict(models.MLP().state_dict())
    with refuses(nn.StateError, "missing: fc1.weight", "unexpected: groups, state"):
        models.MLP().load_state_dict(optim.SGD(model.parameters(), 0.1).state_dict())
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_graph_used_twice():
    model = models.MLP()
    loss = md.cross_entropy(model(images()), labels())
    loss.backward(retain_graph=True)
    once = [p.grad.copy() for p in model.parameters()]
    loss.backward()
    for p, g in zip(model.parameters(), once, strict=True):
        np.testing.assert_allclose(p.grad, 2 * g, rtol=1e-6)
    twice = [p.grad.copy() for p in model.parameters()]
    for again in (loss.backward, lambda: md.grad(loss, model.parameters()), (loss * 2).backward):
        with refuses(RuntimeError, "retain_graph=True"):
            again()
    for p, g in zip(model.parameters(), twice, strict=True):
        np.testing.assert_array_equal(p.grad, g)

"""These tests check cross_entropy, nll_loss and accuracy. softmax has its own file,
test_softmax.
"""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.marks import both_backends, both_floats
from tests.support.reference.activation import log_softmax, softmax


def distribution(*shape):
    """Return probabilities that float32 can represent."""
    return softmax(uniform(*shape, low=-2, high=2)).astype(np.float64)


def cross_entropy(
    logits, labels, weight=None, ignore_index=None, label_smoothing=0.0, reduction="mean"
):
    """Compute the loss by its formula. The mean is over the weights of the labels that count, or
    over the rows of a distribution.
    """
    log_probs, classes = log_softmax(logits), logits.shape[-1]
    w = np.ones(classes) if weight is None else np.asarray(weight)
    if labels.dtype.kind == "f":
        target = (1 - label_smoothing) * labels + label_smoothing / classes
        losses = -(w * target * log_probs).sum(-1)
        count = losses.size
    else:
        counts = labels != ignore_index
        safe = np.where(counts, labels, 0)
        picked = w[safe] * np.take_along_axis(log_probs, safe[..., None], -1)[..., 0]
        everywhere = (w * log_probs).sum(-1) / classes
        losses = counts * ((label_smoothing - 1) * picked - label_smoothing * everywhere)
        count = (w[safe] * counts).sum()
    return {"none": losses, "sum": losses.sum(), "mean": np.divide(losses.sum(), count)}[reduction]


def nll_loss(log_probs, labels, weight=None, ignore_index=None, reduction="mean"):
    w = np.ones(log_probs.shape[-1]) if weight is None else weight
    counts = labels != ignore_index
    safe = np.where(counts, labels, 0)
    weights = w[safe] * counts
    losses = -weights * np.take_along_axis(log_probs, safe[..., None], -1)[..., 0]
    return {"none": losses, "sum": losses.sum(), "mean": np.divide(losses.sum(), weights.sum())}[
        reduction
    ]


def title(options):
    return "with " + (" ".join(options) or "nothing")


def entropy(name, logits, labels, **options):
    """Return a case of cross_entropy."""
    return case(f"cross_entropy{name}", md.cross_entropy, cross_entropy, logits, labels, **options)


def nll(name, log_probs, labels, **options):
    """Return a case of nll_loss."""
    return case(f"nll_loss{name}", md.nll_loss, nll_loss, log_probs, labels, **options)


LABELS = np.array([1, 3, 0, 3, 2])
SEQUENCES = np.array([[0, 1, 2], [3, 2, 1]])
MANY = np.random.default_rng(0).integers(0, 10, 20_000)
WEIGHT = np.array([0.5, 1.0, 2.0, 0.25])

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            entropy(
                f" {title(options)} {reduction}", (5, 4), LABELS, reduction=reduction, **options
            )
            for reduction in ("mean", "sum", "none")
            for options in (
                {},
                {"weight": WEIGHT},
                {"ignore_index": 3},
                {"label_smoothing": 0.1},
                {"weight": WEIGHT, "ignore_index": 3},
                {"weight": WEIGHT, "label_smoothing": 0.25},
                {"weight": WEIGHT, "label_smoothing": 0.25, "ignore_index": 3},
            )
        ),
        *(
            entropy(
                f" of a distribution {title(options)} {reduction}",
                (5, 4),
                distribution(5, 4),
                reduction=reduction,
                **options,
            )
            for reduction in ("mean", "sum", "none")
            for options in (
                {},
                {"weight": WEIGHT},
                {"label_smoothing": 0.1},
                {"weight": WEIGHT, "label_smoothing": 0.25},
            )
        ),
        *(
            nll(f" {title(options)} {reduction}", (5, 4), LABELS, reduction=reduction, **options)
            for reduction in ("mean", "sum", "none")
            for options in (
                {},
                {"weight": WEIGHT},
                {"ignore_index": 3},
                {"weight": WEIGHT, "ignore_index": 3},
            )
        ),
        nll(" of sequences", (2, 3, 4), SEQUENCES, weight=WEIGHT, ignore_index=1),
        nll(" of sequences, none", (2, 3, 4), SEQUENCES, reduction="none"),
        nll(" of one row", (4,), np.array(2)),
        entropy(" of one row", (4,), np.array(2)),
        entropy(" of one row, none", (4,), np.array(2), reduction="none"),
        entropy(" of sequences", (2, 3, 4), SEQUENCES, weight=WEIGHT, ignore_index=1),
        entropy(" of sequences, none", (2, 3, 4), SEQUENCES, reduction="none"),
        entropy(" of distributions of sequences", (2, 3, 4), distribution(2, 3, 4), weight=WEIGHT),
        entropy(
            ", ignored labels out of range",
            (5, 4),
            np.array([1, -100, 0, -100, 2]),
            ignore_index=-100,
        ),
        entropy(", full smoothing", (5, 4), LABELS, label_smoothing=1.0),
        entropy(", one class", (5, 1), LABELS * 0),
        entropy(", no rows, sum", (0, 4), np.zeros(0, np.int64), reduction="sum"),
        entropy(", no rows, none", (0, 4), np.zeros(0, np.int64), reduction="none"),
        *(
            case(
                f"large cross_entropy {title(options)}",
                md.cross_entropy,
                cross_entropy,
                (5, 10),
                LABELS,
                large=[(20_000, 10), MANY],
                **options,
            )
            for options in (
                {},
                {"weight": np.arange(1, 11) / 8},
                {"label_smoothing": 0.1},
                {"reduction": "none"},
            )
        ),
    ]
)

X = md.zeros(3, 4)

test_errors = errors_of(
    [
        (
            lambda: md.cross_entropy(X, [0, 1]),
            ValueError,
            "cross_entropy: labels must have shape (3,)",
            "(3, 4)",
            "got (2,)",
        ),
        (
            lambda: md.cross_entropy(X, [[0, 1, 2]]),
            ValueError,
            "cross_entropy: labels must have shape",
            "got (1, 3)",
        ),
        (
            lambda: md.cross_entropy(X, [0, 4, 1]),
            ValueError,
            "cross_entropy: label 4 at 1 is outside 0..3",
        ),
        (
            lambda: md.cross_entropy(X, [0, 1, -1]),
            ValueError,
            "cross_entropy: label -1 at 2 is outside 0..3",
        ),
        (
            lambda: md.cross_entropy(X, [9, 1, -1], ignore_index=-1),
            ValueError,
            "cross_entropy: label 9 at 0 is outside",
        ),
        (
            lambda: md.cross_entropy(X, [True, False, True]),
            TypeError,
            "cross_entropy: labels must be",
            "bool",
        ),
        (
            lambda: md.cross_entropy(X, md.zeros(3)),
            ValueError,
            "cross_entropy: a distribution must",
            "(3, 4)",
            "got (3,)",
        ),
        (
            lambda: md.cross_entropy(X, md.zeros(3, 4), ignore_index=1),
            ValueError,
            "cross_entropy: ignore_index needs class indices",
        ),
        (
            lambda: md.cross_entropy(X, [0, 1, 2], weight=np.ones(3)),
            ValueError,
            "cross_entropy: weight must have shape (4,)",
            "got (3,)",
        ),
        (
            lambda: md.cross_entropy(X, [0, 1, 2], label_smoothing=1.5),
            ValueError,
            "cross_entropy: label_smoothing must be a number from 0 to 1",
            "1.5",
        ),
        (
            lambda: md.cross_entropy(X, [0, 1, 2], label_smoothing=float("nan")),
            ValueError,
            "cross_entropy: label_smoothing",
        ),
        (
            lambda: md.cross_entropy(X, [0, 1, 2], reduction="max"),
            ValueError,
            'cross_entropy: reduction must be "mean", "sum" or "none"',
            "'max'",
        ),
        (
            lambda: md.cross_entropy(md.tensor(1.0), 0),
            ValueError,
            "cross_entropy: logits must be",
            "shape ()",
        ),
        (
            lambda: md.cross_entropy(md.zeros(3, 0), [0, 0, 0]),
            ValueError,
            "cross_entropy: logits must",
        ),
        (
            lambda: md.cross_entropy(X.astype(np.int64), [0, 1, 2]),
            TypeError,
            "cross_entropy: logits must be float32 or float64",
            "int64",
        ),
        (lambda: md.cross_entropy(X, "text"), TypeError, "cross_entropy: labels must be", "str"),
        (
            lambda: md.nll_loss(X, [0, 1]),
            ValueError,
            "nll_loss: labels must have shape (3,)",
            "(2,)",
        ),
        (lambda: md.nll_loss(X, [0, 4, 1]), ValueError, "nll_loss: label 4 at 1 is outside 0..3"),
        (
            lambda: md.nll_loss(X, [0, 1, 2], weight=np.ones(3)),
            ValueError,
            "nll_loss: weight",
            "(3,)",
        ),
        (lambda: md.nll_loss(X, [0, 1, 2], reduction="max"), ValueError, "nll_loss: reduction"),
        (lambda: md.nll_loss(X, X), TypeError, "nll_loss: labels must be integers", "float32"),
        (lambda: md.nll_loss(md.zeros(3, 0), [0, 0, 0]), ValueError, "nll_loss: log_probs"),
        (lambda: md.accuracy(X, [0, 1]), ValueError, "accuracy: logits", "(3, 4) and (2,)"),
        (lambda: md.accuracy(md.tensor(1.0), 0), ValueError, "accuracy: logits", "() and ()"),
        (lambda: md.accuracy(X, [0, 4, 1]), ValueError, "accuracy: label 4 at 1 is outside 0..3"),
        (
            lambda: md.accuracy(X, [0, 1, -100]),
            ValueError,
            "accuracy: label -100 at 2 is outside 0..3",
        ),
        (
            lambda: md.accuracy(X, [0.0, 1.0, 2.0]),
            TypeError,
            "accuracy: labels must be integers",
            "float32",
        ),
        *(
            (
                lambda bad=bad: md.cross_entropy(
                    X, np.float32([[0, 1, 0, 0], [0.5, 0.5, 0, 0], [0, 1, bad, 0]])
                ),
                ValueError,
                "cross_entropy: labels of a float dtype are probabilities",
                f"row 2 has {bad} for class 2",
            )
            for bad in (-0.5, np.nan, np.inf)
        ),
        (lambda: md.accuracy("text", 0), TypeError, "accuracy: logits must be a tensor", "str"),
    ]
)


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS.tolist(),
        LABELS.astype(np.int32),
        LABELS.astype(np.uint8),
        md.tensor(LABELS),
        np.stack([LABELS, LABELS], 1)[:, 0],
    ],
    ids=lambda v: type(v).__name__,
)
def test_labels_of_any_integer_kind(labels):
    x = md.tensor(uniform(5, 4))
    assert md.cross_entropy(x, labels).item() == md.cross_entropy(x, md.tensor(LABELS)).item()


def test_labels_are_taken_at_the_call():
    """A loader may reuse its array before the backward runs."""
    x = md.tensor(uniform(5, 4), requires_grad=True)
    labels = LABELS.copy()
    loss = md.cross_entropy(x, labels)
    labels[...] = 0
    expected = md.grad(md.cross_entropy(x, LABELS), x)
    np.testing.assert_array_equal(md.grad(loss, x), expected)


@both_backends
@both_floats
def test_large_logits_do_not_overflow(dtype, backend):
    values = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4]], dtype)
    x = md.tensor(values, requires_grad=True)
    with md.use_backend(backend):
        close(md.softmax(x).data, softmax(values.astype(float)))
        close(md.log_softmax(x).data, log_softmax(values.astype(float)))
        losses = md.cross_entropy(x, [1, 0, 2], reduction="none")
        losses.sum().backward()
    close(losses.data, [1e4, np.log(3), np.log(3)])
    close(x.grad[0], [1, -1, 0])
    assert np.isfinite(x.grad).all()


@both_backends
def test_a_class_that_cannot_be(backend):
    """A logit of minus infinity has probability 0 and no gradient."""
    x = md.tensor([[-np.inf, 1.0, 1.0]], requires_grad=True)
    with md.use_backend(backend):
        y = md.softmax(x)
        loss = md.cross_entropy(x, [1])
        loss.backward()
    np.testing.assert_allclose(y.data, [[0, 0.5, 0.5]], rtol=1e-6)
    assert loss.item() == pytest.approx(np.log(2))
    np.testing.assert_allclose(x.grad, [[0, -0.5, 0.5]], rtol=1e-6)


@both_backends
def test_nan_stays_in_its_row(backend):
    x = uniform(3, 4)
    x[1, 2] = np.nan
    with md.use_backend(backend), np.errstate(invalid="ignore"):
        for f in (md.softmax, md.log_softmax):
            assert np.isnan(f(md.tensor(x)).data).all(axis=1).tolist() == [False, True, False]
            assert np.isfinite(f(md.tensor(x)).data[[0, 2]]).all()
        losses = md.cross_entropy(md.tensor(x), [0, 1, 2], reduction="none").data
    assert np.isnan(losses).tolist() == [False, True, False]


@both_backends
def test_nothing_counts(backend):
    """As in PyTorch, the mean of nothing is NaN and its sum is 0. Without rows there are no
    gradients.
    """
    x = md.tensor(uniform(3, 4), requires_grad=True)
    labels = np.full(3, 2)
    with md.use_backend(backend), np.errstate(all="ignore"):
        assert np.isnan(md.cross_entropy(x, labels, ignore_index=2).item())
        assert np.isnan(md.cross_entropy(md.zeros(0, 4), np.zeros(0, int)).item())
        loss = md.cross_entropy(x, labels, ignore_index=2, reduction="sum")
        loss.backward()
    assert loss.item() == 0
    assert not x.grad.any()


def test_ignored_rows_get_no_gradient_even_if_they_hold_nan():
    x = md.tensor(uniform(3, 4), requires_grad=True)
    x.data[1] = np.nan
    loss = md.cross_entropy(x, [0, 1, 2], ignore_index=1)
    loss.backward()
    assert np.isfinite(loss.item())
    assert np.isfinite(x.grad).all()
    assert not x.grad[1].any()


def test_rows_of_a_gradient_sum_to_zero():
    x = md.tensor(uniform(50, 10), requires_grad=True)
    md.cross_entropy(x, np.arange(50) % 10, label_smoothing=0.1).backward()
    np.testing.assert_allclose(x.grad.sum(1), 0, atol=1e-8)


def test_accuracy():
    logits = [[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.5, 0.5]]
    assert md.accuracy(md.tensor(logits), [1, 0, 0, 0]) == 0.75  # the first of several equal logits
    assert md.accuracy(np.array(logits), md.tensor([1, 0, 1, 0])) == 1.0
    assert md.accuracy(np.array([logits]), [[0, 1, 0, 1]]) == 0.0
    assert isinstance(md.accuracy(logits, [1, 0, 0, 0]), float)
    assert np.isnan(md.accuracy(md.zeros(0, 3), np.zeros(0, int)))

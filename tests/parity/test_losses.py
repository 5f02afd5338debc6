"""These tests compare the losses of classes with PyTorch's: values and gradients, for all
options.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional as tf

import minidl as md
from tests.support.parity import both_floats, draw, run

LABELS = np.array([3, 0, 6, 2, 2, 5, 1, 4, 0, 3])
WEIGHT = draw("class weights", (7,), np.float64, 0.2, 2)

CROSS_ENTROPY = {
    "plain": {},
    "weight": {"weight": WEIGHT},
    "smoothing": {"label_smoothing": 0.1},
    "weight and smoothing": {"weight": WEIGHT, "label_smoothing": 0.3},
    "ignored": {"ignore_index": 2},
    "ignored, none there": {"ignore_index": -100},
    "ignored and weight": {"ignore_index": 0, "weight": WEIGHT},
    "ignored, weight, smoothing": {"ignore_index": 3, "weight": WEIGHT, "label_smoothing": 0.2},
    "all smooth": {"label_smoothing": 1.0},
}


def their_options(options, dtype):
    """Return PyTorch's options: a tensor of weights, and -100 for no index."""
    result = dict(options)
    if "weight" in result:
        result["weight"] = torch.from_numpy(result["weight"].astype(dtype))
    return result


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", CROSS_ENTROPY)
@both_floats
def test_cross_entropy(name, reduction, dtype):
    options = CROSS_ENTROPY[name]
    theirs = their_options(options, dtype)
    logits = draw(f"logits {name}", (10, 7), low=-5, high=5)
    run(
        lambda x: md.cross_entropy(x, LABELS, reduction=reduction, **options),
        lambda x: tf.cross_entropy(x, torch.from_numpy(LABELS), reduction=reduction, **theirs),
        [logits],
        dtype,
    )
    # With the classes on the last axis.
    images = draw(f"images {name}", (2, 5, 1, 7), low=-5, high=5)
    labels = LABELS.reshape(2, 5, 1)
    run(
        lambda x: md.cross_entropy(x, labels, reduction=reduction, **options),
        lambda x: tf.cross_entropy(x, torch.from_numpy(labels), reduction=reduction, **theirs),
        [images],
        dtype,
        last_to_second=True,
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "options",
    [{}, {"weight": WEIGHT}, {"label_smoothing": 0.1}, {"weight": WEIGHT, "label_smoothing": 0.3}],
    ids=["plain", "weight", "smoothing", "both"],
)
@both_floats
def test_cross_entropy_of_distributions(options, reduction, dtype):
    """This includes gradients of the target."""
    theirs = their_options(options, dtype)
    logits, target = draw("logits", (10, 7), low=-5, high=5), draw("target", (10, 7), low=0.1)
    target /= target.sum(1, keepdims=True)
    run(
        lambda x, t: md.cross_entropy(x, t, reduction=reduction, **options),
        lambda x, t: tf.cross_entropy(x, t, reduction=reduction, **theirs),
        [logits, target],
        dtype,
    )
    run(
        lambda x: md.cross_entropy(
            x, target.reshape(2, 5, 7).astype(dtype), reduction="sum", **options
        ),
        lambda x: tf.cross_entropy(
            x,
            torch.from_numpy(target.reshape(2, 5, 7).astype(dtype)).movedim(-1, 1),
            reduction="sum",
            **theirs,
        ),
        [logits.reshape(2, 5, 7)],
        dtype,
        last_to_second=True,
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", [name for name in CROSS_ENTROPY if "smooth" not in name])
@both_floats
def test_nll_loss(name, reduction, dtype):
    options = CROSS_ENTROPY[name]
    theirs = their_options(options, dtype)
    run(
        lambda x: md.nll_loss(x, LABELS, reduction=reduction, **options),
        lambda x: tf.nll_loss(x, torch.from_numpy(LABELS), reduction=reduction, **theirs),
        [draw(f"log probs {name}", (10, 7), low=-5, high=0)],
        dtype,
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "names",
    [(), ("weight",), ("pos_weight",), ("weight", "pos_weight")],
    ids=lambda names: " ".join(names) or "plain",
)
@both_floats
def test_binary_cross_entropy_with_logits(names, reduction, dtype):
    weights = {name: draw(name, (7,), dtype, 0.2, 2) for name in names}
    theirs = {name: torch.from_numpy(w) for name, w in weights.items()}
    run(
        lambda x, t: md.binary_cross_entropy_with_logits(x, t, reduction=reduction, **weights),
        lambda x, t: tf.binary_cross_entropy_with_logits(x, t, reduction=reduction, **theirs),
        [draw("logits", (10, 7), low=-30, high=30), draw("target", (10, 7), low=0, high=1)],
        dtype,
    )


@both_floats
def test_cross_entropy_of_nothing(dtype):
    """If all rows are ignored or there are none, the mean is NaN and the sum is 0."""
    for logits, labels in (
        (np.zeros((3, 7), dtype), np.full(3, 5)),
        (np.zeros((0, 7), dtype), np.zeros(0, np.int64)),
    ):
        for reduction, expected in (("mean", np.nan), ("sum", 0.0)):
            theirs = tf.cross_entropy(
                torch.from_numpy(logits),
                torch.from_numpy(labels),
                ignore_index=5,
                reduction=reduction,
            ).item()
            with np.errstate(invalid="ignore"):
                ours = md.cross_entropy(logits, labels, ignore_index=5, reduction=reduction)
            np.testing.assert_array_equal([ours.item(), theirs], [expected, expected])

"""These tests check softmax, log_softmax and logsumexp: values, gradients, errors. Large and bad
logits are in test_loss.
"""

import numpy as np

import minidl as md
from tests.support.cases import case, checks_of, errors_of
from tests.support.reference.activation import log_softmax, softmax


def logsumexp(x, axis=None, keepdims=False):
    top = x.max(axis, keepdims=True, initial=-1e300)
    with np.errstate(divide="ignore"):
        y = np.log(np.exp(x - top).sum(axis, keepdims=True)) + top
    return y if keepdims else y.squeeze(axis)


test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(f"{name} {shape} axis={axis}", ours, reference, shape, axis=axis)
            for name, ours, reference in (
                ("softmax", md.softmax, softmax),
                ("log_softmax", md.log_softmax, log_softmax),
            )
            for shape, axis in (
                ((5,), -1),
                ((3, 4), -1),
                ((3, 4), 0),
                ((2, 3, 4), 1),
                ((2, 3, 4), -3),
                ((2, 3, 4), 2),
                ((3, 1), 1),
                ((0, 4), 1),
                ((4, 0), 1),
                ((3, 0), 0),
            )
        ),
        *(
            case(
                f"large {name} axis={axis}", ours, reference, (3, 4), axis=axis, large=[(2000, 77)]
            )
            for name, ours, reference in (
                ("softmax", md.softmax, softmax),
                ("log_softmax", md.log_softmax, log_softmax),
            )
            for axis in (0, 1)
        ),
        *(
            case(
                f"logsumexp {shape} {options}",
                md.logsumexp,
                logsumexp,
                shape,
                large=[(300, 401)] if shape == (3, 4) else None,
                **options,
            )
            for shape in ((3, 4), (2, 3, 4))
            for options in ({}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 1)})
        ),
        case("logsumexp of a number", md.logsumexp, logsumexp, ()),
        case("logsumexp of no rows", md.logsumexp, logsumexp, (0, 4), axis=1),
    ]
)

X = md.zeros(3, 4)

test_errors = errors_of(
    [
        (lambda: md.softmax(md.tensor(1.0)), ValueError, "softmax: needs at least one axis"),
        (lambda: md.softmax(X, 2), ValueError, "softmax: axis must be", "from -2 to 1", "got 2"),
        (
            lambda: md.log_softmax(X, -3),
            ValueError,
            "log_softmax: axis must be an int from",
            "got -3",
        ),
        (lambda: md.softmax(md.tensor([1, 2])), TypeError, "softmax: x must be float32", "int64"),
        (lambda: md.logsumexp(X, 2), ValueError, "logsumexp: axis must be an int from", "got 2"),
        (lambda: md.logsumexp([1, 2]), TypeError, "logsumexp: x must be float32", "int64"),
    ]
)

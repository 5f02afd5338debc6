"""These tests check operations that move values: reshaping, joining, cutting, padding. Indexing is
in test_indexing.
"""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.cases import case, checks_of, errors_of

INT = np.arange(12).reshape(3, 4)


def joined(f, **options):
    """Return f, which takes a list, as a function of several arguments."""
    return lambda *tensors: f(list(tensors), **options)


def method(name, *arguments):
    return lambda x: getattr(x, name)(*arguments)


PADS = [1, (1, 2), ((1, 2), (0, 1)), ((0, 0), (2, 0)), (1,), ((1,), (2,)), 0, [1, 0]]

test_values, test_gradients, _ = checks_of(
    [
        case("reshape", method("reshape", 3, 4), method("reshape", 3, 4), (2, 6)),
        case(
            "reshape, a tuple", lambda x: md.reshape(x, (4, 3)), method("reshape", (4, 3)), (2, 6)
        ),
        case("reshape, a list", lambda x: x.reshape([4, 3]), method("reshape", [4, 3]), (2, 6)),
        case("reshape, one size open", method("reshape", 3, -1), method("reshape", 3, -1), (2, 6)),
        case("reshape to one axis", method("reshape", -1), method("reshape", -1), (2, 6)),
        case("reshape to a scalar", method("reshape", ()), method("reshape", ()), (1, 1)),
        case("reshape a scalar", method("reshape", 1, 1), method("reshape", 1, 1), ()),
        case("reshape nothing", method("reshape", 3, 0, 2), method("reshape", 3, 0, 2), (0, 5)),
        case(
            "reshape nothing, one size open",
            method("reshape", -1, 5),
            method("reshape", -1, 5),
            (0, 5),
        ),
        case("flatten", md.flatten, np.ravel, (2, 3, 4)),
        case("flatten from 1", lambda x: md.flatten(x, 1), method("reshape", 2, 12), (2, 3, 4)),
        case(
            "flatten from 2",
            lambda x: md.flatten(x, first_axis=2),
            method("reshape", 2, 3, 4),
            (2, 3, 4),
        ),
        case("flatten from -2", lambda x: x.flatten(-2), method("reshape", 2, 12), (2, 3, 4)),
        case("flatten a scalar", md.flatten, np.ravel, ()),
        case("flatten no images", lambda x: md.flatten(x, 1), method("reshape", 0, 12), (0, 3, 4)),
        case(
            "flatten empty images", lambda x: md.flatten(x, 1), method("reshape", 3, 0), (3, 0, 4)
        ),
        *(
            case(f"expand_dims {axis} of {shape}", md.expand_dims, np.expand_dims, shape, axis=axis)
            for shape, axis in (
                ((3, 4), 0),
                ((3, 4), 1),
                ((3, 4), 2),
                ((3, 4), -1),
                ((3, 4), -3),
                ((3, 4), (0, 2)),
                ((3, 4), (0, -1)),
                ((), 0),
                ((), (0, 1)),
                ((0, 2), 1),
            )
        ),
        *(
            case(f"squeeze {axis} of {shape}", md.squeeze, np.squeeze, shape, axis=axis)
            for shape, axis in (
                ((1, 3, 1), None),
                ((1, 3, 1), 0),
                ((1, 3, 1), -1),
                ((1, 3, 1), (0, 2)),
                ((3, 4), None),
                ((1, 1), None),
                ((), None),
                ((0, 1), 1),
            )
        ),
        case("transpose", md.transpose, np.transpose, (2, 3, 4)),
        case(
            "transpose, a tuple",
            lambda x: md.transpose(x, (1, 2, 0)),
            method("transpose", 1, 2, 0),
            (2, 3, 4),
        ),
        case(
            "transpose, arguments",
            method("transpose", 2, 0, 1),
            method("transpose", 2, 0, 1),
            (2, 3, 4),
        ),
        case(
            "transpose, negative",
            method("transpose", -1, 0, -2),
            method("transpose", -1, 0, -2),
            (2, 3, 4),
        ),
        case("transpose, None", method("transpose", None), method("transpose", None), (2, 3, 4)),
        case("transpose one axis", md.transpose, np.transpose, (3,)),
        case("transpose a scalar", md.transpose, np.transpose, ()),
        case("transpose nothing", md.transpose, np.transpose, (2, 0, 3)),
        case("T", lambda x: x.T, lambda x: x.T, (2, 3, 4)),
        *(
            case(
                f"broadcast {shape} to {to}",
                lambda x, to=to: md.broadcast_to(x, to),
                lambda x, to=to: np.broadcast_to(x, to),
                shape,
            )
            for shape, to in (
                ((4,), (3, 4)),
                ((3, 1), (3, 4)),
                ((), (2, 3)),
                ((1, 3, 1), (2, 3, 2)),
                ((3, 4), (3, 4)),
                ((1,), (0,)),
                ((), ()),
                ((2,), [3, 2]),
                ((1,), 3),
            )
        ),
        *(
            case(
                f"concatenate {shapes} axis={axis}",
                joined(md.concatenate, axis=axis),
                joined(np.concatenate, axis=axis),
                *shapes,
            )
            for shapes, axis in (
                (((2, 3), (1, 3)), 0),
                (((2, 3), (2, 1), (2, 2)), 1),
                (((2, 3), (2, 1)), -1),
                (((2, 1, 3), (2, 4, 3)), -2),
                (((3,),), 0),
                (((0, 3), (2, 3)), 0),
                (((2, 3), (2, 3)), None),
            )
        ),
        case(
            "concatenate x with x",
            lambda x: md.concatenate([x, x], 1),
            lambda x: np.concatenate([x, x], 1),
            (2, 3),
        ),
        case(
            "concatenate with a constant",
            lambda x: md.concatenate((x, md.ones(1, 3))),
            lambda x: np.concatenate((x, np.ones((1, 3)))),
            (2, 3),
        ),
        *(
            case(
                f"stack axis={axis}",
                joined(md.stack, axis=axis),
                joined(np.stack, axis=axis),
                (2, 3),
                (2, 3),
                (2, 3),
            )
            for axis in (0, 1, 2, -1, -2)
        ),
        case("stack scalars", joined(md.stack), joined(np.stack), (), ()),
        case("stack x with x", lambda x: md.stack([x, x]), lambda x: np.stack([x, x]), (2, 3)),
        *(
            case(f"split {sections} axis={axis}", md.split, np.split, (4, 6), sections, axis=axis)
            for sections, axis in ((2, 0), (4, 0), (1, 0), (3, 1), (2, -1))
        ),
        *(
            case(
                f"split at {places}",
                lambda x, p=places, a=axis: md.split(x, p, a),
                lambda x, p=places, a=axis: np.split(x, p, a),
                (4, 6),
            )
            for places, axis in (
                ([1], 0),
                ([1, 3], 0),
                ((2, 2, 5), 1),
                ([], 0),
                ([-1], 1),
                ([2, 9], 1),
                ([0], 0),
                (np.array([1, 2]), 0),
                ([3, 1], 0),
            )
        ),
        *(
            case(f"flip {axis}", md.flip, np.flip, (2, 3, 4), axis=axis)
            for axis in (None, 0, 1, -1, (0, 2), (-1, 1))
        ),
        case("flip nothing", md.flip, np.flip, (2, 0)),
        *(
            case(
                f"pad {mode} {width}",
                lambda x, w=width, m=mode: md.pad(x, w, mode=m),
                lambda x, w=width, m=mode: np.pad(x, w, mode=m),
                (4, 3),
            )
            for mode in ("constant", "edge", "reflect", "wrap")
            for width in PADS
        ),
        *(
            case(
                f"pad {mode} beyond the size",
                lambda x, m=mode: md.pad(x, ((7, 8), (0, 5)), m),
                lambda x, m=mode: np.pad(x, ((7, 8), (0, 5)), m),
                (4, 3),
            )
            for mode in ("edge", "reflect", "wrap")
        ),
        case(
            "pad with a value",
            lambda x: md.pad(x, 1, constant_values=2.5),
            lambda x: np.pad(x, 1, constant_values=2.5),
            (2, 3),
        ),
        case(
            "pad with values of both ends",
            lambda x: md.pad(x, 1, constant_values=[(1, 2)]),
            lambda x: np.pad(x, 1, constant_values=[(1, 2)]),
            (2, 3),
        ),
        case(
            "pad images",
            lambda x: md.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0))),
            lambda x: np.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0))),
            (2, 3, 3, 2),
        ),
        case(
            "pad nothing",
            lambda x: md.pad(x, ((1, 0), (0, 0))),
            lambda x: np.pad(x, ((1, 0), (0, 0))),
            (0, 3),
        ),
        *(
            case(f"integers: {name}", ours, reference, INT, grad=False)
            for name, ours, reference in (
                ("reshape", method("reshape", 4, 3), method("reshape", 4, 3)),
                ("transpose", md.transpose, np.transpose),
                ("flip", md.flip, np.flip),
                ("split", lambda x: md.split(x, 3), lambda x: np.split(x, 3)),
                ("pad", lambda x: md.pad(x, 1, "edge"), lambda x: np.pad(x, 1, "edge")),
                ("stack", lambda x: md.stack([x, x]), lambda x: np.stack([x, x])),
                (
                    "broadcast_to",
                    lambda x: md.broadcast_to(x, (2, 3, 4)),
                    lambda x: np.broadcast_to(x, (2, 3, 4)),
                ),
            )
        ),
    ]
)

X = md.zeros(2, 3)

test_errors = errors_of(
    [
        (lambda: X.reshape(4, 2), ValueError, "reshape: shape (2, 3) does not fit into (4, 2)"),
        (lambda: X.reshape(-1, -1), ValueError, "reshape: shape (2, 3) does not fit into (-1, -1)"),
        (lambda: md.reshape("text", 2), TypeError, "reshape: x must be a tensor", "str"),
        (lambda: md.pad(X, 1, constant_values=None), TypeError, "pad: constant_values", "None"),
        (lambda: md.pad(X, 1, constant_values="0"), TypeError, "pad: constant_values", "'0'"),
        (
            lambda: md.flatten(X, 2),
            ValueError,
            "flatten: first_axis must be",
            "from -2 to 1",
            "got 2",
        ),
        (lambda: md.expand_dims(X, 3), ValueError, "expand_dims: axis must be", "-3 to 2", "got 3"),
        (
            lambda: md.expand_dims(X, (0, 0)),
            ValueError,
            "expand_dims: axis must be",
            "different axes",
        ),
        (lambda: md.squeeze(X, 0), ValueError, "squeeze: axis 0 has size 2, not 1"),
        (lambda: md.squeeze(X, 2), ValueError, "squeeze: axis must be", "from -2 to 1", "got 2"),
        (lambda: md.transpose(X, 0, 0), ValueError, "transpose: axes (0, 0) are not an order of 2"),
        (lambda: md.transpose(X, (0, 1, 2)), ValueError, "transpose: axes (0, 1, 2)", "2 axes"),
        (lambda: md.transpose(X, 0, 5), ValueError, "transpose: axes (0, 5)"),
        (lambda: md.broadcast_to(X, (3, 2)), ValueError, "broadcast_to: shape (2, 3)", "(3, 2)"),
        (
            lambda: md.concatenate(np.zeros((2**31, 0))),
            ValueError,
            "concatenate: tensors must be",
            "not 2147483648 empty rows",
        ),
        (lambda: md.stack(np.zeros((2**31, 0))), ValueError, "stack: tensors must be", "empty"),
        (lambda: md.concatenate([]), ValueError, "concatenate: needs at least one tensor"),
        (
            lambda: md.concatenate([X, md.zeros(3, 3)], 1),
            ValueError,
            "concatenate: shapes",
            "(3, 3)",
            "axis 1",
        ),
        (lambda: md.concatenate([X, md.zeros(3)]), ValueError, "concatenate: shapes", "(3,)"),
        (
            lambda: md.concatenate([X, X], 2),
            ValueError,
            "concatenate: axis must be",
            "-2 to 1",
            "2",
        ),
        (lambda: md.concatenate([X, "text"]), TypeError, "concatenate: tensors must be", "str"),
        (lambda: md.stack([]), ValueError, "stack: needs at least one tensor"),
        (lambda: md.stack([X, md.zeros(3)]), ValueError, "stack: shapes differ", "(2, 3)", "(3,)"),
        (lambda: md.stack([X, X], 3), ValueError, "stack: axis must be an int from", "got 3"),
        (lambda: md.split(X, 2, axis=1), ValueError, "split: axis 1 of size 3", "2 equal parts"),
        (lambda: md.split(X, 0), ValueError, "split: axis 0 of size 2", "0 equal parts"),
        (lambda: md.split(X, [[0], [0, 0]]), TypeError, "split: sections must be a list of ints"),
        (lambda: md.broadcast_to(X, (0, [1])), TypeError, "broadcast_to: shape must be a list"),
        (
            lambda: md.split(X, 1, axis=2),
            ValueError,
            "split: axis must be",
            "from -2 to 1",
            "got 2",
        ),
        (lambda: md.flip(X, 2), ValueError, "flip: axis must be", "from -2 to 1", "got 2"),
        (lambda: md.pad(X, 1, "mirror"), ValueError, 'mode must be "constant", "edge"', "'mirror'"),
        (lambda: md.pad(X, ((1, 1),) * 3), ValueError, "pad: pad_width", "for 2 axes"),
        (lambda: md.pad(X, -1), ValueError, "pad: pad_width must not be negative", "-1"),
        (lambda: md.pad(X, "text"), TypeError, "pad: pad_width", "'text'"),
        (lambda: md.pad(X, 1.5), TypeError, "pad: pad_width", "1.5"),
        (lambda: md.pad(X, 1, constant_values="1"), TypeError, "pad: constant_values", "'1'"),
        (lambda: md.pad(X, 1, constant_values=None), TypeError, "pad: constant_values", "None"),
        (lambda: md.pad(X, 1, constant_values=1j), TypeError, "pad: constant_values", "1j"),
        (lambda: md.pad(X, 1, constant_values=[1, 2, 3]), ValueError, "pad: constant_v", "2 axes"),
    ]
)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.reshape(3, 2),
        md.flatten,
        lambda x: md.expand_dims(x, 0),
        lambda x: md.squeeze(x.reshape(1, 6)),
        lambda x: x.reshape(2, 3),
    ],
)
def test_reshaped_tensors_share_memory(f):
    x = md.tensor(uniform(2, 3))
    assert np.shares_memory(f(x).data, x.data)


@pytest.mark.parametrize(
    "f",
    [
        md.transpose,
        lambda x: x.transpose(0, 1),
        lambda x: md.broadcast_to(x, (2, 3)),
        lambda x: md.concatenate([x]),
        lambda x: md.split(x, 1)[0],
        lambda x: md.flip(x, ()),
        lambda x: md.pad(x, 0),
        lambda x: x[:],
        lambda x: x[...],
    ],
)
def test_the_other_results_are_copies(f):
    x = md.tensor(uniform(2, 3))
    result = f(x).data
    assert result.flags.c_contiguous
    assert not np.shares_memory(result, x.data)


def test_a_part_of_a_split_that_nobody_used():
    x = md.tensor(uniform(6), requires_grad=True)
    _, middle, _ = md.split(x, 3)
    (middle * 2).sum().backward()
    assert x.grad.tolist() == [0, 0, 2, 2, 0, 0]

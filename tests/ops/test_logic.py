"""These tests check comparisons, boolean and bitwise operations, any and all, floor division and
remainder.
"""

import operator
from fractions import Fraction

import numpy as np
import pytest

import minidl as md
from tests.support.cases import case, checks_of, errors_of

INT = np.array([[3, -1, 2], [-4, 5, 0]])
BOOL = INT > 0
LARGE = (3, 5, 70_001)
BITS = [("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor)]

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(
                f"{name} of {kind} axis={axis}",
                ours,
                reference,
                x,
                axis=axis,
                keepdims=keep,
                grad=False,
            )
            for name, ours, reference in (("any", md.any, np.any), ("all", md.all, np.all))
            for kind, x in (("integers", INT), ("bools", BOOL))
            for axis, keep in ((None, False), (0, True), ((0, 1), False))
        ),
        case("any of floats", md.any, np.any, (3, 4), axis=1, grad=False),
        case("all of nothing", md.all, np.all, (0, 3), axis=0, grad=False),
        *(
            case(
                f"bitwise {name} of {kind}",
                lambda a, b, f=f: md.bitwise(f, a, b),
                f,
                x,
                x[:1],
                grad=False,
            )
            for name, f in BITS
            for kind, x in (("integers", INT), ("bools", BOOL))
        ),
        *(
            case(f"invert {kind}", lambda x: md.bitwise(np.invert, x), np.invert, x, grad=False)
            for kind, x in (("integers", INT), ("bools", BOOL))
        ),
        case(
            "left shift",
            lambda x: md.bitwise(np.left_shift, x, 2),
            lambda x: x << 2,
            INT,
            grad=False,
        ),
        *(
            case(
                f"floor_divide {a} {b}",
                md.floor_divide,
                np.floor_divide,
                a,
                b,
                between=(0.5, 9),
                grad=False,
            )
            for a, b in (((3, 4), (4,)), ((3, 4), 2), ((3, 1), (3, 4)))
        ),
        case("floor_divide integers", md.floor_divide, np.floor_divide, INT, 2, grad=False),
        *(
            case(f"remainder {a} {b} {between}", md.remainder, np.remainder, a, b, between=between)
            for a, b in (((3, 4), (4,)), ((3, 4), 2), ((3, 1), (3, 4)), (7, (3, 4)))
            for between in ((0.5, 9), (-9, -0.5))
        ),
        case(
            "remainder large",
            md.remainder,
            np.remainder,
            (3, 4),
            (4,),
            between=(0.5, 9),
            large=[LARGE, LARGE[1:]],
        ),
        case("remainder of integers", md.remainder, np.remainder, INT, 3, grad=False),
    ]
)

X = md.tensor([1.0, 2.0])
test_errors = errors_of(
    [
        (
            lambda: X & X,
            TypeError,
            "bitwise_and: operands must be booleans or integers, got float32",
        ),
        (lambda: md.bitwise(np.invert, X), TypeError, "invert: operands must be", "comparisons"),
        (lambda: md.any(X, axis=1), ValueError, "any: axis must be", "-1 to 0"),
        (lambda: md.all(X, dim=0), TypeError, "all() got", "'dim'", "here: axis"),
        (lambda: X // md.zeros(3), ValueError, "floor_divide: shapes (2,) and (3,)"),
        (lambda: X % md.zeros(3), ValueError, "remainder: shapes (2,) and (3,)"),
        (lambda: md.floor_divide(X, "a"), TypeError, "floor_divide", "str"),
        (lambda: md.remainder(X, 1j), TypeError, "remainder: complex"),
        (lambda: X < 10**400, OverflowError, "less: "),
        (lambda: X // 10**400, OverflowError, "floor_divide: "),
        (lambda: Fraction(10**400) > X, OverflowError, "less: "),
        (lambda: md.floor_divide(-1, 2**63), OverflowError, "floor_divide: "),
        (lambda: md.bitwise(np.bitwise_and, 1, 2**63), OverflowError, "bitwise_and: "),
        (lambda: md.maximum(-1, 2**63), OverflowError, "maximum: "),
        (lambda: md.maximum(X, Fraction(10**400)), OverflowError, "maximum: "),
        (lambda: md.where(X > 1, 2**70, md.tensor([1, 2])), OverflowError, "where: "),
        (lambda: md.clip(X, 0, 10**400), OverflowError, "clip: "),
        (lambda: md.clip(X, Fraction(10**400)), OverflowError, "clip: "),
    ]
)


def operands(a, b):
    """Return pairs in which one operand or both are tensors, the other an array or a number."""
    x, y = md.tensor(a), md.tensor(b)
    return (x, y), (x, b), (a, y), (x, 2), (7, y)


@pytest.mark.parametrize(
    "operate",
    [operator.floordiv, operator.mod, lambda a, b: divmod(a, b)[0], lambda a, b: divmod(a, b)[1]],
)
def test_division_operators(operate):
    a, b = np.array([7.5, -7.5]), np.array([2.0, 3.0])
    for x, y in operands(a, b):
        expected = operate(*(np.asarray(v) for v in (x, y)))
        np.testing.assert_array_equal(operate(x, y), expected)


@pytest.mark.parametrize(
    "operate", [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift]
)
def test_bit_operators(operate):
    a, b = np.array([6, 9]), np.array([3, 1])
    for x, y in operands(a, b):
        got = operate(x, y)
        assert isinstance(got, md.Tensor)
        np.testing.assert_array_equal(got, operate(*(np.asarray(v) for v in (x, y))))


def test_masks_combine():
    x = md.tensor([1.0, 2.0, 3.0])
    assert ((x > 1) & (x < 3)).data.tolist() == [False, True, False]
    assert (~(x > 1) | (x > 2)).data.tolist() == [True, False, True]
    assert (True ^ (x > 1)).data.tolist() == [True, False, False]
    assert x[(x > 1) & (x < 3)].data.tolist() == [2]


def test_division_by_zero_says_nothing():
    with np.errstate(all="raise"):
        assert md.floor_divide(md.tensor([1.0, -1.0]), 0).data.tolist() == [np.inf, -np.inf]
        assert np.isnan(md.remainder(md.tensor([1.0]), 0).data).all()
        assert md.floor_divide(md.tensor([3]), 0).item() == 0

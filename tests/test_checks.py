"""These tests check the argument checks: what each accepts and makes of it, what it refuses, and
how the message shows what was given.
"""

import math
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from minidl import checks
from minidl.checks import named
from tests.support.errors import refuses

NONE = np.zeros(0)  # an array has no truth


class Long:
    """Has a repr that is too long for a message."""

    def __repr__(self):
        return "x" * 1000


class Broken:
    """Has no repr at all."""

    def __repr__(self):
        raise RuntimeError


# Each check has what it accepts and the value that it makes of this, and what it refuses.
# `expected` is what the message says about the argument.
CHECKS = {
    "integer": (
        checks.integer,
        "an int",
        [(0, 0), (-3, -3), (np.int8(3), 3), (np.array(2), 2)],
        [True, np.True_, 1.0, np.float64(1), "1", None, [1]],
        [],
    ),
    "integer, bounds": (
        partial(checks.integer, least=1, most=9),
        "an int from 1 to 9",
        [(1, 1), (np.uint8(9), 9)],
        ["1", 1.5],
        [0, 10, -1, 2**70],
    ),
    "size": (checks.size, "an int >= 1", [(1, 1), (2**40, 2**40)], [1.0, True, None], [0, -1]),
    "count": (checks.count, "an int >= 0", [(0, 0), (2**53, 2**53)], [math.nan, "0"], [-1]),
    "count, large": (checks.count, "an int from 0 to 9007199254740992", [], [], [2**53 + 1]),
    "real": (
        checks.real,
        "a number",
        [
            (1, 1.0),
            (0.5, 0.5),
            (np.float32(0.5), 0.5),
            (np.int64(-2), -2.0),
            (Fraction(1, 2), 0.5),
            (math.inf, math.inf),
        ],
        [True, np.True_, "1", None, 1j, [1.0], np.ones(1)],
        [math.nan, 10**400],
    ),
    "real, from": (
        partial(checks.real, least=0),
        "a number >= 0",
        [(0, 0.0), (math.inf, math.inf)],
        ["0"],
        [-1e-300, math.nan, -math.inf],
    ),
    "real, within": (
        partial(checks.real, above=0, below=1),
        "a number > 0 and < 1",
        [(0.5, 0.5)],
        [None],
        [0, 1.0, 2],
    ),
    "real, half open": (
        partial(checks.real, least=0, below=1),
        "a number >= 0 and < 1",
        [(0, 0.0)],
        [False],
        [1, np.float32(1)],
    ),
    "real, finite": (
        partial(checks.real, finite=True),
        "a finite number",
        [(-1, -1.0)],
        ["a"],
        [math.inf, -math.inf, math.nan],
    ),
    "positive": (checks.positive, "a finite number > 0", [(1, 1.0)], ["1"], [0, -1, math.inf]),
    "not_negative": (
        checks.not_negative,
        "a finite number >= 0",
        [(0, 0.0)],
        [None],
        [-0.1, math.nan, np.float32("inf")],
    ),
    "fraction": (
        checks.fraction,
        "a number from 0 to 1",
        [(0, 0.0), (1, 1.0)],
        [True, "0.5"],
        [-0.1, 1.5, math.nan],
    ),
    "pair": (
        partial(checks.pair, least=1),
        "an int or a pair of ints >= 1",
        [
            (2, (2, 2)),
            ((1, 3), (1, 3)),
            ([1, np.int8(3)], (1, 3)),
            (np.array([2, 4]), (2, 4)),
            (np.int64(2), (2, 2)),
        ],
        [1.5, "2", None, True, (1, True), (1.0, 2), {1, 2}, np.array(1.5)],
        [0, (1, 0), (1, 2, 3), (), [2]],
    ),
    "pair, large": (
        partial(checks.pair, least=0),
        "an int or a pair of ints from 0 to 2147483647",
        [(2**31 - 1, (2**31 - 1,) * 2)],
        [],
        [2**31, (0, 2**31)],
    ),
    "padding": (
        checks.padding,
        "an int, a pair",
        [
            (1, (1, 1)),
            ((1, 2), (1, 2)),
            ([[1, 0], (0, np.int8(2))], ((1, 0), (0, 2))),
            (np.array([[1, 0], [0, 2]]), ((1, 0), (0, 2))),
            (np.int64(2), (2, 2)),
            ("same", "same"),
            (np.str_("valid"), "valid"),
        ],
        [1.5, None, True, ((1, 0), 1), ((1, 0), (0, 1.5)), ((1, 0),) * 3],
        [-1, "full", (1, 2, 3), ((1, 0, 1), (1, 0, 1)), ((1, 0), (0, -1)), (), 2**31],
    ),
    "padding, no words": (
        partial(checks.padding, words=()),
        "an int, a pair or ((top, bottom)",
        [(1, (1, 1))],
        ["same", None],
        [-1],
    ),
    "padding_1d": (
        checks.padding_1d,
        "an int",
        [(1, 1), ((1, 2), (1, 2)), ([1, np.int8(2)], (1, 2)), ("causal", "causal")],
        [1.5, None, True, ((1, 0), (0, 1))],
        [-1, "full", (1,), (1, 2, 3), (1, -1)],
    ),
    "ints": (
        checks.ints,
        "a list of ints",
        [
            ((2, -1), (2, -1)),
            ([np.int8(3)], (3,)),
            ((), ()),
            (np.arange(2), (0, 1)),
            (range(2), (0, 1)),
        ],
        [3, "ab", None, (1, 2.0), [True]],
        [],
    ),
    "axis": (
        partial(checks.axis, ndim=3),
        "an int",
        [(0, 0), (-1, 2), (np.int64(-3), 0)],
        [None, (0,), "0", 1.0, True],
        [3, -4],
    ),
    "axes": (
        partial(checks.axes, ndim=3),
        "an int",
        [(None, (0, 1, 2)), (-1, (2,)), ((), ()), ((-1, 0), (0, 2)), ([np.int8(1)], (1,))],
        ["0", 1.0, True, (0, None), {0}],
        [3, -4, (0, 3)],
    ),
    "axes, twice": (
        partial(checks.axes, ndim=3),
        "a tuple of different axes",
        [],
        [],
        [(0, 0), (0, -3)],
    ),
    "axes of none": (partial(checks.axes, ndim=0), "() or None", [(None, ()), ((), ())], [], [0]),
    "flag": (
        checks.flag,
        "True or False",
        [
            (True, True),
            (False, False),
            (0, False),
            (1.0, True),
            (np.True_, True),
            (np.int64(1), True),
        ],
        [None, "a", 2, [], NONE, math.nan, 0.5],
        [],
    ),
    "choice": (
        partial(checks.choice, options=("a", "b", None)),
        '"a", "b" or None',
        [("a", "a"), (None, None), (np.str_("b"), "b")],
        [3, [], NONE],
        ["c", "A", ""],
    ),
    "choice of words": (
        partial(checks.choice, options=("a", "b")),
        '"a" or "b"',
        [("a", "a")],
        [None, b"a", True],
        ["None"],
    ),
    "instance": (
        partial(checks.instance, kind=dict, expected="a dict"),
        "a dict",
        [({}, {})],
        [None, [], dict],
        [],
    ),
    "function": (
        partial(checks.function, expected="a function"),
        "a function",
        [(len, len)],
        [None, 3, "len"],
        [],
    ),
    "members": (
        lambda *values, **names: list(checks.members(*values, expected="numbers", **names)),
        "numbers",
        [((1, 2), [1, 2])],
        [3, None],
        [],
    ),
    "each": (checks.each(checks.size), "a list", [((1, 2), [1, 2]), ([], [])], [3, "12", {1}], []),
    "dtype": (
        checks.dtype,
        "a dtype of NumPy",
        [("f4", np.dtype("f4")), (int, np.dtype(int))],
        [3, "a word", 1e308],
        [],
    ),
    "path": (checks.path, "a str or a path", [("a", "a"), (b"a", "a")], [3, None], []),
    "path, null": (checks.path, "a path without null characters", [], [], ["a\0"]),
}


@pytest.mark.parametrize("name", CHECKS)
def test_checks(name):
    check, expected, accepted, wrong_type, wrong_value = CHECKS[name]
    for value, plain in accepted:
        made = check(value, where="f", name="x")
        assert type(made) is type(plain) and made == plain
    for error, values in ((TypeError, wrong_type), (ValueError, wrong_value)):
        for value in values:
            with refuses(error, f"f: x must be {expected}", "got "):
                check(value, where="f", name="x")
            try:
                check(value, where="f", name="x")
            except error as raised:
                assert str(raised).endswith(f", got {checks.shown(value)}") or isinstance(
                    value, tuple
                )  # of several axes, the message shows the wrong one


def test_members_of_a_list_are_named():
    with refuses(ValueError, "f: x[1] must be an int >= 1, got 0"):
        checks.each(checks.size)([1, 0], "f", "x")


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "None"),
        ("a\nb", repr("a\nb")),
        (np.float32(3), "np.float32(3.0)"),
        (np.eye(2), "array([[1., 0.],        [0., 1.]])"),
        (Long(), "a Long, xxxx"),
        (Broken(), "a Broken"),
        (10**5000, "a int"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_was_given_is_shown(value, text):
    assert checks.shown(value).startswith(text) and len(checks.shown(value)) < 130
    with refuses((TypeError, ValueError), "f: x must be True or False, got " + text):
        checks.flag(value, "f", "x")


@pytest.mark.parametrize("raised", [OverflowError, ZeroDivisionError, ValueError])
def test_what_others_raise_is_named(raised):
    @named
    def draw():
        """Draws."""
        raise raised("too much")

    assert draw.__name__ == "draw" and draw.__doc__ == "Draws."
    with refuses(ValueError, "draw: too much"):
        draw()


def test_a_want_of_memory_is_named_and_stays_one():
    @named
    def draw():
        raise type("OfNumPys", (MemoryError,), {})("no memory")

    with refuses(MemoryError, "draw: no memory"):
        draw()


def test_what_names_the_function_stays_as_it_is():
    error = ValueError("draw: too much")

    @named
    def draw():
        raise error

    with pytest.raises(ValueError) as caught:
        draw()
    assert caught.value is error

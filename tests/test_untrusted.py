"""These tests check what a user's Function writes to, and what it returns."""

import numpy as np
import pytest

import minidl as md
from tests.support.errors import read_only, refuses
from tests.support.tensors import VALUES, normalized


def leaf(requires_grad=True):
    return md.tensor(VALUES, requires_grad=requires_grad)


class Writes(md.Function):
    """Writes to its input."""

    def forward(self, x):
        x[0] = 7
        return x + 1

    def backward(self, dy):
        return dy


class Keeps(md.Function):
    """Keeps its input, or its output, so that others can write to it."""

    def forward(self, x):
        Keeps.x, Keeps.y = x, x + 1
        return Keeps.y

    def backward(self, dy):
        Keeps.dy, Keeps.dx = dy, dy * 1
        return Keeps.dx


class Same(md.Function):
    """Returns its input."""

    def forward(self, x):
        return x

    def backward(self, dy):
        return dy


class Doubles(md.Function):
    """Writes to the gradient that it is given."""

    def forward(self, x):
        return x * 2

    def backward(self, dy):
        dy *= 2
        return dy


class Gives(md.Function):
    """Returns from backward what it was told to return."""

    def forward(self, *xs, given):
        self.given = given
        return xs[0] * 1

    def backward(self, dy):
        return self.given


# ------------------------------------------------------------------------------ what they write


@pytest.mark.parametrize(
    "make",
    (
        lambda x: x * 1,
        normalized,
        lambda x: md.relu(normalized(x)),
        lambda x: x.reshape(4, 3),
        lambda x: x.reshape(-1).reshape(4, 3),
        Same.apply,
        lambda x: (x * 1).detach(),
    ),
)
def test_writing_to_a_result_is_refused(make):
    x = leaf()
    y = make(x)
    before = make(leaf()).data.copy()
    with read_only():
        Writes.apply(y)
    np.testing.assert_array_equal(y.data, before)
    np.testing.assert_array_equal(x.data, VALUES)


def test_a_forward_cannot_write_to_a_leaf():
    x = leaf()
    with read_only():
        Writes.apply(x)
    np.testing.assert_array_equal(x.data, VALUES)
    x.data[...] = 0  # its user can write to it


def test_an_input_that_is_kept():
    """It is read-only, whether it is that of a result or of a leaf."""
    for x in (leaf() * 1, leaf()):
        Keeps.apply(x)
        with read_only():
            Keeps.x[...] = 0


@pytest.mark.parametrize(
    "program",
    (
        normalized,
        lambda y: md.relu(normalized(y)),
        lambda y: normalized(leaf() * 1) + y,
        lambda y: md.relu(y + normalized(leaf() * 1)),
        lambda y: normalized(y) + y,
        md.exp,
    ),
)
def test_an_output_that_is_changed_later(program):
    """Nothing that was computed from it changes."""
    expected = program(Keeps.apply(leaf())).data.copy()
    y = Keeps.apply(leaf())
    z = program(y)
    Keeps.y[...] = 0
    assert not y.data.any()
    np.testing.assert_array_equal(z.data, expected)


def test_an_output_is_not_written_to_through_the_tensor():
    y = Keeps.apply(leaf())
    with read_only():
        y.data[...] = 0
    assert Keeps.y.flags.writeable  # it belongs to the function


@pytest.mark.parametrize("make", (leaf, lambda: leaf() * 1), ids=("leaf", "result"))
def test_a_function_that_returns_its_input(make):
    x = make()
    y = Same.apply(x)
    with read_only():
        y.data[...] = 0
    assert x.data.flags.writeable == (x._node is None)
    z = normalized(y)
    if x._node is None:
        x.data[...] = 0
        assert not y.data.any()
    np.testing.assert_array_equal(z.data, normalized(leaf()).data)


@pytest.mark.parametrize("where", ("leaf", "inside", "start"))
def test_a_gradient_is_not_written_to(where):
    """Other nodes have been given the same array."""
    x, dy = leaf(), np.ones((4, 3), np.float32)
    y = x if where == "leaf" else x * 1
    z = Doubles.apply(y) if where == "start" else Doubles.apply(y) + y
    with read_only():
        z.backward(dy)
    assert (dy == 1).all()
    assert x.grad is None


def test_a_gradient_that_is_kept_and_changed_later():
    x = leaf()
    y = x * 1
    y.retain_grad()
    Keeps.apply(y).backward(np.ones((4, 3)))
    Keeps.dx[...] = 7
    for g in (x.grad, y.grad):
        assert (g == 1).all()
        assert g.flags.writeable
    (Keeps.apply(x) + x).sum().backward()
    Keeps.dx[...] = 7
    assert (x.grad == 3).all()


# ------------------------------------------------------------------------------ what they return

ONES = np.ones((4, 3), np.float32)
FORMS = {
    "a list": ONES.tolist(),
    "float64": ONES.astype(np.float64),
    "float16": ONES.astype(np.float16),
    "integers": ONES.astype(np.int64),
    "booleans": ONES > 0,
    "bytes swapped": ONES.astype(">f4"),
    "Fortran order": np.asfortranarray(ONES),
    "a transpose": np.ones((3, 4), np.float32).T,
    "a part": np.ones((8, 6), np.float32)[::2, ::2],
    "backwards": ONES[::-1],
    "one value seen often": np.broadcast_to(np.float32(1), (4, 3)),
    "a tensor": md.tensor(ONES),
    "a subclass": np.ma.array(ONES),
    "rows in a list": list(ONES),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("inside", (False, True), ids=("of a leaf", "inside"))
def test_gradients_in_all_forms(inside, form):
    x = leaf()
    y = normalized(x * 1) * 1 if inside else x
    expected = md.grad(Gives.apply(y, given=ONES).sum(), x, retain_graph=True)
    Gives.apply(y, given=FORMS[form]).sum().backward()
    np.testing.assert_array_equal(x.grad, expected)
    assert x.grad.dtype == np.float32
    assert type(x.grad) is np.ndarray
    assert x.grad.flags.c_contiguous
    assert x.grad.flags.writeable
    assert not np.shares_memory(x.grad, FORMS[form])


@pytest.mark.parametrize(
    "number",
    (
        1,
        1.0,
        True,
        np.float32(1),
        np.float64(1),
        np.int8(1),
        np.array(1),
        [1.0, 1.0],
        (1, np.float64(1)),
    ),
    ids=repr,
)
def test_numbers_as_gradients_of_scalars(number):
    a, b = (md.tensor(3.0, requires_grad=True) for _ in range(2))
    if isinstance(number, list | tuple):
        Gives.apply(a, b, given=number).backward()
        assert b.grad == 1
        assert b.grad.dtype == np.float32
    else:
        Gives.apply(a, given=number).backward()
    assert a.grad == 1
    assert a.grad.shape == ()
    assert a.grad.dtype == np.float32


@pytest.mark.parametrize(
    "given, error, words",
    (
        (ONES[:1], RuntimeError, ("shape (1, 3)", "(4, 3)")),
        (1.0, RuntimeError, ("shape ()",)),
        (ONES * 1j, TypeError, ("must return numbers", "complex64", "input 0")),
        (np.full((4, 3), "a"), TypeError, ("must return numbers", "<U1")),
        (np.full((4, 3), None), TypeError, ("must return numbers", "object")),
        ((ONES, ONES), RuntimeError, ("2 gradients for 1 inputs",)),
    ),
    ids=lambda v: str(type(v)),
)
def test_gradients_that_are_none(given, error, words):
    x = leaf()
    y = Gives.apply(x, given=given)
    with refuses(error, "Gives.backward", *words):
        y.sum().backward()
    assert x.grad is None


def test_a_named_tuple_of_outputs_and_gradients():
    from collections import namedtuple

    Pair = namedtuple("Pair", "first second")

    class Both(md.Function):
        def forward(self, a, b):
            return Pair(a + b, a - b)

        def backward(self, da, db):
            return Pair(da + db, da - db)

    a, b = leaf(), leaf()
    first, second = Both.apply(a, b)
    (first * 2 + second).sum().backward()
    assert (a.grad == 3).all()
    assert (b.grad == 1).all()

"""Functions of users, which the engine does not trust: what they may do, and what they break."""

from types import SimpleNamespace

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import uniform
from tests.support.errors import read_only, refuses

VALUES = uniform(4, 3)


def leaf(requires_grad=True):
    return md.tensor(VALUES, requires_grad=requires_grad)


def normalized(x):
    return md.batch_norm(x, None, None, training=True)


class Writes(md.Function):
    """Writes to its input."""

    def forward(self, x):
        x[0] = 7
        return x + 1

    def backward(self, dy):
        return dy


class Keeps(md.Function):
    """Keeps its input, or its output, for others to write to."""

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
    """Its backward returns what it was told."""

    def forward(self, *xs, given):
        self.given = given
        return xs[0] * 1

    def backward(self, dy):
        return self.given


# ------------------------------------------------------------------------------ what they write

@pytest.mark.parametrize("make", (
    lambda x: x * 1, normalized, lambda x: md.relu(normalized(x)), lambda x: x.reshape(4, 3),
    lambda x: x.reshape(-1).reshape(4, 3), Same.apply, lambda x: (x * 1).detach()))
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
    x.data[...] = 0         # its user can


def test_an_input_that_is_kept():
    """It is read-only, of a result and of a leaf."""
    for x in (leaf() * 1, leaf()):
        Keeps.apply(x)
        with read_only():
            Keeps.x[...] = 0


@pytest.mark.parametrize("program", (
    normalized, lambda y: md.relu(normalized(y)), lambda y: normalized(leaf() * 1) + y,
    lambda y: md.relu(y + normalized(leaf() * 1)), lambda y: normalized(y) + y, md.exp))
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
    assert Keeps.y.flags.writeable      # the function's own


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
    """Others have been given the same array."""
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
    "a list": ONES.tolist(), "float64": ONES.astype(np.float64), "float16": ONES.astype(np.float16),
    "integers": ONES.astype(np.int64), "booleans": ONES > 0, "bytes swapped": ONES.astype(">f4"),
    "Fortran order": np.asfortranarray(ONES), "a transpose": np.ones((3, 4), np.float32).T,
    "a part": np.ones((8, 6), np.float32)[::2, ::2], "backwards": ONES[::-1],
    "one value seen often": np.broadcast_to(np.float32(1), (4, 3)), "a tensor": md.tensor(ONES),
    "a subclass": np.ma.array(ONES), "rows in a list": list(ONES),
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


@pytest.mark.parametrize("number", (1, 1.0, True, np.float32(1), np.float64(1), np.int8(1),
                                    np.array(1), [1.0, 1.0], (1, np.float64(1))), ids=repr)
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


@pytest.mark.parametrize("given, error, words", (
    (ONES[:1], RuntimeError, ("shape (1, 3)", "(4, 3)")), (1.0, RuntimeError, ("shape ()",)),
    (ONES * 1j, TypeError, ("must return numbers", "complex64", "input 0")),
    (np.full((4, 3), "a"), TypeError, ("must return numbers", "<U1")),
    (np.full((4, 3), None), TypeError, ("must return numbers", "object")),
    ((ONES, ONES), RuntimeError, ("2 gradients for 1 inputs",))), ids=lambda v: str(type(v)))
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


# ------------------------------------------------------------------- what looks like the engine's

class Slots(md.Function):
    __slots__ = ("x",)

    def forward(self, x):
        self.x = x
        return x * x

    def backward(self, dy):
        return 2 * self.x * dy


def test_slots():
    x = leaf()
    Slots.apply(Slots.apply(x)).sum().backward()
    np.testing.assert_allclose(x.grad, 4 * VALUES**3, rtol=1e-6)


def test_what_is_kept_in_slots_is_known_to_have_changed():
    x = leaf()
    y = Slots.apply(x)
    x.grad = np.ones_like(VALUES)
    md.optim.SGD([x], 0.1).step()
    with refuses(RuntimeError, "Slots needs the values", "SGD.step"):
        y.sum().backward()


class Pretends(md.Function):
    """Has all that a producer and a post-operation have, but is not trusted."""

    _begins_chain = _takes_lazy_grads = True
    _read_later = (0,)

    def extend(self, x):
        raise AssertionError

    def chain_backward(self, dy, also):
        raise AssertionError

    def epilogue_backward(self, dy, also, epilogue):
        raise AssertionError

    def forward(self, x):
        assert type(x) is np.ndarray
        self.x = x
        self.statistics = x, x
        return np.maximum(x, 0)

    def backward(self, dy):
        assert type(dy) is np.ndarray
        return dy * (self.x > 0)


@pytest.mark.parametrize("program", (
    lambda f, x: f(normalized(x * 1)), lambda f, x: f(md.relu(normalized(x * 1))),
    lambda f, x: md.relu(normalized(f(x)) + x), lambda f, x: normalized(f(normalized(x * 1))),
    lambda f, x: md.relu(f(normalized(x * 1)) + x), lambda f, x: normalized(f(x) + f(x))))
def test_a_function_that_looks_like_a_post_operation(program):
    """It gets arrays, and its own backward; what it calls statistics is its own."""
    found = []
    for f in (Pretends.apply, lambda x: md.maximum(x, 0)):
        x = leaf()
        y = program(f, x)
        y.backward(uniform(4, 3, seed=3))
        found.append((y.data, x.grad))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", (
    "statistics", "extend", "begins_chain", "takes_lazy_grads", "returns_view", "read_later",
    "chain_backward", "lazy", "x", "through"))
def test_names_that_the_engine_uses_too(name):
    class Square(md.Function):
        def forward(self, x):
            setattr(self, name, x)
            return x * x

        def backward(self, dy):
            return 2 * getattr(self, name) * dy

    x = leaf()
    y = Square.apply(normalized(x * 1))
    (normalized(y) + y).sum().backward()
    again = leaf()
    z = md.square(normalized(again * 1)) if hasattr(md, "square") else normalized(again * 1) ** 2
    (normalized(z) + z).sum().backward()
    np.testing.assert_allclose(x.grad, again.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("inside", (False, True))
def test_a_backward_that_returns_one_buffer_again_and_again(inside):
    class Scale(md.Function):
        out = np.zeros(3, np.float32)

        def forward(self, x, k):
            self.k = k
            return x * k

        def backward(self, dy):
            np.multiply(dy, self.k, out=Scale.out)
            return Scale.out, None

    x = md.tensor([1.0, 1.0, 1.0], requires_grad=True)
    h = x * 1 if inside else x
    (Scale.apply(h, 2.0) + Scale.apply(h, 10.0)).sum().backward()
    np.testing.assert_array_equal(x.grad, [12, 12, 12])


class InAnObject(md.Function):
    def forward(self, x, w):
        self.saved = SimpleNamespace(x=x, w=w)
        return x @ w

    def backward(self, dy):
        return dy @ self.saved.w.T, self.saved.x.T @ dy


class InAFunction(md.Function):
    def forward(self, x, w):
        self.back = lambda dy: (dy @ w.T, x.T @ dy)
        return x @ w

    def backward(self, dy):
        return self.back(dy)


@pytest.mark.parametrize("function", (InAnObject, InAFunction))
def test_what_is_kept_where_nobody_can_look_counts_as_changed(function):
    w = nn.Parameter(np.ones((2, 2), np.float32))
    x = md.tensor([[1.0, 2.0]], requires_grad=True)
    y = function.apply(x, w).sum()
    w.grad = np.ones((2, 2), np.float32)
    optim.SGD([w], lr=0.5).step()
    with refuses(RuntimeError, function.__name__, "SGD.step() has changed them"):
        y.backward()


@pytest.mark.parametrize("made", (np.ones(3, complex), np.array(["a", "b", "c"])))
def test_results_that_are_no_numbers(made):
    class Odd(md.Function):
        def forward(self, x):
            return made

    with refuses(TypeError, "Odd.forward must return numbers", str(made.dtype)):
        Odd.apply(md.ones(3))


def test_results_of_another_byte_order_or_place_are_brought_into_form():
    class Odd(md.Function):
        def forward(self, x):
            memory = np.zeros(13, np.uint8)[1:]
            memory[...] = np.arange(3, dtype=">f4").view(np.uint8)
            return memory.view(">f4")

    y = Odd.apply(md.ones(3))
    assert y.dtype.isnative
    np.testing.assert_array_equal((y * 2).data, [0, 2, 4])


def test_attributes_of_a_trusted_function_are_its_own():
    class Shift(md.Function):
        trusted = True

        def forward(self, x):
            self.statistics = x.mean(0, dtype=np.float64), x.var(0, dtype=np.float64)
            return x * 3 + 5

        def extend(self, x):
            raise AssertionError

        def backward(self, dy):
            return dy * 3

    x = leaf()
    y = normalized(Shift.apply(normalized(x * 1)))
    np.testing.assert_allclose(y.data.std(0), 1, rtol=1e-3)

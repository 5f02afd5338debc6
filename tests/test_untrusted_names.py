"""These tests check a user's Function that looks like one of the engine's, or keeps things where
nobody can look.
"""

from types import SimpleNamespace

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.tensors import VALUES, normalized


def leaf(requires_grad=True):
    return md.tensor(VALUES, requires_grad=requires_grad)


class Slots(md.Function):
    __slots__ = ("x",)

    def forward(self, x):
        self.x = x
        return x * x

    def backward(self, dy):
        return 2 * self.x * dy


def test_functions_with_slots_have_gradients():
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
    """Has everything that a producer and a post-operation have, but is not trusted."""

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


@pytest.mark.parametrize(
    "program",
    (
        lambda f, x: f(normalized(x * 1)),
        lambda f, x: f(md.relu(normalized(x * 1))),
        lambda f, x: md.relu(normalized(f(x)) + x),
        lambda f, x: normalized(f(normalized(x * 1))),
        lambda f, x: md.relu(f(normalized(x * 1)) + x),
        lambda f, x: normalized(f(x) + f(x)),
    ),
)
def test_a_function_that_looks_like_a_post_operation(program):
    """It gets arrays, and its own backward runs. What it calls statistics has no meaning for the
    engine.
    """
    found = []
    for f in (Pretends.apply, lambda x: md.maximum(x, 0)):
        x = leaf()
        y = program(f, x)
        y.backward(uniform(4, 3, seed=3))
        found.append((y.data, x.grad))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    "name",
    (
        "statistics",
        "extend",
        "begins_chain",
        "takes_lazy_grads",
        "returns_view",
        "read_later",
        "chain_backward",
        "lazy",
        "x",
        "through",
    ),
)
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

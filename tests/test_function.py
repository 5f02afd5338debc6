"""These tests check md.Function, by which users write operations."""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.cases import errors_of
from tests.support.tensors import leaf


class Square(md.Function):
    def forward(self, x):
        self.x = x
        return x * x

    def backward(self, dy):
        return 2 * self.x * dy


class Affine(md.Function):
    """Computes a x + b, where a is a number and b may be missing."""

    def forward(self, x, b, scale=1.0):
        self.scale = scale
        return scale * x if b is None else scale * x + b

    def backward(self, dy):
        self.seen = self.needs_grad
        return self.scale * dy, dy if self.needs_grad[1] else None


class Halves(md.Function):
    """Has two outputs, and one more that has no gradient."""

    def forward(self, x):
        n = len(x) // 2
        return x[:n].copy(), x[n:].copy(), np.array([n])

    def backward(self, da, db, dn):
        Halves.got = da, db, dn
        return np.concatenate([da, db])


class Returns(md.Function):
    """Returns x as it is, and from backward what it was told to return."""

    def forward(self, *xs, result):
        self.result = result
        return xs[0].copy()

    def backward(self, dy):
        return self.result() if callable(self.result) else self.result


X = leaf(1.0, 2.0)


def test_the_contract():
    x = leaf(1.0, -3.0)
    y = Square.apply(x)
    assert isinstance(y, md.Tensor)
    assert y.requires_grad
    assert y.data.tolist() == [1, 9]
    y.sum().backward()
    assert x.grad.tolist() == [2, -6]
    assert md.gradcheck(Square.apply, md.tensor(uniform(3, dtype=np.float64), requires_grad=True))


def test_inputs_of_all_kinds():
    x, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    assert Affine.apply(x, None, scale=2.0).data.tolist() == [2, 4]
    assert Affine.apply(x, 1.0).data.tolist() == [2, 3]
    assert Affine.apply(x, np.array([1.0, 2.0], np.float32)).data.tolist() == [2, 4]
    assert Affine.apply(np.ones(2), None).requires_grad is False
    dx, db = md.grad(Affine.apply(x, b, scale=3.0).sum(), [x, b])
    assert (dx.tolist(), db.tolist()) == ([3, 3], [1, 1])


def test_arrays_reach_forward_as_they_are():
    """A 0-d array stays 0-d, and an array that is not contiguous becomes so."""
    seen = []

    class Look(md.Function):
        def forward(self, x, other):
            seen.append((x.shape, other.shape, other.flags.c_contiguous))
            return x.sum()

    y = Look.apply(md.tensor(1.0), np.array(2.0))
    assert y.shape == ()
    Look.apply(md.tensor([1.0]), np.ones((3, 2)).T)
    assert seen == [((), (), True), ((1,), (2, 3), True)]


def test_needs_grad_says_who_wants_one():
    seen = []

    class Sum3(md.Function):
        def forward(self, *xs):
            return sum(xs)

        def backward(self, dy):
            seen.append(self.needs_grad)
            return tuple(dy if need else None for need in self.needs_grad)

    x, c = leaf(1.0), md.tensor([2.0])
    Sum3.apply(x, c, x).backward()
    assert seen == [(True, False, True)]
    assert x.grad.tolist() == [2]
    assert c.grad is None
    with md.no_grad():
        assert not Sum3.apply(x, c).requires_grad
    assert not Sum3.apply(c, c).requires_grad


def test_several_outputs():
    x = leaf(1.0, 2.0, 3.0, 4.0)
    a, b, n = Halves.apply(x)
    assert (a.requires_grad, b.requires_grad, n.requires_grad) == (True, True, False)
    assert n.item() == 2
    (a * 2 + b * 3).sum().backward()
    assert x.grad.tolist() == [2, 2, 3, 3]


def test_an_output_that_nobody_used_gets_zeros():
    x = leaf(1.0, 2.0, 3.0, 4.0)
    _, b, _ = Halves.apply(x)
    (b * 3).sum().backward()
    assert x.grad.tolist() == [0, 0, 3, 3]
    da, _, dn = Halves.got
    assert da.tolist() == [0, 0]
    assert da.dtype == np.float32
    assert dn.tolist() == [0]


def test_a_tuple_of_one():
    class One(md.Function):
        def forward(self, x):
            return (x * 2,)

        def backward(self, dy):
            return (dy * 2,)

    x = leaf(1.0)
    result = One.apply(x)
    assert isinstance(result, tuple)
    result[0].backward()
    assert x.grad.tolist() == [2]


def test_none_stops_a_gradient():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    before = x * 2
    before.retain_grad()
    z = Returns.apply(before, y, result=(None, np.array([5, 6], np.float32)))
    (z.sum() + x.sum()).backward()
    assert x.grad.tolist() == [1, 1]
    assert before.grad is None
    assert y.grad.tolist() == [5, 6]
    x.grad = None
    Returns.apply(x, result=None).sum().backward()
    assert x.grad is None


@pytest.mark.parametrize(
    "result",
    [
        np.array([5.0, 6.0]),
        [5, 6],
        np.array([5.0, 0, 6.0])[::2],
        md.tensor([5.0, 6.0]),
        (np.array([5, 6]),),
    ],
    ids=lambda v: type(v).__name__,
)
def test_gradients_in_other_forms(result):
    """Another dtype, a list, a view or a tensor becomes an array of the input's dtype."""
    x = leaf(1.0, 2.0)
    Returns.apply(x, result=result).sum().backward()
    assert x.grad.tolist() == [5, 6]
    assert x.grad.dtype == np.float32
    assert x.grad.flags.c_contiguous


def test_a_number_as_gradient_of_a_scalar():
    x = md.tensor(1.0, requires_grad=True)
    Returns.apply(x, result=2.5).backward()
    assert x.grad.item() == 2.5
    assert x.grad.shape == ()


def test_a_gradient_is_never_an_array_that_the_function_keeps():
    """A product may give each operand as the gradient of the other one."""

    class Dot(md.Function):
        def forward(self, a, b):
            self.a, self.b = a, b
            return (a * b).sum()

        def backward(self, dy):
            return self.b, self.a

    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = Dot.apply(a, b)
    y.backward(retain_graph=True)
    taken = a.grad
    b.data[...] = 0  # as an optimizer does
    assert taken.tolist() == [3, 4]
    a.grad[...] = 9  # as clipping does
    assert b.data.tolist() == [0, 0]
    (da,) = md.grad(y, [a])
    assert not np.shares_memory(da, b.data)


def test_one_gradient_for_two_inputs():
    class Sum(md.Function):
        def forward(self, a, b):
            return a + b

        def backward(self, dy):
            return dy, dy

    a, b = leaf(1.0), leaf(2.0)
    c = a * 1
    (Sum.apply(c, b) + Sum.apply(c, a) + Sum.apply(a, b)).backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([4], [2])
    assert not np.shares_memory(a.grad, b.grad)


class Bad(md.Function):
    def forward(self, x, result):
        return result

    def backward(self, dy):
        raise ZeroDivisionError("in backward")


class OnlyForward(md.Function):
    def forward(self, x):
        return x * 1


test_errors = errors_of(
    [
        (
            lambda: Returns.apply(X, X, result=np.ones(2)).sum().backward(),
            RuntimeError,
            "Returns.backward returned 1 gradients for 2 inputs",
        ),
        (
            lambda: Returns.apply(X, result=(np.ones(2), None)).sum().backward(),
            RuntimeError,
            "Returns.backward returned 2 gradients for 1 inputs",
        ),
        (
            lambda: Returns.apply(X, result=()).sum().backward(),
            RuntimeError,
            "Returns.backward returned 0 gradients",
        ),
        (
            lambda: Returns.apply(X, result=np.ones(3)).sum().backward(),
            RuntimeError,
            "Returns.backward returned a gradient of shape (3,) for input 0 of shape (2,)",
        ),
        (
            lambda: Returns.apply(X, X, result=(None, np.ones(1))).sum().backward(),
            RuntimeError,
            "Returns.backward",
            "shape (1,) for input 1 of shape (2,)",
        ),
        (lambda: Bad.apply(X, result="text"), TypeError, "Bad.forward must return an array", "str"),
        (
            lambda: Bad.apply(X, result=None),
            TypeError,
            "Bad.forward must return an array",
            "NoneType",
        ),
        (lambda: Bad.apply(X, result=[1.0]), TypeError, "Bad.forward must return an array", "list"),
        (lambda: Bad.apply(X, result=X), TypeError, "Bad.forward must return an array", "Tensor"),
        (
            lambda: OnlyForward.apply(X).sum().backward(),
            (AttributeError, NotImplementedError),
            "OnlyForward",
            "backward",
        ),
        (
            lambda: md.Function.apply(X),
            (AttributeError, NotImplementedError),
            "Function",
            "forward",
        ),
    ]
)


def test_a_forward_that_returns_its_input():
    class Same(md.Function):
        def forward(self, x):
            return x

        def backward(self, dy):
            return dy

    x = leaf(1.0, 2.0)
    y = Same.apply(x)
    (y * 3).sum().backward()
    assert x.grad.tolist() == [3, 3]
    z = md.batch_norm(md.tensor(uniform(4, 2)) * 1, None, None, training=True)
    expected = z.data.copy()
    np.testing.assert_array_equal(Same.apply(z).data, expected)


@pytest.mark.parametrize("name", ["inputs", "outputs", "order", "grads", "owned", "retained"])
def test_any_name_may_be_used_for_what_backward_needs(name):
    class Pow(md.Function):
        def forward(self, x):
            setattr(self, name, x)
            return x * x

        def backward(self, dy):
            return 2 * getattr(self, name) * dy

    x = md.tensor([1.0, 3.0], requires_grad=True)
    Pow.apply(Pow.apply(x)).sum().backward()
    np.testing.assert_array_equal(x.grad, [4, 108])


def test_a_list_of_gradients_is_one_for_each_input():
    class Product(md.Function):
        def forward(self, a, b):
            self.a, self.b = a, b
            return a * b

        def backward(self, dy):
            return [dy * self.b, dy * self.a]

    a, b = md.tensor([2.0], requires_grad=True), md.tensor([3.0], requires_grad=True)
    Product.apply(a, b).backward()
    assert (a.grad, b.grad) == (3, 2)

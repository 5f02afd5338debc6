"""These tests check that md.gradcheck finds wrong gradients, and nothing else."""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.cases import errors_of
from tests.support.errors import refuses


def double(*values):
    return md.tensor(np.array(values), requires_grad=True)


class Wrong(md.Function):
    """Computes exp, with a gradient that is off by `error` at one place."""

    def forward(self, x, error):
        self.y, self.error = np.exp(x), error
        return self.y

    def backward(self, dy):
        dx = dy * self.y
        dx.reshape(-1)[-1] += self.error
        return dx


@pytest.mark.parametrize("error", [1e-3, -1.0, np.nan, np.inf])
def test_gradcheck_finds_a_wrong_gradient(error):
    x = md.tensor(uniform(2, 3, dtype=np.float64), requires_grad=True)
    assert md.gradcheck(lambda x: Wrong.apply(x, error=0.0), [x])
    with refuses(AssertionError, "gradcheck: input 0 at (1, 2)", "backward gives"):
        md.gradcheck(lambda x: Wrong.apply(x, error=error), [x])


def test_gradcheck_finds_a_missing_gradient():
    x, y = double(1.0, 2.0), double(3.0)
    with refuses(AssertionError, "gradcheck: input 1"):
        md.gradcheck(lambda x, y: x * y.detach(), [x, y])


def test_gradcheck_takes_inputs_and_outputs_of_all_kinds():
    x, c = double(1.0, 2.0), md.tensor([3.0, 4.0])
    before = x.data.copy()
    assert md.gradcheck(lambda x: x * x, x)
    assert md.gradcheck(lambda x, c, n: (x * c * n, x.sum(), x > 1), [x, c, 2])
    assert md.gradcheck(lambda x: [md.exp(x), x.data.sum()], [x])
    np.testing.assert_array_equal(x.data, before)
    assert x.grad is None


test_errors = errors_of(
    [
        (lambda: md.gradcheck(lambda x: x, [md.tensor([1.0])]), ValueError, "gradcheck: no input"),
        (lambda: md.gradcheck(md.exp, [], eps=0), ValueError, "gradcheck: eps must be"),
        (lambda: md.gradcheck(md.exp, [], rtol=1j), TypeError, "gradcheck: rtol must be"),
        (lambda: md.gradcheck(md.exp, [], atol=-1), ValueError, "gradcheck: atol must be"),
        (
            lambda: md.gradcheck(lambda x: x, [md.ones(1, requires_grad=True)]),
            TypeError,
            "gradcheck: needs float64",
            "float32",
        ),
    ]
)

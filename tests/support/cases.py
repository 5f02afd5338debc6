"""This module has the tables of cases by which operations are tested, and the checks that each case
goes through.

A case is our function, NumPy's function for the same call (the reference), and the inputs:

    case("sum, two axes", md.sum, np.sum, (2, 3, 4), axis=(0, -1))

A tuple among the inputs is the shape of a float tensor of random values. A float array holds such
values itself, any other array is a constant tensor, and everything else is passed on as it is.
`checks_of` makes of a table test_values (both float dtypes, both backends), test_gradients (central
differences in float64; float32 against float64; both backends) and test_threads (the same bits on
1, 2 and 3 threads, for cases that say `large`). `errors_of` makes a test of a table of errors.
"""

import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import as_list, close
from tests.support.errors import refuses
from tests.support.marks import both_backends, both_floats
from tests.support.threads import threads


@dataclass
class Case:
    name: str
    ours: Callable[..., Any]
    reference: Callable[..., Any]
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    between: tuple[float, float] = (-2.0, 2.0)
    grad: bool = True  # whether the result has a gradient
    # Inputs to use instead of the small ones, large enough to be shared among threads.
    large: Any = None
    tolerance: float = 1.0  # a factor for TOLERANCE

    def arrays(self, large: bool = False) -> list[Any]:
        """Return the inputs, with shapes replaced by float64 values that float32 can represent
        exactly.
        """
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))

        def value(given: Any) -> Any:
            if isinstance(given, tuple):
                given = rng.uniform(*self.between, given).astype(np.float32).astype(np.float64)
            return np.array(given) if isinstance(given, np.ndarray) else given

        return [value(given) for given in (self.large if large else self.inputs)]

    def tensors(self, dtype: Any, large: bool = False) -> list[Any]:
        """Return the inputs of our function. The float ones require a gradient if the case has
        one.
        """

        def tensor(value: Any) -> Any:
            if not isinstance(value, np.ndarray):
                return value
            if value.dtype.kind != "f":
                return md.tensor(value)
            return md.tensor(value.astype(dtype), requires_grad=self.grad)

        return [tensor(value) for value in self.arrays(large)]


def case(
    name,
    ours,
    reference,
    *inputs,
    between=(-2.0, 2.0),
    grad=True,
    large=None,
    tolerance=1.0,
    **options,
):
    """Return a line of a table. `options` are passed to our function and to the reference."""
    return Case(name, ours, reference, inputs, options, between, grad, large, tolerance)


# The cases of all modules imported so far, which tools/coverage_table.py reads.
TABLES: list[Case] = []
ERRORS: list[Callable[..., Any]] = []


def checks_of(cases):
    """Return (test_values, test_gradients, test_threads) for a table of cases."""
    TABLES.extend(cases)
    names = [c.name for c in cases]
    assert len(set(names)) == len(names), "two cases of one name"

    def table(wanted):
        rows = [c for c in cases if wanted(c)]
        return pytest.mark.parametrize("case", rows, ids=[c.name for c in rows])

    @table(lambda c: True)
    @both_floats
    @both_backends
    def test_values(case, dtype, backend):
        check_values(case, dtype, backend)

    @table(lambda c: c.grad)
    @both_backends
    def test_gradients(case, backend):
        check_gradients(case, backend)

    @table(lambda c: c.large is not None)
    @both_floats
    def test_threads(case, dtype):
        check_threads(case, dtype)

    return test_values, test_gradients, test_threads


def errors_of(rows):
    """Return a test of a table of errors: (call, type, words that the message must have)."""
    ERRORS.extend(call for call, *_ in rows)

    @pytest.mark.parametrize(
        "call, error, words",
        [(c, e, w) for c, e, *w in rows],
        ids=[" ".join(w) for _, _, *w in rows],
    )
    def test_errors(call, error, words):
        with refuses(error, *words):
            call()

    return test_errors


def check_values(case, dtype, backend):
    """Check that our result is the reference's in shape, dtype and value, and is read-only, while
    the inputs are unchanged and may be written to.
    """
    arrays, tensors = case.arrays(), case.tensors(dtype)
    with warnings.catch_warnings():  # NumPy warns where it averages nothing
        warnings.simplefilter("ignore", RuntimeWarning)
        references = as_list(case.reference(*arrays, **case.options))
    with np.errstate(all="ignore"), md.use_backend(backend):
        results = as_list(case.ours(*tensors, **case.options))
        values = [r.data for r in results]
    assert len(results) == len(references)
    of_floats = any(isinstance(t, md.Tensor) and t.dtype.kind == "f" for t in tensors)
    for result, value, expected in zip(results, values, map(np.asarray, references), strict=True):
        assert isinstance(result, md.Tensor)
        assert (
            result.dtype
            == value.dtype
            == (dtype if of_floats and expected.dtype.kind == "f" else expected.dtype)
        )
        assert result.requires_grad == case.grad
        assert result.shape == expected.shape
        if not any(result is t for t in tensors):  # as +x is x itself
            assert not (case.grad and value.flags.writeable)
        close(value, expected, case.tolerance)
    for array, tensor in zip(arrays, tensors, strict=True):
        if isinstance(tensor, md.Tensor):
            np.testing.assert_array_equal(tensor.data, array)
            assert tensor.data.flags.writeable


def check_gradients(case, backend):
    """Check that the gradients are those of central differences, and those in float32 that of
    float64.
    """
    with md.use_backend(backend):
        inputs = case.tensors(np.float64)
        assert md.gradcheck(lambda *tensors: case.ours(*tensors, **case.options), inputs)
        _, exact = run(case, np.float64)
        _, single = run(case, np.float32)
    for g, expected in zip(single, exact, strict=True):
        assert expected.dtype == np.float64
        assert g.dtype == np.float32
        close(g, expected, 10 * case.tolerance)


def check_threads(case, dtype):
    """Check that results and gradients have the same bits on 1, 2 and 3 threads."""
    bits = []
    for n in (1, 2, 3):
        with threads(n):
            values, grads = run(case, dtype, large=True)
        bits.append([a.tobytes() for a in (*values, *grads)])
    assert bits[0] == bits[1] == bits[2]


def run(case, dtype, large=False):
    """Return (values, gradients) of one call, where the results have fixed random gradients."""
    inputs = case.tensors(dtype, large)
    results = as_list(case.ours(*inputs, **case.options))
    values = [r.data for r in results]
    if not case.grad:
        return values, []
    rng = np.random.default_rng(1)
    starts = [rng.uniform(0.5, 1.5, v.shape).astype(dtype) for v in values]
    wanted = [t for t in inputs if isinstance(t, md.Tensor) and t.requires_grad]
    return values, md.grad(results, wanted, starts)

"""What the tests of operations share: tables of cases, and the checks each case goes through.

A case is our function, NumPy's answer to the same call (the oracle) and the inputs:

    case("sum, two axes", md.sum, np.sum, (2, 3, 4), axis=(0, -1))

A tuple among the inputs is the shape of a float tensor of random values; a float array holds
such values itself; any other array is a constant tensor; everything else is passed on as it is.
`checks_of` makes of a table: test_values (both float dtypes, both backends), test_gradients
(central differences in float64; float32 against float64; both backends) and test_threads (the
same bits on 1, 2 and 3 threads, for cases that say `large`). `errors_of` does it for errors.
"""

import contextlib
import os
import subprocess
import sys
import textwrap
import threading
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl as md

ROOT = Path(__file__).resolve().parents[1]
BACKENDS = ("native", "numpy")
FLOATS = (np.float32, np.float64)
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-12}

both_backends = pytest.mark.parametrize("backend", BACKENDS)
both_floats = pytest.mark.parametrize("dtype", FLOATS, ids=["float32", "float64"])
# For tests whose batches are as small as BatchNorm warns of.
small_batches = pytest.mark.filterwarnings("ignore:BatchNorm.*values a channel")


@dataclass
class Case:
    name: str
    ours: Callable[..., Any]
    oracle: Callable[..., Any]
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    between: tuple[float, float] = (-2.0, 2.0)
    grad: bool = True           # whether the result has a gradient
    large: Any = None           # inputs in place of the small ones, worth sharing among threads
    tolerance: float = 1.0      # in units of TOLERANCE

    def arrays(self, large: bool = False) -> list[Any]:
        """The inputs with shapes replaced by float64 values that float32 holds exactly."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))

        def value(given: Any) -> Any:
            if isinstance(given, tuple):
                given = rng.uniform(*self.between, given).astype(np.float32).astype(np.float64)
            return np.array(given) if isinstance(given, np.ndarray) else given

        return [value(given) for given in (self.large if large else self.inputs)]

    def tensors(self, dtype: Any, large: bool = False) -> list[Any]:
        """Inputs for our function; the float ones require a gradient if the case has one."""

        def tensor(value: Any) -> Any:
            if not isinstance(value, np.ndarray):
                return value
            if value.dtype.kind != "f":
                return md.tensor(value)
            return md.tensor(value.astype(dtype), requires_grad=self.grad)

        return [tensor(value) for value in self.arrays(large)]


def case(name, ours, oracle, *inputs, between=(-2.0, 2.0), grad=True, large=None, tolerance=1.0,
         **options):
    """A line of a table; `options` go to our function and to the oracle."""
    return Case(name, ours, oracle, inputs, options, between, grad, large, tolerance)


TABLES: list[Case] = []         # of all modules imported so far: tools/coverage_table.py reads them
ERRORS: list[Callable[..., Any]] = []


def checks_of(cases):
    """(test_values, test_gradients, test_threads) of a table of cases."""
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
    """A test of a table of errors: (call, type, words that the message must have)."""
    ERRORS.extend(call for call, *_ in rows)

    @pytest.mark.parametrize("call, error, words", [(c, e, w) for c, e, *w in rows],
                             ids=[" ".join(w) for _, _, *w in rows])
    def test_errors(call, error, words):
        with refuses(error, *words):
            call()

    return test_errors


# ----------------------------------------------------------------------------------- checks

def check_values(case, dtype, backend):
    """Our result is the oracle's, in shape, dtype and value, and read-only; the inputs are as
    before, and may be written to."""
    arrays, tensors = case.arrays(), case.tensors(dtype)
    with warnings.catch_warnings():     # of NumPy's, where it averages nothing
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = as_list(case.oracle(*arrays, **case.options))
    with np.errstate(all="ignore"), md.use_backend(backend):
        results = as_list(case.ours(*tensors, **case.options))
        values = [r.data for r in results]
    assert len(results) == len(expected)
    of_floats = any(isinstance(t, md.Tensor) and t.dtype.kind == "f" for t in tensors)
    for result, value, right in zip(results, values, map(np.asarray, expected), strict=True):
        assert isinstance(result, md.Tensor)
        assert result.dtype == value.dtype == (
            dtype if of_floats and right.dtype.kind == "f" else right.dtype)
        assert result.requires_grad == case.grad
        assert result.shape == right.shape
        if not any(result is t for t in tensors):       # as +x is x itself
            assert not (case.grad and value.flags.writeable)
        close(value, right, case.tolerance)
    for array, tensor in zip(arrays, tensors, strict=True):
        if isinstance(tensor, md.Tensor):
            np.testing.assert_array_equal(tensor.data, array)
            assert tensor.data.flags.writeable


def check_gradients(case, backend):
    """The gradients are those of central differences; in float32 as in float64."""
    with md.use_backend(backend):
        inputs = case.tensors(np.float64)
        assert md.gradcheck(lambda *tensors: case.ours(*tensors, **case.options), inputs)
        _, exact = run(case, np.float64)
        _, single = run(case, np.float32)
    for g, right in zip(single, exact, strict=True):
        assert right.dtype == np.float64
        assert g.dtype == np.float32
        close(g, right, 10 * case.tolerance)


def check_threads(case, dtype):
    """Results and gradients have the same bits on 1, 2 and 3 threads."""
    bits = []
    for n in (1, 2, 3):
        with threads(n):
            values, grads = run(case, dtype, large=True)
        bits.append([a.tobytes() for a in (*values, *grads)])
    assert bits[0] == bits[1] == bits[2]


def run(case, dtype, large=False):
    """(values, gradients) of one call, the gradients from fixed random ones of the results."""
    inputs = case.tensors(dtype, large)
    results = as_list(case.ours(*inputs, **case.options))
    values = [r.data for r in results]
    if not case.grad:
        return values, []
    rng = np.random.default_rng(1)
    starts = [rng.uniform(0.5, 1.5, v.shape).astype(dtype) for v in values]
    wanted = [t for t in inputs if isinstance(t, md.Tensor) and t.requires_grad]
    return values, md.grad(results, wanted, starts)


# ---------------------------------------------------------------------------------- helpers

def close(value, right, tolerance=1.0):
    """Equal up to rounding in the dtype of `value`, relative to the largest of `right`."""
    right = np.asarray(right)
    value = np.asarray(value)
    assert value.shape == right.shape
    if value.dtype.kind != "f":
        np.testing.assert_array_equal(value, right)
        return
    tol = tolerance * TOLERANCE[value.dtype]
    largest = np.abs(right[np.isfinite(right)]).max(initial=0.0)
    np.testing.assert_allclose(value, right, rtol=tol, atol=tol * float(largest))


def as_list(results):
    return list(results) if isinstance(results, tuple | list) else [results]


def uniform(*shape, dtype=np.float32, seed=0, low=-1.0, high=1.0):
    """A fixed random array."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


def python(code, *options, **variables):
    """The finished process of another interpreter, whose environment says nothing of OpenMP.

    `variables` are set in the environment, or taken out of it where they are None.
    """
    env = {name: value for name, value in os.environ.items()
           if not name.startswith(("OMP_", "GOMP_"))} | variables
    return subprocess.run([sys.executable, *options, "-c", textwrap.dedent(code)], cwd=ROOT,
                          env={name: value for name, value in env.items() if value is not None},
                          capture_output=True, text=True, timeout=200)


def printed(code, *options, **variables):
    """The words that `code` prints, run as by `python`; it must not fail."""
    done = python(code, *options, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def kernels_run(monkeypatch, *names):
    """A list that gets the name of each of these kernels whenever it runs."""
    calls: list[str] = []

    def noting(name, kernel):
        def noted(*args, **options):
            calls.append(name)
            return kernel(*args, **options)
        return noted

    for name in names:
        monkeypatch.setattr(md.kernels, name, noting(name, getattr(md.kernels, name)))
    return calls


@contextlib.contextmanager
def threads(n):
    """Kernels use n threads inside."""
    before = md.get_num_threads()
    md.set_num_threads(n)
    try:
        yield
    finally:
        md.set_num_threads(before)


def in_threads(n, work):
    """Run work(k) in n threads that begin together and are switched often; the exceptions that they
    end with."""
    begin, errors = threading.Barrier(n), []

    def run(k):
        begin.wait()
        try:
            work(k)
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=run, args=(k,)) for k in range(n)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    return errors


@contextlib.contextmanager
def refuses(error, *words):
    """An error of this type is raised inside, and its message has all these words."""
    with pytest.raises(error) as info:
        yield
    for word in words:
        assert word in str(info.value)


def read_only():
    """NumPy refuses what is written inside."""
    return pytest.raises(ValueError, match="read-only")


def in_bounded_memory(code, *arguments, megabytes):
    """Run `code` in a process that may take so many megabytes more than after its imports.

    It finds `md`, `np`, `os` and `sys`, and the arguments in `sys.argv`.
    """
    start = f"""
import os, resource, sys
import numpy as np
import minidl as md
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + ({megabytes} << 20),) * 2)
"""
    run = subprocess.run([sys.executable, "-c", start + code, *map(str, arguments)],
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0,
                                reason="only the superuser becomes another user")
NOBODY = 65534


def as_nobody(folder, code):
    """What `code` prints, run in a folder by a user without rights; it finds `md` and `os`."""
    start = f"""
import os, sys
import minidl as md
import json, pooch, safetensors.numpy   # from places that only the superuser may read, perhaps
from minidl import atomic
os.chdir(sys.argv[1])
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
"""
    run = subprocess.run([sys.executable, "-c", start + code, str(folder)], capture_output=True,
                         text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()

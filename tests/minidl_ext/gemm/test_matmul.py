"""These tests check matrix products: they are exact on whole numbers of every shape, accurate, and
refuse bad arguments.
"""

import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.kernels.reference.gemm import matmul as twin
from minidl_ext.gemm import matmul as native
from tests.support.kernels import (
    FLOATS,
    KINDS,
    LAYOUTS,
    bad_values_are_local,
    checks_out,
    corners,
    eps,
    identical,
    many,
    refuses,
    same_bits,
    spoil,
    values,
    whole,
)

TRANSPOSES = [(False, False), (False, True), (True, False), (True, True)]


def operands(make, m, n, k, transpose_a, transpose_b, batch=(), **options):
    a = make(*batch, *((k, m) if transpose_a else (m, k)), **options)
    b = make(*batch, *((n, k) if transpose_b else (k, n)), seed=1, **options)
    return {"a": a, "b": b, "transpose_a": transpose_a, "transpose_b": transpose_b}


@many
@given(
    m=st.integers(0, 40),
    n=st.integers(0, 70),
    k=st.integers(0, 40),
    batch=st.sampled_from([(), (), (0,), (1,), (3,)]),
    transposes=st.sampled_from(TRANSPOSES),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_any_shape_gives_the_results_of_the_twin(m, n, k, batch, transposes, dtype):
    case = operands(whole, m, n, k, *transposes, batch=batch, dtype=dtype)
    identical(native.matmul(**case), twin.matmul(**case))


@FLOATS
@pytest.mark.parametrize("transposes", TRANSPOSES)
@pytest.mark.parametrize(
    ("m", "n", "k"),
    (
        (1, 1, 1),
        (13, 33, 511),
        (12, 32, 512),
        (11, 31, 513),
        (25, 65, 1300),
        (128, 10, 784),
        (1, 300, 2000),
        (300, 1, 50),
        (259, 130, 67),
    ),
)
def test_blocks_panels_and_parts_of_k(m, n, k, transposes, dtype):
    case = operands(whole, m, n, k, *transposes, dtype=dtype)
    identical(native.matmul(**case), twin.matmul(**case))


@FLOATS
def test_every_width_and_height(dtype):
    for size in range(1, 71):
        case = operands(whole, size, 71 - size, 9, False, False, dtype=dtype)
        identical(native.matmul(**case), twin.matmul(**case))


@FLOATS
def test_rounding_errors(dtype):
    for k in (1, 10, 100, 1000, 5000):
        case = operands(values, 20, 40, k, False, False, dtype=dtype)
        a, b = case["a"].astype(np.longdouble), case["b"].astype(np.longdouble)
        error = np.abs(native.matmul(**case) - a @ b)
        # Summation in order makes at most k rounding errors, most of which cancel.
        assert (error <= (1 + k**0.5) * eps(dtype) * (np.abs(a) @ np.abs(b))).all(), k


@FLOATS
@pytest.mark.parametrize("bad", (np.nan, np.inf))
def test_bad_values_stay_in_their_row_and_column(bad, dtype):
    case = operands(whole, 30, 41, 50, False, False, dtype=dtype)
    clean = native.matmul(**case)
    spoiled = case["a"].copy()
    spoiled[13, 7] = bad
    got = native.matmul(spoiled, case["b"])
    assert not np.isfinite(got[13, case["b"][7] != 0]).any()
    identical(np.delete(got, 13, axis=0), np.delete(clean, 13, axis=0))
    spoiled = case["b"].copy()
    spoiled[7, 40] = bad
    got = native.matmul(case["a"], spoiled)
    assert not np.isfinite(got[case["a"][:, 7] != 0, 40]).any()
    identical(np.ascontiguousarray(got[:, :40]), np.ascontiguousarray(clean[:, :40]))


@FLOATS
@pytest.mark.parametrize("transposes", TRANSPOSES)
@pytest.mark.parametrize("argument", ("a", "b"))
def test_bad_values_reach_what_reads_them(argument, transposes, dtype):
    """This includes the last rows and columns, which share vectors with their padding."""
    made = operands(values, 27, 37, 45, *transposes, dtype=dtype)
    for places in corners(made[argument]):
        bad_values_are_local(native.matmul, twin.matmul, spoil(made, argument, *places), argument)


@FLOATS
@pytest.mark.parametrize("transposes", TRANSPOSES)
@pytest.mark.parametrize("shape", ((130, 70, 600, ()), (3000, 1, 200, ()), (17, 9, 40, (61,))))
def test_any_number_of_threads_gives_the_same_bits(shape, transposes, dtype):
    m, n, k, batch = shape
    same_bits(native.matmul, operands(values, m, n, k, *transposes, batch=batch, dtype=dtype))


@pytest.mark.parametrize("batch", ((), (3,)))
def test_out_is_filled_and_bad_arrays_are_refused(batch):
    case = operands(values, 5, 6, 7, False, True, batch=batch)
    checks_out(native.matmul, case)
    for name in ("a", "b"):
        refuses(native.matmul, case, name, LAYOUTS | KINDS)


def test_a_square_product_cannot_be_in_place():
    a = values(6, 6)
    with pytest.raises(ValueError, match="matmul: out overlaps a"):
        native.matmul(a, values(6, 6, seed=1), out=a)


def test_operands_that_do_not_fit():
    f = np.ones
    for a, b, options in (
        (f((3, 4)), f((3, 4)), {}),
        (f((3, 4)), f((4, 3)), {"transpose_a": True}),
        (f((3, 4)), f((4, 3)), {"transpose_b": True}),
        (f((2, 3, 4)), f((3, 4, 5)), {}),
        (f((2, 3, 4)), f((4, 5)), {}),
        (f((3, 4)), f((2, 4, 5)), {}),
        (f(4), f((4, 3)), {}),
        (f((3, 4)), f(4), {}),
        (f(()), f(()), {}),
        (f((1, 1, 2, 2)), f((1, 1, 2, 2)), {}),
    ):
        with pytest.raises(ValueError, match=r"matmul: .*shapes") as info:
            native.matmul(a, b, **options)
        assert str(a.shape) in str(info.value)
        assert str(b.shape) in str(info.value)
    with pytest.raises(TypeError, match="matmul: a is float32 but b is float64"):
        native.matmul(values(3, 4), f((4, 3)))


@many
@given(
    m=st.integers(0, 30),
    n=st.integers(0, 70),
    k=st.integers(0, 40),
    transposes=st.sampled_from(TRANSPOSES),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_panels_that_were_packed_before_give_the_same_result(m, n, k, transposes, dtype):
    case = operands(values, m, n, k, *transposes, dtype=dtype)
    panels = native.matmul_panels(case["b"], transposes[1])
    assert panels.dtype == dtype
    identical(native.matmul(**case, panels=panels), native.matmul(**case))
    identical(native.matmul_panels(case["b"], transposes[1], threads=3), panels)
    of_twin = twin.matmul_panels(case["b"], transposes[1])
    np.testing.assert_allclose(
        twin.matmul(**case, panels=of_twin), twin.matmul(**case), rtol=1e-4, atol=1e-5
    )


def test_panels_that_do_not_fit():
    a, b = values(4, 3), values(3, 5)
    panels = native.matmul_panels(b)
    for wrong in (
        panels[:-1],
        np.append(panels, panels),
        native.matmul_panels(values(4, 5)),
        panels.astype(np.float64),
        panels[::2],
    ):
        with pytest.raises((TypeError, ValueError), match="matmul: panels"):
            native.matmul(a, b, panels=wrong)
    for empty in (values(2, 0), values(0, 3)), (values(0, 3), values(3, 5)):
        with pytest.raises(TypeError, match="matmul: panels must be a NumPy array"):
            native.matmul(*empty, panels="panels")
    with pytest.raises(ValueError, match="overlaps panels"):
        native.matmul(a, b, panels=panels, out=panels[:20].reshape(4, 5))
    for wrong in (values(3), values(2, 3, 4), np.ones((2, 2), int)):
        with pytest.raises((TypeError, ValueError), match="matmul_panels: b"):
            native.matmul_panels(wrong)


def test_an_interrupt_ends_a_long_product():
    """A product that takes seconds is computed in parts, between which Python's signal handlers
    run.
    """

    def interrupt(*_):
        raise KeyboardInterrupt

    out = np.full((8192, 4096), np.nan, np.float32)
    a, b = np.ones((8192, 1024), np.float32), np.ones((1024, 4096), np.float32)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            native.matmul(a, b, out=out)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert out[0, 0] == 1024 and np.isnan(out[-1, -1])

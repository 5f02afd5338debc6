"""These tests check that docs/normalization.md is true: its tables are computed again, here without
PyTorch.
"""

import numpy as np
import pytest

from tools import normalization_cases as cases
from tools import normalization_runs as runs
from tools import normalization_table as table

ALL = cases.cases()
PAGE = table.parts(table.PAGE.read_text())


@pytest.mark.parametrize("dtype", list(table.TOLERANCE))
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_agreement_with_the_formula(case, dtype):
    got, expected = runs.ours(case, dtype), runs.expected(case, dtype)
    assert all(a.dtype == dtype for a in got["forward"] + got["backward"])
    for kind in table.KINDS:
        assert len(got[kind]) == len(expected[kind])
        assert runs.error(got[kind], expected[kind]) <= table.TOLERANCE[dtype], kind


def test_the_cases_do_something():
    """Statistics change, masks leave something out, and the compared values are not all 0."""
    for case in ALL:
        expected = runs.expected(case, np.float64)
        assert len(expected["forward"]) == runs.STEPS
        assert np.abs(expected["backward"][1 if case.first_values else 0]).max() > 1e-3
        if expected["running"] and "eval" not in case.name and "freeze" not in case.name:
            assert not np.array_equal(expected["running"][0], expected["running"][2])
        mask = case.positions()
        if mask is not None:
            assert 0 < mask.mean() < 1
            if not case.shortcut:
                assert (expected["forward"][0][~mask] == 0).all()


def test_the_page_has_these_rows_within_the_bounds():
    rows = table.rows(PAGE["agreement"])
    assert [row[0] for row in rows] == [case.name for case in ALL]
    for row, case in zip(rows, ALL, strict=True):
        assert row[1] == ("formula" if case.torch is None else "formula, PyTorch")
        for cell, tolerance in zip(row[2:], [1e-5] * 3 + [1e-10] * 3, strict=True):
            assert cell == "–" or float(cell) <= tolerance


def test_the_variance_of_large_means():
    found = table.variance_errors()
    assert max(found["minidl"]) <= 1e-4
    naive = found["E[x²] − E[x]²"]
    assert naive[0] < 1e-4 and naive[2] > 0.1 and naive[3] > 1  # as the page says
    page = {row[0]: [float(cell) for cell in row[1:]] for row in table.rows(PAGE["large means"])}
    assert [*page] == ["minidl", "E[x²] − E[x]²", "Flax, fast variance", "PyTorch"]
    assert max(page["minidl"]) <= 1e-4
    for name, errors in found.items():
        # To one digit, as sums differ between machines.
        np.testing.assert_allclose(page[name], errors, rtol=9)


def test_scale_invariance():
    assert np.max(table.scale_errors(0.0)) <= 1e-10
    spoiled = np.array(table.scale_errors(1e-5))
    assert (spoiled[0] > 0.1).all() and (spoiled[-1] < 1e-5).all()  # the effect of eps for small a
    rows = table.rows(PAGE["scale invariance"])
    assert [(float(row[0]), float(row[1])) for row in rows] == [
        (a, eps) for eps in (0.0, 1e-5) for a in table.SCALES
    ]
    for row, errors in zip(rows[len(table.SCALES) :], spoiled, strict=True):
        np.testing.assert_allclose([float(cell) for cell in row[2:]], errors, rtol=0.5)


def test_the_bias_before_a_normalization_has_no_gradient():
    assert table.bias_gradient() <= 1e-12

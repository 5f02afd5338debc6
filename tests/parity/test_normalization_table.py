"""These tests compare the table of docs/normalization.md with PyTorch, where it has the
normalization.
"""

import numpy as np
import pytest

pytest.importorskip("torch")

from tools import normalization_cases as cases
from tools import normalization_runs as runs
from tools import normalization_table as table

WITH_TORCH = [case for case in cases.cases() if case.torch is not None]


@pytest.mark.parametrize("dtype", list(table.TOLERANCE))
@pytest.mark.parametrize("case", WITH_TORCH, ids=lambda case: case.name)
def test_agreement_with_pytorch(case, dtype):
    got, expected = runs.ours(case, dtype), runs.pytorch(case, dtype)
    for kind in table.KINDS:
        assert len(got[kind]) == len(expected[kind])
        assert runs.error(got[kind], expected[kind]) <= table.TOLERANCE[dtype], kind


def test_the_variance_of_large_means_beside_pytorchs():
    found = table.variance_errors()
    page = {
        row[0]: [float(cell) for cell in row[1:]]
        for row in table.rows(table.parts(table.PAGE.read_text())["large means"])
    }
    assert max(found["minidl"]) <= max(found["PyTorch"])
    np.testing.assert_allclose(page["PyTorch"], found["PyTorch"], rtol=9)

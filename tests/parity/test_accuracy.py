"""These tests check that the table of rounding errors compares like with like: PyTorch computes
what a case says.
"""

import pytest

from benchmarks import torch_accuracy
from benchmarks.accuracy import errors
from benchmarks.accuracy_cases import all_cases


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_pytorch_computes_the_same(case):
    assert errors(case, "normal", [torch_accuracy])[0] < 1e-4

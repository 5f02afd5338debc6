"""These tests run ONNX's own tests of its operators. Each of them passes, or is refused before
anything is computed, by the name of operator and node.
"""

import importlib
import pkgutil
import re
import sys
import warnings

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case import node as cases

import minidl as md
from minidl.onnx.operators import OPERATORS

MODULES = sorted(found.name for found in pkgutil.iter_modules(cases.__path__))
REFUSAL = re.compile(
    r"md\.onnx\.load: (the operator \w+( \(domain [\w.]+\))? of node '.+' is not "
    r"supported.*|(\w+ of node|the input) '.+': .+ not supported.*)"
)
# Their numbers come from another random generator.
RANDOM = {f"test_training_dropout{name}" for name in ("", "_default", "_mask", "_default_mask")}


def collected(module):
    """Return the tests that a file of ONNX's defines."""
    before = len(cases._NodeTestCases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The module defines them when it is imported.
        sys.modules.pop(f"{cases.__name__}.{module}", None)
        importlib.import_module(f"{cases.__name__}.{module}")
    found = cases._NodeTestCases[before:]
    del cases._NodeTestCases[before:]
    return found


def as_array(value):
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def passes(case):
    """Return False if a test is refused. Otherwise check that it gives what it should, and return
    True.
    """
    try:
        model = md.onnx.load(case.model.SerializeToString(), layout="NCHW")
    except NotImplementedError as error:
        assert REFUSAL.fullmatch(str(error)), error
        return False
    for inputs, outputs in case.data_sets:
        made = model(*map(as_array, inputs))
        made = made if isinstance(made, tuple) else (made,)
        for y, expected in zip(made, map(as_array, outputs), strict=True):
            assert y.dtype == expected.dtype, case.name
            assert y.shape == expected.shape, case.name
            if case.name not in RANDOM:
                np.testing.assert_allclose(
                    y.data, expected, case.rtol, case.atol, err_msg=case.name
                )
    return True


@pytest.fixture(autouse=True)
def names_are_free(monkeypatch):
    monkeypatch.setattr(cases, "_existing_names", {})


@pytest.mark.parametrize("module", MODULES)
def test_a_file_of_tests(module):
    found = collected(module)
    passed = {
        op
        for case in found
        if passes(case)
        for op in [n.op_type for n in case.model.graph.node][:1]
    }
    asked = {
        case.model.graph.node[0].op_type
        for case in found
        if len(case.model.graph.node) == 1 and "_expanded" not in case.name
    }
    # For each operator that there is, at least one test has passed.
    assert asked & OPERATORS.keys() <= passed

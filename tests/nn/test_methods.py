"""These tests check the methods of layers that their base classes define. mypy reads this file,
too.
"""

import inspect
from typing import assert_type

import numpy as np
import pytest

from minidl import nn
from minidl.nn.methods import Methods


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("predict", ["self", "x", "batch_size"]), ("summary", ["self", "input_shape", "example"])],
)
def test_layers_have_what_type_checkers_are_told(name, parameters):
    method = vars(nn.Layer)[name]
    assert method is vars(Methods)[name] and method.__name__ == name and method.__doc__
    assert list(inspect.signature(method).parameters) == parameters
    assert name in dir(nn.Dense(1, 1))


def test_type_checkers_know_the_methods():
    model = nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(3)).eval()
    assert_type(model.predict(np.ones((4, 2), np.float32), batch_size=2), np.ndarray)
    assert_type(model.summary((2,)), str)
    assert_type(nn.fold(model).fold_report, nn.FoldReport)
    with pytest.raises(AttributeError, match="no attribute 'predictions'"):
        model.predictions()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no attribute 'fold_report'"):
        _ = model.fold_report  # only a copy that fold made has this attribute


def test_a_model_may_have_a_predict_of_its_own():
    class Model(nn.Layer):
        def predict(self, x, batch_size=1):
            return "mine"

    assert Model().predict(1) == "mine"

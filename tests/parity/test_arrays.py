"""These tests check that PyTorch's tensors are accepted wherever an array is."""

import numpy as np
import pytest
import torch

import minidl as md
from minidl import data, nn
from tests.support.errors import refuses


def test_tensors_of_pytorch():
    x = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    labels = torch.tensor([0, 1])
    expected = x.numpy()
    for ours in (
        md.tensor(x),
        md.Tensor(x),
        md.relu(x) - md.relu(-expected),
        md.zeros(2) + x,
        md.where(x > -9, x, 0.0),
    ):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, expected)
    assert md.cross_entropy(x, labels).item() == md.cross_entropy(expected, [0, 1]).item()
    np.testing.assert_array_equal(md.tensor(expected)[labels], expected)
    assert nn.Dense(2, 3).predict(x).shape == (2, 3)
    assert data.ArrayDataset(x, labels)[1][1] == 1
    assert md.tensor(x.double()).dtype == np.float64


@pytest.mark.parametrize(
    "call",
    [md.relu, md.tensor, md.Tensor, lambda x: md.cross_entropy(x, [0]), lambda x: md.ones(2) * x],
)
def test_a_gradient_does_not_pass(call):
    with refuses(TypeError, "torch.Tensor", "detach()"):
        call(torch.ones(1, 2, requires_grad=True))


def test_what_numpy_does_not_have():
    with refuses(TypeError, "BFloat16"):
        md.tensor(torch.ones(2, dtype=torch.bfloat16))

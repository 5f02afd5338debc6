"""These tests check DLPack between minidl and PyTorch: both share one memory, and errors are
clear.
"""

import numpy as np
import pytest
import torch

import minidl as md
from tests.support.errors import refuses


def test_a_tensor_of_pytorch_is_shared():
    theirs = torch.zeros(2, 3)
    ours = md.from_dlpack(theirs)
    theirs[0, 1] = 5
    ours.data[1, 2] = 7
    assert ours.data[0, 1] == 5 and theirs[1, 2] == 7


def test_a_leaf_is_shared_with_pytorch():
    ours = md.zeros((2, 3))
    theirs = torch.from_dlpack(ours)
    theirs[0, 1] = 5
    ours.data[1, 2] = 7
    assert ours.data[0, 1] == 5 and theirs[1, 2] == 7


def test_a_result_is_copied_for_pytorch():
    ours = md.zeros((2, 3)) + 1
    theirs = torch.from_dlpack(ours)
    theirs.fill_(9)
    assert (ours.data == 1).all() and theirs.sum() == 54


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool"])
def test_dtypes(dtype):
    theirs = torch.ones(3, dtype=getattr(torch, dtype))
    ours = md.from_dlpack(theirs)
    assert ours.dtype == np.dtype(dtype)
    assert torch.from_dlpack(ours).dtype == theirs.dtype


def test_channels_last_is_copied():
    theirs = torch.rand(2, 3, 4, 4).permute(0, 2, 3, 1)
    assert np.array_equal(md.from_dlpack(theirs).data, theirs.numpy())


def test_bad_arguments_are_refused():
    with refuses(TypeError, "bfloat16", "float32"):
        md.from_dlpack(torch.ones(3, dtype=torch.bfloat16))
    with refuses(TypeError, "detach() it first"):
        md.from_dlpack(torch.ones(3, requires_grad=True))
    with refuses(BufferError, "torch.Tensor"):
        md.from_dlpack(torch.ones(3, device="meta"))
    with refuses(BufferError, "torch.Tensor"):
        md.from_dlpack(torch.ones(3, 3).to_sparse())

"""These tests check the operators and methods of tensors. mypy reads this file, too: it must know
every method, and refuse anything else.
"""

import inspect
from typing import assert_type

import numpy as np
import pytest

import minidl as md
from minidl import nn, ops
from minidl.ops.methods import Methods

OPERATIONS = sorted(name for name in vars(Methods) if name in ops.__all__)
ARGUMENTS: dict[str, tuple[object, ...]] = {
    "adaptive_avg_pool": (3,),
    "topk": (2,),
    "astype": (np.float64,),
    "broadcast_to": ((2, 3, 3),),
    "clip": (-0.5, 0.5),
    "dropout": (0.0,),
    "expand_dims": (0,),
    "max_pool": (2,),
    "avg_pool": (2,),
    "max_pool1d": (2,),
    "avg_pool1d": (2,),
    "maximum": (0.25,),
    "minimum": (0.25,),
    "one_hot": (4,),
    "pad": (1,),
    "reshape": (-1,),
    "split": (3,),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_of_one_tensor_are_methods(name):
    t = md.tensor(np.linspace(0.1, 1, 9, dtype=np.float32).reshape(3, 3))
    if name.endswith("pool"):
        t = md.reshape(md.arange(96.0), 2, 4, 4, 3)
    elif name.endswith("pool1d"):
        t = md.reshape(md.arange(24.0), 2, 4, 3)
    elif name == "one_hot":
        t = md.arange(4)
    arguments = ARGUMENTS.get(name, ())
    got, expected = getattr(t, name)(*arguments), getattr(md, name)(t, *arguments)
    for a, b in zip(got, expected, strict=True) if isinstance(got, tuple) else [(got, expected)]:
        np.testing.assert_array_equal(a.data, b.data)
    assert name in dir(t)
    assert getattr(md.Tensor, name) is getattr(md, name)  # including its signature and docstring


def test_everything_that_needs_no_more_than_a_tensor_is_a_method():
    for name in set(ops.__all__) - {"negative", "from_dlpack"}:
        parameters = inspect.signature(getattr(ops, name)).parameters.values()
        needed = [
            p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL
        ]
        assert needed != ["x"] or name.endswith("_like") or name in OPERATIONS, name


def test_tensors_have_what_type_checkers_are_told():
    """For type checkers `Tensor` inherits from the table, which Python does not see. No method may
    be missing, and none may exist already.
    """
    for name, member in vars(Methods).items():
        if callable(member) or isinstance(member, property):
            assert vars(md.Tensor)[name] is member


def test_type_checkers_know_the_methods():
    x = md.tensor([[1.0, 2.0]], requires_grad=True)
    assert_type(x.exp(), md.Tensor)
    assert_type(x.split(2, axis=1), tuple[md.Tensor, ...])
    assert_type(x.T, md.Tensor)
    assert_type(x + 1, md.Tensor)
    assert_type(2 / x, md.Tensor)
    assert_type(x @ x.T, md.Tensor)
    assert_type(-x[0], md.Tensor)
    assert_type(x == 1, md.Tensor)
    assert_type(1.0 in x, bool)
    assert_type(divmod(x.detach(), 2), tuple[md.Tensor, md.Tensor])
    assert_type(nn.Parameter([1.0]).relu(), md.Tensor)
    x.sum(axis=1, keepdims=True).backward(np.ones((1, 1), np.float32), retain_graph=True)
    with pytest.raises(AttributeError, match="no attribute 'expp'"):
        x.expp()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="here: reshape"):
        x.view(2)  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="axis"):
        x.exp(axis=1)  # type: ignore[call-arg]

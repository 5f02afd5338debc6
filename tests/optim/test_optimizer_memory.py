"""These tests check optimizers of parameters and gradients in read-only, shared or converted
memory.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.errors import refuses
from tests.support.marks import both_backends
from tests.support.optimizers import every_kind, steps
from tests.support.tensors import parameter


@every_kind
@both_backends
def test_a_parameter_in_read_only_memory_is_an_error(kind, backend):
    array = np.ones(3, np.float32)
    array.flags.writeable = False
    with md.use_backend(backend), pytest.raises(ValueError, match="read-only"):
        steps(kind([nn.Parameter(array)], lr=0.1), 1)
    assert (array == 1).all()


@every_kind
def test_read_only_memory_in_a_later_group_changes_nothing(kind):
    array = np.ones(3, np.float32)
    first, second = nn.Parameter(np.ones(3)), nn.Parameter(array)
    optimizer = kind([{"params": [first]}, {"params": [second]}], lr=0.1)
    array.flags.writeable = False
    for p in (first, second):
        p.grad = np.ones(3, np.float32).astype(p.dtype)
    with pytest.raises(ValueError, match=r"\(3,\) is read-only"):
        optimizer.step()
    assert (first.data == 1).all() and not optimizer.state


@every_kind
@pytest.mark.parametrize(
    "cut",
    [
        lambda m: (m[:6], m[5:]),
        lambda m: (m, m),
        lambda m: (m[4:5], m),
        lambda m: (m[:3], m[6:], m[2:5]),
    ],
)
def test_parameters_that_share_memory_are_refused(kind, cut):
    memory = np.zeros(9, np.float32)
    params = [nn.Parameter(part) for part in cut(memory)]
    for given in (params, [{"params": p} for p in params]):
        with refuses(ValueError, kind.__name__, "share memory"):
            kind(given, lr=1)


def test_neighbours_in_memory_do_not_share_it():
    memory = np.zeros(9, np.float32)
    params = [nn.Parameter(part) for part in (memory[6:], memory[:3], memory[3:6], memory[3:3])]
    steps(optim.SGD(params, lr=1), 2)
    np.testing.assert_array_equal(memory, np.full(9, -2))


@both_backends
@pytest.mark.parametrize("start", [0, 2])
def test_a_gradient_in_the_parameters_memory_is_refused_or_right(backend, start):
    memory = np.arange(8, dtype=np.float32)
    p = nn.Parameter(memory[:6])
    p.grad = memory[start : start + 6]
    with md.use_backend(backend):
        try:
            optim.SGD([p], lr=1).step()
        except ValueError as error:
            assert "overlap" in str(error)
            np.testing.assert_array_equal(memory, np.arange(8))
        else:
            np.testing.assert_array_equal(p.data, -start * np.ones(6))


@every_kind
def test_a_model_converted_between_steps_is_refused_or_right(kind):
    layer = nn.Dense(2, 2)
    optimizer = kind(layer.parameters(), lr=0.1)
    steps(optimizer, 1)
    layer.astype(np.float64)
    try:
        steps(optimizer, 1)
    except TypeError as error:
        assert "float32" in str(error)
    else:
        assert layer.weight.dtype == np.float64


def test_what_cannot_be_written_to_is_refused_at_once():
    frozen = nn.Parameter(np.ones(2, np.float32))
    frozen.data.flags.writeable = False
    with refuses(ValueError, "SGD", "(2,)", "read-only", "nn.Parameter(p) is a copy"):
        optim.SGD([frozen], lr=0.1)
    optim.SGD([nn.Parameter(frozen)], lr=0.1)


def test_a_gradient_of_what_is_no_float_is_refused_before_anything_is_changed():
    first, odd = parameter(2), md.tensor([1, 2])
    optimizer = optim.SGD([first, odd], lr=0.1)
    first.grad, odd.grad = np.ones(2, np.float32), np.array([1, 1])
    with refuses(TypeError, "SGD: ", "float32 or float64", "int64"):
        optimizer.step()
    np.testing.assert_array_equal(first.data, [1, 1])

"""These tests check DLPack: memory that is shared with other libraries, what is copied, and what is
refused.

Tests with PyTorch's own tensors are in tests/parity/test_dlpack.py.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.cases import errors_of
from tests.support.errors import refuses

VERSIONED = {"max_version": (1, 0)}
DTYPES = [
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
]


class Elsewhere:
    """Resembles an array of another library, on some device, which gives NumPy's capsule or an
    error.
    """

    def __init__(self, array=None, device=(1, 0), error=None, requires_grad=False):
        self.array, self.device, self.error = array, device, error
        self.requires_grad = requires_grad

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        if self.error is not None:
            raise self.error
        return self.array.__dlpack__(**options)


def result():
    return md.tensor([1.0, 2.0]) + 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_leaf_is_shared_both_ways(dtype):
    x = md.tensor(np.zeros((2, 3)).astype(dtype))
    array = np.from_dlpack(x)
    array[0, 1] = 1
    assert x.data[0, 1] == 1 and array.dtype == dtype
    y = md.from_dlpack(array)
    y.data[1, 2] = 1
    assert x.data[1, 2] == 1 and y.dtype == dtype and y.shape == (2, 3)


def test_a_parameter_is_shared():
    layer = nn.Dense(2, 3)
    np.from_dlpack(layer.weight)[...] = 7
    assert (layer.weight.data == 7).all()


def test_a_leaf_that_a_lazy_result_still_reads_is_not_changed_by_the_other_side():
    x = md.ones((4, 3))
    y = md.relu(nn.BatchNorm(3).eval()(x))
    np.from_dlpack(x)[...] = -5
    assert (y.data > 0).all()


@pytest.mark.parametrize("options", [{}, VERSIONED, {"copy": None}])
def test_a_result_is_copied(options):
    y = result()
    array = (
        np.from_dlpack(Elsewhere(y))
        if not options
        else np.from_dlpack(Given(y.__dlpack__(**options)))
    )
    assert array.tolist() == [2, 3] and not np.shares_memory(array, y.data)


class Given:
    """Gives one capsule."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **options):
        return self.capsule


def test_what_the_other_side_gets_of_a_result_can_be_written_to():
    y = result()
    array = np.from_dlpack(Given(y.__dlpack__(**VERSIONED)))
    array[0] = 5
    assert y.data.tolist() == [2, 3]


def test_a_result_without_a_copy_is_read_only():
    y = result()
    array = np.from_dlpack(Given(y.__dlpack__(copy=False, **VERSIONED)))
    assert np.shares_memory(array, y.data) and not array.flags.writeable
    with refuses(BufferError, "read-only", "max_version"):
        y.__dlpack__(copy=False)


def test_a_copy_of_a_leaf():
    x = md.tensor([1.0, 2.0])
    array = np.from_dlpack(Given(x.__dlpack__(copy=True, **VERSIONED)))
    array[...] = 0
    assert x.data.tolist() == [1, 2]


def test_constants_of_a_folded_model_are_not_shared():
    folded = nn.fold(nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(3)).eval())
    weight = folded[0].weight
    array = np.from_dlpack(Given(weight.__dlpack__(**VERSIONED)))
    before = weight.data.copy()
    array[...] = 0
    assert (weight.data == before).all()


def test_the_device_is_the_cpu():
    assert md.ones(2).__dlpack_device__() == (1, 0)


def test_copies_are_made_where_they_must_be_or_are_asked_for():
    array = np.arange(6.0).reshape(2, 3)
    assert md.from_dlpack(array.T).data.flags.c_contiguous
    assert not np.shares_memory(md.from_dlpack(array.T).data, array)
    assert not np.shares_memory(md.from_dlpack(array, copy=True).data, array)
    assert np.shares_memory(md.from_dlpack(array, device="cpu", copy=False).data, array)


def test_read_only_memory_stays_read_only():
    array = np.arange(3.0)
    array.flags.writeable = False
    x = md.from_dlpack(array)
    assert not x.data.flags.writeable and np.shares_memory(x.data, array)
    assert nn.Parameter(x).data.flags.writeable


def test_memory_lives_as_long_as_either_side():
    array = np.from_dlpack(md.tensor(np.arange(5000.0)))
    x = md.from_dlpack(np.arange(5000.0))
    others = [np.full(5000, 9.0) for _ in range(20)]
    assert array.sum() == x.data.sum() == 4999 * 2500 and others


def test_tensors_take_part_in_graphs():
    x = md.from_dlpack(np.array([1.0, 2.0]))
    x.requires_grad = True
    (x * x).sum().backward()
    assert x.grad.tolist() == [2, 4]


test_errors = errors_of(
    [
        (lambda: md.from_dlpack([1.0]), TypeError, "from_dlpack: x must be an array with"),
        (lambda: md.from_dlpack(Elsewhere(device=(2, 1))), BufferError, "Elsewhere on CUDA (2, 1)"),
        (lambda: md.from_dlpack(Elsewhere(device=(99, 0))), BufferError, "device kind 99"),
        (lambda: md.from_dlpack(np.ones(2), device="cuda"), ValueError, 'device must be "cpu"'),
        (lambda: md.from_dlpack(np.ones(2, complex)), TypeError, "complex128"),
        (
            lambda: md.from_dlpack(Elsewhere(error=RuntimeError("Unsupported dtype in DLTensor."))),
            TypeError,
            "of a dtype, which cannot be shared",
            "float32",
        ),
        (
            lambda: md.from_dlpack(
                Elsewhere(
                    error=BufferError("Can't export tensors that require gradient"),
                    requires_grad=True,
                )
            ),
            TypeError,
            "detach() it first",
        ),
        (
            lambda: md.from_dlpack(Elsewhere(error=BufferError("upgrade the driver"))),
            BufferError,
            "Elsewhere that cannot be shared: upgrade the driver",
        ),
        (
            lambda: md.from_dlpack(Elsewhere(error=BufferError("it is sparse"))),
            BufferError,
            "Elsewhere that cannot be shared: it is sparse",
        ),
        (lambda: md.from_dlpack(np.ones((2, 3)).T, copy=False), BufferError, "not C-contiguous"),
        (lambda: md.from_dlpack(np.ones(2), copy="yes"), TypeError, "copy"),
        (lambda: md.ones(2).__dlpack__(stream=1), ValueError, "stream must be None"),
        (lambda: md.ones(2).__dlpack__(dl_device=(2, 0)), BufferError, "dl_device must be (1, 0)"),
    ]
)

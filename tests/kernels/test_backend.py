"""These tests check that use_backend uses the twins inside of its block, and the native kernels
after it, however the block ends.
"""

import threading

import numpy as np
import pytest

import minidl as md
from minidl import kernels
from minidl.kernels.reference.conv import direct_forward as twin_conv
from minidl.kernels.reference.elementwise import arithmetic as twin_elementwise
from minidl_ext.conv import direct_forward as native_conv
from minidl_ext.elementwise import arithmetic as native_elementwise


def in_use():
    """Return the backend whose functions the table holds, which must be the same for all."""
    found = {
        kernels.conv.__module__.removesuffix(".conv.direct_forward"),
        kernels.exp.__module__.removesuffix(".elementwise.arithmetic"),
    }
    assert len(found) == 1
    return {"minidl_ext": "native", "minidl.kernels.reference": "numpy"}[found.pop()]


def test_native_is_the_default():
    assert kernels.backend() == "native" == in_use()
    assert kernels.conv is native_conv.conv
    assert kernels.exp is native_elementwise.exp


def test_the_twins_in_the_block():
    with kernels.use_backend("numpy"):
        assert kernels.backend() == "numpy" == in_use()
        assert kernels.conv is twin_conv.conv
        assert kernels.exp is twin_elementwise.exp
        for names in kernels.FAMILIES.values():
            for name in names:
                assert getattr(kernels, name).__module__.startswith("minidl.kernels.reference.")
    assert kernels.backend() == "native" == in_use()


def test_blocks_nest():
    with kernels.use_backend("numpy"):
        with kernels.use_backend("native"):
            assert kernels.backend() == "native" == in_use()
        assert kernels.backend() == "numpy" == in_use()
        with kernels.use_backend("numpy"):
            assert in_use() == "numpy"
        assert in_use() == "numpy"
    assert kernels.backend() == "native" == in_use()


def test_an_exception_ends_the_block():
    with pytest.raises(ZeroDivisionError), kernels.use_backend("numpy"):
        1 / 0  # noqa: B018
    assert kernels.backend() == "native" == in_use()


def test_it_decorates():
    @kernels.use_backend("numpy")
    def inside():
        return kernels.backend(), in_use()

    for _ in range(2):
        assert inside() == ("numpy", "numpy")
        assert kernels.backend() == "native" == in_use()


@pytest.mark.parametrize("name", ("torch", "NumPy", "", None, 3, ["numpy"]))
def test_unknown_backends(name):
    with (
        pytest.raises((ValueError, TypeError), match=r"use_backend|unhashable"),
        kernels.use_backend(name),
    ):
        pass
    assert kernels.backend() == "native" == in_use()


def test_it_is_public():
    assert md.use_backend is kernels.use_backend


def test_it_holds_for_every_thread():
    seen = []
    with kernels.use_backend("numpy"):
        thread = threading.Thread(target=lambda: seen.append(in_use()))
        thread.start()
        thread.join()
    assert seen == ["numpy"]


def test_operations_run_on_it(monkeypatch):
    calls = []

    def spy(*args, **options):
        calls.append(args[0].shape)
        return conv(*args, **options)

    conv = twin_conv.conv
    monkeypatch.setattr(twin_conv, "conv", spy)
    x = md.tensor(np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32))
    w = md.tensor(np.random.default_rng(1).standard_normal((3, 3, 3, 4)).astype(np.float32))
    native = md.conv(x, w, padding=1).numpy()
    assert calls == []
    with md.use_backend("numpy"):
        twin = md.conv(x, w, padding=1).numpy()
    assert calls == [x.shape]
    np.testing.assert_allclose(native, twin, rtol=1e-4, atol=1e-5)

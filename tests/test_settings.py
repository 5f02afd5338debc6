"""These tests check threads, backends, versions, memory that is kept for reuse, and what an import
of minidl loads.
"""

import gc
import os
import sys
import types

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.cases import errors_of
from tests.support.errors import refuses
from tests.support.processes import python
from tests.support.threads import threads


@pytest.mark.parametrize("n", [1, 2, 3, 7, 1024, np.int64(5), np.uint8(4)])
def test_exactly_as_many_threads_as_asked_for(n):
    with threads(n):
        assert md.get_num_threads() == n
        assert isinstance(md.get_num_threads(), int)


test_errors = errors_of(
    [
        *(
            (
                lambda n=n: md.set_num_threads(n),
                ValueError,
                "set_num_threads: n must be an int from 1 to",
                str(n),
            )
            for n in (0, -1, 1025, -(2**31))
        ),
        *(
            (
                lambda n=n: md.set_num_threads(n),
                TypeError,
                "set_num_threads: n must be an int from 1 to",
                repr(n),
            )
            for n in (2.0, "2", None, True, [2])
        ),
        *(
            (
                lambda n=n: md.set_num_threads(n),
                ValueError,
                "set_num_threads: n must be an int from 1",
            )
            for n in (2**40, -(2**70))
        ),
    ]
)


def test_a_refused_setting_changes_nothing():
    before = md.get_num_threads()
    with refuses(ValueError, "set_num_threads"):
        md.set_num_threads(0)
    assert md.get_num_threads() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_computes_on_one_thread():
    """It must not wait for threads that did not survive the fork."""
    code = """
import os
import numpy as np
import minidl as md
md.set_num_threads(3)
x = md.ones(200_000)
(x * 2).sum()
pid = os.fork()
if pid == 0:
    ok = md.get_num_threads() == 1 and (x * 2).sum().item() == 400_000
    os._exit(0 if ok else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), md.get_num_threads())
"""
    assert python(code).stdout.split() == ["0", "3"]


# -------------------------------------------------------------------------------- backends


def test_backends_nest_and_end_with_exceptions():
    names = [md.kernels.backend()]
    with md.use_backend("numpy"):
        names.append(md.kernels.backend())
        with md.use_backend("native"):
            names.append(md.kernels.backend())
        with pytest.raises(ZeroDivisionError), md.use_backend("native"):
            raise ZeroDivisionError
        names.append(md.kernels.backend())
    names.append(md.kernels.backend())
    assert names == ["native", "numpy", "native", "numpy", "native"]


def test_backends_swap_every_kernel():
    native = {
        name: getattr(md.kernels, name) for names in md.kernels.FAMILIES.values() for name in names
    }
    with md.use_backend("numpy"):
        for name, function in native.items():
            twin = getattr(md.kernels, name)
            assert twin is not function, name
            assert isinstance(twin, types.FunctionType), name
            assert twin.__module__.startswith("minidl.kernels.reference.")
    for name, function in native.items():
        assert getattr(md.kernels, name) is function


def test_a_graph_may_change_its_backend():
    x = md.tensor(uniform(3, 4), requires_grad=True)
    y = md.tanh(x @ x.T)
    with md.use_backend("numpy"):
        y.sum().backward()
    native = md.grad(md.tanh(x @ x.T).sum(), x)
    np.testing.assert_allclose(x.grad, native, rtol=1e-5)


test_backend_errors = errors_of(
    [
        (
            lambda: md.use_backend("cuda").__enter__(),
            ValueError,
            'use_backend: name must be "native"',
            "'cuda'",
        ),
        (lambda: md.kernels.nonsense, AttributeError, "has no kernel 'nonsense'"),
    ]
)


# ------------------------------------------------------------------- versions, memory, import


def test_show_versions(capsys):
    with threads(3):
        md.show_versions()
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == [*md.machine.facts(), "level"] + ["faster"] * ("faster" in lines)
    assert lines["minidl"] == md.__version__
    assert lines["python"].startswith(sys.version.split()[0])
    assert lines["numpy"] == np.__version__
    assert lines["kernels"] == f"{md.kernels.isa}, backend native"
    assert lines["level"].startswith(f"{md.kernels.isa}, ")
    assert md.kernels.openmp != lines["openmp"].startswith("no:")
    assert lines["threads"].startswith("3, ")
    assert lines["cpu"] == md.machine.cpu()


def test_empty_cache():
    gc.collect()  # frees what other tests left
    md.empty_cache()
    in_use, kept = md.kernels.pool_bytes()
    assert kept == 0
    x = md.ones(100_000) * 2
    assert md.kernels.pool_bytes()[0] >= in_use + 400_000
    assert md.kernels.pool_bytes()[1] == 0
    del x
    assert md.kernels.pool_bytes()[0] == in_use
    assert md.kernels.pool_bytes()[1] >= 400_000
    y = md.ones(100_000) * 3
    assert md.kernels.pool_bytes()[1] == 0
    array = y.data[1:]
    del y
    md.empty_cache()
    assert (array == 3).all()  # memory in use is kept


def test_import_is_light():
    """Nothing heavy is loaded before it is needed."""
    code = (
        "import sys, minidl; print([m for m in ('torch', 'matplotlib', 'pooch', 'tqdm', "
        "'safetensors', 'scipy', 'requests', 'Cython', 'pytest', 'asyncio') "
        "if m in sys.modules])"
    )
    assert python(code).stdout.strip() == "[]"


def test_waiting_threads_sleep_soon_unless_the_user_says_how():
    code = "import os, minidl; print('GOMP_SPINCOUNT' in os.environ)"
    done = python(code, OMP_DISPLAY_ENV="verbose")
    assert done.stdout.strip() == "False"  # processes that this one starts later are not affected
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("another OpenMP than GNU's")
    assert "GOMP_SPINCOUNT = '10000'" in done.stderr
    for name, value in (("GOMP_SPINCOUNT", "77"), ("OMP_WAIT_POLICY", "active")):
        done = python(code, OMP_DISPLAY_ENV="verbose", **{name: value})
        assert "GOMP_SPINCOUNT = '10000'" not in done.stderr


def test_import_prints_nothing_and_warns_of_nothing():
    done = python("import minidl", "-W", "error")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_everything_public_is_there_and_documented():
    for name in md.__all__:
        value = getattr(md, name)
        if callable(value):
            assert value.__doc__, name
    assert len(set(md.__all__)) == len(md.__all__)
    assert set(dir(md)) >= set(md.__all__)
    assert md.__version__.count(".") == 2

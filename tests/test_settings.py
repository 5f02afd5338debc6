"""Threads, backends, versions, memory kept for reuse, and what importing minidl loads."""

import gc
import os
import sys
import types

import numpy as np
import pytest

import minidl as md
from minidl import settings
from tests.harness import errors_of, python, refuses, threads, uniform

THREADS = "import minidl; print(minidl.get_num_threads())"


@pytest.mark.parametrize("value, right", [("1", 1), ("3", 3), ("4,2", 4), (" 5 ", 5),
                                          ("5000", 1024)])
def test_threads_from_the_environment(value, right):
    assert python(THREADS, OMP_NUM_THREADS=value).stdout.strip() == str(right)


@pytest.mark.parametrize("value", ["", "0", "-2", "many", "2.5", "²"])
def test_other_values_count_as_unset(value, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    default = settings.default_threads()
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert settings.default_threads() == default


@pytest.mark.parametrize("cpus, quota, right", [
    (8, None, 8), (8, 2, 2), (1, 4, 1), (4000, None, 1024), (8, 1, 1)])
def test_threads_from_the_machine(cpus, quota, right, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cpus)), raising=False)
    monkeypatch.setattr(settings, "_cgroup_limit", lambda: quota)
    assert settings.default_threads() == right


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
                    reason="needs an affinity to set, and two CPUs")
def test_threads_from_the_affinity_of_the_process():
    """One CPU, one thread, where two would be the default; OMP_NUM_THREADS comes first."""
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); " + THREADS
    assert python(code).stdout.strip() == "1"
    assert python(code, OMP_NUM_THREADS="3").stdout.strip() == "3"


@pytest.mark.parametrize("files, right", [
    ({"cpu.max": "150000 100000\n"}, 2), ({"cpu.max": "100000 100000"}, 1),
    ({"cpu.max": "max 100000\n"}, None), ({"cpu.max": "10000 100000"}, 1),
    ({"cpu.max": "nonsense"}, None), ({}, None),
    ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "0\n"}, None),
], ids=str)
def test_the_quota_of_a_control_group(files, right, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    real = settings.Path
    monkeypatch.setattr(settings, "Path", lambda p: real(str(p).replace(
        "/sys/fs/cgroup", str(tmp_path))))
    assert settings._cgroup_limit() == right


@pytest.mark.parametrize("n", [1, 2, 3, 7, 1024, np.int64(5), np.uint8(4)])
def test_exactly_as_many_threads_as_asked_for(n):
    with threads(n):
        assert md.get_num_threads() == n
        assert isinstance(md.get_num_threads(), int)


test_errors = errors_of([
    *((lambda n=n: md.set_num_threads(n), ValueError, "set_num_threads: n must be between 1 and",
       str(n)) for n in (0, -1, 1025, -2**31)),
    *((lambda n=n: md.set_num_threads(n), TypeError, "set_num_threads: n must be an integer",
       repr(n)) for n in (2.0, "2", None, True, [2])),
    *((lambda n=n: md.set_num_threads(n), ValueError, "set_num_threads: n must be between")
      for n in (2**40, -(2**70))),
])


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
    native = {name: getattr(md.kernels, name) for names in md.kernels.FAMILIES.values()
              for name in names}
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


test_backend_errors = errors_of([
    (lambda: md.use_backend("cuda").__enter__(), ValueError, 'use_backend: name must be "native"',
     "'cuda'"),
    (lambda: md.kernels.nonsense, AttributeError, "has no kernel 'nonsense'"),
])


# ------------------------------------------------------------------- versions, memory, import


def test_show_versions(capsys):
    with threads(3):
        md.show_versions()
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == ["minidl", "python", "numpy", "kernels", "openmp", "threads"]
    assert lines["minidl"] == md.__version__
    assert lines["python"].startswith(sys.version.split()[0])
    assert lines["numpy"] == np.__version__
    assert lines["kernels"] == f"{md.kernels.isa}, backend native"
    assert lines["openmp"].startswith("yes" if md.kernels.openmp else "no")
    assert lines["threads"].startswith("3 of ")


def test_empty_cache():
    gc.collect()                                # what other tests left
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
    assert (array == 3).all()                   # what is in use stays


def test_import_is_light():
    """Nothing heavy is loaded before it is needed."""
    code = ("import sys, minidl; print([m for m in ('torch', 'matplotlib', 'pooch', 'tqdm', "
            "'safetensors', 'scipy', 'requests', 'Cython', 'pytest', 'asyncio') "
            "if m in sys.modules])")
    assert python(code).stdout.strip() == "[]"


def test_waiting_threads_sleep_soon_unless_the_user_says_how():
    code = "import os, minidl; print('GOMP_SPINCOUNT' in os.environ)"
    done = python(code, OMP_DISPLAY_ENV="verbose")
    assert done.stdout.strip() == "False"       # what the process starts later is not told
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

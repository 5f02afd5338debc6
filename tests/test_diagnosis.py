"""These tests check what is said about the kernels that run, and about what would make them
faster.
"""

import os

import pytest

import minidl as md
from minidl import cpus, diagnosis, kernels
from tests.support.processes import printed
from tests.support.threads import threads


def plain(monkeypatch, **values):
    """Return an installation at its best on a machine of two CPUs, except for `values`. No number
    of threads was set.
    """
    settings = {
        "isa": "v4",
        "asked_isa": "",
        "built": ("v2", "v3", "v4"),
        "supported": ("base", "v2", "v3", "v4"),
        "openmp": True,
        "debug": False,
        "get_num_threads": lambda: 2,
        "thread_count": lambda: 2,
        "forked": lambda: False,
    }
    for name, value in (settings | values).items():
        monkeypatch.setattr(kernels, name, value)
    monkeypatch.setattr(cpus, "threads_were_set", False)
    monkeypatch.setattr(diagnosis, "available_cpus", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_nothing_to_advise(monkeypatch):
    plain(monkeypatch)
    assert diagnosis.advice() == []
    assert diagnosis.level() == (
        "v4, the best that is built and that this CPU runs (built: v2, "
        "v3, v4; this CPU runs: base, v2, v3, v4)"
    )
    assert diagnosis.thread_count() == "2, one for each CPU that this process may use"


@pytest.mark.parametrize(
    "values, words",
    [
        ({"isa": "v3", "built": ("v3",)}, ["runs v4", "not built", "MINIDL_BUILD_ISA"]),
        ({"isa": "v3", "asked_isa": "v3"}, ["runs v4", "unset MINIDL_ISA"]),
        ({"debug": True}, ["debug build", "MINIDL_DEBUG"]),
        ({"openmp": False}, ["without OpenMP"]),
        ({"get_num_threads": lambda: 1}, ["1 of the 2 CPUs", "set_num_threads"]),
        ({"get_num_threads": lambda: 9}, ["9 threads share 2 CPUs", "set_num_threads(2)"]),
        ({"thread_count": lambda: 1}, ["other processes", "1 of 2 threads"]),
        (
            {"get_num_threads": lambda: 1, "thread_count": lambda: 1, "forked": lambda: True},
            ["spawn"],
        ),
    ],
    ids=lambda value: str(list(value)),
)
def test_one_thing_that_makes_kernels_slower_is_one_sentence(monkeypatch, values, words):
    plain(monkeypatch, **values)
    (said,) = diagnosis.advice()
    assert all(word in said for word in words), said


def test_a_level_that_was_asked_for(monkeypatch):
    plain(monkeypatch, isa="v3", asked_isa="v3", debug=True)
    said = diagnosis.level()
    assert said.startswith("v3, MINIDL_ISA=v3 asks for it (built: v2, v3, v4, a debug build;")


def test_fewer_threads_by_the_environment(monkeypatch):
    plain(monkeypatch, get_num_threads=lambda: 1, thread_count=lambda: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert diagnosis.thread_count() == "1, as OMP_NUM_THREADS says"
    assert "unset OMP_NUM_THREADS" in diagnosis.advice()[0]


def test_threads_that_were_set():
    n = os.cpu_count() + 5
    with threads(n):
        assert diagnosis.thread_count() == f"{n}, as set_num_threads was told"
        assert any(f"{n} threads share" in said for said in diagnosis.advice())


@pytest.mark.parametrize("environment", ["", "2"])
def test_threads_that_were_set_to_what_was_there(monkeypatch, environment):
    monkeypatch.setattr(cpus, "threads_were_set", False)
    monkeypatch.setattr(diagnosis, "available_cpus", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", environment)
    with threads(2):
        assert diagnosis.thread_count() == "2, as set_num_threads was told"


def test_twins_are_slow():
    with md.use_backend("numpy"):
        assert any("use_backend" in said for said in diagnosis.advice())


@pytest.mark.skipif(not kernels.openmp, reason="built without OpenMP")
def test_the_file_of_openmp_is_the_one_that_kernels_were_linked_to():
    own = kernels.library_at(kernels.openmp_address())
    if not own:
        pytest.skip("the system does not tell what is loaded")
    assert own in kernels.openmp_libraries()
    assert diagnosis.openmp().split(" (")[0] == own


def test_without_openmp(monkeypatch):
    plain(monkeypatch, openmp=False)
    assert diagnosis.openmp() == "no: kernels run on one thread"


def test_another_openmp_is_named(monkeypatch):
    plain(
        monkeypatch,
        openmp_libraries=lambda: {"/a/libgomp.so.1", "/b/libomp.so"},
        library_at=lambda address: "/a/libgomp.so.1",
    )
    assert diagnosis.openmp() == "/a/libgomp.so.1 (also loaded: /b/libomp.so)"


def test_an_address_where_nothing_is():
    assert kernels.library_at(0) == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_says_why_it_has_one_thread():
    said = printed("""
        import os
        import minidl as md
        from minidl import diagnosis
        md.set_num_threads(3)
        if os.fork() == 0:
            print(diagnosis.thread_count().replace(" ", "_"), flush=True)
            os._exit(0)
        os.wait()
        print(diagnosis.thread_count().split(",")[0])
    """)
    assert "forked_child" in said[0] and said[1] == "3"

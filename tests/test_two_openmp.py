"""These tests run kernels beside another OpenMP runtime in the process, which is the one in
scikit-learn's wheel.

Both runtimes have their own threads. Each program runs in a process of its own, in which
scikit-learn is imported before or after minidl.
"""

import os
from pathlib import Path

import pytest

import minidl_ext
from tests.support.processes import printed

pytest.importorskip("sklearn")
pytestmark = pytest.mark.skipif(
    not minidl_ext.OPENMP or not Path("/proc/self/maps").exists(),
    reason="needs OpenMP, and a system that tells what is loaded",
)

OURS = """import minidl as md
from minidl_ext.elementwise import arithmetic as elementwise
from minidl_ext.gemm import matmul
from minidl_ext.runtime import threads"""
THEIRS = "from sklearn.metrics import pairwise_distances_argmin"
ORDERS = {"before": f"{THEIRS}\n{OURS}", "after": f"{OURS}\n{THEIRS}"}
either_order = pytest.mark.parametrize("order", ORDERS)

BEGIN = """
import os, time
import numpy as np
from minidl_ext.runtime import affinity

rng = np.random.default_rng(0)
points = rng.standard_normal((2000, 8))
x = rng.standard_normal((300, 300)).astype(np.float32)
wave = np.linspace(-1, 1, 200_000, dtype=np.float32)

def nearest():
    '''Each point's nearest is itself; scikit-learn finds that on its own threads.'''
    return bool((pairwise_distances_argmin(points, points) == np.arange(len(points))).all())
"""


def run(order, code, **variables):
    return printed(ORDERS[order] + BEGIN + code, OPENBLAS_NUM_THREADS="1", **variables)


@either_order
def test_both_compute_in_turn(order):
    said = run(
        order,
        """
md.set_num_threads(3)
alone = matmul.matmul(x, x, threads=1)
for _ in range(5):
    print(nearest(), np.array_equal(matmul.matmul(x, x, threads=3), alone),
          np.array_equal(elementwise.exp(wave), elementwise.exp(wave, threads=1)))
print(md.get_num_threads())
""",
    )
    assert said == ["True"] * 15 + ["3"]


@either_order
def test_the_kernels_keep_to_one_runtime(order):
    """threads.pyx asks the runtime that the families run on: as many threads start as are
    requested.
    """
    said = run(
        order,
        """
def started():
    return len(os.listdir("/proc/self/task"))
nearest()
before = started()
elementwise.exp(wave, threads=3)
print(started() - before)
own = affinity.library_at(threads.openmp_address())
print(own in affinity.loaded_libraries())
""",
    )
    assert said == ["2", "True"]


@either_order
def test_threads_give_way_and_the_other_runtime_goes_on(order):
    """Two threads on one CPU become one, and ours end. Those of scikit-learn still work."""
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("needs Linux's count of the time that threads wait for a CPU")
    said = run(
        order,
        """
md.set_num_threads(2)
print(nearest())
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
expected = elementwise.exp(wave, threads=1)
end = time.monotonic() + 60
while threads.thread_count() > 1 and time.monotonic() < end:
    for _ in range(20):
        elementwise.exp(wave)
print(threads.thread_count() == 1 or time.monotonic() < end, nearest(),
      np.array_equal(elementwise.exp(wave), expected))
""",
    )
    assert said == ["True"] * 4


@either_order
@pytest.mark.parametrize(
    "variables",
    [{}, {"OMP_NUM_THREADS": "3"}, {"OMP_PROC_BIND": "true"}, {"OMP_PLACES": "cores"}],
    ids=str,
)
def test_the_number_of_threads_is_what_it_is_alone(order, variables):
    code = "print(md.get_num_threads())"
    assert run(order, code, **variables) == printed(f"{OURS}\n{code}", **variables)


@either_order
def test_versions_name_the_runtime_in_use(order):
    said = run(order, "md.show_versions()")
    line = said[said.index("openmp") + 1]
    assert "omp" in os.path.basename(line)

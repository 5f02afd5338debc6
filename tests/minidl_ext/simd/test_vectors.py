"""These tests check what compilers make of UNFUSED_BEGIN and UNFUSED_END, with the options that the
build uses.

A few functions of headers are compiled for AVX2 with FMA, and their instructions are counted.
"""

import re
import runpy
import shutil
import subprocess
import sysconfig
from types import SimpleNamespace

import pytest

from tests.support.processes import ROOT

NAMES = ("g++", "clang++", *(f"clang++-{version}" for version in range(12, 40)))
COMPILERS = [name for name in NAMES if shutil.which(name)]
FUSED_INSTRUCTION = re.compile(r"\bvfn?m(?:add|sub|addsub|subadd)\d")

# Headers that are unfused come first, since what follows them must still be fused.
HEADERS = """
#include "elementwise/curves.h"
#include "norm/normalize.h"
#include "conv/depthwise.h"
"""
UNFUSED = """
void f1(const float *x, const float *r, float *y, const float *factors, ptrdiff_t n) {
    apply_rows(x, r, 1, y, n, n, n, factors, 0);
}
void f2(const double *dy, const double *x, const double *r, double *dx, const double *factors,
        const double *slope, ptrdiff_t n) {
    backward_rows(dy, x, 1, r, dx, n, n, n, factors, slope, slope, 0);
}
void f3(double *mean, double *m2, const double *other, ptrdiff_t n) {
    merge_stats(mean, m2, 2.0, other, other, 3.0, n);
}
double f4(double squares, double off) { return centred(squares, off, 3.0); }
UNFUSED_BEGIN
void f5(const float *dy, const float *x, float *y, const float *factors, ptrdiff_t n) {
    one_curve_rows<LEAKY_RELU, true>(dy, x, y, n, n, factors, 0.1f, 0.0f);
}
UNFUSED_END
"""
FUSED = """
void f(const float *x, const float *w, const ptrdiff_t *at, float *y, ptrdiff_t n) {
    depthwise_span(x, at, n, w, at, 9, y, n, n, n);
}
"""

pytestmark = pytest.mark.skipif(
    sysconfig.get_platform() != "linux-x86_64", reason="reads instructions of x86-64"
)


@pytest.fixture(scope="module", params=COMPILERS)
def count(request):
    """Return the number of fused operations in what one compiler makes of functions, at level
    v3.
    """
    setup = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")
    compiler = SimpleNamespace(
        compiler_type="unix",
        compiler_so=[request.param],
        include_dirs=[sysconfig.get_path("include")],
    )
    tools = setup["Toolchain"](compiler)
    flags = [*tools.common, *tools.fused, *tools.levels["v3"]]

    def count(functions):
        command = [request.param, "-x", "c++", "-", "-S", "-o", "-", *flags, "-Iminidl_ext"]
        done = subprocess.run(
            command, input=HEADERS + functions, capture_output=True, text=True, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        assert "unknown pragma" not in done.stderr and "ignored" not in done.stderr
        return len(FUSED_INSTRUCTION.findall(done.stdout))

    return count


def test_nothing_is_fused_between_the_two(count):
    assert count(UNFUSED) == 0


def test_what_follows_is_fused_again(count):
    # The sums of two pixels and of one, by 4, 2 and 1 vectors of channels.
    assert count(FUSED) >= 21

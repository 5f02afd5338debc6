"""These tests check the default number of threads: the environment, the affinity, the quota of the
control group.
"""

import os
import re
import subprocess

import pytest

import minidl_ext
from minidl import cpus, kernels
from minidl_ext.runtime import affinity, cpu
from tests.support.processes import python

THREADS = "import minidl; print(minidl.get_num_threads())"
ALL = len(kernels.affinity() or ())
two_cpus = pytest.mark.skipif(ALL < 2, reason="needs an affinity to set, and two CPUs")


@pytest.mark.parametrize(
    "value, expected", [("1", 1), ("3", 3), ("4,2", 4), (" 5 ", 5), ("7 , 2", 7), ("1024", 1024)]
)
def test_threads_from_the_environment(value, expected):
    done = python(THREADS, "-W", "error", OMP_NUM_THREADS=value)
    assert done.stdout.strip() == str(expected), done.stderr


@pytest.mark.parametrize(
    "value", ["0", "-2", "many", "2.5", "²", "0x4", ",2", "1025", "9" * 20, "9" * 5000]
)
def test_other_values_are_warned_of_and_count_as_unset(value, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    monkeypatch.setattr(cpus, "available_cpus", lambda: 6)
    with pytest.warns(RuntimeWarning) as caught:
        assert cpus.default_threads() == 6
    message = str(caught[0].message)
    assert value[:40] in message
    assert "from 1 to 1024; minidl uses 6" in message
    assert len(message) < 200


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_value_is_none(value, monkeypatch, recwarn):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    monkeypatch.setattr(cpus, "available_cpus", lambda: 6)
    assert cpus.default_threads() == 6
    assert not recwarn.list


@pytest.mark.parametrize(
    "cpu_count, quotas, expected",
    [(8, [], 8), (8, [2], 2), (1, [4], 1), (4000, [], 1024), (8, [1], 1), (8, [5, 3, 20], 3)],
)
def test_threads_from_the_machine(cpu_count, quotas, expected, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(kernels, "affinity", lambda: set(range(cpu_count)))
    monkeypatch.setattr(cpus, "_quotas", lambda: quotas)
    assert cpus.default_threads() == expected


def test_a_system_without_affinity(monkeypatch):
    monkeypatch.setattr(kernels, "affinity", lambda: None)
    monkeypatch.setattr(cpus, "_quotas", lambda: [])
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert cpus.available_cpus() == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpus.available_cpus() == 1


# -------------------------------------------------------------------------------- affinity


@two_cpus
def test_threads_from_the_affinity_of_the_process():
    """With one CPU there is one thread instead of the default two. OMP_NUM_THREADS takes
    precedence.
    """
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); " + THREADS
    assert python(code).stdout.strip() == "1"
    assert python(code, OMP_NUM_THREADS="3").stdout.strip() == "3"
    assert python(code, OMP_PROC_BIND="true").stdout.strip() == "1"


BINDINGS = [
    ({"OMP_PROC_BIND": "true"}, None),
    ({"OMP_PROC_BIND": "close"}, None),
    ({"OMP_PROC_BIND": "spread"}, None),
    ({"OMP_PROC_BIND": "false"}, None),
    ({"OMP_PLACES": "cores"}, None),
    ({"OMP_PLACES": "{FIRST}"}, 1),
    ({"OMP_PLACES": "{FIRST,SECOND}"}, 2),
    ({"OMP_PLACES": "{FIRST},{FIRST,SECOND}"}, 2),
    ({"GOMP_CPU_AFFINITY": "FIRST SECOND"}, 2),
    ({"GOMP_CPU_AFFINITY": "SECOND"}, 1),
]


def filled(variables):
    """Fill numbers of CPUs that this process may use into environment variables."""
    first, second = sorted(kernels.affinity())[:2]
    return {
        name: value.replace("FIRST", str(first)).replace("SECOND", str(second))
        for name, value in variables.items()
    }


@two_cpus
@pytest.mark.skipif(not minidl_ext.OPENMP, reason="built without OpenMP")
@pytest.mark.parametrize("variables, expected", BINDINGS, ids=str)
def test_threads_where_openmp_binds_them(variables, expected):
    """All CPUs that OpenMP's threads may use count, although the main thread is bound to one."""
    done = python(THREADS, **filled(variables))
    assert done.stdout.strip() == str(expected or cpus.available_cpus()), done.stderr


@pytest.fixture(scope="module")
def second_openmp(tmp_path_factory):
    """Copy GNU OpenMP under another name, as the wheels of other packages do."""
    name = b"libgomp.so.1"
    found = subprocess.run(
        ["gcc", f"-print-file-name={name.decode()}"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if not os.path.isabs(found):
        pytest.skip("needs GCC's OpenMP library")
    copy = tmp_path_factory.mktemp("libraries") / "libgomp.so.9"
    with open(found, "rb") as file:
        copy.write_bytes(file.read().replace(name, copy.name.encode()))
    return copy


@two_cpus
@pytest.mark.skipif(not minidl_ext.OPENMP, reason="built without OpenMP")
@pytest.mark.parametrize("variables, places", BINDINGS, ids=str)
def test_another_openmp_that_bound_the_thread_first(variables, places, second_openmp):
    """Ours still uses all CPUs, and the main thread is again where the other one has put it."""
    code = f"""
import ctypes, os
library = ctypes.CDLL({str(second_openmp)!r})
library.omp_get_num_procs()
before = os.sched_getaffinity(0)
import minidl as md
from minidl_ext.runtime import affinity
from minidl_ext.runtime import threads
assert os.sched_getaffinity(0) == before
own = ctypes.CDLL(threads.__file__)
places = own.omp_get_num_places()
print(md.get_num_threads(), sum(map(own.omp_get_place_num_procs, range(places))) >= 2)
"""
    done = python(code, **filled(variables))
    expected = places or cpus.available_cpus()
    binds = variables != {"OMP_PROC_BIND": "false"}
    assert done.stdout.split() == [str(expected), str(expected > 1 and binds)], done.stderr


def test_libraries_that_cannot_be_asked_have_no_places(tmp_path):
    (tmp_path / "libgomp.so.1").write_text("not a library")
    assert affinity._places(str(tmp_path / "libgomp.so.1")) == set()
    assert affinity._places(f"{tmp_path}/libgomp.so.1 (deleted)") == set()
    assert affinity._places(cpu.__file__) == set()  # there is no OpenMP library at all


@pytest.mark.parametrize(
    "line, found",
    [
        ("7f0-7f1 r-xp 0 08:01 12 /usr/lib/libgomp.so.1.0.0", True),
        ("7f0-7f1 r-xp 0 08:01 12 /a b/scikit_learn.libs/libgomp-d22c30c5.so.1.0.0", True),
        ("7f0-7f1 r-xp 0 08:01 12 /usr/lib/libiomp5.so", True),
        ("7f0-7f1 r-xp 0 08:01 12 /usr/lib/libomp.so.5", True),
        ("7f0-7f1 r-xp 0 08:01 12 /usr/lib/libompl.so.5", False),
        ("7f0-7f1 r-xp 0 08:01 12 /libgomp.so.1/other.py", False),
        ("7f0-7f1 rw-p 0 00:00 0", False),
    ],
)
def test_which_mapped_files_are_openmp_libraries(line, found):
    paths = re.findall(affinity.LIBRARY, f"{line}\n7f2-7f3 rw-p 0 00:00 0\n", re.MULTILINE)
    assert paths == [line[line.find("/") :]] * found


# ---------------------------------------------------------------------------- control groups

MOUNT_2 = "35 24 0:30 / GROUPS/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNT_1 = (
    "36 24 0:31 / GROUPS/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "37 24 0:32 / GROUPS/memory rw - cgroup cgroup rw,memory\n"
)
BELOW_1 = "36 24 0:31 /docker/ab GROUPS/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
OWN_2 = "0::/user/session\n"
OWN_1 = "9:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n"


def version_1(group, quota, period=100000):
    return {
        f"cpu,cpuacct{group}/cpu.cfs_quota_us": f"{quota}\n",
        f"cpu,cpuacct{group}/cpu.cfs_period_us": f"{period}\n",
    }


@pytest.mark.parametrize(
    "groups, mounts, files, expected",
    [
        # version 2: the group itself, those above it, and the root that a container sees
        (OWN_2, MOUNT_2, {"unified/user/session/cpu.max": "150000 100000\n"}, [2]),
        (
            OWN_2,
            MOUNT_2,
            {
                "unified/user/session/cpu.max": "max 100000\n",
                "unified/user/cpu.max": "100000 100000\n",
            },
            [1],
        ),
        (
            OWN_2,
            MOUNT_2,
            {
                "unified/user/session/cpu.max": "400000 100000\n",
                "unified/user/cpu.max": "250000 100000\n",
            },
            [4, 3],
        ),
        (OWN_2, MOUNT_2, {"unified/cpu.max": "10000 100000"}, [1]),
        ("0::/\n", MOUNT_2, {"unified/cpu.max": "700000 100000"}, [7]),
        (OWN_2, MOUNT_2, {"unified/another/cpu.max": "100000 100000\n"}, []),
        (OWN_2, MOUNT_2, {"unified/cpu.max": "nonsense"}, []),
        (OWN_2, MOUNT_2, {"unified/cpu.max": "0 0"}, []),
        (OWN_2, MOUNT_2, {}, []),
        # version 1
        (OWN_1, MOUNT_1, version_1("/docker/ab", 250000), [3]),
        (OWN_1, MOUNT_1, version_1("/docker/ab", -1) | version_1("/docker", 50000), [1]),
        (OWN_1, MOUNT_1, version_1("/docker/ab", -1), []),
        (OWN_1, MOUNT_1, version_1("/docker/ab", 250000, 0), []),
        (OWN_1, BELOW_1, version_1("", 200000), [2]),
        (OWN_1.replace("/ab", "/ab/in"), BELOW_1, version_1("/in", 200000), [2]),
        (
            OWN_1.replace("/ab", "/abc"),
            BELOW_1,
            version_1("", 200000) | version_1("c", 100000),
            [2],
        ),
        # both, and neither
        (
            OWN_1 + OWN_2,
            MOUNT_1 + MOUNT_2,
            version_1("/docker", 300000) | {"unified/user/cpu.max": "200000 100000"},
            [3, 2],
        ),
        ("nonsense\n\n", "nonsense\n\n - \n", {"unified/cpu.max": "100000 100000"}, []),
        ("", "", {}, []),
    ],
)
def test_the_quotas_of_control_groups(groups, mounts, files, expected, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "cgroup").write_text(groups)
    (tmp_path / "mountinfo").write_text(mounts.replace("GROUPS", str(tmp_path)))
    real = cpus._read
    monkeypatch.setattr(cpus, "_read", lambda path: real(path.replace("/proc/self", str(tmp_path))))
    assert list(cpus._quotas()) == expected


def test_a_system_without_proc_has_no_quotas(monkeypatch):
    monkeypatch.setattr(cpus, "_read", lambda path: "")
    assert list(cpus._quotas()) == []


def test_an_unreadable_file_is_empty(tmp_path):
    assert cpus._read(str(tmp_path)) == ""
    assert cpus._read(str(tmp_path / "none")) == ""

"""The CPUs that this process may use, even where OpenMP has bound the main thread to one of them.

With OMP_PROC_BIND, OMP_PLACES or GOMP_CPU_AFFINITY, an OpenMP library binds the thread that loads
it to the first of its places. From then on the system reports that one CPU as all that the thread
may use. A second OpenMP library (packages bring copies of their own) would take it for the entire
machine, and run all its threads on it. The first library still knows all its places.
"""

import contextlib
import os
import re

BINDING = {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"}
LIBRARY = r"(/\S.*/lib(?:gomp|omp|iomp5)\b[^/]*\.so.*)$"


def cpus():
    """The numbers of the CPUs that this process may run on; None where the system hides them."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    found = os.sched_getaffinity(0)
    if BINDING & os.environ.keys():
        found = found.union(*map(_places, loaded_libraries()))
    return found


@contextlib.contextmanager
def unbound():
    """A context in which an OpenMP library that is loaded sees all CPUs of this process, even if
    another library has bound this thread."""
    all_cpus = cpus()
    bound_to = all_cpus and os.sched_getaffinity(0)
    if bound_to != all_cpus:
        _set_affinity(all_cpus)
    try:
        yield
    finally:
        if bound_to != all_cpus:
            _set_affinity(bound_to)


def _set_affinity(numbers):
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.sched_setaffinity(0, numbers)


def loaded_libraries():
    """The paths of the OpenMP libraries in this process; none where there is no /proc."""
    return set(re.findall(LIBRARY, _maps(), re.MULTILINE))


def library_at(address):
    """The path of the file that is mapped at an address, or "" where there is no /proc."""
    for first, end, path in re.findall(r"^(\w+)-(\w+) (?:\S+ +){4}(/.*)$", _maps(), re.MULTILINE):
        if int(first, 16) <= address < int(end, 16):
            return path
    return ""


def _maps():
    """The text of /proc/self/maps, which lists what is mapped where; "" where there is none."""
    try:
        with open("/proc/self/maps", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _places(path):
    """The CPUs in the places of a loaded OpenMP library; none if it does not bind threads."""
    try:
        import ctypes

        library = ctypes.CDLL(path, os.RTLD_NOW | os.RTLD_NOLOAD)
        count, number_in = library.omp_get_num_places, library.omp_get_place_num_procs
        fill = library.omp_get_place_proc_ids
    except (ImportError, OSError, AttributeError):  # a file removed, or older than OpenMP 4.5
        return set()
    found = set()
    for place in range(count()):
        numbers = (ctypes.c_int * number_in(place))()
        fill(place, numbers)
        found.update(numbers)
    return found

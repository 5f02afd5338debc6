"""This module starts other interpreters, with settings of their own, with little memory, or without
rights.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


def python(code, *options, **variables):
    """Return the finished process of another interpreter, whose environment says nothing of OpenMP.

    `variables` are set in the environment, or removed from it if they are None.
    """
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))
    } | variables
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env={name: value for name, value in env.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=200,
    )


def printed(code, *options, **variables):
    """Return the words that `code` prints, run as by `python`. It must not fail."""
    done = python(code, *options, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def in_bounded_memory(code, *arguments, megabytes):
    """Run `code` in a process that may use so many megabytes more than after its imports.

    The names `md`, `np`, `os` and `sys` are imported for it, and its arguments are in `sys.argv`.
    """
    start = f"""
import os, resource, sys
import numpy as np
import minidl as md
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + ({megabytes} << 20),) * 2)
"""
    run = subprocess.run(
        [sys.executable, "-c", start + code, *map(str, arguments)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def as_nobody(folder, code):
    """Return what `code` prints in a folder, run by a user without rights. The names `md` and `os`
    are imported for it.
    """
    start = f"""
import os, sys
import minidl as md
import json, pooch, safetensors.numpy   # from places that only the superuser may read, perhaps
from minidl import atomic
os.chdir(sys.argv[1])
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
"""
    run = subprocess.run(
        [sys.executable, "-c", start + code, str(folder)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def writer(code, *arguments, **options):
    """Start a Python process that runs `code`, for which `replace_file` is imported. Its output is
    a pipe.
    """
    code = f"import os, sys, time\nfrom minidl.atomic import replace_file\n{code}"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )

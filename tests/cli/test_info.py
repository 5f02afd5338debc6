"""These tests check that `minidl info` prints what a report of a fault needs."""

import os
import subprocess
import sys

import numpy as np

import minidl as md
from minidl import data, version
from tests.support.processes import ROOT


def test_it_says_what_runs_here(minidl):
    said = minidl("info")
    assert said.code == 0 and said.err == ""
    for word in (
        version.__version__,
        np.__version__,
        "threads",
        str(md.get_num_threads()),
        f"level     {md.kernels.isa}, ",
        "this CPU runs: base",
        str(data.cache.folder()),
    ):
        assert word in said.out


def test_it_takes_no_arguments(refused):
    refused("info", "more", words=["more"])


def test_a_level_that_is_not_there_is_a_line(tmp_path):
    """The kernels are chosen when minidl is imported, before the command begins."""
    script = tmp_path / "minidl"
    script.write_text("from minidl.cli import main; raise SystemExit(main())")
    for begin in (["-m", "minidl"], [str(script)]):
        for more, lines in (({}, 1), ({"MINIDL_TRACEBACK": "1"}, 3)):
            done = subprocess.run(
                [sys.executable, *begin, "info"],
                capture_output=True,
                text=True,
                timeout=60,
                env={**os.environ, "PYTHONPATH": str(ROOT), "MINIDL_ISA": "nope", **more},
            )
            said = done.stderr.splitlines()
            assert done.returncode == 1 and done.stdout == "" and len(said) >= lines
            assert "there is no level MINIDL_ISA=nope" in said[-1]
            assert more or (len(said) == 1 and said[0].startswith("minidl: there is"))

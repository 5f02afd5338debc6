"""This module has what the tests of the command line share: a way to call it, pictures, and a run
of them.
"""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest

from minidl.cli import main
from tests.support.picture_files import coloured
from tests.support.processes import ROOT
from tests.support.runs import draw_nothing
from tests.support.threads import threads


@dataclass
class Said:
    """The outcome of a call: its exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def last(self):
        """Return the last line on stdout."""
        return self.out.splitlines()[-1]


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Return a folder that no test changes: it has `photos` in parts, and a run of them in
    `runs/photos`.
    """
    folder = tmp_path_factory.mktemp("shared")
    for seed, (part, count) in enumerate({"train": 20, "valid": 4, "test": 4}.items()):
        coloured(
            folder / "photos" / part, dict.fromkeys(("blue", "green", "red"), count), seed=seed
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MINIDL_CACHE", str(folder / "cache"))
        patch.delenv("MINIDL_DATA", raising=False)
        assert main(["train", "photos", "--epochs", "4", "--threads", "1"]) == 0
    return folder


@pytest.fixture
def run(shared):
    """Return a finished run, which no test changes."""
    return shared / "runs" / "photos"


@pytest.fixture
def photos(tmp_path):
    """Return a folder of blue and of red pictures."""
    return coloured(tmp_path / "photos", {"blue": 12, "red": 12})


@pytest.fixture(autouse=True)
def place(tmp_path, shared, monkeypatch):
    """Make an empty folder the current one. The cache is that of the tests, and the data sets are
    those of the package.
    """
    draw_nothing(monkeypatch)  # it is enough to draw once, for `shared`
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIDL_CACHE", str(shared / "cache"))
    monkeypatch.delenv("MINIDL_DATA", raising=False)
    with threads(1):
        yield tmp_path


@pytest.fixture
def minidl(capsys):
    """Return a function that calls a command in this process: minidl("eval", run) -> Said."""

    def call(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture
def process():
    """Return a function that starts a command in a process of its own: process("eval", run) ->
    Popen. `variables` are set in its environment.
    """
    started = []

    def start(*arguments, variables=(), **options):
        env = {**os.environ, "PYTHONPATH": str(ROOT), **dict(variables)}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # A shell lets the programs that it runs in the background ignore Ctrl-C.
        if os.name == "posix":
            options.setdefault(
                "preexec_fn", lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
            )
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "minidl", *map(str, arguments)],
                env=env,
                **{**streams, **options},
            )
        )
        return started[-1]

    yield start
    for one in started:
        with one:  # leaving the block closes its streams and waits for it
            one.kill()


@pytest.fixture
def refused(minidl):
    """Return a function that makes a wrong call. It must end with exit code 2 and these words on
    stderr, with nothing on stdout and without a traceback.
    """

    def call(*arguments, words, code=2):
        said = minidl(*arguments)
        assert said.code == code, said
        assert said.out == ""
        assert "Traceback" not in said.err
        for word in words:
            assert word in said.err
        return said

    return call

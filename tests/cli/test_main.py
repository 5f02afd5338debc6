"""These tests check what all commands share: help, exit codes, and which output goes to which
stream.
"""

import os
import subprocess
import sys

import click
import pytest

from minidl import version
from minidl.cli import commands, main
from tests.support.processes import ROOT

SUBCOMMANDS = ("train", "eval", "predict", "bench", "summary", "export", "info", "cache")


def test_the_commands_are_those_of_the_contract():
    assert set(SUBCOMMANDS) <= set(commands.commands)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_says_what_a_command_does_and_each_option(minidl, name):
    said = minidl(name, "--help")
    assert said.code == 0 and said.err == ""
    assert said.out.startswith(f"Usage: minidl {name}")
    assert minidl(name, "-h").out == said.out
    for parameter in commands.commands[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.is_eager, parameter.name
            assert parameter.opts[0] in said.out
        else:
            assert parameter.name.upper().rstrip("S") in said.out


def test_help_of_train_names_the_options_of_the_contract(minidl):
    said = minidl("train", "--help")
    for option in (
        "--model",
        "--recipe",
        "--init",
        "--freeze",
        "--epochs",
        "--batch-size",
        "--lr",
        "--valid",
        "--seed",
        "--threads",
        "--out",
        "--resume",
        "--set",
        "--size",
    ):
        assert option in said.out


def test_help_and_version(minidl):
    said = minidl("--help")
    assert said.code == 0 and all(f"  {name} " in said.out for name in SUBCOMMANDS)
    assert minidl("--version").out.strip() == f"minidl, version {version.__version__}"


def test_wrong_calls_are_refused(refused):
    refused("fit", words=["No such command 'fit'"])
    refused("train", "mnist", "--nix", words=["No such option", "--nix", "minidl train --help"])
    refused(words=["Usage: minidl"])


@pytest.mark.parametrize("name", ["train", "eval", "predict", "bench", "summary", "export"])
def test_a_command_without_arguments_shows_its_help(refused, name):
    refused(name, words=[f"Usage: minidl {name}", "--help"])


@pytest.mark.parametrize(
    "error, code, text",
    [
        (ValueError("it is wrong"), 1, "minidl: it is wrong\n"),
        (FileNotFoundError(2, "there is none", "x.png"), 1, "minidl: there is none: 'x.png'\n"),
        (MemoryError("too much"), 1, "too much"),
        (MemoryError(), 1, "memory"),
        (RuntimeError("a fault"), 1, "RuntimeError: a fault (MINIDL_TRACEBACK=1 shows where)"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (click.UsageError("say it so"), 2, "say it so"),
    ],
)
def test_exit_codes_say_how_a_call_ended(minidl, monkeypatch, error, code, text):
    def fail(*args):
        raise error

    monkeypatch.setattr(commands.commands["info"], "callback", fail)
    said = minidl("info")
    assert said.code == code and said.out == ""
    assert text.lower() in said.err.lower() and "Traceback" not in said.err


def test_a_traceback_where_it_is_asked_for(monkeypatch):
    def fail():
        raise ValueError("it is wrong")

    monkeypatch.setattr(commands.commands["info"], "callback", fail)
    monkeypatch.setenv("MINIDL_TRACEBACK", "1")
    with pytest.raises(ValueError, match="it is wrong"):
        main(["info"])


def test_a_fault_of_ours_is_not_hidden(monkeypatch):
    def fail():
        raise KeyError("x")

    monkeypatch.setattr(commands.commands["info"], "callback", fail)
    with pytest.raises(KeyError):
        main(["info"])


def test_warnings_are_a_line_on_stderr(minidl, monkeypatch):
    def warn():
        import warnings

        warnings.warn("mind the gap", stacklevel=1)

    monkeypatch.setattr(commands.commands["info"], "callback", warn)
    said = minidl("info")
    assert said.err == "minidl: warning: mind the gap\n" and said.out == "" and said.code == 0


def test_a_process_ends_with_the_exit_code(process):
    for arguments, code in ((["--version"], 0), (["nix"], 2), (["eval", "nix"], 2)):
        running = process(*arguments)
        out, err = running.communicate()
        assert running.returncode == code
        assert (err == "") == (code == 0) and (out == "") == (code != 0)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of a shell")
def test_a_closed_pipe_gives_no_traceback(tmp_path):
    """With `| head -1`, for example, there is no traceback about the closed pipe."""
    done = subprocess.run(
        f"{sys.executable} -m minidl summary resnet56 | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices of Unix")
@pytest.mark.parametrize("buffered", [True, False])
def test_a_pipe_that_nobody_reads_gives_no_traceback(buffered):
    """The pipe is closed before anything is written. Buffered output is written only at the end."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "minidl", "cache"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait() == 1 and said == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "minidl", "cache"],
            cwd=ROOT,
            stdout=full,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1 and "No space left" in done.stderr
    assert "Exception ignored" not in done.stderr

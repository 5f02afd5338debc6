"""The command line, `minidl`: one file a subcommand, and here what they share, errors and exit
codes: 0, 1 for what failed, 2 for a wrong call, 130 for Ctrl-C."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from ..version import __version__
from .bench import bench
from .cache import cache
from .eval import evaluate
from .export import export
from .info import info
from .lab import lab
from .predict import predict
from .summary import summary
from .train import train

FAILED, INTERRUPTED = 1, 130
# What errors of the library call arguments, and what that is here.
OPTIONS = {
    "skip_broken=True": "--skip-broken",
    "size=32 or size=(24, 32)": "--size 32 or 24,32",
    "data.cache.clear()": "minidl cache clear",
    ", cache=False does without": "",
}
EXPECTED = (ValueError, TypeError, OSError, ImportError, ArithmeticError, MemoryError, RuntimeError)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="minidl")
def commands() -> None:
    """Train and run small CNNs on a CPU.

    \b
    minidl train photos                  a classifier of a folder of pictures,
                                         photos/<class>/*.jpg
    minidl predict runs/photos x.jpg     what it says of a picture
    minidl eval runs/photos              how good it is
    minidl export runs/photos x.onnx     the same for other runtimes

    Each command tells more with --help. With the shell's completion: in ~/.bashrc
    `eval "$(_MINIDL_COMPLETE=bash_source minidl)"` (zsh_source and fish_source for those shells).
    """


for command in (train, evaluate, predict, bench, summary, export, lab, info, cache):
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(given)


def _run(given: list[str]) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # of names that a terminal cannot show
    try:
        result: Any = commands.main(given, "minidl", standalone_mode=False, obj=given)
        sys.stdout.flush()  # here, where what fails is told as other errors are
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # of `| head`
        _write_no_more()
        return FAILED
    except EXPECTED as error:
        if os.environ.get("MINIDL_TRACEBACK"):
            raise
        print(f"minidl: {_text(error)}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # it was what failed
            _write_no_more()
        return FAILED
    return result if isinstance(result, int) else 0


def _write_no_more() -> None:
    """Let Python write what is left in the buffer of stdout to nowhere when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _text(error: BaseException) -> str:
    """What went wrong; of what may be a fault of the program its kind, and how to see more."""
    text = str(error)
    for argument, option in OPTIONS.items():
        text = text.replace(argument, option)
    if isinstance(error, MemoryError):
        return text or "there is not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename!r}" if error.filename is not None else "")
    plain = isinstance(error, (ValueError, OSError, ImportError, FloatingPointError))
    return (
        text
        if plain and text
        else (f"{type(error).__name__}: {text} (MINIDL_TRACEBACK=1 shows where)")
    )


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    print(f"minidl: warning: {message}", file=sys.stderr)

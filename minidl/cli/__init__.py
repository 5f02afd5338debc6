"""The command line, `minidl`. Each subcommand has its own file; this one has the entry point, which
prints errors and returns the exit code: 0 for success, 1 for a failure, 2 for wrong usage, 130 for
Ctrl-C."""

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
from .import_ import import_
from .info import info
from .lab import lab
from .predict import predict
from .summary import summary
from .train import train

FAILED, INTERRUPTED = 1, 130
# Hints in the library's errors that name Python arguments, and the same as command line options.
OPTIONS = {
    "skip_broken=True": "--skip-broken",
    "size=32 or size=(24, 32)": "--size 32 or 24,32",
    "data.cache.clear()": "minidl cache clear",
    ", cache=False disables it": "",
}
EXPECTED = (ValueError, TypeError, OSError, ImportError, ArithmeticError, MemoryError, RuntimeError)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="minidl")
def commands() -> None:
    """Train and run small CNNs on a CPU.

    \b
    minidl train photos                  train a classifier on a folder of pictures,
                                         photos/<class>/*.jpg
    minidl predict runs/photos x.jpg     classify a picture
    minidl eval runs/photos              measure the accuracy
    minidl export runs/photos x.onnx     write the model for other runtimes
    minidl import x.onnx x.safetensors   take a model from them

    Each command has its own --help. For tab completion in bash, add
    `eval "$(_MINIDL_COMPLETE=bash_source minidl)"` to ~/.bashrc (other shells: zsh_source,
    fish_source).
    """


for command in (train, evaluate, predict, bench, summary, export, import_, lab, info, cache):
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(given)


def _run(given: list[str]) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # File names may contain characters that the terminal's encoding does not have.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        result: Any = commands.main(given, "minidl", standalone_mode=False, obj=given)
        sys.stdout.flush()  # flushed here, so that an error is reported like all others
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader has ended, as `minidl ... | head` does
        _discard_stdout()
        return FAILED
    except EXPECTED as error:
        if os.environ.get("MINIDL_TRACEBACK"):
            raise
        print(f"minidl: {_text(error)}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # writing to stdout was the error
            _discard_stdout()
        return FAILED
    return result if isinstance(result, int) else 0


def _discard_stdout() -> None:
    """Redirect stdout to the null device, so that Python's flush at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _text(error: BaseException) -> str:
    """Return the message of an error. For one that may be a bug, add its class and how to get a
    traceback."""
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

"""Runs the command line for `python -m minidl`."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())

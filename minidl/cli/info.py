"""`minidl info`: show versions, CPU, kernels and folders."""

from __future__ import annotations

import click


@click.command()
def info() -> None:
    """Show versions, the CPU and the kernels for it, the number of threads, and the cache.

    Include this output in a bug report.
    """
    from ..data import cache
    from ..settings import show_versions

    show_versions()
    held = sum(entry.bytes for entry in cache.entries())
    print(
        f"cache     {cache.folder()}, {held / 1e6:,.1f} MB of at most {cache.limit() / 1e6:,.0f} MB"
    )

"""`minidl info`: what is installed, and what runs here."""

from __future__ import annotations

import click


@click.command()
def info() -> None:
    """Show versions, the CPU and the kernels for it, threads, and where things are kept.

    It is what a report of a fault should have.
    """
    from ..data import cache
    from ..settings import show_versions

    show_versions()
    held = sum(entry.bytes for entry in cache.entries())
    print(
        f"cache     {cache.folder()}, {held / 1e6:,.1f} MB of at most {cache.limit() / 1e6:,.0f} MB"
    )

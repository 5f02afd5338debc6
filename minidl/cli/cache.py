"""`minidl cache`: show and clear the cache of decoded pictures and unpacked archives."""

from __future__ import annotations

import time

import click


@click.group(invoke_without_command=True)
@click.pass_context
def cache(context: click.Context) -> None:
    """Show the contents of the cache: decoded pictures and unpacked archives.

    Everything in it is made again when it is needed, so it may all be removed: `minidl cache
    clear`. The environment variable MINIDL_CACHE sets another folder, MINIDL_CACHE_LIMIT another
    limit than 20 GB.
    """
    if context.invoked_subcommand is not None:
        return
    from ..data import cache as store

    entries = store.entries()
    for entry in entries:
        used = time.strftime("%Y-%m-%d", time.localtime(entry.used))
        print(f"{entry.bytes / 1e6:10,.1f} MB  {used}  {entry.source}")
    print(
        f"{sum(entry.bytes for entry in entries) / 1e6:10,.1f} MB  in {store.folder()}, at most "
        f"{store.limit() / 1e6:,.0f} MB"
    )


@cache.command()
def clear() -> None:
    """Remove all decoded pictures and unpacked archives; downloaded files are kept."""
    from ..data import cache as store

    print(f"{store.clear() / 1e6:,.1f} MB freed in {store.folder()}")

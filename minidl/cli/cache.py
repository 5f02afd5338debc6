"""`minidl cache`: what was decoded or unpacked once."""

from __future__ import annotations

import time

import click


@click.group(invoke_without_command=True)
@click.pass_context
def cache(context: click.Context) -> None:
    """Show what the cache holds: pictures that were decoded, archives that were unpacked.

    It is made anew when it is needed, so all of it may go: `minidl cache clear`. The environment
    variable MINIDL_CACHE names another folder, MINIDL_CACHE_LIMIT another limit than 20 GB.
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
    """Remove everything from it; downloaded files stay."""
    from ..data import cache as store

    print(f"{store.clear() / 1e6:,.1f} MB freed in {store.folder()}")

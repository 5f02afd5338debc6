"""`minidl lab`: claims about batch normalization, tried."""

from __future__ import annotations

import os
import sys

import click

FULL, QUICK = "runs/lab", "runs/lab-quick"  # where results go
FOLDER = click.Path(file_okay=False)


@click.group(no_args_is_help=True)
def lab() -> None:
    """Try what is said of batch normalization: each claim is an experiment that can fail.

    \b
    minidl lab list                 the claims
    minidl lab run E18              one experiment
    minidl lab run all --quick      all of them, small
    minidl lab report               report.html of what has been run
    """


@lab.command("list")
def list_claims() -> None:
    """List the experiments: id, minutes of one CPU for all seeds, and what each is about."""
    from ..lab.registry import all_experiments

    for id, e in all_experiments().items():
        print(f"{id:<5}{e.minutes * e.seeds:6.1f} min  {e.title}")


@lab.command("run", no_args_is_help=True)
@click.argument("ids", nargs=-1, required=True, metavar="ID... | all")
@click.option(
    "--quick", is_flag=True, help="Smaller settings: all of it in minutes, verdicts provisional."
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    metavar="N",
    help="Seeds of each. [default: 3 or 5, as each says; 2 or 3 with --quick]",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Processes beside each other. [default: one for each CPU]",
)
@click.option(
    "--out",
    "folder",
    metavar="DIR",
    type=FOLDER,
    help=f"The folder of the results. [default: {FULL}, with --quick {QUICK}]",
)
def run_claims(
    ids: tuple[str, ...], quick: bool, seeds: int | None, jobs: int | None, folder: str | None
) -> None:
    """Run experiments, and write results.json and report.html.

    Finished seeds are not run again: the same command goes on after Ctrl-C. An experiment that
    crashes ends no other one. The exit code is 1 where one has crashed, 143 after SIGTERM.
    """
    from ..lab import registry
    from ..lab.page import write_report
    from ..lab.runner import run

    try:
        experiments = registry.chosen(ids)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    folder = folder or (QUICK if quick else FULL)
    try:
        found = run(experiments, folder, quick, seeds, jobs)
    except (KeyboardInterrupt, SystemExit):  # the latter of SIGTERM
        print("finished seeds are kept; the same command goes on", file=sys.stderr)
        raise
    for id, one in found.items():
        provisional = " (provisional)" if one.provisional else ""
        print(f"{id:<5}{one.verdict}{provisional}: {one.judgement.why}")
    write_report(folder)
    print(f"report: {os.path.join(folder, 'report.html')}")
    crashed = [id for id, one in found.items() if one.error]
    if crashed:
        print(f"crashed: {', '.join(crashed)}", file=sys.stderr)
        click.get_current_context().exit(1)


@lab.command("report")
@click.option(
    "--out",
    "folder",
    metavar="DIR",
    type=FOLDER,
    help=f"The folder of the results. [default: {FULL}, or else {QUICK}]",
)
def write_page(folder: str | None) -> None:
    """Write report.html and report.md of what has been run."""
    from ..lab.page import write_report

    only_quick = os.path.isdir(QUICK) and not os.path.isdir(FULL)
    print(write_report(folder or (QUICK if only_quick else FULL)))

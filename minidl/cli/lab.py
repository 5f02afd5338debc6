"""`minidl lab`: run experiments that test claims about batch normalization."""

from __future__ import annotations

import os
import sys

import click

FULL, QUICK = "runs/lab", "runs/lab-quick"  # the default folders of results
FOLDER = click.Path(file_okay=False)


@click.group(no_args_is_help=True)
def lab() -> None:
    """Test claims about batch normalization: each claim is an experiment that can refute it.

    \b
    minidl lab list                 list the claims
    minidl lab run E18              run one experiment
    minidl lab run all --quick      run all experiments with small settings
    minidl lab report               write report.html of the finished experiments
    """


@lab.command("list")
def list_claims() -> None:
    """List the experiments: id, minutes on one CPU for all seeds, and title."""
    from ..lab.registry import all_experiments

    for id, e in all_experiments().items():
        print(f"{id:<5}{e.minutes * e.seeds:6.1f} min  {e.title}")


@lab.command("run", no_args_is_help=True)
@click.argument("ids", nargs=-1, required=True, metavar="ID... | all")
@click.option(
    "--quick", is_flag=True, help="Use small settings: minutes in all, with provisional verdicts."
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    metavar="N",
    help="Seeds of each experiment. [default: its own, 3 or 5; with --quick 2 or 3]",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Number of parallel processes. [default: one for each CPU]",
)
@click.option(
    "--out",
    "folder",
    metavar="DIR",
    type=FOLDER,
    help=f"Folder of the results. [default: {FULL}, with --quick {QUICK}]",
)
def run_claims(
    ids: tuple[str, ...], quick: bool, seeds: int | None, jobs: int | None, folder: str | None
) -> None:
    """Run experiments, and write results.json and report.html.

    Finished seeds are not run again: after Ctrl-C, the same command resumes. If an experiment
    crashes, the others still run, and the exit code is 1. It is 143 after SIGTERM.
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
    except (KeyboardInterrupt, SystemExit):  # SIGTERM raises SystemExit
        print("finished seeds are kept; the same command resumes", file=sys.stderr)
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
    help=f"Folder of the results. [default: {FULL}, or else {QUICK}]",
)
def write_page(folder: str | None) -> None:
    """Write report.html and report.md of the finished experiments."""
    from ..lab.page import write_report

    only_quick = os.path.isdir(QUICK) and not os.path.isdir(FULL)
    print(write_report(folder or (QUICK if only_quick else FULL)))

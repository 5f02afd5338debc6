"""`minidl lab` runs experiments that test claims about batch normalization."""

from __future__ import annotations

import os
import sys

import click

FULL, QUICK = "runs/lab", "runs/lab-quick"  # the default folders of full and quick results
FOLDER = click.Path(file_okay=False)


@click.group(no_args_is_help=True)
def lab() -> None:
    """Test claims about batch normalization by experiments that can refute them.

    \b
    minidl lab list                 list the experiments
    minidl lab run E18              run one experiment
    minidl lab run all --quick      run all of them with small settings
    minidl lab report               write a report of the results
    """


@lab.command("list")
def list_claims() -> None:
    """List the experiments: id, minutes that all seeds take on one CPU, and title."""
    from ..lab.registry import all_experiments

    for id, e in all_experiments().items():
        print(f"{id:<5}{e.minutes * e.seeds:6.1f} min  {e.title}")


@lab.command("run", no_args_is_help=True)
@click.argument("ids", nargs=-1, required=True, metavar="ID... | all")
@click.option(
    "--quick", is_flag=True, help="Use smaller settings, with provisional verdicts, within minutes."
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    metavar="N",
    help="Seeds of each experiment. [default: 3 or 5, depending on it; with --quick 2 or 3]",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Processes at the same time. [default: one for each CPU]",
)
@click.option(
    "--out",
    "folder",
    metavar="DIR",
    type=FOLDER,
    help=f"The folder for the results. [default: {FULL}, with --quick {QUICK}]",
)
def run_claims(
    ids: tuple[str, ...], quick: bool, seeds: int | None, jobs: int | None, folder: str | None
) -> None:
    """Run experiments, and write results.json and report.html.

    Finished seeds are not run again, so that after Ctrl-C the same command continues the run. An
    experiment that crashes does not stop the others. The exit code is 1 if one has crashed, and 143
    after SIGTERM.
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
    except (KeyboardInterrupt, SystemExit):  # `run` turns SIGTERM into SystemExit
        print("finished seeds are kept; the same command continues the run", file=sys.stderr)
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
    help=f"The folder with the results. [default: {FULL}, or {QUICK} if only that exists]",
)
def write_page(folder: str | None) -> None:
    """Write report.html and report.md from the results of the experiments."""
    from ..lab.page import write_report

    only_quick = os.path.isdir(QUICK) and not os.path.isdir(FULL)
    print(write_report(folder or (QUICK if only_quick else FULL)))

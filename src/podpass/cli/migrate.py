"""`podpass migrate`: which workloads can move to workload identity, and what the others need."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podpass.cli import options
from podpass.cli.output import print_message, print_output, table
from podpass.cli.progress import show_progress
from podpass.lab.data.datadir import DataDir

if TYPE_CHECKING:
    from podpass.cli.scan_targets import ScanTarget
    from podpass.migration.scan import Report

_COLUMNS = {
    "RESULT": "result",
    "LIBRARY": "library",
    "VERSION": "version",
    "AT LEAST": "minimum",
    "FILE": "path",
}


@click.group
def command() -> None:
    """Find out which workloads can use workload identity, and what others need."""


@command.command("scan")
@options.data_dir
@click.option(
    "-n",
    "--namespace",
    default="default",
    show_default=True,
    metavar="N",
    help="Namespace of pod/NAME.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="F",
    help="Kubeconfig of the cluster.  [default: KUBECONFIG, then the running instance, then ~/.kube/config]",
)
@options.output("table", "json", "yaml")
@click.argument("target")
def scan(
    data_dir: DataDir, namespace: str, kubeconfig: Path | None, output: str, target: str
) -> int:
    """Find the identity libraries of a workload, and what each of them needs.

    TARGET is a folder, a file of `docker save`, an OCI layout, an image of this instance, pod/NAME or
    namespace/NAME. The exit code is 0 if no migration step is needed, 3 if a library must be updated or
    needs the sidecar, and 4 if something could not be decided.
    """
    from podpass.cli.scan_targets import find_targets
    from podpass.migration.scan.scan import exit_code

    targets = asyncio.run(find_targets(target, namespace, data_dir, kubeconfig, options.environ()))
    reports = _scan(targets)
    if output == "table":
        for report in reports:
            _print_report(report)
    else:
        print_output({"targets": [_as_json(each) for each in reports]}, output)
    return exit_code(reports)


def _scan(targets: Sequence["ScanTarget"]) -> list["Report"]:
    from podpass.migration.scan.scan import report_unreadable, scan_paths

    reports = []
    with show_progress() as progress:
        for target in targets:
            if target.paths:
                report = scan_paths(target.name, target.paths, progress)
            else:
                report = report_unreadable(target.name, target.why)
            report.notes += target.notes
            reports.append(report)
        progress("", "")
    return reports


def _print_report(report: "Report") -> None:
    click.echo(f"{report.target}: {_conclude(report)}")
    if report.findings:
        rows = [asdict(each) for each in report.findings]
        click.echo(table(rows, _COLUMNS), nl=False)
        for reason in dict.fromkeys(f"{each.library}: {each.reason}" for each in report.findings):
            click.echo(f"  {reason}.")
    for note in report.notes:
        print_message(f"note: {note}")


def _conclude(report: "Report") -> str:
    if report.is_complete and not report.findings:
        return "no identity library found. A program that asks the metadata service itself needs the sidecar"
    return report.conclusion


def _as_json(report: "Report") -> dict[str, Any]:
    return {
        "target": report.target,
        "result": report.conclusion,
        "complete": report.is_complete,
        "findings": [{**asdict(each), "result": str(each.result)} for each in report.findings],
        "notes": report.notes,
    }

"""`podpass doctor`."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podpass.cli import doctor_cloud, options
from podpass.cli.completion_values import complete_namespaces, complete_workloads
from podpass.cli.output import escape_unprintable, print_message, print_output, wrap_text
from podpass.lab.data.datadir import DataDir

if TYPE_CHECKING:
    from podpass.diagnose.doctor.model import Diagnosis, Finding

_WRONG, _NOT_READ = 1, 3
_MAX_WORKLOADS = 50
_MAX_NAMES = 3


@click.command
@options.data_dir
@click.option(
    "-n",
    "--namespace",
    default="default",
    show_default=True,
    metavar="N",
    shell_complete=complete_namespaces,
    help="Namespace of the workload.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="F",
    help="Kubeconfig of the cluster.  [default: KUBECONFIG, then the running instance, then ~/.kube/config]",
)
@options.output("table", "json", "yaml")
@click.argument(
    "target",
    default="",
    metavar="[POD|DEPLOYMENT|SERVICEACCOUNT|NAMESPACE]",
    shell_complete=complete_workloads,
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    data_dir: DataDir,
    namespace: str,
    kubeconfig: Path | None,
    output: str,
    target: str,
    **cloud: Any,
) -> int:
    """Find out why a workload gets no token: the first wrong thing, and its fix.

    Checks the stages of a token in order, from the ServiceAccount to the resource. The argument is a name, or
    pod/NAME, deployment/NAME (also statefulset, daemonset, job), serviceaccount/NAME or namespace/NAME;
    without it, all workloads of the namespace with an identity are checked. Of a Deployment, the pod template
    and the newest three pods are checked. Nothing is changed: podpass reads objects, sends a pod as a dry
    run, and runs one command in the pod that prints no secret. The exit code is 0 if nothing is wrong, 1 if
    something is, and 3 if nothing wrong was found but something could not be read.
    """
    chosen = doctor_cloud.CloudOptions.from_context(ctx, data_dir, **cloud)
    found = asyncio.run(_diagnose(data_dir, kubeconfig, target, namespace, chosen))
    if output == "table":
        _print(found)
    else:
        print_output({"workloads": [_as_json(each) for each in found]}, output)
    if not all(each.is_healthy for each in found):
        return _WRONG
    return 0 if all(each.is_complete for each in found) else _NOT_READ


command.params += doctor_cloud.OPTIONS


async def _diagnose(
    data_dir: DataDir,
    kubeconfig: Path | None,
    target: str,
    namespace: str,
    cloud: doctor_cloud.CloudOptions,
) -> Sequence["Diagnosis"]:
    from podpass.cli.cluster import connect_to_cluster
    from podpass.diagnose.doctor.run import diagnose
    from podpass.diagnose.doctor.targets import find_workloads

    async with connect_to_cluster(data_dir, kubeconfig, options.environ()) as client:
        workloads = await find_workloads(client, target, namespace)
        if len(workloads) > _MAX_WORKLOADS:
            count = f"the first {_MAX_WORKLOADS} of {len(workloads)} workloads"
            print_message(f"only {count} are checked; pass the name of another one to check it")
        reader = await doctor_cloud.open_cloud(cloud, options.environ(), client)
        return await diagnose(client, workloads[:_MAX_WORKLOADS], read_cloud=reader.read)


def _print(found: Sequence["Diagnosis"]) -> None:
    """Print each result once, with the names of all workloads that have it."""
    groups: dict[object, list[Diagnosis]] = {}
    for diagnosis in found:
        groups.setdefault(_describe_result(diagnosis), []).append(diagnosis)
    for first, *others in groups.values():
        _print_one(first)
        if others:
            names = ", ".join(each.workload for each in others[:_MAX_NAMES])
            more = len(others) - _MAX_NAMES
            text = f"the same for {names}" + (f" and {more} others" if more > 0 else "")
            click.echo(_indent(escape_unprintable(text), "  "))


def _describe_result(diagnosis: "Diagnosis") -> object:
    """Return the result without the name of its workload, so that equal ones are equal."""
    name = diagnosis.workload.rpartition("/")[2]

    def hide(text: str) -> str:
        return text.replace(name, "")

    findings = [
        (each.check, *map(hide, (each.object, each.message, each.fix)))
        for each in diagnosis.findings
    ]
    not_checked = [(each.check, hide(each.reason)) for each in diagnosis.not_checked]
    return tuple(findings), tuple(not_checked), tuple(diagnosis.passed)


def _print_one(diagnosis: "Diagnosis") -> None:
    click.echo(f"{escape_unprintable(diagnosis.workload)}: {_conclude(diagnosis)}")
    for finding in diagnosis.findings:
        _print_finding(finding)
    reasons: dict[str, list[str]] = {}
    for each in diagnosis.not_checked:
        reasons.setdefault(each.reason, []).append(each.check)
    for reason, checks in reasons.items():
        text = f"not checked ({', '.join(checks)}): {escape_unprintable(reason)}"
        click.echo(_indent(text, "  "))


def _conclude(diagnosis: "Diagnosis") -> str:
    passed = f"{len(diagnosis.passed)} check{'' if len(diagnosis.passed) == 1 else 's'} passed"
    if diagnosis.findings:
        count = len(diagnosis.findings)
        return f"{count} problem{'s' if count > 1 else ''}, {passed}"
    return f"nothing wrong, {passed}"


def _print_finding(finding: "Finding") -> None:
    click.echo(f"  {finding.stage}: {finding.check}")
    click.echo(_indent(f"{escape_unprintable(f'{finding.object}: {finding.message}')}", "    "))
    # A command is not wrapped, so that it can be copied.
    click.echo(f"    fix: {escape_unprintable(finding.fix)}")


def _indent(text: str, margin: str) -> str:
    return "\n".join(margin + line for line in wrap_text(text, len(margin)).splitlines())


def _as_json(diagnosis: "Diagnosis") -> dict[str, Any]:
    return {
        "workload": diagnosis.workload,
        "healthy": diagnosis.is_healthy,
        "findings": [asdict(each) | {"stage": str(each.stage)} for each in diagnosis.findings],
        "not_checked": [
            asdict(each) | {"stage": str(each.stage)} for each in diagnosis.not_checked
        ],
        "passed": list(diagnosis.passed),
    }

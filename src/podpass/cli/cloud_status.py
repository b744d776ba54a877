"""`podpass cloud status`."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podpass.cli import options
from podpass.cli.cloud_cluster import (
    describe_storage,
    find_installation,
    kubeconfig_option,
    open_cluster,
    read_cloud_status,
)
from podpass.cli.completion_values import complete_namespaces, complete_pods
from podpass.cli.output import align, print_message, print_output, text_width
from podpass.lab.install.object_names import NAMESPACE, NOT_INSTALLED

if TYPE_CHECKING:
    from podpass.lab.install.pod_report import PodCheck


@click.command
@kubeconfig_option
@click.option(
    "-n",
    "--namespace",
    metavar="N",
    shell_complete=complete_namespaces,
    help=f"Namespace of the installation; with POD, that of the pod.  [default: {NAMESPACE}; default]",
)
@options.output("table", "json", "yaml")
@click.argument("pod", required=False, shell_complete=complete_pods)
@click.pass_context
def command(
    ctx: click.Context, kubeconfig: Path | None, namespace: str | None, output: str, pod: str | None
) -> None:
    """Show the cloud that is installed in the cluster: its pod, tenant, issuer and vaults.

    With POD, show whether this pod can use it: identity, token, CA and names; the first thing that is wrong
    and its fix; and limits, which podpass cannot check from outside.

    Exits with status 1 when the cloud is not installed or not ready, or when something of the pod is wrong.
    """
    if pod is not None:
        ctx.exit(_show_pod(kubeconfig, namespace or "default", pod, output))
    status = asyncio.run(_read(kubeconfig, namespace or NAMESPACE))
    if output == "table":
        click.echo(align(_rows(status), text_width()), nl=False)
    else:
        print_output(status, output)
    if status["pod"] == NOT_INSTALLED:
        print_message(f"podpass: namespace {status['namespace']} has no podpass cloud")
        print_message("  install it with `podpass cloud install`, or pass its namespace with -n N")
    if status["webhook_problem"]:
        print_message(f"podpass: pods are created without an identity: {status['webhook_problem']}")
        print_message(
            "  complete the installation with `podpass cloud install`; it keeps its options"
        )
    ctx.exit(0 if status["ready"] else 1)


def _show_pod(kubeconfig: Path | None, namespace: str, name: str, output: str) -> int:
    from podpass.lab.install.pod_report import first_wrong

    checks = asyncio.run(_read_pod(kubeconfig, namespace, name))
    wrong = first_wrong(checks)
    if output == "table":
        rows = [[each.name, each.state, each.detail] for each in checks]
        click.echo(align(rows, text_width()), nl=False)
    else:
        found = {
            "namespace": namespace,
            "pod": name,
            "ok": wrong is None,
            "first_wrong": None if wrong is None else asdict(wrong),
            "checks": [asdict(each) for each in checks],
        }
        print_output(found, output)
    if wrong is None:
        return 0
    print_message(f"podpass: pod {namespace}/{name}: {wrong.detail}")
    print_message(f"  {wrong.fix}")
    return 1


async def _read_pod(kubeconfig: Path | None, namespace: str, name: str) -> "list[PodCheck]":
    from podpass.lab.install.pod_facts import read_cloud, read_pod
    from podpass.lab.install.pod_report import examine

    client, _ = open_cluster(kubeconfig)
    async with client:
        facts = await read_pod(client, namespace, name)
        installed = await find_installation(client)
        status = await read_cloud_status(client, installed)
        return examine(facts, await read_cloud(client, installed, status))


async def _read(kubeconfig: Path | None, namespace: str) -> dict[str, Any]:
    from podpass.lab.install import identity_webhook, installer

    client, context = open_cluster(kubeconfig)
    async with client:
        found = await installer.observe(client, namespace)
        running = await read_cloud_status(client, namespace) if found["ready"] else {}
        problem = await identity_webhook.read_problem(client) if running else ""
    found |= {"ready": found["ready"] and not problem, "webhook_problem": problem}
    return {"context": context, "namespace": namespace, **found, **running}


def _rows(status: dict[str, Any]) -> list[list[str]]:
    rows = [
        ["context", status["context"]],
        ["namespace", status["namespace"]],
        ["pod", status["pod"]],
        ["image", status["image"]],
        ["address", status["address"]],
    ]
    if "tenant_id" in status:
        rows += [
            ["tenant", status["tenant_id"]],
            ["subscription", status["subscription_id"]],
            ["issuer", status["issuer"]],
            ["vaults", ", ".join(status["vaults"]) or "none"],
            ["storage", describe_storage(status.get("storage", {}))],
        ]
    return rows

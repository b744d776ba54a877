"""`podpass cloud install`."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from podpass import __version__
from podpass.cli import options
from podpass.cli.cloud_cluster import (
    describe_storage,
    kubeconfig_option,
    list_cloud_storage_warnings,
    namespace_option,
    open_cluster,
    read_cloud_status,
)
from podpass.cli.completion_values import complete_namespaces
from podpass.cli.output import align, print_message, text_width
from podpass.errors import UsageError
from podpass.lab.install.objects import CloudValues

DEFAULT_IMAGE = f"podpass:{__version__}"
_TIMEOUT_SECONDS = 180
_MAX_WARNINGS = 10
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_CHARS = 253
_IMAGE = re.compile(r"[A-Za-z0-9._:/@\[\]-]+")


@click.command
@kubeconfig_option
@namespace_option
@click.option(
    "--image",
    metavar="IMAGE",
    help=f"Image of podpass, as the nodes have it or can pull it.  [default: {DEFAULT_IMAGE}]",
)
@click.option(
    "--pull-secret",
    metavar="NAME",
    help="Secret with the credentials of the image's registry, in the namespaces of cloud and webhook.",
)
@click.option(
    "--seed",
    metavar="FILE",
    help="Seed file: identities, vaults, storage accounts, DNS zones and roles, as YAML.",
)
@click.option(
    "--claim",
    metavar="NAME",
    help="PersistentVolumeClaim for the data.  [default: the data is deleted with the pod]",
)
@click.option(
    "--azurite-image",
    metavar="IMAGE",
    help="Image of Azurite, which then runs in the cloud's pod and stores the data of the seed's storage"
    " accounts.  [default: storage accounts are not served]",
)
@click.option(
    "--for",
    "selected",
    multiple=True,
    default=("default",),
    show_default=True,
    metavar="N",
    shell_complete=complete_namespaces,
    help="Namespace whose pods trust the cloud; repeatable. It gets the label podpass.dev/cloud: enabled.",
)
@click.option(
    "--all-namespaces", "-A", is_flag=True, help="All namespaces except the system namespaces."
)
@click.option(
    "--dns",
    type=click.Choice(["cluster", "pods", "none"]),
    default="cluster",
    show_default=True,
    help="Where Azure's names resolve to the cloud: in CoreDNS, in the chosen pods only, or nowhere.",
)
@click.option(
    "--dry-run", is_flag=True, help="Check everything and print the changes; change nothing."
)
@click.option(
    "--yes-this-cluster",
    "confirmed",
    metavar="CONTEXT",
    help="Install although the cluster looks like AKS, EKS, GKE or OpenShift; CONTEXT repeats its name.",
)
@click.option(
    "--timeout",
    type=click.IntRange(1, 3600),
    default=_TIMEOUT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Time to wait for the pod.",
)
@options.output("text", "json", "yaml")
def command(kubeconfig: Path | None, namespace: str, output: str, **given: Any) -> None:
    """Give the cluster of the current context an Azure of its own.

    One pod serves tokens, directory, Resource Manager and key vaults for the pods of this cluster, and
    trusts the cluster's issuer. With --azurite-image, it also serves storage accounts. A second run changes
    nothing. With `-o yaml` or `-o json` the objects are printed and nothing is changed. It is for test
    clusters only.
    """
    from podpass.cli.manifests import check_namespace, render

    check_namespace(namespace)
    _check_names(given)
    values = _read_values(namespace, given)
    if output != "text":
        from podpass.lab.install.objects import build_objects

        click.echo(render(build_objects(_with_defaults(values)), output), nl=False)
        return
    asyncio.run(_run(kubeconfig, values, given))


def _check_names(given: dict[str, Any]) -> None:
    """Check names that the API server would refuse after the first change. Raises UsageError."""
    for key in ("pull_secret", "claim"):
        if given[key] and not (len(given[key]) <= _NAME_CHARS and _NAME.fullmatch(given[key])):
            raise UsageError(
                f"--{key.replace('_', '-')} {given[key][:80]!r} is not a valid name",
                hint=f"use lower-case letters, digits, '-' and '.', at most {_NAME_CHARS} characters",
            )
    for key in ("image", "azurite_image"):
        if given[key] and not _IMAGE.fullmatch(given[key]):
            raise UsageError(
                f"--{key.replace('_', '-')} {given[key][:80]!r} is not the name of an image",
                hint="use REPOSITORY:TAG or REPOSITORY@DIGEST",
            )


def _read_values(namespace: str, given: dict[str, Any]) -> CloudValues:
    seed = ""
    if given["seed"] is not None:
        from podpass.cli.apply import read_valid_seed

        seed = read_valid_seed(given["seed"], given["seed"])
    return CloudValues(
        image=given["image"] or "",
        namespace=namespace,
        seed=seed,
        claim=given["claim"] or "",
        all_namespaces=given["all_namespaces"],
        azurite_image=given["azurite_image"] or "",
        pull_secret=given["pull_secret"] or "",
    )


def _with_defaults(values: CloudValues) -> CloudValues:
    return values if values.image else replace(values, image=DEFAULT_IMAGE)


async def _run(kubeconfig: Path | None, values: CloudValues, given: dict[str, Any]) -> None:
    from podpass.clock import system
    from podpass.lab.install.installer import Installer, InstallRequest
    from podpass.lab.services import list_install_warnings

    client, context = open_cluster(kubeconfig)
    request = InstallRequest(
        values=values,
        context=context,
        confirmed=given["confirmed"],
        dns=given["dns"],
        selected=() if given["all_namespaces"] else given["selected"],
    )
    async with client:
        installer = Installer(
            client=client,
            report=click.echo,
            progress=print_message,
            timeout=given["timeout"],
            clock=system,
        )
        checked = await installer.check(request, DEFAULT_IMAGE)
        await installer.apply(checked, dry_run=given["dry_run"])
        seed = checked.values.seed
        if given["dry_run"]:
            for line in (
                *list_install_warnings(seed, request.dns),
                *([] if checked.values.azurite_image else list_cloud_storage_warnings(seed, {})),
            ):
                print_message(line)
            print_message("this was a dry run: nothing has changed")
            return
        await installer.start_webhook(checked)
        await installer.wait(values.namespace)
        await installer.connect_names(request, checked.values)
        status = await read_cloud_status(client, values.namespace)
        await installer.connect_pods(request, checked, status["tenant_id"])
    _print_ready(status, installer.changes, values.namespace)
    for line in (
        *find_other_issuers(seed, status["issuer"]),
        *list_install_warnings(seed, request.dns),
        *list_cloud_storage_warnings(seed, status),
    ):
        print_message(line)


def find_other_issuers(seed: str, issuer: str) -> list[str]:
    """Return a warning for each credential of a seed that trusts another issuer than the cluster's."""
    from podpass.lab.services import parse_seed
    from podpass.seed.model import CLUSTER

    return [
        f"warning: the seed's identity {identity.name} trusts {credential.issuer}, and the issuer of this"
        f" cluster is {issuer}; for pods of this cluster, write `issuer: {CLUSTER}`"
        for identity in (parse_seed(seed, "seed").identities if seed else ())
        for credential in identity.credentials
        if credential.issuer not in (CLUSTER, issuer)
    ][:_MAX_WARNINGS]


def _print_ready(status: dict[str, Any], changed: int, namespace: str) -> None:
    click.echo(f"podpass cloud is ready in namespace {namespace}; {changed} changes")
    storage = status.get("storage", {})
    rows = [
        ["  tenant", status["tenant_id"]],
        ["  issuer", f"{status['issuer']} (`issuer: cluster` in a seed)"],
        ["  vaults", ", ".join(status["vaults"]) or "none; apply a seed"],
        *([["  storage", describe_storage(storage)]] if storage.get("services") else []),
    ]
    click.echo(align(rows, text_width()), nl=False)
    click.echo("next: podpass cloud apply -f seed.yaml   to add identities and vaults")
    click.echo("      podpass cloud status               to see what runs")

"""`podpass manifests`."""

import json
from collections.abc import Sequence
from typing import Any

import click

from podpass import names
from podpass.cli import options
from podpass.errors import UsageError

_NAME_CHARS = 63


class _ManifestsCommand(click.Command):
    """A command whose help also lists the values."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from podpass import manifests

        super().format_options(ctx, formatter)
        with formatter.section("Values"):
            formatter.write_text(", ".join(manifests.ManifestValues.list_keys()))
        with formatter.section("Values with --mode policy"):
            formatter.write_text(", ".join(manifests.POLICY_KEYS))


@click.command(cls=_ManifestsCommand)
@click.option(
    "--mode",
    type=click.Choice(["webhook", "policy"]),
    default="webhook",
    show_default=True,
    help="What mutates pods: the webhook, or a MutatingAdmissionPolicy in the API server.",
)
@click.option(
    "--namespace",
    "-n",
    default=names.SYSTEM_NAMESPACE,
    show_default=True,
    metavar="N",
    help="Namespace of the webhook.",
)
@click.option(
    "--tenant-id",
    required=True,
    envvar="AZURE_TENANT_ID",
    metavar="T",
    help="Default tenant ID for ServiceAccounts without a tenant-id annotation; or AZURE_TENANT_ID.",
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a chart value, for example image.repository=REGISTRY/podpass; repeatable.",
)
@options.output("yaml", "json")
def command(mode: str, namespace: str, tenant_id: str, sets: tuple[str, ...], output: str) -> None:
    """Print the Kubernetes objects of the chart, without Helm.

    Names and selector are those of the static manifest of azure-workload-identity, so that either manifest
    can be applied over the other.
    """
    from podpass import manifests
    from podpass.admission.warnings import is_tenant

    check_namespace(namespace)
    only = manifests.POLICY_KEYS if mode == "policy" else None
    values = manifests.ManifestValues.from_sets(
        sets, only=only, tenant_id=tenant_id, namespace=namespace
    )
    if not is_tenant(values["azureTenantID"]):
        raise UsageError(
            f"the tenant ID {values['azureTenantID']!r} is neither a GUID nor a domain",
            hint="show it: az account show --query tenantId",
        )
    objects = (
        manifests.build_policy_objects(values)
        if mode == "policy"
        else manifests.build_webhook_objects(values)
    )
    click.echo(render(objects, output), nl=False)


def check_namespace(namespace: str) -> None:
    """Check the name of a namespace. Raises UsageError."""
    letters = namespace.replace("-", "")
    if not (
        0 < len(namespace) <= _NAME_CHARS
        and letters.isascii()
        and letters.isalnum()
        and namespace == namespace.lower().strip("-")
    ):
        raise UsageError(
            f"--namespace {namespace!r} is not a valid namespace name",
            hint="use lower-case letters, digits and '-', at most 63 characters",
        )


def render(objects: Sequence[dict[str, Any]], form: str) -> str:
    """Format objects for kubectl, as one list in JSON or as documents in YAML."""
    if form == "json":
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=2) + "\n"
    import yaml

    class Dumper(yaml.SafeDumper):
        """Write texts of several lines as literal blocks, and each value in full."""

        def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 signature of the base class
            return True

        def represent_text(self, text: str) -> yaml.Node:
            style = "|" if "\n" in text else None
            return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, Dumper.represent_text)
    return "---\n".join(
        yaml.dump(item, Dumper=Dumper, sort_keys=False, width=110) for item in objects
    )

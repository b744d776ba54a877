"""`podpass manifests`."""

import json
from collections.abc import Sequence
from typing import Any

import click

from podpass import names
from podpass.cli import options
from podpass.errors import UsageError

_NAME_CHARS = 63


class _WithValues(click.Command):
    """Its help names the values too, so that nobody has to guess them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from podpass import manifests

        super().format_options(ctx, formatter)
        with formatter.section("Values"):
            formatter.write_text(", ".join(manifests.Values.settable()))
        with formatter.section("Those of a policy"):
            formatter.write_text(", ".join(manifests.POLICY_KEYS))


@click.command(cls=_WithValues)
@click.option(
    "--mode",
    type=click.Choice(["webhook", "policy"]),
    default="webhook",
    show_default=True,
    help="What mutates pods: the webhook, or a MutatingAdmissionPolicy of the API server's own.",
)
@click.option(
    "--namespace",
    "-n",
    default=names.SYSTEM_NAMESPACE,
    show_default=True,
    metavar="N",
    help="Where it runs.",
)
@click.option(
    "--tenant-id",
    required=True,
    envvar="AZURE_TENANT_ID",
    metavar="T",
    help="Tenant of accounts that name none; also by AZURE_TENANT_ID.",
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="One of the chart's values, such as image.repository=REGISTRY/podpass; may be given again.",
)
@options.output("yaml", "json")
def command(mode: str, namespace: str, tenant_id: str, sets: tuple[str, ...], output: str) -> None:
    """Print the objects that the chart renders, for people without Helm.

    They bear the names and the selector of the reference's static manifest, so that they can be applied over
    that one, and that one over them.
    """
    from podpass import manifests

    _check(namespace)
    only = manifests.POLICY_KEYS if mode == "policy" else None
    values = manifests.Values.from_sets(sets, only=only, tenant_id=tenant_id, namespace=namespace)
    objects = manifests.policy(values) if mode == "policy" else manifests.webhook(values)
    click.echo(_text(objects, output), nl=False)


def _check(namespace: str) -> None:
    letters = namespace.replace("-", "")
    if not (
        0 < len(namespace) <= _NAME_CHARS
        and letters.isascii()
        and letters.isalnum()
        and namespace == namespace.lower().strip("-")
    ):
        raise UsageError(
            f"--namespace {namespace!r} is no name of a namespace",
            hint="lower-case letters, digits and '-', 63 at most",
        )


def _text(objects: Sequence[dict[str, Any]], form: str) -> str:
    if form == "json":
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=2) + "\n"
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes a text of several lines as one can read it."""

        def represent_text(self, text: str) -> yaml.Node:
            style = "|" if "\n" in text else None
            return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, Dumper.represent_text)
    return "---\n".join(
        yaml.dump(one, Dumper=Dumper, sort_keys=False, width=110) for one in objects
    )

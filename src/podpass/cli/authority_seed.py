"""`podpass authority seed`."""

from typing import Any

import click

from podpass import guids
from podpass.cli.output import emit, say
from podpass.errors import UsageError


@click.command("seed")
@click.option(
    "-f", "--filename", required=True, metavar="FILE", help="The seed file; - reads stdin."
)
@click.option(
    "--database",
    envvar="PODPASS_AUTHORITY_DATABASE",
    required=True,
    metavar="URL",
    help="The authority's database; made if it is new.",
)
@click.option(
    "--tenant-id",
    envvar="PODPASS_AUTHORITY_TENANT_ID",
    default="",
    metavar="GUID",
    help="The tenant; made if it is not there. Without it, the only one there is.",
)
@click.option(
    "--tenant-name", default="podpass", show_default=True, help="How a new tenant is called."
)
@click.option("--domain", "domains", multiple=True, help="A domain of a new tenant.")
@click.option(
    "--subscription-id",
    envvar="PODPASS_AUTHORITY_SUBSCRIPTION_ID",
    default="",
    metavar="GUID",
    help="The subscription that managed identities lie in; made from the tenant's id otherwise.",
)
@click.option(
    "--cluster-issuer",
    metavar="URL",
    help="What `issuer: cluster` in the file stands for, byte for byte as its tokens have it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print it.",
)
def seed(filename: str, output: str, **where: Any) -> None:
    """Bring the authority's directory to what a seed file says.

    Tenant, identities, federated credentials, and the identities that may manage all of them through the
    admin address (`administrators: [NAME]`). Applying it again changes nothing, and nothing is deleted. It
    works on the database itself, whether the authority runs or not.
    """
    from podpass.cli.apply import read
    from podpass.seed.apply import parse_seed
    from podpass.servers.authority import seeding

    for flag in ("tenant_id", "subscription_id"):
        if where[flag] and not guids.is_lower_guid(where[flag]):
            said = f"--{flag.replace('_', '-')} {where[flag]!r}: want a GUID in lower case"
            raise UsageError(said)
    try:
        text = read(filename).decode()
    except UnicodeDecodeError as exc:
        raise UsageError(f"{filename} is not UTF-8", hint="save the file as UTF-8") from exc
    done = seeding.seed(parse_seed(text, filename), seeding.Target(**where))
    if output == "json":
        emit(done, "json")
        return
    for line in done["changed"]:
        click.echo(line)
    if not done["changed"]:
        say("nothing to change")

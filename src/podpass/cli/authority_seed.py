"""`podpass authority seed` and `podpass authority identities`: the directory of the token service.

Both commands use the database directly, so the service does not have to run.
"""

import asyncio
from typing import Any

import click

from podpass import guids
from podpass.cli import options
from podpass.cli.output import print_message, print_output
from podpass.errors import UsageError


@click.command("seed")
@click.option("-f", "--filename", required=True, metavar="FILE", help="Seed file; - reads stdin.")
@click.option(
    "--database",
    envvar="PODPASS_AUTHORITY_DATABASE",
    required=True,
    metavar="URL",
    help="Database of the token service; created if it does not exist.",
)
@click.option(
    "--tenant-id",
    envvar="PODPASS_AUTHORITY_TENANT_ID",
    default="",
    metavar="GUID",
    help="Tenant id; the tenant is created if it does not exist. Default: the only tenant.",
)
@click.option("--tenant-name", default="podpass", show_default=True, help="Name of a new tenant.")
@click.option("--domain", "domains", multiple=True, help="Domain of a new tenant; repeatable.")
@click.option(
    "--subscription-id",
    envvar="PODPASS_AUTHORITY_SUBSCRIPTION_ID",
    default="",
    metavar="GUID",
    help="Subscription of managed identities; default: derived from the tenant id.",
)
@click.option(
    "--cluster-issuer",
    envvar="PODPASS_AUTHORITY_CLUSTER_ISSUER",
    metavar="URL",
    help="Issuer URL for `issuer: cluster` in the file, byte for byte as in the cluster's tokens.",
)
@click.option(
    "--flexible-kubernetes",
    envvar="PODPASS_AUTHORITY_FLEXIBLE_KUBERNETES",
    multiple=True,
    metavar="URL",
    help="Issuer of a cluster that expressions may name, as for the service; repeatable.",
)
@click.option(
    "--allow-wide",
    envvar="PODPASS_AUTHORITY_ALLOW_WIDE",
    is_flag=True,
    help="Permit expressions of these clusters that do not fix the beginning of the namespace.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Output format.",
)
def seed(
    filename: str,
    output: str,
    flexible_kubernetes: tuple[str, ...],
    allow_wide: bool,
    **target: Any,
) -> None:
    """Apply a seed file to the directory of the token service.

    It creates or updates the tenant, identities, federated credentials, and the identities that may manage
    the directory through the admin address (`administrators: [NAME]`). Applying the same file again changes
    nothing, and nothing is deleted. It uses the database directly, so the service does not have to run.
    """
    from podpass.cli.apply import read_seed
    from podpass.directory.claims_expression import KubernetesIssuers
    from podpass.seed.apply import parse_seed
    from podpass.servers.authority import seeding

    for flag in ("tenant_id", "subscription_id"):
        if target[flag] and not guids.is_lower_guid(target[flag]):
            message = f"--{flag.replace('_', '-')} {target[flag]!r} is not a GUID in lower case"
            raise UsageError(message)
    try:
        text = read_seed(filename).decode()
    except UnicodeDecodeError as exc:
        raise UsageError(f"{filename} is not UTF-8", hint="save the file as UTF-8") from exc
    # A variable holds a comma-separated list, as for the service.
    issuers = frozenset(one for text in flexible_kubernetes for one in text.split(","))
    expressions = KubernetesIssuers(issuers=issuers, allow_wide=allow_wide)
    seed_target = seeding.SeedTarget(**target, expressions=expressions)
    done = seeding.seed(parse_seed(text, filename), seed_target)
    if output == "json":
        print_output(done, "json")
        return
    for line in done["changed"]:
        click.echo(line)
    if not done["changed"]:
        print_message("no changes")
    # Without the URL: it may have a password.
    print_message("`podpass authority identities` lists the client ids of this database")


@click.command("identities")
@click.option(
    "--database",
    envvar="PODPASS_AUTHORITY_DATABASE",
    required=True,
    metavar="URL",
    help="Database of the token service.",
)
@click.option(
    "--tenant-id",
    envvar="PODPASS_AUTHORITY_TENANT_ID",
    default="",
    metavar="GUID",
    help="Only the identities of this tenant. Default: all tenants.",
)
@options.output()
def identities(database: str, tenant_id: str, output: str) -> None:
    """List the identities of the directory, with their client ids and federated credentials.

    It uses the database directly, so the service does not have to run.
    """
    from podpass.cli.identity import print_identities

    print_identities(*asyncio.run(_list_identities(database, tenant_id)), output)


async def _list_identities(
    url: str, tenant_id: str
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    from podpass.database import Database, collecting_errors
    from podpass.directory.store.directory import Directory
    from podpass.lab.instance.queries import identity_row, skipped_rows

    # A mistyped URL must not create a database.
    async with Database(url, make=False) as database, Directory(database) as directory:
        tenants = [tenant.id for tenant in await directory.list_tenants()]
        if tenant_id and tenant_id not in tenants:
            raise UsageError(
                f"the database has no tenant {tenant_id!r}; it has: {', '.join(tenants) or 'none'}",
                hint="set --tenant-id to one of them, or check --database",
            )
        with collecting_errors() as damaged:
            rows = [
                identity_row(each)
                for tenant in tenants
                if tenant_id in ("", tenant)
                for each in await directory.list_identities(tenant)
            ]
    return rows, skipped_rows(damaged)

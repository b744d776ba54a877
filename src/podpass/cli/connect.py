"""`podpass connect`."""

import asyncio
from typing import TYPE_CHECKING, Any

import click

from podpass.cli import options
from podpass.cli.account_options import AccountOptions, build_options
from podpass.cli.azure_account import choose_kubeconfig, sign_in
from podpass.cli.completion_values import complete_identities, complete_vaults
from podpass.cli.output import print_message, print_output
from podpass.cli.phase_log import PhaseLog

if TYPE_CHECKING:
    from podpass.provision.connect import Connected

_ROLE = "Key Vault Secrets User"


def _run(vault: str, **given: Any) -> None:
    chosen = AccountOptions.from_context(click.get_current_context())
    form, dry_run = given.pop("output"), given.pop("dry_run")
    done = asyncio.run(_connect(vault, chosen, given, dry_run=dry_run))
    if form != "text":
        print_output(_to_rows(done, dry_run=dry_run), form)
        return
    _print_result(done, dry_run=dry_run)


async def _connect(
    vault: str, chosen: AccountOptions, given: dict[str, Any], *, dry_run: bool
) -> "Connected":
    from podpass.cli.cluster import connect as connect_to_cluster
    from podpass.provision import connect
    from podpass.provision.service_accounts import ServiceAccountClient
    from podpass.provision.steps import Clients

    environ, log = options.environ(), PhaseLog(as_reference=False)
    account = await sign_in(chosen, environ, log.report)
    kubeconfig = choose_kubeconfig(chosen, account)
    async with connect_to_cluster(kubeconfig, environ) as cluster:
        wanted = connect.ConnectRequest(
            vault=vault,
            subscription_id=account.subscription_id,
            tenant_id=account.tenant_id,
            audience=account.endpoints.audience,
            **{name: value for name, value in given.items() if value},
        )
        return await connect.connect(
            wanted,
            Clients(manager=account.manager(), accounts=ServiceAccountClient(cluster)),
            cluster,
            commit=environ.get("PODPASS_BUILD_COMMIT", "unknown"),
            dry_run=dry_run,
            finished=log.finished,
            report=log.report,
        )


def _print_result(done: "Connected", *, dry_run: bool) -> None:
    from podpass.provision.connect import pod_lines

    if dry_run:
        for step in done.outcome.steps:
            note = f" ({step.note})" if step.note else ""
            print_message(f"{step.phase}: would {step.action} {step.kind} {step.name}{note}")
        print_message("This was a dry run: nothing was changed.")
    request = done.request
    print_message(
        f"Pods of the ServiceAccount {request.namespace}/{request.account} can read the secrets of"
        f" {done.vault.url} as {request.managed_identity}. A pod needs these lines:"
    )
    click.echo(pod_lines(request.account), nl=False)


def _to_rows(done: "Connected", *, dry_run: bool) -> dict[str, Any]:
    from podpass.provision.connect import pod_lines

    request = done.request
    return {
        "dry_run": dry_run,
        "vault": {"name": done.vault.name, "id": done.vault.id, "url": done.vault.url},
        "identity": {
            "name": request.managed_identity,
            "resource_group": request.resource_group,
            "client_id": done.outcome.ids.get("client_id", ""),
            "principal_id": done.outcome.ids.get("principal_id", ""),
        },
        "service_account": {"namespace": request.namespace, "name": request.account},
        "role": request.role,
        "issuer": request.issuer,
        "subject": request.subject,
        "steps": [
            {
                "phase": step.phase,
                "action": str(step.action),
                "kind": str(step.kind),
                "name": step.name,
                "note": step.note,
            }
            for step in done.outcome.steps
        ],
        "pod": pod_lines(request.account),
    }


_OPTIONS = (
    click.Option(
        ["--identity"],
        metavar="NAME",
        shell_complete=complete_identities,
        help="Managed identity, created if missing.  [default: the name of the ServiceAccount]",
    ),
    click.Option(
        ["-g", "--resource-group", "group"],
        metavar="G",
        help="Resource group of the identity.  [default: that of the vault]",
    ),
    click.Option(
        ["--location"],
        metavar="L",
        help="Location of a new identity.  [default: that of the resource group]",
    ),
    click.Option(
        ["-n", "--namespace"],
        default="default",
        show_default=True,
        metavar="N",
        help="Namespace of the ServiceAccount; it must exist.",
    ),
    click.Option(
        ["--service-account", "account"],
        metavar="SA",
        help="ServiceAccount, created if missing.  [default: VAULT-reader]",
    ),
    click.Option(
        ["--role"],
        default=_ROLE,
        show_default=True,
        metavar="ROLE",
        help="Name or ID of the role on the vault.",
    ),
    click.Option(["--dry-run"], is_flag=True, help="Print what would be done; change nothing."),
    click.Option(
        ["-o", "--output"],
        type=click.Choice(["text", "json", "yaml"]),
        default="text",
        show_default=True,
        help="Output format.",
    ),
)

command = click.Command(
    "connect",
    params=[click.Argument(["vault"], shell_complete=complete_vaults), *_OPTIONS, *build_options()],
    callback=_run,
    help="Let pods read the secrets of a key vault.\n\n"
    "Creates what is missing of a managed identity, an annotated ServiceAccount, a federated credential"
    " and a role on the vault, then prints the five lines that a pod needs. A second run changes nothing,"
    " and the same command resumes an interrupted one. It works on a local instance, and on Azure with the"
    " kubeconfig of a cluster and your own sign-in.",
)

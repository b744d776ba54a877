"""The cloud half of `podpass doctor`: its options, and a reader with the caller's sign-in."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podpass.cli.account_options import INSTANCE, AccountOptions, build_options
from podpass.cli.azure_account import AzureAccount, choose_method, sign_in
from podpass.cli.completion_values import complete_vaults
from podpass.cli.output import print_message
from podpass.errors import UsageError
from podpass.names import DOCTOR_AGENT

if TYPE_CHECKING:
    from podpass.diagnose.doctor.cloud_facts import CloudAccount, CloudReader
    from podpass.diagnose.doctor.directory_facts import RequestedResource
    from podpass.kubernetes.client import KubeClient
    from podpass.lab.data.datadir import DataDir

# The doctor reports a service that does not respond, and does not wait for it.
_SECONDS = 5.0
_PUBLIC = "AzurePublicCloud"

OPTIONS = (
    *build_options(without=("data_dir", "kubeconfig")),
    click.Option(
        ["--vault"],
        default="",
        metavar="NAME|URL|ID",
        shell_complete=complete_vaults,
        help="Key vault whose secrets the workload reads; checks its role there.",
    ),
    click.Option(
        ["--resource"],
        default="",
        metavar="ID",
        help="Resource id of any resource that the workload uses.",
    ),
    click.Option(
        ["--action"],
        default="",
        metavar="ACTION",
        help="Action at the resource that its roles must allow.  [default: any]",
    ),
    click.Option(
        ["--data-action"],
        default="",
        metavar="ACTION",
        help="Data action that its roles must allow.  [default for a vault: read secrets]",
    ),
    click.Option(
        ["--exchange"],
        is_flag=True,
        help="Request a token of the ServiceAccount and exchange it. A local instance always does.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudOptions:
    """The account that reads, the resource of the workload, and whether a token is exchanged."""

    account: AccountOptions
    wanted: "RequestedResource | None" = None
    exchange: bool = False

    @classmethod
    def from_context(
        cls,
        ctx: click.Context,
        data_dir: "DataDir",
        *,
        vault: str,
        resource: str,
        action: str,
        data_action: str,
        exchange: bool,
    ) -> "CloudOptions":
        """Collect the options of the command. Raises UsageError."""
        from podpass.diagnose.doctor.directory_facts import parse_requested_resource

        return cls(
            account=replace(AccountOptions.from_context(ctx), data_dir=str(data_dir.root)),
            wanted=parse_requested_resource(vault, resource, action, data_action),
            exchange=exchange,
        )


async def open_cloud(
    chosen: CloudOptions, environ: Mapping[str, str], cluster: "KubeClient"
) -> "CloudReader":
    """Return a reader; without a sign-in, it reads what anyone may read.

    For the cluster of the running instance, its administrator signs in, unless the options say otherwise.
    Raises UsageError for an option.
    """
    from podpass.diagnose.doctor.cloud_facts import CloudReader
    from podpass.facts import Unread
    from podpass.provision.connection import AzureConnection, RequestLimits
    from podpass.provision.endpoints import find_endpoints
    from podpass.provision.errors import ApiError, SignInFailed

    limits = RequestLimits(attempts=1, seconds=_SECONDS)
    options, exchanging = chosen.account, cluster if chosen.exchange else None
    if options.auth_method is None and _is_instance(options, cluster):
        options = replace(options, auth_method=INSTANCE)
    try:
        signed_in = await sign_in(options, environ, print_message, limits)
    except (ApiError, SignInFailed, UsageError) as exc:
        if isinstance(exc, UsageError) and options.auth_method is not None:
            raise
        stack_file = environ.get("AZURE_ENVIRONMENT_FILEPATH", "")
        endpoints = find_endpoints(options.azure_env or _PUBLIC, stack_file=stack_file)
        connection = AzureConnection.from_environ(environ, agent=DOCTOR_AGENT, limits=limits)
        reason = f"no sign-in: {exc.message}" + (f"; {exc.hint}" if exc.hint else "")
        return CloudReader(endpoints, connection, Unread(reason), cluster=exchanging)
    # Before the first token is requested, so that the log of the token service marks every request.
    signed_in.connection.agent = DOCTOR_AGENT
    is_instance = choose_method(options, environ) == INSTANCE
    return CloudReader(
        signed_in.endpoints,
        signed_in.connection,
        to_cloud_account(signed_in, is_instance=is_instance),
        wanted=chosen.wanted,
        cluster=cluster if is_instance else exchanging,
    )


def _is_instance(chosen: AccountOptions, cluster: "KubeClient") -> bool:
    """Return whether a cluster is that of the running instance."""
    from podpass.cli.client import read_status
    from podpass.lab.data.datadir import DataDir

    status = read_status(DataDir(Path(chosen.data_dir))) if chosen.data_dir else None
    return status is not None and status["kubernetes"].get("server") == cluster.server


def to_cloud_account(account: AzureAccount, *, is_instance: bool) -> "CloudAccount":
    """Return what a reader needs of an account."""
    from podpass.diagnose.doctor.cloud_facts import CloudAccount

    return CloudAccount(
        graph=account.graph_api(),
        manager=account.manager_api(),
        subscription_id=account.subscription_id,
        tenant_id=account.tenant_id,
        is_instance=is_instance,
        login_hosts=account.login_hosts,
    )

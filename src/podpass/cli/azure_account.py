"""The Azure account of a command: cloud, subscription, tenant and sign-in."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from podpass.cli.account_options import (
    CERTIFICATE,
    CLI,
    DEFAULT,
    INSTANCE,
    METHODS,
    SECRET,
    AccountOptions,
)
from podpass.cli.azure_cli_profile import find_cli_subscription
from podpass.errors import UsageError
from podpass.guids import is_guid

if TYPE_CHECKING:
    from podpass.lab.data.datadir import DataDir
    from podpass.provision.account import AzureAccount
    from podpass.provision.connection import AzureConnection, Report, RequestLimits
    from podpass.provision.endpoints import Endpoints
    from podpass.provision.sign_in import TokenSource

_NIL = "00000000-0000-0000-0000-000000000000"
# Set by `podpass env`: the shell works with this instance.
_MARKER = "PODPASS_ENV"


async def sign_in(
    chosen: AccountOptions,
    environ: Mapping[str, str],
    report: "Report",
    limits: "RequestLimits | None" = None,
) -> "AzureAccount":
    """Check the options, find subscription and tenant, and prepare the sign-in; tokens are requested later.

    Raises UsageError for an option; ApiError and SignInFailed for the tenant.
    """
    method = choose_method(chosen, environ)
    if method == INSTANCE:
        return _use_instance(chosen, environ, report, limits)
    from podpass.provision.account import AzureAccount
    from podpass.provision.connection import PATIENT, AzureConnection
    from podpass.provision.endpoints import find_endpoints
    from podpass.provision.resource_manager import discover_tenant

    prepare = _PREPARE[method](chosen, environ)
    subscription = chosen.subscription_id
    if not is_guid(subscription) or subscription == _NIL:
        subscription = find_cli_subscription(environ)
        report("No subscription provided, using selected subscription from Azure CLI")
    endpoints = find_endpoints(
        chosen.azure_env or "AzurePublicCloud",
        stack_file=environ.get("AZURE_ENVIRONMENT_FILEPATH", ""),
    )
    trace = report if chosen.debug else _ignore
    connection = AzureConnection.from_environ(
        environ, report=report, trace=trace, limits=limits or PATIENT
    )
    tenant = await discover_tenant(connection, endpoints.manager, subscription)
    return AzureAccount(
        endpoints=endpoints,
        subscription_id=subscription,
        tenant_id=tenant,
        tokens=prepare(connection, endpoints, tenant),
        connection=connection,
    )


def _ignore(_: str) -> None:
    """Log nothing."""


def choose_method(chosen: AccountOptions, environ: Mapping[str, str]) -> str:
    """Return the way to sign in. Raises UsageError for an unknown one."""
    method = chosen.auth_method
    if method is None:
        method = INSTANCE if environ.get(_MARKER) and not chosen.client_secret else CLI
    if not method:
        raise UsageError("--auth-method is a required parameter")
    if method == CLI and chosen.client_id and chosen.client_secret:
        method = SECRET
    if method not in METHODS:
        raise UsageError(
            f'--auth-method: ERROR: method unsupported. method="{method}"',
            hint=f"use one of {', '.join(METHODS)}",
        )
    return method


def default_to_instance(chosen: AccountOptions, environ: Mapping[str, str]) -> AccountOptions:
    """Return the options, with the sign-in to the running instance without another cluster or account.

    The subscription of the instance is no other account: no other directory has it.
    """
    from podpass.cli.client import read_status
    from podpass.cli.cluster import find_instance_kubeconfig, find_kubeconfig

    given = (chosen.auth_method, chosen.kubeconfig, chosen.azure_env)
    status = None if any(given) else read_status(_locate(chosen, environ))
    if status is None or chosen.subscription_id.lower() not in ("", status["subscription_id"]):
        return chosen
    has_another = environ.get("KUBECONFIG") and not chosen.data_dir
    if has_another and find_kubeconfig(environ) != find_instance_kubeconfig(status):
        return chosen
    return replace(chosen, auth_method=INSTANCE)


_Prepare = Callable[["AzureConnection", "Endpoints", str], "TokenSource"]


def _prepare_cli(_: AccountOptions, environ: Mapping[str, str]) -> _Prepare:
    from podpass.provision.sign_in import AzureCliSignIn

    return lambda _connection, _endpoints, tenant: AzureCliSignIn(tenant_id=tenant, environ=environ)


def _prepare_secret(chosen: AccountOptions, environ: Mapping[str, str]) -> _Prepare:
    from podpass.crypto.secret import Secret
    from podpass.provision.sign_in import SecretSignIn

    client_id = _client_id(chosen, environ)
    secret = chosen.client_secret or environ.get("AZURE_CLIENT_SECRET", "")
    if not secret:
        raise UsageError('--client-secret must be specified when --auth-method="client_secret"')
    return lambda connection, endpoints, tenant: SecretSignIn(
        connection=connection,
        login=endpoints.login,
        tenant_id=tenant,
        client_id=client_id,
        client_secret=Secret(secret),
    )


def _prepare_certificate(chosen: AccountOptions, environ: Mapping[str, str]) -> _Prepare:
    from podpass.provision.sign_in import CertificateSignIn, load_certificate

    client_id = _client_id(chosen, environ)
    if not (chosen.certificate_path and chosen.private_key_path):
        raise UsageError(
            "--certificate-path and --private-key-path must be specified when"
            ' --auth-method="client_certificate"'
        )
    certificate, key = load_certificate(
        Path(chosen.certificate_path), Path(chosen.private_key_path)
    )
    return lambda connection, endpoints, tenant: CertificateSignIn(
        connection=connection,
        login=endpoints.login,
        tenant_id=tenant,
        client_id=client_id,
        certificate=certificate,
        key=key,
    )


def _prepare_default(_: AccountOptions, __: Mapping[str, str]) -> _Prepare:
    from podpass.provision.sign_in import AzureIdentitySignIn

    return lambda _connection, endpoints, tenant: AzureIdentitySignIn(
        tenant_id=tenant, login=endpoints.login
    )


_PREPARE: Mapping[str, Callable[[AccountOptions, Mapping[str, str]], _Prepare]] = {
    CLI: _prepare_cli,
    SECRET: _prepare_secret,
    CERTIFICATE: _prepare_certificate,
    DEFAULT: _prepare_default,
}


def _client_id(chosen: AccountOptions, environ: Mapping[str, str]) -> str:
    client_id = chosen.client_id or environ.get("AZURE_CLIENT_ID", "")
    if not is_guid(client_id):
        raise UsageError(
            f"parsing --client-id: invalid UUID length: {len(client_id)}"
            if len(client_id) != len(_NIL)
            else "parsing --client-id: invalid UUID format"
        )
    return client_id


def _use_instance(
    chosen: AccountOptions,
    environ: Mapping[str, str],
    report: "Report",
    limits: "RequestLimits | None",
) -> "AzureAccount":
    """Sign in as the administrator of the local instance; every request goes to its gateway."""
    from podpass.cli.client import check_not_stopped, require_status
    from podpass.cli.cluster import find_instance_kubeconfig
    from podpass.crypto.secret import Secret
    from podpass.provision.account import AzureAccount
    from podpass.provision.connection import LOCAL, AzureConnection
    from podpass.provision.endpoints import find_endpoints
    from podpass.provision.sign_in import PasswordSignIn

    data_dir = _locate(chosen, environ)
    status = require_status(data_dir)
    check_not_stopped(
        data_dir, status["pids"]["podpass"]
    )  # without it, a request would wait for a minute
    if chosen.azure_env.lower() not in ("", "azurepubliccloud", "azurecloud"):
        raise UsageError("a local instance is AzurePublicCloud: omit --azure-env")
    subscription, endpoints = status["subscription_id"], find_endpoints("AzurePublicCloud")
    if chosen.subscription_id and chosen.subscription_id.lower() != subscription:
        raise UsageError(
            f"the instance has no subscription {chosen.subscription_id}",
            hint=f"omit --subscription-id, or pass {subscription}",
        )
    connection = AzureConnection(
        https_proxy=status["gateway"],
        ca_file=Path(status["ca_file"]),
        report=report,
        trace=report if chosen.debug else _ignore,
        limits=limits or LOCAL,
    )
    tokens = PasswordSignIn(
        connection=connection,
        login=endpoints.login,
        tenant_id=status["tenant_id"],
        username=status["admin"]["username"],
        password=Secret(status["admin"]["password"]),
    )
    return AzureAccount(
        endpoints=endpoints,
        subscription_id=subscription,
        tenant_id=status["tenant_id"],
        tokens=tokens,
        connection=connection,
        kubeconfig=find_instance_kubeconfig(status),
        login_hosts=(urlsplit(status["authority"]).netloc,),
        log_file=data_dir.log_file,
    )


def choose_kubeconfig(chosen: AccountOptions, account: "AzureAccount") -> Path | None:
    """Return the kubeconfig of the options, else that of the instance, else None: that of kubectl.

    Raises UsageError for an instance without a cluster: it does not trust that of kubectl.
    """
    if chosen.kubeconfig:
        return Path(chosen.kubeconfig)
    if account.is_instance and account.kubeconfig is None:
        raise UsageError(
            "the instance is `podpass cloud serve`, which has no cluster",
            hint="pass the kubeconfig of a cluster that it trusts: --kubeconfig FILE",
        )
    return account.kubeconfig


def _locate(chosen: AccountOptions, environ: Mapping[str, str]) -> "DataDir":
    from podpass.lab.data.datadir import locate

    given = chosen.data_dir or environ.get("PODPASS_DATA_DIR") or environ.get(_MARKER)
    return locate(Path(given) if given else None, environ)

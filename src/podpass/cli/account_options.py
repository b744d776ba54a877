"""The options by which a command chooses its Azure account.

They are those of azure-workload-identity, and may be before or after a subcommand, as there.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem

CLI, SECRET, CERTIFICATE = "cli", "client_secret", "client_certificate"
INSTANCE, DEFAULT = "instance", "default"
_METHOD_LIST = "cli, client_secret, client_certificate, instance (local), default (azure-identity)"
METHODS = (CLI, SECRET, CERTIFICATE, INSTANCE, DEFAULT)
_META = "podpass.azure"

_OPTIONS: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "azure_env": (
        ("--azure-env",),
        "CLOUD",
        "The target Azure cloud.  [default: AzurePublicCloud]",
    ),
    "subscription_id": (
        ("-s", "--subscription-id", "--subscription"),
        "ID",
        "The Azure subscription.  [default: that of the Azure CLI]",
    ),
    "auth_method": (
        ("--auth-method",),
        "METHOD",
        f"{_METHOD_LIST}.  [default: instance in a shell of `podpass env`, else cli]",
    ),
    "client_id": (
        ("--client-id",),
        "ID",
        "Client ID, for --auth-method client_secret and client_certificate; or AZURE_CLIENT_ID.",
    ),
    "client_secret": (
        ("--client-secret",),
        "SECRET",
        "Client secret. Other users of the machine see arguments: prefer AZURE_CLIENT_SECRET.",
    ),
    "certificate_path": (
        ("--certificate-path",),
        "F",
        "Client certificate in PEM format, for --auth-method client_certificate.",
    ),
    "private_key_path": (
        ("--private-key-path",),
        "F",
        "RSA key of the certificate in PEM format, for --auth-method client_certificate.",
    ),
    "data_dir": (
        ("--data-dir",),
        "D",
        "Data directory of the instance, for --auth-method instance.  [default: PODPASS_DATA_DIR]",
    ),
    "kubeconfig": (
        ("--kubeconfig",),
        "F",
        "Kubeconfig of the cluster.  [default: KUBECONFIG, then ~/.kube/config]",
    ),
}


def _store(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Store a given value where the context of every subcommand finds it."""
    if value not in (None, False):
        ctx.meta.setdefault(_META, {})[parameter.name] = value


def set_debug(ctx: click.Context, *, on: bool) -> None:
    """Switch the log of requests on or off for every subcommand."""
    ctx.meta.setdefault(_META, {})["debug"] = on


def _complete(
    _: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the values of the options that have fixed ones."""
    from podpass.provision.endpoints import CLOUD_NAMES

    values = {"auth_method": METHODS, "azure_env": CLOUD_NAMES}.get(parameter.name or "", ())
    return [CompletionItem(each) for each in values if each.startswith(incomplete)]


def build_options(without: Collection[str] = ()) -> list[click.Option]:
    """Return the options of every command that uses an Azure account, without those that it has itself."""
    found = [
        click.Option(
            [*flags, name],
            metavar=metavar,
            help=help_text,
            callback=_store,
            expose_value=False,
            shell_complete=None if metavar == "F" else _complete,
        )
        for name, (flags, metavar, help_text) in _OPTIONS.items()
        if name not in without
    ]
    debug = click.Option(
        ["--debug"],
        is_flag=True,
        callback=_store,
        expose_value=False,
        help="Log each request to Azure, without its content.",
    )
    return [*found, debug]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountOptions:
    """The values of the options; an empty text is an option that was not given."""

    azure_env: str = ""
    subscription_id: str = ""
    auth_method: str | None = None
    client_id: str = ""
    client_secret: str = ""
    certificate_path: str = ""
    private_key_path: str = ""
    data_dir: str = ""
    kubeconfig: str = ""
    debug: bool = False

    @classmethod
    def from_context(cls, ctx: click.Context) -> "AccountOptions":
        """Collect the options of a command and of the groups above it."""
        return cls(**ctx.meta.get(_META, {}))

"""`podpass webhook`: run the admission webhook, with azure-workload-identity's flags in Go syntax."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from podpass.cli.go_flags import GoFlags, build_version_info, has_version_flag, remove_version_flag
from podpass.settings.webhook import WebhookSettings

_CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@click.command(
    cls=GoFlags,
    settings=WebhookSettings,
    variables="Environment variables (CONFIG_NAME overrides NAME)",
    context_settings={"help_option_names": ["--help"]},
)
def command(arguments: tuple[str, ...]) -> None:
    """Run the admission webhook.

    Flags follow Go syntax: one or two dashes, the value after = or as the next argument; a switch takes a
    value only after =. Other arguments are refused. The webhook uses the API server of its own cluster, or
    of --kubeconfig. /readyz names what is missing until it is ready. On SIGTERM it completes requests in
    flight and exits; a second SIGTERM exits immediately.
    """
    from podpass.cli.invocation import environ

    if has_version_flag(WebhookSettings, arguments):
        click.echo(build_version_info(environ()))
        return
    with _without_system_cas():
        from podpass.servers.webhook.webhook import run

    run(WebhookSettings.from_environ(environ(), remove_version_flag(arguments)), environ())


@contextmanager
def _without_system_cas() -> Iterator[None]:
    """Hide the system's CA bundle while the HTTP client is imported; loading it would keep 2 MB of memory.

    The webhook does not need it: it verifies the API server with the cluster's CA. Code that needs the
    system's bundle loads it when needed.
    """
    environ = os.environ  # noqa: TID251 OpenSSL reads them from here only
    before = {name: environ.get(name) for name in _CA_VARIABLES}
    environ.update(dict.fromkeys(_CA_VARIABLES, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del environ[name]
            else:
                environ[name] = value

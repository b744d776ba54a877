"""`podpass proxy`: run the migration sidecar, with azure-workload-identity's flags in Go syntax."""

import click

from podpass.cli.go_flags import GoFlags, build_version_info, has_version_flag, remove_version_flag
from podpass.settings.proxy import ProxySettings


@click.command(
    cls=GoFlags, settings=ProxySettings, context_settings={"help_option_names": ["--help"]}
)
def command(arguments: tuple[str, ...]) -> None:
    """Run the migration sidecar: answer IMDS token requests with tokens of Workload ID.

    The webhook adds it to pods with the annotation azure.workload.identity/inject-proxy-sidecar. It listens
    on 127.0.0.1 and forwards requests for other paths to the metadata service. Flags follow Go syntax: one or
    two dashes, the value after = or as the next argument; a switch takes a value only after =. On SIGTERM it
    completes requests in flight and exits.
    """
    from podpass.cli.invocation import environ

    if has_version_flag(ProxySettings, arguments):
        click.echo(build_version_info(environ()))
        return
    settings = ProxySettings.from_environ(environ(), remove_version_flag(arguments))
    if settings.probe:
        from podpass.imds.probe import wait_until_ready

        wait_until_ready(settings.proxy_port, settings.proxy_address)
        return
    from podpass.servers.proxy.proxy import run

    run(settings)

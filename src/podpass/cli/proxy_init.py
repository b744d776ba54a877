"""`podpass proxy-init`: redirect the pod's IMDS requests to the sidecar."""

import click

from podpass.cli.go_flags import GoFlags, build_version_info, has_version_flag, remove_version_flag
from podpass.settings.proxy import ProxyInitSettings


@click.command(
    cls=GoFlags, settings=ProxyInitSettings, context_settings={"help_option_names": ["--help"]}
)
def command(arguments: tuple[str, ...]) -> None:
    """Redirect a pod's requests to the metadata service to the sidecar, with iptables.

    The webhook adds it as an init container to pods with the annotation
    azure.workload.identity/inject-proxy-sidecar. It needs root with the capabilities NET_ADMIN and NET_RAW,
    and changes the IPv4 rules of the pod's network namespace only: outside a pod it refuses to run. In a pod
    without IPv4 addresses it also adds a route, because the kernel refuses connections without one before it
    reads the rules. A second run changes nothing. Flags follow Go syntax.
    """
    from podpass.cli.invocation import environ
    from podpass.imds.redirect_rules import Redirect
    from podpass.servers.proxy.metadata_route import ensure_route
    from podpass.servers.proxy.redirect import check_in_pod, install

    if has_version_flag(ProxyInitSettings, arguments):
        click.echo(build_version_info(environ()))
        return
    settings = ProxyInitSettings.from_environ(environ(), remove_version_flag(arguments))
    if not settings.force:
        check_in_pod(environ())
    redirect = Redirect(
        metadata_ip=settings.metadata_ip,
        metadata_port=settings.metadata_port,
        proxy_port=settings.proxy_port,
        proxy_uid=settings.proxy_uid,
    )
    for rule in install(redirect):
        click.echo(rule)
    if ensure_route(settings.metadata_ip):
        click.echo(f"added a route to {settings.metadata_ip}: the pod had none", err=True)

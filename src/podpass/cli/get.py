"""`podpass get`."""

import click

from podpass.cli import options
from podpass.cli.client import check_has_cluster, require_status
from podpass.lab.data.datadir import DataDir

_VALUES = {
    "tenant": ("tenant_id",),
    "subscription": ("subscription_id",),
    "issuer": ("kubernetes", "issuer"),
    "kubernetes": ("kubernetes", "server"),
    "kubeconfig": ("kubernetes", "kubeconfig"),
    "webhook": ("kubernetes", "webhook"),
    "gateway": ("gateway",),
    "authority": ("authority",),
    "vault": ("vault",),
    "resource-manager": ("resource_manager",),
    "graph": ("graph",),
    "ca-file": ("ca_file",),
    "data-dir": ("data_dir",),
    "log": ("log",),
    "admin": ("admin", "username"),
    "password": ("admin", "password"),
}


@click.command
@options.data_dir
@click.argument("name", metavar="NAME", type=click.Choice(list(_VALUES)))
def command(data_dir: DataDir, name: str) -> None:
    """Print one value of the instance, such as its tenant or issuer.

    \b
    tenant, subscription             ids of the tenant and of its subscription
    issuer, kubernetes, kubeconfig   the cluster: its issuer, API server and kubeconfig
    gateway, webhook                 addresses of the gateway and of the webhook
    authority, vault                 addresses of the token service and of Key Vault, without the gateway
    resource-manager, graph          addresses of the two APIs, without the gateway
    ca-file, data-dir, log           files of the instance
    admin, password                  sign-in of the administrator
    """
    value = require_status(data_dir)
    if _VALUES[name][0] == "kubernetes":
        check_has_cluster(data_dir, value)
    for member in _VALUES[name]:
        value = value[member]
    click.echo(value)

"""Names that the shell completes: identities, vaults, namespaces, pods and ServiceAccounts.

Without a running instance, or a cluster that responds, there are none: a completion prints no error.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from podpass.cli.options import default_data_dir, environ
from podpass.errors import Error
from podpass.lab.data.datadir import DataDir, locate

if TYPE_CHECKING:
    from podpass.kubernetes.client import KubeClient

Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_CORE = "/api/v1"
_PAGE = {"limit": "500"}


def complete_any(*completions: Completion) -> Completion:
    """Return a completion with the values of all given completions, each value once."""

    def complete(ctx: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
        found = [item for each in completions for item in each(ctx, parameter, text)]
        return [*{item.value: item for item in found}.values()]

    return complete


def complete_identities(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of identities; an identity with a duplicate name is completed by client id."""
    from podpass.cli.client import list_identities

    try:
        rows, _skipped = list_identities(_data_dir(ctx))
    except Error:
        return []
    names = [row["name"] for row in rows]
    items = [
        CompletionItem(row["name"] if names.count(row["name"]) == 1 else row["client_id"])
        for row in rows
    ]
    return [each for each in items if each.value.startswith(incomplete)]


def complete_vaults(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of vaults."""
    from podpass.cli.client import call_control

    try:
        rows = call_control(_data_dir(ctx), "GET", "/vaults")["value"]
    except Error:
        return []
    return [CompletionItem(row["name"]) for row in rows if row["name"].startswith(incomplete)]


def complete_namespaces(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of namespaces."""
    return _list_objects(ctx, f"{_CORE}/namespaces", incomplete)


def complete_pods(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of pods in the chosen namespace."""
    return _list_objects(ctx, f"{_CORE}/namespaces/{_namespace(ctx)}/pods", incomplete)


def complete_workloads(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of pods in the chosen namespace, and its controllers as `deployment/NAME`."""
    apis = {"deployment": "apps", "statefulset": "apps", "daemonset": "apps", "job": "batch"}
    prefix, slash, name = incomplete.partition("/")
    if slash:
        found, kinds = [], [kind for kind in apis if kind == prefix]
    else:
        found = complete_pods(ctx, parameter, incomplete)
        kinds = [kind for kind in apis if prefix and kind.startswith(prefix)]
    for kind in kinds:
        path = f"/apis/{apis[kind]}/v1/namespaces/{_namespace(ctx)}/{kind}s"
        names = _list_objects(ctx, path, name)
        found += [CompletionItem(f"{kind}/{each.value}") for each in names]
    return found


def complete_service_accounts(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return `admin` and the names of ServiceAccounts in the chosen namespace."""
    path = f"{_CORE}/namespaces/{_namespace(ctx)}/serviceaccounts"
    found = _list_objects(ctx, path, incomplete)
    return [*([CompletionItem("admin")] if "admin".startswith(incomplete) else []), *found]


def _namespace(ctx: click.Context) -> str:
    return str(ctx.params.get("namespace") or "default")


def _data_dir(ctx: click.Context) -> DataDir:
    """Return the data directory of an incomplete command line."""
    given = ctx.params.get("data_dir") or ctx.find_root().params.get("data_dir")
    if isinstance(given, DataDir):
        return given
    return default_data_dir() if given is None else locate(given, environ())


def complete_accounts_of_all_namespaces(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return `admin`, and the ServiceAccounts of the cluster as NAMESPACE/NAME."""
    found = _read(ctx, f"{_CORE}/serviceaccounts")
    accounts = [f"{each['namespace']}/{each['name']}" for each in found]
    return [CompletionItem(each) for each in ["admin", *accounts] if each.startswith(incomplete)]


def _list_objects(ctx: click.Context, path: str, incomplete: str) -> list[CompletionItem]:
    names = [each["name"] for each in _read(ctx, path)]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _read(ctx: click.Context, path: str) -> list[dict[str, Any]]:
    """Read the metadata of objects; nothing if the cluster does not respond."""
    import asyncio

    async def read() -> list[dict[str, Any]]:
        async with _connect(ctx) as client:
            page = await client.get(path, _PAGE, metadata_only=True)
        return [item["metadata"] for item in page["items"]]

    try:
        return asyncio.run(read())
    except Error:
        return []


def _connect(ctx: click.Context) -> "KubeClient":
    """Connect to the cluster of the command: that of its kubeconfig, or that of the instance."""
    from podpass.cli.cluster import connect, connect_to_cluster
    from podpass.kubernetes.client import KubeClient

    parameters = {each.name for each in ctx.command.params}
    kubeconfig = ctx.params.get("kubeconfig")
    if "kubeconfig" not in parameters:
        return KubeClient.from_kubeconfig(_data_dir(ctx).admin_kubeconfig)
    if "data_dir" not in parameters:  # `podpass cloud` has nothing to do with a running instance
        return connect(kubeconfig, environ())
    return connect_to_cluster(_data_dir(ctx), kubeconfig, environ())

"""Commands that run in the cluster: `az aks command invoke`.

Source:  https://learn.microsoft.com/rest/api/aks/managed-clusters/run-command
"""

from podpass.directory.resource_manager import errors, wire
from podpass.directory.resource_manager.model import (
    ManagerResponse,
    OperationContext,
    build_route,
)
from podpass.lab.services.clusters import resource_manager as clusters
from podpass.lab.services.clusters import wire as cluster_wire
from podpass.lab.services.clusters.context import cluster_of
from podpass.lab.services.clusters.model import TYPE

_MAX_COMMAND, _MAX_TOKEN = 64 * 1024, 16 * 1024


async def _run(context: OperationContext) -> ManagerResponse:
    cluster = await clusters.require(context)
    command = wire.text(context.body, "command", limit=_MAX_COMMAND)
    if not command:
        raise errors.bad_request("InvalidParameter", "'command' is missing.")
    if context.body.get("context"):
        raise errors.ManagerError(
            501,
            "NotImplemented",
            "podpass does not copy files to a command. Write the content into the command, or use kubectl"
            " after az aks get-credentials.",
        )
    token = ""
    # Otherwise the caller would become administrator of a cluster in which it has fewer rights.
    if cluster_wire.has_entra_integration(cluster.document):
        token = wire.text(context.body, "clusterToken", limit=_MAX_TOKEN) or ""
        if not token:
            text = "The cluster has Entra integration: 'clusterToken' must be the caller's token."
            raise errors.bad_request("InvalidParameter", text)
    await clusters.record(context, cluster, f"{TYPE}/runCommand/action")
    with clusters.converting_refusals():
        command_id = await cluster_of(context).run_command(command, token)
    path = f"{cluster.resource_id}/commandResults/{command_id}"
    url = f"{context.endpoints.base}{path}?api-version={context.query.api_version}"
    return ManagerResponse(status=202, headers=(("Location", url), ("Retry-After", "1")))


async def _get_result(context: OperationContext) -> ManagerResponse:
    await clusters.require(context)
    command_id = context.params["command"]
    found = await cluster_of(context).command_result(command_id)
    if found is None:
        raise errors.not_found("NotFound", f"There is no command '{command_id}'.")
    properties = {
        "provisioningState": found.state,
        "startedAt": found.started,
        "finishedAt": found.finished or None,
        "exitCode": found.exit_code,
        "logs": found.logs,
        "reason": found.reason or None,
    }
    url = f"{context.endpoints.base}{context.path}?api-version={context.query.api_version}"
    running = found.state == "Running"
    return ManagerResponse(
        status=202 if running else 200,
        body={
            "id": command_id,
            "properties": properties,
            "name": command_id,
            "type": f"{TYPE}/commandResults",
        },
        headers=(("Location", url), ("Retry-After", "1")) if running else (),
    )


_ONE = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{TYPE}/{{name}}"

ROUTES = (
    build_route(
        "POST",
        f"{_ONE}/runCommand",
        "run command in cluster",
        f"{TYPE}/runCommand/action",
        _run,
        reads_body=True,
    ),
    build_route(
        "GET",
        f"{_ONE}/commandResults/{{command}}",
        "show result of command",
        f"{TYPE}/commandResults/read",
        _get_result,
    ),
)

"""Resource Manager, Graph and the portal's API on one port, routed by host name, otherwise by path."""

from podpass import names
from podpass.http.server import App, Receive, Scope, Send, header

_GRAPH_PATHS = ("v1.0", "beta", "oidc")


def create_app(manager: App, graph: App, portal: App | None = None) -> App:
    """Create the application that routes each request to its API.

    Under other host names, such as `localhost`, paths below /v1.0, /beta and /oidc belong to Graph. Resource
    Manager has no such paths. Without `portal`, its host name belongs to Resource Manager.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        host = (header(scope, b"host") or "").partition(":")[0].lower()
        if host == names.PORTAL_HOST and portal is not None:
            await portal(scope, receive, send)
        else:
            await (graph if _is_graph(host, scope) else manager)(scope, receive, send)

    return app


def _is_graph(host: str, scope: Scope) -> bool:
    if host in (names.GRAPH_HOST, names.ARM_HOST):
        return host == names.GRAPH_HOST
    return str(scope["path"]).lstrip("/").partition("/")[0] in _GRAPH_PATHS

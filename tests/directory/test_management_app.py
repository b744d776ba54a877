"""Resource Manager, Graph and the portal share a port: a request is routed by host name, then by path."""

import pytest

from podpass.directory.management_app import create_app
from podpass.http.server import Receive, Scope, Send


@pytest.mark.parametrize(
    ("host", "path", "api"),
    [
        ("graph.microsoft.com", "/v1.0/applications", "graph"),
        ("graph.microsoft.com:443", "/subscriptions", "graph"),
        ("GRAPH.microsoft.com", "/v1.0/me", "graph"),
        ("management.azure.com", "/subscriptions", "manager"),
        ("management.azure.com", "/v1.0/applications", "manager"),
        ("localhost:18446", "/v1.0/applications", "graph"),
        ("localhost:18446", "//beta/applications", "graph"),
        ("localhost:18446", "/metadata/endpoints", "manager"),
        ("localhost:18446", "/v1.0applications", "manager"),
        ("main.iam.ad.ext.azure.com", "/api/RegisteredApplications", "portal"),
        ("MAIN.iam.ad.ext.azure.com:443", "/v1.0/me", "portal"),
        ("evil.example", "/subscriptions", "manager"),
        (None, "/subscriptions", "manager"),
    ],
)
async def test_request_is_routed_to_its_api(host: str | None, path: str, api: str) -> None:
    requested = []

    def recording_app(name: str) -> "object":
        async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
            requested.append(name)

        return app

    app = create_app(*map(recording_app, ("manager", "graph", "portal")))  # type: ignore[arg-type]
    headers = [] if host is None else [(b"host", host.encode())]
    await app({"headers": headers, "path": path}, None, None)  # type: ignore[arg-type]
    assert requested == [api]

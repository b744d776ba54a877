"""Serve the WebSocket handshakes of an application as ASGI scopes of type `websocket`."""

from podpass.http.server import App, Receive, Scope, Send, header
from podpass.http.upgrade import offered_upgrade


def websocket_scopes(app: App) -> App:
    """Return an application that gets handshakes as `websocket`, and other requests unchanged."""

    async def adapted(scope: Scope, receive: Receive, send: Send) -> None:
        upgrade = offered_upgrade(scope)
        if upgrade is None or (header(scope, b"upgrade") or "").lower() != "websocket":
            await app(scope, receive, send)
            return
        # Imported by the first handshake: most instances have none, and need less memory without.
        from podpass.http.websocket import run_websocket

        await run_websocket(app, scope, send, upgrade)

    return adapted

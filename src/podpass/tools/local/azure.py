"""The hosts of Azure Resource Manager and Microsoft Graph, until their stage exists.

They answer as those hosts do when something is wrong, so that a client prints our sentence instead of failing
on a name that nobody serves.
"""

import orjson

from podpass import names
from podpass.serve import App, Receive, Scope, Send, header, respond

_HINT = "use `podpass apply -f FILE` for identities, vaults and roles of this instance"


def create_app() -> App:
    """Make the application that says what is not there yet."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        host = (header(scope, b"host") or "").partition(":")[0].lower()
        what = "Microsoft Graph" if host == names.GRAPH_HOST else "Azure Resource Manager"
        message = f"podpass does not serve {what} yet; {_HINT}."
        await respond(
            send, 501, orjson.dumps({"error": {"code": "NotImplemented", "message": message}})
        )

    return app

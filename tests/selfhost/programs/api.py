"""A protected API that returns the caller and the signing key of its token. Run: python api.py FOLDER."""

import asyncio
import json
import os
import sys
from pathlib import Path

from podpass.errors import Error
from podpass.http import server
from podpass.resource.guard import Guard


async def main(folder: Path) -> None:
    guard = Guard(
        tenant_id=os.environ["TENANT"],
        audiences={os.environ["AUDIENCE"]},
        authorities=[os.environ["AUTHORITY"]],
    )

    async def app(scope: server.Scope, _receive: server.Receive, send: server.Send) -> None:
        try:
            caller = await guard.admit(server.header_values(scope, b"authorization"))
        except Error as exc:
            await server.respond(send, exc.status, json.dumps({"error": exc.message}).encode())
            return
        said = {"caller": caller.app_id, "key": caller.key_id}
        await server.respond(send, 200, json.dumps(said).encode())

    pem = str(folder / "localhost.pem")
    sock = server.bind("127.0.0.1", 0)
    async with server.serving(app, sock, server.server_tls(pem, pem)):
        print(sock.getsockname()[1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

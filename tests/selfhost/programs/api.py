"""A protected API: it says who calls, and by which key the token was signed. Run: python api.py FOLDER."""

import asyncio
import json
import os
import sys
from pathlib import Path

from podpass import serve
from podpass.errors import Error
from podpass.resource.guard import Guard


async def main(folder: Path) -> None:
    guard = Guard(
        tenant_id=os.environ["TENANT"],
        audiences={os.environ["AUDIENCE"]},
        authorities=[os.environ["AUTHORITY"]],
    )

    async def app(scope: serve.Scope, _receive: serve.Receive, send: serve.Send) -> None:
        try:
            caller = await guard.admit(serve.header_values(scope, b"authorization"))
        except Error as exc:
            await serve.respond(send, exc.status, json.dumps({"error": exc.message}).encode())
            return
        said = {"caller": caller.app_id, "key": caller.key_id}
        await serve.respond(send, 200, json.dumps(said).encode())

    pem = str(folder / "localhost.pem")
    sock = serve.bind("127.0.0.1", 0)
    async with serve.serving(app, sock, serve.server_tls(pem, pem)):
        print(sock.getsockname()[1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

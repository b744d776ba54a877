"""Probes and metrics, by a process that serves nothing else: it answers while every worker is busy.

    /healthz   the master beats, and some worker does: else nothing but a new start helps
    /readyz    some worker serves and the authority is not about to end
    /metrics   of all processes, for Prometheus

A database that is away does not make a replica unready. It is away for all of them: taking every one out of
the Service would give callers refused connections instead of 503 and when to come back. A replica that has
never reached it is unready: it has no keys.
"""

import asyncio
import socket
from pathlib import Path

import orjson

from podpass.http.server import JSON, App, Receive, Scope, Send, respond, serving
from podpass.servers.authority import metrics
from podpass.servers.authority.health_checks import Judge
from podpass.servers.authority.shared_status import State
from podpass.servers.authority.worker_status import Life


def create_app(judge: Judge, folder: Path) -> App:
    """Make the application of probes and metrics."""
    probes = {"/healthz": judge.healthz, "/readyz": judge.readyz}

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        path = scope["path"]
        if scope["method"] not in ("GET", "HEAD"):
            await respond(send, 405, b"", ((b"allow", b"GET, HEAD"),))
        elif path in probes:
            fine, facts = probes[path]()
            await respond(send, 200 if fine else 503, orjson.dumps(facts) + b"\n", (JSON,))
        elif path == "/metrics":
            body, kind = metrics.exposition(judge, folder)
            await respond(send, 200, body, ((b"content-type", kind),))
        else:
            await respond(send, 404, b"", ())

    return app


async def tell(life: Life, lifeline: int, sock: socket.socket, judge: Judge, folder: Path) -> int:
    """Serve probes and metrics until told to stop."""
    with life.beating(lifeline):
        async with serving(create_app(judge, folder), sock):
            life.tell(State.READY)
            await life.stop.wait()
            # Whoever asks at the very end is still told that it drains.
            await asyncio.sleep(0)
    return 0

"""Serve probes and metrics from a separate process, which responds while every worker is busy.

    /healthz   the supervisor and at least one worker have a heartbeat; otherwise a restart is required
    /readyz    at least one worker is ready, and the authority is not draining; with `?require=database`,
               the database must be up, too
    /metrics   metrics of all processes, for Prometheus

By default, a database outage does not make a replica unready. The database is unavailable to all replicas; if
the Service removed all of them, callers would get refused connections instead of 503 with Retry-After. A
replica that has never reached the database is unready, because it has no keys.
"""

import asyncio
import socket
from pathlib import Path
from urllib.parse import parse_qsl

import orjson

from podpass.http.limits import PROBE_LIMITS
from podpass.http.server import JSON, App, Receive, Scope, Send, respond, serving
from podpass.servers.authority import metrics
from podpass.servers.authority.health_checks import HealthChecker
from podpass.servers.authority.heartbeat import Heartbeat
from podpass.servers.authority.shared_status import ProcessState

_DATABASE = "database"


def create_app(checker: HealthChecker, metrics_directory: Path) -> App:
    """Create the ASGI application of probes and metrics."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        path = scope["path"]
        if scope["method"] not in ("GET", "HEAD"):
            await respond(send, 405, b"", ((b"allow", b"GET, HEAD"),))
        elif path == "/healthz":
            await _respond_probe(send, *checker.healthz())
        elif path == "/readyz":
            required = {value for name, value in _parse_query(scope) if name == "require"}
            if required - {_DATABASE}:
                await respond(send, 400, b"unknown requirement: use ?require=database\n", ())
            else:
                result = checker.readyz(requires_database=_DATABASE in required)
                await _respond_probe(send, *result)
        elif path == "/metrics":
            body, content_type = metrics.expose(checker, metrics_directory)
            await respond(send, 200, body, ((b"content-type", content_type),))
        else:
            await respond(send, 404, b"", ())

    return app


def _parse_query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


async def _respond_probe(send: Send, is_ok: bool, facts: dict[str, object]) -> None:
    await respond(send, 200 if is_ok else 503, orjson.dumps(facts) + b"\n", (JSON,))


async def run_health_server(
    heartbeat: Heartbeat,
    lifeline: int,
    sock: socket.socket,
    checker: HealthChecker,
    metrics_directory: Path,
) -> int:
    """Serve probes and metrics until SIGTERM; return the exit code."""
    with heartbeat.running(lifeline):
        async with serving(create_app(checker, metrics_directory), sock, limits=PROBE_LIMITS):
            heartbeat.set_state(ProcessState.READY)
            await heartbeat.shutdown.requested.wait()
            # One more iteration, so that a probe that has arrived still gets a response.
            await asyncio.sleep(0)
    return 0

"""Run `podpass issuer signer`: a gRPC server on a unix socket, with metrics and readiness over HTTP."""

import asyncio
import fcntl
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from podpass import files, log
from podpass.assertion.publishing.key_folder import KeyFolder
from podpass.clock import Clock, system
from podpass.errors import Error, UsageError
from podpass.http.limits import PROBE_LIMITS
from podpass.http.server import App, Receive, Scope, Send, respond, serving
from podpass.servers.file_limits import disable_core_dumps
from podpass.servers.listen import listen
from podpass.servers.shutdown_signal import ShutdownSignal
from podpass.servers.signer.keys import FolderKeySource
from podpass.settings.reading import DISABLED_ADDRESS

if TYPE_CHECKING:
    from prometheus_client.core import Metric

METHODS = ("Sign", "FetchKeys", "Metadata")
OUTCOMES = ("succeeded", "refused", "failed")


class SignerMetrics:
    """Counts requests by method and outcome, and reports the keys."""

    def __init__(self, source: FolderKeySource) -> None:
        self._source = source
        self.requests = Counter(
            {(method, outcome): 0 for method in METHODS for outcome in OUTCOMES}
        )

    def not_ready_reason(self) -> str | None:
        """Return why the signer cannot sign, or None."""
        try:
            self._source.current()
        except Error as exc:
            return exc.message
        return None

    def render(self) -> bytes:
        """Return the metrics in Prometheus text format."""
        from prometheus_client import CollectorRegistry, generate_latest

        families = list(self._families())

        class SignerFamilies:
            def collect(self) -> "list[Metric]":
                return families

        registry = CollectorRegistry()
        registry.register(SignerFamilies())
        return generate_latest(registry)

    def _families(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        requests = CounterMetricFamily(
            "podpass_signer_requests",
            "Requests of API servers, by method and outcome.",
            labels=["method", "outcome"],
        )
        for (method, outcome), count in self.requests.items():
            requests.add_metric([method, outcome], count)
        yield requests
        failures = CounterMetricFamily(
            "podpass_signer_key_read_failures", "Times that the key folder could not be read."
        )
        failures.add_metric([], self._source.failures)
        yield failures
        try:
            keys = self._source.current()
        except Error:
            return
        active = GaugeMetricFamily(
            "podpass_signer_active_key", "The key that signs.", labels=["kid"]
        )
        active.add_metric([keys.active.kid], 1)
        yield active
        yield GaugeMetricFamily(
            "podpass_signer_accepted_keys",
            "Keys that API servers accept.",
            value=len(keys.accepted),
        )


_log = logging.getLogger(__name__)

_GRACE_SECONDS = 5.0
_MAX_MESSAGE_BYTES = 64 * 1024
_MAX_SOCKET_CHARS = 100  # the kernel's limit is 107 bytes
_TEXT = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),)


def run(folder: Path, socket_path: Path, metrics_addr: str, clock: Clock = system) -> None:
    """Run the signer until a termination signal. Raises UsageError, PortInUse, before anything starts."""
    _require_grpc()
    log.configure()
    disable_core_dumps()
    socket_path = socket_path.absolute()
    lock = _lock_socket(socket_path)
    metrics_sock = None
    if metrics_addr != DISABLED_ADDRESS:
        metrics_sock = listen("--metrics-addr", metrics_addr)
    with lock:
        asyncio.run(_serve(FolderKeySource(KeyFolder(folder), clock), socket_path, metrics_sock))


def _require_grpc() -> None:
    try:
        import grpc  # noqa: F401
        from google import protobuf  # noqa: F401
    except ImportError as exc:
        raise UsageError(
            "the signer needs grpcio and protobuf",
            hint="install them: pip install 'podpass[issuer]'",
        ) from exc


def _lock_socket(path: Path) -> IO[bytes]:
    """Lock the socket, so that a second signer is refused; the kernel releases the lock of a killed process.

    Raises UsageError.
    """
    if len(str(path)) > _MAX_SOCKET_CHARS:
        raise UsageError(
            f"--socket is longer than {_MAX_SOCKET_CHARS} characters", hint="choose a shorter path"
        )
    try:
        files.create_private_folder(path.parent)
        lock = files.open_private(path.with_name(f".{path.name}.lock"))
    except OSError as exc:
        raise UsageError(
            f"{path.parent} cannot be used for the socket: {exc.strerror}",
            hint="choose another path with --socket",
        ) from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        lock.close()
        raise UsageError(
            f"another signer listens on {path}",
            hint="stop it, or choose another path with --socket",
        ) from exc
    return lock


async def _serve(
    source: FolderKeySource, socket_path: Path, metrics_sock: socket.socket | None
) -> None:
    metrics = SignerMetrics(source)
    async with AsyncExitStack() as stack:
        shutdown = stack.enter_context(ShutdownSignal())
        server = _create_server(source, metrics)
        # The socket gives access to signatures: only the owner may connect from the first moment on.
        before = os.umask(0o177)
        try:
            socket_path.unlink(missing_ok=True)
            server.add_insecure_port(f"unix:{socket_path}")
        finally:
            os.umask(before)
        await server.start()
        stack.push_async_callback(server.stop, _GRACE_SECONDS)
        if metrics_sock is not None:
            await stack.enter_async_context(
                serving(_http_app(metrics), metrics_sock, limits=PROBE_LIMITS)
            )
        reason = metrics.not_ready_reason()
        _log.info("signer_started", extra={"socket": str(socket_path), "not_ready": reason})
        await shutdown.requested.wait()
        _log.info("signer_stopping")


def _create_server(source: FolderKeySource, metrics: SignerMetrics) -> Any:
    import grpc.aio

    from podpass.servers.signer import messages
    from podpass.servers.signer.service import SignerService

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES)])
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _handle(name, method, metrics),
            request_deserializer=kind.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        for name, (method, kind) in SignerService(source).handlers().items()
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(messages.SERVICE, handlers),)
    )
    return server


def _handle(name: str, method: Callable[[Any], Any], metrics: SignerMetrics) -> Any:
    import grpc

    from podpass.servers.signer.service import BadClaims

    async def handle(request: Any, context: Any) -> Any:
        try:
            answer = method(request)
        except BadClaims as exc:
            metrics.requests[name, "refused"] += 1
            _log.warning("signer_request_refused", extra={"method": name, "error": exc.message})
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, exc.message)
        except Error as exc:
            metrics.requests[name, "failed"] += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, exc.message)
        else:
            metrics.requests[name, "succeeded"] += 1
            return answer

    return handle


def _http_app(metrics: SignerMetrics) -> App:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/metrics":
                await respond(send, 200, metrics.render(), _TEXT)
            case "/readyz":
                reason = metrics.not_ready_reason()
                body = f"{reason or 'ok'}\n".encode()
                await respond(send, 503 if reason else 200, body, _TEXT)
            case "/healthz":
                await respond(send, 200, b"ok\n", _TEXT)
            case _:
                await respond(send, 404, b"not found\n", _TEXT)

    return app

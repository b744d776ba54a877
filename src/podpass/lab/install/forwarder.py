"""Forward connections of this machine to the gateway of a cloud in a cluster.

Each connection is one stream through the API server to port 8443 of the cloud's pod. A connection that is
opened while the pod is replaced waits for the next pod: what the client has sent is sent again, until the
cloud has answered once, or has ended several streams without an answer. After the first answer, the end of
the stream is the end of the connection, and the client opens a new one.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from podpass.clock import Clock
from podpass.errors import Error
from podpass.kubernetes.client import BadKubeconfig, KubeClient, KubeError
from podpass.kubernetes.client.port_forward import PortForward, forward_port
from podpass.lab.gateway import gateway
from podpass.lab.install.object_names import PORT
from podpass.lab.install.rollout import NotInstalled, find_pod

_log = logging.getLogger(__name__)

_CHUNK = 32 * 1024
# A ClientHello fits; a client that sends more before the first answer is not connected to another pod.
_MAX_REPLAY = 64 * 1024
# Any program of this machine can connect, and each connection is one to the API server.
_MAX_CONNECTIONS = gateway.LIMITS.tunnels
_POLL_SECONDS = 0.5
# The kubelet reports within a few seconds that a container has ended; a container that runs ends each stream.
_MAX_UNANSWERED = 10
_WAIT_SECONDS = 60.0
# After the client's last byte, the rest of an answer may follow.
_LINGER_SECONDS = 5.0
_STOP_SECONDS = 1.0
_CLIENT_ERRORS = frozenset({401, 403})

Sleep = Callable[[float], Awaitable[None]]


class TooManyConnections(Error):
    """The limit of connections is reached."""

    code = "too_many_connections"


class NotFoundInTime(Error):
    """Another connection has searched for a pod until the deadline."""

    code = "cloud_not_found_in_time"


class Unanswered(Error):
    """The cloud ends connections before its first answer."""

    code = "cloud_unanswered"


class CloudForwarder:
    """Forwards connections to the pod of one installation that is ready."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        *,
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
        port: int = PORT,
        wait_seconds: float = _WAIT_SECONDS,
        max_connections: int = _MAX_CONNECTIONS,
    ) -> None:
        self._client, self._namespace, self._port = client, namespace, port
        self._clock, self._sleep, self._wait_seconds = clock, sleep, wait_seconds
        self._max_connections = max_connections
        self._pod = ""
        self._finding = asyncio.Lock()
        self._connections: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until it ends."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) > self._max_connections:
                raise TooManyConnections(f"{self._max_connections} connections are open")
            await self._forward(reader, writer)
        except Error as exc:
            _log.warning("forward_failed", extra={"cause": exc.message})
        except OSError:
            pass  # the client has disconnected
        except asyncio.CancelledError:
            # NOTE: not re-raised after `stop`, because asyncio's streams would log it as an error.
            if not self._stopping:
                raise
        finally:
            self._connections.discard(task)
            writer.close()

    async def stop(self) -> None:
        """End all connections."""
        self._stopping = True
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        if connections:
            await asyncio.wait(connections, timeout=_STOP_SECONDS)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._follow_kubeconfig()
        deadline, sent = self._clock() + self._wait_seconds, bytearray()
        unanswered = 0
        while True:
            pod = await self._find_pod(deadline)
            try:
                async with forward_port(self._client, self._namespace, pod, self._port) as stream:
                    unanswered += 1
                    if sent:
                        await stream.send(bytes(sent))
                    if await _relay(stream, reader, writer, sent):
                        return
            except KubeError as exc:
                if exc.status in _CLIENT_ERRORS or self._clock() >= deadline:
                    raise
                _log.info("forward_retried", extra={"pod": pod, "cause": exc.message})
            if unanswered >= _MAX_UNANSWERED:
                raise Unanswered(f"pod {pod} ends each connection without an answer")
            if reader.at_eof() or len(sent) > _MAX_REPLAY or self._clock() >= deadline:
                return
            self._forget(pod)
            await self._sleep(_POLL_SECONDS)

    def _follow_kubeconfig(self) -> None:
        """Use a renewed credential, and the cluster that the context names now."""
        try:
            self._client.follow_kubeconfig()
        except BadKubeconfig as exc:
            _log.warning("kubeconfig_reload_failed", extra={"cause": exc.message})

    async def _find_pod(self, deadline: float) -> str:
        """Return the pod that is ready; wait for it until the deadline.

        Raises NotInstalled, KubeError, NotFoundInTime.
        """
        began = self._clock()
        async with self._finding:
            # An API server that does not respond must not hold each connection as long as all before it.
            if not self._pod and began < deadline <= self._clock():
                raise NotFoundInTime("no pod of the cloud was found in time")
            while not self._pod:
                try:
                    self._pod = await find_pod(self._client, self._namespace)
                except (NotInstalled, KubeError) as exc:
                    is_refused = isinstance(exc, KubeError) and exc.status in _CLIENT_ERRORS
                    if is_refused or self._clock() >= deadline:
                        raise
                    await self._sleep(_POLL_SECONDS)
            return self._pod

    def _forget(self, pod: str) -> None:
        if self._pod == pod:
            self._pod = ""


async def _relay(
    stream: PortForward, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytearray
) -> bool:
    """Copy in both directions; return whether the pod has answered.

    Raises KubeError before the first answer; OSError if the client has disconnected.
    """
    is_answered = False

    async def send() -> None:
        while data := await reader.read(_CHUNK):
            # One byte more than the limit says that this connection is not sent again.
            if not is_answered and len(sent) <= _MAX_REPLAY:
                sent.extend(data)
            await stream.send(data)
        await asyncio.sleep(_LINGER_SECONDS)

    async def receive() -> None:
        nonlocal is_answered
        while data := await stream.receive():
            is_answered = True
            writer.write(data)
            # Wait for a slow client, so that a connection buffers only a bounded amount.
            await writer.drain()

    tasks = [asyncio.create_task(send()), asyncio.create_task(receive())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    except KubeError:
        if not is_answered:
            raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return is_answered


@asynccontextmanager
async def run_forwarder(
    client: KubeClient,
    namespace: str,
    sock: socket.socket,
    *,
    clock: Clock,
    storage: Iterable[str] = (),
) -> AsyncIterator[None]:
    """Run a proxy on a listening socket: Azure's names reach the cloud, other names their hosts.

    `storage` are the services of storage accounts that the cloud serves: `blob`, `queue`, `table`.
    """
    forwarder = CloudForwarder(client, namespace, clock=clock)
    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(forwarder.handle, "127.0.0.1", 0, limit=_CHUNK)
        stack.push_async_callback(_stop, server, forwarder)
        port = server.sockets[0].getsockname()[1]
        await stack.enter_async_context(gateway.run_gateway(sock, build_routes(port, storage)))
        yield


def build_routes(port: int, storage: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Return the routing table to a forwarded port; `storage` are the served services of storage accounts."""
    ports = dict.fromkeys(("authority", "azure", "vault", "storage"), port)
    return gateway.routes(ports, storage=storage)


async def _stop(server: asyncio.Server, forwarder: CloudForwarder) -> None:
    server.close()
    await forwarder.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STOP_SECONDS):
            await server.wait_closed()

"""Startup, readiness and liveness probes of a container, with the defaults of the kubelet.

Source: API reference, Probe. gRPC probes fail with the message that they are not supported.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeling import __version__
from kubeling.kubelet.pod_network import PodNetwork
from kubeling.tasks import cancel_all

Container = Mapping[str, Any]
Exec = Callable[[Sequence[str], float], Awaitable[tuple[int, str]]]
"""Runs a command in the container with a timeout in seconds; returns exit code and output."""

_MAX_OUTPUT = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """The settings of a probe, times in seconds; `successes` and `failures` are consecutive results."""

    delay: float
    period: float
    timeout: float
    successes: int
    failures: int

    @classmethod
    def parse(cls, probe: Mapping[str, Any]) -> "ProbeSettings":
        return cls(
            delay=probe.get("initialDelaySeconds") or 0,
            period=probe.get("periodSeconds") or 10,
            timeout=probe.get("timeoutSeconds") or 1,
            successes=probe.get("successThreshold") or 1,
            failures=probe.get("failureThreshold") or 3,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeCounter:
    """Counts consecutive results of a probe; `result` is None until a threshold is reached."""

    good: int = 0
    bad: int = 0
    result: bool | None = None

    def add(self, success: bool, settings: ProbeSettings) -> "ProbeCounter":
        good, bad = (self.good + 1, 0) if success else (0, self.bad + 1)
        result = self.result
        if good >= settings.successes:
            result = True
        elif bad >= settings.failures:
            result = False
        return ProbeCounter(good=good, bad=bad, result=result)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeStatus:
    """The current result of all probes.

    `kill` is the kind of the probe that requires a restart of the container, or empty.
    """

    started: bool
    ready: bool
    kill: str = ""


def initial_status(container: Container) -> ProbeStatus:
    """Return the status of a container that has just started: a missing probe counts as successful."""
    started = not container.get("startupProbe")
    return ProbeStatus(started=started, ready=started and not container.get("readinessProbe"))


class Prober:
    """Probes one run of a container, and calls `on_change` for each change."""

    def __init__(
        self,
        container: Container,
        address: str,
        run: Exec,
        on_change: Callable[[ProbeStatus], None],
        on_failure: Callable[[str], None],
        network: PodNetwork | None = None,
    ) -> None:
        self._container, self._address, self._run = container, address, run
        self._network = network
        self._on_change, self._on_failure = on_change, on_failure
        self._status = initial_status(container)

    async def run(self) -> None:
        """Probe until cancelled, or until a probe requires a restart."""
        if not self._status.started:
            if not await self._wait_for_startup():
                return
            ready = not self._container.get("readinessProbe")
            self._set_status(ProbeStatus(started=True, ready=ready))
        handlers = {"readiness": self._on_readiness, "liveness": self._on_liveness}
        tasks = [
            asyncio.create_task(self._repeat(kind, handler))
            for kind, handler in handlers.items()
            if self._container.get(f"{kind}Probe")
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            await cancel_all(tasks)

    def _set_status(self, status: ProbeStatus) -> None:
        if status != self._status:
            self._status = status
            self._on_change(status)

    async def _wait_for_startup(self) -> bool:
        """Repeat the startup probe until it succeeds or fails; return whether it succeeded."""
        started = False

        def on_result(result: bool | None) -> bool:
            nonlocal started
            started = result is True
            if result is False:
                self._require_restart("startup")
            return result is not None

        await self._repeat("startup", on_result)
        return started

    def _on_readiness(self, result: bool | None) -> bool:
        if result is not None:
            self._set_status(ProbeStatus(started=True, ready=result, kill=self._status.kill))
        return False

    def _on_liveness(self, result: bool | None) -> bool:
        if result is False:
            self._require_restart("liveness")
        return result is False

    def _require_restart(self, kind: str) -> None:
        self._set_status(ProbeStatus(started=self._status.started, ready=False, kill=kind))

    async def _repeat(self, kind: str, handler: Callable[[bool | None], bool]) -> None:
        """Repeat a probe until the handler returns True."""
        probe = self._container[f"{kind}Probe"]
        settings, counter = ProbeSettings.parse(probe), ProbeCounter()
        await asyncio.sleep(settings.delay)
        while True:
            success, message = await self._probe_once(probe, settings.timeout)
            if not success:
                self._on_failure(f"{kind.capitalize()} probe failed: {message[:_MAX_OUTPUT]}")
            counter = counter.add(success, settings)
            if handler(counter.result):
                return
            await asyncio.sleep(settings.period)

    async def _probe_once(self, probe: Mapping[str, Any], timeout: float) -> tuple[bool, str]:
        try:
            async with asyncio.timeout(timeout):
                return await self._run_action(probe, timeout)
        except TimeoutError:
            return False, f"no response within {timeout:g} s"
        except (OSError, ValueError) as exc:
            return False, str(exc) or type(exc).__name__

    async def _run_action(self, probe: Mapping[str, Any], timeout: float) -> tuple[bool, str]:
        if action := probe.get("exec"):
            code, output = await self._run(action.get("command") or [], timeout)
            return code == 0, output
        if action := probe.get("httpGet"):
            status = await http_get_status(self._container, self._address, action, self._network)
            return 200 <= status < 400, f"HTTP probe failed with statuscode: {status}"
        if action := probe.get("tcpSocket"):
            await tcp_connect(self._container, self._address, action, self._network)
            return True, ""
        return False, f"{', '.join(sorted(probe))}: this kind of probe is not supported"


async def http_get_status(
    container: Container,
    address: str,
    action: Mapping[str, Any],
    network: PodNetwork | None = None,
) -> int:
    """Run an HTTP GET action, in the network of the pod if it has one; return the status of the response.

    Raises OSError: the connection failed; ValueError: the pod has no port of this name.
    """
    # Imported by the first probe: it takes a third of the start and of the memory of a cluster.
    import aiohttp

    scheme = str(action.get("scheme") or "HTTP").lower()
    host = action.get("host") or address
    path = str(action.get("path") or "/").removeprefix("/")
    url = f"{scheme}://{host}:{resolve_port(container, action)}/{path}"
    headers = {"user-agent": f"kube-probe/kubeling-{__version__}", "accept": "*/*"}
    headers |= {each["name"]: each["value"] for each in action.get("httpHeaders") or []}
    # As in the kubelet, the certificate of the pod is not verified, because there is no name to verify.
    factory = None if network is None else lambda _: network.open_socket()
    connector = aiohttp.TCPConnector(ssl=False, socket_factory=factory)
    try:
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(url, headers=headers) as response,
        ):
            return response.status
    except aiohttp.ClientError as exc:
        raise OSError(str(exc) or type(exc).__name__) from exc


async def tcp_connect(
    container: Container,
    address: str,
    action: Mapping[str, Any],
    network: PodNetwork | None = None,
) -> None:
    """Open a TCP connection and close it. Raises OSError, ValueError."""
    host = action.get("host") or address
    connect = asyncio.open_connection if network is None else network.connect
    _, writer = await connect(host, resolve_port(container, action))
    writer.close()


def resolve_port(container: Container, action: Mapping[str, Any]) -> int:
    """Return the number of a port that is given by number or by name. Raises ValueError."""
    value = action.get("port")
    if isinstance(value, int):
        return value
    for each in container.get("ports") or []:
        if each.get("name") == value:
            return int(each["containerPort"])
    return int(str(value))

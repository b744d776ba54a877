"""Startup, readiness and liveness probes of one container, with the kubelet's defaults.

Source: API reference, Probe. gRPC probes fail with a message that says they are not supported.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from podpass import __version__

Container = Mapping[str, Any]
Exec = Callable[[Sequence[str], float], Awaitable[tuple[int, str]]]
"""Runs a command as in the container, for at most so many seconds; gives exit code and output."""

_MAX_OUTPUT = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a probe runs, and how many answers in a row count (seconds)."""

    delay: float
    period: float
    timeout: float
    successes: int
    failures: int

    @classmethod
    def read(cls, probe: Mapping[str, Any]) -> "Rule":
        return cls(
            delay=probe.get("initialDelaySeconds") or 0,
            period=probe.get("periodSeconds") or 10,
            timeout=probe.get("timeoutSeconds") or 1,
            successes=probe.get("successThreshold") or 1,
            failures=probe.get("failureThreshold") or 3,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Answers in a row, and what they amount to: None until a threshold is reached."""

    good: int = 0
    bad: int = 0
    verdict: bool | None = None

    def add(self, success: bool, rule: Rule) -> "Tally":
        good, bad = (self.good + 1, 0) if success else (0, self.bad + 1)
        verdict = self.verdict
        if good >= rule.successes:
            verdict = True
        elif bad >= rule.failures:
            verdict = False
        return Tally(good=good, bad=bad, verdict=verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What probing amounts to now.

    Shapes:  `kill` names the probe that condemns the container, empty while none does.
    """

    started: bool
    ready: bool
    kill: str = ""


def initial(container: Container) -> Outcome:
    """Give the state of a container that has just started: what nobody probes counts as good."""
    started = not container.get("startupProbe")
    return Outcome(started=started, ready=started and not container.get("readinessProbe"))


class Prober:
    """Probes one run of a container and tells about every change."""

    def __init__(
        self,
        container: Container,
        address: str,
        run: Exec,
        changed: Callable[[Outcome], None],
        unhealthy: Callable[[str], None],
    ) -> None:
        self._container, self._address, self._run = container, address, run
        self._changed, self._unhealthy = changed, unhealthy
        self._outcome = initial(container)

    async def watch(self) -> None:
        """Probe until cancelled, or until the container is condemned."""
        if not self._outcome.started:
            if not await self._startup():
                return
            ready = not self._container.get("readinessProbe")
            self._tell(Outcome(started=True, ready=ready))
        judges = {"readiness": self._judge_readiness, "liveness": self._judge_liveness}
        tasks = [
            asyncio.create_task(self._repeat(kind, judge))
            for kind, judge in judges.items()
            if self._container.get(f"{kind}Probe")
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _tell(self, outcome: Outcome) -> None:
        if outcome != self._outcome:
            self._outcome = outcome
            self._changed(outcome)

    async def _startup(self) -> bool:
        """Wait for the startup probe's verdict."""
        started = False

        def settle(verdict: bool | None) -> bool:
            nonlocal started
            started = verdict is True
            if verdict is False:
                self._condemn("startup")
            return verdict is not None

        await self._repeat("startup", settle)
        return started

    def _judge_readiness(self, verdict: bool | None) -> bool:
        if verdict is not None:
            self._tell(Outcome(started=True, ready=verdict, kill=self._outcome.kill))
        return False

    def _judge_liveness(self, verdict: bool | None) -> bool:
        if verdict is False:
            self._condemn("liveness")
        return verdict is False

    def _condemn(self, kind: str) -> None:
        self._tell(Outcome(started=self._outcome.started, ready=False, kill=kind))

    async def _repeat(self, kind: str, judge: Callable[[bool | None], bool]) -> None:
        """Ask again and again until the judge has heard enough."""
        probe = self._container[f"{kind}Probe"]
        rule, tally = Rule.read(probe), Tally()
        await asyncio.sleep(rule.delay)
        while True:
            success, message = await self._once(probe, rule.timeout)
            if not success:
                self._unhealthy(f"{kind.capitalize()} probe failed: {message[:_MAX_OUTPUT]}")
            tally = tally.add(success, rule)
            if judge(tally.verdict):
                return
            await asyncio.sleep(rule.period)

    async def _once(self, probe: Mapping[str, Any], timeout: float) -> tuple[bool, str]:
        try:
            async with asyncio.timeout(timeout):
                return await self._ask(probe, timeout)
        except TimeoutError:
            return False, f"no answer within {timeout:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            return False, str(exc) or type(exc).__name__

    async def _ask(self, probe: Mapping[str, Any], timeout: float) -> tuple[bool, str]:
        if action := probe.get("exec"):
            code, output = await self._run(action.get("command") or [], timeout)
            return code == 0, output
        if action := probe.get("httpGet"):
            status = await http_status(self._container, self._address, action)
            return 200 <= status < 400, f"HTTP probe failed with statuscode: {status}"
        if action := probe.get("tcpSocket"):
            await connect(self._container, self._address, action)
            return True, ""
        return False, f"{', '.join(sorted(probe))}: this kind of probe is not supported"


async def http_status(container: Container, address: str, action: Mapping[str, Any]) -> int:
    """Do an HTTP GET action and give the answer's status.

    Errors:  aiohttp.ClientError, OSError, ValueError for a port nobody named.
    """
    scheme = str(action.get("scheme") or "HTTP").lower()
    host = action.get("host") or address
    path = str(action.get("path") or "/").removeprefix("/")
    url = f"{scheme}://{host}:{port(container, action)}/{path}"
    headers = {"user-agent": f"kube-probe/podpass-{__version__}", "accept": "*/*"}
    headers |= {each["name"]: each["value"] for each in action.get("httpHeaders") or []}
    # The kubelet does not check a pod's certificate either: it has no name to check it against.
    connector = aiohttp.TCPConnector(ssl=False)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(url, headers=headers) as answer,
    ):
        return answer.status


async def connect(container: Container, address: str, action: Mapping[str, Any]) -> None:
    """Open a TCP connection and close it.

    Errors:  OSError, ValueError.
    """
    host = action.get("host") or address
    _, writer = await asyncio.open_connection(host, port(container, action))
    writer.close()


def port(container: Container, action: Mapping[str, Any]) -> int:
    """Read a port that may be given by the name a container gives it.

    Errors:  ValueError.
    """
    wanted = action.get("port")
    if isinstance(wanted, int):
        return wanted
    for each in container.get("ports") or []:
        if each.get("name") == wanted:
            return int(each["containerPort"])
    return int(str(wanted))

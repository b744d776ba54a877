"""Probes: thresholds, results and their effects."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from kubeling.asgi import Receive, Scope, Send, respond
from kubeling.kubelet import probes
from kubeling.kubelet.probes import ProbeCounter, Prober, ProbeSettings, ProbeStatus
from kubeling.server import listen, serving


def settings(successes: int = 1, failures: int = 3) -> ProbeSettings:
    return ProbeSettings(delay=0, period=0, timeout=1, successes=successes, failures=failures)


@pytest.mark.parametrize(
    ("results", "successes", "failures", "expected"),
    [
        ("+", 1, 3, [True]),
        ("---", 1, 3, [None, None, False]),
        ("--+--", 1, 3, [None, None, True, True, True]),
        ("+---", 1, 3, [True, True, True, False]),
        ("-+-++", 2, 1, [False, False, False, False, True]),
    ],
)
def test_only_consecutive_results_count(
    results: str, successes: int, failures: int, expected: list[bool | None]
) -> None:
    counter, found = ProbeCounter(), []
    for result in results:
        counter = counter.add(result == "+", settings(successes, failures))
        found.append(counter.result)
    assert found == expected


def test_probe_defaults_are_those_of_the_kubelet() -> None:
    assert ProbeSettings.parse({}) == ProbeSettings(
        delay=0, period=10, timeout=1, successes=1, failures=3
    )


@pytest.mark.parametrize(
    ("container", "started", "ready"),
    [
        ({}, True, True),
        ({"readinessProbe": {}}, True, True),
        ({"readinessProbe": {"exec": {}}}, True, False),
        ({"startupProbe": {"exec": {}}}, False, False),
        ({"livenessProbe": {"exec": {}}}, True, True),
    ],
)
def test_missing_probe_counts_as_successful(
    container: dict[str, Any], started: bool, ready: bool
) -> None:
    assert probes.initial_status(container) == ProbeStatus(started=started, ready=ready)


async def run_probes(
    container: dict[str, Any], codes: dict[str, list[int]]
) -> tuple[Any, list[str]]:
    """Probe with commands that return the given exit codes, until a command has no exit code left."""
    changes: list[ProbeStatus] = []
    unhealthy: list[str] = []
    done = asyncio.Event()

    async def run(command: Sequence[str], _: float) -> tuple[int, str]:
        left = codes[command[0]]
        if not left:
            done.set()
            await asyncio.sleep(60)
        return left.pop(0), "output"

    prober = Prober(container, "127.0.0.1", run, changes.append, unhealthy.append)
    watching = asyncio.create_task(prober.run())
    ending = asyncio.create_task(done.wait())
    await asyncio.wait({watching, ending}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    for task in (watching, ending):
        task.cancel()
    await asyncio.gather(watching, ending, return_exceptions=True)
    return changes, unhealthy


def probe(name: str, **more: Any) -> dict[str, Any]:
    return {"exec": {"command": [name]}, "periodSeconds": 0.001, **more}


async def test_readiness_probe_waits_for_the_startup_probe() -> None:
    container = {
        "startupProbe": probe("s", failureThreshold=5),
        "readinessProbe": probe("r"),
    }
    changes, unhealthy = await run_probes(container, {"s": [1, 1, 0], "r": [0]})
    assert changes == [
        ProbeStatus(started=True, ready=False),
        ProbeStatus(started=True, ready=True),
    ]
    assert unhealthy == ["Startup probe failed: output"] * 2


async def test_failing_startup_probe_requires_a_restart() -> None:
    changes, _ = await run_probes(
        {"startupProbe": probe("s", failureThreshold=2)}, {"s": [1, 1, 0]}
    )
    assert changes == [ProbeStatus(started=False, ready=False, kill="startup")]


async def test_readiness_changes_require_no_restart() -> None:
    container = {"readinessProbe": probe("r", failureThreshold=1)}
    changes, _ = await run_probes(container, {"r": [0, 1, 0]})
    assert [each.ready for each in changes] == [True, False, True]
    assert {each.kill for each in changes} == {""}


async def test_failing_liveness_probe_requires_a_restart() -> None:
    changes, unhealthy = await run_probes({"livenessProbe": probe("l")}, {"l": [0, 1, 1, 1]})
    assert changes == [ProbeStatus(started=True, ready=False, kill="liveness")]
    assert len(unhealthy) == 3


async def nothing(_: Sequence[str], __: float) -> tuple[int, str]:
    return 0, ""


async def once(container: dict[str, Any], probe: dict[str, Any]) -> tuple[bool, str]:
    prober = Prober(container, "127.0.0.1", nothing, lambda _: None, lambda _: None)
    return await prober._probe_once(probe, 1)


async def test_http_probe_accepts_200_to_399_and_named_ports() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        await respond(scope, send, int(scope["path"].strip("/")), scope["query_string"], ())

    sock = listen()
    number = sock.getsockname()[1]
    container = {"ports": [{"name": "web", "containerPort": number}]}
    async with serving(app, sock):
        for status, good in ((200, True), (399, True), (400, False), (503, False)):
            action = {"path": f"/{status}", "port": "web"}
            assert (await once(container, {"httpGet": action}))[0] is good
        assert (await once({}, {"httpGet": {"path": "204", "port": number}}))[0]
        assert (await once({}, {"tcpSocket": {"port": number}}))[0]
    assert not (await once({}, {"tcpSocket": {"port": number}}))[0]
    assert not (await once({}, {"httpGet": {"port": number}}))[0]


async def test_unknown_port_or_probe_kind_fails_with_a_message() -> None:
    assert (await once({}, {"httpGet": {"port": "web"}}))[0] is False
    success, message = await once({}, {"grpc": {"port": 1}})
    assert success is False
    assert "not supported" in message

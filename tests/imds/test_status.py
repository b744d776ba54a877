"""Readiness and metrics of a sidecar whose refresh fails, and the probe that waits for a slow start."""

import socket
import threading
import time
from collections.abc import Mapping

import pytest

from podpass.imds import probe
from podpass.imds.probe import ProbeFailed, wait_until_ready
from tests import observability
from tests.imds.conftest import Sidecar
from tests.ports import free_port


def _metrics(sidecar: Sidecar) -> Mapping[str, float]:
    lines = sidecar.metrics.render().decode().splitlines()
    return {
        line.rpartition(" ")[0].removeprefix("podpass_proxy_"): float(line.rpartition(" ")[2])
        for line in lines
        if not line.startswith("#")
    }


async def test_failing_refresh_is_in_the_metrics_before_the_token_expires(sidecar: Sidecar) -> None:
    assert "last_refresh_age_seconds" not in _metrics(sidecar)
    await sidecar.token()
    lifetime = 86_400
    sidecar.token_file.unlink()
    sidecar.world.now += lifetime * 0.7
    assert (await sidecar.token())[0] == 200
    sidecar.world.now += 120
    assert (await sidecar.token())[0] == 200
    found = _metrics(sidecar)
    assert found["last_refresh_age_seconds"] >= lifetime * 0.7
    assert found["refresh_overdue_seconds"] >= 120
    assert found['exchanges_total{outcome="succeeded"}'] == 1
    assert found['exchanges_total{outcome="failed"}'] >= 1
    assert (found["tokens"], found["expired_tokens"]) == (1, 0)
    # The token is still served, so the sidecar is ready.
    assert (await sidecar.get("/readyz"))[0] == 200


async def test_alerts_and_dashboard_use_metrics_and_labels_that_a_sidecar_exports(
    sidecar: Sidecar,
) -> None:
    await sidecar.token()
    assert not observability.missing("sidecar", sidecar.metrics.render().decode())


async def test_sidecar_with_an_expired_token_is_not_ready_until_a_refresh_succeeds(
    sidecar: Sidecar,
) -> None:
    await sidecar.token()
    sidecar.token_file.unlink()
    sidecar.world.now += 86_400
    assert (await sidecar.token())[0] == 500
    status, text, _ = await sidecar.get("/readyz")
    assert (status, "1 tokens expired and cannot be refreshed" in text) == (503, True)
    assert _metrics(sidecar)["expired_tokens"] == 1
    sidecar.token_file.write_text(sidecar.world.mint())
    assert (await sidecar.token())[0] == 200
    assert (await sidecar.get("/readyz"))[:2] == (200, "ok")
    found = _metrics(sidecar)
    assert (found["expired_tokens"], found["refresh_overdue_seconds"]) == (0, 0)


async def test_token_that_no_client_uses_any_more_does_not_make_the_sidecar_unready(
    sidecar: Sidecar,
) -> None:
    await sidecar.token()
    sidecar.token_file.unlink()
    sidecar.world.now += 86_400
    assert (await sidecar.token())[0] == 500
    assert (await sidecar.get("/readyz"))[0] == 503
    sidecar.world.now += 700
    assert (await sidecar.get("/readyz"))[0] == 200
    assert _metrics(sidecar)["tokens"] == 0


async def test_identity_that_never_had_a_token_does_not_make_the_sidecar_unready(
    sidecar: Sidecar,
) -> None:
    sidecar.token_file.unlink()
    assert (await sidecar.token())[0] == 500
    assert (await sidecar.get("/readyz"))[0] == 200


def _serve(port: int, statuses: list[int]) -> threading.Thread:
    """Answer one connection with each status."""
    listening = socket.create_server(("127.0.0.1", port))

    def run() -> None:
        with listening:
            for status in statuses:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(f"HTTP/1.0 {status} x\r\n\r\n".encode())

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_refused_connection_is_one_failed_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference exits immediately, and its hook then kills a container that starts slowly."""
    port = free_port()
    threads: list[threading.Thread] = []

    def start_server(_seconds: float) -> None:
        if not threads:
            threads.append(_serve(port, [500, 200]))

    monkeypatch.setattr(time, "sleep", start_server)
    wait_until_ready(port)
    threads[0].join()


def test_sidecar_of_a_busy_node_has_more_time_to_start_than_to_get_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hook that fails earlier kills the container, and its next start is as slow."""
    port = free_port()
    threads: list[threading.Thread] = []
    waits: list[float] = []

    def start_server_at_last(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == probe.REFUSED_ATTEMPTS - 1:
            threads.append(_serve(port, [500, 200]))

    monkeypatch.setattr(time, "sleep", start_server_at_last)
    wait_until_ready(port)
    threads[0].join()
    assert sum(waits) >= 29


def test_probe_fails_after_seven_attempts_and_names_the_last_reason() -> None:
    port = free_port()
    thread = _serve(port, [404] * probe.ATTEMPTS)
    with pytest.raises(ProbeFailed, match="failed to probe: /readyz answered 404"):
        wait_until_ready(port, interval_seconds=0)
    thread.join()
    with pytest.raises(ProbeFailed, match="ConnectionRefusedError"):
        wait_until_ready(port, interval_seconds=0)

"""`podpass issuer signer` as a process, with gRPC's client."""

import json
import signal
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from podpass.crypto import jose
from podpass.servers.signer import messages
from tests.assertion.publishing import issuer as issuers
from tests.assertion.publishing.issuer import Issuer
from tests.ports import free_port

pytestmark = pytest.mark.processes

CLAIMS = jose.b64encode(b'{"sub":"a"}')
REPLACEMENTS, WORKERS = 3, 2
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    issuer = issuers.create(tmp_path / "i")
    issuer.rotate(start=False)
    return issuer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s" / "signer.sock"


@pytest.fixture
def start(issuer: Issuer, path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, folder: Path = issuer.folder.root) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "podpass.cli", "issuer", "signer", "--dir", str(folder)]
        given = arguments or ("--metrics-addr", "0")
        process = subprocess.Popen(
            [*command, "--socket", str(path), *given], stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _wait_until_started(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line)["event"] == "signer_started":
            return
    raise AssertionError("the signer does not start")


def _call(path: Path, method: str, request: Any, answer: Any) -> Any:
    with grpc.insecure_channel(
        f"unix:{path}", options=[("grpc.default_authority", "localhost")]
    ) as channel:
        call = channel.unary_unary(
            f"/v1.ExternalJWTSigner/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=60, wait_for_ready=True)


def _sign(path: Path, claims: str = CLAIMS) -> Any:
    return _call(path, "Sign", messages.SignJWTRequest(claims=claims), messages.SignJWTResponse)


def test_signer_serves_its_three_methods_on_a_private_socket(
    start: Start, path: Path, issuer: Issuer
) -> None:
    start()
    assert _sign(path).signature
    fetched = _call(path, "FetchKeys", messages.FetchKeysRequest(), messages.FetchKeysResponse)
    assert [key.key_id for key in fetched.keys] == [issuer.state.active.kid]
    found = _call(path, "Metadata", messages.MetadataRequest(), messages.MetadataResponse)
    assert found.max_token_expiration_seconds == issuers.WAITS.token_seconds
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_refused_claims_have_a_grpc_status(start: Start, path: Path) -> None:
    start()
    with pytest.raises(grpc.RpcError) as got:
        _sign(path, "a.b")
    assert got.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "not base64url" in got.value.details()


def test_next_signer_listens_after_a_kill_and_a_second_one_is_refused(
    start: Start, path: Path
) -> None:
    first = start()
    _sign(path)
    second = start()
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"another signer listens on {path}" in errors
    first.kill()
    first.wait()
    start()
    assert _sign(path).signature


def test_only_requests_in_flight_fail_while_signers_are_replaced_with_sigterm(
    start: Start, path: Path
) -> None:
    """A request that arrives between two signers waits, as that of an API server does."""
    in_flight: list[grpc.StatusCode] = []
    process = start()
    _sign(path)
    is_stopping = threading.Event()

    def work() -> int:
        count = 0
        while not is_stopping.is_set():
            try:
                assert _sign(path).signature
                count += 1
            except grpc.RpcError as exc:
                in_flight.append(exc.code())
        return count

    with ThreadPoolExecutor(WORKERS) as pool:
        workers = [pool.submit(work) for _ in range(WORKERS)]
        try:
            for _ in range(REPLACEMENTS):
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
                process = start()
                _wait_until_started(process)
        finally:
            is_stopping.set()
        assert min(worker.result(60) for worker in workers) > 0
    assert set(in_flight) <= {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
    assert len(in_flight) <= REPLACEMENTS * WORKERS


def test_signer_counts_requests_and_is_unready_without_keys(
    start: Start, path: Path, issuer: Issuer, tmp_path: Path
) -> None:
    port = free_port()
    process = start("--metrics-addr", f"127.0.0.1:{port}")
    _wait_until_started(process)
    _sign(path)
    assert _get(port, "/readyz") == (200, "ok\n")
    status, text = _get(port, "/metrics")
    assert status == 200
    assert 'podpass_signer_requests_total{method="Sign",outcome="succeeded"} 1.0' in text
    assert f'podpass_signer_active_key{{kid="{issuer.state.active.kid}"}} 1.0' in text
    process.terminate()
    process.wait(60)
    process = start("--metrics-addr", f"127.0.0.1:{port}", folder=tmp_path / "missing")
    _wait_until_started(process)
    status, text = _get(port, "/readyz")
    assert status == 503
    assert "there is no issuer in" in text


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


def test_path_that_is_too_long_for_a_socket_is_refused(start: Start, tmp_path: Path) -> None:
    process = start("--metrics-addr", "0", "--socket", str(tmp_path / ("x" * 100)))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "--socket is longer than 100 characters" in errors

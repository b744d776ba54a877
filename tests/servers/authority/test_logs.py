"""The logs of the processes: complete JSON lines with source and correlation ID, without secrets."""

import json
import signal
import tempfile
from pathlib import Path
from urllib.parse import urlencode

import pytest

from podpass.servers.authority import metrics
from tests.ports import free_port
from tests.servers.authority.running import CLIENT, SECRET, TOKEN, Authority, send, token_form

pytestmark = pytest.mark.processes

MARK = "mArKeD-7f3a"
CORRELATION = "0f0f0f0f-1111-4222-8333-444444444444"


def test_log_contains_no_secret_of_any_request(authority: Authority) -> None:
    authority.start(workers=2, log_level="debug")
    token = authority.request_token().body["access_token"]
    assertion = f"eyJ{MARK}.eyJ{MARK}.{MARK}"
    jwt = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    connection = authority.connect()
    for form in (
        token_form(client_secret=MARK),
        token_form(client_assertion=assertion, client_assertion_type=jwt),
        {"grant_type": "password", "username": f"u{MARK}@x.test", "password": MARK, "scope": "x"},
        {"grant_type": "refresh_token", "refresh_token": MARK, "client_id": CLIENT, "scope": "x"},
        {"grant_type": "authorization_code", "code": MARK, "client_id": CLIENT, "scope": "x"},
        {"client_secret": MARK},
    ):
        body = urlencode(form)
        head = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Authorization": f"Bearer {MARK}",
            "Cookie": f"session={MARK}",
        }
        for path in (TOKEN, f"{TOKEN}?client_secret={MARK}", TOKEN.replace("/v2.0", "")):
            assert send(connection, "POST", path, body, head).status >= 400
    connection.close()
    assert authority.stop() == 0
    log = authority.log
    assert "token_request_answered" in log
    for secret in (MARK, SECRET, token, token.rpartition(".")[2]):
        assert secret not in log
    key = (authority.folder / "seal.key").read_bytes()
    assert key.hex() not in log
    assert "PRIVATE KEY" not in log


def test_log_lines_have_worker_source_and_correlation_id(authority: Authority) -> None:
    authority.start(workers=2)
    body = urlencode(token_form())
    head = {"Content-Type": "application/x-www-form-urlencoded", "client-request-id": CORRELATION}
    for _ in range(10):
        connection = authority.connect()
        assert send(connection, "POST", TOKEN, body, head).status == 200
        connection.close()
    assert authority.stop() == 0
    for text in authority.log.splitlines():
        assert json.loads(text)["event"]
    answered = authority.events("token_request_answered")
    assert len(answered) == 10
    assert {line["source"] for line in answered} == {"127.0.0.1"}
    assert {line["correlation_id"] for line in answered} == {CORRELATION}
    assert {line["worker"] for line in answered} <= {0, 1}
    assert {line["outcome"] for line in answered} == {"granted"}


def test_stop_removes_all_files(authority: Authority) -> None:
    authority.start(workers=1)
    folder = authority.metrics_folder()
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o077 == 0
    assert authority.stop(signal.SIGTERM) == 0
    assert not folder.exists()


def test_metrics_directory_of_killed_authority_is_deleted_at_next_start(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    authority.start(workers=1)
    left = authority.metrics_folder()
    assert left.parent == tmp_path
    assert authority.stop(signal.SIGKILL) == -signal.SIGKILL
    assert left.is_dir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def is_gone() -> bool:
        # Its children may still run.
        with metrics.metrics_directory():
            return not left.exists()

    authority.until(is_gone)
    authority.start(workers=1)
    mine = authority.metrics_folder()
    # A running authority keeps its directory when another one starts.
    with metrics.metrics_directory():
        assert mine.is_dir()


@pytest.mark.parametrize(
    "url", ["postgresql://u:{}@127.0.0.1:1/d", "postgresql://u@127.0.0.1:1/d?password={}"]
)
def test_probes_metrics_and_log_do_not_contain_database_password(
    authority: Authority, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The health address is plain HTTP and accessible from all pods of the cluster."""
    monkeypatch.setenv("PODPASS_AUTHORITY_DATABASE", url.format(MARK))
    health = f"127.0.0.1:{free_port()}"
    process = authority.launch(database=None, workers=1, health_listen=health)
    authority.facts = {"health": f"http://{health}"}
    authority.until(lambda: "database_open_retried" in authority.log)
    probe = authority.get("/readyz")
    assert probe.status == 503
    assert probe.body["reasons"] == ["the database cannot be opened"]
    text = repr(probe.body) + authority.get("/metrics").body + authority.log
    assert "127.0.0.1:1/d" in text
    assert MARK not in text
    arguments = Path(f"/proc/{process.pid}/cmdline")
    assert not arguments.exists() or MARK not in arguments.read_text()


def test_world_accessible_key_file_is_logged(authority: Authority) -> None:
    for name, mode in (("seal.key", 0o604), ("tls.key", 0o640)):
        (authority.folder / name).chmod(mode)
    authority.start(workers=1)
    events = authority.events("key_file_world_accessible")
    assert [Path(line["file"]).name for line in events] == ["seal.key"]
    assert events[0]["level"] == "warning"

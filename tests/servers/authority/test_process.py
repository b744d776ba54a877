"""The processes of an authority: start, replacement, drain, and permanent failures."""

import http.client
import json
import os
import resource
import signal
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from podpass.crypto import jose
from tests.servers.authority.running import (
    CLIENT,
    TENANT,
    Authority,
    closing_connection,
    has_exited,
)

pytestmark = pytest.mark.processes

SHORT_TIMEOUTS = {"stuck_seconds": 2, "drain_seconds": 5}


def test_authority_serves_tokens_and_prints_addresses(authority: Authority) -> None:
    facts = authority.start(workers=2)
    assert facts["ready"]
    assert facts["service"].startswith("https://127.0.0.1:")
    assert len(facts["workers"]) == 2
    answer = authority.request_token()
    assert answer.status == 200
    claims = jose.parse(answer.body["access_token"]).claims
    assert (claims["tid"], claims["appid"]) == (TENANT, CLIENT)
    assert authority.get("/readyz").body["ready"] is True
    assert authority.get("/healthz").status == 200
    assert authority.get("/other").status == 404
    assert authority.stop() == 0
    assert all(has_exited(pid) for pid in facts["workers"])


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_address_without_host_serves_clients_of_both_families(authority: Authority) -> None:
    """The chart passes such addresses, because the pods of a cluster may have IPv6 addresses only."""
    facts = authority.start(workers=1, listen=":0", health_listen=":0")
    service, health = (urlsplit(facts[name]).port for name in ("service", "health"))
    assert facts["service"] == f"https://[::]:{service}"
    for host in ("127.0.0.1", "::1"):
        with closing_connection(http.client.HTTPConnection(host, health, timeout=30)) as plain:
            plain.request("GET", "/readyz")
            assert plain.getresponse().status == 200
        with closing_connection(http.client.HTTPSConnection(host, service, timeout=30)) as tls:
            connected = socket.create_connection((host, service or 0), 30)
            tls.sock = authority.trust.wrap_socket(connected, server_hostname="localhost")
            refused = authority.request_token(tls, client_secret="wrong")
            assert refused.status == 401
    # The log is complete at the end: a line may be written after its response.
    assert authority.stop() == 0
    # Not ::ffff:127.0.0.1, which no rule of a firewall and no other log names.
    sources = [each["source"] for each in authority.events("token_request_answered")]
    assert sources == ["127.0.0.1", "::1"]


def test_token_service_is_on_service_address_only(authority: Authority) -> None:
    authority.start(workers=1)
    assert authority.get("/metrics", "service").status == 404
    assert authority.get("/healthz", "service").status == 404
    assert authority.get(f"/{TENANT}/discovery/v2.0/keys").status == 404
    assert authority.get(f"/{TENANT}/discovery/v2.0/keys", "service").status == 200


def test_processes_have_no_core_dumps(authority: Authority) -> None:
    """The memory of a worker contains the signing keys."""
    resource.prlimit(0, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    facts = authority.start(workers=1)
    assert authority.process is not None
    for pid in (authority.process.pid, *facts["workers"], *facts["others"].values()):
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)


def test_killed_worker_is_replaced(authority: Authority) -> None:
    facts = authority.start(workers=2, **SHORT_TIMEOUTS)
    before = authority.request_token().status
    victim = facts["workers"][0]
    os.kill(victim, signal.SIGKILL)
    # The other worker continues, because the queue of connections is shared.
    statuses = {authority.request_token().status for _ in range(20)}
    authority.until(lambda: authority.metrics()["podpass_authority_workers_ready"] == 2)
    workers = authority.get("/readyz").body["workers"]
    assert before == 200
    assert statuses == {200}
    assert victim not in {worker["pid"] for worker in workers}
    assert authority.metrics()["podpass_authority_restarts_total"] == 1
    assert authority.events("child_exited")[0]["signal"] == "SIGKILL"


def test_stuck_worker_is_replaced(authority: Authority) -> None:
    facts = authority.start(workers=2, **SHORT_TIMEOUTS)
    os.kill(facts["workers"][1], signal.SIGSTOP)
    authority.until(lambda: authority.events("child_stuck"))
    authority.until(lambda: authority.metrics()["podpass_authority_workers_ready"] == 2)
    assert {authority.request_token().status for _ in range(10)} == {200}


def test_counters_do_not_decrease_when_worker_is_replaced(authority: Authority) -> None:
    facts = authority.start(workers=1, **SHORT_TIMEOUTS)
    for _ in range(3):
        authority.request_token()
    authority.request_token(client_secret="wrong")
    granted, refused = (
        f'podpass_exchange_requests_total{{outcome="{outcome}",version="v2"}}'
        for outcome in ("granted", "AADSTS7000215")
    )
    authority.wait_for_counter(granted, 3)
    authority.wait_for_counter(refused, 1)
    files = authority.metric_files()
    os.kill(facts["workers"][0], signal.SIGKILL)
    authority.until(lambda: len(authority.events("child_ready")) == 3)
    authority.request_token()
    authority.wait_for_counter(granted, 4)
    authority.wait_for_counter(refused, 1)
    authority.wait_for_counter("podpass_exchange_request_seconds_count", 5)
    # Fails if each start creates new files: repeated restarts would fill the disk.
    assert authority.metric_files() == files


def test_requests_in_flight_are_answered_after_sigterm(authority: Authority) -> None:
    authority.start(workers=1, **SHORT_TIMEOUTS)
    kept, slow = authority.connect(), authority.connect()
    assert authority.request_token(kept).status == 200
    body = f"grant_type=client_credentials&client_id={CLIENT}&scope=x"
    slow.putrequest("POST", f"/{TENANT}/oauth2/v2.0/token")
    slow.putheader("content-type", "application/x-www-form-urlencoded")
    slow.putheader("content-length", str(len(body)))
    slow.endheaders(body[:10].encode())
    time.sleep(0.2)
    authority.send_signal(signal.SIGTERM)
    authority.until(lambda: authority.get("/readyz").status == 503)
    assert authority.get("/readyz").body["reasons"] == ["draining"]
    last = authority.request_token(kept)
    assert last.status == 200
    assert last.headers["connection"] == "close"
    slow.send(body[10:].encode())
    answer = slow.getresponse()
    assert answer.status in (400, 401)
    assert answer.getheader("connection") == "close"
    assert json.loads(answer.read())["error_codes"]
    for connection in (kept, slow):
        connection.close()
    assert authority.stop() == 0


def test_no_request_fails_during_drain_under_load(authority: Authority) -> None:
    """Every request on an open connection gets a response; new connections are refused."""
    authority.start(workers=2, drain_seconds=8)
    stop, answered = threading.Event(), [0] * 8
    failures: list[object] = []

    def load(number: int) -> None:
        connection = authority.connect()
        while not stop.is_set():
            try:
                answer = authority.request_token(connection)
            except (ConnectionError, http.client.HTTPException, OSError) as exc:
                failures.append(exc)
                return
            answered[number] += 1
            if answer.status != 200:
                failures.append(answer)
            if answer.headers.get("connection") == "close":
                break
        connection.close()

    threads = [threading.Thread(target=load, args=(number,)) for number in range(len(answered))]
    for thread in threads:
        thread.start()
    # Every client has its connection now: a later connection would be refused.
    authority.until(lambda: min(answered) > 5)
    authority.send_signal(signal.SIGTERM)
    assert authority.process is not None
    code = authority.process.wait(30)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert code == 0


def test_authority_serves_during_shutdown_delay(authority: Authority) -> None:
    facts = authority.start(workers=1, shutdown_delay_seconds=1.5)
    authority.send_signal(signal.SIGTERM)
    authority.until(lambda: authority.get("/readyz").status == 503)
    assert authority.get("/healthz").status == 200
    assert authority.request_token().status == 200
    # A worker that exits now is still replaced.
    os.kill(facts["workers"][0], signal.SIGKILL)
    authority.until(lambda: authority.events("child_exited"))
    assert authority.process is not None
    assert authority.process.wait(30) == 0


def test_second_signal_stops_the_process_immediately(authority: Authority) -> None:
    facts = authority.start(workers=1, drain_seconds=60)
    slow = authority.connect()
    slow.putrequest("POST", f"/{TENANT}/oauth2/v2.0/token")
    slow.putheader("content-length", "10")
    slow.endheaders(b"x")
    time.sleep(0.2)
    authority.send_signal(signal.SIGTERM)
    authority.until(lambda: authority.get("/readyz").status == 503)
    began = time.monotonic()
    assert authority.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 10
    assert has_exited(facts["workers"][0])
    slow.close()


def test_workers_exit_when_supervisor_is_killed(authority: Authority) -> None:
    """Otherwise they would keep the address, and no process would replace or stop them."""
    facts = authority.start(workers=2, **SHORT_TIMEOUTS)
    assert authority.stop(signal.SIGKILL) == -signal.SIGKILL
    pids = [*facts["workers"], *facts["others"].values()]
    authority.until(lambda: all(has_exited(pid) for pid in pids))


def test_ctrl_c_to_all_processes_is_handled_once(authority: Authority) -> None:
    facts = authority.start(workers=1, **SHORT_TIMEOUTS)
    for pid in (*facts["workers"], *facts["others"].values()):
        os.kill(pid, signal.SIGINT)
    time.sleep(0.3)
    assert authority.request_token().status == 200
    assert authority.stop(signal.SIGINT) == 0
    assert authority.events("child_exited") == []


# ---------------------------------------------------------------------------------------- failed starts


def _run_until_exit(authority: Authority, **flags: object) -> tuple[int, str]:
    process = authority.launch(**flags)
    code = process.wait(30)
    authority.stop()
    return code, authority.log


def test_wrong_sealing_key_fails_the_start(authority: Authority) -> None:
    (authority.folder / "seal.key").write_bytes(b"k" * 32)
    code, log = _run_until_exit(authority)
    assert code == 1
    assert "sealed with another key" in log


def test_certificate_without_its_key_fails_before_fork(authority: Authority) -> None:
    key = (authority.folder / "tls.key").read_bytes()
    authority.write_certificate()
    (authority.folder / "tls.key").write_bytes(key)
    code, log = _run_until_exit(authority)
    assert code == 1
    assert "not a valid pair" in log


@pytest.mark.parametrize("name", ["issuer_ca_file", "cluster_ca_file", "cluster_token_file"])
def test_missing_file_of_an_issuer_fails_the_start(authority: Authority, name: str) -> None:
    missing = authority.folder / "missing"
    cluster = "https://kubernetes.default.svc.cluster.local"
    code, log = _run_until_exit(authority, workers=1, cluster_issuer=cluster, **{name: missing})
    assert code == 1
    assert f"{missing}: the {'token' if 'token' in name else 'CA'} file cannot be read" in log
    assert "No such file or directory" in log


def test_port_in_use_fails_the_start(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, log = _run_until_exit(authority, listen=f"127.0.0.1:{port}")
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in log
    assert "choose another address with --listen" in log


def test_invalid_database_url_fails_before_fork(authority: Authority) -> None:
    code, log = _run_until_exit(authority, database="/var/lib/podpass.db")
    assert code == 1
    assert "the database's URL cannot be read" in log
    assert "sqlite:////absolute/path" in log
    assert "child_" not in log


def test_unavailable_database_is_retried_until_start_timeout(authority: Authority) -> None:
    pytest.importorskip("psycopg")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = f"postgresql://user:hidden@127.0.0.1:{port}/podpass"
    authority.launch(database=url, start_seconds=2, workers=1)
    assert authority.process is not None
    assert authority.process.wait(60) == 1
    assert "did not become ready" in authority.log
    assert "hidden" not in authority.log


def test_all_invalid_settings_are_reported_together(authority: Authority) -> None:
    code, log = _run_until_exit(
        authority, workers=0, listen="nowhere", database=None, log_level="loud", token_seconds=1
    )
    assert code == 2
    for problem in ("--workers 0", "--listen 'nowhere'", "--database is required", "--log-level"):
        assert problem in log
    assert "--token-seconds 1: want" in log


def test_flags_can_be_environment_variables(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PODPASS_AUTHORITY_WORKERS", "1")
    monkeypatch.setenv("PODPASS_AUTHORITY_DATABASE", authority.database)
    monkeypatch.setenv("PODPASS_AUTHORITY_ORIGIN", "https://a.example,https://b.example")
    facts = authority.start(database=None, origin=None)
    assert len(facts["workers"]) == 1
    with closing_connection(authority.connect()) as connection:
        path = f"/{TENANT}/v2.0/.well-known/openid-configuration"
        connection.request("GET", path, headers={"Host": "b.example"})
        document = json.loads(connection.getresponse().read())
    assert document["token_endpoint"] == f"https://b.example/{TENANT}/oauth2/v2.0/token"


def test_misspelt_variable_fails_the_start_with_all_problems(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PODPASS_AUTHORITY_WORKRES", "1")
    code, log = _run_until_exit(authority, workers=0)
    assert code == 2
    misspelt = (
        "PODPASS_AUTHORITY_WORKRES: unknown variable; did you mean PODPASS_AUTHORITY_WORKERS?"
    )
    assert misspelt in log
    assert "--workers 0: want 1 to 64" in log
    done = authority.command("keys", "--database", authority.database)
    assert (done.returncode, done.stdout) == (2, "")
    assert misspelt in done.stderr


def test_variables_of_a_kubernetes_service_do_not_fail_the_start(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_8443_TCP_ADDR"):
        monkeypatch.setenv(f"PODPASS_AUTHORITY_{name}", "10.0.0.1")
    assert authority.start(workers=1)["ready"]


def test_tenant_that_the_database_lacks_is_a_warning_until_it_is_created(
    authority: Authority,
) -> None:
    other = "aaaaaaaa-1111-4111-8111-111111111111"
    authority.start(workers=1, tenant_id=other)
    authority.until(lambda: authority.get("/readyz").body["warnings"])
    answer = authority.get("/readyz")
    assert (answer.status, answer.body["reasons"]) == (200, [])
    [warning] = answer.body["warnings"]
    assert f"has no tenant {other}" in warning
    [event] = authority.events("tenant_missing")
    assert event["level"] == "warning"
    assert f"podpass authority seed --tenant-id {other}" in event["fix"]
    path = authority.folder / "seed.yaml"
    path.write_text("identities: [{name: new}]")
    where = ["--database", authority.database, "--tenant-id", other]
    assert authority.command("seed", "-f", str(path), *where).returncode == 0
    authority.until(lambda: not authority.get("/readyz").body["warnings"])
    assert len(authority.events("tenant_found")) == 1


def test_replicas_load_keys_replaced_with_their_sealing_key(authority: Authority) -> None:
    """Both leaked: a replica that still publishes the old keys must not be ready."""
    authority.start(workers=1)
    old = jose.parse(authority.request_token().body["access_token"]).header["kid"]
    where = ["--database", authority.database, "--sealing-key-file"]
    made = authority.folder / "new.key"
    made.write_bytes(bytes(32))
    assert authority.command("rotate", "--retire-others", *where, str(made)).returncode == 0
    authority.until(lambda: not authority.get("/readyz").body["ready"])
    authority.until(lambda: "sealed with another key" in repr(authority.get("/readyz").body))
    # Now the mounted file is the new one.
    (authority.folder / "seal.key").write_bytes(made.read_bytes())
    authority.until(lambda: authority.get("/readyz").body["ready"])
    assert jose.parse(authority.request_token().body["access_token"]).header["kid"] != old
    keys = authority.get(f"/{TENANT}/discovery/v2.0/keys", "service").body["keys"]
    assert old not in {key["kid"] for key in keys}

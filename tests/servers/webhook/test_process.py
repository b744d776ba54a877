"""The process as an orchestrator has it: how it starts, what it waits for, how it ends."""

import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from podpass.servers.webhook import webhook as process
from tests.servers.webhook.kubernetes import CLIENT, Kubernetes
from tests.servers.webhook.running import TENANT, Webhook, pod

SIDECAR = {"azure.workload.identity/inject-proxy-sidecar": "true"}


def _patch(answer: dict[str, object]) -> str:
    import base64

    return base64.b64decode(str(answer["patch"])).decode()


def test_it_mutates_pods_by_accounts_it_has_listed(
    webhook: Webhook, kubernetes: Kubernetes
) -> None:
    webhook.start()
    answer = webhook.review(pod(account="account-0"), "team-0").body["response"]
    assert answer["allowed"] is True
    client = kubernetes.accounts["team-0/account-0"]["metadata"]["annotations"][CLIENT]
    assert client in _patch(answer)
    assert TENANT in _patch(answer)
    assert kubernetes.reads == 0
    assert webhook.stop() == 0
    assert webhook.events("webhook_stopped")


def test_an_idle_connection_is_kept_for_longer_than_an_api_server_keeps_it() -> None:
    """Its 90 seconds were measured with kube-apiserver 1.34.4; to wait for them here would prove no more."""
    assert process._KEEP_ALIVE_SECONDS > 90


def test_flags_are_taken_as_go_programs_take_them(webhook: Webhook) -> None:
    """A Deployment written for the reference keeps its arguments."""
    original = webhook.arguments

    def arguments(**flags: object) -> list[str]:
        return [*original(**flags), "-audience", "api://other", "-tls-min-version=1.2"]

    webhook.arguments = arguments  # type: ignore[method-assign]
    webhook.start()
    answer = webhook.review(pod(account="account-0"), "team-0").body["response"]
    assert '"audience":"api://other"' in _patch(answer)


@pytest.mark.parametrize(
    ("version", "group"), [("v1.31.9", "containers"), ("v1.32.0-rc.1", "initContainers")]
)
def test_the_sidecar_is_what_the_clusters_version_runs(
    webhook: Webhook, kubernetes: Kubernetes, version: str, group: str
) -> None:
    kubernetes.version = version
    webhook.start()
    labelled = pod(account="account-0")
    labelled["metadata"]["annotations"] = SIDECAR
    answer = webhook.review(labelled, "team-0").body["response"]
    operations = json.loads(_patch(answer))
    (sidecar,) = [one for one in operations if '"azwi-proxy"' in json.dumps(one["value"])]
    assert sidecar["path"].startswith(f"/spec/{group}")


def test_an_api_server_that_is_away_is_waited_for(webhook: Webhook, kubernetes: Kubernetes) -> None:
    """A new start would bring no API server, and crash loops hide what they wait for."""
    kubernetes.stop()
    webhook.launch()
    webhook.until(lambda: webhook.events("kubernetes_version_unknown"))
    answer = webhook.get("/readyz")
    assert answer.status == 500
    assert answer.text.startswith("the API server has not said its version: no answer from http://")
    assert webhook.get("/healthz").status == 200
    assert "hint" in webhook.events("kubernetes_version_unknown")[0]
    kubernetes.start()
    webhook.until(lambda: webhook.get("/readyz").status == 200)
    webhook.until(lambda: webhook.events("ready"))


def test_an_api_server_that_goes_away_later_leaves_it_serving(
    webhook: Webhook, kubernetes: Kubernetes
) -> None:
    webhook.start()
    kubernetes.stop()
    answer = webhook.review(pod(account="account-0"), "team-0").body["response"]
    assert answer["allowed"] is True
    refused = webhook.review(pod(account="unknown"), "team-0").body["response"]
    assert (refused["allowed"], refused["status"]["code"]) == (False, 503)
    assert webhook.get("/readyz").status == 200


def test_a_missing_permission_is_told_by_the_probe(
    webhook: Webhook, kubernetes: Kubernetes
) -> None:
    kubernetes.forbidden = True
    webhook.launch()
    webhook.until(lambda: "as the server says" in webhook.get("/readyz").text)
    assert webhook.get("/readyz").text.startswith("accounts are not listed yet")
    assert webhook.get("/readyz/certificate").text == "ok"
    assert webhook.get("/healthz").status == 200
    kubernetes.forbidden = False
    webhook.until(lambda: webhook.get("/readyz").status == 200)


def test_a_pod_that_comes_before_the_accounts_are_listed_waits_for_nothing(
    webhook: Webhook, kubernetes: Kubernetes
) -> None:
    kubernetes.forbidden = True
    webhook.launch()
    webhook.until(lambda: webhook.get("/readyz/handshake").status == 200)
    answer = webhook.review(pod(account="account-0"), "team-0").body["response"]
    assert answer["allowed"] is True
    assert kubernetes.reads == 1
    assert webhook.get("/readyz").status == 500


def test_a_certificate_that_is_not_there_yet_is_waited_for(webhook: Webhook) -> None:
    """Kubelet may mount a Secret before anybody has filled it."""
    for name in ("tls.crt", "tls.key"):
        (webhook.folder / name).unlink()
    webhook.launch()
    webhook.until(lambda: webhook.events("certificate_not_usable"))
    webhook.until(lambda: "there is no certificate to serve" in webhook.get("/readyz").text)
    assert webhook.metrics()["podpass_certificate_hindered"] == 1
    assert webhook.get("/healthz").status == 200
    webhook.write_certificate()
    webhook.until(lambda: webhook.get("/readyz").status == 200)
    assert webhook.review(pod(account="account-0"), "team-0").status == 200


def test_a_certificate_that_has_expired_makes_it_unready(webhook: Webhook) -> None:
    leaf = webhook.ca.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    leaf.cert_chain_pems[0].write_to_path(str(webhook.folder / "tls.crt"))
    leaf.private_key_pem.write_to_path(str(webhook.folder / "tls.key"))
    webhook.launch()
    webhook.until(lambda: "expired at 2020-01-01T00:00:00Z" in webhook.get("/readyz").text)
    assert webhook.get("/healthz").status == 200


def test_a_stop_is_told_to_probes_first_and_to_connections_last(webhook: Webhook) -> None:
    """Endpoints lead here for seconds after the signal: who comes meanwhile is served."""
    webhook.start(shutdown_delay_seconds=3)
    kept = webhook.connect()
    webhook.post(b"{}", connection=kept)
    os.kill(webhook.pid, signal.SIGTERM)
    webhook.until(lambda: webhook.get("/readyz").status == 500)
    assert webhook.get("/readyz").text.startswith("it is shutting down")
    assert webhook.get("/healthz").status == 200
    answer = webhook.review(pod(account="account-0"), "team-0")
    assert answer.body["response"]["allowed"] is True
    time.sleep(3.2)
    last = webhook.post(b"{}", connection=kept)
    assert (last.status, last.headers["connection"]) == (200, "close")
    assert webhook.stop(0) == 0
    assert webhook.events("webhook_stopped")


def test_a_second_signal_ends_it_at_once(webhook: Webhook) -> None:
    webhook.start(shutdown_delay_seconds=100)
    os.kill(webhook.pid, signal.SIGTERM)
    webhook.until(lambda: webhook.events("webhook_draining"))
    assert webhook.stop() == -signal.SIGTERM


def test_a_stop_while_it_waits_for_the_api_server_is_heeded(
    webhook: Webhook, kubernetes: Kubernetes
) -> None:
    kubernetes.stop()
    webhook.launch(shutdown_delay_seconds=100)
    webhook.until(lambda: webhook.events("kubernetes_version_unknown"))
    assert webhook.stop() == 0


# -------------------------------------------------------------------------------- what cannot begin


def _run(webhook: Webhook, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "podpass.cli", "webhook", *arguments],
        env={**os.environ, **webhook.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_port_that_is_taken_is_told_in_one_line(webhook: Webhook) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = _run(webhook, *webhook.arguments(health_addr=address)[4:])
    assert done.returncode == 1
    said, hint = done.stderr.splitlines()
    assert address in said
    assert "give another --health-addr" in hint


def test_outside_a_cluster_it_says_what_is_missing(webhook: Webhook) -> None:
    done = _run(webhook, KUBERNETES_SERVICE_HOST="", KUBECONFIG="")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2


def test_settings_that_are_wrong_are_all_named(webhook: Webhook) -> None:
    done = _run(webhook, "--tls-min-version=0.9", "--metrics-addr", "nowhere", AZURE_TENANT_ID="")
    assert done.returncode == 2
    for wrong in ("--tls-min-version", "--metrics-addr", "AZURE_TENANT_ID"):
        assert wrong in done.stderr


def test_an_argument_that_is_no_flag_is_refused(webhook: Webhook) -> None:
    """As in the reference nothing after it is read, and nobody would notice."""
    done = _run(webhook, "--disable-cert-rotation", "false", "--tls-min-version", "1.2")
    assert done.returncode == 2
    assert "write --disable-cert-rotation=false" in done.stderr


def test_a_tenant_that_can_be_none_is_told_at_the_start(webhook: Webhook) -> None:
    webhook.launch()
    assert not webhook.events("own_tenant_malformed")
    webhook.stop()
    webhook.environ = {"AZURE_TENANT_ID": "common"}
    webhook.start()
    (said,) = webhook.events("own_tenant_malformed")
    assert (said["level"], said["tenant_id"]) == ("warning", "common")


def test_the_version_is_one_line_of_json_with_the_references_keys(webhook: Webhook) -> None:
    for flag in ("--version", "-version", "--version=true"):
        done = _run(webhook, "--log-level=info", flag)
        assert done.returncode == 0
        found = json.loads(done.stdout)
        keys = ["buildVersion", "gitCommit", "buildDate", "goVersion", "platform"]
        assert list(found) == keys
        assert all(found.values())
        assert done.stdout.count("\n") == 1


def test_help_names_every_flag_and_variable(webhook: Webhook) -> None:
    for flag in ("--help", "-h", "-help"):
        done = _run(webhook, flag)
        assert done.returncode == 0
        for name in ("--custom-token-endpoint-audience", "--webhook-addr", "--version"):
            assert name in done.stdout
        assert "AZURE_KUBERNETES_CA_CTB_SIGNER_NAME" in done.stdout


def test_help_tells_of_a_switch_that_is_on(webhook: Webhook) -> None:
    """Whoever looks for how to turn it off would take it for off."""
    told = _run(webhook, "--help").stdout
    events = told.partition("--refusal-events ")[2].partition("--tls-min-version")[0]
    assert events.split()[-2:] == ["[default:", "true]"]
    assert told.count("[default: true]") == 1


def test_what_takes_memory_and_is_of_no_use_here_is_not_imported() -> None:
    """Every replica of every cluster would pay for it: the budget is half as much again as the reference."""
    code = "import sys, podpass.cli.webhook, podpass.servers.webhook.webhook; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"sqlalchemy", "alembic", "starlette", "prometheus_client", "yaml", "rich", "psycopg"}
    assert not heavy & set(done.stdout.split())
    assert "cryptography.x509" not in done.stdout.split()


def test_the_systems_authorities_are_not_kept_in_memory() -> None:
    """The HTTP client would read all of them as it is imported: two megabytes that nobody asks about."""
    code = (
        "import os; from podpass.cli.webhook import _no_authorities\n"
        "with _no_authorities(): import aiohttp.connector as c\n"
        "print(c._SSL_CONTEXT_VERIFIED.cert_store_stats()['x509'], os.environ.get('SSL_CERT_FILE'))"
    )
    environ = {**os.environ, "SSL_CERT_FILE": "/given"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ
    )
    assert done.stdout.split() == ["0", "/given"]


# -------------------------------------------------------------------------------- versions of TLS


def _client(webhook: Webhook, highest: ssl.TLSVersion) -> ssl.SSLContext:
    context = webhook.trust
    context.maximum_version = highest
    return context


def test_a_client_of_tls_1_2_is_refused_where_the_minimum_is_1_3(webhook: Webhook) -> None:
    webhook.start()
    with pytest.raises(ssl.SSLError):
        webhook.connect(_client(webhook, ssl.TLSVersion.TLSv1_2)).connect()
    assert webhook.review(pod(account="account-0"), "team-0").status == 200


def test_answers_say_that_they_are_json(webhook: Webhook) -> None:
    webhook.start()
    for answer in (webhook.review(pod(account="account-0"), "team-0"), webhook.post(b"no review")):
        assert answer.headers["content-type"] == "application/json"


def test_a_client_that_would_speak_http_2_is_offered_http_1(webhook: Webhook) -> None:
    webhook.start()
    context = webhook.trust
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", webhook.port("webhook"))) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        assert secure.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("lowest", ["1.2", "1.0"])
def test_a_client_of_tls_1_2_is_served_where_it_may_be(webhook: Webhook, lowest: str) -> None:
    webhook.start(tls_min_version=lowest)
    connection = webhook.connect(_client(webhook, ssl.TLSVersion.TLSv1_2))
    answer = webhook.post(b"{}", connection=connection)
    connection.close()
    assert answer.status == 200


def test_it_leaves_its_memory_in_no_core_file(webhook: Webhook) -> None:
    """It holds the key of the authority that API servers trust."""
    limit = resource.getrlimit(resource.RLIMIT_CORE)[1]
    webhook.start(preexec=lambda: resource.setrlimit(resource.RLIMIT_CORE, (limit, limit)))
    assert resource.prlimit(webhook.pid, resource.RLIMIT_CORE) == (0, 0)

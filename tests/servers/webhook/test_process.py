"""The process under an orchestrator: start, waiting for dependencies, and shutdown."""

import base64
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
from tests.run_program import run_text
from tests.servers.webhook.kubernetes import CLIENT, Kubernetes
from tests.servers.webhook.running import TENANT, Webhook, pod

pytestmark = pytest.mark.processes

SIDECAR = {"azure.workload.identity/inject-proxy-sidecar": "true"}


def _patch(answer: dict[str, object]) -> str:
    return base64.b64decode(str(answer["patch"])).decode()


def test_pods_are_mutated_from_the_account_cache(webhook: Webhook, kubernetes: Kubernetes) -> None:
    webhook.start()
    answer = webhook.review(pod(account="account-0"), "team-0").body["response"]
    assert answer["allowed"] is True
    client = kubernetes.accounts["team-0/account-0"]["metadata"]["annotations"][CLIENT]
    assert client in _patch(answer)
    assert TENANT in _patch(answer)
    assert kubernetes.reads == 0
    assert webhook.stop() == 0
    assert webhook.events("webhook_stopped")


def test_keep_alive_is_longer_than_that_of_an_api_server() -> None:
    """The 90 seconds of an API server were measured with kube-apiserver 1.34.4."""
    assert process._KEEP_ALIVE_SECONDS > 90


def test_flags_are_parsed_in_go_syntax(webhook: Webhook) -> None:
    """A Deployment for the reference works with the same arguments."""
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
def test_sidecar_form_follows_the_cluster_version(
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


def test_start_waits_for_unavailable_api_server(webhook: Webhook, kubernetes: Kubernetes) -> None:
    """A restart would not fix an unavailable API server, and a crash loop would hide the cause."""
    kubernetes.stop()
    webhook.launch()
    webhook.until(lambda: webhook.events("kubernetes_version_unknown"))
    answer = webhook.get("/readyz")
    assert answer.status == 500
    assert answer.text.startswith(
        "the version of the API server is unknown: no answer from http://"
    )
    assert webhook.get("/healthz").status == 200
    assert "hint" in webhook.events("kubernetes_version_unknown")[0]
    kubernetes.start()
    webhook.until(lambda: webhook.get("/readyz").status == 200)
    webhook.until(lambda: webhook.events("webhook_ready"))


def test_webhook_keeps_serving_when_api_server_becomes_unavailable(
    webhook: Webhook, kubernetes: Kubernetes
) -> None:
    webhook.start()
    kubernetes.stop()
    answer = webhook.review(pod(account="account-0"), "team-0").body["response"]
    assert answer["allowed"] is True
    refused = webhook.review(pod(account="unknown"), "team-0").body["response"]
    assert (refused["allowed"], refused["status"]["code"]) == (False, 503)
    assert webhook.get("/readyz").status == 200


def test_missing_permission_is_in_the_probe_response(
    webhook: Webhook, kubernetes: Kubernetes
) -> None:
    kubernetes.forbidden = True
    webhook.launch()
    webhook.until(lambda: "as the server says" in webhook.get("/readyz").text)
    assert webhook.get("/readyz").text.startswith("ServiceAccounts are not listed yet")
    assert webhook.get("/readyz/certificate").text == "ok"
    assert webhook.get("/healthz").status == 200
    kubernetes.forbidden = False
    webhook.until(lambda: webhook.get("/readyz").status == 200)


def test_pod_before_the_account_list_is_mutated_immediately(
    webhook: Webhook, kubernetes: Kubernetes
) -> None:
    kubernetes.forbidden = True
    webhook.launch()
    webhook.until(lambda: webhook.get("/readyz/handshake").status == 200)
    answer = webhook.review(pod(account="account-0"), "team-0").body["response"]
    assert answer["allowed"] is True
    assert kubernetes.reads == 1
    assert webhook.get("/readyz").status == 500


def test_start_waits_for_missing_certificate(webhook: Webhook) -> None:
    """The kubelet may mount a Secret before it is filled."""
    for name in ("tls.crt", "tls.key"):
        (webhook.folder / name).unlink()
    webhook.launch()
    webhook.until(lambda: webhook.events("certificate_load_failed"))
    webhook.until(lambda: "there is no certificate to serve" in webhook.get("/readyz").text)
    assert webhook.metrics()["podpass_certificate_rotation_failing"] == 1
    assert webhook.get("/healthz").status == 200
    webhook.write_certificate()
    webhook.until(lambda: webhook.get("/readyz").status == 200)
    assert webhook.review(pod(account="account-0"), "team-0").status == 200


def test_expired_certificate_makes_the_webhook_unready(webhook: Webhook) -> None:
    leaf = webhook.ca.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    leaf.cert_chain_pems[0].write_to_path(str(webhook.folder / "tls.crt"))
    leaf.private_key_pem.write_to_path(str(webhook.folder / "tls.key"))
    webhook.launch()
    webhook.until(lambda: "expired at 2020-01-01T00:00:00Z" in webhook.get("/readyz").text)
    assert webhook.get("/healthz").status == 200


def test_shutdown_fails_probes_first_and_closes_connections_last(webhook: Webhook) -> None:
    """Endpoints still route requests to the replica for seconds after the signal; the replica serves them."""
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


def test_second_signal_stops_the_process_immediately(webhook: Webhook) -> None:
    webhook.start(shutdown_delay_seconds=100)
    os.kill(webhook.pid, signal.SIGTERM)
    webhook.until(lambda: webhook.events("webhook_draining"))
    assert webhook.stop() == -signal.SIGTERM


def test_signal_while_waiting_for_the_api_server_stops_the_process(
    webhook: Webhook, kubernetes: Kubernetes
) -> None:
    kubernetes.stop()
    webhook.launch(shutdown_delay_seconds=100)
    webhook.until(lambda: webhook.events("kubernetes_version_unknown"))
    assert webhook.stop() == 0


# --------------------------------------------------------------------------------- failed starts


def _run(webhook: Webhook, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return run_text(
        [sys.executable, "-m", "podpass.cli", "webhook", *arguments],
        env={**os.environ, **webhook.environ, **environ},
        timeout=60,
    )


def test_port_in_use_is_reported_in_one_line(webhook: Webhook) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = _run(webhook, *webhook.arguments(health_addr=address)[4:])
    assert done.returncode == 1
    message, hint = done.stderr.splitlines()
    assert address in message
    assert "choose another address with --health-addr" in hint


def test_missing_cluster_environment_is_reported(webhook: Webhook) -> None:
    done = _run(webhook, KUBERNETES_SERVICE_HOST="", KUBECONFIG="")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2


def test_all_invalid_settings_are_named(webhook: Webhook) -> None:
    done = _run(webhook, "--tls-min-version=0.9", "--metrics-addr", "nowhere", AZURE_TENANT_ID="")
    assert done.returncode == 2
    for wrong in ("--tls-min-version", "--metrics-addr", "AZURE_TENANT_ID"):
        assert wrong in done.stderr


def test_positional_argument_is_refused(webhook: Webhook) -> None:
    """As in the reference, flag parsing stops there, and the flags after it would have no effect."""
    done = _run(webhook, "--disable-cert-rotation", "false", "--tls-min-version", "1.2")
    assert done.returncode == 2
    assert "write --disable-cert-rotation=false" in done.stderr


def test_malformed_default_tenant_is_logged_at_the_start(webhook: Webhook) -> None:
    webhook.launch()
    assert not webhook.events("default_tenant_malformed")
    webhook.stop()
    webhook.environ = {"AZURE_TENANT_ID": "common"}
    webhook.start()
    (message,) = webhook.events("default_tenant_malformed")
    assert (message["level"], message["tenant_id"]) == ("warning", "common")


def test_version_is_one_line_of_json_with_the_keys_of_the_reference(webhook: Webhook) -> None:
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


def test_help_shows_the_default_of_an_enabled_switch(webhook: Webhook) -> None:
    """A user who wants to disable it must see that it is enabled."""
    output = _run(webhook, "--help").stdout
    events = output.partition("--refusal-events ")[2].partition("--tls-min-version")[0]
    assert events.split()[-2:] == ["[default:", "true]"]
    assert output.count("[default: true]") == 1


def test_unneeded_libraries_are_not_imported() -> None:
    """Every replica would need that memory: the limit is 1.5 times that of the reference."""
    code = "import sys, podpass.cli.webhook, podpass.servers.webhook.webhook; print(*sys.modules)"
    done = run_text([sys.executable, "-c", code], check=True)
    heavy = {"sqlalchemy", "alembic", "starlette", "prometheus_client", "yaml", "rich", "psycopg"}
    assert not heavy & set(done.stdout.split())
    assert "cryptography.x509" not in done.stdout.split()


def test_system_ca_certificates_are_not_loaded() -> None:
    """The HTTP client would load all of them at import: two megabytes that are never used."""
    code = (
        "import os; from podpass.cli.webhook import _without_system_cas\n"
        "with _without_system_cas(): import aiohttp.connector as c\n"
        "print(c._SSL_CONTEXT_VERIFIED.cert_store_stats()['x509'], os.environ.get('SSL_CERT_FILE'))"
    )
    environ = {**os.environ, "SSL_CERT_FILE": "/given"}
    done = run_text([sys.executable, "-c", code], check=True, env=environ)
    assert done.stdout.split() == ["0", "/given"]


# -------------------------------------------------------------------------------- versions of TLS


def _client(webhook: Webhook, highest: ssl.TLSVersion) -> ssl.SSLContext:
    context = webhook.trust
    context.maximum_version = highest
    return context


def test_tls_1_2_client_is_refused_with_minimum_1_3(webhook: Webhook) -> None:
    webhook.start()
    with pytest.raises(ssl.SSLError):
        webhook.connect(_client(webhook, ssl.TLSVersion.TLSv1_2)).connect()
    assert webhook.review(pod(account="account-0"), "team-0").status == 200


def test_responses_have_content_type_json(webhook: Webhook) -> None:
    webhook.start()
    for answer in (webhook.review(pod(account="account-0"), "team-0"), webhook.post(b"no review")):
        assert answer.headers["content-type"] == "application/json"


def test_client_that_offers_http_2_gets_http_1(webhook: Webhook) -> None:
    webhook.start()
    context = webhook.trust
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", webhook.port("webhook"))) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        assert secure.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("lowest", ["1.2", "1.0"])
def test_tls_1_2_client_is_accepted_where_allowed(webhook: Webhook, lowest: str) -> None:
    webhook.start(tls_min_version=lowest)
    connection = webhook.connect(_client(webhook, ssl.TLSVersion.TLSv1_2))
    answer = webhook.post(b"{}", connection=connection)
    connection.close()
    assert answer.status == 200


def test_process_writes_no_core_file(webhook: Webhook) -> None:
    """Its memory contains the key of the CA that API servers trust."""
    limit = resource.getrlimit(resource.RLIMIT_CORE)[1]
    webhook.start(preexec=lambda: resource.setrlimit(resource.RLIMIT_CORE, (limit, limit)))
    assert resource.prlimit(webhook.pid, resource.RLIMIT_CORE) == (0, 0)

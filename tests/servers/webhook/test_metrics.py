"""`/metrics` of the running process."""

import re
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests import observability
from tests.servers.webhook.running import Webhook, pod, review

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "metrics.md").read_text().partition("# Metrics of the webhook")[2]
GUIDE = (DOCS / "operate/webhook.md").read_text()
ALERTS = (DOCS.parent / "deploy/observability/alerts/webhook.yaml").read_text()
OWN = r"podpass_(?:admission|certificate)_\w+"


def test_responses_are_counted_in_own_and_reference_metrics(webhook: Webhook) -> None:
    webhook.start()
    for _ in range(3):
        webhook.review(pod(account="account-0"), "team-0")
    webhook.review(pod(account="missing"), "team-0")
    webhook.post(b"no review")
    found = webhook.metrics()
    requests = 'podpass_admission_requests_total{outcome="%s",reason="%s"}'
    assert found[requests % ("mutated", "")] == 3
    assert found[requests % ("refused", "account_not_found")] == 1
    assert found[requests % ("refused", "bad_review")] == 1
    assert found["podpass_admission_seconds_count"] == 5
    assert found['podpass_admission_account_lookups_total{result="hit"}'] == 3
    assert found['podpass_admission_account_lookups_total{result="missing"}'] == 1
    assert found["podpass_admission_accounts"] == 1
    assert found["podpass_admission_ready"] == 1
    azwi = 'azwi_mutation_request_count{namespace="%s",service_name="webhook"}'
    assert found[azwi % "team-0"] == 4
    assert found[azwi % "other"] == 1
    hook = 'webhook="/mutate-v1-pod"'
    assert found[f'controller_runtime_webhook_requests_total{{{hook},code="200"}}'] == 5
    assert found[f"controller_runtime_webhook_latency_seconds_count{{{hook}}}"] == 5
    assert found[f"controller_runtime_webhook_requests_in_flight{{{hook}}}"] == 0


def test_invalid_requests_create_no_series(webhook: Webhook) -> None:
    """Otherwise a client that reaches the port could fill the memory of Prometheus."""
    webhook.start()
    before = len(webhook.metrics())
    connection = webhook.connect()
    for number in range(50):
        webhook.post(review(pod(account="x"), f"made-up-{number}"), connection=connection)
    connection.close()
    # One more series: the reason of the refusal.
    assert len(webhook.metrics()) == before + 1


def test_certificate_and_process_metrics_exist(webhook: Webhook) -> None:
    webhook.start()
    found = webhook.metrics()
    assert found['podpass_certificate_expiry_seconds{which="serving"}'] > time.time()
    assert 'podpass_certificate_expiry_seconds{which="ca"}' not in found, "unknown"
    assert found["podpass_certificate_rotations_total"] == 0
    assert found["podpass_certificate_rotation_failing"] == 0
    assert found["process_open_fds"] > 5
    assert found["process_resident_memory_bytes"] > 20e6
    assert found["process_virtual_memory_bytes"] > found["process_resident_memory_bytes"]
    assert abs(found["process_start_time_seconds"] - time.time()) < 60
    assert found['podpass_admission_event_loop_lag_seconds{part="total"}'] >= 0


def test_prometheus_parses_the_metrics(webhook: Webhook) -> None:
    webhook.start()
    webhook.review(pod(account="account-0"), "team-0")
    answer = webhook.get("/metrics", "metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {one.name: one for one in text_string_to_metric_families(answer.text)}
    assert families["azwi_mutation_request"].type == "histogram"
    assert families["podpass_admission_requests"].type == "counter"
    assert webhook.get("/other", "metrics").status == 404
    assert webhook.get("/metrics", "metrics", method="POST").status == 405


def test_docs_list_every_exported_metric(webhook: Webhook) -> None:
    webhook.start()
    text = webhook.get("/metrics", "metrics").text
    exported = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    listed = dict(re.findall(r"^\| `(podpass_\w+)` \| (\w+) \|", PAGE, re.MULTILINE))
    assert listed == {name: kind for name, kind in exported.items() if name.startswith("podpass_")}
    others = set(exported) - set(listed)
    assert not [name for name in others if f"`{name}`" not in PAGE]


def test_alerts_use_existing_series(webhook: Webhook) -> None:
    webhook.start()
    webhook.review(pod(account="missing"), "team-0")
    series = webhook.metrics()
    names = {name.partition("{")[0] for name in series}
    used = re.findall(rf"({OWN}|process_\w+)(?:\{{(\w+)=\"(\w+)\"\}})?", ALERTS)
    assert len(used) > 8
    assert not [name for name, _, _ in used if name not in names]
    labelled = [(name, f'{label}="{value}"') for name, label, value in used if label]
    # The expiry of the CA is known only with rotation.
    unknown = {("podpass_certificate_expiry_seconds", 'which="ca"')}
    for name, label in set(labelled) - unknown:
        if name.startswith("podpass_"):
            assert any(one.startswith(name) and label in one for one in series), (name, label)


def test_alerts_and_dashboard_use_metrics_and_labels_that_a_webhook_exports(
    webhook: Webhook,
) -> None:
    webhook.start()
    webhook.review(pod(account="missing"), "team-0")
    assert not observability.missing("webhook", webhook.get("/metrics", "metrics").text)


def test_alerts_use_the_job_of_the_charts_service_monitor() -> None:
    """Without `jobLabel`, Prometheus uses the name of the Service; an alert with another job never fires."""
    templates = DOCS.parent / "charts" / "podpass" / "templates"
    service, _, monitor = (templates / "servicemonitor.yaml").read_text().partition("\n---\n")
    named = re.findall(r"^  name: (\S+)$", service, re.MULTILINE)
    assert set(re.findall(r'job="([^"]+)"', ALERTS)) == set(named)
    assert "jobLabel" not in monitor


def test_log_events_of_the_guide_exist_in_the_code() -> None:
    events = re.findall(
        r"^\| ((?:`\w+`(?:, )?)+) \| \w+", GUIDE.partition("## Log lines")[2], re.MULTILINE
    )
    named = {name for cell in events for name in re.findall(r"`(\w+)`", cell)}
    source = "".join(path.read_text() for path in (DOCS.parent / "src").rglob("*.py"))
    # Stage and outcome together are one event name.
    made = {"account_refused", "admission_refused"}
    assert len(named) > 15
    assert not [name for name in named - made if f'"{name}"' not in source]

"""Traces of the running process, at a collector that speaks OTLP over HTTP."""

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.servers.webhook.running import JSON, Webhook, pod, review

pytestmark = pytest.mark.processes

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(HTTPServer):
    """A collector that stores the received spans."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sent: list[tuple[str, str, Any]] = []

    def spans(self) -> list[dict[str, Any]]:
        return [
            span
            for _, _, body in self.sent
            for resource in body["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert isinstance(self.server, Collector)
        self.server.sent.append((self.path, self.headers["content-type"], body))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_collector_certificate_is_verified_with_system_cas(
    webhook: Webhook, collector: Collector
) -> None:
    leaf, tls = webhook.ca.issue_cert("127.0.0.1"), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(tls)
    collector.socket = tls.wrap_socket(collector.socket, server_side=True)
    authorities = webhook.folder / "authorities.pem"
    webhook.ca.cert_pem.write_to_path(str(authorities))
    webhook.environ["SSL_CERT_FILE"] = str(authorities)
    webhook.start(otlp_endpoint=f"https://127.0.0.1:{collector.server_port}")
    webhook.review(pod(account="account-0"), "team-0")
    assert webhook.stop() == 0
    assert len(collector.spans()) == 1


def _facts(span: dict[str, Any]) -> dict[str, str]:
    return {one["key"]: one["value"]["stringValue"] for one in span["attributes"]}


def test_span_is_a_child_of_the_api_servers_span(webhook: Webhook, collector: Collector) -> None:
    webhook.start(otlp_endpoint=f"http://127.0.0.1:{collector.server_port}/")
    good = review(pod(account="account-0"), "team-0")
    webhook.post(good, {**JSON, "traceparent": f"00-{TRACE}-{SPAN}-01"})
    webhook.post(review(pod(account="missing"), "team-0"))
    webhook.post(good, {**JSON, "traceparent": f"00-{TRACE}-{SPAN}-00"})
    assert webhook.stop() == 0, "queued spans are exported at the end"
    mutated, refused = collector.spans()
    assert (mutated["traceId"], mutated["parentSpanId"]) == (TRACE, SPAN)
    assert len(mutated["spanId"]) == 16
    assert int(mutated["endTimeUnixNano"]) > int(mutated["startTimeUnixNano"])
    assert _facts(mutated) == {"podpass.outcome": "mutated", "k8s.namespace.name": "team-0"}
    assert "parentSpanId" not in refused
    assert refused["traceId"] != TRACE
    assert _facts(refused)["podpass.reason"] == "account_not_found"
    assert {path for path, _, _ in collector.sent} == {"/v1/traces"}
    assert {kind for _, kind, _ in collector.sent} == {"application/json"}
    (resource,) = collector.sent[0][2]["resourceSpans"]
    assert _facts(resource["resource"])["service.name"] == "podpass-webhook"


def test_unavailable_collector_blocks_no_pod(webhook: Webhook) -> None:
    webhook.start(otlp_endpoint="http://127.0.0.1:1")
    for _ in range(3):
        answer = webhook.review(pod(account="account-0"), "team-0").body["response"]
        assert answer["allowed"] is True
    assert webhook.stop() == 0
    assert webhook.events("trace_export_failed")[0]["collector"] == "http://127.0.0.1:1/v1/traces"
    assert webhook.events("webhook_stopped")


def test_no_span_is_exported_without_endpoint(webhook: Webhook, collector: Collector) -> None:
    webhook.start()
    webhook.review(pod(account="account-0"), "team-0")
    assert webhook.stop() == 0
    assert collector.sent == []


@pytest.mark.parametrize(
    "given",
    ["", "00-zz-1-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", "x" * 3000],
)
def test_invalid_traceparent_begins_a_new_trace(
    webhook: Webhook, collector: Collector, given: str
) -> None:
    webhook.start(otlp_endpoint=f"http://127.0.0.1:{collector.server_port}")
    body = review(pod(account="account-0"), "team-0")
    assert webhook.post(body, {**JSON, "traceparent": given}).status == 200
    webhook.stop()
    (span,) = collector.spans()
    assert "parentSpanId" not in span
    assert len(span["traceId"]) == 32

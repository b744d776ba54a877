"""The Go reference's webhook and ours on one API server: the same metrics and the same responses."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jsonpatch
import pytest
import trustme
from prometheus_client.parser import text_string_to_metric_families

from tests.admission.test_vectors import CASES as RECORDED
from tests.admission.test_vectors import REFUSED_HERE
from tests.kubernetes_clients.reference import IMAGES, LOG_LEVEL, TENANT, ReferenceWebhook
from tests.servers.webhook.running import PATH, Webhook, pod, review

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
CLIENT_ID = "azure.workload.identity/client-id"
# Metrics that ours lacks: tests/vectors/features.toml.
GO_ALONE = (
    *("go_", "workqueue_", "rest_client_", "certwatcher_", "controller_runtime_reconcile_"),
    *("controller_runtime_terminal_", "controller_runtime_active_", "controller_runtime_max_"),
    *("process_network_", "process_virtual_memory_max_", "target"),
)
SCOPE = "otel_scope_"
LENGTH = "azure.workload.identity/service-account-token-expiration"
CASES = {
    "a pod": (review(pod()), "application/json"),
    "no account": (review(pod(account="missing")), "application/json"),
    "a wrong annotation": (
        review({**pod(), "metadata": {"name": "a", "annotations": {LENGTH: "1"}}}),
        "application/json",
    ),
    "no object": (review(None), "application/json"),
    "v1beta1": (review(pod()).replace(b'k8s.io/v1"', b'k8s.io/v1beta1"'), "application/json"),
    "nothing": (b"", "application/json"),
    "half": (b"{", "application/json"),
    "a list": (b"[]", "application/json"),
    "text": (review(pod()), "text/plain"),
    "with a charset": (review(pod()), "application/json; charset=utf-8"),
}


@pytest.fixture
async def ours(live: Any, tmp_path: Path) -> AsyncIterator[Webhook]:
    """Start our webhook in a thread, because the API server runs in this event loop."""
    (tmp_path / "ours").mkdir()
    webhook = Webhook(tmp_path / "ours", trustme.CA(), live.kubeconfig())
    webhook.environ = {"AZURE_TENANT_ID": TENANT, **IMAGES}
    webhook.write_certificate()
    await asyncio.to_thread(webhook.start, log_level=LOG_LEVEL)
    yield webhook
    await asyncio.to_thread(webhook.stop)


async def _responses(url: str) -> dict[str, Any]:
    """Return a server's responses to all cases."""
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    found = {}
    async with aiohttp.ClientSession() as session:
        for name, (body, kind) in CASES.items():
            headers = {"content-type": kind}
            async with session.post(url + PATH, data=body, headers=headers, ssl=tls) as answer:
                response = (document := await answer.json(content_type=None))["response"]
                version = document.get("apiVersion", "admission.k8s.io/v1")
                status = response["status"]
                verdict = (response["allowed"], response.get("patchType"), status["code"])
                found[name] = (answer.status, version, response["uid"], *verdict)
    return found


async def test_responses_have_the_same_members(
    live: Any, reference: ReferenceWebhook, ours: Webhook
) -> None:
    del reference
    body = {"metadata": {"name": "web", "annotations": {CLIENT_ID: "client"}}}
    assert (await live.call("POST", ACCOUNTS, body)).status == 201
    theirs = await _responses("https://127.0.0.1:9443")
    assert await _responses(f"https://127.0.0.1:{ours.port('webhook')}") == theirs


async def test_pods_of_the_recorded_cases_are_mutated_equally(
    live: Any, reference: ReferenceWebhook, ours: Webhook
) -> None:
    """The recorded cases with both processes; the recordings equal the reference's responses."""
    del reference
    odd, cases = set[str](), [case for case in RECORDED if case["config"] == "public"]
    async with aiohttp.ClientSession() as session:
        for number, case in enumerate(cases):
            body = review(
                wanted := await _prepare_case(live, f"case-{number}", case), f"case-{number}"
            )
            theirs, mine = [
                await _verdict(session, port, body) for port in (9443, ours.port("webhook"))
            ]
            if theirs["allowed"] != mine["allowed"]:
                odd.add(case["title"])
            else:
                assert _apply_response(wanted, mine) == _apply_response(wanted, theirs), case[
                    "title"
                ]
                assert mine["status"]["code"] == theirs["status"]["code"], case["title"]
    assert len(cases) > 80
    assert odd == REFUSED_HERE


async def _prepare_case(live: Any, namespace: str, case: Any) -> Any:
    """Create the account of a case in a new namespace and return the case's pod."""
    await live.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    wanted = json.loads(json.dumps(case["pod"]))
    wanted["metadata"]["namespace"] = namespace
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    if case["serviceAccount"] is not None:
        name = wanted["spec"].get("serviceAccountName") or "default"
        about = {"name": name, "annotations": case["serviceAccount"]}
        kind = "application/merge-patch+json"
        if (await live.call("POST", path, {"metadata": about})).status == 409:
            await live.call("PATCH", f"{path}/{name}", {"metadata": about}, content_type=kind)
    return wanted


async def _verdict(session: aiohttp.ClientSession, port: int, body: bytes) -> Any:
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    url, kind = f"https://127.0.0.1:{port}{PATH}", {"content-type": "application/json"}
    async with session.post(url, data=body, headers=kind, ssl=tls) as answer:
        return (await answer.json(content_type=None))["response"]


def _apply_response(wanted: Any, verdict: Any) -> Any:
    steps = json.loads(base64.b64decode(verdict.get("patch") or "W10="))
    return _full(jsonpatch.apply_patch(wanted, steps))


def _full(value: Any) -> Any:
    """Remove empty members, which the reference's typed pod adds or drops."""
    if isinstance(value, list):
        return [_full(each) for each in value]
    if not isinstance(value, dict):
        return value
    members = {name: _full(member) for name, member in value.items()}
    return {name: member for name, member in members.items() if member not in ({}, [], None, "")}


async def test_all_reference_metrics_except_go_runtime_are_exposed(
    live: Any, reference: ReferenceWebhook, ours: Webhook
) -> None:
    """Dashboards use names, labels and buckets of the reference's metrics, so ours must have them."""
    body = {"metadata": {"name": "web", "annotations": {CLIENT_ID: "client"}}}
    assert (await live.call("POST", ACCOUNTS, body)).status == 201
    await _responses("https://127.0.0.1:9443")
    await _responses(f"https://127.0.0.1:{ours.port('webhook')}")
    theirs = await _series(reference.metrics_url)
    mine = await _series(f"http://127.0.0.1:{ours.port('metrics')}/metrics")
    wanted = {series for series in theirs if not series[0].startswith(GO_ALONE)}
    assert any(name == "azwi_mutation_request_bucket" for name, _ in wanted)
    # For a review without namespace the reference has a series with an empty namespace; ours names it
    # `other`.
    missing = wanted - mine
    assert not [one for one in missing if ("namespace", "") not in one[1]]


async def _series(url: str) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        text = await answer.text()
    return {
        (
            sample.name,
            frozenset(
                (name, str(float(value)) if name == "le" else value)
                for name, value in sample.labels.items()
                if not name.startswith(SCOPE)
            ),
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

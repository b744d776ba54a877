"""Calls the webhook without a socket, and checks what every response must fulfil."""

import base64
import json
from collections.abc import Mapping, MutableMapping
from typing import Any

import jsonpatch
import orjson

from podpass import names
from podpass.account.annotations import filter_annotations
from podpass.admission.handler import create_app
from podpass.admission.metrics_reasons import REASON_LABELS
from podpass.admission.warnings import MAX_WARNINGS
from podpass.admission.wire import VERSIONS, parse_review
from podpass.settings import WebhookSettings

SETTINGS = WebhookSettings(
    tenant_id="tenant", custom_suffix="identity-binding", custom_audience="api://binding"
)
Answer = dict[str, Any]


class OneKnownAccount:
    """An account lookup that returns the same account for every name."""

    def __init__(self) -> None:
        self.said: Mapping[str, str] = {}

    async def read_annotations(self, namespace: str, name: str) -> Mapping[str, str]:
        assert isinstance(namespace, str)
        assert isinstance(name, str)
        return self.said


class Reviewer:
    """Sends reviews to the webhook and records its metrics."""

    def __init__(self) -> None:
        self.account = OneKnownAccount()
        self.counted: list[tuple[str, str]] = []
        self._app = create_app(SETTINGS, self.account, metrics=self._observe)

    def _observe(self, outcome: str, reason: str, namespace: str, seconds: float) -> None:
        assert seconds >= 0
        assert isinstance(namespace, str)
        self.counted.append((outcome, reason))

    def send_review(self, body: bytes, path: str = names.WEBHOOK_PATH) -> Answer:
        """Send a body and check that the response is a valid review."""
        sent: list[bytes] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                sent.append(message["body"])

        headers = [(b"content-type", b"application/json")]
        call: Any = self._app({"path": path, "headers": headers}, receive, send)
        try:
            call.send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError("the webhook waits")
        review = json.loads(sent[0])
        assert review["kind"] == "AdmissionReview"
        assert review["apiVersion"] in VERSIONS
        response: Answer = review["response"]
        _check(response)
        return response


def _check(response: Answer) -> None:
    assert isinstance(response["allowed"], bool)
    status = response["status"]
    assert status["code"] in ((200,) if response["allowed"] else (400, 413)), "an internal error"
    assert response["allowed"] or status["message"].isprintable()
    assert len(status.get("message", "")) <= 1025
    said = response.get("warnings", [])
    assert len(said) <= MAX_WARNINGS
    assert all(each.isprintable() and len(each) <= 1024 for each in said)
    assert all("/" not in key for key in response.get("auditAnnotations", {}))
    assert ("patch" in response) <= response["allowed"]


def review(data: bytes) -> None:
    """Send any body; the standard library must parse the same values."""
    reviewer = Reviewer()
    response = reviewer.send_review(data)
    ((outcome, reason),) = reviewer.counted
    assert reason in (REASON_LABELS if outcome == "refused" else {""})
    assert response["allowed"] is (outcome in ("mutated", "unchanged"))
    assert reviewer.send_review(data, names.ADVICE_PATH)["allowed"] is True
    assert len(reviewer.counted) == 1
    if response["uid"]:
        again = json.loads(data.decode())["request"]
        assert again["uid"] == response["uid"]
    if response["allowed"]:
        read = parse_review(data, "application/json")
        assert read.object == again.get("object")
        assert not read.creates_pod or _patched(read.object, response)["spec"]


def pod(data: bytes) -> None:
    """Mutate a pod with an account, both any JSON: the patch applies, and a second pass changes nothing."""
    first, _, second = data.partition(b"\n")
    try:
        raw, annotations = orjson.loads(first), orjson.loads(second or b"{}")
    except ValueError:
        return
    if not isinstance(annotations, dict) or not all(
        isinstance(value, str) for value in annotations.values()
    ):
        return
    reviewer = Reviewer()
    reviewer.account.said = filter_annotations(annotations)
    response = reviewer.send_review(_review_of(raw))
    if not response["allowed"]:
        return
    after = _patched(raw, response)
    again = reviewer.send_review(_review_of(after))
    assert again["allowed"]
    assert "patch" not in again
    assert again.get("warnings") == response.get("warnings")


def _patched(raw: Any, response: Answer) -> Any:
    if "patch" not in response:
        return raw
    operations = json.loads(base64.b64decode(response["patch"], validate=True))
    assert operations
    assert {each["op"] for each in operations} <= {"add", "replace"}
    return jsonpatch.apply_patch(raw, operations)


def _review_of(raw: Any) -> bytes:
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    named = metadata.get("namespace") if isinstance(metadata, dict) else None
    namespace = named if isinstance(named, str) and named else "default"
    request = {"uid": "u", "namespace": namespace, "operation": "CREATE", "object": raw}
    return orjson.dumps({"request": request})

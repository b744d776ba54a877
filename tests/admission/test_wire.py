"""Parsing of AdmissionReviews, refused input, and the form of responses."""

import base64
import json
from typing import Any

import pytest

from podpass.admission.wire import (
    BadReview,
    build_allow_response,
    build_deny_response,
    parse_review,
)

JSON = "application/json"


def _body(**request: Any) -> bytes:
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(review).encode()


@pytest.mark.parametrize("version", ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"])
def test_response_repeats_version_and_uid(version: str) -> None:
    request = {"uid": "u", "namespace": "ns", "object": {"a": 1}}
    document = {"apiVersion": version, "kind": "AdmissionReview", "request": request}
    review = parse_review(json.dumps(document).encode(), JSON)
    assert (review.uid, review.namespace, review.object) == ("u", "ns", {"a": 1})
    answer = json.loads(build_allow_response(review.api_version, review.uid))
    assert answer == {
        "apiVersion": version,
        "kind": "AdmissionReview",
        "response": {"uid": "u", "allowed": True, "status": {"metadata": {}, "code": 200}},
    }


def test_review_without_version_is_parsed_as_v1() -> None:
    review = parse_review(b'{"request":{"uid":"u"}}', JSON)
    assert review.api_version == "admission.k8s.io/v1"
    assert (review.namespace, review.object) == ("", None)


def test_patch_is_encoded_as_base64_of_json() -> None:
    operations = [{"op": "add", "path": "/spec/é", "value": {"~": "/"}}]
    response = json.loads(build_allow_response("admission.k8s.io/v1", "u", operations))["response"]
    assert response["patchType"] == "JSONPatch"
    assert json.loads(base64.b64decode(response["patch"], validate=True)) == operations


def test_response_has_warnings_and_audit_annotations() -> None:
    answer = build_allow_response("admission.k8s.io/v1", "u", warnings=["w"], audit={"k": "v"})
    response = json.loads(answer)["response"]
    assert (response["warnings"], response["auditAnnotations"]) == (["w"], {"k": "v"})


@pytest.mark.parametrize(
    ("request_", "creates"),
    [
        ({}, True),
        ({"operation": "CREATE"}, True),
        ({"operation": "", "resource": None, "kind": {}}, True),
        ({"resource": {"version": "v1", "resource": "pods"}}, True),
        ({"operation": "DELETE"}, False),
        ({"operation": "UPDATE", "kind": {"kind": "Whatever"}}, False),
        ({"operation": "CREATE", "subResource": "eviction"}, False),
    ],
)
def test_only_the_create_operation_of_pods_counts_as_pod_creation(
    request_: dict[str, Any], creates: bool
) -> None:
    assert parse_review(_body(uid="u", **request_), JSON).creates_pod is creates


@pytest.mark.parametrize(
    ("value", "dry"), [(None, False), (False, False), (True, True), ("false", True), (1, True)]
)
def test_dry_run_value_other_than_false_or_null_is_a_dry_run(value: Any, dry: bool) -> None:
    assert parse_review(_body(uid="u", dryRun=value), JSON).dry_run is dry


def test_refusal_has_code_and_message() -> None:
    answer = json.loads(build_deny_response("admission.k8s.io/v1", "u", 400, "why"))
    status = {"metadata": {}, "message": "why", "code": 400}
    assert answer["response"] == {"uid": "u", "allowed": False, "status": status}


@pytest.mark.parametrize(
    ("body", "content_type", "part"),
    [
        (b"", JSON, "body is empty"),
        (_body(uid="u"), None, "content type"),
        (_body(uid="u"), "application/json; charset=utf-8", "content type"),
        (_body(uid="u"), "text/plain", "content type"),
        (b"{", JSON, "not JSON"),
        (b"\xff", JSON, "not JSON"),
        (b"[" * 100_000, JSON, "not JSON"),
        (b'{"request":{"uid":"u","x":NaN}}', JSON, "not JSON"),
        (b"[]", JSON, "not an AdmissionReview"),
        (b'{"kind":"Pod","request":{"uid":"u"}}', JSON, "not an AdmissionReview"),
        (b'{"kind":["AdmissionReview"],"request":{}}', JSON, "not an AdmissionReview"),
        (b'{"apiVersion":"admission.k8s.io/v2","request":{"uid":"u"}}', JSON, "not an Adm"),
        (b'{"apiVersion":{"a":1},"request":{"uid":"u"}}', JSON, "not an AdmissionReview"),
        (b"{}", JSON, "no request"),
        (b'{"request":[]}', JSON, "no request"),
        (_body(), JSON, "no uid"),
        (_body(uid=""), JSON, "no uid"),
        (_body(uid=7), JSON, "no uid"),
        (_body(uid="u" * 1000), JSON, "no uid"),
        (_body(uid="u", namespace=["ns"]), JSON, "namespace"),
    ],
)
def test_invalid_review_is_refused(body: bytes, content_type: str | None, part: str) -> None:
    with pytest.raises(BadReview) as caught:
        parse_review(body, content_type)
    assert caught.value.status == 400
    assert part in caught.value.message
    assert len(caught.value.message) < 200


def test_invalid_review_error_has_the_api_version() -> None:
    with pytest.raises(BadReview) as caught:
        parse_review(b'{"apiVersion":"admission.k8s.io/v1beta1","request":{}}', JSON)
    assert caught.value.facts == {"api_version": "admission.k8s.io/v1beta1"}

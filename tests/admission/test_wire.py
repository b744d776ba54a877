"""Parsing of AdmissionReviews, refused input, and the form of responses."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from podpass import names
from podpass.admission.wire import (
    BadReview,
    build_allow_response,
    build_deny_response,
    parse_review,
)
from tests.admission.endpoint import Endpoint

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


def test_invalid_review_error_has_the_api_version() -> None:
    with pytest.raises(BadReview) as caught:
        parse_review(b'{"apiVersion":"admission.k8s.io/v1beta1","request":{}}', JSON)
    assert caught.value.facts == {"api_version": "admission.k8s.io/v1beta1"}


Function = Callable[..., Any]
POD = {"group": "", "version": "v1", "kind": "Pod"}
PODS = {"group": "", "version": "v1", "resource": "pods"}
CREATE: dict[str, Any] = {"operation": "CREATE", "kind": POD, "resource": PODS}


async def test_null_object_is_refused(webhook: Endpoint, log_lines: Function) -> None:
    response = await webhook.review(None, **CREATE)
    assert (response["uid"], response["allowed"]) == ("u-1", False)
    assert response["status"]["code"] == 400
    assert "has no object" in response["status"]["message"]
    assert log_lines()[-1]["code"] == "malformed_pod"


async def test_review_without_object_is_refused(webhook: Endpoint) -> None:
    response = await webhook.answer(_body(uid="u", namespace="default", **CREATE))
    assert (response["uid"], response["allowed"]) == ("u", False)


@pytest.mark.parametrize("operation", ["UPDATE", "DELETE", "CONNECT"])
@pytest.mark.parametrize("filled", [True, False])
async def test_operation_that_creates_no_pod_is_allowed_unchanged(
    webhook: Endpoint, make_pod: Function, operation: str, filled: bool
) -> None:
    """A registration that is too wide must not block the deletion of a pod, even of an invalid one."""
    pod = make_pod({names.TOKEN_EXPIRATION: "bad"}) if filled else None
    response = await webhook.review(pod, **CREATE | {"operation": operation}, oldObject=make_pod())
    assert response == {"uid": "u-1", "allowed": True, "status": {"metadata": {}, "code": 200}}


async def test_unknown_operation_is_refused(webhook: Endpoint, make_pod: Function) -> None:
    response = await webhook.review(make_pod(), operation="create")
    assert (response["uid"], response["allowed"]) == ("u-1", False)
    assert "'create'" in response["status"]["message"]


@pytest.mark.parametrize("part", ["eviction", "binding", "status", "ephemeralcontainers"])
async def test_pod_subresource_is_allowed_unchanged(webhook: Endpoint, part: str) -> None:
    """An eviction is CREATE of `pods/eviction`: a refusal would block the draining of a node."""
    eviction = {"group": "policy", "version": "v1", "kind": "Eviction"}
    response = await webhook.review(
        {"apiVersion": "policy/v1", "kind": "Eviction"},
        **CREATE | {"kind": eviction, "subResource": part},
    )
    assert response == {"uid": "u-1", "allowed": True, "status": {"metadata": {}, "code": 200}}


@pytest.mark.parametrize(
    "about",
    [
        {"resource": {"group": "apps", "version": "v1", "resource": "deployments"}},
        {"resource": {"group": "", "version": "v2", "resource": "pods"}},
        {"resource": {"group": "metrics.k8s.io", "version": "v1", "resource": "pods"}},
        {"resource": "pods"},
        {"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}},
        {"kind": ["Pod"]},
    ],
)
async def test_other_resource_is_refused_with_hint_to_the_registration(
    webhook: Endpoint, make_pod: Function, log_lines: Function, about: dict[str, Any]
) -> None:
    response = await webhook.review(make_pod(), **CREATE | about)
    assert (response["uid"], response["allowed"], response["status"]["code"]) == ("u-1", False, 400)
    assert "MutatingWebhookConfiguration" in response["status"]["message"]
    assert log_lines()[-1]["code"] == "wrong_resource"


async def test_deletion_of_another_resource_is_allowed(webhook: Endpoint) -> None:
    resource = {"group": "apps", "version": "v1", "resource": "deployments"}
    response = await webhook.review(None, operation="DELETE", resource=resource)
    assert response["allowed"]


async def test_another_kind_of_object_is_refused(webhook: Endpoint) -> None:
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {}}
    response = await webhook.review(deployment, **CREATE)
    assert (response["allowed"], response["status"]["code"]) == (False, 400)
    assert "'Deployment'" in response["status"]["message"]


async def test_pod_of_another_namespace_is_refused(webhook: Endpoint, make_pod: Function) -> None:
    response = await webhook.review(make_pod(), **CREATE | {"namespace": "other"})
    assert (response["allowed"], response["status"]["code"]) == (False, 400)
    assert "'default'" in response["status"]["message"]


@pytest.mark.parametrize(
    ("body", "content_type", "part"),
    [
        (b"", JSON, "body is empty"),
        (_body(uid="u"), "", "content type"),
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
        (_body(uid="u", namespace="default", object={})[:-20], JSON, "not JSON"),
        (b'{"request":{"uid":"\\ud800"}}', JSON, "not JSON"),
        (b'{"request":{"uid":"u\0"}}', JSON, "not JSON"),
        (b'{"request":' * 5000 + b"1" + b"}" * 5000, JSON, "not JSON"),
        (b" " * (3 * 1024 * 1024 + 1), JSON, "longer than"),
        (b" " * 10_000_000, JSON, "longer than"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_invalid_review_is_denied_with_a_review(
    webhook: Endpoint, log_lines: Function, body: bytes, content_type: str, part: str
) -> None:
    response = await webhook.answer(body, content_type)
    uid = "u" if part == "namespace" else ""
    assert (response["uid"], response["allowed"]) == (uid, False)
    assert part in response["status"]["message"]
    assert len(response["status"]["message"]) < 200
    is_large = len(body) > 3 * 1024 * 1024
    assert response["status"]["code"] == (413 if is_large else 400)
    line = log_lines()[-1]
    assert line["event"] == "review_refused"
    assert line["code"] == ("body_too_large" if is_large else "bad_review")


async def test_huge_pod_within_the_limit_is_mutated(webhook: Endpoint, make_pod: Function) -> None:
    pod = make_pod({f"example.com/{n}": "x" * 1000 for n in range(3000)})
    assert (await webhook.review(pod))["allowed"]


async def test_deeply_nested_pod_within_the_parser_limit_is_mutated(
    webhook: Endpoint, make_pod: Function
) -> None:
    deep: Any = "end"
    for _ in range(900):
        deep = {"a": [deep]} if isinstance(deep, str) else [deep]
    pod = make_pod(
        new=deep, nodeName=deep, nodeSelector=deep, tolerations=[deep], securityContext=deep
    )
    assert (await webhook.review(pod, **CREATE))["allowed"]


async def test_last_duplicate_member_counts(webhook: Endpoint) -> None:
    """As in an API server, which never sends duplicates."""
    body = (
        b'{"request":{"uid":"first","uid":"last","namespace":"default","operation":"CREATE",'
        b'"object":{"metadata":{"name":"app"},"spec":{"containers":[{"name":"a"},{"name":"b"}]},'
        b'"spec":{"containers":[{"name":"c"}]}}}}'
    )
    response = await webhook.answer(body)
    assert (response["uid"], response["allowed"]) == ("last", True)
    operations = json.loads(base64.b64decode(response["patch"]))
    assert {operation["path"].split("/")[3] for operation in operations[:-1]} == {"0"}


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "\x1b[31mred", "\u2028", "n" * 100_000])
async def test_refusal_with_an_unvalidated_name_is_one_short_line(
    webhook: Endpoint, make_pod: Function, name: str
) -> None:
    pod = make_pod({names.TOKEN_EXPIRATION: name}, name=name)
    pod["spec"]["containers"][0]["name"] = name
    message = (await webhook.review(pod))["status"]["message"]
    assert message.isprintable()
    assert len(message) <= 1025


@pytest.mark.parametrize("group", ["containers", "initContainers", "volumes"])
@pytest.mark.parametrize("wrong", [[{"name": []}], [{"name": {}}], [None], {}, "x", [[]], 7])
async def test_invalid_list_is_refused_as_malformed_pod(
    webhook: Endpoint, make_pod: Function, group: str, wrong: Any
) -> None:
    response = await webhook.review(make_pod(**{group: wrong}))
    assert (response["allowed"], response["status"]["code"]) == (False, 400)


@pytest.mark.parametrize("wrong", [[{"name": []}], {}, "x", 7])
async def test_invalid_list_in_a_skipped_container_is_ignored(
    webhook: Endpoint, make_pod: Function, wrong: Any
) -> None:
    container = {"name": "web", "env": wrong, "volumeMounts": wrong}
    pod = make_pod({names.SKIP_CONTAINERS: "web"}, containers=[container])
    assert (await webhook.review(pod))["allowed"]


async def test_too_long_namespace_is_refused_and_not_recorded(
    webhook: Endpoint, make_pod: Function
) -> None:
    for operation in ("CREATE", "UPDATE"):
        response = await webhook.review(make_pod(), namespace="n" * 64, operation=operation)
        assert response["status"]["code"] == 400
        assert "nnn" not in response["status"]["message"]

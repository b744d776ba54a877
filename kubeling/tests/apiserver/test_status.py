from typing import Any

from kubeling.apiserver import kinds, status
from kubeling.apiserver.status import Cause, CauseType, StatusError
from tests.apiserver.recorded import recorded_body

PODS = kinds.kind_by_name("Pod")
LEASES = kinds.kind_by_name("Lease")


def masked(body: Any) -> Any:
    return body | {"message": "<message>"}


def test_missing_object_is_reported_by_plural_and_name() -> None:
    error = status.not_found(PODS, "fin")
    assert masked(error.body()) == recorded_body("finalizer: is gone")
    assert error.message == 'pods "fin" not found'


def test_existing_object_is_a_409() -> None:
    error = status.already_exists(kinds.kind_by_name("Namespace"), "one")
    assert error.status == 409
    assert masked(error.body()) == recorded_body("create namespace twice")


def test_bad_request_has_no_details() -> None:
    assert masked(status.bad_request("x").body()) == recorded_body("list by bad label")


def test_unknown_resource_has_empty_details() -> None:
    body = status.no_such_resource().body()
    assert masked(body) == recorded_body("unknown resource")


def test_unsupported_media_type_has_details_only_for_a_patch() -> None:
    for title, patch in (("unsupported media type", False), ("patch with wrong type", True)):
        body = status.unsupported_media_type(["application/json"], patch=patch).body()
        assert masked(body) == recorded_body(title)


def test_unacceptable_accept_header_is_a_406() -> None:
    body = status.not_acceptable(["application/json"]).body()
    assert masked(body) == recorded_body("not acceptable")


def test_unsupported_method_is_a_405() -> None:
    body = status.method_not_allowed().body()
    assert masked(body) == recorded_body("method not allowed")


def test_missing_authentication_is_a_401() -> None:
    assert masked(status.unauthorized().body()) == recorded_body("wrong token")


def test_forbidden_request_names_the_resource() -> None:
    body = status.forbidden("pods", "no").body()
    assert masked(body) == recorded_body("anonymous may not list")
    body = status.forbidden("pods", "no", name="rich").body()
    assert masked(body) == recorded_body("alice may not delete")


def test_terminating_namespace_is_a_cause() -> None:
    cause = Cause(CauseType.NAMESPACE_TERMINATING, "<message>", "metadata.namespace")
    body = status.forbidden("configmaps", "no", name="late", causes=[cause]).body()
    expected = recorded_body("create in a dying namespace or after")
    assert masked(body) == expected


def test_invalid_options_have_their_own_group() -> None:
    cause = Cause(CauseType.NOT_SUPPORTED, "<message>", "dryRun")
    body = status.invalid_options("CreateOptions", [cause]).body()
    assert masked(body) == recorded_body("dry run with a wrong value")


def test_conflict_can_name_the_kind_instead_of_the_plural() -> None:
    body = status.conflict(PODS, "plain", "moved on", details_kind="Pod").body()
    assert masked(body) == recorded_body("delete with a wrong uid")


def test_conflict_names_the_group() -> None:
    body = status.conflict(LEASES, "l", "moved on").body()
    assert body["details"] == {"name": "l", "group": "coordination.k8s.io", "kind": "leases"}


def test_internal_error_is_a_500_with_its_message_as_cause() -> None:
    body = masked(status.internal("<message>").body())
    assert body == recorded_body("refused while the hook is down")


def test_error_without_a_reason_has_no_reason_field() -> None:
    body = StatusError(500, "", "bad version").body()
    assert masked(body) == recorded_body("watch with a bad version")


def test_inapplicable_patch_has_empty_details() -> None:
    body = status.unprocessable("no").body()
    assert masked(body) == recorded_body("json patch test fails")


def test_completed_deletion_names_the_object() -> None:
    kind = kinds.kind_by_name("MutatingWebhookConfiguration")
    body = status.deletion_status(kind, "m", "<uid>")
    assert body == recorded_body("delete hooks")


def test_success_without_an_object_has_a_code() -> None:
    assert status.success_status(201) == recorded_body("bind")


def test_expired_status_asks_for_a_new_list() -> None:
    error = status.expired("too old")
    assert (error.status, error.reason) == (410, "Expired")


def test_invalid_object_reports_every_cause() -> None:
    causes = [
        Cause(CauseType.REQUIRED, "must be given", "a"),
        Cause(CauseType.INVALID, "is odd", "b"),
    ]
    error = status.invalid(LEASES, "l", causes)
    assert error.message == (
        'Lease.coordination.k8s.io "l" is invalid: a: must be given; b: is odd'
    )
    assert error.causes == causes
    assert error.body()["details"]["kind"] == "Lease"
    assert StatusError(429, "TooManyRequests", "x", retry_after=1).body()["details"] == {
        "retryAfterSeconds": 1
    }

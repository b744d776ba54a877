"""Parse the untrusted response of a webhook strictly, and convert a denial to a StatusError."""

from collections.abc import Mapping
from typing import Any

import orjson

from kubeling.apiserver.status import Cause, StatusDetails, StatusError
from kubeling.apiserver.storage.storage import Object
from kubeling.errors import Error

_STATUS = {"code": int, "details": dict, "message": str, "reason": str}
_OBJECT_DETAILS = dict.fromkeys(("group", "kind", "name", "uid"), str)
_DETAILS = {**_OBJECT_DETAILS, "causes": list, "retryAfterSeconds": int}
_CAUSE = {"field": str, "message": str, "reason": str}
_PATCH = "JSONPatch"


class WebhookFailed(Error):
    """A webhook did not return a valid response."""

    code = "webhook_call_failed"


def parse(content: bytes, uid: str, version: str, *, mutates: bool) -> Object:
    """Parse the response in an AdmissionReview, which must have the uid of this request.

    Raises WebhookFailed.
    """
    try:
        review = orjson.loads(content)
        response: Object = review["response"]
        if review.get("kind") != "AdmissionReview":
            raise WebhookFailed("the response is not an AdmissionReview")
        if review.get("apiVersion") != f"admission.k8s.io/{version}":
            raise WebhookFailed(
                f"the response does not have the apiVersion admission.k8s.io/{version}"
            )
        allowed, response_uid = response["allowed"], response["uid"]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise WebhookFailed("the response is not an AdmissionReview with a `response`") from exc
    if response_uid != uid:
        raise WebhookFailed("the uid in the response is not that of the request")
    if not isinstance(allowed, bool):
        raise WebhookFailed("the field `allowed` in the response is not a boolean")
    _check_patch(response, version, mutates=mutates)
    _check_types(response)
    return response


def _check_patch(response: Object, version: str, *, mutates: bool) -> None:
    """Refuse an incomplete patch and a patch of a validating webhook; v1beta1 did not name the patch type."""
    has_patch, kind = bool(response.get("patch")), response.get("patchType")
    if version == "v1beta1":
        kind = _PATCH if has_patch else None
    if has_patch and kind != _PATCH:
        raise WebhookFailed(f"the patchType in the response is not {_PATCH}")
    if kind is not None and not has_patch:
        raise WebhookFailed("the response has a patchType and no patch")
    if has_patch and not mutates and version != "v1beta1":
        raise WebhookFailed("a validating webhook must not return a patch")


def _check_types(response: Object) -> None:
    status, warnings = response.get("status") or {}, response.get("warnings") or []
    if not isinstance(warnings, list) or not all(isinstance(each, str) for each in warnings):
        raise WebhookFailed("the warnings in the response are not a list of strings")
    is_valid = _has_types(status, _STATUS)
    if is_valid and (details := status.get("details")):
        causes = details.get("causes") or ()
        is_valid = _has_types(details, _DETAILS) and all(
            _has_types(each, _CAUSE) for each in causes
        )
    if not is_valid:
        raise WebhookFailed("the status in the response is not a valid Status")


def _has_types(value: Any, types: Mapping[str, type]) -> bool:
    return isinstance(value, dict) and all(
        value.get(name) is None or isinstance(value[name], wanted) for name, wanted in types.items()
    )


def to_status_error(name: str, status: Mapping[str, Any]) -> StatusError:
    """Convert a denial to an error with the code, the message and the causes of the webhook `name`."""
    text = f'admission webhook "{name}" denied the request'
    reason, message = status.get("reason") or "", status.get("message") or ""
    text += f": {message or reason}" if message or reason else " without explanation"
    code = status.get("code") or 0
    details = status.get("details") or {}
    causes = [
        Cause(each.get("reason") or "", each.get("message") or "", each.get("field") or "")
        for each in details.get("causes") or ()
    ]
    object_details: StatusDetails = {
        "group": details.get("group") or "",
        "kind": details.get("kind") or "",
        "name": details.get("name") or "",
        "uid": details.get("uid") or "",
    }
    seconds = details.get("retryAfterSeconds")
    code = code if 400 <= code <= 599 else 400
    return StatusError(code, reason, text, causes=causes, retry_after=seconds, **object_details)

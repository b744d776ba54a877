"""What a webhook's answer is: read strictly, since a stranger wrote it, and told as the webhook tells it."""

from collections.abc import Mapping
from typing import Any

import orjson

from podpass.errors import Error
from podpass.kubernetes.apiserver.status import About, Cause, StatusError
from podpass.kubernetes.apiserver.storage.storage import Object

_STATUS = {"code": int, "details": dict, "message": str, "reason": str}
_ABOUT = dict.fromkeys(("group", "kind", "name", "uid"), str)
_DETAILS = {**_ABOUT, "causes": list, "retryAfterSeconds": int}
_CAUSE = {"field": str, "message": str, "reason": str}
_PATCH = "JSONPatch"


class WebhookFailed(Error):
    """A webhook gave no answer that can be used."""

    code = "webhook_failed"


def read(content: bytes, uid: str, version: str, *, mutates: bool) -> Object:
    """Read an AdmissionReview's response, which must answer this very request.

    Errors:  WebhookFailed.
    """
    try:
        review = orjson.loads(content)
        response: Object = review["response"]
        if review.get("kind") != "AdmissionReview":
            raise WebhookFailed("the answer is no AdmissionReview")
        if review.get("apiVersion") != f"admission.k8s.io/{version}":
            raise WebhookFailed(f"the answer is not of admission.k8s.io/{version}")
        allowed, answered = response["allowed"], response["uid"]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise WebhookFailed("the answer is no AdmissionReview with a response") from exc
    if answered != uid:
        raise WebhookFailed("the answer's uid is not that of the request")
    if not isinstance(allowed, bool):
        raise WebhookFailed("the answer's verdict is not a boolean")
    _check_patch(response, version, mutates=mutates)
    _check_types(response)
    return response


def _check_patch(response: Object, version: str, *, mutates: bool) -> None:
    """Refuse half a patch, and any patch of who only judges; v1beta1 had one type and did not name it."""
    has_patch, kind = bool(response.get("patch")), response.get("patchType")
    if version == "v1beta1":
        kind = _PATCH if has_patch else None
    if has_patch and kind != _PATCH:
        raise WebhookFailed(f"the answer's patchType is not {_PATCH}")
    if kind is not None and not has_patch:
        raise WebhookFailed("the answer has a patchType and no patch")
    if has_patch and not mutates and version != "v1beta1":
        raise WebhookFailed("a webhook that validates has no say in what the object is")


def _check_types(response: Object) -> None:
    status, warnings = response.get("status") or {}, response.get("warnings") or []
    if not isinstance(warnings, list) or not all(isinstance(each, str) for each in warnings):
        raise WebhookFailed("the answer's warnings are no list of texts")
    fits = _fits(status, _STATUS)
    if fits and (details := status.get("details")):
        causes = details.get("causes") or ()
        fits = _fits(details, _DETAILS) and all(_fits(each, _CAUSE) for each in causes)
    if not fits:
        raise WebhookFailed("the answer's status is no Status")


def _fits(value: Any, types: Mapping[str, type]) -> bool:
    return isinstance(value, dict) and all(
        value.get(name) is None or isinstance(value[name], wanted) for name, wanted in types.items()
    )


def refusal(name: str, status: Mapping[str, Any]) -> StatusError:
    """Tell of a refusal with the code, the words and the causes of the webhook called `name`."""
    told = f'admission webhook "{name}" denied the request'
    reason, message = status.get("reason") or "", status.get("message") or ""
    told += f": {message or reason}" if message or reason else " without explanation"
    code = status.get("code") or 0
    details = status.get("details") or {}
    causes = [
        Cause(each.get("reason") or "", each.get("message") or "", each.get("field") or "")
        for each in details.get("causes") or ()
    ]
    about: About = {
        "group": details.get("group") or "",
        "kind": details.get("kind") or "",
        "name": details.get("name") or "",
        "uid": details.get("uid") or "",
    }
    seconds = details.get("retryAfterSeconds")
    code = code if 400 <= code <= 599 else 400
    return StatusError(code, reason, told, causes=causes, retry_after=seconds, **about)

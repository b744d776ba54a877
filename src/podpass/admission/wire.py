"""AdmissionReview, in and out: `admission.k8s.io/v1` and `v1beta1`, which differ in nothing used here.

What enters is bytes of any kind; what leaves is always a review, because the API server reads the verdict
from it and shows users its message. HTTP's own status stays 200. `Any` stops here and in `account.model`.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from podpass.errors import Error

GROUP = "admission.k8s.io/"
VERSIONS = (GROUP + "v1", GROUP + "v1beta1")
KIND = "AdmissionReview"
MAX_BODY_BYTES = 7 * 1024 * 1024 - 1
_MAX_UID = 128


class BadReview(Error):
    """The request is not an AdmissionReview that can be answered by its uid."""

    code = "bad_review"
    status = 400
    hint = "only an API server calls this address, with an AdmissionReview of v1 or v1beta1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A review to be answered.

    Shapes:  `uid` is echoed as it came; `object` is the raw pod, unchecked.
    """

    api_version: str
    uid: str
    namespace: str
    object: Any = field(repr=False)


def parse_review(body: bytes, content_type: str | None) -> Review:
    """Read a review; its object stays unread.

    Errors:  BadReview, with `api_version` among its facts where the answer can repeat it.
    """
    if not body:
        raise BadReview("the request body is empty")
    if content_type != "application/json":
        raise BadReview(f"content type is {content_type!r}, want application/json")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise BadReview(f"the request body is not JSON: {exc.msg}") from exc
    if not isinstance(document, dict):
        raise BadReview("the request body is not an AdmissionReview")
    # A review that names neither kind nor version is taken as v1, as the reference takes it.
    api_version = document.get("apiVersion") or VERSIONS[0]
    if (document.get("kind") or KIND) != KIND or api_version not in VERSIONS:
        raise BadReview("the request body is not an AdmissionReview of v1 or v1beta1")
    return _review(document.get("request"), api_version)


def _review(request: object, api_version: str) -> Review:
    if not isinstance(request, dict):
        raise BadReview("the review holds no request", api_version=api_version)
    uid, namespace = request.get("uid"), request.get("namespace") or ""
    # Without a uid the API server could not tell which request an answer belongs to.
    if not isinstance(uid, str) or not uid or len(uid) > _MAX_UID:
        raise BadReview("the review's request has no uid", api_version=api_version)
    if not isinstance(namespace, str):
        raise BadReview("the review's namespace is not text", api_version=api_version)
    return Review(
        api_version=api_version, uid=uid, namespace=namespace, object=request.get("object")
    )


def allowed(review: Review, operations: Sequence[Any]) -> bytes:
    """Answer that the pod may be created, with the patch that belongs to it."""
    response: dict[str, Any] = {"uid": review.uid, "allowed": True}
    if operations:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(orjson.dumps(operations)).decode()
    response["status"] = {"metadata": {}, "code": 200}
    return _answer(review.api_version, response)


def denied(api_version: str, uid: str, code: int, message: str) -> bytes:
    """Answer that the pod may not be created, and why."""
    status = {"metadata": {}, "message": message, "code": code}
    return _answer(api_version, {"uid": uid, "allowed": False, "status": status})


def _answer(api_version: str, response: dict[str, Any]) -> bytes:
    return orjson.dumps({"apiVersion": api_version, "kind": KIND, "response": response})

"""Parse and build AdmissionReviews of `admission.k8s.io/v1` and `v1beta1`; all parts used here are equal.

The input is any bytes. The output is always an AdmissionReview with HTTP status 200, because the API server
reads the decision from it and shows its message to the user. `Any` occurs only here and in `account.model`.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from podpass.account.model import quote
from podpass.errors import Error

GROUP = "admission.k8s.io/"
VERSIONS = (GROUP + "v1", GROUP + "v1beta1")
KIND = "AdmissionReview"
# No API server accepts a larger request, and etcd stores no object of half this size.
MAX_BODY_BYTES = 3 * 1024 * 1024
_MAX_UID = 128
_MAX_NAMESPACE = 63  # of a DNS label
_CREATE = "CREATE"
_OTHER_OPERATIONS = ("UPDATE", "DELETE", "CONNECT")
_POD = {"group": "", "version": "v1", "kind": "Pod"}
_PODS = {"group": "", "version": "v1", "resource": "pods"}


class BadReview(Error):
    """The request is not a valid AdmissionReview."""

    code = "bad_review"
    status = 400
    hint = "only API servers call this address, with an AdmissionReview of v1 or v1beta1"


class WrongResource(Error):
    """The review is about a resource other than pods."""

    code = "wrong_resource"
    status = 400
    hint = "register the webhook for CREATE of pods only: check `rules` in its MutatingWebhookConfiguration"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRequest:
    """The request of an AdmissionReview.

    `uid` is repeated in the response; `object` is the raw pod, not validated; `creates_pod` is false for
    operations on an existing pod; `old_object` is the object before an update.
    """

    api_version: str
    uid: str
    namespace: str
    creates_pod: bool = True
    dry_run: bool = False
    object: Any = field(repr=False)
    old_object: Any = field(default=None, repr=False)


def parse_review(
    body: bytes, content_type: str | None, *, any_resource: bool = False
) -> AdmissionRequest:
    """Parse an AdmissionReview; its object is not validated.

    With `any_resource` the object need not be a pod; `creates_pod` is then true for each write. Raises
    BadReview, WrongResource; their facts have `api_version` and `uid` where known, for the response.
    """
    if not body:
        raise BadReview("the request body is empty")
    if content_type != "application/json":
        raise BadReview(f"the content type is {quote(content_type)}, want application/json")
    try:
        # NOTE: of duplicate members the last one counts, as in an API server, which never sends duplicates.
        document = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise BadReview(f"the request body is not JSON: {exc.msg}") from exc
    if not isinstance(document, dict):
        raise BadReview("the request body is not an AdmissionReview")
    # A review without kind and version is read as v1, as in azure-workload-identity.
    api_version = document.get("apiVersion") or VERSIONS[0]
    if (document.get("kind") or KIND) != KIND or api_version not in VERSIONS:
        raise BadReview("the request body is not an AdmissionReview of v1 or v1beta1")
    return _parse_request(document.get("request"), api_version, any_resource)


def _parse_request(request: object, api_version: str, any_resource: bool) -> AdmissionRequest:
    if not isinstance(request, dict):
        raise BadReview("the review has no request", api_version=api_version)
    uid, namespace = request.get("uid"), request.get("namespace") or ""
    # The API server matches responses to requests by uid.
    if not isinstance(uid, str) or not uid or len(uid) > _MAX_UID:
        raise BadReview("the review's request has no uid", api_version=api_version)
    if not isinstance(namespace, str):
        raise BadReview("the review's namespace is not text", api_version=api_version, uid=uid)
    # Logs and traces contain the namespace, so its length is limited; no valid namespace is longer.
    if len(namespace) > _MAX_NAMESPACE:
        raise BadReview("the review's namespace is too long", api_version=api_version, uid=uid)
    return AdmissionRequest(
        api_version=api_version,
        uid=uid,
        namespace=namespace,
        creates_pod=(
            request.get("operation") in (_CREATE, "UPDATE")
            if any_resource
            else _creates_pod(request, api_version, uid)
        ),
        # Every value but false counts as a dry run: then the webhook only omits the Event.
        dry_run=(request.get("dryRun") or False) is not False,
        object=request.get("object"),
        old_object=request.get("oldObject"),
    )


def _creates_pod(request: Mapping[str, Any], api_version: str, uid: str) -> bool:
    """Return whether a review creates a pod; no other operation gives a pod an identity or removes it.

    Other reviews arrive only if the registration is wider than that of podpass. A refusal would block the
    deletion of pods and the draining of nodes (an eviction is CREATE of a subresource), and would protect
    nothing.

    Raises BadReview, WrongResource.
    """
    operation = request.get("operation") or _CREATE
    if operation in _OTHER_OPERATIONS:
        return False
    if operation != _CREATE:
        raise BadReview(
            f"the review's operation is {quote(operation)}", api_version=api_version, uid=uid
        )
    if request.get("subResource"):
        return False
    # Reviews written by hand omit it. The kind of the object itself is always checked later.
    for about, wanted in ((request.get("resource"), _PODS), (request.get("kind"), _POD)):
        if about and about != wanted and not _matches(about, wanted):
            raise WrongResource(
                f"the review is about {_describe_resource(about)}, but only pods get identities",
                api_version=api_version,
                uid=uid,
            )
    return True


def _matches(about: object, wanted: Mapping[str, str]) -> bool:
    return isinstance(about, dict) and all(
        (about.get(name) or "") == value for name, value in wanted.items()
    )


def _describe_resource(about: object) -> str:
    if not isinstance(about, dict):
        return quote(about)
    parts = (about.get(name) for name in ("group", "version", "resource", "kind"))
    return quote("/".join(part for part in parts if isinstance(part, str) and part))


def build_allow_response(
    api_version: str,
    uid: str,
    operations: Sequence[Any] = (),
    *,
    warnings: Sequence[str] = (),
    audit: Mapping[str, str] | None = None,
) -> bytes:
    """Build a response that allows the request, with its patch.

    The API server shows `warnings` to its client and writes `audit` to the audit log. It prefixes each key of
    `audit` with the webhook's name and a slash, so the keys must not contain a slash.
    """
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if operations:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(orjson.dumps(operations)).decode()
    response["status"] = {"metadata": {}, "code": 200}
    if audit:
        response["auditAnnotations"] = audit
    if warnings:
        response["warnings"] = warnings
    return _build_review(api_version, response)


def build_deny_response(api_version: str, uid: str, code: int, message: str) -> bytes:
    """Build a response that denies the pod, with the reason."""
    status = {"metadata": {}, "message": message, "code": code}
    return _build_review(api_version, {"uid": uid, "allowed": False, "status": status})


def _build_review(api_version: str, response: dict[str, Any]) -> bytes:
    return orjson.dumps({"apiVersion": api_version, "kind": KIND, "response": response})

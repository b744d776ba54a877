"""AdmissionReview, in and out: `admission.k8s.io/v1` and `v1beta1`, which differ in nothing used here.

What enters is bytes of any kind; what leaves is always a review, because the API server reads the verdict
from it and shows users its message. HTTP's own status stays 200. `Any` stops here and in `account.model`.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from podpass.account.model import quoted
from podpass.errors import Error

GROUP = "admission.k8s.io/"
VERSIONS = (GROUP + "v1", GROUP + "v1beta1")
KIND = "AdmissionReview"
# No API server takes a larger request, and its database keeps no object of half the size.
MAX_BODY_BYTES = 3 * 1024 * 1024
_MAX_UID = 128
_MAX_NAMESPACE = 63  # signs of a DNS label
_CREATE = "CREATE"
_OTHERS = ("UPDATE", "DELETE", "CONNECT")
_POD = {"group": "", "version": "v1", "kind": "Pod"}
_PODS = {"group": "", "version": "v1", "resource": "pods"}


class BadReview(Error):
    """The request is not an AdmissionReview that can be answered by its uid."""

    code = "bad_review"
    status = 400
    hint = "only an API server calls this address, with an AdmissionReview of v1 or v1beta1"


class WrongResource(Error):
    """The review is about something that is no pod."""

    code = "wrong_resource"
    status = 400
    hint = "register the webhook for CREATE of pods alone: see `rules` in its MutatingWebhookConfiguration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A review to be answered.

    Shapes:  `uid` is echoed as it came; `object` is the raw pod, unchecked; `creates_pod` is false for what
             changes, removes or uses a pod that is there.
    """

    api_version: str
    uid: str
    namespace: str
    creates_pod: bool = True
    dry_run: bool = False
    object: Any = field(repr=False)


def parse_review(body: bytes, content_type: str | None) -> Review:
    """Read a review; its object stays unread.

    Errors:  BadReview, WrongResource; with `api_version` and `uid` among the facts where the answer can
             repeat them.
    """
    if not body:
        raise BadReview("the request body is empty")
    if content_type != "application/json":
        raise BadReview(f"content type is {quoted(content_type)}, want application/json")
    try:
        # NOTE: of members of one name the last counts, here as in an API server, which sends none.
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
        raise BadReview("the review's namespace is not text", api_version=api_version, uid=uid)
    # No namespace is longer, and what is kept of a request, for logs and traces, names it.
    if len(namespace) > _MAX_NAMESPACE:
        raise BadReview("the review's namespace is too long", api_version=api_version, uid=uid)
    return Review(
        api_version=api_version,
        uid=uid,
        namespace=namespace,
        creates_pod=_creates_pod(request, api_version, uid),
        # Anything but a plain no is taken for a dry run, which may only leave something undone.
        dry_run=(request.get("dryRun") or False) is not False,
        object=request.get("object"),
    )


def _creates_pod(request: Mapping[str, Any], api_version: str, uid: str) -> bool:
    """Tell whether a review is about a new pod; nothing else gives a pod an identity, or takes it away.

    A registration wider than ours brings the rest here. Refusing it would keep pods from being deleted and
    nodes from being drained (an eviction is CREATE of a subresource), and would guard nothing.

    Errors:  BadReview, WrongResource.
    """
    operation = request.get("operation") or _CREATE
    if operation in _OTHERS:
        return False
    if operation != _CREATE:
        raise BadReview(
            f"the review's operation is {quoted(operation)}", api_version=api_version, uid=uid
        )
    if request.get("subResource"):
        return False
    # Absent in reviews made by hand. The object's own kind is looked at in any case, later.
    for about, wanted in ((request.get("resource"), _PODS), (request.get("kind"), _POD)):
        if about and about != wanted and not _same(about, wanted):
            raise WrongResource(
                f"the review is about {_named(about)}, and only pods get identities",
                api_version=api_version,
                uid=uid,
            )
    return True


def _same(about: object, wanted: Mapping[str, str]) -> bool:
    return isinstance(about, dict) and all(
        (about.get(name) or "") == value for name, value in wanted.items()
    )


def _named(about: object) -> str:
    if not isinstance(about, dict):
        return quoted(about)
    parts = (about.get(name) for name in ("group", "version", "resource", "kind"))
    return quoted("/".join(part for part in parts if isinstance(part, str) and part))


def allowed(
    api_version: str,
    uid: str,
    operations: Sequence[Any] = (),
    *,
    warnings: Sequence[str] = (),
    audit: Mapping[str, str] | None = None,
) -> bytes:
    """Answer that the request may go on, with the patch that belongs to it.

    Shapes:  `warnings` are shown to whoever sent the request; `audit` goes into the audit log, its keys
             after the webhook's name and a slash, so there must be none in them.
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
    return _answer(api_version, response)


def denied(api_version: str, uid: str, code: int, message: str) -> bytes:
    """Answer that the pod may not be created, and why."""
    status = {"metadata": {}, "message": message, "code": code}
    return _answer(api_version, {"uid": uid, "allowed": False, "status": status})


def _answer(api_version: str, response: dict[str, Any]) -> bytes:
    return orjson.dumps({"apiVersion": api_version, "kind": KIND, "response": response})

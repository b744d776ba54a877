"""Questions that are answered and forgotten: whose token is this, may they, who am I."""

from collections.abc import Mapping, Sequence
from typing import Any

from podpass.clock import Clock, rfc3339
from podpass.kubernetes.apiserver import decoding, options
from podpass.kubernetes.apiserver.auth.authentication import Authenticator, TokenRefused
from podpass.kubernetes.apiserver.auth.rbac import MASTERS, Asked, Rbac
from podpass.kubernetes.apiserver.patch import server_side_apply
from podpass.kubernetes.apiserver.request import Request, User
from podpass.kubernetes.apiserver.status import (
    Cause,
    StatusError,
    Why,
    bad_request,
    invalid,
)
from podpass.kubernetes.apiserver.storage.storage import Object

_EVERYTHING = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
_EVERY_PATH = {"verbs": ["*"], "nonResourceURLs": ["*"]}


class Reviews:
    """Answers reviews of every kind."""

    def __init__(self, authenticator: Authenticator, rbac: Rbac, clock: Clock) -> None:
        self._authenticator = authenticator
        self._rbac = rbac
        self._clock = clock

    async def answer(self, request: Request) -> Object:
        """Answer the review in a request's body.

        Errors:  StatusError 400, 422.
        """
        asked = await decoding.obj(request, request.kind)
        asked.pop("kind", None)
        asked.pop("apiVersion", None)
        spec = asked.get("spec") or {}
        match request.kind.kind:
            case "SelfSubjectReview":
                metadata = {"creationTimestamp": rfc3339(self._clock())}
                return {"metadata": metadata, "status": {"userInfo": request.user.info()}}
            case "TokenReview":
                status = self._token(request, spec)
            case "SelfSubjectRulesReview":
                status = self._rules(request, spec)
            case "SelfSubjectAccessReview":
                status = self._access(request.user, _question(request, spec))
            case _:
                _local(request, spec)
                status = self._access(_subject(request, spec), _question(request, spec))
        return self._owned(request, asked) | {"status": status}

    def _owned(self, request: Request, asked: Object) -> Object:
        how = options.write(request, "CreateOptions")
        asked.pop("status", None)
        metadata = asked.setdefault("metadata", {})
        owners = server_side_apply.track_update(
            request.kind, None, asked, how.manager, now=self._clock()
        )
        return asked | {"metadata": {**metadata, "managedFields": owners} if owners else metadata}

    def _token(self, request: Request, spec: Object) -> Object:
        if not spec.get("token"):
            raise invalid(request.kind, "", [Cause(Why.REQUIRED, "must be given", "spec.token")])
        try:
            user, audiences = self._authenticator.review(spec["token"], spec.get("audiences") or ())
        except TokenRefused as exc:
            return {"user": {}, "error": exc.message}
        return {"authenticated": True, "user": user.info(), "audiences": audiences}

    def _access(self, user: User, question: Asked) -> Object:
        why = self._rbac.allowed(user, question)
        if why is None:
            return {"allowed": False}
        return {"allowed": True} | ({"reason": why} if why else {})

    def _rules(self, request: Request, spec: Object) -> Object:
        namespace = spec.get("namespace")
        if not namespace:
            raise bad_request("no namespace on request")
        rules: list[Mapping[str, Any]] = []
        for grant in self._rbac.grants(request.user, namespace):
            rules += grant.rules
        if MASTERS in request.user.groups:
            rules = [_EVERYTHING, _EVERY_PATH, *rules]
        return {
            "resourceRules": [dict(rule) for rule in rules if rule.get("resources")],
            "nonResourceRules": [dict(rule) for rule in rules if rule.get("nonResourceURLs")],
            "incomplete": False,
        }


def _question(request: Request, spec: Object) -> Asked:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) is (path is None):
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise invalid(request.kind, "", [Cause(Why.INVALID, why, "spec.resourceAttributes")])
    if path is not None:
        return Asked(verb=path.get("verb") or "", path=path.get("path") or "/")
    resource = resource or {}
    return Asked(
        verb=resource.get("verb") or "",
        group=resource.get("group") or "",
        resource=resource.get("resource") or "",
        subresource=resource.get("subresource") or "",
        namespace=resource.get("namespace") or "",
        name=resource.get("name") or "",
    )


def _subject(request: Request, spec: Object) -> User:
    groups: Sequence[str] = spec.get("groups") or ()
    if not spec.get("user") and not groups:
        why = "at least one of user or group must be specified"
        raise invalid(request.kind, "", [Cause(Why.INVALID, why, "spec.user")])
    return User(
        name=spec.get("user") or "",
        uid=spec.get("uid") or "",
        groups=tuple(groups),
        extra=spec.get("extra") or {},
    )


def _local(request: Request, spec: Object) -> None:
    """A review in a namespace asks about that namespace only."""
    if request.kind.namespaced:
        asked = (spec.get("resourceAttributes") or {}).get("namespace")
        if asked != request.target.namespace:
            raise _elsewhere(request)


def _elsewhere(request: Request) -> StatusError:
    why = f"must be {request.target.namespace!r}"
    field = "spec.resourceAttributes.namespace"
    return invalid(request.kind, "", [Cause(Why.INVALID, why, field)])

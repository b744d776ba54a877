"""The review resources, which are not stored: TokenReview, SubjectAccessReview and their variants."""

from collections.abc import Sequence

from kubeling.apiserver import decoding, options, worker
from kubeling.apiserver.auth.authentication import Authenticator, InvalidBearerToken
from kubeling.apiserver.auth.rbac import MASTERS, AuthorizerAttributes, RbacAuthorizer
from kubeling.apiserver.patch import server_side_apply
from kubeling.apiserver.request import Request, UserInfo
from kubeling.apiserver.status import Cause, CauseType, bad_request, invalid
from kubeling.apiserver.storage.storage import Object
from kubeling.clock import Clock, rfc3339

_EVERYTHING = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
_EVERY_PATH = {"verbs": ["*"], "nonResourceURLs": ["*"]}


class ReviewHandler:
    """Creates reviews of every kind."""

    def __init__(self, authenticator: Authenticator, rbac: RbacAuthorizer, clock: Clock) -> None:
        self._authenticator = authenticator
        self._rbac = rbac
        self._clock = clock

    async def create(self, request: Request) -> Object:
        """Return the review in a request's body with its status. Raises StatusError 400, 422."""
        review = await decoding.decode_object(request, request.kind)
        review.pop("kind", None)
        review.pop("apiVersion", None)
        spec = review.get("spec") or {}
        match request.kind.kind:
            case "SelfSubjectReview":
                metadata = {"creationTimestamp": rfc3339(self._clock())}
                return {"metadata": metadata, "status": {"userInfo": request.user.body()}}
            case "TokenReview":
                status = await self._review_token(request, spec)
            case "SelfSubjectRulesReview":
                status = self._list_rules(request, spec)
            case "SelfSubjectAccessReview":
                status = self._review_access(request.user, _attributes(request, spec))
            case _:
                _check_namespace(request, spec)
                status = self._review_access(_subject(request, spec), _attributes(request, spec))
        managed = await worker.run(request.size, self._with_managed_fields, request, review)
        return managed | {"status": status}

    def _with_managed_fields(self, request: Request, review: Object) -> Object:
        write_options = options.parse_write_options(request, "CreateOptions")
        review.pop("status", None)
        metadata = review.setdefault("metadata", {})
        managed = server_side_apply.track_update(
            request.kind, None, review, write_options.manager, now=self._clock()
        )
        return review | {
            "metadata": {**metadata, "managedFields": managed} if managed else metadata
        }

    async def _review_token(self, request: Request, spec: Object) -> Object:
        if not spec.get("token"):
            raise invalid(
                request.kind, "", [Cause(CauseType.REQUIRED, "Required value", "spec.token")]
            )
        try:
            user, audiences = await self._authenticator.authenticate_token(
                spec["token"], spec.get("audiences") or ()
            )
        except InvalidBearerToken as exc:
            return {"user": {}, "error": exc.message}
        return {"authenticated": True, "user": user.body(), "audiences": audiences}

    def _review_access(self, user: UserInfo, attributes: AuthorizerAttributes) -> Object:
        reason = self._rbac.authorize(user, attributes)
        if reason is None:
            return {"allowed": False}
        return {"allowed": True} | ({"reason": reason} if reason else {})

    def _list_rules(self, request: Request, spec: Object) -> Object:
        namespace = spec.get("namespace")
        if not namespace:
            raise bad_request("no namespace on request")
        rules = [rule.body for rule in self._rbac.rules(request.user, namespace)]
        if MASTERS in request.user.groups:
            rules = [_EVERYTHING, _EVERY_PATH, *rules]
        return {
            "resourceRules": [dict(rule) for rule in rules if rule.get("resources")],
            "nonResourceRules": [dict(rule) for rule in rules if rule.get("nonResourceURLs")],
            "incomplete": False,
        }


def _attributes(request: Request, spec: Object) -> AuthorizerAttributes:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) is (path is None):
        reason = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise invalid(
            request.kind, "", [Cause(CauseType.INVALID, reason, "spec.resourceAttributes")]
        )
    if path is not None:
        return AuthorizerAttributes(verb=path.get("verb") or "", path=path.get("path") or "/")
    resource = resource or {}
    return AuthorizerAttributes(
        verb=resource.get("verb") or "",
        group=resource.get("group") or "",
        resource=resource.get("resource") or "",
        subresource=resource.get("subresource") or "",
        namespace=resource.get("namespace") or "",
        name=resource.get("name") or "",
    )


def _subject(request: Request, spec: Object) -> UserInfo:
    groups: Sequence[str] = spec.get("groups") or ()
    if not spec.get("user") and not groups:
        reason = "at least one of user or group must be specified"
        raise invalid(request.kind, "", [Cause(CauseType.INVALID, reason, "spec.user")])
    return UserInfo(
        name=spec.get("user") or "",
        uid=spec.get("uid") or "",
        groups=tuple(groups),
        extra=spec.get("extra") or {},
    )


def _check_namespace(request: Request, spec: Object) -> None:
    """Refuse a LocalSubjectAccessReview for another namespace than its own."""
    if request.kind.namespaced:
        namespace = (spec.get("resourceAttributes") or {}).get("namespace")
        if namespace != request.info.namespace:
            reason, field = (
                f"must be {request.info.namespace!r}",
                "spec.resourceAttributes.namespace",
            )
            raise invalid(request.kind, "", [Cause(CauseType.INVALID, reason, field)])

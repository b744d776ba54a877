"""The `serviceaccounts/token` subresource: signs a token for an account, bound to an object if requested."""

import dataclasses
import logging
import time
import uuid
from collections.abc import Sequence

from kubeling.apiserver import decoding, options
from kubeling.apiserver.auth.authentication import AuthConfig
from kubeling.apiserver.auth.rbac import AuthorizerAttributes, RbacAuthorizer
from kubeling.apiserver.kinds import Kind, kind_by_name
from kubeling.apiserver.patch import server_side_apply
from kubeling.apiserver.request import Request
from kubeling.apiserver.status import (
    Cause,
    CauseType,
    StatusError,
    bad_request,
    conflict,
    forbidden_object,
    invalid_options,
    not_found,
    quote,
)
from kubeling.apiserver.storage.storage import Object, ObjectStore
from kubeling.clock import rfc3339
from kubeling.secret import fingerprint
from kubeling.service_account.claims import ObjectRef, make_claims, token_lifetime
from kubeling.service_account.names import subject

AUDIENCE_VERB = "request-serviceaccounts-token-audience"


def check_token_request(
    request: Request, spec: Object, store: ObjectStore, rbac: RbacAuthorizer
) -> None:
    """Refuse a node's request for a token that none of its pods needs; other users are not restricted.

    A node whose credential is stolen could otherwise request a token of any account for any audience. The
    audiences are those of the pod's projected volumes and of the CSI drivers that it uses (the feature
    ServiceAccountNodeAudienceRestriction, on by default since Kubernetes 1.33); RBAC can allow more.

    Raises StatusError 403, 404.

    Source: kubernetes/kubernetes plugin/pkg/admission/noderestriction.
    """
    node = request.user.node
    if node is None:
        return
    if not node:
        raise _forbidden(request, f'could not determine node from user "{request.user.name}"')
    pod = _bound_pod(request, spec, store)
    if (pod["spec"].get("nodeName") or "") != node:
        raise _forbidden(
            request, "node requested token bound to a pod scheduled on a different node"
        )
    _check_audience(request, spec, pod, store, rbac)


def _bound_pod(request: Request, spec: Object, store: ObjectStore) -> Object:
    ref = spec.get("boundObjectRef") or {}
    name, uid = ref.get("name"), ref.get("uid")
    if (ref.get("apiVersion"), ref.get("kind")) != ("v1", "Pod") or not name:
        raise _forbidden(request, "node requested token not bound to a pod")
    if not uid:
        raise _forbidden(request, "node requested token with a pod binding without a uid")
    pod = store.get(kind_by_name("Pod"), request.namespaced_name[0], name)
    if pod is None:
        raise StatusError(404, "NotFound", f'pod "{name}" not found', name=name, kind="pod")
    if pod["metadata"]["uid"] != uid:
        raise _forbidden(
            request,
            f"the UID in the bound object reference ({uid}) does not match the UID in record. The object"
            " might have been deleted and then recreated",
        )
    return pod


def _check_audience(
    request: Request, spec: Object, pod: Object, store: ObjectStore, rbac: RbacAuthorizer
) -> None:
    audiences = spec.get("audiences") or [""]
    if len(audiences) > 1:
        raise _forbidden(request, "node may only request 0 or 1 audiences")
    [audience] = audiences
    if _is_named(request, audience, pod, store):
        return
    namespace, account = request.namespaced_name
    wanted = AuthorizerAttributes(
        verb=AUDIENCE_VERB, resource=audience, namespace=namespace, name=account
    )
    if rbac.authorize(request.user, wanted) is None:
        raise _forbidden(
            request,
            f"{request.user.name} is not authorized to request tokens for audience {quote(audience)}",
        )


def _is_named(request: Request, audience: str, pod: Object, store: ObjectStore) -> bool:
    """Return whether a volume of a pod needs the audience; an empty one is that of the API server.

    Raises StatusError 403 if no volume needs it, and an object that a volume names does not exist.
    """
    missing: dict[str, None] = {}
    for volume in pod["spec"].get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            token = source.get("serviceAccountToken")
            if token is not None and (token.get("audience") or "") == audience:
                return True
        if claim := _claim_name(pod, volume):
            missing[f'persistentvolumeclaim "{claim}" not found'] = None
        if driver := (volume.get("csi") or {}).get("driver"):
            found = store.get(kind_by_name("CSIDriver"), "", driver)
            if found is None:
                missing[f'csidriver.storage.k8s.io "{driver}" not found'] = None
                continue
            requests = found["spec"].get("tokenRequests") or ()
            if any((each.get("audience") or "") == audience for each in requests):
                return True
    if missing:
        [*reasons] = missing
        reason = reasons[0] if len(reasons) == 1 else f"[{', '.join(reasons)}]"
        raise _forbidden(request, f"error validating audience {quote(audience)}: {reason}")
    return False


def _claim_name(pod: Object, volume: Object) -> str:
    """Return the claim of a volume, or nothing; this API server has no claims."""
    if "ephemeral" in volume:
        return f"{pod['metadata']['name']}-{volume['name']}"
    return str((volume.get("persistentVolumeClaim") or {}).get("claimName") or "")


def _forbidden(request: Request, reason: str) -> StatusError:
    return forbidden_object(request.kind, request.namespaced_name[1], reason)


_log = logging.getLogger(__name__)

_GROUP, _KIND = "authentication.k8s.io", "TokenRequest"
TOKEN_REQUEST = dataclasses.replace(
    kind_by_name("TokenReview"), kind=_KIND, plural="tokenrequests", type_name=_KIND
)
_DEFAULT_SECONDS = 3600
_MIN_SECONDS, _MAX_SECONDS = 600, 1 << 32
_MAX_ISSUED_SECONDS = 24 * 3600
_CHECKED = ("account exists", "lifetime")
_BINDABLE = {"Pod": "v1", "Secret": "v1", "Node": "v1"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _BoundObjects:
    """The objects that a token is bound to, and the checks that were made."""

    refs: dict[str, ObjectRef]
    checked: tuple[str, ...] = ()


async def request_token(
    request: Request, store: ObjectStore, auth_config: AuthConfig, rbac: RbacAuthorizer
) -> Object:
    """Issue the token of a TokenRequest. Raises StatusError 400, 403, 404, 409, 422."""
    started = time.perf_counter()
    body = await decoding.decode_type(request, _KIND, f"{_GROUP}/v1")
    try:
        return _issue(request, body, store, auth_config, rbac, started)
    except StatusError as exc:
        _log_refused(request, body.get("spec") or {}, exc, time.perf_counter() - started)
        raise


def _issue(
    request: Request,
    body: Object,
    store: ObjectStore,
    auth_config: AuthConfig,
    rbac: RbacAuthorizer,
    started: float,
) -> Object:
    namespace, name = request.namespaced_name
    write_options = options.parse_write_options(request, "CreateOptions")
    metadata, spec = body.get("metadata") or {}, body.get("spec") or {}
    if metadata.get("namespace") not in (None, "", namespace):
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    check_token_request(request, spec, store, rbac)
    _check_name(metadata.get("name"), name)
    account = store.get(request.kind, namespace, name)
    if account is None:
        raise not_found(request.kind, name)
    _check_uid(metadata.get("uid"), account)
    seconds = _limit_seconds(request, _requested_seconds(spec))
    audiences = spec.get("audiences") or list(auth_config.audiences)
    bound = _find_bound_objects(store, request, spec.get("boundObjectRef"), name)
    granted = token_lifetime(
        seconds,
        pod_bound="pod" in bound.refs,
        own_audience=set(audiences) <= set(auth_config.audiences),
    )
    claims = make_claims(
        issuer=auth_config.issuer,
        namespace=namespace,
        account=_ref(account),
        audiences=audiences,
        seconds=granted.seconds,
        now=auth_config.clock(),
        jti=str(uuid.uuid4()),
        warn_after=granted.warn_after,
        **bound.refs,
    )
    token = auth_config.signer.sign(claims)
    _log_signed(request, audiences, bound, token, time.perf_counter() - started)
    # The response names the requested lifetime, so that a kubelet renews in time if a longer one was granted.
    status = {"token": token, "expirationTimestamp": rfc3339(claims["iat"] + seconds)}
    response = _build_response(request, spec, audiences, seconds, auth_config.clock())
    response["metadata"]["managedFields"] = server_side_apply.track_update(
        TOKEN_REQUEST,
        None,
        response,
        write_options.manager,
        subresource="token",
        now=auth_config.clock(),
    )
    return response | {"status": status}


def _check_name(given: str | None, name: str) -> None:
    """Refuse a body that names another account than the path."""
    if given and given != name:
        reason = f"Invalid value: {quote(given)}: must match the service account name if specified"
        cause = Cause(CauseType.INVALID, reason, "metadata.name")
        raise invalid_options(_KIND, [cause], name=name, group=_GROUP)


def _check_uid(given: str | None, account: Object) -> None:
    """Refuse a body that names another uid than that of the account."""
    name, uid = account["metadata"]["name"], account["metadata"]["uid"]
    if given and given != uid:
        message = (
            f'Operation cannot be fulfilled on {_KIND}.{_GROUP} "{name}": the UID in the token request'
            f" ({given}) does not match the UID of the service account ({uid})"
        )
        raise StatusError(409, "Conflict", message, name=name, kind=_KIND, group=_GROUP)


def _build_response(
    request: Request, spec: Object, audiences: Sequence[str], seconds: int, now: float
) -> Object:
    namespace, name = request.namespaced_name
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": rfc3339(now),
        },
        "spec": {
            "audiences": list(audiences),
            "expirationSeconds": seconds,
            "boundObjectRef": spec.get("boundObjectRef"),
        },
    }


def _log_signed(
    request: Request, audiences: Sequence[str], bound: _BoundObjects, token: str, seconds: float
) -> None:
    pod = bound.refs.get("pod")
    facts = {
        **_facts(request, ", ".join(audiences), " ".join(audiences), seconds),
        "checked": [*_CHECKED, *bound.checked],
        "pod": pod.name if pod else "",
        "uid": pod.uid if pod else "",
        # A service that receives the token can log the same value.
        "token_sha256": fingerprint(token),
        "outcome": "signed",
    }
    _log.info("token_signed", extra=facts)


def _log_refused(request: Request, spec: Object, refused: StatusError, seconds: float) -> None:
    ref = spec.get("boundObjectRef") or {}
    pod = ref if ref.get("kind") == "Pod" else {}
    audience = " ".join(spec.get("audiences") or ())
    facts = {
        **_facts(request, audience or "the API server", audience, seconds),
        "checked": [],
        "pod": str(pod.get("name") or ""),
        "uid": str(pod.get("uid") or ""),
        "outcome": "refused",
        "code": refused.reason,
        "cause": refused.message,
    }
    _log.warning("token_request_refused", extra=facts)


def _facts(request: Request, listed: str, audience: str, seconds: float) -> dict[str, object]:
    namespace, account = request.namespaced_name
    return {
        "asked": f"a token of {namespace}/{account} for {listed}",
        "took_ms": round(seconds * 1000, 3),
        "namespace": namespace,
        "account": account,
        "sub": subject(namespace, account),
        "audience": audience,
    }


def _ref(obj: Object) -> ObjectRef:
    return ObjectRef(name=obj["metadata"]["name"], uid=obj["metadata"]["uid"])


def _requested_seconds(spec: Object) -> int:
    seconds = spec.get("expirationSeconds")
    if seconds is None:
        return _DEFAULT_SECONDS
    reason = ""
    if seconds < _MIN_SECONDS:
        reason = "may not specify a duration less than 10 minutes"
    elif seconds > _MAX_SECONDS:
        reason = "may not specify a duration larger than 2^32 seconds"
    if reason:
        reason = f"Invalid value: {seconds}: {reason}"
        cause = Cause(CauseType.INVALID, reason, "spec.expirationSeconds")
        raise invalid_options(_KIND, [cause], group=_GROUP)
    return int(seconds)


def _limit_seconds(request: Request, seconds: int) -> int:
    """Limit a lifetime, as an API server with `--service-account-max-token-expiration` does.

    A token that is valid for longer than a key rotation takes could not be revoked by the rotation.
    """
    if seconds > _MAX_ISSUED_SECONDS:
        request.warnings.append(
            f"requested expiration of {seconds} seconds shortened to {_MAX_ISSUED_SECONDS} seconds"
        )
    return min(seconds, _MAX_ISSUED_SECONDS)


def _find_bound_objects(
    store: ObjectStore, request: Request, ref: Object | None, account: str
) -> _BoundObjects:
    """Find the objects that a token is bound to; check that they exist, their uid and their account."""
    if not ref:
        return _BoundObjects(refs={})
    kind, namespace = ref.get("kind") or "", request.namespaced_name[0]
    if _BINDABLE.get(kind) != (ref.get("apiVersion") or "v1"):
        group, _, version = (ref.get("apiVersion") or "").rpartition("/")
        raise bad_request(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
    found = _get_object(store, kind_by_name(kind), namespace, ref)
    checked = ("bound object exists", *(("its uid",) if ref.get("uid") else ()))
    if kind != "Pod":
        return _BoundObjects(refs={kind.lower(): _ref(found)}, checked=checked)
    if (found["spec"].get("serviceAccountName") or "default") != account:
        raise bad_request(
            f"cannot bind token for serviceaccount {quote(account)} to pod running with different "
            "serviceaccount name."
        )
    refs = {"pod": _ref(found)}
    if node_name := found["spec"].get("nodeName"):
        node = store.get(kind_by_name("Node"), "", node_name)
        # A node that was deleted is still named in the token.
        refs["node"] = _ref(node) if node else ObjectRef(name=node_name, uid="")
    return _BoundObjects(refs=refs, checked=(*checked, "its account"))


def _get_object(store: ObjectStore, kind: Kind, namespace: str, ref: Object) -> Object:
    name = ref.get("name") or ""
    found = store.get(kind, namespace if kind.namespaced else "", name)
    if found is None:
        raise not_found(kind, name)
    uid = ref.get("uid") or ""
    if uid and uid != found["metadata"]["uid"]:
        reason = (
            f"the UID in the bound object reference ({uid}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise conflict(kind, name, reason, details_kind=kind.kind)
    return found

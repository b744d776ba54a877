"""`serviceaccounts/token`: a signed token for an account, bound to a pod if asked so."""

import dataclasses
import logging
import time
import uuid
from collections.abc import Sequence

from podpass.clock import rfc3339
from podpass.kubernetes.apiserver import decoding, options
from podpass.kubernetes.apiserver.auth.authentication import Trust
from podpass.kubernetes.apiserver.kinds import Kind, named
from podpass.kubernetes.apiserver.patch import server_side_apply
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.status import (
    Cause,
    Why,
    bad_request,
    conflict,
    invalid_options,
    not_found,
)
from podpass.kubernetes.apiserver.storage.storage import Object, Store
from podpass.kubernetes.service_account.claims import ObjectRef, lifetime, make_claims
from podpass.kubernetes.service_account.names import subject
from podpass.log import hop

_log = logging.getLogger(__name__)

_GROUP, _KIND = "authentication.k8s.io", "TokenRequest"
TOKEN_REQUEST = dataclasses.replace(named("TokenReview"), kind=_KIND, plural="tokenrequests")
_DEFAULT_SECONDS = 3600
_MIN_SECONDS, _MAX_SECONDS = 600, 1 << 32
_LONGEST_SECONDS = 24 * 3600
_CHECKED = ("account exists", "lifetime")
_BINDABLE = {"Pod": "v1", "Secret": "v1", "Node": "v1"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Bound:
    """What a token is bound to, and what was checked of it."""

    refs: dict[str, ObjectRef]
    checked: tuple[str, ...] = ()


async def request_token(request: Request, store: Store, trust: Trust) -> Object:
    """Answer a TokenRequest.

    Errors:  StatusError 400, 404, 409, 422.
    """
    began = time.perf_counter()
    asked = await decoding.named(request, _KIND, f"{_GROUP}/v1")
    namespace, name = request.place
    account = store.get(request.kind, namespace, name)
    if account is None:
        raise not_found(request.kind, name)
    spec = asked.get("spec") or {}
    seconds = _shortened(request, _seconds(spec))
    audiences = spec.get("audiences") or list(trust.audiences)
    bound = _bound(store, request, spec.get("boundObjectRef"), name)
    life = lifetime(
        seconds,
        pod_bound="pod" in bound.refs,
        own_audience=set(audiences) <= set(trust.audiences),
    )
    claims = make_claims(
        issuer=trust.issuer,
        namespace=namespace,
        account=_ref(account),
        audiences=audiences,
        seconds=life.seconds,
        now=trust.clock(),
        jti=str(uuid.uuid4()),
        warn_after=life.warn_after,
        **bound.refs,
    )
    token = trust.signer.sign(claims)
    _log_hop(request, audiences, bound, time.perf_counter() - began)
    # The answered lifetime is the asked one, so that a kubelet renews in time whatever was granted.
    status = {"token": token, "expirationTimestamp": rfc3339(claims["iat"] + seconds)}
    return _answer(request, spec, audiences, seconds, trust) | {"status": status}


def _answer(
    request: Request, spec: Object, audiences: Sequence[str], seconds: int, trust: Trust
) -> Object:
    namespace, name = request.place
    answer: Object = {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": rfc3339(trust.clock()),
        },
        "spec": {
            "audiences": list(audiences),
            "expirationSeconds": seconds,
            "boundObjectRef": spec.get("boundObjectRef"),
        },
    }
    how = options.write(request, "CreateOptions")
    answer["metadata"]["managedFields"] = server_side_apply.track_update(
        TOKEN_REQUEST, None, answer, how.manager, subresource="token", now=trust.clock()
    )
    return answer


def _log_hop(request: Request, audiences: Sequence[str], bound: _Bound, seconds: float) -> None:
    namespace, account = request.place
    pod = bound.refs.get("pod")
    hop(
        _log,
        "token_signed",
        stage="assertion",
        asked=f"a token of {namespace}/{account} for {', '.join(audiences)}",
        checked=(*_CHECKED, *bound.checked),
        seconds=seconds,
        pod=pod.name if pod else "",
        namespace=namespace,
        account=account,
        sub=subject(namespace, account),
        audience=" ".join(audiences),
        outcome="signed",
    )


def _ref(obj: Object) -> ObjectRef:
    return ObjectRef(name=obj["metadata"]["name"], uid=obj["metadata"]["uid"])


def _seconds(spec: Object) -> int:
    seconds = spec.get("expirationSeconds")
    if seconds is None:
        return _DEFAULT_SECONDS
    why = ""
    if seconds < _MIN_SECONDS:
        why = "may not specify a duration less than 10 minutes"
    elif seconds > _MAX_SECONDS:
        why = "may not specify a duration larger than 2^32 seconds"
    if why:
        cause = Cause(Why.INVALID, why, "spec.expirationSeconds")
        raise invalid_options(_KIND, [cause], group=_GROUP)
    return int(seconds)


def _shortened(request: Request, seconds: int) -> int:
    """Cut a lifetime as an API server with `--service-account-max-token-expiration` does.

    A token is worth its issuer's keys: one that outlived their rotation could not be taken back by it.
    """
    if seconds > _LONGEST_SECONDS:
        request.warnings.append(
            f"requested expiration of {seconds} seconds shortened to {_LONGEST_SECONDS} seconds"
        )
    return min(seconds, _LONGEST_SECONDS)


def _bound(store: Store, request: Request, ref: Object | None, account: str) -> _Bound:
    """Find what a token is bound to, which must be there, the same, and of this account."""
    if not ref:
        return _Bound(refs={})
    kind, namespace = ref.get("kind") or "", request.place[0]
    if _BINDABLE.get(kind) != (ref.get("apiVersion") or "v1"):
        raise bad_request(f"cannot bind token for serviceaccount to object of type {kind!r}")
    found = _object(store, named(kind), namespace, ref)
    checked = ("bound object exists", *(("its uid",) if ref.get("uid") else ()))
    if kind != "Pod":
        return _Bound(refs={kind.lower(): _ref(found)}, checked=checked)
    if (found["spec"].get("serviceAccountName") or "default") != account:
        raise bad_request(
            f"cannot bind token for serviceaccount {account!r} to pod running with different "
            "serviceaccount name"
        )
    refs = {"pod": _ref(found)}
    if node_name := found["spec"].get("nodeName"):
        node = store.get(named("Node"), "", node_name)
        # A node that is gone still names where the pod ran.
        refs["node"] = _ref(node) if node else ObjectRef(name=node_name, uid="")
    return _Bound(refs=refs, checked=(*checked, "its account"))


def _object(store: Store, kind: Kind, namespace: str, ref: Object) -> Object:
    name = ref.get("name") or ""
    found = store.get(kind, namespace if kind.namespaced else "", name)
    if found is None:
        raise not_found(kind, name)
    uid = ref.get("uid") or ""
    if uid and uid != found["metadata"]["uid"]:
        why = (
            f"the UID in the bound object reference ({uid}) does not match the UID in record "
            f"({found['metadata']['uid']}). The object might have been deleted and then recreated"
        )
        raise conflict(kind, name, why, details_kind=kind.kind)
    return found

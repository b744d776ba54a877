"""NodeRestriction for tokens: a node gets tokens only for its own pods, and for audiences that they name.

A node whose credential is stolen could otherwise request a token of any account for any audience. The
audiences are those of the pod's projected volumes and of the CSI drivers that it uses (the feature
ServiceAccountNodeAudienceRestriction, on by default since Kubernetes 1.33); RBAC can allow more.
Source: kubernetes/kubernetes plugin/pkg/admission/noderestriction.
"""

from kubeling.apiserver.auth.rbac import AuthorizerAttributes, RbacAuthorizer
from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.request import Request
from kubeling.apiserver.status import StatusError, forbidden_object, quote
from kubeling.apiserver.storage.storage import Object, ObjectStore

AUDIENCE_VERB = "request-serviceaccounts-token-audience"


def check_token_request(
    request: Request, spec: Object, store: ObjectStore, rbac: RbacAuthorizer
) -> None:
    """Refuse a node's request for a token that none of its pods needs; other users are not restricted.

    Raises StatusError 403, 404.
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

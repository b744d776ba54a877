"""Decide what a pod lacks to use the cloud: identity, trust, and where it finds Azure's names. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podpass import names
from podpass.kubernetes.objects import list_containers, list_projected_tokens
from podpass.lab.gateway.gateway import list_served_names
from podpass.lab.names.bundles import CA
from podpass.lab.names.injection import (
    NO_PROXY_FIX,
    BundleNames,
    build_variables,
    find_bypassing_proxy,
    fix_own_value,
)
from podpass.lab.names.served_names import is_served
from podpass.lab.names.trust_objects import (
    DISABLED,
    ENABLED,
    NAMESPACE_LABEL,
    is_selected,
    list_exempt_namespaces,
    selects_all_namespaces,
)

Object = Mapping[str, Any]

OK, WRONG, LIMIT = "ok", "wrong", "limit"
_NAMES = BundleNames()
_REQUIRED = (
    names.ENV_CLIENT_ID,
    names.ENV_TENANT_ID,
    names.ENV_TOKEN_FILE,
    names.ENV_AUTHORITY_HOST,
)
_CLUSTER, _CLUSTER_ON_HOST_NETWORK = "ClusterFirst", "ClusterFirstWithHostNet"
_AGAIN = "then create the pod again, for example: kubectl rollout restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationFacts:
    """What the cluster has of the installation.

    `registration` is that of the trust webhook; `cluster_dns` is whether CoreDNS forwards Azure's names to
    the cloud, None if it cannot be read; `ca` is PEM; `storage` are the services of storage accounts that the
    cloud serves.
    """

    namespace: str
    tenant_id: str
    ca: str
    resolver: str
    registration: Object | None
    cluster_dns: bool | None
    storage: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """A pod, its namespace, and the ConfigMap with the CA there, None if it is missing."""

    pod: Object
    namespace: Object
    bundle: Object | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodCheck:
    """One result: `ok`, `wrong` with its fix, or `limit` for what the cloud cannot decide."""

    name: str
    state: str
    detail: str
    fix: str = ""


def examine(facts: PodFacts, cloud: InstallationFacts) -> list[PodCheck]:
    """Return the results in the order in which a pod needs them."""
    return [
        _check_namespace(facts, cloud),
        _check_label(facts),
        _check_identity(facts, cloud),
        _check_token(facts),
        _check_trust(facts, cloud),
        _check_bundle(facts, cloud),
        _check_names(facts, cloud),
        *_find_limits(facts, list_served_names(cloud.storage)),
    ]


def first_wrong(checks: Sequence[PodCheck]) -> PodCheck | None:
    """Return the first result that is wrong: the others may follow from it."""
    return next((each for each in checks if each.state == WRONG), None)


def _check_namespace(facts: PodFacts, cloud: InstallationFacts) -> PodCheck:
    name = "namespace"
    namespace = str(facts.namespace["metadata"]["name"])
    if cloud.registration is None:
        detail = "the trust webhook is not registered"
        return _wrong(name, detail, "podpass cloud install")
    if namespace in list_exempt_namespaces(cloud.namespace):
        detail = f"pods of {namespace} are never changed"
        return _wrong(name, detail, "use another namespace for the pod")
    all_namespaces = selects_all_namespaces(dict(cloud.registration))
    if not is_selected(dict(facts.namespace), cloud.namespace, all_namespaces=all_namespaces):
        detail = f"{namespace} has no label {NAMESPACE_LABEL}: {ENABLED}"
        fix = f"kubectl label namespace {namespace} {NAMESPACE_LABEL}={ENABLED}; {_AGAIN}"
        return _wrong(name, detail, fix)
    if _labels(facts.pod).get(NAMESPACE_LABEL) == DISABLED:
        detail = f"the pod has the label {NAMESPACE_LABEL}: {DISABLED}"
        return _wrong(name, detail, f"remove the label from the pod template, {_AGAIN}")
    how = "all namespaces" if all_namespaces else f"label {NAMESPACE_LABEL}: {ENABLED}"
    return _ok(name, f"{namespace} is selected ({how})")


def _check_label(facts: PodFacts) -> PodCheck:
    value = _labels(facts.pod).get(names.USE_LABEL)
    if value == "true":
        return _ok("label", f"{names.USE_LABEL}: true")
    detail = f"{names.USE_LABEL} is {'missing' if value is None else repr(value)}"
    return _wrong("label", detail, f'add {names.USE_LABEL}: "true" to the pod template, {_AGAIN}')


def _check_identity(facts: PodFacts, cloud: InstallationFacts) -> PodCheck:
    name = "variables"
    skipped = {
        each.strip()
        for each in str(_annotations(facts.pod).get(names.SKIP_CONTAINERS, "")).split(";")
    }
    containers = [each for each in list_containers(facts.pod) if each.get("name") not in skipped]
    for container in containers:
        found = _variables(container)
        lacking = [each for each in _REQUIRED if each not in found]
        if lacking:
            detail = f"container {container['name']} has no {', '.join(lacking)}"
            return _wrong(name, detail, f"check the webhook: podpass doctor; {_AGAIN}")
    if not containers:
        return _ok(name, f"all containers are skipped by {names.SKIP_CONTAINERS}")
    values = _variables(containers[0])
    if not values[names.ENV_CLIENT_ID]:
        account = facts.pod["spec"].get("serviceAccountName", "default")
        fix = f"kubectl annotate serviceaccount {account} {names.CLIENT_ID}=CLIENT-ID; {_AGAIN}"
        return _wrong(name, f"ServiceAccount {account} names no client ID", fix)
    if values[names.ENV_TENANT_ID] != cloud.tenant_id:
        detail = f"tenant {values[names.ENV_TENANT_ID]} is not that of the cloud, {cloud.tenant_id}"
        return _wrong(name, detail, f"remove the annotation {names.TENANT_ID}, {_AGAIN}")
    host = values[names.ENV_AUTHORITY_HOST].removeprefix("https://").rstrip("/")
    if host not in names.LOGIN_ALIASES:
        return _wrong(
            name,
            f"{names.ENV_AUTHORITY_HOST} names {host}, which the cloud does not serve",
            f"let the webhook set it to https://{names.LOGIN_HOST}/, {_AGAIN}",
        )
    return _ok(name, f"client ID {values[names.ENV_CLIENT_ID]}, tenant {cloud.tenant_id}")


def _check_token(facts: PodFacts) -> PodCheck:
    for _, token in list_projected_tokens(facts.pod):
        if token.get("audience") == names.EXCHANGE_AUDIENCE:
            seconds = token.get("expirationSeconds", 3600)
            return _ok("token", f"audience {names.EXCHANGE_AUDIENCE}, {seconds} seconds")
    detail = f"no volume has a token with the audience {names.EXCHANGE_AUDIENCE}"
    return _wrong("token", detail, f"check the webhook: podpass doctor; {_AGAIN}")


def _check_trust(facts: PodFacts, cloud: InstallationFacts) -> PodCheck:
    volumes = {each.get("name") for each in facts.pod["spec"].get("volumes") or ()}
    without = [
        str(each["name"])
        for each in list_containers(facts.pod)
        if _NAMES.bundle not in volumes or not _has_bundle(each)
    ]
    if not without:
        return _ok("trust", f"CA bundle at {_NAMES.mount_path}, variables in every container")
    if (facts.pod["spec"].get("os") or {}).get("name") == "windows":
        return _wrong("trust", "pods for Windows are not changed", "use a Linux image")
    detail = f"no CA bundle in {', '.join(without)}"
    created = str(facts.pod["metadata"].get("creationTimestamp") or "")
    registered = str(((cloud.registration or {}).get("metadata") or {}).get("creationTimestamp"))
    # Both are RFC 3339 in UTC with the same precision, so their order is that of the texts.
    if created and cloud.registration is not None and created < registered:
        detail += f": the pod, created {created}, is older than the installation"
    return _wrong("trust", detail, "create the pod again, for example: kubectl rollout restart")


def _has_bundle(container: Object) -> bool:
    mounts = {each.get("name") for each in container.get("volumeMounts") or ()}
    sources = {
        (each.get("configMapRef") or {}).get("name") for each in container.get("envFrom") or ()
    }
    return _NAMES.bundle in mounts and _NAMES.environment in sources


def _check_bundle(facts: PodFacts, cloud: InstallationFacts) -> PodCheck:
    namespace = facts.namespace["metadata"]["name"]
    if facts.bundle is None:
        detail = f"namespace {namespace} has no ConfigMap {_NAMES.bundle}"
        return _wrong("CA", detail, "create a pod in it: the webhook writes the ConfigMap")
    if str((facts.bundle.get("data") or {}).get(CA, "")).strip() != cloud.ca.strip():
        return _wrong(
            "CA",
            f"the ConfigMap {_NAMES.bundle} has the CA of another installation",
            f"kubectl delete configmap {_NAMES.bundle} -n {namespace}; {_AGAIN}",
        )
    return _ok("CA", f"ConfigMap {_NAMES.bundle} has the CA of this cloud")


def _check_names(facts: PodFacts, cloud: InstallationFacts) -> PodCheck:
    spec = facts.pod["spec"]
    policy = spec.get("dnsPolicy") or _CLUSTER
    servers = (spec.get("dnsConfig") or {}).get("nameservers") or ()
    if cloud.resolver and cloud.resolver in servers[:1]:
        return _ok("names", f"the cloud's resolver, {cloud.resolver}")
    if spec.get("hostNetwork") and policy != _CLUSTER_ON_HOST_NETWORK:
        detail = "the pod is on the network of its node and asks the node's DNS server"
        fix = f"set dnsPolicy: {_CLUSTER_ON_HOST_NETWORK} in the pod template, {_AGAIN}"
        return _wrong("names", detail, fix)
    if policy not in (_CLUSTER, _CLUSTER_ON_HOST_NETWORK):
        detail = f"dnsPolicy {policy}: the pod does not ask the cluster's DNS server"
        return _wrong("names", detail, f"set dnsPolicy: {_CLUSTER} in the pod template, {_AGAIN}")
    if cloud.cluster_dns is None:
        return PodCheck(name="names", state=LIMIT, detail="the Corefile cannot be read")
    if not cloud.cluster_dns:
        detail = "CoreDNS does not forward Azure's names to the cloud"
        return _wrong("names", detail, "podpass cloud install --dns cluster")
    return _ok("names", f"CoreDNS, which forwards Azure's names to {cloud.resolver}")


def _find_limits(facts: PodFacts, served: Collection[str]) -> Iterator[PodCheck]:
    """Name what the cloud cannot decide: values of the user that win, and clients with their own roots."""
    for container in list_containers(facts.pod):
        for name in sorted(_variables(container).keys() & build_variables(_NAMES).keys()):
            detail = f"container {container['name']} sets {name}; its value wins"
            fix = f"{fix_own_value(name, _NAMES)}, or remove the variable"
            yield PodCheck(name="own CA", state=LIMIT, detail=detail, fix=fix)
        if proxy := find_bypassing_proxy(container):
            detail = f"container {container['name']} sets {proxy}: the proxy resolves names"
            yield PodCheck(name="proxy", state=LIMIT, detail=detail, fix=NO_PROXY_FIX)
    for alias in facts.pod["spec"].get("hostAliases") or ():
        own = sorted(each for each in alias.get("hostnames") or () if is_served(each, served))
        if own:
            detail = f"hostAliases give {', '.join(own)} the address {alias.get('ip')}"
            fix = "remove them from the pod template"
            yield PodCheck(name="names", state=LIMIT, detail=detail, fix=fix)
    yield PodCheck(
        name="clients",
        state=LIMIT,
        detail="a client with roots of its own ignores the CA: Rust with webpki roots, native images of"
        " Java, pinned certificates; an image's ENV is replaced",
    )


def _variables(container: Object) -> dict[str, str]:
    return {str(each["name"]): str(each.get("value") or "") for each in container.get("env") or ()}


def _labels(item: Object) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}


def _annotations(item: Object) -> Mapping[str, str]:
    return item["metadata"].get("annotations") or {}


def _ok(name: str, detail: str) -> PodCheck:
    return PodCheck(name=name, state=OK, detail=detail)


def _wrong(name: str, detail: str, fix: str) -> PodCheck:
    return PodCheck(name=name, state=WRONG, detail=detail, fix=fix)

"""The one table of kinds the cluster serves; everything else is generic and reads it.

To add a kind: one row here, its type in `schema.json` (scripts/make_schema.py), and where it has
them its defaults, rules and columns. Verbs, short names and hashes are those a real API server
publishes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

CORE = ""
RBAC = "rbac.authorization.k8s.io"
ADMISSION = "admissionregistration.k8s.io"
AUTHENTICATION = "authentication.k8s.io"
AUTHORIZATION = "authorization.k8s.io"
COORDINATION = "coordination.k8s.io"

_ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_NO_COLLECTION = ("create", "delete", "get", "list", "patch", "update", "watch")
_PART = ("get", "patch", "update")
_CREATE = ("create",)


@dataclass(frozen=True, slots=True)
class Subresource:
    """A path under an object, and the kind that goes in and out of it.

    Shapes:  `group` and `version` are empty where discovery leaves them out (the parent's own).
    """

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of object.

    Shapes:  `field_selectors` are paths a list may be filtered by besides metadata.name and
             metadata.namespace, each with the value an object without the field counts as.
             `stored` is false for kinds that are answered and forgotten (reviews).
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    verbs: tuple[str, ...] = _ALL
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    field_selectors: Mapping[str, str] = field(hash=False)
    has_status: bool = False
    has_generation: bool = False
    stored: bool = True
    storage_hash: str = ""

    @property
    def list_kind(self) -> str:
        return self.kind + "List"

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """Name the resource as messages do: `pods`, `leases.coordination.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def prefix(self) -> str:
        """The path of its group and version: `/api/v1`, `/apis/apps/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def subresource(self, name: str) -> Subresource | None:
        return next((each for each in self.subresources if each.name == name), None)


def _kind(
    group: str,
    kind: str,
    plural: str,
    *,
    hash_: str = "",
    short: str = "",
    subs: tuple[Subresource, ...] = (),
    fields: Mapping[str, str] | None = None,
    namespaced: bool = True,
    verbs: tuple[str, ...] = _ALL,
    categories: tuple[str, ...] = (),
    generation: bool = False,
) -> Kind:
    return Kind(
        group=group,
        version="v1",
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        namespaced=namespaced,
        verbs=verbs,
        short_names=(short,) if short else (),
        categories=categories,
        subresources=subs,
        field_selectors=fields or {},
        has_status=any(sub.name == "status" for sub in subs),
        has_generation=generation,
        storage_hash=hash_,
    )


def _review(group: str, kind: str, *, namespaced: bool = False) -> Kind:
    return Kind(
        group=group,
        version="v1",
        kind=kind,
        plural=kind.lower() + "s",
        singular=kind.lower(),
        namespaced=namespaced,
        verbs=_CREATE,
        field_selectors={},
        stored=False,
    )


def _status(kind: str) -> Subresource:
    return Subresource("status", kind, _PART)


_POD_FIELDS = {
    "spec.nodeName": "",
    "spec.restartPolicy": "",
    "spec.schedulerName": "",
    "spec.serviceAccountName": "",
    "spec.hostNetwork": "false",
    "status.phase": "",
    "status.podIP": "",
    "status.nominatedNodeName": "",
}
_EVENT_FIELDS = dict.fromkeys(
    (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "",
)
_POD_PARTS = (
    Subresource("binding", "Binding", _CREATE),
    Subresource("ephemeralcontainers", "Pod", _PART),
    Subresource("eviction", "Eviction", _CREATE, "policy", "v1"),
    Subresource("log", "Pod", ("get",)),
    _status("Pod"),
)
_TOKEN = Subresource("token", "TokenRequest", _CREATE, AUTHENTICATION, "v1")

# Order is that of discovery: groups as listed, resources by name.
KINDS: tuple[Kind, ...] = (
    _kind(CORE, "ConfigMap", "configmaps", hash_="qFsyl6wFWjQ=", short="cm"),
    _kind(CORE, "Event", "events", hash_="r2yiGXH7wu8=", short="ev", fields=_EVENT_FIELDS),
    _kind(
        CORE,
        "Namespace",
        "namespaces",
        hash_="Q3oi5N2YM8M=",
        short="ns",
        namespaced=False,
        verbs=_NO_COLLECTION,
        subs=(Subresource("finalize", "Namespace", ("update",)), _status("Namespace")),
        fields={"status.phase": ""},
    ),
    _kind(
        CORE,
        "Node",
        "nodes",
        hash_="XwShjMxG9Fs=",
        short="no",
        namespaced=False,
        subs=(_status("Node"),),
        fields={"spec.unschedulable": "false"},
    ),
    _kind(
        CORE,
        "Pod",
        "pods",
        hash_="xPOwRZ+Yhw8=",
        short="po",
        categories=("all",),
        subs=_POD_PARTS,
        fields=_POD_FIELDS,
        generation=True,
    ),
    _kind(CORE, "Secret", "secrets", hash_="S6u1pOWzb84=", fields={"type": ""}),
    _kind(
        CORE, "ServiceAccount", "serviceaccounts", hash_="pbx9ZvyFpBE=", short="sa", subs=(_TOKEN,)
    ),
    _kind(
        CORE,
        "Service",
        "services",
        hash_="0/CO1lhkEBI=",
        short="svc",
        categories=("all",),
        subs=(_status("Service"),),
        fields={"spec.clusterIP": "", "spec.type": ""},
    ),
    _review(AUTHENTICATION, "SelfSubjectReview"),
    _review(AUTHENTICATION, "TokenReview"),
    _review(AUTHORIZATION, "LocalSubjectAccessReview", namespaced=True),
    _review(AUTHORIZATION, "SelfSubjectAccessReview"),
    _review(AUTHORIZATION, "SelfSubjectRulesReview"),
    _review(AUTHORIZATION, "SubjectAccessReview"),
    _kind(
        RBAC, "ClusterRoleBinding", "clusterrolebindings", hash_="48tpQ8gZHFc=", namespaced=False
    ),
    _kind(RBAC, "ClusterRole", "clusterroles", hash_="bYE5ZWDrJ44=", namespaced=False),
    _kind(RBAC, "RoleBinding", "rolebindings", hash_="eGsCzGH6b1g="),
    _kind(RBAC, "Role", "roles", hash_="7FuwZcIIItM="),
    _kind(
        ADMISSION,
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        hash_="Sqi0GUgDaX0=",
        namespaced=False,
        categories=("api-extensions",),
        generation=True,
    ),
    _kind(COORDINATION, "Lease", "leases", hash_="gqkMMb/YqFM="),
)

_BY_PATH = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
_BY_KIND = {(kind.api_version, kind.kind): kind for kind in KINDS}


def find(group: str, version: str, plural: str) -> Kind | None:
    """Find the kind behind a path; `group` is empty for the core."""
    return _BY_PATH.get((group, version, plural))


def of_object(api_version: str, kind: str) -> Kind | None:
    """Find a kind by what an object says of itself."""
    return _BY_KIND.get((api_version, kind))


def named(kind: str) -> Kind:
    """Give a kind by its name alone, for code that needs one particular kind."""
    return next(each for each in KINDS if each.kind == kind)


def group_versions() -> list[tuple[str, str]]:
    """List groups and versions in the order of discovery, the core first."""
    return list(dict.fromkeys((kind.group, kind.version) for kind in KINDS))

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
    version: str = "v1"
    kind: str
    plural: str
    namespaced: bool = True
    verbs: tuple[str, ...] = _ALL
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    field_selectors: Mapping[str, str] = field(default_factory=dict, hash=False)
    has_generation: bool = False
    stored: bool = True
    storage_hash: str = ""

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def has_status(self) -> bool:
        return self.subresource("status") is not None

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


def _review(group: str, kind: str, *, namespaced: bool = False) -> Kind:
    return Kind(
        group=group,
        kind=kind,
        plural=kind.lower() + "s",
        namespaced=namespaced,
        verbs=_CREATE,
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
    Kind(
        group=CORE,
        kind="ConfigMap",
        plural="configmaps",
        storage_hash="qFsyl6wFWjQ=",
        short_names=("cm",),
    ),
    Kind(
        group=CORE,
        kind="Event",
        plural="events",
        storage_hash="r2yiGXH7wu8=",
        short_names=("ev",),
        field_selectors=_EVENT_FIELDS,
    ),
    Kind(
        group=CORE,
        kind="Namespace",
        plural="namespaces",
        storage_hash="Q3oi5N2YM8M=",
        short_names=("ns",),
        namespaced=False,
        verbs=_NO_COLLECTION,
        subresources=(Subresource("finalize", "Namespace", ("update",)), _status("Namespace")),
        field_selectors={"status.phase": ""},
    ),
    Kind(
        group=CORE,
        kind="Node",
        plural="nodes",
        storage_hash="XwShjMxG9Fs=",
        short_names=("no",),
        namespaced=False,
        subresources=(_status("Node"),),
        field_selectors={"spec.unschedulable": "false"},
    ),
    Kind(
        group=CORE,
        kind="Pod",
        plural="pods",
        storage_hash="xPOwRZ+Yhw8=",
        short_names=("po",),
        categories=("all",),
        subresources=_POD_PARTS,
        field_selectors=_POD_FIELDS,
        has_generation=True,
    ),
    Kind(
        group=CORE,
        kind="Secret",
        plural="secrets",
        storage_hash="S6u1pOWzb84=",
        field_selectors={"type": ""},
    ),
    Kind(
        group=CORE,
        kind="ServiceAccount",
        plural="serviceaccounts",
        storage_hash="pbx9ZvyFpBE=",
        short_names=("sa",),
        subresources=(_TOKEN,),
    ),
    Kind(
        group=CORE,
        kind="Service",
        plural="services",
        storage_hash="0/CO1lhkEBI=",
        short_names=("svc",),
        categories=("all",),
        subresources=(_status("Service"),),
        field_selectors={"spec.clusterIP": "", "spec.type": ""},
    ),
    _review(AUTHENTICATION, "SelfSubjectReview"),
    _review(AUTHENTICATION, "TokenReview"),
    _review(AUTHORIZATION, "LocalSubjectAccessReview", namespaced=True),
    _review(AUTHORIZATION, "SelfSubjectAccessReview"),
    _review(AUTHORIZATION, "SelfSubjectRulesReview"),
    _review(AUTHORIZATION, "SubjectAccessReview"),
    Kind(
        group=RBAC,
        kind="ClusterRoleBinding",
        plural="clusterrolebindings",
        storage_hash="48tpQ8gZHFc=",
        namespaced=False,
    ),
    Kind(
        group=RBAC,
        kind="ClusterRole",
        plural="clusterroles",
        storage_hash="bYE5ZWDrJ44=",
        namespaced=False,
    ),
    Kind(group=RBAC, kind="RoleBinding", plural="rolebindings", storage_hash="eGsCzGH6b1g="),
    Kind(group=RBAC, kind="Role", plural="roles", storage_hash="7FuwZcIIItM="),
    Kind(
        group=ADMISSION,
        kind="MutatingWebhookConfiguration",
        plural="mutatingwebhookconfigurations",
        storage_hash="Sqi0GUgDaX0=",
        namespaced=False,
        categories=("api-extensions",),
        has_generation=True,
    ),
    Kind(group=COORDINATION, kind="Lease", plural="leases", storage_hash="gqkMMb/YqFM="),
)

_BY_PATH = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}


def find(group: str, version: str, plural: str) -> Kind | None:
    """Find the kind behind a path; `group` is empty for the core."""
    return _BY_PATH.get((group, version, plural))


def named(kind: str) -> Kind:
    """Give a kind by its name alone, for code that needs one particular kind."""
    return next(each for each in KINDS if each.kind == kind)


def group_versions() -> list[tuple[str, str]]:
    """List groups and versions in the order of discovery, the core first."""
    return list(dict.fromkeys((kind.group, kind.version) for kind in KINDS))

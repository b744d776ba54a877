"""The table of the built-in kinds; the other modules are generic and read this table.

To add a kind: add a row here, its type to `schema.json` (scripts/make_schema.py), and its defaults,
validation rules and columns if it has any. Verbs, short names and hashes are those of a real API server.
`customresources` makes the kinds of CustomResourceDefinitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from podpass.kubernetes.apiserver.custom_resource import CustomResource

CORE = ""
APPS = "apps"
BATCH = "batch"
NETWORKING = "networking.k8s.io"
POLICY = "policy"
RBAC = "rbac.authorization.k8s.io"
ADMISSION = "admissionregistration.k8s.io"
AUTHENTICATION = "authentication.k8s.io"
AUTHORIZATION = "authorization.k8s.io"
COORDINATION = "coordination.k8s.io"
SCHEDULING = "scheduling.k8s.io"
STORAGE = "storage.k8s.io"
DISCOVERY = "discovery.k8s.io"
APIEXTENSIONS = "apiextensions.k8s.io"

ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Subresource:
    """A path below an object, and the kind of its request and response bodies.

    Shapes:  `group` and `version` are empty if discovery omits them (they are those of the parent).
    """

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of object.

    Shapes:  `field_selectors` are the paths that a field selector may use in addition to metadata.name
             and metadata.namespace, each with the value of an object without the field. `stored` is
             false for kinds that are never stored (reviews). `custom` is the version of a
             CustomResourceDefinition that defines the kind; None for a built-in kind.
    """

    group: str
    version: str = "v1"
    kind: str
    plural: str
    namespaced: bool = True
    verbs: tuple[str, ...] = ALL
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    field_selectors: Mapping[str, str] = field(default_factory=dict, hash=False)
    has_generation: bool = False
    stored: bool = True
    storage_hash: str = ""
    custom: CustomResource | None = field(default=None, compare=False, repr=False)

    @property
    def type_name(self) -> str:
        """Return the name of the kind's type; no custom kind has the type name of a built-in kind."""
        return self.custom.type_name if self.custom else self.kind

    @property
    def key(self) -> str:
        """Return the name in keys of controllers, the same for all versions of the kind."""
        return self.resource if self.custom else self.kind

    @property
    def singular(self) -> str:
        """Return the singular resource name."""
        return self.custom.singular if self.custom else self.kind.lower()

    @property
    def has_status(self) -> bool:
        """Return whether the kind has a status subresource."""
        return self.subresource("status") is not None

    @property
    def list_kind(self) -> str:
        """Return the kind of a list of these objects."""
        return self.custom.list_kind if self.custom else self.kind + "List"

    @property
    def api_version(self) -> str:
        """Return the `apiVersion` of these objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """Return the resource name as in messages: `pods`, `leases.coordination.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def prefix(self) -> str:
        """Return the path of the group and version: `/api/v1`, `/apis/apps/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def subresource(self, name: str) -> Subresource | None:
        """Return a subresource by its name; None if the kind does not have it."""
        return next((each for each in self.subresources if each.name == name), None)


_NO_COLLECTION = tuple(verb for verb in ALL if verb != "deletecollection")
_READ_AND_WRITE = ("get", "patch", "update")
_CREATE = ("create",)
_CONNECT = ("create", "get")


def _review(group: str, kind: str, *, namespaced: bool = False) -> Kind:
    return Kind(
        group=group,
        kind=kind,
        plural=kind.lower() + "s",
        namespaced=namespaced,
        verbs=_CREATE,
        stored=False,
    )


def status_subresource(kind: str) -> Subresource:
    """Return the status subresource of a kind."""
    return Subresource("status", kind, _READ_AND_WRITE)


def _workload(
    group: str, kind: str, storage_hash: str, *short_names: str, scaled: bool = False
) -> Kind:
    return Kind(
        group=group,
        kind=kind,
        plural=kind.lower() + "s",
        short_names=short_names,
        categories=("all",),
        subresources=((SCALE,) if scaled else ()) + (status_subresource(kind),),
        has_generation=True,
        storage_hash=storage_hash,
    )


def _webhooks(kind: str, storage_hash: str) -> Kind:
    return Kind(
        group=ADMISSION,
        kind=kind,
        plural=kind.lower() + "s",
        storage_hash=storage_hash,
        namespaced=False,
        categories=("api-extensions",),
        has_generation=True,
    )


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
_POD_SUBRESOURCES = (
    Subresource("attach", "PodAttachOptions", _CONNECT),
    Subresource("binding", "Binding", _CREATE),
    Subresource("ephemeralcontainers", "Pod", _READ_AND_WRITE),
    Subresource("eviction", "Eviction", _CREATE, "policy", "v1"),
    Subresource("exec", "PodExecOptions", _CONNECT),
    Subresource("log", "Pod", ("get",)),
    Subresource("portforward", "PodPortForwardOptions", _CONNECT),
    status_subresource("Pod"),
)
SCALE = Subresource("scale", "Scale", _READ_AND_WRITE, "autoscaling", "v1")
_TOKEN = Subresource("token", "TokenRequest", _CREATE, AUTHENTICATION, "v1")

# In the order of discovery: groups as listed, resources by name.
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
        subresources=(
            Subresource("finalize", "Namespace", ("update",)),
            status_subresource("Namespace"),
        ),
        field_selectors={"status.phase": ""},
    ),
    Kind(
        group=CORE,
        kind="Node",
        plural="nodes",
        storage_hash="XwShjMxG9Fs=",
        short_names=("no",),
        namespaced=False,
        subresources=(status_subresource("Node"),),
        field_selectors={"spec.unschedulable": "false"},
    ),
    Kind(
        group=CORE,
        kind="Pod",
        plural="pods",
        storage_hash="xPOwRZ+Yhw8=",
        short_names=("po",),
        categories=("all",),
        subresources=_POD_SUBRESOURCES,
        field_selectors=_POD_FIELDS,
        has_generation=True,
    ),
    _workload(CORE, "ReplicationController", "Jond2If31h0=", "rc", scaled=True),
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
        subresources=(status_subresource("Service"),),
        field_selectors={"spec.clusterIP": "", "spec.type": ""},
    ),
    Kind(
        group=APPS,
        kind="ControllerRevision",
        plural="controllerrevisions",
        storage_hash="85nkx63pcBU=",
    ),
    _workload(APPS, "DaemonSet", "dd7pWHUlMKQ=", "ds"),
    _workload(APPS, "Deployment", "8aSe+NMegvE=", "deploy", scaled=True),
    _workload(APPS, "ReplicaSet", "P1RzHs8/mWQ=", "rs", scaled=True),
    _workload(APPS, "StatefulSet", "H+vl74LkKdo=", "sts", scaled=True),
    _review(AUTHENTICATION, "SelfSubjectReview"),
    _review(AUTHENTICATION, "TokenReview"),
    _review(AUTHORIZATION, "LocalSubjectAccessReview", namespaced=True),
    _review(AUTHORIZATION, "SelfSubjectAccessReview"),
    _review(AUTHORIZATION, "SelfSubjectRulesReview"),
    _review(AUTHORIZATION, "SubjectAccessReview"),
    _workload(BATCH, "CronJob", "sd5LIXh4Fjs=", "cj"),
    _workload(BATCH, "Job", "mudhfqk/qZY="),
    Kind(
        group=NETWORKING,
        kind="NetworkPolicy",
        plural="networkpolicies",
        storage_hash="YpfwF18m1G8=",
        short_names=("netpol",),
        has_generation=True,
    ),
    Kind(
        group=POLICY,
        kind="PodDisruptionBudget",
        plural="poddisruptionbudgets",
        storage_hash="EVWiDmWqyJw=",
        short_names=("pdb",),
        subresources=(status_subresource("PodDisruptionBudget"),),
        has_generation=True,
    ),
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
        group=STORAGE,
        kind="CSIDriver",
        plural="csidrivers",
        storage_hash="hL6j/rwBV5w=",
        namespaced=False,
    ),
    _webhooks("MutatingWebhookConfiguration", "Sqi0GUgDaX0="),
    _webhooks("ValidatingWebhookConfiguration", "B0wHjQmsGNk="),
    Kind(
        group=APIEXTENSIONS,
        kind="CustomResourceDefinition",
        plural="customresourcedefinitions",
        storage_hash="jfWCUB31mvA=",
        short_names=("crd", "crds"),
        namespaced=False,
        categories=("api-extensions",),
        subresources=(status_subresource("CustomResourceDefinition"),),
        has_generation=True,
    ),
    Kind(
        group=SCHEDULING,
        kind="PriorityClass",
        plural="priorityclasses",
        storage_hash="1QwjyaZjj3Y=",
        short_names=("pc",),
        namespaced=False,
        has_generation=True,
    ),
    Kind(group=COORDINATION, kind="Lease", plural="leases", storage_hash="gqkMMb/YqFM="),
    Kind(
        group=DISCOVERY,
        kind="EndpointSlice",
        plural="endpointslices",
        storage_hash="qgS0xkrxYAI=",
        has_generation=True,
    ),
)

_BY_PATH = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
_BY_NAME = {kind.kind: kind for kind in KINDS}


def find_kind(group: str, version: str, plural: str) -> Kind | None:
    """Return the built-in kind of a path; `group` is empty for the core group."""
    return _BY_PATH.get((group, version, plural))


def kind_by_name(kind: str) -> Kind:
    """Return a built-in kind by its name, for code that needs one particular kind."""
    return _BY_NAME[kind]


def group_versions() -> list[tuple[str, str]]:
    """List groups and versions in the order of discovery, the core group first."""
    return list(dict.fromkeys((kind.group, kind.version) for kind in KINDS))

"""The built-in kinds, and the tables of what their OpenAPI does not say; the other modules are generic.

Verbs, short names and hashes are those of a real API server: they come from the data of `release`.
`customresources` makes the kinds of CustomResourceDefinitions.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubeling.apiserver import release
from kubeling.apiserver.conversion import CONVERSIONS, STORED_AS, VersionConversion

if TYPE_CHECKING:
    from kubeling.apiserver.customresources.resource import VersionedResource

RBAC = "rbac.authorization.k8s.io"
ADMISSION = "admissionregistration.k8s.io"


@dataclass(frozen=True, slots=True)
class Subresource:
    """A path below an object, and the kind of its request and response bodies.

    `group` and `version` are empty if discovery omits them: they are those of the parent.
    """

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of object.

    `field_selectors` are the paths that a field selector may use in addition to metadata.name and
    metadata.namespace, each with the value of an object without the field. `stored` is false for kinds that
    are never stored (reviews). `type_name` is the same in all releases, and no custom kind has the
    `type_name` of a built-in kind. `custom` is the version of a CustomResourceDefinition that defines the
    kind; None for a built-in kind.
    """

    group: str
    version: str = "v1"
    kind: str
    plural: str
    namespaced: bool = True
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    field_selectors: Mapping[str, str] = field(default_factory=dict, hash=False)
    has_generation: bool = False
    stored: bool = True
    storage_hash: str = ""
    type_name: str
    release: str = field(default=release.NEWEST, compare=False)
    custom: "VersionedResource | None" = field(default=None, compare=False, repr=False)

    @property
    def schema_name(self) -> str:
        """Return the name of the kind's type in the schema, where a type may differ between releases."""
        return self.type_name if self.custom else release.type_name(self.type_name, self.release)

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
    def stored_as(self) -> str:
        """Return the resource under which objects are stored."""
        return STORED_AS.get(self.resource, self.resource)

    @property
    def conversion(self) -> "VersionedResource | VersionConversion | None":
        """Return the conversion between this version and the stored one; None if they are equal."""
        return self.custom or CONVERSIONS.get(self.type_name)

    @property
    def prefix(self) -> str:
        """Return the path of the group and version: `/api/v1`, `/apis/apps/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def subresource(self, name: str) -> Subresource | None:
        """Return a subresource by its name; None if the kind does not have it."""
        return next((each for each in self.subresources if each.name == name), None)


_READ_AND_WRITE = ("get", "patch", "update")


def status_subresource(kind: str) -> Subresource:
    """Return the status subresource of a kind."""
    return Subresource("status", kind, _READ_AND_WRITE)


SCALE = Subresource("scale", "Scale", _READ_AND_WRITE, "autoscaling", "v1")
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
_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT_FIELDS = (
    *(f"involvedObject.{name}" for name in _REFERENCE),
    *("reason", "reportingComponent", "source", "type"),
)
_NEW_EVENT_FIELDS = (
    *(f"regarding.{name}" for name in _REFERENCE),
    *("reason", "reportingController", "type"),
)
# The keys are `type_name`, as in `strategies`.
_FIELD_SELECTORS: Mapping[str, Mapping[str, str]] = {
    "CertificateSigningRequest": {"spec.signerName": ""},
    "ClusterTrustBundle": {"spec.signerName": ""},
    "Event": dict.fromkeys(_EVENT_FIELDS, ""),
    "Job": {"status.successful": ""},
    "Namespace": {"status.phase": ""},
    "Node": {"spec.unschedulable": "false"},
    "Pod": _POD_FIELDS,
    "PodCertificateRequest": dict.fromkeys(
        ("spec.signerName", "spec.podName", "spec.nodeName"), ""
    ),
    "ReplicationController": {"status.replicas": ""},
    "ResourceSlice": dict.fromkeys(("spec.nodeName", "spec.driver", "spec.pool.name"), ""),
    "Secret": {"type": ""},
    "Service": {"spec.clusterIP": "", "spec.type": ""},
    "events.v1.Event": dict.fromkeys(_NEW_EVENT_FIELDS, ""),
}
_WITH_GENERATION = frozenset(
    (
        *("CronJob", "CustomResourceDefinition", "DaemonSet", "Deployment", "DeviceClass"),
        *("DeviceTaintRule", "EndpointSlice", "FlowSchema", "HorizontalPodAutoscaler", "Ingress"),
        *("IngressClass", "Job", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"),
        *("MutatingWebhookConfiguration", "NetworkPolicy", "Pod", "PodDisruptionBudget"),
        *("PodTemplate", "PriorityClass", "PriorityLevelConfiguration", "ReplicaSet"),
        *("ReplicationController", "ResourceSlice", "StatefulSet", "ValidatingAdmissionPolicy"),
        *("ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration"),
    )
)
# Kinds and subresources that are not served: another path does the same, or no component implements them.
_NOT_SERVED = frozenset(("Binding", "ComponentStatus"))
_NOT_SERVED_BELOW = frozenset(("pods/resize",))


@functools.cache
def built_in(release_name: str = release.NEWEST) -> tuple[Kind, ...]:
    """Return the built-in kinds of a release in the order of discovery. Raises UnknownRelease."""
    found = release.load(release_name).kinds
    names = ((name.partition("/"), rows) for name, rows in found.items())
    return tuple(
        _kind(group, version, row, release_name)
        for (group, _, version), rows in names
        for row in rows
        if row["kind"] not in _NOT_SERVED
    )


def _kind(group: str, version: str, row: Mapping[str, Any], release_name: str) -> Kind:
    type_name = row.get("type", row["kind"])
    return Kind(
        group=group,
        version=version,
        kind=row["kind"],
        plural=row["plural"],
        namespaced=row.get("namespaced", False),
        verbs=tuple(row["verbs"]),
        short_names=tuple(row.get("short", ())),
        categories=tuple(row.get("categories", ())),
        subresources=tuple(
            Subresource(name, kind, tuple(verbs), of_group, of_version)
            for name, kind, verbs, of_group, of_version in row.get("subresources", ())
            if f"{row['plural']}/{name}" not in _NOT_SERVED_BELOW
        ),
        field_selectors=_FIELD_SELECTORS.get(type_name, {}),
        has_generation=row["kind"] in _WITH_GENERATION,
        stored="get" in row["verbs"],
        storage_hash=row.get("hash", ""),
        type_name=type_name,
        release=release_name,
    )


KINDS = built_in()

_BY_PATH = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
_BY_TYPE = {(kind.api_version, kind.kind): kind for kind in KINDS}
# Of several types with one kind name, the type whose name is the kind is found: the stored version.
_BY_NAME = {kind.kind: kind for kind in sorted(KINDS, key=lambda kind: kind.type_name == kind.kind)}


def find_kind(group: str, version: str, plural: str) -> Kind | None:
    """Return the built-in kind of a path; `group` is empty for the core group."""
    return _BY_PATH.get((group, version, plural))


def kind_by_name(kind: str) -> Kind:
    """Return a built-in kind by its name, for code that needs one particular kind."""
    return _BY_NAME[kind]


def kind_by_type(api_version: str, kind: str) -> Kind | None:
    """Return the built-in kind of an object; None for another type, such as DeleteOptions."""
    return _BY_TYPE.get((api_version, kind))


def group_versions() -> list[tuple[str, str]]:
    """List groups and versions in the order of discovery, the core group first."""
    return list(dict.fromkeys((kind.group, kind.version) for kind in KINDS))

"""What a kind of object is: its names, where it is served, what may be done with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


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
    verbs: tuple[str, ...] = ALL
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

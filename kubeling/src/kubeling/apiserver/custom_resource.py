"""The interface between kinds and `customresources`, which implements it for each version of a definition."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol


class CustomResource(Protocol):
    """The operations of a custom kind that differ from those of built-in kinds."""

    @property
    def type_name(self) -> str:
        """Return the name of the kind's type in this process."""
        ...

    @property
    def singular(self) -> str:
        """Return the singular resource name."""
        ...

    @property
    def list_kind(self) -> str:
        """Return the kind of a list."""
        ...

    @property
    def warning(self) -> str:
        """Return the warning about a deprecated version; empty if it is not deprecated."""
        ...

    @property
    def is_terminating(self) -> bool:
        """Return whether the definition is being deleted."""
        ...

    @property
    def scale_paths(self) -> Mapping[str, str]:
        """Return the paths of `spec.replicas`, `status.replicas` and `status.selector` of its scale."""
        ...

    @property
    def printer_columns(self) -> Sequence[Mapping[str, Any]]:
        """Return the additionalPrinterColumns."""
        ...

    @property
    def published_schema(self) -> Mapping[str, Any]:
        """Return the schema for OpenAPI."""
        ...

    @property
    def digest(self) -> str:
        """Return a digest that changes when the definition changes."""
        ...

    def type_errors(self, obj: Mapping[str, Any]) -> list[str]:
        """Return the type errors of an object; each text begins with a path."""
        ...

    def unknown_fields(self, obj: Mapping[str, Any]) -> list[str]:
        """Return the paths of fields that the schema does not declare."""
        ...

    def prune(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Copy an object without undeclared fields."""
        ...

    def set_defaults(self, obj: dict[str, Any]) -> None:
        """Set the defaults of the schema in place."""
        ...

    def validate(
        self, obj: Mapping[str, Any], old: Mapping[str, Any] | None = None
    ) -> Iterable[Any]:
        """Return the causes for which an object is invalid; `old` is its state before an update."""
        ...

    def to_storage(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Convert an object to the stored version."""
        ...

    def from_storage(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Convert a stored object to this version."""
        ...

    def encode(self, raw: bytes) -> bytes:
        """Convert the JSON of a stored object to this version."""
        ...

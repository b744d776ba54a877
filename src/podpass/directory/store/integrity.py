"""Validates stored objects: an object that every write would reject is a corrupt row. Pure.

One more rule applies than to writes: the name of a managed identity or vault is the last segment of its
resource id. `put` accepts another name, but seeds and Resource Manager, the only callers that create them,
never pass one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from podpass import database
from podpass.directory import naming, rules
from podpass.directory.errors import DirectoryError, InvalidValue
from podpass.directory.model import Identity, IdentityKind


def validate_stored_identity(identity: Identity) -> None:
    """Reject a stored identity that neither a seed nor an API can have written; name the corrupt row.

    Raises CorruptRowError.
    """
    for credential in identity.credentials:
        with reporting_row("federated_credentials", f"{identity.client_id}/{credential.name}"):
            rules.check_credential(credential, identity.kind)
    for uri in identity.identifier_uris:
        with reporting_row("identifier_uris", f"{identity.client_id}/{naming.uri_key(uri)}"):
            naming.raise_fault(naming.uri_fault(uri))
    with reporting_row("identities", identity.client_id):
        rules.check_identity(identity)
        if identity.kind is IdentityKind.MANAGED_IDENTITY:
            check_name(identity.name, identity.resource_id or "")


def check_name(name: str, resource_id: str) -> None:
    """Reject a name that is not the last segment of the resource id. Raises InvalidValue."""
    if resource_id.rpartition("/")[2].lower() != name.lower():
        raise InvalidValue(f"name {name!r}: the resource id has another name", field="name")


@contextmanager
def reporting_row(table: str, key: str) -> Iterator[None]:
    """Raise CorruptRowError for this row instead of the errors of rules."""
    try:
        yield
    except DirectoryError as exc:
        raise database.corrupt_row(table, key, exc) from exc

"""What the directory holds and podpass never put there: damage of its row, whoever comes across it. Pure.

Beside what every write refuses, that is a name that its resource id has not: `put` takes one, but seeds and
Resource Manager, which alone make managed identities and vaults, name each by its resource id.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from podpass import database
from podpass.directory import naming, rules
from podpass.directory.errors import DirectoryError, InvalidValue
from podpass.directory.model import Identity, IdentityKind, Vault


def check_kept_identity(identity: Identity) -> None:
    """Tell which row of an identity that was read holds what neither seeds nor APIs write.

    Errors:  RowDamaged.
    """
    for credential in identity.credentials:
        with _blamed("federated_credentials", f"{identity.client_id}/{credential.name}"):
            rules.check_credential(credential)
    for uri in identity.identifier_uris:
        with _blamed("identifier_uris", f"{identity.client_id}/{naming.uri_key(uri)}"):
            naming.refuse(naming.uri_fault(uri))
    with _blamed("identities", identity.client_id):
        rules.check_identity(identity)
        if identity.kind is IdentityKind.MANAGED_IDENTITY:
            _check_place(identity.name, identity.resource_id or "")


def check_kept_vault(vault: Vault) -> None:
    """Tell the row of a vault that was read, if it holds what neither seeds nor APIs write.

    Errors:  RowDamaged.
    """
    with _blamed("vaults", vault.name):
        naming.refuse(naming.vault_name_fault(vault.name))
        _check_place(vault.name, vault.resource_id)


def _check_place(name: str, resource_id: str) -> None:
    if resource_id.rpartition("/")[2].lower() != name.lower():
        raise InvalidValue(f"name {name!r}: its resource id has another", field="name")


@contextmanager
def _blamed(table: str, key: str) -> Iterator[None]:
    try:
        yield
    except DirectoryError as exc:
        raise database.damaged(table, key, exc) from exc

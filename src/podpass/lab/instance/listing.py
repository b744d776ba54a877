"""Rows of identities and vaults for the command line."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from podpass import names
from podpass.directory.rules import MAX_CREDENTIALS

if TYPE_CHECKING:
    from podpass.database import CorruptRowError
    from podpass.directory.model import Identity, Vault


def identity_row(found: "Identity") -> dict[str, Any]:
    """Return the row of an identity in `podpass identity list -o json`."""
    return {
        "name": found.name,
        "kind": str(found.kind),
        "client_id": found.client_id,
        "principal_id": found.object_id,
        "application_id": found.application_id,
        "tenant_id": found.tenant_id,
        "resource_id": found.resource_id,
        "enabled": found.enabled,
        "federated_credential_count": len(found.credentials),
        "federated_credential_limit": MAX_CREDENTIALS,
        "federated_credentials": [
            {
                "name": credential.name,
                "issuer": credential.issuer,
                "subject": credential.subject,
                "audiences": list(credential.audiences),
                "description": credential.description,
            }
            for credential in found.credentials
        ],
    }


def vault_row(found: "Vault", secrets: int) -> dict[str, Any]:
    """Return the row of a vault, with the number of its secrets."""
    return {
        "name": found.name,
        "uri": f"https://{found.name}.{names.VAULT_SUFFIX}/",
        "location": found.location,
        "secrets": secrets,
        "tenant_id": found.tenant_id,
        "resource_id": found.resource_id,
    }


def skipped_rows(rows: "Iterable[CorruptRowError]") -> list[dict[str, str]]:
    """Return a message and a hint for each row that cannot be read."""
    return [{"message": row.message, "hint": row.hint} for row in rows]

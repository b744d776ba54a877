"""The directory of an instance as the command line lists it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from podpass import names

if TYPE_CHECKING:
    from podpass.database import RowDamaged
    from podpass.directory.model import Identity, Vault


def identity(found: "Identity") -> dict[str, Any]:
    """Show an identity under the names that `podpass identity list -o json` promises."""
    return {
        "name": found.name,
        "kind": str(found.kind),
        "client_id": found.client_id,
        "principal_id": found.object_id,
        "tenant_id": found.tenant_id,
        "resource_id": found.resource_id,
        "enabled": found.enabled,
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


def vault(found: "Vault", secrets: int) -> dict[str, Any]:
    """Show a vault, and how many secrets it holds."""
    return {
        "name": found.name,
        "uri": f"https://{found.name}.{names.VAULT_SUFFIX}/",
        "location": found.location,
        "secrets": secrets,
        "tenant_id": found.tenant_id,
        "resource_id": found.resource_id,
    }


def damaged(rows: "Iterable[RowDamaged]") -> list[dict[str, str]]:
    """Show what a list left out, and what to do about it."""
    return [{"message": row.message, "hint": row.hint} for row in rows]

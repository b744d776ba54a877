"""The JSON of certificates, their policies and their operations. Pure."""

from typing import Any

from podpass.lab.services.vault import wire
from podpass.lab.services.vault.certificates import policy as policies
from podpass.lab.services.vault.certificates.pending import COMPLETED, PendingOperation
from podpass.lab.services.vault.certificates.records import CertificateSettings
from podpass.lab.services.vault.model import CERTIFICATES, KEYS, SECRETS, ObjectVersion


def item(site: wire.VaultContext, found: ObjectVersion, *, version: bool) -> dict[str, Any]:
    """Return the JSON of a certificate in a list."""
    address = wire.object_id(site, found, CERTIFICATES, version=version)
    return {"id": address, **_common(site, found)}


def version_bundle(site: wire.VaultContext, found: ObjectVersion) -> dict[str, Any]:
    """Return the JSON of one version, without the policy."""
    shown: dict[str, Any] = {"id": wire.object_id(site, found, CERTIFICATES)}
    # A version that waits for a merge has neither a certificate nor views.
    if "x5c" in found.document:
        shown |= {
            "kid": wire.object_id(site, found, KEYS),
            "sid": wire.object_id(site, found, SECRETS),
            "cer": found.document["x5c"][0],
        }
    if "preserve_order" in found.document:
        shown["preserveCertOrder"] = found.document["preserve_order"]
    return {**shown, **_common(site, found)}


def bundle(site: wire.VaultContext, found: ObjectVersion) -> dict[str, Any]:
    """Return the JSON of a certificate with its policy."""
    shown = {**version_bundle(site, found), "policy": policy_json(site, found.name, found)}
    operation = CertificateSettings.of(found).pending
    if operation is not None and not operation.deleted:
        shown["pending"] = {"id": f"{_address(site, found.name)}/pending"}
    return shown


def policy_json(site: wire.VaultContext, name: str, found: Any) -> dict[str, Any]:
    """Return the JSON of the policy in the settings of a certificate."""
    settings = CertificateSettings.of(found)
    return {
        "id": f"{_address(site, name)}/policy",
        **policies.to_json(settings.policy),
        "attributes": {"enabled": True, "created": settings.created, "updated": settings.updated},
    }


def pending_json(site: wire.VaultContext, name: str, operation: PendingOperation) -> dict[str, Any]:
    """Return the JSON of an operation on a certificate."""
    shown: dict[str, Any] = {
        "id": f"{_address(site, name)}/pending",
        "issuer": {"name": operation.issuer},
        "csr": operation.csr,
        "cancellation_requested": operation.cancellation_requested,
        "status": operation.status,
        "request_id": operation.request_id,
    }
    if operation.preserve_order is not None:
        shown["preserveCertOrder"] = operation.preserve_order
    if operation.details is not None:
        shown["status_details"] = operation.details
    if operation.error is not None:
        shown["error"] = {"code": "IssuerNotAvailable", "message": operation.error}
    if operation.status == COMPLETED:
        shown["target"] = _address(site, name)
    return shown


def _address(site: wire.VaultContext, name: str) -> str:
    return f"{site.base}/{CERTIFICATES.plural}/{name}"


def _common(site: wire.VaultContext, found: ObjectVersion) -> dict[str, Any]:
    shown: dict[str, Any] = {"attributes": wire.attributes(site, found)}
    if "x5t" in found.document:
        shown["x5t"] = found.document["x5t"]
    if found.tags:
        shown["tags"] = dict(found.tags)
    return shown

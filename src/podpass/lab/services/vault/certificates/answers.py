"""The JSON of certificates, their policies and their operations. Pure."""

from typing import Any

from podpass.lab.services.vault import wire
from podpass.lab.services.vault.certificates import policy as policies
from podpass.lab.services.vault.certificates.records import CertificateSettings
from podpass.lab.services.vault.model import CERTIFICATES, KEYS, SECRETS, SecretVersion

IN_PROGRESS, COMPLETED = "inProgress", "completed"


def item(site: wire.VaultContext, found: SecretVersion, *, version: bool) -> dict[str, Any]:
    """Return the JSON of a certificate in a list."""
    address = wire.object_id(site, found, CERTIFICATES, version=version)
    return {"id": address, **_common(site, found)}


def version_bundle(site: wire.VaultContext, found: SecretVersion) -> dict[str, Any]:
    """Return the JSON of one version, without the policy."""
    return {
        "id": wire.object_id(site, found, CERTIFICATES),
        "kid": wire.object_id(site, found, KEYS),
        "sid": wire.object_id(site, found, SECRETS),
        "cer": found.document["x5c"][0],
        **_common(site, found),
    }


def bundle(site: wire.VaultContext, found: SecretVersion) -> dict[str, Any]:
    """Return the JSON of a certificate with its policy."""
    shown = {**version_bundle(site, found), "policy": policy_json(site, found.name, found)}
    if CertificateSettings.of(found).pending is not None:
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


def pending_json(
    site: wire.VaultContext, name: str, pending: dict[str, Any], status: str
) -> dict[str, Any]:
    """Return the JSON of an operation on a certificate."""
    shown: dict[str, Any] = {
        "id": f"{_address(site, name)}/pending",
        "issuer": {"name": pending["issuer"]},
        "csr": pending["csr"],
        "cancellation_requested": False,
        "status": status,
        "request_id": pending["request_id"],
    }
    if status == COMPLETED:
        shown["target"] = _address(site, name)
    else:
        shown["status_details"] = "The certificate is being created. Ask again later."
    return shown


def _address(site: wire.VaultContext, name: str) -> str:
    return f"{site.base}/{CERTIFICATES.plural}/{name}"


def _common(site: wire.VaultContext, found: SecretVersion) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "x5t": found.document["x5t"],
        "attributes": wire.attributes(site, found),
    }
    if found.tags:
        shown["tags"] = dict(found.tags)
    return shown

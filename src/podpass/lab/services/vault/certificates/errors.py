"""The errors of certificates, with the status and code of Azure Key Vault.

Source: https://learn.microsoft.com/azure/key-vault/certificates/create-certificate-scenarios
"""

from podpass.lab.services.vault.errors import BadParameter, VaultError


class PendingCertificateNotFound(VaultError):
    """The certificate has no operation, or none of this request ID."""

    code = "pending_certificate_not_found"
    wire_code = "PendingCertificateNotFound"
    status = 404


class CertificateIssuerNotFound(VaultError):
    """The vault has no issuer of this name."""

    code = "certificate_issuer_not_found"
    wire_code = "CertificateIssuerNotFound"
    status = 404


class ContactsNotFound(VaultError):
    """The vault has no contacts."""

    code = "contacts_not_found"
    wire_code = "ContactsNotFound"
    status = 404


class OperationInProgress(VaultError):
    """Another operation of the certificate is in progress."""

    code = "certificate_operation_in_progress"
    wire_code = "Forbidden"
    status = 409


class CertificateIssuerUnavailable(BadParameter):
    """The issuer is registered, but signs no certificate."""

    code = "certificate_issuer_unavailable"


def pending_not_found(name: str) -> PendingCertificateNotFound:
    """Return the error for a certificate without an operation, or without one of the request ID."""
    return PendingCertificateNotFound(f"Pending certificate not found: {name}", name=name)


def in_progress(name: str) -> OperationInProgress:
    """Return the error for a new version while an operation waits for a merge or a cancellation."""
    return OperationInProgress(
        f"An operation of the certificate {name} is in progress, so no other version is created or imported."
        f" Complete it with `az keyvault certificate pending merge`, or delete it with"
        " `az keyvault certificate pending delete`.",
        name=name,
    )

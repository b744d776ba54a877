"""The errors of certificates, with the status and code of Azure Key Vault.

Source: https://learn.microsoft.com/azure/key-vault/certificates/create-certificate-scenarios
"""

from podpass.lab.services.vault.errors import VaultError


class PendingCertificateNotFound(VaultError):
    """The certificate has no operation, or none of this request ID."""

    code = "pending_certificate_not_found"
    wire_code = "PendingCertificateNotFound"
    status = 404

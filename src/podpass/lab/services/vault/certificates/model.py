"""Data types of certificates: versions, pending operations and issuers. Times are seconds since 1970."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509

from podpass.crypto.secret import Secret
from podpass.lab.services.vault.certificates.policy import Policy

IN_PROGRESS, COMPLETED, CANCELLED, FAILED = "inProgress", "completed", "cancelled", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateVersion:
    """One version: its X.509 certificates in DER with the leaf first, and how its secret shows them.

    `ordinal` increases with every version. The private key is stored and read separately.
    """

    vault: str
    name: str
    version: str
    ordinal: int = 0
    chain: tuple[bytes, ...]
    content_type: str
    exportable: bool
    tags: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    not_before: int
    expires: int
    created: int
    updated: int

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Return the parsed certificates, the leaf first."""
        return tuple(map(x509.load_der_x509_certificate, self.chain))


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingOperation:
    """The last request for a version of a certificate; `csr` is base64 of DER.

    `version` is that of the certificate that it creates; `tags` and `enabled` are for this certificate.
    """

    request_id: str
    version: str
    issuer: str
    csr: str
    status: str = IN_PROGRESS
    cancellation_requested: bool = False
    error: Mapping[str, str] | None = None
    created: int
    tags: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRecord:
    """A certificate with its policy, its last operation and its latest version; both may be absent."""

    vault: str
    name: str
    policy: Policy
    policy_created: int
    policy_updated: int
    pending: PendingOperation | None = None
    latest: CertificateVersion | None = None
    notified: str = ""
    deleted: int | None = None
    purge_on: int | None = None

    @property
    def running(self) -> PendingOperation | None:
        """Return the operation if it is in progress."""
        pending = self.pending
        return pending if pending is not None and pending.status == IN_PROGRESS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A version to write, with its private key in PKCS #8."""

    version: CertificateVersion
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A registered issuer: `document` is what the caller sent, without the password.

    `ca` is the certificate with which it signs in DER, `key` its private key in PKCS #8 as base64.
    """

    name: str
    document: Mapping[str, Any]
    enabled: bool = True
    ca: bytes = b""
    key: Secret = field(default_factory=lambda: Secret(""))
    created: int = 0
    updated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateAttributes:
    """The attributes that a caller sets; a field that is not in `given` keeps its value or its default."""

    given: frozenset[str] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True

"""Certificates without cryptography for tests of the planner: ids and times."""

from podpass.admission.certificates.model import (
    CertificateAuthority,
    LeafCertificate,
    RotationPolicy,
)

POLICY = RotationPolicy(
    ca_seconds=400,
    leaf_seconds=300,
    renew_before_seconds=150,
    propagation_seconds=10,
    overlap_seconds=100,
    check_seconds=5,
)
NOW = 100_000.0
BACKDATE = 50.0


class FakeIssuer:
    """Creates CAs and leaf certificates with numbered ids."""

    def __init__(self) -> None:
        self.now = NOW
        self.created = 0

    def create_ca(self) -> CertificateAuthority:
        self.created += 1
        return CertificateAuthority(
            id=f"ca{self.created}",
            certificate=b"",
            key=b"key",
            not_before=self.now - BACKDATE,
            not_after=self.now + POLICY.ca_seconds,
        )

    def sign_leaf(self, ca: CertificateAuthority) -> LeafCertificate:
        assert ca.key, "the CA has no key"
        self.created += 1
        return LeafCertificate(
            ca_id=ca.id,
            chain=f"leaf{self.created}".encode(),
            key=b"key",
            not_before=self.now - BACKDATE,
            not_after=min(self.now + POLICY.leaf_seconds, ca.not_after),
        )

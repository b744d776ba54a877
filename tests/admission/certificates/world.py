"""Certificates without cryptography, for decisions: an id each, and times."""

from podpass.admission.certificates.model import Authority, Leaf, Plan

PLAN = Plan(
    ca_seconds=400,
    leaf_seconds=300,
    look_ahead_seconds=150,
    lag_seconds=10,
    linger_seconds=100,
    check_seconds=5,
)
NOW = 100_000.0
BACKDATE = 50.0


class Numbered:
    """Makes authorities and leaves that are told apart by a number."""

    def __init__(self) -> None:
        self.now = NOW
        self.made = 0

    def authority(self) -> Authority:
        self.made += 1
        return Authority(
            id=f"ca{self.made}",
            certificate=b"",
            key=b"key",
            not_before=self.now - BACKDATE,
            not_after=self.now + PLAN.ca_seconds,
        )

    def leaf(self, authority: Authority) -> Leaf:
        assert authority.key, "an authority signs that has no key"
        self.made += 1
        return Leaf(
            authority=authority.id,
            chain=f"leaf{self.made}".encode(),
            key=b"key",
            not_before=self.now - BACKDATE,
            not_after=min(self.now + PLAN.leaf_seconds, authority.not_after),
        )

"""Data types of the rotation: CAs, the leaf certificate, the Secret's contents, observations, and steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from podpass.errors import SettingsError

_DAY = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationPolicy:
    """Lifetimes of certificates, and the waits between the steps of a rotation.

    Units: seconds. A certificate is replaced `renew_before_seconds` before it expires: a day before
    azure-workload-identity replaces it, because that program replaces its CA without an overlap.
    `propagation_seconds`: how long API servers may take to observe a changed configuration.
    `overlap_seconds`: how long the old CA stays trusted after the new CA signs. `check_seconds`: the time
    between two reconciles when no watch event arrives. Raises SettingsError.
    """

    ca_seconds: float = 3650 * _DAY
    leaf_seconds: float = 365 * _DAY
    renew_before_seconds: float = 91 * _DAY
    propagation_seconds: float = 10
    overlap_seconds: float = 3600
    check_seconds: float = 10

    def __post_init__(self) -> None:
        problems = [
            f"{name} {getattr(self, name)}: want more than 0"
            for name in self.__slots__
            if not getattr(self, name) > 0
        ]
        if self.renew_before_seconds >= min(self.ca_seconds, self.leaf_seconds):
            problems.append("renew_before_seconds: want less than ca_seconds and leaf_seconds")
        if self.propagation_seconds > self.stale_seconds:
            problems.append("overlap_seconds: want four times propagation_seconds or more")
        if problems:
            raise SettingsError(problems)

    @property
    def stale_seconds(self) -> float:
        """Return the number of seconds without a reconcile after which a replica is not ready.

        This is a quarter of the overlap. A replica that reconciled just before a change is not ready after
        the first quarter. By the end of the second quarter, it has observed the change or is not ready again.
        Two quarters remain until API servers stop trusting the old CA.
        """
        return self.overlap_seconds / 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateAuthority:
    """A CA certificate, with its key if that is known.

    `id` is the SHA-256 of the certificate in hex; `certificate` and `key` are PEM; `key` is empty if it is
    unknown; `is_own` is true for a CA of this webhook and false for any other CA. Units: seconds since the
    epoch.
    """

    id: str
    certificate: bytes = field(repr=False)
    key: bytes = field(default=b"", repr=False)
    not_before: float
    not_after: float
    is_own: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafCertificate:
    """A serving certificate; `ca_id` is the id of the CA that signed it."""

    ca_id: str
    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCertificates:
    """The usable contents of the Secret.

    `current` is the first CA of `ca.crt` and signs; it signed `leaf`. `added` is a new CA that does not sign
    yet; `old` are CAs that signed before. `faults` are reasons why parts are unusable.
    """

    current: CertificateAuthority | None = None
    leaf: LeafCertificate | None = None
    added: CertificateAuthority | None = None
    old: tuple[CertificateAuthority, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def cas(self) -> tuple[CertificateAuthority, ...]:
        """Return every CA that API servers must trust, in the order of `ca.crt`."""
        first = tuple(each for each in (self.current, self.added) if each is not None)
        return first + self.old


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedState:
    """The state that one reconcile read: first the configurations, then the Secret.

    `bundles` has the CA ids of each webhook entry of each existing configuration; `own_cas` are the CAs of
    this webhook in these bundles; `version` changes when any configuration changes.
    """

    certificates: StoredCertificates
    bundles: Sequence[frozenset[str]] = ()
    own_cas: Sequence[CertificateAuthority] = ()
    version: tuple[str, ...] = ()

    def is_in_all_bundles(self, ca_id: str) -> bool:
        """Return whether a CA is in the `caBundle` of every webhook entry."""
        return all(ca_id in bundle for bundle in self.bundles)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationHistory:
    """The history of a replica's reconciles.

    `was_disconnected` is true after a reconcile that was so late that other replicas may have rotated, until
    the replica serves a leaf of the current CA. `served_was_trusted` is true if the CA of the served leaf was
    in every bundle at some reconcile since the timers were reset. `version` is that of the configurations at
    the last reconcile. `empty_since` is when the Secret lost its current CA, or None while it has one. By CA
    id: `trusted_since` is the time since which every reconcile found the CA in every bundle; `unused_since`
    is the time since which it has not signed; `first_seen_at` is when it was first read from the Secret.
    Units: seconds of a monotonic clock.
    """

    observed_at: float = float("-inf")
    was_disconnected: bool = False
    served_was_trusted: bool = False
    version: tuple[str, ...] | None = None
    empty_since: float | None = None
    trusted_since: Mapping[str, float] = field(default_factory=dict)
    unused_since: Mapping[str, float] = field(default_factory=dict)
    first_seen_at: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedCertificate:
    """The leaf that a replica serves, and the CA that signed it."""

    leaf: LeafCertificate
    ca: CertificateAuthority


# ------------------------------------------------------------------------------------- steps of the Secret


@dataclass(frozen=True, slots=True)
class CreateCA:
    """Replace the contents with a first CA; the CAs whose leaf a replica may still serve stay trusted."""

    old: tuple[CertificateAuthority, ...]
    why: str


@dataclass(frozen=True, slots=True)
class SignLeaf:
    """Sign a new leaf by the current CA."""

    why: str


@dataclass(frozen=True, slots=True)
class AddCA:
    """Add a new CA that does not sign yet."""


@dataclass(frozen=True, slots=True)
class PromoteCA:
    """Make the added CA the current one, and sign a leaf by it."""


@dataclass(frozen=True, slots=True)
class RemoveCA:
    """Remove old CAs."""

    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class RestoreCA:
    """Restore a served and trusted CA that another writer removed without an overlap."""

    ca: CertificateAuthority


Step = CreateCA | SignLeaf | AddCA | PromoteCA | RemoveCA | RestoreCA

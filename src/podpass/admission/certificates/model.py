"""Shapes of the rotation: authorities, the leaf, what the Secret holds, what a look saw, the next step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from podpass.errors import SettingsError

_DAY = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long certificates live, and how long each step of a rotation waits.

    Units:   seconds. `look_ahead_seconds` before its end a certificate is replaced: a day before the
             reference would, which changes its authority without an overlap. `lag_seconds` is how long an
             API server may take to hear of a changed configuration; `linger_seconds` how long the old
             authority stays trusted after the new one signs; `check_seconds` how often a replica looks
             when nothing wakes it.
    Errors:  SettingsError.
    """

    ca_seconds: float = 3650 * _DAY
    leaf_seconds: float = 365 * _DAY
    look_ahead_seconds: float = 91 * _DAY
    lag_seconds: float = 10
    linger_seconds: float = 3600
    check_seconds: float = 10

    def __post_init__(self) -> None:
        problems = [
            f"{name} {getattr(self, name)}: want more than 0"
            for name in self.__slots__
            if not getattr(self, name) > 0
        ]
        if self.look_ahead_seconds >= min(self.ca_seconds, self.leaf_seconds):
            problems.append("look_ahead_seconds: want less than ca_seconds and leaf_seconds")
        if self.lag_seconds > self.stale_seconds:
            problems.append("linger_seconds: want four times lag_seconds or more")
        if problems:
            raise SettingsError(problems)

    @property
    def stale_seconds(self) -> float:
        """For how long a replica is trusted to serve what it serves without having looked.

        A quarter: one that saw the last moment before a change is stale at the first quarter, has heard
        or is stale again at the second, and has two more until nobody trusts the old authority.
        """
        return self.linger_seconds / 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority.

    Shapes:  `id` is the SHA-256 of the certificate as hex; `certificate` and `key` are PEM, the key empty
             where it is not known; `ours` tells authorities of this webhook from a stranger's.
    Units:   seconds since the epoch.
    """

    id: str
    certificate: bytes = field(repr=False)
    key: bytes = field(default=b"", repr=False)
    not_before: float
    not_after: float
    ours: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A serving certificate; `authority` is the id of who signed it."""

    authority: str
    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the Secret holds, as far as it can be used.

    Shapes:  `current` signs and is the first of `ca.crt`; `leaf` is signed by it; `coming` has joined and
             does not sign yet; `old` have signed. `faults` say what could not be used.
    """

    current: Authority | None = None
    leaf: Leaf | None = None
    coming: Authority | None = None
    old: tuple[Authority, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def authorities(self) -> tuple[Authority, ...]:
        """Every authority that API servers have to trust, in the order of `ca.crt`."""
        first = tuple(each for each in (self.current, self.coming) if each is not None)
        return first + self.old


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one look saw: the configurations first, and then the Secret.

    Shapes:  `bundles` are the ids of the authorities in each webhook entry of each configuration that
             exists; `found` the authorities of ours among them; `version` tells one state of all the
             configurations from another.
    """

    held: Held
    bundles: Sequence[frozenset[str]] = ()
    found: Sequence[Authority] = ()
    version: tuple[str, ...] = ()

    def carries(self, authority: str) -> bool:
        """Tell whether every API server that calls us learns of this authority."""
        return all(authority in bundle for bundle in self.bundles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a replica remembers of its looks.

    Shapes:  `after_silence` tells whether a look came so late that others may have gone on without us, and
             what the Secret holds was not taken since; `in_use` whether what is served was trusted at some
             look since; `version` of the configurations at the last look; `empty` since when the Secret has
             held no authority that signs, None while it holds one. By ids of authorities: `trusted` since
             when each was in every bundle whenever looked at, `old` since when it has been out of use, `met`
             when it was first seen in the Secret.
    Units:   seconds of a clock that nobody can set.
    """

    looked: float = float("-inf")
    after_silence: bool = False
    in_use: bool = False
    version: tuple[str, ...] | None = None
    empty: float | None = None
    trusted: Mapping[str, float] = field(default_factory=dict)
    old: Mapping[str, float] = field(default_factory=dict)
    met: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a replica serves, and who signed it."""

    leaf: Leaf
    authority: Authority


# ------------------------------------------------------------------------------------- steps of the Secret


@dataclass(frozen=True, slots=True)
class Make:
    """Begin anew with a first authority; those that somebody may still serve stay trusted."""

    old: tuple[Authority, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Sign:
    """Have the current authority sign a new leaf."""

    why: str


@dataclass(frozen=True, slots=True)
class Join:
    """Let a new authority join, which does not sign yet."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Let the authority that has joined sign from now on."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Let old authorities leave."""

    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Keep:
    """Take back an authority that is trusted and served here, and that somebody threw out at once."""

    authority: Authority


Step = Make | Sign | Join | Turn | Drop | Keep

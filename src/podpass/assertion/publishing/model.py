"""The keys of an issuer, how far each of them is in its rotation, and the waits between the steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from podpass.errors import Error

# The folder of the private keys, below the key folder.
PRIVATE_KEYS = "keys"


class IssuerError(Error):
    """The keys of an issuer cannot be read, changed or published."""

    code = "issuer"


class SigningMode(StrEnum):
    """How the API server signs: with key files that it reads at its start, or through the external signer."""

    FILES = "files"
    SIGNER = "signer"


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationWaits:
    """The times that a rotation waits.

    `cache_seconds`: verifiers may use cached keys for this long; `refresh_seconds`: an API server fetches the
    keys of the external signer this often; `token_seconds`: the longest lifetime of a token.
    """

    cache_seconds: int = 24 * 3600
    refresh_seconds: int = 60
    token_seconds: int = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerKey:
    """One key. Each time is None until the step has succeeded.

    `public_pem` is the public key; `published`: the target has it; `loaded`: all API servers accept its
    tokens; `signs`: it is the active key; `confirmed`: all API servers sign with it; `replaced`: no API
    server signs with it any more; `withdrawn`: it is removed from the published keys; `is_leaked`: an
    attacker may have the private key, so the waits are skipped.
    """

    kid: str
    public_pem: str
    created: float
    published: float | None = None
    loaded: float | None = None
    signs: float | None = None
    confirmed: float | None = None
    replaced: float | None = None
    withdrawn: float | None = None
    is_leaked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """The time at the last step, and the time since the machine started, which no clock change affects."""

    seconds: float
    boot_id: str = ""
    boot_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerState:
    """All keys of an issuer in the order of creation.

    `published` are the key IDs that the target has acknowledged; `former` are the key IDs of the last
    withdrawn keys.
    """

    keys: tuple[IssuerKey, ...]
    clock: ClockReading
    published: tuple[str, ...] = ()
    former: tuple[str, ...] = ()

    @property
    def active(self) -> IssuerKey:
        """Return the key that signs."""
        return max(
            (key for key in self.keys if key.signs is not None), key=lambda key: key.signs or 0.0
        )

    @property
    def upcoming(self) -> IssuerKey | None:
        """Return the key that will sign after the active one."""
        return next((key for key in self.keys if key.signs is None and key.withdrawn is None), None)

    @property
    def to_publish(self) -> Sequence[IssuerKey]:
        """Return the keys that the documents must contain, the newest first."""
        return [key for key in reversed(self.keys) if key.withdrawn is None]

    def key(self, kid: str) -> IssuerKey:
        """Return a key. Raises IssuerError for an unknown key ID."""
        for key in self.keys:
            if key.kid == kid:
                return key
        raise IssuerError(f"no key {kid!r}", hint="`podpass issuer status` lists the keys", kid=kid)

    def with_key(self, kid: str, **changes: object) -> Self:
        """Return the state with one key changed."""
        keys = tuple(
            replace(key, **changes) if key.kid == kid else key  # type: ignore[arg-type]
            for key in self.keys
        )
        return replace(self, keys=keys)

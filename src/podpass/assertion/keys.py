"""The issuer's signing keys: the active key signs, and all keys that are not withdrawn are published.

Each key is a PEM file, `NUMBER.TIME.pem`. The numbers are in the order of creation; the key signs from TIME
on, and the first key has no time. One new file is a whole rotation: the state of each key follows from the
files and the clock.

    pending     until its time: published, so that clients fetch it before they see its first token
    active      the last key that is not pending: signs
    previous    the key before the active one: published for 24 hours after the active key began to sign
    withdrawn   every other key: not published, and deleted at the next rotation or start

After a crash at any moment, the folder therefore has either the old or the new state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from podpass import files
from podpass.clock import Clock, system
from podpass.crypto import jose
from podpass.errors import Error

OVERLAP_SECONDS = 24 * 3600
# A `signs_from` further ahead than this was written before the clock was set back.
MAX_PUBLISH_SECONDS = 600
_SUFFIX = ".pem"


class KeyRingError(Error):
    """The keys cannot be read, or a key cannot be withdrawn."""

    code = "key_ring"


class RotationInProgress(KeyRingError):
    """The key of an earlier rotation does not sign yet."""

    code = "rotation_in_progress"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key and its file.

    Units: `signs_from` is in seconds since 1970; 0 for the first key of a ring.
    """

    path: Path
    number: int
    signs_from: int
    key: jose.SigningKey

    def is_pending(self, now: float) -> bool:
        """Return whether the key is published but does not sign yet."""
        return now < self.signs_from <= now + MAX_PUBLISH_SECONDS


class KeyRing:
    """RSA keys with key IDs as in kube-apiserver, stored in a folder that only its owner can read."""

    def __init__(self, folder: Path, keys: Sequence[StoredKey], clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self._keys = list(keys)

    @classmethod
    def open(cls, folder: Path, clock: Clock = system) -> "KeyRing":
        """Read the keys of a folder; create the first key if there is none, and delete withdrawn keys.

        Raises KeyRingError, naming the file that is not a private key.
        """
        files.create_private_folder(folder)
        ring = cls(folder, _read_all(folder), clock)
        if not ring._keys:
            ring.rotate()
        ring._delete_withdrawn()
        return ring

    def reload(self) -> None:
        """Read the keys again, after another program has changed the files. Raises KeyRingError."""
        self._keys = _read_all(self._folder)

    @property
    def active(self) -> jose.SigningKey:
        """Return the key that signs."""
        return self._keys[self._active_index()].key

    @property
    def public(self) -> Sequence[jose.PublicKey]:
        """Return the keys to publish, the active key first."""
        return [
            jose.PublicKey(
                kid=each.key.kid, algs=frozenset({"RS256"}), key=each.key.key.public_key()
            )
            for each in self._published()
        ]

    @property
    def pending_until(self) -> float | None:
        """Return the time at which the key of a rotation begins to sign; None if no key is pending."""
        last = self._keys[-1]
        return float(last.signs_from) if last.is_pending(self._clock()) else None

    def sign(self, claims: dict[str, Any]) -> str:
        """Sign claims with the active key; the header is that of kube-apiserver, `alg` and `kid` only."""
        return self.active.sign(claims)

    def rotate(
        self, key: rsa.RSAPrivateKey | None = None, *, publish_seconds: int = 0
    ) -> jose.SigningKey:
        """Add a key, a generated one by default; the active key stays published, and older keys do not.

        Units: `publish_seconds` is the time for which the key is published before it signs. Raises
        RotationInProgress while the key of an earlier rotation is pending.
        """
        if self._keys and (pending := self.pending_until) is not None:
            raise RotationInProgress(
                "a rotation of the signing keys is in progress",
                hint=f"retry in {pending - self._clock():.0f} seconds",
            )
        key = key or jose.generate_rsa()
        number = self._keys[-1].number + 1 if self._keys else 1
        signs_from = int(self._clock()) + publish_seconds if self._keys else 0
        name = f"{number:06d}.{signs_from}" if signs_from else f"{number:06d}"
        path = self._folder / (name + _SUFFIX)
        files.write_private(path, jose.private_key_pem(key))
        added = jose.SigningKey(kid=jose.public_key_id(key.public_key()), key=key)
        self._keys.append(StoredKey(path, number, signs_from, added))
        self._delete_withdrawn()
        return added

    def retire(self, kid: str) -> None:
        """Withdraw a key: clients refuse its tokens when their cached copies of the keys have expired.

        Raises KeyRingError for the active key and for an unknown key.
        """
        if kid == self.active.kid:
            raise KeyRingError("the active key cannot be withdrawn", hint="rotate first", kid=kid)
        for each in self._keys:
            if each.key.kid == kid:
                self._delete(each)
                return
        raise KeyRingError("no such key", kid=kid)

    def _active_index(self) -> int:
        now = self._clock()
        signing = [at for at, each in enumerate(self._keys) if not each.is_pending(now)]
        return signing[-1] if signing else 0

    def _published(self) -> list[StoredKey]:
        at = self._active_index()
        active = self._keys[at]
        previous = self._keys[at - 1 : at] if at else []
        if active.signs_from and self._clock() >= active.signs_from + OVERLAP_SECONDS:
            previous = []
        return [active, *self._keys[at + 1 :], *previous]

    def _delete_withdrawn(self) -> None:
        published = self._published()
        for each in [each for each in self._keys if each not in published]:
            self._delete(each)

    def _delete(self, each: StoredKey) -> None:
        files.remove(each.path)
        self._keys.remove(each)


def _read_all(folder: Path) -> list[StoredKey]:
    found = [_read(path) for path in folder.glob("*" + _SUFFIX)]
    return sorted(found, key=lambda each: each.number)


def _read(path: Path) -> StoredKey:
    number, _, signs_from = path.stem.partition(".")
    try:
        key = jose.load_private_pem(path.read_bytes())
        stored = StoredKey(
            path,
            int(number),
            int(signs_from or 0),
            jose.SigningKey(kid=jose.public_key_id(key.public_key()), key=key),
        )
    except (ValueError, jose.BadKey) as exc:
        raise KeyRingError(
            f"{path} is not a numbered RSA private key",
            hint="move the file out of the folder; the issuer signs with the last of its keys",
            path=str(path),
        ) from exc
    if stored.number < 1 or stored.signs_from < 0:
        raise KeyRingError(f"{path}: keys are numbered from 1", path=str(path))
    return stored

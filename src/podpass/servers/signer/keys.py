"""The keys of the signer: a protocol that a KMS or PKCS#11 can implement, and the keys of a folder."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from podpass.assertion.publishing import config, public_key
from podpass.assertion.publishing.key_folder import KeyFolder
from podpass.assertion.publishing.model import IssuerState, RotationWaits
from podpass.clock import Clock
from podpass.crypto import jose
from podpass.errors import Error

_log = logging.getLogger(__name__)

_MIN_RETRY_SECONDS, _MAX_RETRY_SECONDS = 1.0, 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedKey:
    """A public key that the API server accepts; `der` is the SubjectPublicKeyInfo."""

    kid: str
    der: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerKeys:
    """A snapshot of the keys; `time` is when they were read."""

    active: jose.SigningKey
    accepted: Sequence[AcceptedKey]
    waits: RotationWaits
    time: float


class SignerKeySource(Protocol):
    """Where the signer gets its keys: a folder, or another store that holds private keys."""

    def current(self) -> SignerKeys:
        """Return the keys; the key that signs is among the accepted ones.

        Raises Error if there are no keys yet.
        """
        ...


class FolderKeySource:
    """The keys of an issuer's folder; a change of the folder is used by the next request.

    If the folder cannot be read, the last keys stay in use, and it is read again with backoff.
    """

    def __init__(self, folder: KeyFolder, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._keys: SignerKeys | None = None
        self._version: tuple[object, ...] = ()
        self._retry_at = 0.0
        self._retry_seconds = _MIN_RETRY_SECONDS
        self._error: Error | None = None
        self.failures = 0

    @property
    def error(self) -> Error | None:
        """Return why the folder cannot be read, or None."""
        return self._error

    def current(self) -> SignerKeys:
        """Return the keys; read the folder if it has changed. Raises Error if it has never been read."""
        version = self._read_version()
        now = self._clock()
        # A clock that was set back must not delay the next attempt.
        is_waiting = self._retry_at - _MAX_RETRY_SECONDS <= now < self._retry_at
        if version != self._version and not is_waiting:
            try:
                self._keys = self._read()
                self._version, self._error = version, None
                self._retry_seconds, self._retry_at = _MIN_RETRY_SECONDS, 0.0
            except Error as exc:
                self.failures += 1
                self._error = exc
                self._retry_at = now + self._retry_seconds
                self._retry_seconds = min(self._retry_seconds * 2, _MAX_RETRY_SECONDS)
                _log.warning("signer_keys_read_failed", extra={"error": exc.message})
        if self._keys is None:
            assert self._error is not None
            raise self._error
        return self._keys

    def _read_version(self) -> tuple[object, ...]:
        """Return values that differ after each change of the state or the settings."""
        found: list[object] = []
        for path in (self._folder.state_path, self._folder.root / config.FILE):
            try:
                stat = os.stat(path)  # noqa: PTH116 one system call for each request
                found += [stat.st_ino, stat.st_mtime_ns, stat.st_size]
            except OSError as exc:
                found.append(exc.errno)
        return tuple(found)

    def _read(self) -> SignerKeys:
        settings, state = config.read(self._folder.root), self._folder.read_state()
        active = self._folder.read_private(state.active.kid)
        keys = SignerKeys(
            active=active, accepted=_accepted(state), waits=settings.waits, time=self._clock()
        )
        if self._keys is None or self._keys.active.kid != active.kid:
            _log.info("signing_key_loaded", extra={"kid": active.kid})
        return keys


def _accepted(state: IssuerState) -> list[AcceptedKey]:
    """Return the keys that the target has, and the active key in any case."""
    return [
        AcceptedKey(kid=key.kid, der=public_key.der(public_key.load(key.public_pem)))
        for key in reversed(state.keys)
        if key is state.active or key.kid in state.published
    ]

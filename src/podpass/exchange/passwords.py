"""Passwords of users: how they are kept, how they are compared, how often one may guess.

A guess costs what scrypt costs, in a thread of its own; a user's name takes so many wrong ones in a row
and is then left alone for a while, right password or not, as Entra's lock-out does.
"""

import asyncio
import hashlib
import hmac
import os

from podpass import jose
from podpass.clock import Clock

MAX_GUESSES = 10
LOCKED_SECONDS = 60
MAX_CHARS = 256
_SCHEME = "scrypt"
_N, _R, _P = 2**14, 8, 1
_MAX_MEMORY = 64 * 1024 * 1024


def hash_password(password: str) -> str:
    """Write a password as it is kept: scheme, cost, salt and digest.

    Shapes:  `scrypt$n$r$p$salt$digest`, the last two base64url.
    """
    salt = os.urandom(16)
    digest = _digest(password, salt, _N, _R, _P)
    return "$".join(
        [_SCHEME, str(_N), str(_R), str(_P), jose.b64encode(salt), jose.b64encode(digest)]
    )


def check_password(password: str, kept: str) -> bool:
    """Compare a password with what is kept; nothing fits one that is empty or unreadable."""
    try:
        scheme, n, r, p, salt, digest = kept.split("$")
        if scheme != _SCHEME or not password or len(password) > MAX_CHARS:
            return False
        made = _digest(password, jose.b64decode(salt), int(n), int(r), int(p))
        return hmac.compare_digest(made, jose.b64decode(digest))
    except (ValueError, jose.MalformedToken):
        return False


def fingerprint(kept: str) -> str:
    """Name a kept password, so that what was given out under an older one is told apart."""
    return jose.b64encode(hashlib.sha256(kept.encode()).digest()[:12])


def _digest(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY, dklen=32)


class Guesses:
    """Count wrong passwords by user; only users that exist are counted, so the table stays small."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: dict[str, tuple[int, float]] = {}
        self._hashing = asyncio.Semaphore(2)

    def locked(self, user_id: str) -> bool:
        """Tell whether a user is left alone now."""
        wrong, since = self._wrong.get(user_id, (0, 0.0))
        return wrong >= MAX_GUESSES and self._age(since) < LOCKED_SECONDS

    async def check(self, user_id: str, password: str, kept: str) -> bool:
        """Compare a password, counting it as wrong until it has proved right."""
        wrong, since = self._wrong.get(user_id, (0, 0.0))
        if wrong >= MAX_GUESSES and self._age(since) >= LOCKED_SECONDS:
            wrong = 0
        # Counted before it is compared: a hundred guesses sent at once are a hundred guesses.
        self._wrong[user_id] = (wrong + 1, self._clock())
        async with self._hashing:
            fits = await asyncio.to_thread(check_password, password, kept)
        if fits:
            self._wrong.pop(user_id, None)
        return fits

    def _age(self, since: float) -> float:
        age = self._clock() - since
        # A clock set back must not lock a user for longer.
        return age if age >= 0 else LOCKED_SECONDS

"""Passwords of users: how they are kept, and how they are compared. A guess costs what scrypt costs."""

import hashlib
import hmac
import os

from podpass.crypto import jose

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

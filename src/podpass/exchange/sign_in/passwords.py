"""Hash and compare passwords of users with scrypt."""

import hashlib
import hmac
import os

from podpass.crypto import jose

MAX_CHARS = 256
_SCHEME = "scrypt"
_N, _R, _P = 2**14, 8, 1
_MAX_MEMORY = 64 * 1024 * 1024


def hash_password(password: str) -> str:
    """Return the hash of a password with scheme, cost and salt.

    `scrypt$n$r$p$salt$digest`, the last two base64url.
    """
    salt = os.urandom(16)
    digest = _digest(password, salt, _N, _R, _P)
    return "$".join(
        [_SCHEME, str(_N), str(_R), str(_P), jose.b64encode(salt), jose.b64encode(digest)]
    )


def check_password(password: str, stored: str) -> bool:
    """Return whether a password matches a stored hash; False for an empty password or an invalid hash."""
    try:
        scheme, n, r, p, salt, digest = stored.split("$")
        if scheme != _SCHEME or not password or len(password) > MAX_CHARS:
            return False
        computed = _digest(password, jose.b64decode(salt), int(n), int(r), int(p))
        return hmac.compare_digest(computed, jose.b64decode(digest))
    except (ValueError, jose.MalformedToken):
        return False


def fingerprint(stored: str) -> str:
    """Return a short hash of a stored password; tokens contain it, so that a change invalidates them."""
    return jose.b64encode(hashlib.sha256(stored.encode()).digest()[:12])


def _digest(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY, dklen=32)

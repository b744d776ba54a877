"""Checks a client secret. Pure.

Only the SHA-256 of a secret is stored. The service generates each secret, long and random, so it cannot be
guessed from the hash.
"""

import hashlib
import hmac

from podpass.directory.model import Identity
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError


def check_secret(secret: str, identity: Identity, now: float) -> str:
    """Return the key ID of the application's secret that equals this text.

    Raises AadstsError 7000215, 7000222.
    """
    digest = hashlib.sha256(secret.encode()).digest()
    found = None
    # Compare all secrets, each in constant time: the duration reveals nothing about any of them.
    for each in identity.passwords:
        if hmac.compare_digest(each.digest, digest):
            found = each
    if found is None:
        raise AadstsError(numbers.WRONG_SECRET, client=identity.client_id)
    if not found.begins <= now < found.expires:
        raise AadstsError(numbers.SECRET_NOT_CURRENT, client=identity.client_id)
    return found.key_id

"""A client secret in, proved or refused. Pure.

Of a secret only the SHA-256 is kept: it is made by us, long and random, so nobody can guess its text.
"""

import hashlib
import hmac

from podpass.directory.model import Identity
from podpass.exchange.errors.catalogue import Refused


def check_secret(secret: str, identity: Identity, now: float) -> str:
    """Find the secret of an application that this text is; give its key id.

    Errors:  Refused 7000215, 7000222.
    """
    digest = hashlib.sha256(secret.encode()).digest()
    found = None
    # Every one is compared, each in constant time: how long it takes tells nothing of any of them.
    for each in identity.passwords:
        if hmac.compare_digest(each.digest, digest):
            found = each
    if found is None:
        raise Refused(7000215, client=identity.client_id)
    if not found.begins <= now < found.expires:
        raise Refused(7000222, client=identity.client_id)
    return found.key_id

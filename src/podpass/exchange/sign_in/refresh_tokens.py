"""Refresh tokens: sealed, for one user and one client or its family, void when the password changes.

Nothing is kept of them. Like Entra's they stay good for other resources of the user's, and an older one
is not withdrawn when a newer one is given out.
"""

from dataclasses import dataclass

from podpass.clock import Clock
from podpass.directory.model import User
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.sign_in import passwords
from podpass.exchange.sign_in.well_known_clients import family_of
from podpass.exchange.signing.token_sealer import BrokenSeal, Seal

DAYS = 90
_PURPOSE = "refresh-token"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """What a refresh token says.

    Units:   seconds since the epoch; `authenticated` is when the user gave the password.
    Shapes:  `password` is the fingerprint of the password kept then; `proved` tells that the client was
             asked for a credential of its own, and will be again.
    """

    tenant_id: str
    user_id: str
    client_id: str
    password: str
    issued: int
    authenticated: int
    proved: bool = False


def mint(
    seal: Seal,
    user: User,
    client_id: str,
    *,
    clock: Clock,
    authenticated: int | None = None,
    proved: bool = False,
) -> str:
    """Make a refresh token for a user who has signed in at a client.

    Shapes:  whoever calls has checked the password; the instance itself does for its admin.
    """
    now = int(clock())
    return seal.close(
        _PURPOSE,
        {
            "t": user.tenant_id,
            "u": user.id,
            "c": client_id,
            "p": passwords.fingerprint(user.password),
            "i": now,
            "a": now if authenticated is None else authenticated,
            "w": proved,
        },
    )


def read(seal: Seal, text: str, *, now: float) -> RefreshToken:
    """Read a refresh token that is not too old.

    Errors:  Refused 70000, 700082.
    """
    try:
        said = seal.read(_PURPOSE, text)
    except BrokenSeal as exc:
        raise Refused(70000, reason="it is none of this service's, or was changed") from exc
    token = RefreshToken(
        tenant_id=said["t"],
        user_id=said["u"],
        client_id=said["c"],
        password=said["p"],
        issued=said["i"],
        authenticated=said["a"],
        proved=said["w"],
    )
    if now >= token.issued + DAYS * 24 * 3600:
        raise Refused(700082, days=DAYS)
    return token


def check_client(token: RefreshToken, client_id: str) -> None:
    """Check that a token belongs to a client, or to its family.

    Errors:  Refused 70000.
    """
    family = family_of(token.client_id)
    if token.client_id != client_id and (not family or family_of(client_id) != family):
        raise Refused(70000, reason="it was issued to another client")


def check_user(token: RefreshToken, user: User) -> None:
    """Check that the user's password is still the one the token was given out under.

    Errors:  Refused 50173.
    """
    if token.password != passwords.fingerprint(user.password):
        raise Refused(50173)


def works(seal: Seal, text: str, user: User, *, clock: Clock) -> bool:
    """Tell whether a refresh token still signs this user in."""
    try:
        token = read(seal, text, now=clock())
        check_user(token, user)
    except Refused:
        return False
    return token.user_id == user.id

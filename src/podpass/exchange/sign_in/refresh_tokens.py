"""Refresh tokens: sealed, for one user and one client or its family, invalid after a password change.

They are not stored. Like Entra's, a refresh token is valid for all resources of the user, and remains valid
when a newer one is issued.
"""

from dataclasses import dataclass

from podpass.clock import Clock
from podpass.directory.model import User
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.sign_in import passwords
from podpass.exchange.sign_in.well_known_clients import family_of
from podpass.exchange.signing.token_sealer import BrokenSeal, TokenSealer

LIFETIME_DAYS = 90
_PURPOSE = "refresh-token"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """The data of a refresh token.

    Units: seconds since the epoch; `authenticated` is when the user entered the password. `password` is the
    fingerprint of the stored password at that time; `confidential` is whether the client authenticated; it
    must then authenticate again.
    """

    tenant_id: str
    user_id: str
    client_id: str
    password: str
    issued: int
    authenticated: int
    confidential: bool = False


def issue(
    seal: TokenSealer,
    user: User,
    client_id: str,
    *,
    clock: Clock,
    authenticated: int | None = None,
    confidential: bool = False,
) -> str:
    """Return a refresh token for a user who has signed in to a client.

    The caller must have authenticated the user.
    """
    now = int(clock())
    return seal.seal(
        _PURPOSE,
        {
            "t": user.tenant_id,
            "u": user.id,
            "c": client_id,
            "p": passwords.fingerprint(user.password),
            "i": now,
            "a": now if authenticated is None else authenticated,
            "w": confidential,
        },
    )


def parse(seal: TokenSealer, text: str, *, now: float) -> RefreshToken:
    """Unseal a refresh token that has not expired. Raises AadstsError 70000, 700082."""
    try:
        values = seal.open(_PURPOSE, text)
    except BrokenSeal as exc:
        raise AadstsError(
            numbers.INVALID_GRANT, reason="the token is not from this service or was changed"
        ) from exc
    token = RefreshToken(
        tenant_id=values["t"],
        user_id=values["u"],
        client_id=values["c"],
        password=values["p"],
        issued=values["i"],
        authenticated=values["a"],
        confidential=values["w"],
    )
    if now >= token.issued + LIFETIME_DAYS * 24 * 3600:
        raise AadstsError(numbers.REFRESH_TOKEN_EXPIRED, days=LIFETIME_DAYS)
    return token


def check_client(token: RefreshToken, client_id: str) -> None:
    """Check that a token was issued to a client, or to a client of its family. Raises AadstsError 70000."""
    family = family_of(token.client_id)
    if token.client_id != client_id and (not family or family_of(client_id) != family):
        raise AadstsError(numbers.INVALID_GRANT, reason="it was issued to another client")


def check_user(token: RefreshToken, user: User) -> None:
    """Check that the user's password has not changed since the token was issued. Raises AadstsError 50173."""
    if token.password != passwords.fingerprint(user.password):
        raise AadstsError(numbers.GRANT_REVOKED)


def is_valid(seal: TokenSealer, text: str, user: User, *, clock: Clock) -> bool:
    """Return whether a refresh token is valid for this user."""
    try:
        token = parse(seal, text, now=clock())
        check_user(token, user)
    except AadstsError:
        return False
    return token.user_id == user.id

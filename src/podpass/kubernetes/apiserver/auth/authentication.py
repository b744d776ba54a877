"""Who asks: client certificate, static token, ServiceAccount token, or nobody.

A credential that is shown and does not hold is refused; only a request without any is anonymous.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from podpass.clock import Clock
from podpass.crypto import jose
from podpass.crypto.secret import Secret
from podpass.errors import Error
from podpass.http.server import Scope
from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.request import User
from podpass.kubernetes.apiserver.status import unauthorized
from podpass.kubernetes.apiserver.storage.storage import Object, Store
from podpass.kubernetes.service_account.names import group_names, subject
from podpass.kubernetes.service_account.signer import TokenSigner

_log = logging.getLogger(__name__)

AUTHENTICATED = "system:authenticated"
ANONYMOUS = User(name="system:anonymous", groups=("system:unauthenticated",))
# How long tokens of a pod hold after the end of its grace period.
_POD_LEEWAY_SECONDS = 60
_EXTRA = "authentication.kubernetes.io/"
_BOUND = {"pod": "Pod", "secret": "Secret"}


class TokenRefused(Error):
    """A bearer token does not hold; the message is what a TokenReview shows."""

    code = "cluster_token_refused"
    status = 401


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What tokens are checked against.

    Shapes:  `tokens` are static bearer tokens and their users; `audiences` those of the API itself.
    """

    issuer: str
    signer: TokenSigner
    audiences: tuple[str, ...]
    tokens: Mapping[str, User] = field(repr=False)
    clock: Clock


class Authenticator:
    """Finds the user of a request."""

    def __init__(self, trust: Trust, store: Store) -> None:
        self._trust = trust
        self._store = store
        self._static = [(Secret(token), user) for token, user in trust.tokens.items()]

    def user(self, scope: Scope, headers: Mapping[str, str]) -> User:
        """Name the user of a request.

        Errors:  StatusError 401.
        """
        certificate = scope.get("extensions", {}).get("tls", {}).get("client_cert")
        if certificate and (user := _of_certificate(certificate)):
            return user
        authorization = headers.get("authorization", "")
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return ANONYMOUS
        try:
            return self.review(token.strip(), self._trust.audiences)[0]
        except TokenRefused as exc:
            _log.info("bearer_token_refused", extra={"reason": exc.message})
            raise unauthorized() from exc

    def review(self, token: str, audiences: Sequence[str] = ()) -> tuple[User, list[str]]:
        """Name the user of a token, and those of the wanted audiences that it is for.

        Errors:  TokenRefused.
        """
        for secret, user in self._static:
            # Every static token is compared, in constant time.
            if secret.matches(token):
                return _with_group(user), list(audiences or self._trust.audiences)
        return self._of_account(token, audiences or self._trust.audiences)

    def _of_account(self, text: str, wanted: Sequence[str]) -> tuple[User, list[str]]:
        try:
            token = jose.parse(text)
        except jose.MalformedToken as exc:
            raise TokenRefused("invalid bearer token") from exc
        if token.claims.get("iss") != self._trust.issuer:
            raise TokenRefused("invalid bearer token")
        self._signed(token)
        claims = token.claims
        _live(claims, self._trust.clock())
        audiences = claims.get("aud")
        audiences = [audiences] if isinstance(audiences, str) else list(audiences or ())
        fit = [each for each in audiences if each in wanted]
        if not fit:
            raise _refused(
                f"token audiences {_quoted(audiences)} is invalid for the target audiences "
                f"{_quoted(wanted)}"
            )
        return self._bound(claims), fit

    def _signed(self, token: jose.UnverifiedToken) -> None:
        for key in self._trust.signer.public:
            if token.kid == key.kid:
                try:
                    jose.verify(token, key)
                except jose.BadSignature as exc:
                    raise TokenRefused("invalid bearer token") from exc
                return
        raise TokenRefused("invalid bearer token")

    def _bound(self, claims: Mapping[str, Any]) -> User:
        """Check that account and bound objects still are the ones the token was made for."""
        told = claims.get("kubernetes.io")
        if not isinstance(told, Mapping):
            raise _refused("the token has no kubernetes.io claim")
        namespace, account = told["namespace"], told["serviceaccount"]
        found = self._store.get(named("ServiceAccount"), namespace, account["name"])
        if found is None or found["metadata"]["uid"] != account["uid"]:
            raise _refused("service account token has been invalidated")
        extra = {f"{_EXTRA}credential-id": [f"JTI={claims['jti']}"]} if "jti" in claims else {}
        for claim, kind in _BOUND.items():
            if claim in told:
                self._still(kind, namespace, told[claim])
        for claim in ("pod", "node"):
            if claim in told:
                extra[f"{_EXTRA}{claim}-name"] = [told[claim]["name"]]
                extra[f"{_EXTRA}{claim}-uid"] = [told[claim].get("uid", "")]
        name = subject(namespace, account["name"])
        groups = (*group_names(namespace), AUTHENTICATED)
        return User(name=name, uid=account["uid"], groups=groups, extra=extra)

    def _still(self, kind: str, namespace: str, told: Mapping[str, str]) -> None:
        found = self._store.get(named(kind), namespace, told["name"])
        if found is None or found["metadata"]["uid"] != told["uid"]:
            raise _refused(f"the {kind} this token is bound to is gone")
        if _overdue(found, self._trust.clock()):
            raise _refused(f"the {kind} this token is bound to has been deleted")


def _quoted(values: Sequence[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def _refused(why: str) -> TokenRefused:
    return TokenRefused(f"[invalid bearer token, {why}]")


def _live(claims: Mapping[str, Any], now: float) -> None:
    if not isinstance(claims.get("exp"), int | float) or now >= claims["exp"]:
        raise _refused("service account token has expired")
    if now < claims.get("nbf", 0):
        raise _refused("service account token is not valid yet")


def _overdue(obj: Object, now: float) -> bool:
    deleted = obj["metadata"].get("deletionTimestamp")
    if deleted is None:
        return False
    return now > datetime.fromisoformat(deleted).timestamp() + _POD_LEEWAY_SECONDS


def _with_group(user: User) -> User:
    if AUTHENTICATED in user.groups:
        return user
    groups = (*user.groups, AUTHENTICATED)
    return User(name=user.name, uid=user.uid, groups=groups, extra=user.extra)


def _of_certificate(der: bytes) -> User | None:
    """Read a client certificate that TLS has verified: CN is the user, each O a group."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    owner = x509.load_der_x509_certificate(der).subject
    names = owner.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names:
        return None
    organizations = owner.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    groups = [str(each.value) for each in organizations]
    return _with_group(User(name=str(names[0].value), groups=tuple(groups)))

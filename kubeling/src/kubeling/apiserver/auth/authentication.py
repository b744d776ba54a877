"""The authenticator: client certificates, static tokens, ServiceAccount tokens and anonymous requests.

The embedder can add an authenticator for tokens of other issuers. An invalid credential is refused; only a
request without a credential is anonymous.
"""

import base64
import binascii
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol

from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.request import UserInfo
from kubeling.apiserver.status import unauthorized
from kubeling.apiserver.storage.storage import Object, ObjectStore
from kubeling.asgi import Scope
from kubeling.clock import Clock, system
from kubeling.errors import Error
from kubeling.secret import Secret
from kubeling.service_account.names import account_groups, subject
from kubeling.service_account.signer import InvalidSignature, TokenSigner, unverified_issuer

_log = logging.getLogger(__name__)

# A browser cannot set headers of a WebSocket, so it sends its bearer token as a subprotocol.
# Source: k8s.io/apiserver v0.34 pkg/authentication/request/websocket.
_PREFIX = "base64url.bearer.authorization.k8s.io."


def without_tokens(offers: Iterable[str]) -> list[str]:
    """Return the subprotocols that are not tokens."""
    return [offer for offer in offers if not offer.startswith(_PREFIX)]


def offered_token(scope: Scope) -> str:
    """Return the token in the subprotocols that a client offers; empty if there is none.

    Raises StatusError 401 for a malformed token, for a second token, and for a token without another
    subprotocol: the response must name a subprotocol, but not the token.
    """
    offers = scope.get("subprotocols") or []
    tokens = [offer.removeprefix(_PREFIX) for offer in offers if offer.startswith(_PREFIX)]
    if not tokens:
        return ""
    if len(tokens) > 1 or len(offers) == 1:
        raise unauthorized()
    try:
        encoded = tokens[0].encode("ascii")
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4), b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as exc:
        raise unauthorized() from exc


AUTHENTICATED = "system:authenticated"
ANONYMOUS = UserInfo(name="system:anonymous", groups=("system:unauthenticated",))
# The time that a pod's tokens stay valid after the end of its grace period.
_POD_LEEWAY_SECONDS = 60
_EXTRA = "authentication.kubernetes.io/"
_SYSTEM = "system:"
_BOUND = {"pod": "Pod", "secret": "Secret"}


class InvalidBearerToken(Error):
    """A bearer token is not valid; a TokenReview shows the message."""

    code = "invalid_bearer_token"
    status = 401


class TokenAuthenticator(Protocol):
    """Authenticates the bearer tokens of another issuer, as a webhook does for kube-apiserver."""

    async def authenticate(self, token: str) -> UserInfo:
        """Return the user of a token that is for this API server. Raises InvalidBearerToken."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """The issuer, signing keys, audiences and static tokens of the API server.

    `signer` signs ServiceAccount tokens for `issuer`; `tokens` maps static bearer tokens to their users;
    `audiences` are the API server's own; `other_tokens` authenticates the tokens of all other issuers.
    """

    issuer: str
    signer: TokenSigner
    audiences: tuple[str, ...] = ("https://kubernetes.default.svc",)
    tokens: Mapping[str, UserInfo] = field(default_factory=dict, repr=False)
    clock: Clock = system
    other_tokens: TokenAuthenticator | None = None


class Authenticator:
    """Authenticates requests and bearer tokens."""

    def __init__(self, auth_config: AuthConfig, store: ObjectStore) -> None:
        self._auth_config = auth_config
        self._store = store
        self._client_cas: bytes | None = None
        self._static = [(Secret(token), user) for token, user in auth_config.tokens.items()]

    def accept_client_cas(self, cas: bytes) -> None:
        """Accept client certificates of these CAs (PEM) only; TLS does not verify open connections again."""
        self._client_cas = cas

    async def authenticate(self, scope: Scope, headers: Mapping[str, str]) -> UserInfo:
        """Return the user of a request. Raises StatusError 401."""
        certificate = scope.get("extensions", {}).get("tls", {}).get("client_cert")
        if certificate and (user := _certificate_user(certificate)):
            if self._client_cas is not None and not _is_issued_by(certificate, self._client_cas):
                _log.info("client_certificate_rejected", extra={"reason": "it is of another CA"})
                raise unauthorized()
            return user
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            token = offered_token(scope)
        if not token:
            return ANONYMOUS
        try:
            return (await self.authenticate_token(token.strip()))[0]
        except InvalidBearerToken as exc:
            _log.info("bearer_token_rejected", extra={"reason": exc.message})
            raise unauthorized() from exc

    async def authenticate_token(
        self, token: str, audiences: Sequence[str] = ()
    ) -> tuple[UserInfo, list[str]]:
        """Return the user of a token, and the requested audiences that the token has.

        Raises InvalidBearerToken.
        """
        for secret, user in self._static:
            # Compare in constant time.
            if secret.matches(token):
                return _add_authenticated_group(user), list(
                    audiences or self._auth_config.audiences
                )
        issuer = unverified_issuer(token)
        if issuer is None:
            raise InvalidBearerToken("invalid bearer token")
        requested = audiences or self._auth_config.audiences
        if issuer == self._auth_config.issuer:
            return self._authenticate_account(token, requested)
        # A token of another issuer is valid only for the API server's own audiences.
        other = self._auth_config.other_tokens
        matching = [each for each in requested if each in self._auth_config.audiences]
        if other is None or not matching:
            raise InvalidBearerToken("invalid bearer token")
        user = await other.authenticate(token)
        # Other issuers must not name a user or a group of the cluster itself, such as system:masters.
        if any(each.startswith(_SYSTEM) for each in (user.name, *user.groups)):
            raise _invalid_token(f"another issuer names a user or group that begins with {_SYSTEM}")
        return _add_authenticated_group(user), matching

    def _authenticate_account(
        self, token: str, requested: Sequence[str]
    ) -> tuple[UserInfo, list[str]]:
        try:
            claims = self._auth_config.signer.verify(token)
        except InvalidSignature as exc:
            raise InvalidBearerToken("invalid bearer token") from exc
        now = self._auth_config.clock()
        if not isinstance(claims.get("exp"), int | float) or now >= claims["exp"]:
            raise _invalid_token("service account token has expired")
        if now < claims.get("nbf", 0):
            raise _invalid_token("service account token is not valid yet")
        audiences = claims.get("aud")
        audiences = [audiences] if isinstance(audiences, str) else list(audiences or ())
        accepted = set(requested)
        matching = [each for each in audiences if each in accepted]
        if not matching:
            raise _invalid_token(
                f"token audiences {_quote_list(audiences)} is invalid for the target audiences "
                f"{_quote_list(requested)}"
            )
        return self._account_user(claims), matching

    def _account_user(self, claims: Mapping[str, Any]) -> UserInfo:
        """Return the user of an account token; check that the account and the bound objects still exist."""
        private = claims.get("kubernetes.io")
        if not isinstance(private, Mapping):
            raise _invalid_token("the token has no kubernetes.io claim")
        namespace, account = private["namespace"], private["serviceaccount"]
        found = self._store.get(kind_by_name("ServiceAccount"), namespace, account["name"])
        if found is None or found["metadata"]["uid"] != account["uid"]:
            raise _invalid_token("service account token has been invalidated")
        extra = {f"{_EXTRA}credential-id": [f"JTI={claims['jti']}"]} if "jti" in claims else {}
        for claim, kind in _BOUND.items():
            if claim in private:
                self._check_bound_object(kind, namespace, private[claim])
        for claim in ("pod", "node"):
            if claim in private:
                extra[f"{_EXTRA}{claim}-name"] = [private[claim]["name"]]
                extra[f"{_EXTRA}{claim}-uid"] = [private[claim].get("uid", "")]
        name = subject(namespace, account["name"])
        groups = (*account_groups(namespace), AUTHENTICATED)
        return UserInfo(name=name, uid=account["uid"], groups=groups, extra=extra)

    def _check_bound_object(self, kind: str, namespace: str, ref: Mapping[str, str]) -> None:
        found = self._store.get(kind_by_name(kind), namespace, ref["name"])
        if found is None or found["metadata"]["uid"] != ref["uid"]:
            raise _invalid_token(f"the {kind} this token is bound to no longer exists")
        if _is_past_deletion(found, self._auth_config.clock()):
            raise _invalid_token(f"the {kind} this token is bound to has been deleted")


def _quote_list(values: Sequence[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def _invalid_token(reason: str) -> InvalidBearerToken:
    return InvalidBearerToken(f"[invalid bearer token, {reason}]")


def _is_past_deletion(obj: Object, now: float) -> bool:
    deleted = obj["metadata"].get("deletionTimestamp")
    if deleted is None:
        return False
    return now > datetime.fromisoformat(deleted).timestamp() + _POD_LEEWAY_SECONDS


def _add_authenticated_group(user: UserInfo) -> UserInfo:
    if AUTHENTICATED in user.groups:
        return user
    groups = (*user.groups, AUTHENTICATED)
    return UserInfo(name=user.name, uid=user.uid, groups=groups, extra=user.extra)


@lru_cache(maxsize=64)
def _is_issued_by(der: bytes, cas: bytes) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    certificate = x509.load_der_x509_certificate(der)
    for each in x509.load_pem_x509_certificates(cas):
        with contextlib.suppress(ValueError, TypeError, InvalidSignature):
            certificate.verify_directly_issued_by(each)
            return True
    return False


def _certificate_user(der: bytes) -> UserInfo | None:
    """Return the user of a client certificate that TLS has verified: CN is the name, each O a group."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    certificate_subject = x509.load_der_x509_certificate(der).subject
    names = certificate_subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names:
        return None
    organizations = certificate_subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    groups = [str(each.value) for each in organizations]
    return _add_authenticated_group(UserInfo(name=str(names[0].value), groups=tuple(groups)))

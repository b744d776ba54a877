"""A token of this very service, sent as another application's credential. Pure.

Entra calls it a managed identity as federated credential. Such a token is for the exchange and nothing
else, of an application and not of a person, and of a managed identity that is still there. Any other of our
tokens is for the resource in its `aud`: if one passed here, whoever receives it could become its sender.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from podpass.clouds import Cloud
from podpass.crypto import jose
from podpass.directory.model import FederatedCredential, Identity, IdentityKind, Tenant
from podpass.directory.resources import EXCHANGE_APP_ID
from podpass.exchange.client_auth.assertion import UnverifiedAssertion, key_hex
from podpass.exchange.client_auth.match import match
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.signing.key import AuthorityKey
from podpass.guids import is_guid

ALGORITHMS = ("RS256",)


def prefixes(origins: Iterable[str], cloud: Cloud) -> tuple[str, ...]:
    """List how the issuers of our own tokens begin."""
    return (cloud.v1_issuer("").rstrip("/") + "/", *(f"{origin}/" for origin in origins))


def trusting(
    assertion: UnverifiedAssertion,
    identity: Identity,
    tenant: Tenant,
    origins: Sequence[str],
    cloud: Cloud,
) -> FederatedCredential:
    """Find the credential that trusts one of our tokens, if the token may be one at all.

    Shapes:  `origins` are names of one issuer: a credential may name it by another than the token does.
    Errors:  Refused 700222; what `match` refuses, 7002121 for the audience; 700236, 700227, 700229.
    """
    issuers = {f"{origin}/{tenant.id}/v2.0" for origin in origins}
    if assertion.issuer not in issuers and not _is_v2(assertion.issuer, origins):
        raise Refused(700222)
    ours = assertion.issuer in issuers
    audiences = assertion.audiences
    if audiences == (EXCHANGE_APP_ID,):
        audiences = (EXCHANGE_APP_ID, cloud.exchange_audience)
    credentials = tuple(
        replace(each, issuer=assertion.issuer) if ours and each.issuer in issuers else each
        for each in identity.credentials
    )
    found = match(
        replace(assertion, audiences=audiences),
        replace(identity, credentials=credentials),
        other_audience=7002121,
    )
    if identity.kind is IdentityKind.MANAGED_IDENTITY:
        # As at Entra: of applications only, so no chain of identities leads further than one step.
        raise Refused(700222)
    if not ours:
        raise Refused(700236, issuer=assertion.issuer)
    if assertion.audiences != (EXCHANGE_APP_ID,):
        raise Refused(700227)
    if assertion.token.claims.get("idtyp") != "app":
        raise Refused(700229)
    return found


def _is_v2(issuer: str, origins: Sequence[str]) -> bool:
    for origin in origins:
        tenant, slash, version = issuer.removeprefix(f"{origin}/").partition("/")
        if slash and version == "v2.0" and is_guid(tenant):
            return True
    return False


def sender_of(assertion: UnverifiedAssertion) -> str:
    """Read which client the token was given to; empty when it does not say."""
    client = assertion.token.claims.get("azp")
    return client.lower() if is_guid(client) else ""


def check_sender(assertion: UnverifiedAssertion, sender: Identity | None) -> None:
    """Check that the token is a managed identity's; an application proves itself by its own credentials.

    Errors:  Refused 700226.
    """
    if sender is None or not sender.enabled or sender.kind is not IdentityKind.MANAGED_IDENTITY:
        raise Refused(700226)
    if sender.object_id != assertion.subject:
        raise Refused(700226)


def check_signature(
    assertion: UnverifiedAssertion, credential: FederatedCredential, keys: Sequence[AuthorityKey]
) -> None:
    """Check the signature with our own published keys; nothing is fetched.

    Errors:  Refused 7000272, 7000274.
    """
    named = [each for each in keys if each.kid == assertion.key_id]
    if not named:
        raise Refused(7000272, key=key_hex(assertion.key_id), issuer=credential.issuer)
    public = jose.PublicKey(kid=named[0].kid, algs=frozenset(ALGORITHMS), key=named[0].public)
    try:
        jose.verify(assertion.token, public)
    except jose.BadSignature as exc:
        raise Refused(7000274) from exc

"""Checks a token that this service issued to a managed identity, sent as a client's credential. Pure.

Entra calls this a managed identity as a federated credential. The token must have the exchange as its only
audience, must be an app token, and its managed identity must still exist. Any other token of this service is
for the resource in its `aud`: if it were accepted here, that resource could impersonate the client.

As in Entra, a federated credential is one hop: the managed identity must have got the token without one, from
the managed identity endpoint.

Azure DevOps gets tokens of the tenant for its service connections, which are no identities of the
directory. They are credentials of applications and of managed identities, and no first hop. Only the lab
signs such tokens.

Source: https://learn.microsoft.com/azure/devops/pipelines/release/configure-workload-identity
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace

from podpass.clouds import Cloud
from podpass.crypto import jose
from podpass.directory.model import FederatedCredential, Identity, IdentityKind, Tenant
from podpass.directory.resources import EXCHANGE_APP_ID
from podpass.exchange.client_auth.assertion import UnverifiedAssertion, key_hex
from podpass.exchange.client_auth.match import match
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.signing.key import AuthorityKey
from podpass.guids import is_guid

ALGORITHMS = ("RS256",)
# The claim that marks tokens obtained with a federated credential; `access_token` sets it.
FEDERATION_CLAIM = "xms_ficinfo"
DEVOPS_CLIENT = "499b84ac-1321-427f-aa17-267ca6975798"


def issuer_prefixes(origins: Iterable[str], cloud: Cloud) -> tuple[str, ...]:
    """Return the prefixes of the issuers of this service's own tokens."""
    return (cloud.v1_issuer("").rstrip("/") + "/", *(f"{origin}/" for origin in origins))


def match_credential(
    assertion: UnverifiedAssertion,
    identity: Identity,
    tenant: Tenant,
    origins: Sequence[str],
    cloud: Cloud,
) -> FederatedCredential:
    """Find the credential that matches a token of this service, and check that the token may be used here.

    All `origins` name the same issuer, so the credential may use another origin than the token. Raises
    AadstsError 700222; the errors of `match`, with 7002121 for the audience; 700236, 700227, 700229.
    """
    issuers = {f"{origin}/{tenant.id}/v2.0" for origin in origins}
    if assertion.issuer not in issuers and not _is_v2(assertion.issuer, origins):
        raise AadstsError(numbers.OWN_TOKEN)
    is_own_issuer = assertion.issuer in issuers
    audiences = assertion.audiences
    if audiences == (EXCHANGE_APP_ID,):
        audiences = (EXCHANGE_APP_ID, cloud.exchange_audience)
    credentials = tuple(
        replace(each, issuer=assertion.issuer) if is_own_issuer and each.issuer in issuers else each
        for each in identity.credentials
    )
    found = match(
        replace(assertion, audiences=audiences),
        replace(identity, credentials=credentials),
        other_audience=numbers.UNACCEPTED_AUDIENCE,
    )
    is_managed = identity.kind is IdentityKind.MANAGED_IDENTITY
    if is_managed and not is_service_connection(assertion, tenant):
        # As in Entra, only applications have such credentials, so identities cannot form a chain.
        raise AadstsError(numbers.OWN_TOKEN)
    if not is_own_issuer:
        raise AadstsError(numbers.ISSUER_NOT_PERMITTED, issuer=assertion.issuer)
    if assertion.audiences != (EXCHANGE_APP_ID,):
        raise AadstsError(numbers.TOKEN_NOT_FOR_EXCHANGE)
    if assertion.token.claims.get("idtyp") != "app":
        raise AadstsError(numbers.NOT_AN_APP_TOKEN)
    return found


def connection_prefix(tenant_id: str) -> str:
    """Return the beginning of the subjects of service connections; the organization and the id follow."""
    tenant, application = (
        jose.b64encode(uuid.UUID(each).bytes_le) for each in (tenant_id, DEVOPS_CLIENT)
    )
    return f"/eid1/c/pub/t/{tenant}/a/{application}/sc/"


def is_service_connection(assertion: UnverifiedAssertion, tenant: Tenant) -> bool:
    """Return whether a token is one of a service connection of Azure DevOps in this tenant.

    No other token has such a subject: that of an identity is its object ID, that of a user a hash.
    """
    prefix = connection_prefix(tenant.id)
    return issuing_client_id(assertion) == DEVOPS_CLIENT and assertion.subject.startswith(prefix)


def _is_v2(issuer: str, origins: Sequence[str]) -> bool:
    for origin in origins:
        tenant, slash, version = issuer.removeprefix(f"{origin}/").partition("/")
        if slash and version == "v2.0" and is_guid(tenant):
            return True
    return False


def issuing_client_id(assertion: UnverifiedAssertion) -> str:
    """Return the client that the token was issued to; empty if `azp` is missing."""
    client = assertion.token.claims.get("azp")
    return client.lower() if is_guid(client) else ""


def check_issuing_identity(assertion: UnverifiedAssertion, issuing: Identity | None) -> None:
    """Check that an enabled managed identity is the token's client and subject, and used no federation.

    Raises AadstsError 700226, 700231.
    """
    if issuing is None or not issuing.enabled or issuing.kind is not IdentityKind.MANAGED_IDENTITY:
        raise AadstsError(numbers.NOT_A_MANAGED_IDENTITY)
    if issuing.object_id != assertion.subject:
        raise AadstsError(numbers.NOT_A_MANAGED_IDENTITY)
    if FEDERATION_CLAIM in assertion.token.claims:
        raise AadstsError(numbers.SECOND_FEDERATED_HOP)


def check_signature(
    assertion: UnverifiedAssertion, credential: FederatedCredential, keys: Sequence[AuthorityKey]
) -> None:
    """Verify the signature with the published keys of this service; nothing is fetched.

    Raises AadstsError 7000272, 7000274.
    """
    named = [each for each in keys if each.kid == assertion.key_id]
    if not named:
        raise AadstsError(
            numbers.KEY_NOT_PUBLISHED, key=key_hex(assertion.key_id), issuer=credential.issuer
        )
    public = jose.PublicKey(kid=named[0].kid, algs=frozenset(ALGORITHMS), key=named[0].public)
    try:
        jose.verify(assertion.token, public)
    except jose.BadSignature as exc:
        raise AadstsError(numbers.WRONG_SIGNATURE) from exc

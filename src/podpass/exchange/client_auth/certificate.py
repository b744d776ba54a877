"""An assertion that an application signed about itself, with a certificate it has registered. Pure.

RFC 7523 section 3 as Entra takes it: `iss` and `sub` are the client, `aud` is the tenant's token endpoint
or issuer, and the header names the certificate by thumbprint. An assertion may be sent again until it
expires; Entra keeps no list of `jti` either.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from podpass.clouds import Cloud
from podpass.crypto import jose
from podpass.directory.model import Identity, KeyCredential, Tenant
from podpass.exchange.client_auth.assertion import UnverifiedAssertion
from podpass.exchange.errors.catalogue import Refused
from podpass.guids import is_guid

ALGORITHMS = ("RS256", "PS256")
_PS256 = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)


def is_own(token: jose.UnverifiedToken) -> bool:
    """Tell whether a token claims to be a client's own word, rather than an issuer's.

    Shapes:  an issuer of federated credentials is a URL; an application goes by its client id.
    """
    issuer = token.claims.get("iss")
    return is_guid(issuer)


def check_claims(assertion: UnverifiedAssertion, client_id: str, audiences: Iterable[str]) -> None:
    """Check that the client speaks about itself, to this tenant.

    Errors:  Refused 700021, 700023.
    """
    client = client_id.lower()
    if assertion.issuer.lower() != client or assertion.subject.lower() != client:
        raise Refused(700021)
    # One audience: a token made for two services could be carried from one to the other.
    if len(assertion.audiences) != 1 or assertion.audiences[0] not in set(audiences):
        raise Refused(700023, audience=", ".join(assertion.audiences))


def audiences_of(
    origins: Iterable[str], tenant: Tenant, segment: str, cloud: Cloud
) -> Iterator[str]:
    """List the names under which a tenant's token endpoint and issuer go."""
    for origin in origins:
        for name in {tenant.id, segment, *tenant.domains}:
            yield f"{origin}/{name}/oauth2/v2.0/token"
            yield f"{origin}/{name}/oauth2/token"
            yield f"{origin}/{name}/v2.0"
    yield cloud.v1_issuer(tenant.id)


def find_key(assertion: UnverifiedAssertion, identity: Identity, now: float) -> KeyCredential:
    """Find the certificate that the header names.

    Errors:  Refused 700027, 1000502.
    """
    for key in identity.keys:
        if _named(assertion.token.header, key):
            if not key.begins <= now < key.expires:
                raise Refused(1000502)
            return key
    raise Refused(700027, reason="the key was not found")


def _named(header: Mapping[str, object], key: KeyCredential) -> bool:
    sha256 = jose.b64encode(hashlib.sha256(key.certificate).digest())
    for name, thumbprint in (("x5t#S256", sha256), ("x5t", key.thumbprint)):
        if (named := header.get(name)) is not None:
            # MSAL Python writes the padding that RFC 7515 leaves out.
            return isinstance(named, str) and named.rstrip("=") == thumbprint
    named = header.get("kid")
    sha1 = jose.b64decode(key.thumbprint).hex()
    return isinstance(named, str) and (named == key.thumbprint or named.lower() == sha1)


def check_signature(assertion: UnverifiedAssertion, key: KeyCredential) -> None:
    """Check the signature with a registered certificate; those inside the token are never looked at.

    Errors:  Refused 700027.
    """
    try:
        public = x509.load_der_x509_certificate(key.certificate).public_key()
        if not isinstance(public, rsa.RSAPublicKey):
            raise Refused(700027, reason="its certificate has no RSA key")
        # A larger key would make each check cost milliseconds, a smaller one protects nothing.
        if not jose.MIN_RSA_BITS <= public.key_size <= jose.MAX_RSA_BITS:
            raise Refused(700027, reason="its certificate's key is too small or too large")
        scheme = _PS256 if assertion.token.alg == "PS256" else padding.PKCS1v15()
        token = assertion.token
        public.verify(token.signature, token.signed, scheme, hashes.SHA256())
    except (InvalidSignature, ValueError) as exc:
        wrong = Refused(700027, reason="the key did not sign it")
        raise wrong.answered(step="signature") from exc

"""Checks an assertion that an application signed itself, with a certificate that it has registered. Pure.

It implements RFC 7523 section 3 as Entra does: `iss` and `sub` are the client ID, `aud` is the tenant's token
endpoint or issuer, and the header names the certificate by thumbprint. An assertion can be replayed until it
expires; like Entra, the service does not store `jti`.
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
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.guids import is_guid

ALGORITHMS = ("RS256", "PS256")
_PS256 = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)


def is_self_issued(token: jose.UnverifiedToken) -> bool:
    """Return whether the issuer of a token is a client ID, that is, an application."""
    issuer = token.claims.get("iss")
    return is_guid(issuer)


def check_claims(assertion: UnverifiedAssertion, client_id: str, audiences: Iterable[str]) -> None:
    """Check that issuer and subject are the client, and that the audience is this tenant.

    Raises AadstsError 700021, 700023.
    """
    client = client_id.lower()
    if assertion.issuer.lower() != client or assertion.subject.lower() != client:
        raise AadstsError(numbers.ASSERTION_OF_OTHER_CLIENT)
    # One audience only: with two, one recipient could replay the token to the other.
    if len(assertion.audiences) != 1 or assertion.audiences[0] not in set(audiences):
        raise AadstsError(
            numbers.ASSERTION_FOR_OTHER_TENANT, audience=", ".join(assertion.audiences)
        )


def allowed_audiences(
    origins: Iterable[str], tenant: Tenant, segment: str, cloud: Cloud
) -> Iterator[str]:
    """Yield the URLs of a tenant's token endpoints and issuers."""
    for origin in origins:
        for name in {tenant.id, segment, *tenant.domains}:
            yield f"{origin}/{name}/oauth2/v2.0/token"
            yield f"{origin}/{name}/oauth2/token"
            # ADAL for Go, which kubelogin uses with --legacy, signs the query too.
            yield f"{origin}/{name}/oauth2/token?api-version=1.0"
            yield f"{origin}/{name}/v2.0"
    yield cloud.v1_issuer(tenant.id)


def find_key(assertion: UnverifiedAssertion, identity: Identity, now: float) -> KeyCredential:
    """Find the registered certificate that the header names. Raises AadstsError 700027, 1000502."""
    for key in identity.keys:
        if _is_named_in(assertion.token.header, key):
            if not key.begins <= now < key.expires:
                raise AadstsError(numbers.CERTIFICATE_NOT_CURRENT)
            return key
    raise AadstsError(numbers.CERTIFICATE_NOT_REGISTERED, reason="the key was not found")


def _is_named_in(header: Mapping[str, object], key: KeyCredential) -> bool:
    sha256 = hashlib.sha256(key.certificate).digest()
    sha1 = jose.b64decode(key.thumbprint)
    for name, thumbprint in (("x5t#S256", sha256), ("x5t", sha1)):
        if (named := header.get(name)) is not None:
            return _parse_thumbprint(named) == thumbprint
    named = header.get("kid")
    return isinstance(named, str) and (
        _parse_thumbprint(named) == sha1 or named.lower() == sha1.hex()
    )


def _parse_thumbprint(text: object) -> bytes | None:
    """Decode a thumbprint; RFC 7515 requires base64url; MSAL Go sends base64, MSAL Python adds padding."""
    if not isinstance(text, str):
        return None
    try:
        return jose.b64decode(text.rstrip("=").replace("+", "-").replace("/", "_"))
    except jose.MalformedToken:
        return None


def check_signature(assertion: UnverifiedAssertion, key: KeyCredential) -> None:
    """Verify the signature with a registered certificate; certificates inside the token are ignored.

    Raises AadstsError 700027.
    """
    try:
        public = x509.load_der_x509_certificate(key.certificate).public_key()
        if not isinstance(public, rsa.RSAPublicKey):
            raise AadstsError(
                numbers.CERTIFICATE_NOT_REGISTERED, reason="its certificate has no RSA key"
            )
        own = public.public_numbers()
        jose.check_rsa_numbers(own.n, own.e)
        scheme = _PS256 if assertion.token.alg == "PS256" else padding.PKCS1v15()
        token = assertion.token
        public.verify(token.signature, token.signed, scheme, hashes.SHA256())
    except jose.BadKey as exc:
        raise AadstsError(numbers.CERTIFICATE_NOT_REGISTERED, reason=exc.message) from exc
    except (InvalidSignature, ValueError) as exc:
        wrong = AadstsError(numbers.CERTIFICATE_NOT_REGISTERED, reason="the key did not sign it")
        raise wrong.with_response(step="signature") from exc

"""An assertion's claims and an identity's credentials in; the one credential that trusts it out.

Pure. Nothing here has been verified yet: a match only decides whose keys are worth asking for.
"""

from podpass.directory.model import FederatedCredential, Identity
from podpass.exchange.client_auth.assertion import UnverifiedAssertion
from podpass.exchange.errors.catalogue import Refused


def match(
    assertion: UnverifiedAssertion, identity: Identity, *, other_audience: int = 700212
) -> FederatedCredential:
    """Find the credential that trusts an assertion: issuer, then audience, then subject.

    Shapes:  `other_audience` is the number for an audience that no credential of the issuer has.
    Units:   compared character for character; no normalisation, no wildcards.
    Errors:  Refused 70025, 700211, 700212, 7002138, 700213.
    """
    if not identity.credentials:
        raise Refused(70025, client=identity.client_id, name=identity.name)
    issued = [each for each in identity.credentials if each.issuer == assertion.issuer]
    if not issued:
        raise Refused(700211, issuer=assertion.issuer)
    meant = [each for each in issued if not set(each.audiences).isdisjoint(assertion.audiences)]
    if not meant:
        raise Refused(other_audience, audience=", ".join(assertion.audiences))
    for each in meant:
        if each.subject == assertion.subject:
            return each
    lower = assertion.subject.lower()
    if any(each.subject.lower() == lower for each in meant):
        raise Refused(7002138, subject=assertion.subject)
    raise Refused(700213, subject=assertion.subject)

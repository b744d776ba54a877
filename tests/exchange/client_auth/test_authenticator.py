"""Client authentication by each method, without HTTP: the checks, their order, and the logged facts."""

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from podpass import names
from podpass.crypto import jose
from podpass.directory.model import FederatedCredential, Identity, IdentityKind, Tenant
from podpass.directory.resources import EXCHANGE_APP_ID
from podpass.exchange.client_auth import authenticator
from podpass.exchange.client_auth.assertion import UnverifiedClaim
from podpass.exchange.client_auth.authenticator import (
    Acr,
    ClientAuthentication,
    ClientAuthenticator,
)
from podpass.exchange.client_auth.directory_lookup import DirectoryReader
from podpass.exchange.client_auth.issuer_discovery import IssuerUnavailable
from podpass.exchange.client_auth.issuer_keys import IssuerKeyCache
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.signing.key import AuthorityKey
from podpass.exchange.token_request import RequestRecord, TokenRequest
from podpass.settings import AuthoritySettings
from tests.exchange.client_auth.test_secrets import DER, create_password, to_key_credential
from tests.rsa_keys import KEY, OTHER_KEY

NOW = 10_000.0
ISSUER, OURS = "https://oidc.test/x/", "https://login.test"
TENANT = Tenant(id="11111111-1111-4111-8111-111111111111", domains=("d.test",))
CLIENT, SENDER = (f"{digit * 8}-3333-4333-8333-abcdefabcdef" for digit in "34")
SIGNER = jose.SigningKey(kid="key", key=KEY)
AUTHORITY = AuthorityKey(signing=jose.SigningKey(kid="ours", key=OTHER_KEY), certificate=b"")
CREDENTIAL = FederatedCredential(
    name="web", issuer=ISSUER, subject="sub", audiences=("aud",), created=NOW
)
MANAGED = FederatedCredential(
    name="mi",
    issuer=f"{OURS}/{TENANT.id}/v2.0",
    subject="object",
    audiences=(names.EXCHANGE_AUDIENCE,),
)
IDENTITY = Identity(
    tenant_id=TENANT.id,
    client_id=CLIENT,
    object_id="o",
    name="app",
    kind=IdentityKind.APPLICATION,
    credentials=(CREDENTIAL, MANAGED),
    passwords=(create_password("secret", key_id="s"),),
    keys=(to_key_credential(DER, key_id="c"),),
)
TRUSTED = Identity(tenant_id=TENANT.id, client_id=SENDER, object_id="object", name="mi")
SETTINGS = AuthoritySettings(origins=(OURS,), early_seconds=300, assertion_seconds=1000)
CLAIMS = {"iss": ISSUER, "sub": "sub", "aud": "aud", "iat": NOW, "exp": NOW + 60}
OWN = {
    "iss": CLIENT,
    "sub": CLIENT,
    "aud": f"{OURS}/D.test/oauth2/token",
    "iat": NOW,
    "exp": NOW + 60,
}
FROM_US = {
    "iss": f"{OURS}/{TENANT.id}/v2.0",
    "sub": "object",
    "aud": EXCHANGE_APP_ID,
    "azp": SENDER,
    "idtyp": "app",
    "iat": NOW,
    "exp": NOW + 60,
}
X5T = {"x5t": to_key_credential(DER).thumbprint}


@dataclass
class FakeIssuerKeys:
    """The keys of a fake issuer, the requests for them, and whether the issuer is reachable."""

    keys: dict[str, list[jose.PublicKey]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    down: bool = False

    async def of(self, issuer: str, key_id: str) -> list[jose.PublicKey]:
        self.asked.append((issuer, key_id))
        if self.down:
            raise IssuerUnavailable("down", reason="timeout")
        return self.keys.get(key_id, [])


@dataclass
class Harness:
    """A client authenticator with fakes of everything that it uses."""

    published: FakeIssuerKeys = field(default_factory=FakeIssuerKeys)
    known: dict[tuple[str, str], Identity] = field(default_factory=dict)
    settings: AuthoritySettings = SETTINGS
    now: float = NOW
    record: RequestRecord = field(default_factory=RequestRecord)
    identity: Identity = IDENTITY

    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None:
        return self.known.get((tenant_id, client_id))

    async def authenticate(self, **form: str) -> ClientAuthentication:
        issuers = IssuerKeyCache(cast("Any", None), self.settings, lambda: self.now)
        issuers.find_keys = self.published.of  # type: ignore[method-assign]
        keys = type("Keys", (), {"published": (AUTHORITY,)})()
        authenticator = ClientAuthenticator(
            cast("DirectoryReader", self), issuers, keys, self.settings, lambda: self.now
        )
        request = TokenRequest(
            tenant="D.test", version=2, origin=OURS, form=form, record=self.record
        )
        return await authenticator.authenticate(TENANT, self.identity, request)

    async def authenticate_with_assertion(self, token: str) -> ClientAuthentication:
        return await self.authenticate(
            client_assertion=token, client_assertion_type=names.JWT_BEARER
        )

    async def expect_refusal(self, token: str) -> AadstsError:
        with pytest.raises(AadstsError) as caught:
            await self.authenticate_with_assertion(token)
        return caught.value

    def peek_claim_of(self, **form: str) -> UnverifiedClaim | None:
        authenticator = ClientAuthenticator(
            cast("Any", None), cast("Any", None), cast("Any", None), self.settings, lambda: self.now
        )
        return authenticator.peek_claim(
            TokenRequest(tenant="D.test", version=2, origin=OURS, form=form)
        )


@pytest.fixture
def harness() -> Harness:
    public = jose.PublicKey(kid="key", algs=frozenset({"RS256"}), key=KEY.public_key())
    return Harness(
        published=FakeIssuerKeys(keys={"key": [public]}), known={(TENANT.id, SENDER): TRUSTED}
    )


def sign_assertion(**changes: Any) -> str:
    return SIGNER.sign({**CLAIMS, **changes})


def sign_self_issued(header: dict[str, Any] = X5T, key: Any = KEY, **changes: Any) -> str:
    return jose.SigningKey(kid="k", key=key).sign({**OWN, **changes}, header)


def sign_own_token(key: jose.SigningKey = AUTHORITY.signing, **changes: Any) -> str:
    return key.sign({**FROM_US, **changes})


# ------------------------------------------------------------------------------------ federation


async def test_federated_assertion_authenticates_by_its_credential(harness: Harness) -> None:
    assert await harness.authenticate_with_assertion(
        f" {sign_assertion()}\n"
    ) == ClientAuthentication(acr=Acr.ASSERTION, credential="web", is_federated=True)
    assert harness.published.asked == [(ISSUER, "key")]
    assert harness.record.fields == {
        "iss": ISSUER,
        "sub": "sub",
        "aud": ("aud",),
        "exp": NOW + 60,
        "kid": "key",
        "credential": "web",
    }


@pytest.mark.parametrize(
    ("changes", "number", "asked"),
    [
        ({"iss": "https://other.test/"}, 700211, 0),
        ({"aud": "x"}, 700212, 0),
        ({"sub": "x"}, 700213, 0),
        ({"exp": NOW + 1001}, 70023, 0),
        ({"exp": NOW, "iat": NOW - 5}, 700024, 1),
        ({"nbf": NOW + 301}, 700024, 1),
    ],
)
async def test_issuer_keys_are_fetched_only_after_all_other_checks(
    harness: Harness, changes: dict[str, Any], number: int, asked: int
) -> None:
    assert (await harness.expect_refusal(sign_assertion(**changes))).entry.number == number
    assert len(harness.published.asked) == asked


async def test_unavailable_issuer_is_reported_and_logged_with_reason(harness: Harness) -> None:
    harness.published.down = True
    assert (await harness.expect_refusal(sign_assertion())).entry.number == 501661
    assert harness.record.fields["reason"] == "timeout"


async def test_credential_takes_effect_after_the_propagation_delay(harness: Harness) -> None:
    harness.settings = replace(SETTINGS, propagation_seconds=100)
    harness.now = NOW + 99.9
    token = sign_assertion(exp=NOW + 200)
    assert (await harness.expect_refusal(token)).entry.number == 700211
    harness.now = NOW + 100
    assert (await harness.authenticate_with_assertion(token)).credential == "web"


# -------------------------------------------------------------------------- secret, certificate


async def test_secret_authenticates_without_an_assertion(harness: Harness) -> None:
    assert await harness.authenticate(client_secret="secret") == ClientAuthentication(
        acr=Acr.SECRET, credential="s"
    )
    assert harness.record.skipped == (
        *("assertion", "trust", "lifetime", "issuer", "key", "signature", "time"),
    )
    with pytest.raises(AadstsError) as caught:
        await harness.authenticate(client_secret="other")
    assert caught.value.entry.number == 7000215


async def test_self_issued_assertion_is_verified_with_the_certificate(harness: Harness) -> None:
    harness.record.skip(("before",))
    assert await harness.authenticate_with_assertion(sign_self_issued()) == ClientAuthentication(
        acr=Acr.ASSERTION, credential="c"
    )
    assert harness.published.asked == []
    assert harness.record.skipped == ("before", "lifetime", "issuer")
    assert (harness.record.fields["iss"], harness.record.fields["credential"]) == (CLIENT, "c")


# ------------------------------------------------------------------------------- managed identity


async def test_own_managed_identity_token_is_accepted_as_credential(harness: Harness) -> None:
    assert await harness.authenticate_with_assertion(sign_own_token()) == ClientAuthentication(
        acr=Acr.ASSERTION, credential="mi", is_federated=True
    )
    assert harness.published.asked == []
    assert (harness.record.skipped, harness.record.fields["credential"]) == (("issuer",), "mi")
    assert harness.record.fields["sub"] == "object"


async def test_credential_for_own_token_has_the_propagation_delay(harness: Harness) -> None:
    harness.settings = replace(SETTINGS, propagation_seconds=100)
    harness.identity = replace(IDENTITY, credentials=(replace(MANAGED, created=NOW),))
    assert (await harness.expect_refusal(sign_own_token())).entry.number == 70025


@pytest.mark.parametrize(
    ("issuer", "number"),
    [
        (f"https://sts.windows.net/{TENANT.id}/", 700222),
        ("https://sts.windows.net/", 700222),
        (f"{OURS}/", 700222),
        (f"{OURS}/{CLIENT}/v2.0/", 700222),
        (f"{OURS}/x/v2.0", 700222),
        (f"{OURS}/{CLIENT}/v1.0", 700222),
        (f"{OURS}/{CLIENT}/v2.0", 700211),
        (f"{OURS}.evil.test/{TENANT.id}/v2.0", 700211),
        ("https://sts.windows.net.evil.test/", 700211),
        ("https://sts.windows.ne", 700211),
    ],
)
async def test_issuer_with_a_similar_prefix_is_foreign(
    harness: Harness, issuer: str, number: int
) -> None:
    found = await harness.expect_refusal(sign_own_token(iss=issuer))
    assert (found.entry.number, found.step in {"assertion", "trust"}) == (number, True)


async def test_issuing_identity_must_be_the_subject(harness: Harness) -> None:
    assert (
        await harness.authenticate_with_assertion(sign_own_token(azp=SENDER.upper()))
    ).credential == "mi"
    for changes in ({"object_id": "other"}, {"kind": IdentityKind.APPLICATION}):
        harness.known = {(TENANT.id, SENDER): replace(TRUSTED, **changes)}
        assert (await harness.expect_refusal(sign_own_token())).entry.number == 700226
    for azp in (SENDER + " ", [SENDER], 5, ""):
        assert (await harness.expect_refusal(sign_own_token(azp=azp))).entry.number == 700226


def test_claim_is_peeked_only_for_federated_assertions(harness: Harness) -> None:
    """Tokens of this service and self-issued assertions need the complete identity."""
    token = SIGNER.sign(CLAIMS)
    assert harness.peek_claim_of(client_assertion=f" {token} ") == UnverifiedClaim(
        ISSUER, "sub", ("aud",)
    )
    for other in (OWN, FROM_US, {**CLAIMS, "iss": CLIENT.upper()}, {**CLAIMS, "iss": 1}):
        assert harness.peek_claim_of(client_assertion=SIGNER.sign(other)) is None
    padding = " " * (authenticator._MAX_PEEK_CHARS - len(token))
    assert harness.peek_claim_of(client_assertion=padding + token) is not None
    assert harness.peek_claim_of(client_assertion=f" {padding}{token}") is None, (
        "longer than any pod's"
    )
    assert harness.peek_claim_of(client_assertion="a.b.c") is None
    assert harness.peek_claim_of(client_secret="secret") is None
    later = replace(harness, settings=replace(SETTINGS, propagation_seconds=60))
    assert later.peek_claim_of(client_assertion=token) is None

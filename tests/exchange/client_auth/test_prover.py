"""The three ways to prove a client, without a wire between: what each asks for, in which order, and tells."""

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from podpass import names
from podpass.crypto import jose
from podpass.directory.model import FederatedCredential, Identity, IdentityKind, Tenant
from podpass.directory.resources import EXCHANGE_APP_ID
from podpass.exchange.client_auth import authenticator
from podpass.exchange.client_auth.assertion import Claim
from podpass.exchange.client_auth.authenticator import Acr, Facts, Proof, Prover
from podpass.exchange.client_auth.directory_lookup import Directory
from podpass.exchange.client_auth.issuer_discovery import IssuerDown
from podpass.exchange.client_auth.issuer_keys import Issuers
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.signing.key import AuthorityKey
from podpass.exchange.token_request import TokenRequest
from podpass.settings import AuthoritySettings
from tests.exchange.client_auth.test_secrets import DER, KEY, OTHER_KEY, key_of, password

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
    passwords=(password("secret", key_id="s"),),
    keys=(key_of(DER, key_id="c"),),
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
X5T = {"x5t": key_of(DER).thumbprint}


@dataclass
class Published:
    """An issuer's keys, whom they were asked of, and whether it can be reached."""

    keys: dict[str, list[jose.PublicKey]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    down: bool = False

    async def of(self, issuer: str, key_id: str) -> list[jose.PublicKey]:
        self.asked.append((issuer, key_id))
        if self.down:
            raise IssuerDown("down", reason="timeout")
        return self.keys.get(key_id, [])


@dataclass
class Stage:
    """A prover, and what it is told by everything around it."""

    published: Published = field(default_factory=Published)
    known: dict[tuple[str, str], Identity] = field(default_factory=dict)
    settings: AuthoritySettings = SETTINGS
    now: float = NOW
    facts: Facts = field(default_factory=dict)
    identity: Identity = IDENTITY

    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None:
        return self.known.get((tenant_id, client_id))

    async def prove(self, **form: str) -> Proof:
        issuers = Issuers(cast("Any", None), self.settings, lambda: self.now)
        issuers.keys = self.published.of  # type: ignore[method-assign]
        keys = type("Keys", (), {"published": (AUTHORITY,)})()
        prover = Prover(cast("Directory", self), issuers, keys, self.settings, lambda: self.now)
        request = TokenRequest(tenant="D.test", version=2, origin=OURS, form=form)
        return await prover.prove(TENANT, self.identity, request, self.facts)

    async def with_assertion(self, token: str) -> Proof:
        return await self.prove(client_assertion=token, client_assertion_type=names.JWT_BEARER)

    async def refused(self, token: str) -> Refused:
        with pytest.raises(Refused) as caught:
            await self.with_assertion(token)
        return caught.value

    def claim(self, **form: str) -> Claim | None:
        prover = Prover(
            cast("Any", None), cast("Any", None), cast("Any", None), self.settings, lambda: self.now
        )
        return prover.claim(TokenRequest(tenant="D.test", version=2, origin=OURS, form=form))


@pytest.fixture
def stage() -> Stage:
    public = jose.PublicKey(kid="key", algs=frozenset({"RS256"}), key=KEY.public_key())
    return Stage(published=Published(keys={"key": [public]}), known={(TENANT.id, SENDER): TRUSTED})


def signed(**changes: Any) -> str:
    return SIGNER.sign({**CLAIMS, **changes})


def own(header: dict[str, Any] = X5T, key: Any = KEY, **changes: Any) -> str:
    return jose.SigningKey(kid="k", key=key).sign({**OWN, **changes}, header)


def ours(key: jose.SigningKey = AUTHORITY.signing, **changes: Any) -> str:
    return key.sign({**FROM_US, **changes})


# ------------------------------------------------------------------------------------ federation


async def test_an_issuers_word_is_an_assertion_by_its_credential(stage: Stage) -> None:
    assert await stage.with_assertion(f" {signed()}\n") == Proof(
        acr=Acr.ASSERTION, credential="web"
    )
    assert stage.published.asked == [(ISSUER, "key")]
    assert stage.facts == {
        "iss": ISSUER,
        "sub": "sub",
        "aud": ("aud",),
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
async def test_an_issuer_is_asked_for_keys_when_all_else_fits(
    stage: Stage, changes: dict[str, Any], number: int, asked: int
) -> None:
    assert (await stage.refused(signed(**changes))).entry.number == number
    assert len(stage.published.asked) == asked


async def test_an_algorithm_must_be_among_those_of_the_settings(stage: Stage) -> None:
    stage.settings = replace(SETTINGS, assertion_algorithms=("ES256",))
    assert (await stage.refused(signed())).entry.number == 5002738


async def test_of_several_keys_of_one_id_any_may_have_signed(stage: Stage) -> None:
    other = jose.PublicKey(kid="key", algs=frozenset({"RS256"}), key=OTHER_KEY.public_key())
    stage.published.keys["key"].insert(0, other)
    assert (await stage.with_assertion(signed())).credential == "web"
    stage.published.keys["key"] = [other]
    found = await stage.refused(signed())
    assert (found.entry.number, found.step) == (7000274, "signature")


async def test_a_key_that_is_not_published_is_named(stage: Stage) -> None:
    stage.published.keys.clear()
    found = await stage.refused(jose.SigningKey(kid="AAEC", key=KEY).sign(CLAIMS))
    assert (found.entry.number, found.facts) == (7000272, {"key": "000102", "issuer": ISSUER})


async def test_an_issuer_that_is_down_is_told_and_the_log_knows_why(stage: Stage) -> None:
    stage.published.down = True
    assert (await stage.refused(signed())).entry.number == 501661
    assert stage.facts["reason"] == "timeout"


async def test_a_credential_is_seen_when_it_has_travelled(stage: Stage) -> None:
    stage.settings = replace(SETTINGS, propagation_seconds=100)
    stage.now = NOW + 99.9
    token = signed(exp=NOW + 200)
    assert (await stage.refused(token)).entry.number == 700211
    stage.now = NOW + 100
    assert (await stage.with_assertion(token)).credential == "web"


# -------------------------------------------------------------------------- secret, certificate


async def test_a_secret_is_proved_by_itself(stage: Stage) -> None:
    assert await stage.prove(client_secret="secret") == Proof(acr=Acr.SECRET, credential="s")
    assert stage.facts["skipped"] == (
        *("assertion", "trust", "lifetime", "issuer", "key", "signature", "time"),
    )
    with pytest.raises(Refused) as caught:
        await stage.prove(client_secret="other")
    assert caught.value.entry.number == 7000215


async def test_an_applications_own_word_is_checked_by_its_certificate(stage: Stage) -> None:
    stage.facts["skipped"] = ("before",)
    assert await stage.with_assertion(own()) == Proof(acr=Acr.ASSERTION, credential="c")
    assert stage.published.asked == []
    assert stage.facts["skipped"] == ("before", "lifetime", "issuer")
    assert (stage.facts["iss"], stage.facts["credential"]) == (CLIENT, "c")


@pytest.mark.parametrize(
    "audience",
    [
        f"{OURS}/{TENANT.id}/oauth2/v2.0/token",
        f"{OURS}/d.test/v2.0",
        f"https://sts.windows.net/{TENANT.id}/",
    ],
)
async def test_it_is_meant_for_this_tenant_by_any_of_its_names(stage: Stage, audience: str) -> None:
    assert (await stage.with_assertion(own(aud=audience))).credential == "c"


@pytest.mark.parametrize(
    ("token", "number"),
    [
        (own(sub="x"), 700021),
        (own(aud="https://other.test/"), 700023),
        (own({"x5t": "x"}), 700027),
        (own(key=OTHER_KEY), 700027),
        (own(exp=NOW, iat=NOW - 5), 700024),
        (own(nbf=NOW + 301), 700024),
        (own({**X5T, "alg": "RS384"}), 5002738),
    ],
)
async def test_an_own_word_that_is_wrong_in_one_point_is_refused(
    stage: Stage, token: str, number: int
) -> None:
    assert (await stage.refused(token)).entry.number == number


async def test_a_certificate_out_of_its_time_proves_nothing(stage: Stage) -> None:
    stage.identity = replace(IDENTITY, keys=(key_of(DER, expires=NOW),))
    assert (await stage.refused(own())).entry.number == 1000502


# ------------------------------------------------------------------------------- managed identity


async def test_a_managed_identitys_token_of_ours_is_a_credential(stage: Stage) -> None:
    assert await stage.with_assertion(ours()) == Proof(acr=Acr.ASSERTION, credential="mi")
    assert stage.published.asked == []
    assert (stage.facts["skipped"], stage.facts["credential"]) == (("issuer",), "mi")
    assert stage.facts["sub"] == "object"


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"sub": "x"}, 700213),
        ({"aud": "https://vault.azure.net"}, 7002121),
        ({"idtyp": "user"}, 700229),
        ({"azp": None}, 700226),
        ({"azp": CLIENT}, 700226),
        ({"exp": NOW + 1001}, 70023),
        ({"exp": NOW, "iat": NOW - 5}, 700024),
        ({"nbf": NOW + 301}, 700024),
        ({"iss": f"{OURS}/v1"}, 700222),
    ],
)
async def test_any_other_token_of_ours_is_none(
    stage: Stage, changes: dict[str, Any], number: int
) -> None:
    assert (await stage.refused(ours(**changes))).entry.number == number


async def test_our_own_key_must_have_signed_it(stage: Stage) -> None:
    for key, number in (("other", 7000272), ("ours", 7000274)):
        forged = ours(jose.SigningKey(kid=key, key=KEY))
        assert (await stage.refused(forged)).entry.number == number


async def test_its_sender_must_be_of_this_tenant_and_still_there(stage: Stage) -> None:
    stage.known = {("other", SENDER): TRUSTED}
    assert (await stage.refused(ours())).entry.number == 700226
    stage.known = {(TENANT.id, SENDER): replace(TRUSTED, enabled=False)}
    assert (await stage.refused(ours())).entry.number == 700226


async def test_a_credential_for_it_travels_as_any_other(stage: Stage) -> None:
    stage.settings = replace(SETTINGS, propagation_seconds=100)
    stage.identity = replace(IDENTITY, credentials=(replace(MANAGED, created=NOW),))
    assert (await stage.refused(ours())).entry.number == 70025


async def test_a_credential_may_name_us_by_another_of_our_names(stage: Stage) -> None:
    stage.settings = replace(SETTINGS, origins=(OURS, "https://alias.test"))
    by_alias = replace(MANAGED, issuer=f"https://alias.test/{TENANT.id}/v2.0")
    elsewhere = replace(CREDENTIAL, issuer="https://else.test/", subject="object")
    stage.identity = replace(IDENTITY, credentials=(elsewhere, by_alias))
    assert (await stage.with_assertion(ours())).credential == "mi"
    stage.identity = replace(IDENTITY, credentials=(elsewhere,))
    assert (await stage.refused(ours())).entry.number == 700211


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
async def test_an_issuer_of_ours_is_told_from_one_that_begins_alike(
    stage: Stage, issuer: str, number: int
) -> None:
    found = await stage.refused(ours(iss=issuer))
    assert (found.entry.number, found.step in {"assertion", "trust"}) == (number, True)


async def test_another_tenant_of_ours_is_no_issuer_even_where_it_is_trusted(stage: Stage) -> None:
    other = f"{OURS}/{CLIENT}/v2.0"
    stage.identity = replace(IDENTITY, credentials=(replace(MANAGED, issuer=other),))
    found = await stage.refused(ours(iss=other))
    assert (found.entry.number, found.facts) == (700236, {"issuer": other})


@pytest.mark.parametrize(
    "aud", [names.EXCHANGE_AUDIENCE, "https://vault.azure.net", [EXCHANGE_APP_ID, "x"]]
)
async def test_only_a_token_for_the_exchange_alone_is_a_credential(
    stage: Stage, aud: object
) -> None:
    """Even where the credential itself names that audience."""
    audiences = (names.EXCHANGE_AUDIENCE, "https://vault.azure.net", EXCHANGE_APP_ID)
    stage.identity = replace(IDENTITY, credentials=(replace(MANAGED, audiences=audiences),))
    assert (await stage.refused(ours(aud=aud))).entry.number == 700227


async def test_the_sender_is_the_one_the_token_is_about(stage: Stage) -> None:
    assert (await stage.with_assertion(ours(azp=SENDER.upper()))).credential == "mi"
    for changes in ({"object_id": "other"}, {"kind": IdentityKind.APPLICATION}):
        stage.known = {(TENANT.id, SENDER): replace(TRUSTED, **changes)}
        assert (await stage.refused(ours())).entry.number == 700226
    for azp in (SENDER + " ", [SENDER], 5, ""):
        assert (await stage.refused(ours(azp=azp))).entry.number == 700226


async def test_a_managed_identity_trusts_no_other_one(stage: Stage) -> None:
    """No chain of identities leads further than one step."""
    stage.identity = replace(IDENTITY, kind=IdentityKind.MANAGED_IDENTITY)
    found = await stage.refused(ours())
    assert (found.entry.number, found.status) == (700222, Refused(700222).status)


def test_only_what_another_issuer_says_is_looked_for_by_what_it_claims(stage: Stage) -> None:
    """What we or an application signed is found by other rules: for those the whole identity is needed."""
    token = SIGNER.sign(CLAIMS)
    assert stage.claim(client_assertion=f" {token} ") == Claim(ISSUER, "sub", ("aud",))
    for other in (OWN, FROM_US, {**CLAIMS, "iss": CLIENT.upper()}, {**CLAIMS, "iss": 1}):
        assert stage.claim(client_assertion=SIGNER.sign(other)) is None
    padding = " " * (authenticator._CLAIM_CHARS - len(token))
    assert stage.claim(client_assertion=padding + token) is not None
    assert stage.claim(client_assertion=f" {padding}{token}") is None, "longer than any pod's"
    assert stage.claim(client_assertion="a.b.c") is None
    assert stage.claim(client_secret="secret") is None
    later = replace(stage, settings=replace(SETTINGS, propagation_seconds=60))
    assert later.claim(client_assertion=token) is None

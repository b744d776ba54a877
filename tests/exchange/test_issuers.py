"""Issuers' keys: fetched once, kept for a while, never for ever; and never asked for by a stranger."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from podpass import jose
from podpass.exchange import issuers as module
from podpass.exchange.issuers import IssuerDown, Issuers, check_document, fetch_keys
from podpass.fetch import FetchError
from podpass.settings import AuthoritySettings

if TYPE_CHECKING:
    from exchange.world import World

ISSUER = "https://oidc.test/x/"
JWKS = "https://oidc.test/x/openid/v1/jwks"
DISCOVERY = "/11111111/22222222/.well-known/openid-configuration"
KEYS = "/11111111/22222222/openid/v1/jwks"
KEY = jose.rsa_jwk(jose.generate_rsa().public_key(), "first")
SETTINGS = AuthoritySettings()


class Web:
    """Documents by address, and how often each was asked for."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {
            ISSUER + ".well-known/openid-configuration": {"issuer": ISSUER, "jwks_uri": JWKS},
            JWKS: {"keys": [KEY]},
        }
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None
        self.down = False
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    async def get_json(self, url: str) -> dict[str, Any]:
        self.asked.append(url)
        if self.gate is not None:
            await self.gate.wait()
        if self.down or url not in self.documents:
            raise FetchError("no answer", reason="unreachable")
        return dict(self.documents[url])


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def issuers(web: Web) -> Issuers:
    return Issuers(web, SETTINGS, web.clock)


async def test_keys_are_fetched_once_while_they_are_fresh(web: Web, issuers: Issuers) -> None:
    for _ in range(5):
        assert [key.kid for key in await issuers.keys(ISSUER, "first")] == ["first"]
    web.now += SETTINGS.issuer_fresh_seconds - 1
    await issuers.keys(ISSUER, "first")
    assert len(web.asked) == 2
    web.now += 1
    await issuers.keys(ISSUER, "first")
    assert len(web.asked) == 4


async def test_a_withdrawn_key_stops_working_when_its_keys_are_no_longer_fresh(
    web: Web, issuers: Issuers
) -> None:
    await issuers.keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": [{**KEY, "kid": "second"}]}
    assert await issuers.keys(ISSUER, "first")
    web.now += SETTINGS.issuer_fresh_seconds
    assert not await issuers.keys(ISSUER, "first")


async def test_a_new_key_is_found_before_the_old_ones_are_due(web: Web, issuers: Issuers) -> None:
    await issuers.keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": [KEY, {**KEY, "kid": "second"}]}
    web.now += SETTINGS.issuer_refetch_seconds
    assert await issuers.keys(ISSUER, "second")


async def test_a_flood_of_unknown_key_ids_makes_one_fetch_an_interval(
    web: Web, issuers: Issuers
) -> None:
    await issuers.keys(ISSUER, "first")
    web.now += SETTINGS.issuer_refetch_seconds
    floods = [issuers.keys(ISSUER, f"unknown-{n}") for n in range(500)]
    assert await asyncio.gather(*floods) == [()] * 500
    assert len(web.asked) == 4


async def test_many_at_once_share_one_fetch(web: Web, issuers: Issuers) -> None:
    web.gate = asyncio.Event()
    waiting = [asyncio.create_task(issuers.keys(ISSUER, "first")) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting[0].cancel()
    web.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(not isinstance(keys, BaseException) and len(keys) == 1 for keys in found[1:])
    assert len(web.asked) == 2


async def test_a_failed_issuer_is_left_alone_for_a_moment(web: Web, issuers: Issuers) -> None:
    web.down = True
    for _ in range(20):
        with pytest.raises(IssuerDown) as caught:
            await issuers.keys(ISSUER, "first")
        assert caught.value.facts["reason"] == "unreachable"
    assert len(web.asked) == 1
    web.down = False
    web.now += SETTINGS.issuer_retry_seconds
    assert await issuers.keys(ISSUER, "first")


async def test_keys_outlive_an_outage_up_to_a_limit(web: Web, issuers: Issuers) -> None:
    await issuers.keys(ISSUER, "first")
    web.down = True
    web.now += SETTINGS.issuer_fresh_seconds + SETTINGS.issuer_stale_seconds - 1
    assert await issuers.keys(ISSUER, "first")
    web.now += 1
    with pytest.raises(IssuerDown):
        await issuers.keys(ISSUER, "first")


async def test_a_clock_set_back_does_not_keep_old_keys_alive(web: Web, issuers: Issuers) -> None:
    await issuers.keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": []}
    web.now -= 100_000
    assert not await issuers.keys(ISSUER, "first")


async def test_keys_of_one_id_are_all_given_and_keys_without_one_are_not(web: Web) -> None:
    nameless = {name: value for name, value in KEY.items() if name != "kid"}
    web.documents[JWKS] = {"keys": [KEY, {**KEY, "alg": "RS512"}, nameless]}
    keys = await fetch_keys(web, ISSUER, ())
    assert {kid: len(found) for kid, found in keys.items()} == {"first": 2}


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": ISSUER},
        {"issuer": ISSUER, "jwks_uri": 5},
        {"issuer": ISSUER, "jwks_uri": ["https://oidc.test/"]},
        {"jwks_uri": JWKS},
        {"issuer": "https://oidc.test/x", "jwks_uri": JWKS},
        {"issuer": "https://OIDC.test/x/", "jwks_uri": JWKS},
        {"issuer": "https://oidc.test:443/x/", "jwks_uri": JWKS},
        {"issuer": [ISSUER], "jwks_uri": JWKS},
        {"issuer": ISSUER, "jwks_uri": "https://evil.test/"},
        {"issuer": ISSUER, "jwks_uri": "https://oidc.test.evil.test/"},
        {"issuer": ISSUER, "jwks_uri": "https://oidc.test@evil.test/"},
        {"issuer": ISSUER, "jwks_uri": "http://oidc.test/keys"},
        {"issuer": ISSUER, "jwks_uri": "https://oidc.test:8443/keys"},
        {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
        {"issuer": ISSUER, "jwks_uri": "https://[::1"},
        {"issuer": ISSUER, "jwks_uri": JWKS, "authorization_endpoint": ""},
        {"issuer": ISSUER, "jwks_uri": JWKS, "subject_types_supported": []},
    ],
)
def test_a_document_that_does_not_speak_for_the_issuer_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(IssuerDown):
        check_document(document, ISSUER, ("https://keys.test",))


@pytest.mark.parametrize("where", [JWKS, "https://oidc.test:443/k", "https://keys.test/certs"])
def test_keys_may_be_beside_the_issuer_or_where_the_settings_say(where: str) -> None:
    check_document({"issuer": ISSUER, "jwks_uri": where}, ISSUER, ("https://keys.test",))


async def test_an_issuer_that_no_credential_names_is_never_asked(world: "World") -> None:
    """A caller must not choose what we fetch."""
    for issuer in ("https://eastus.oic.test/evil/", world.ISSUER.removesuffix("/")):
        answer = await world.ask(client_assertion=world.mint(iss=issuer))
        assert answer.code == 700211
    for token in (world.mint(aud="x"), world.mint(sub="x")):
        await world.ask(client_assertion=token)
    assert world.site.hits == []


async def test_a_key_rotated_in_works_and_one_rotated_away_does_not(world: "World") -> None:
    old = world.mint()
    assert (await world.ask(client_assertion=old)).status == 200
    old_kid = world.ring.active.kid
    world.ring.rotate()
    world.now += 30
    assert (await world.ask(client_assertion=world.mint())).status == 200
    assert (await world.ask(client_assertion=old)).status == 200
    world.ring.retire(old_kid)
    world.now += 300
    answer = await world.ask(client_assertion=old)
    assert answer.code == 7000272
    assert jose.b64decode(old_kid).hex().upper() in answer.body["error_description"]


@pytest.mark.parametrize(
    "document",
    [
        b"<html>",
        b"{}",
        b'{"issuer":"https://eastus.oic.test/11111111/22222222","jwks_uri":"https://eastus.oic.test/k"}',
        b'{"issuer":"https://eastus.oic.test/11111111/22222222/","jwks_uri":"https://evil.test/k"}',
        b'{"issuer":"https://eastus.oic.test/11111111/22222222/","jwks_uri":"https://127.0.0.1/k"}',
    ],
)
async def test_an_unfit_document_is_a_failed_request_whose_cause_only_the_log_has(
    world: "World", document: bytes
) -> None:
    world.site.answers[DISCOVERY] = (200, document, {})
    answer = await world.ask()
    assert (answer.status, answer.code) == (400, 501661)
    assert answer.body["error_description"].startswith(
        "AADSTS501661: The request to the external OIDC endpoint failed. Trace"
    )


async def test_a_redirect_to_the_inside_is_not_followed(world: "World") -> None:
    for target in ("https://169.254.169.254/", "https://eastus.oic.test/elsewhere"):
        world.site.answers[DISCOVERY] = (302, b"", {"location": target})
        assert (await world.ask()).code == 501661
        world.now += 100
    assert set(world.site.hits) == {DISCOVERY}


async def test_an_oversized_or_compressed_key_set_is_a_failed_request(world: "World") -> None:
    huge = json.dumps({"keys": [KEY] * 10_000}).encode()
    for body, headers in ((huge, {}), (b"{}", {"content-encoding": "gzip"}), (b'{"keys":1}', {})):
        world.site.answers[KEYS] = (200, body, headers)
        assert (await world.ask()).code == 501661
        world.now += 100


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"alg": "RS512"},
        {"kty": "oct", "k": "AA"},
        {"e": "AQ"},
    ],
)
async def test_a_published_key_that_is_not_for_this_is_not_used(
    world: "World", changes: dict[str, Any]
) -> None:
    key = jose.rsa_jwk(world.ring.active.key.public_key(), world.ring.active.kid)
    world.site.answers[KEYS] = (200, json.dumps({"keys": [{**key, **changes}]}).encode(), {})
    assert (await world.ask()).code in {7000272, 7000274}


async def test_of_two_keys_with_one_id_the_fitting_one_counts(world: "World") -> None:
    own = jose.rsa_jwk(world.ring.active.key.public_key(), world.ring.active.kid)
    stranger = {**KEY, "kid": world.ring.active.kid}
    world.site.answers[KEYS] = (200, json.dumps({"keys": [stranger, own]}).encode(), {})
    assert (await world.ask()).status == 200
    world.site.answers[KEYS] = (200, json.dumps({"keys": [stranger]}).encode(), {})
    world.now += 300
    assert (await world.ask()).code == 7000274


async def test_a_flood_of_forged_key_ids_reaches_the_issuer_once(world: "World") -> None:
    await world.ask()
    world.now += 30
    tokens = [world.mint({"kid": f"k{n}"}) for n in range(40)]
    answers = await asyncio.gather(*(world.ask(client_assertion=token) for token in tokens))
    assert {answer.code for answer in answers} == {7000272}
    assert world.site.hits == [DISCOVERY, KEYS] * 2


async def test_no_more_issuers_are_remembered_than_the_bound(
    issuers: Issuers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when entries only grow: whoever may write credentials could fill the memory."""
    monkeypatch.setattr(module, "MAX_ISSUERS", 3)
    for n in range(10):
        with pytest.raises(IssuerDown):
            await issuers.keys(f"https://oidc.test/{n}/", "first")
    assert len(issuers._entries) <= 3
    assert await issuers.keys(ISSUER, "first")

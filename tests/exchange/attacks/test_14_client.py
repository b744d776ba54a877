"""Group 14: client identification and authentication: wrong ids, two credentials, another encoding."""

import base64
from urllib.parse import urlencode

import pytest

from podpass import names
from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("client", "code"),
    [
        (None, 900144),
        ("", 900144),
        (" ", 900144),
        ("99999999-9999-4999-8999-999999999999", 700016),
        ("33333333333343338333333333333333", 700016),
        ("{33333333-3333-4333-8333-333333333333}", 700016),
        ("33333333-3333-4333-8333-333333333333 ", 700016),
        ("33333333-3333-4333-8333-333333333333\0", 700016),
        ("\uff13\uff13333333-3333-4333-8333-333333333333", 700016),
        ("api://33333333-3333-4333-8333-333333333333", 700016),
        ("web", 700016),
        ("*", 700016),
        ("' or '1'='1", 700016),
        ("../33333333-3333-4333-8333-333333333333", 700016),
    ],
)
async def test_client_is_identified_by_its_client_id_only(
    shared: World, client: str | None, code: int
) -> None:
    answer = await shared.request_token(client_id=client)
    assert answer.code == code
    assert answer.status in {400, 401}


async def test_assertion_authenticates_only_the_client_whose_credential_trusts_it(
    shared: World,
) -> None:
    """The object id, the resource id and other client ids of the tenant are refused."""
    for client in (shared.OBJECT, shared.MIRID, shared.TENANT):
        assert (await shared.request_token(client_id=client)).code == 700016


async def test_two_kinds_of_client_authentication_are_refused(shared: World) -> None:
    answer = await shared.request_token(client_secret="x")
    assert (answer.status, answer.code) == (400, 9002313)
    basic = base64.b64encode(f"{shared.CLIENT}:x".encode()).decode()
    answer = await shared.send(
        body=urlencode(shared.form()), headers={"Authorization": f"Basic {basic}"}
    )
    assert (answer.status, answer.code) == (400, 9002313)


@pytest.mark.parametrize(
    "field", ["client_assertion", "client_assertion_type", "client_id", "grant_type", "scope", "x"]
)
async def test_duplicate_parameter_is_refused(shared: World, field: str) -> None:
    form = {**shared.form(), "x": "1"}
    encoded = "".join(f"%{ord(sign):02x}" for sign in field)
    for again in (field, encoded):
        for value in (form[field], "", "other"):
            body = urlencode(form) + f"&{again}=" + urlencode({"": value})[1:]
            answer = await shared.send(body=body)
            assert (answer.status, answer.code) == (400, 9002313)


async def test_query_parameters_are_ignored(shared: World) -> None:
    """An assertion in a URL must not be accepted, because proxies and servers log URLs."""
    form = shared.form()
    assertion = form.pop("client_assertion")
    path = f"/{shared.TENANT}/oauth2/v2.0/token?" + urlencode({"client_assertion": assertion})
    assert (await shared.send(path, body=urlencode(form))).code == 7000216
    everything = f"/{shared.TENANT}/oauth2/v2.0/token?" + urlencode(shared.form())
    assert (await shared.send(everything)).code == 900144


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (None, 900144),
        ("", 900144),
        ("urn:ietf:params:oauth:client-assertion-type:saml2-bearer", 9002313),
        (names.JWT_BEARER.upper(), 9002313),
        (names.JWT_BEARER + " ", 9002313),
        ("urn:ietf:params:oauth:grant-type:jwt-bearer", 9002313),
    ],
)
async def test_unknown_client_assertion_type_is_refused(
    shared: World, kind: str | None, code: int
) -> None:
    answer = await shared.request_token(client_assertion_type=kind)
    assert (answer.status, answer.code) == (400, code)


@pytest.mark.parametrize(
    ("grant", "code"),
    [
        ("Client_Credentials", 70003),
        ("client_credentials ", 70003),
        ("client_credentials\0", 70003),
        ("implicit", 70003),
        ("urn:ietf:params:oauth:grant-type:token-exchange", 70003),
        ("", 900144),
        (None, 900144),
    ],
)
async def test_other_grant_types_do_not_bypass_the_checks(
    shared: World, grant: str | None, code: int
) -> None:
    assert (await shared.request_token(grant_type=grant)).code == code

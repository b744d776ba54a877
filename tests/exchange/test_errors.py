"""Every AADSTS number that the service returns, each with a real cause over HTTP, and their order."""

import dataclasses
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from podpass import names
from podpass.crypto import jose
from podpass.directory.model import FederatedCredential
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import (
    ASSERTION_ROWS,
    CLIENT_ROWS,
    STEPS,
    TABLE,
    UNIFORM_ROWS,
    USER_ROWS,
    AadstsError,
    sanitize,
)
from tests.directory.database_faults import corrupt
from tests.exchange import managed_identity_tokens
from tests.exchange.client_auth.test_secrets import (
    DER,
    SECRET,
    add_credentials,
    create_password,
    request_with_assertion,
    request_with_secret,
    sign_assertion,
    to_key_credential,
)
from tests.exchange.sign_in.browser import AZ
from tests.exchange.world import Answer, World

Cause = Callable[[World], Awaitable[Answer]]
KEY = to_key_credential(DER)
UNKNOWN = "99999999-9999-4999-8999-999999999999"


def test_each_number_has_one_name() -> None:
    named = [value for name, value in vars(numbers).items() if name.isupper()]
    assert sorted(named) == sorted(TABLE)


def form(**changes: str | None) -> Cause:
    return lambda world: world.request_token(None, **changes)


def path(tail: str, **changes: str | None) -> Cause:
    return lambda world: world.request_token(tail.format(world.TENANT), **changes)


def claims(**changes: Any) -> Cause:
    return lambda world: world.present(world.mint(**changes))


def header(**changes: Any) -> Cause:
    return lambda world: world.present(world.mint(changes))


async def request_as_disabled_identity(world: World) -> Answer:
    await change_identity(world, enabled=False)
    return await world.request_token()


async def request_without_credentials(world: World) -> Answer:
    await change_identity(world, credentials=())
    return await world.request_token()


async def change_identity(world: World, **changes: Any) -> None:
    identity = await world.directory.find_identity(world.TENANT, world.CLIENT)
    assert identity is not None
    await world.directory.identities.put(dataclasses.replace(identity, **changes))


async def request_with_other_case(world: World) -> Answer:
    return await world.present(world.mint(sub=world.SUBJECT.replace("web", "Web")))


async def request_with_other_claims(world: World) -> Answer:
    issuer = "https://app.terraform.io"
    flexible = FederatedCredential(
        name="flexible",
        issuer=issuer,
        subject="",
        audiences=(names.EXCHANGE_AUDIENCE,),
        expression="claims['sub'] matches 'organization:a:*'",
    )
    await world.directory.identities.put_credential(world.TENANT, world.CLIENT, flexible)
    return await world.present(world.mint(iss=issuer, sub="organization:b:x"))


async def request_while_issuer_is_down(world: World) -> Answer:
    world.site.answers["/11111111/22222222/.well-known/openid-configuration"] = (503, b"", {})
    return await world.request_token()


async def request_with_withdrawn_key(world: World) -> Answer:
    token = world.mint()
    old = world.ring.active.kid
    world.ring.rotate()
    world.ring.retire(old)
    return await world.present(token)


async def request_with_forged_signature(world: World) -> Answer:
    head, body, _ = world.mint().split(".")
    return await world.present(f"{head}.{body}.{jose.b64encode(bytes(256))}")


async def request_with_closed_directory(world: World) -> Answer:
    await world.directory.close()
    return await world.request_token()


async def discover_unknown_instance(world: World) -> Answer:
    query = "api-version=1.1&authorization_endpoint=https://evil.test/common/oauth2/v2.0/authorize"
    return await world.send(f"/common/discovery/instance?{query}", method="GET")


async def send_get(world: World) -> Answer:
    return await world.send(method="GET")


async def request_without_principal(world: World) -> Answer:
    await world.change(world.APPLICATION, has_principal=False)
    return await world.request_token(client_id=world.APPLICATION)


async def request_with_expired_secret(world: World) -> Answer:
    await add_credentials(world, passwords=(create_password(SECRET, expires=1.0),))
    return await request_with_secret(world)


async def request_with_expired_certificate(world: World) -> Answer:
    await add_credentials(world, keys=(dataclasses.replace(KEY, expires=1.0),))
    return await request_with_assertion(world, sign_assertion(world))


def certificate_assertion(**changes: Any) -> Cause:
    async def cause(world: World) -> Answer:
        await add_credentials(world)
        return await request_with_assertion(world, sign_assertion(world, **changes))

    return cause


def signed_in(**changes: str) -> Cause:
    """Return the parameters of a user's sign-in, whose client authenticates in the same way."""

    async def cause(world: World) -> Answer:
        fields = {
            "grant_type": "password",
            "client_id": world.APPLICATION,
            "username": world.ADMIN,
            "password": world.PASSWORD,
            "scope": "openid",
        }
        return await world.post(f"/{world.TENANT}/oauth2/v2.0/token", **{**fields, **changes})

    return cause


async def request_without_assignment(world: World) -> Answer:
    await world.change(world.APPLICATION, principal={"appRoleAssignmentRequired": True})
    return await world.request_token(scope=f"api://{world.APPLICATION}/.default")


async def request_with_corrupt_row(world: World) -> Answer:
    file = world.ca_file.parent / "keys" / "authority" / "directory.db"
    corrupt(file, "UPDATE identities SET kind = 'x' WHERE name = 'web'")
    world.directory._session.clear_caches()
    return await world.request_token()


V1 = "/{0}/oauth2/token"
FOREIGN = f"{{url}}/{UNKNOWN}/v2.0"
CAUSES: list[tuple[int, int, str, Cause]] = [
    (900561, 400, "invalid_request", send_get),
    (9002313, 400, "invalid_request", lambda world: world.send(body=b"a=1&a=2")),
    (9002313, 400, "invalid_request", form(client_secret="x")),
    (9002313, 400, "invalid_request", form(client_assertion_type="urn:other")),
    (50000, 500, "server_error", request_with_closed_directory),
    (90033, 503, "temporarily_unavailable", request_with_corrupt_row),
    (900023, 400, "invalid_request", path("/nonsense/oauth2/v2.0/token")),
    (90002, 400, "invalid_request", path(f"/{UNKNOWN}/oauth2/v2.0/token")),
    (90002, 400, "invalid_request", path("/unknown.test/oauth2/v2.0/token")),
    (9001023, 400, "invalid_request", path("/common/oauth2/v2.0/token")),
    (9001023, 400, "invalid_request", path("/Organizations/oauth2/v2.0/token")),
    (900144, 400, "invalid_request", form(grant_type=None)),
    (900144, 400, "invalid_request", form(client_id="")),
    (900144, 400, "invalid_request", form(scope=None)),
    (900144, 400, "invalid_request", form(client_assertion_type=None)),
    (900144, 400, "invalid_request", path(V1)),
    (
        70003,
        400,
        "unsupported_grant_type",
        form(grant_type="urn:ietf:params:oauth:grant-type:jwt-bearer"),
    ),
    (901002, 400, "invalid_request", form(resource="https://vault.azure.net")),
    (700016, 400, "unauthorized_client", form(client_id=UNKNOWN)),
    (700016, 400, "unauthorized_client", form(client_id="not-a-guid")),
    (7000112, 400, "unauthorized_client", request_as_disabled_identity),
    (7000229, 401, "invalid_client", request_without_principal),
    (7000216, 401, "invalid_client", form(client_assertion=None)),
    (7000216, 401, "invalid_client", form(client_assertion=" \n")),
    (7000215, 401, "invalid_client", form(client_assertion=None, client_secret="x")),
    (7000218, 401, "invalid_client", signed_in()),
    (700025, 401, "invalid_client", signed_in(client_id=AZ, client_secret="x")),
    (7000222, 401, "invalid_client", request_with_expired_secret),
    (50027, 400, "invalid_request", form(client_assertion="no.token")),
    (5002727, 400, "invalid_request", header(typ="at+jwt")),
    (5002738, 401, "invalid_client", header(alg="none")),
    (5002723, 401, "invalid_client", header(kid=None)),
    (90014, 400, "invalid_request", claims(iss=None)),
    (90014, 400, "invalid_request", claims(exp=None)),
    (700021, 401, "invalid_client", certificate_assertion(sub="someone")),
    (700023, 401, "invalid_client", certificate_assertion(aud="https://other.test/")),
    (700222, 401, "invalid_client", claims(iss="https://sts.windows.net/t/")),
    (70025, 401, "invalid_client", request_without_credentials),
    (700211, 401, "invalid_client", claims(iss="https://other.test/")),
    (700212, 401, "invalid_client", claims(aud=["https://kubernetes.default.svc"])),
    (7002121, 401, "invalid_client", managed_identity_tokens.cause({"aud": "other"})),
    (
        700236,
        401,
        "invalid_client",
        managed_identity_tokens.cause({"iss": FOREIGN}, issuer=FOREIGN),
    ),
    (700227, 401, "invalid_client", managed_identity_tokens.cause({"aud": "x"}, audiences=("x",))),
    (700229, 401, "invalid_client", managed_identity_tokens.cause({"idtyp": "user"})),
    (700226, 401, "invalid_client", managed_identity_tokens.cause({"azp": UNKNOWN})),
    (700231, 401, "invalid_client", managed_identity_tokens.cause({"xms_ficinfo": ""})),
    (7002138, 401, "invalid_client", request_with_other_case),
    (700213, 401, "invalid_client", claims(sub="system:serviceaccount:default:other")),
    (7002131, 401, "invalid_client", request_with_other_claims),
    (70023, 401, "invalid_client", claims(iat=None)),
    (501661, 400, "invalid_request", request_while_issuer_is_down),
    (7000272, 401, "invalid_client", request_with_withdrawn_key),
    (700027, 401, "invalid_client", certificate_assertion(header={"kid": "k"})),
    (1000502, 401, "invalid_client", request_with_expired_certificate),
    (7000274, 401, "invalid_client", request_with_forged_signature),
    (700024, 401, "invalid_client", claims(exp=1_749_999_999)),
    (70011, 400, "invalid_scope", form(scope="openid")),
    (1002012, 400, "invalid_scope", form(scope="https://vault.azure.net/secrets.read")),
    (
        700022,
        400,
        "invalid_request",
        form(scope="https://vault.azure.net/.default https://graph.microsoft.com/.default"),
    ),
    (500011, 400, "invalid_resource", form(scope="https://nowhere.test/.default")),
    (501051, 400, "invalid_grant", request_without_assignment),
    (50049, 400, "invalid_instance", discover_unknown_instance),
]


@pytest.mark.parametrize(("number", "status", "error", "cause"), CAUSES)
async def test_each_cause_returns_its_number(
    world: World, number: int, status: int, error: str, cause: Cause
) -> None:
    answer = await cause(world)
    assert (answer.code, answer.status, answer.body["error"]) == (number, status, error)
    assert answer.body["error_description"].startswith(f"AADSTS{number}: ")
    assert "{" not in answer.body["error_description"]


def test_every_number_of_the_catalogue_is_tested() -> None:
    assert {number for number, *_ in CAUSES} == {
        row.number for row in (*CLIENT_ROWS, *ASSERTION_ROWS)
    }


def test_every_row_of_the_error_table_is_in_a_coverage_test() -> None:
    """Fails if an error table has entries that no test provokes; the tests of the other tables are named."""
    elsewhere = {
        *USER_ROWS,  # test_user_refusals::test_every_sign_in_error_number_has_a_cause
        *UNIFORM_ROWS,  # attacks/test_21_oracle
    }
    assert set(TABLE.values()) == {*CLIENT_ROWS, *ASSERTION_ROWS, *elsewhere}


def test_every_entry_has_a_resolution_and_a_step() -> None:
    for number, entry in TABLE.items():
        assert entry.number == number
        assert entry.step in STEPS
        assert entry.cause.endswith(".")
        assert entry.resolution
        assert not entry.resolution.endswith(".")


def test_error_lists_the_steps_that_passed_before_it() -> None:
    assert AadstsError(70025, client="c", name="n").checked == STEPS[: STEPS.index("trust")]
    assert AadstsError(900561, method="GET").checked == ()


def test_untrusted_values_become_one_bounded_line() -> None:
    assert sanitize("a\nb\u202e") == "a?b?"
    assert len(sanitize("x" * 5000)) < 700
    assert sanitize(None) == "None"


# In the order of the checks. Each error alone returns its number; two together must return the earlier
# number.
Fault = dict[str, Any]
FAULTS: list[tuple[int, Fault]] = [
    (900023, {"tenant": "nonsense"}),
    (70003, {"form": {"grant_type": "implicit"}}),
    (900144, {"form": {"scope": None}}),
    (700016, {"form": {"client_id": UNKNOWN}}),
    (9002313, {"form": {"client_secret": "x"}}),
    (50027, {"tail": "="}),
    (5002727, {"header": {"typ": "at+jwt"}}),
    (5002738, {"header": {"alg": "HS256"}}),
    (5002723, {"header": {"kid": None}}),
    (90014, {"claims": {"nbf": "soon"}}),
    (700211, {"claims": {"iss": "https://other.test/"}}),
    (700212, {"claims": {"aud": "other"}}),
    (700213, {"claims": {"sub": "other"}}),
    (70023, {"claims": {"iat": 0}}),
    (501661, {"down": True}),
    (7000274, {"forged": True}),
    (700024, {"claims": {"exp": 1_700_000_000}}),
    (500011, {"scope": {"scope": "https://nowhere.test/.default"}}),
]


async def request_with_errors(world: World, *faults: Fault) -> int:
    def of(name: str) -> dict[str, Any]:
        return {key: value for fault in faults for key, value in fault.get(name, {}).items()}

    world.now += 10_000  # all cached keys are too old
    token = world.mint(of("header"), **of("claims"))
    if any("forged" in fault for fault in faults):
        token = token[: token.rindex(".") + 1] + jose.b64encode(bytes(256))
    token += "".join(fault.get("tail", "") for fault in faults)
    discovery = "/11111111/22222222/.well-known/openid-configuration"
    world.site.answers.clear()
    if any("down" in fault for fault in faults):
        world.site.answers[discovery] = (503, b"", {})
    fields = {"client_assertion": token, **of("scope"), **of("form")}
    tenant = next((fault["tenant"] for fault in faults if "tenant" in fault), world.TENANT)
    return (await world.request_token(f"/{tenant}/oauth2/v2.0/token", **fields)).code


async def test_earlier_of_two_errors_is_returned(world: World) -> None:
    world.now -= 10_000 * 200
    for first, a in FAULTS:
        assert await request_with_errors(world, a) == first, a
    for (first, a), (second, b) in itertools.combinations(FAULTS, 2):
        assert await request_with_errors(world, a, b) == first, (first, second)


def test_error_order_follows_the_steps() -> None:
    steps = [STEPS.index(TABLE[number].step) for number, fault in FAULTS if number != 9002313]
    assert steps == sorted(steps)


@pytest.mark.parametrize("sign", [";", "&amp;", "%26", " ", "/"])
@pytest.mark.parametrize("place", ["grant_type", "client_id", "scope", "tenant"])
async def test_no_part_of_an_assertion_is_returned_or_logged(
    world: World, caplog: pytest.LogCaptureFixture, place: str, sign: str
) -> None:
    """A form with a wrong separator has the token in the place of a name, which must not be shown."""
    logger = logging.getLogger("podpass")
    before = logger.propagate
    logger.propagate = True
    token = world.mint()
    value = f"https://vault.azure.net{sign}client_assertion={token}"
    with caplog.at_level(logging.DEBUG, "podpass"):
        if place == "tenant":
            answer = await world.request_token(f"/{token}/oauth2/v2.0/token")
        else:
            answer = await world.request_token(None, **{place: value})
    logger.propagate = before
    output = answer.body["error_description"] + "".join(str(vars(each)) for each in caplog.records)
    assert not [part for part in token.split(".") if part[:40] in output]


def test_only_the_first_word_of_a_grant_type_is_shown() -> None:
    shown_grant = AadstsError(
        70003, grant="client_credentials;client_secret=hush" + "x" * 99
    ).message
    assert shown_grant == "The grant type 'client_credentials' is not supported."
    assert len(AadstsError(70003, grant="x" * 500).message) < 150

"""The token endpoint over TLS: responses and log lines."""

import base64
import dataclasses
import json
import logging
import re
from typing import Any
from urllib.parse import urlencode

import pytest

from podpass.crypto import jose
from podpass.kubernetes.service_account.names import subject
from tests.directory.database_faults import corrupt
from tests.exchange.sign_in.browser import AZ
from tests.exchange.world import Answer, Start, World
from tests.http.coded_bodies import ACCEPTED, CODERS, REFUSED

GUID = "9b1b7d5c-0000-4000-8000-0123456789ab"
ANY_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def verify_token(world: World, answer: Answer) -> dict[str, Any]:
    """Verify the access token with the key that its header names; return its claims."""
    token = jose.parse(answer.body["access_token"])
    key = next(each for each in world.keys.published if each.kid == token.kid)
    algs = frozenset({"RS256"})
    jose.verify(token, jose.PublicKey(kid=key.kid, algs=algs, key=key.public))
    return dict(token.claims)


async def test_assertion_is_exchanged_for_a_token_of_one_day(world: World) -> None:
    answer = await world.request_token()
    claims = verify_token(world, answer)
    assert answer.status == 200
    assert list(answer.body) == [
        *("token_type", "expires_in", "ext_expires_in", "expires_on", "refresh_in", "access_token"),
    ]
    assert answer.body["token_type"] == "Bearer"
    assert answer.body["expires_in"] == answer.body["ext_expires_in"] == 86399
    assert answer.body["refresh_in"] == 43199
    assert answer.body["expires_on"] == claims["exp"] == int(world.NOW) + 86399


async def test_lookup_by_claim_does_not_read_the_whole_identity(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def whole(*_: str) -> None:
        raise AssertionError("the whole identity was asked for")

    world.directory._session.clear_caches()
    monkeypatch.setattr(world.directory, "find_identity", whole)
    assert (await world.request_token()).status == 200


async def test_v1_token_names_resource_tenant_and_managed_identity(world: World) -> None:
    answer = await world.request_token()
    claims = verify_token(world, answer)
    header = jose.parse(answer.body["access_token"]).header
    issuer = f"https://sts.windows.net/{world.TENANT}/"
    assert header == {
        "alg": "RS256",
        "kid": world.keys.active.kid,
        "typ": "JWT",
        "x5t": world.keys.active.kid,
    }
    assert len(claims.pop("uti")) == 22
    assert claims == {
        "aud": "https://vault.azure.net",
        "iss": issuer,
        "iat": int(world.NOW) - 300,
        "nbf": int(world.NOW) - 300,
        "exp": int(world.NOW) + 86399,
        "appid": world.CLIENT,
        "appidacr": "2",
        "idp": issuer,
        "idtyp": "app",
        "oid": world.OBJECT,
        "sub": world.OBJECT,
        "tid": world.TENANT,
        "ver": "1.0",
        "xms_ficinfo": "CAAQABgAIAA",
        "xms_mirid": world.MIRID,
    }


async def test_v2_token_has_the_application_id_as_audience(world: World) -> None:
    answer = await world.request_token(
        client_id=world.APPLICATION, scope=f"api://{world.APPLICATION}/.default"
    )
    claims = verify_token(world, answer)
    assert "x5t" not in jose.parse(answer.body["access_token"]).header
    assert claims["aud"] == claims["azp"] == world.APPLICATION
    assert claims["azpacr"] == "2"
    assert claims["ver"] == "2.0"
    assert claims["iss"] == f"{world.url}/{world.TENANT}/v2.0"
    assert not {"appid", "xms_mirid", "idp", "roles"} & claims.keys()


@pytest.mark.parametrize(
    ("scope", "audience"),
    [
        ("https://vault.azure.net/.default", "https://vault.azure.net"),
        ("https://vault.azure.net//.default", "https://vault.azure.net/"),
        ("https://management.core.windows.net//.default", "https://management.core.windows.net/"),
        ("https://management.azure.com/.default", "https://management.azure.com"),
        ("https://graph.microsoft.com/.default", "https://graph.microsoft.com"),
        (
            "https://storage.azure.com/.default openid offline_access profile",
            "https://storage.azure.com",
        ),
        ("openid https://storage.azure.com/.default", "https://storage.azure.com"),
    ],
)
async def test_audience_is_the_requested_resource(world: World, scope: str, audience: str) -> None:
    answer = await world.request_token(scope=scope)
    assert verify_token(world, answer)["aud"] == audience
    assert "scope" not in answer.body


async def test_v1_endpoint_returns_numbers_as_strings(world: World) -> None:
    answer = await world.request_token(
        f"/{world.TENANT}/oauth2/token", scope=None, resource="https://vault.azure.net"
    )
    token = answer.body.pop("access_token")
    assert answer.body == {
        "token_type": "Bearer",
        "expires_in": "86399",
        "ext_expires_in": "86399",
        "expires_on": str(int(world.NOW) + 86399),
        "refresh_in": "43199",
        "not_before": str(int(world.NOW) - 300),
        "resource": "https://vault.azure.net",
    }
    assert jose.parse(token).claims["aud"] == "https://vault.azure.net"


async def test_short_token_has_no_refresh_in(start: Start) -> None:
    world = await start(token_seconds=3599)
    answer = await world.request_token()
    assert answer.body["expires_in"] == 3599
    assert "refresh_in" not in answer.body


@pytest.mark.parametrize(
    "path",
    [
        "//{0}/oauth2/v2.0/token",
        "/{0}/OAuth2/V2.0/Token",
        "/contoso.test/oauth2/v2.0/token",
        "/CONTOSO.test/oauth2/v2.0/token",
        "/{0}/oauth2/v2.0/token?client-request-id=" + GUID,
    ],
)
async def test_paths_of_real_clients_are_accepted(world: World, path: str) -> None:
    answer = await world.request_token(path.format(world.TENANT))
    assert answer.status == 200
    assert answer.claims()["tid"] == world.TENANT


async def test_blanks_around_the_assertion_are_ignored(world: World) -> None:
    answer = await world.present(f" {world.mint()}\n")
    assert answer.status == 200


async def test_unknown_form_parameters_are_ignored(world: World) -> None:
    answer = await world.request_token(
        claims='{"access_token":{"xms_cc":{"values":["CP1"]}}}',
        client_info="1",
        **{"x-client-SKU": "msal.js.node", "client-request-id": GUID},
    )
    assert answer.status == 200


@pytest.mark.parametrize("name", ["client-request-id", "x-ms-client-request-id"])
async def test_request_id_of_the_caller_is_the_correlation_id(world: World, name: str) -> None:
    answer = await world.send(body="", headers={name: GUID})
    assert answer.body["correlation_id"] == GUID
    assert answer.headers["client-request-id"] == GUID
    assert GUID in answer.body["error_description"]


async def test_error_has_every_member_that_clients_read(world: World) -> None:
    answer = await world.request_token(client_id=GUID)
    body = answer.body
    assert answer.status == 400
    assert body["error"] == "unauthorized_client"
    assert body["error_codes"] == [700016]
    assert body["timestamp"] == "2025-06-15 15:06:40Z"
    assert body["trace_id"] == answer.headers["x-ms-request-id"]
    assert body["error_uri"] == "https://login.microsoftonline.com/error?code=700016"
    assert body["error_description"] == (
        f"AADSTS700016: Application with identifier '{GUID}' was not found in the directory 'Contoso'. "
        f"Trace ID: {body['trace_id']} Correlation ID: {body['correlation_id']} "
        "Timestamp: 2025-06-15 15:06:40Z"
    )


@pytest.mark.parametrize("changes", [{}, {"client_id": GUID}])
async def test_token_responses_are_not_cacheable(world: World, changes: dict[str, str]) -> None:
    answer = await world.request_token(**changes)
    assert answer.headers["Cache-Control"] == "no-store, no-cache"
    assert answer.headers["Pragma"] == "no-cache"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_body_over_the_limit_is_refused_before_it_is_fully_read(world: World) -> None:
    answer = await world.send(body=b"a=" + b"x" * 900_000)
    assert (answer.status, answer.code) == (413, 9002313)


@pytest.mark.parametrize("coding", sorted(CODERS))
@pytest.mark.parametrize("path", ["token", "devicecode"])
async def test_compressed_form_is_read(world: World, path: str, coding: str) -> None:
    """azwi sends its token requests through the same compressing client as its Graph requests."""
    form = world.form() if path == "token" else {"client_id": AZ, "scope": "openid"}
    body = CODERS[coding](urlencode(form).encode())
    answer = await world.send(
        f"/{world.TENANT}/oauth2/v2.0/{path}", body=body, headers={"Content-Encoding": coding}
    )
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(("coding", "body", "status"), REFUSED)
@pytest.mark.parametrize("path", ["token", "devicecode"])
async def test_invalid_compressed_form_is_refused(
    world: World, path: str, coding: str, body: bytes, status: int
) -> None:
    answer = await world.send(
        f"/{world.TENANT}/oauth2/v2.0/{path}", body=body, headers={"Content-Encoding": coding}
    )
    assert (answer.status, answer.code) == (status, 9002313)
    assert answer.headers.get("Accept-Encoding") == (ACCEPTED if status == 415 else None)


async def test_json_body_is_refused_for_missing_grant_type(world: World) -> None:
    """As in Entra, a body that is not a form has no parameters."""
    answer = await world.send(
        body=json.dumps(world.form()), headers={"Content-Type": "application/json"}
    )
    assert (answer.status, answer.code) == (400, 900144)
    assert "grant_type" in answer.body["error_description"]


async def test_unknown_secret_in_http_basic_is_refused(world: World) -> None:
    pair = base64.b64encode(f"{world.CLIENT}:s%2Bcret".encode()).decode()
    body = urlencode(world.form(client_id=None, client_assertion=None, client_assertion_type=None))
    answer = await world.send(body=body, headers={"Authorization": f"Basic {pair}"})
    assert (answer.status, answer.code) == (401, 7000215)
    answer = await world.send(body=body, headers={"Authorization": "Basic ???"})
    assert answer.code == 9002313


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_token_endpoint_accepts_only_post(world: World, method: str) -> None:
    answer = await world.send(method=method)
    assert (answer.status, answer.code) == (400, 900561)
    assert method in answer.body["error_description"]


async def test_other_paths_are_not_found(world: World) -> None:
    for path in ("/", "/x", f"/{world.TENANT}", f"/{world.TENANT}/oauth2/v2.0/nothing", "/%00/x"):
        assert (await world.send(path, method="GET")).status == 404


async def test_granted_request_is_logged_without_tokens(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podpass")
    token = world.mint()
    answer = await world.present(token)
    line = next(r for r in caplog.records if r.getMessage() == "token_request_answered")
    facts = vars(line)
    assert facts["hop"] is True
    assert facts["stage"] == "exchange"
    assert facts["outcome"] == "granted"
    assert facts["checked"][0] == "wire"
    assert facts["checked"][-1] == "resource"
    assert facts["client_id"] == world.CLIENT
    assert facts["sub"] == world.SUBJECT
    assert facts["iss"] == world.ISSUER
    assert facts["kid"] == world.ring.active.kid
    assert facts["resource"] == "https://vault.azure.net"
    everything = repr([vars(record) for record in caplog.records])
    for secret in (token, token.rpartition(".")[2], answer.body["access_token"]):
        assert secret not in everything


@pytest.mark.parametrize("subject", ["default:web", "default:other"])
@pytest.mark.parametrize("pod", ["", "web-1"])
async def test_request_of_doctor_is_marked_in_the_log_unless_the_token_is_that_of_a_pod(
    world: World, caplog: pytest.LogCaptureFixture, pod: str, subject: str
) -> None:
    """Fails if a pod hides its exchanges from the counts of the console by the User-Agent of doctor."""
    caplog.set_level(logging.INFO, "podpass")
    claims = {"kubernetes.io": {"namespace": "default", "pod": {"name": pod}}} if pod else {}
    for agent in ("podpass-doctor/1", "azsdk-python-identity/1"):
        token = world.mint(sub=f"system:serviceaccount:{subject}", **claims)
        await world.send(
            f"/{world.TENANT}/oauth2/v2.0/token",
            body=urlencode(world.form(client_assertion=token)),
            headers={"User-Agent": agent},
        )
    lines = [vars(r) for r in caplog.records if r.getMessage() == "token_request_answered"]
    assert [each.get("by_doctor", False) for each in lines] == [not pod, False]
    assert [each.get("pod", "") for each in lines] == [pod, pod]


async def test_refused_request_is_logged_with_its_cause(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podpass")
    token = world.mint(sub="system:serviceaccount:default:other")
    await world.present(token)
    facts = vars(next(r for r in caplog.records if r.getMessage() == "token_request_answered"))
    assert facts["outcome"] == "AADSTS700213"
    assert facts["checked"] == ["wire", "tenant", "request", "client", "credential", "assertion"]
    assert facts["sub"] == "system:serviceaccount:default:other"
    assert "other" in facts["cause"]
    assert token not in repr(facts)


async def test_misplaced_secret_is_neither_returned_nor_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = await world.request_token(client_assertion=None, client_secret="hunter2hunter2")
    assert answer.code == 7000215
    assert "hunter2" not in repr(answer.body)
    assert "hunter2" not in repr([vars(record) for record in caplog.records])


async def test_internal_error_is_returned_without_its_cause(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """An unavailable database is not an error of the caller, and its details are not disclosed."""
    await world.directory.close()
    answer = await world.request_token()
    assert (answer.status, answer.code) == (500, 50000)
    assert "directory" not in answer.body["error_description"]
    record = next(r for r in caplog.records if r.getMessage() == "request_failed")
    assert record.exc_info is not None


async def test_unavailable_directory_returns_90033_and_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets Retry-After; the operator gets the cause in one log line without a traceback."""
    file = world.ca_file.parent / "keys" / "authority" / "directory.db"
    corrupt(file, "UPDATE identities SET kind = 'martian' WHERE name = 'web'")
    world.directory._session.clear_caches()
    answer = await world.request_token()
    assert (answer.status, answer.code) == (503, 90033)
    assert "martian" not in answer.body["error_description"]
    [line] = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert line.getMessage() == "token_request_answered"
    assert "in table identities" in vars(line)["cause"]
    assert line.exc_info is None


async def test_line_breaks_of_a_caller_are_not_in_the_response(world: World) -> None:
    subject = "a\r\nSet-Cookie: x\x1b[31m"
    answer = await world.present(world.mint(sub=subject))
    assert answer.code == 700213
    assert not re.search(r"[\r\n\x1b]", answer.body["error_description"])


async def test_long_claim_is_truncated_in_the_response(world: World) -> None:
    answer = await world.present(world.mint(sub="x" * 9000))
    assert answer.code == 700213
    assert len(answer.body["error_description"]) < 1000


async def test_v2_token_requested_at_an_alias_has_the_main_issuer(world: World) -> None:
    """A validator that reads the main host's document refuses any other issuer."""
    form = world.form(client_id=world.APPLICATION, scope=f"api://{world.APPLICATION}/.default")
    answer = await world.send(body=urlencode(form), headers={"Host": "login.windows.net"})
    assert answer.claims()["iss"] == f"https://login.microsoftonline.com/{world.TENANT}/v2.0"


@pytest.mark.parametrize("host", ["login.windows.net", "LOGIN.WINDOWS.NET:443"])
async def test_documents_at_every_alias_have_the_main_host(world: World, host: str) -> None:
    answer = await world.send(
        f"/{world.TENANT}/v2.0/.well-known/openid-configuration",
        method="GET",
        headers={"Host": host},
    )
    base = f"https://login.microsoftonline.com/{world.TENANT}"
    assert answer.body["issuer"] == f"{base}/v2.0"
    assert answer.body["token_endpoint"] == f"{base}/oauth2/v2.0/token"
    assert "login.windows.net" not in repr(answer.body)


async def test_credential_authenticates_only_its_own_identity(world: World) -> None:
    identity = await world.directory.find_identity(world.TENANT, world.APPLICATION)
    assert identity is not None
    other = dataclasses.replace(identity.credentials[0], subject=subject("default", "other"))
    await world.change(world.APPLICATION, credentials=(other,))
    assert (await world.request_token(client_id=world.APPLICATION)).code == 700213


async def test_other_algorithms_must_be_enabled(start: Start) -> None:
    world = await start(assertion_algorithms=("RS512",))
    answer = await world.request_token()
    assert answer.code == 5002738
    assert "'RS512'" in answer.body["error_description"]

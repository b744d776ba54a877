"""The wire format of the token endpoint: the form, the error body, request IDs."""

import base64
import json
import time
import uuid

import pytest

from podpass.exchange import token_request
from podpass.exchange.errors.catalogue import AadstsError
from podpass.guids import is_guid

FORM = "application/x-www-form-urlencoded"
GUID, OTHER = "11111111-2222-4333-8444-55555555abcd", "66666666-2222-4333-8444-55555555ABCD"


def encode_basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def expect_refusal(body: bytes, *more: str | None) -> str:
    with pytest.raises(AadstsError) as caught:
        token_request.read_form(body, FORM, *(more or (None,)))
    assert (caught.value.entry.number, caught.value.step) == (9002313, "wire")
    return str(caught.value.facts["reason"])


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b"", {}),
        (b"a=b", {"a": "b"}),
        (b"a=b&c=d", {"a": "b", "c": "d"}),
        (b"a=", {"a": ""}),
        (b"=b", {"": "b"}),
        (b"a=b=c", {"a": "b=c"}),
        (b"a=b;c=d", {"a": "b;c=d"}),
        (b"a+b=c+d", {"a b": "c d"}),
        (b"%61=%2B%26%3d", {"a": "+&="}),
        (b"a=%C3%A9", {"a": "\u00e9"}),
        ("a=\u00e9".encode(), {"a": "\u00e9"}),
        (b"a=%", {"a": "%"}),
        (b"a=%4", {"a": "%4"}),
        (b"a=%zz", {"a": "%zz"}),
        (b"a=%00", {"a": "\0"}),
    ],
)
def test_form_is_parsed(body: bytes, form: dict[str, str]) -> None:
    assert token_request.parse_form(body) == form


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"a", "without '='"),
        (b"a=b&", "without '='"),
        (b"&a=b", "without '='"),
        (b"a=b&a=b", "twice"),
        (b"a=b&%61=c", "twice"),
        (b"a+b=1&a%20b=2", "twice"),
        (b"a=\xff", "not UTF-8"),
        (b"a=%FF", "not UTF-8"),
        (b"%FF=a", "not UTF-8"),
    ],
)
def test_ambiguous_form_is_refused(body: bytes, reason: str) -> None:
    assert reason in expect_refusal(body)


def test_form_with_64_parameters_is_accepted_and_with_65_refused() -> None:
    body = "&".join(f"p{number}=" for number in range(token_request.MAX_PARAMETERS))
    assert len(token_request.parse_form(body.encode())) == token_request.MAX_PARAMETERS
    assert "more than 64" in expect_refusal(body.encode() + b"&x=")


@pytest.mark.parametrize(
    "kind", [None, FORM, FORM.upper(), f" {FORM} ; charset=utf-8", f"{FORM};x"]
)
def test_form_is_read_with_its_content_type_or_without_one(kind: str | None) -> None:
    assert token_request.read_form(b"a=b", kind, None) == {"a": "b"}


@pytest.mark.parametrize("kind", ["", "application/json", f"{FORM}x", f"text/plain;{FORM}"])
def test_body_of_another_type_is_an_empty_form(kind: str) -> None:
    assert token_request.read_form(b"a=b", kind, encode_basic("c:s")) == {}


@pytest.mark.parametrize(
    ("authorization", "client", "secret"),
    [
        (encode_basic("c:s"), "c", "s"),
        (encode_basic("c:s").replace("Basic", "bAsIc"), "c", "s"),
        (encode_basic("c:s") + "  ", "c", "s"),
        (encode_basic("c"), "c", ""),
        (encode_basic("c:s:t"), "c", "s:t"),
        (encode_basic("%63:a+b%2B"), "c", "a b+"),
        (encode_basic(":"), "", ""),
    ],
)
def test_client_id_and_secret_in_http_basic_are_accepted(
    authorization: str, client: str, secret: str
) -> None:
    found = token_request.read_form(b"a=b", FORM, authorization)
    assert found == {"a": "b", "client_id": client, "client_secret": secret}


def test_form_takes_precedence_over_http_basic() -> None:
    found = token_request.read_form(b"client_id=f&client_secret=t", FORM, encode_basic("c:s"))
    assert found == {"client_id": "f", "client_secret": "t"}


@pytest.mark.parametrize(
    "authorization", ["Bearer x", "Basi c:s", "Basic", "", "Negotiate Basic x"]
)
def test_other_authorization_scheme_is_ignored(authorization: str) -> None:
    assert token_request.read_form(b"a=b", FORM, authorization) == {"a": "b"}


@pytest.mark.parametrize("value", ["!", "Yzp*", "Y", base64.b64encode(b"\xff:s").decode()])
def test_invalid_http_basic_is_refused(value: str) -> None:
    assert "base64 of UTF-8" in expect_refusal(b"a=b", f"Basic {value}")
    assert "not UTF-8" in expect_refusal(b"a=b", encode_basic("%FF:s"))


def test_only_common_parameters_are_cached_and_no_secret() -> None:
    """Cached parameters outlive their request, so they contain no secret and no arbitrary text."""
    alike = [f"{name}{'a%20' * 50}" for name in token_request._CACHEABLE]
    alike += [f"scope={'b' * (token_request.MAX_CACHED_CHARS - len('scope='))}"]
    others = [f"{name}=c%20" for name in ("client_secret", "client_assertion", "code", "x-scope")]
    others += [f"scope={'d' * (token_request.MAX_CACHED_CHARS - len('scope=') + 1)}"]
    token_request._cached_parameter.cache_clear()
    for part in alike + others:
        assert token_request.parse_form(part.encode()) == token_request.parse_form(part.encode())
    cache = token_request._cached_parameter.cache_info()
    assert (cache.currsize, cache.hits) == (len(alike), len(alike))
    assert cache.maxsize == 256


def test_generated_request_id_is_a_random_guid() -> None:
    made = [token_request.new_id() for _ in range(4000)]
    assert len(set(made)) == len(made)
    for each in made:
        read = uuid.UUID(each)
        assert (str(read), read.version, read.variant) == (each, 4, uuid.RFC_4122)
        assert is_guid(each)
    # Every character except version and variant is random, and all are independent.
    free = [place for place, sign in enumerate(made[0]) if sign != "-" and place not in (14, 19)]
    assert all(len({each[place] for each in made}) == 16 for place in free)
    assert all(len({each[19] + each[place] for each in made}) == 4 * 16 for place in free)


def request_with_claims(claims: str) -> token_request.TokenRequest:
    return token_request.TokenRequest(
        tenant="t", version=2, origin="https://login.test", form={"claims": claims}
    )


@pytest.mark.parametrize(
    ("claims", "capabilities"),
    [
        ("", ()),
        # As azure-identity and az, and as @azure/identity send it.
        ('{"access_token": {"xms_cc": {"values": ["CP1"]}}}', ("CP1",)),
        (
            '{"id_token":{"signin_state":{"essential":false}},"access_token":{"xms_cc":{"values":["cp1"]}}}',
            ("cp1",),
        ),
        (
            '{"access_token":{"xms_cc":{"values":["CP2","CP1","CP1",1,{}]},"nbf":{"essential":true}}}',
            ("CP1",),
        ),
        # OIDC Core, section 5.5: null requests a claim without conditions.
        ('{"access_token":{"xms_cc":null}}', ()),
        ('{"access_token":null}', ()),
        ('{"access_token":[]}', ()),
        ('{"access_token":{"xms_cc":{"values":"CP1"}}}', ()),
        ('{"userinfo":{"email":null}}', ()),
        ("{}", ()),
    ],
)
def test_capabilities_are_read_from_the_claims_parameter(
    claims: str, capabilities: tuple[str, ...]
) -> None:
    assert token_request.read_capabilities(request_with_claims(claims)) == capabilities


@pytest.mark.parametrize(
    "claims",
    [
        *("{", "[]", "null", '"CP1"', '{"access_token":{},"access_token":{}}', '{"a":NaN}'),
        *(r'{"a":"\ud800"}', "[" * 2000),
        *('{"a":' * 600 + "1" + "}" * 600, '{"a":"' + "x" * 4096 + '"}'),
    ],
)
def test_malformed_claims_parameter_is_refused(claims: str) -> None:
    with pytest.raises(AadstsError) as caught:
        token_request.read_capabilities(request_with_claims(claims))
    assert (caught.value.entry.number, caught.value.step) == (9002313, "request")
    assert caught.value.error == "invalid_request"
    assert "the parameter claims is " in caught.value.message


def test_missing_parameter_is_returned_as_empty_text() -> None:
    request = token_request.TokenRequest(tenant="t", version=2, origin="o", form={"a": "b"})
    assert (request.get("a"), request.get("b")) == ("b", "")
    assert "'b'" not in repr(request)


def header(name: str, value: str) -> tuple[bytes, bytes]:
    return name.encode(), value.encode("latin-1")


@pytest.mark.parametrize(
    ("headers", "query", "found"),
    [
        ([header("client-request-id", GUID)], b"", GUID),
        ([header("x-ms-client-request-id", OTHER)], b"", OTHER),
        ([header("x", "y"), header("client-request-id", GUID)], b"", GUID),
        ([header("client-request-id", "\xe9"), header("client-request-id", GUID)], b"", GUID),
        ([header("client-request-id", "x")], f"client-request-id={GUID}".encode(), GUID),
        ([], f"a=b&client-request-id={OTHER}&c=d".encode(), OTHER),
        ([], f"x-ms-client-request-id={GUID}".encode(), GUID),
        ([header("client-request-id", GUID)], f"client-request-id={OTHER}".encode(), GUID),
    ],
)
def test_callers_request_id_is_used_if_it_is_a_guid(
    headers: list[tuple[bytes, bytes]], query: bytes, found: str
) -> None:
    assert token_request.correlation_id(headers, query) == found


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([], b""),
        ([header("client-request-id", GUID + "\n")], b""),
        ([header("request-id", GUID)], b""),
        ([], f"client-request-id={GUID}x".encode()),
        ([], f"xclient-request-id={GUID}".encode()),
        ([], f"client-request-id=&x={GUID}".encode()),
        ([], b"client-request-id=\xff"),
    ],
)
def test_other_request_id_is_replaced_by_a_new_one(
    headers: list[tuple[bytes, bytes]], query: bytes
) -> None:
    first, second = (token_request.correlation_id(headers, query) for _ in range(2))
    assert is_guid(first)
    assert GUID not in (first, second)
    assert first != second


def test_error_timestamp_is_utc_in_every_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-9")
    time.tzset()
    try:
        body = token_request.error_body(
            AadstsError(7000216), login="l", trace_id="t", correlation_id="c", now=1_750_000_000
        )
    finally:
        monkeypatch.undo()
        time.tzset()
    assert json.loads(body)["timestamp"] == "2025-06-15 15:06:40Z"

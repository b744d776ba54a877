"""Parsing of client assertions: the claims that are read, and the number of each error."""

from typing import Any

import pytest

from podpass.crypto import jose
from podpass.exchange.client_auth import assertion
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.token_request import TokenRequest

ALGORITHMS = ("RS256", "ES256")
HEADER = {"alg": "RS256", "kid": "key"}
CLAIMS: dict[str, Any] = {
    "iss": "issuer",
    "sub": "subject",
    "aud": "audience",
    "exp": 20,
    "iat": 10,
}


def encode_token(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return f"{jose.b64encode(jose.dumps(header))}.{jose.b64encode(jose.dumps(claims))}.AAAA"


def read_valid_claims(
    header: dict[str, Any] | None = None, **claims: Any
) -> assertion.UnverifiedAssertion:
    present = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not ...}
    token = jose.parse(encode_token(HEADER if header is None else header, present))
    return assertion.read_claims(token, ALGORITHMS)


def expect_refusal(header: dict[str, Any] | None = None, **claims: Any) -> AadstsError:
    with pytest.raises(AadstsError) as caught:
        read_valid_claims(header, **claims)
    return caught.value


def test_every_used_claim_is_read() -> None:
    found = read_valid_claims(nbf=15.5)
    assert (found.issuer, found.subject, found.audiences) == ("issuer", "subject", ("audience",))
    assert (found.expires, found.issued, found.not_before, found.key_id) == (20, 10, 15.5, "key")
    assert (found.token.signature, found.token.alg) == (b"\0\0\0", "RS256")


def test_audiences_keep_their_order() -> None:
    assert read_valid_claims(aud=["b", "a"]).audiences == ("b", "a")


@pytest.mark.parametrize("issued", [..., None, "x", True, [], {}])
def test_missing_iat_counts_as_zero(issued: Any) -> None:
    assert read_valid_claims(iat=issued).issued == 0


def test_assertion_without_nbf_has_no_not_before_time() -> None:
    assert read_valid_claims().not_before is None
    assert read_valid_claims(nbf=0).not_before == 0


@pytest.mark.parametrize("typ", ["JWT", "jwt", "Jwt", "http://openid.net/specs/jwt/1.0"])
def test_jwt_types_are_accepted(typ: str) -> None:
    assert read_valid_claims({**HEADER, "typ": typ}).issuer == "issuer"


@pytest.mark.parametrize("typ", ["at+jwt", "", None, 5, ["JWT"], "JWT ", "XXJWTXX"])
def test_other_token_type_is_refused(typ: object) -> None:
    found = expect_refusal({**HEADER, "typ": typ})
    assert (found.entry.number, found.step) == (5002727, "assertion")


@pytest.mark.parametrize(
    ("header", "key_id"),
    [
        ({"kid": "a", "x5t": "b", "x5t#S256": "c"}, "a"),
        ({"x5t": "b", "x5t#S256": "c"}, "b"),
        ({"x5t#S256": "c"}, "c"),
        ({"kid": "", "x5t": "b"}, "b"),
    ],
)
def test_key_id_is_kid_or_else_the_thumbprint(header: dict[str, Any], key_id: str) -> None:
    assert read_valid_claims({"alg": "RS256", **header}).key_id == key_id


@pytest.mark.parametrize("header", [{}, {"kid": 5}, {"kid": ["a"]}, {"x5t": {}}, {"x5t#S256": 1}])
def test_header_without_key_id_is_refused(header: dict[str, Any]) -> None:
    assert expect_refusal({"alg": "RS256", **header}).entry.number == 5002723


@pytest.mark.parametrize("alg", ["none", "", None, 5, "RS384", "rs256", ["RS256"]])
def test_unsupported_algorithm_error_lists_the_supported_ones(alg: object) -> None:
    found = expect_refusal({"alg": alg, "kid": "key"})
    assert found.entry.number == 5002738
    assert found.facts["supported"] == "RS256,ES256"
    assert found.facts["alg"] == alg
    assert expect_refusal({"kid": "key"}).facts["alg"] == ""


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "exp"])
@pytest.mark.parametrize("value", [..., None, "", [], {}, True, [5]])
def test_missing_claim_is_named_in_the_error(name: str, value: Any) -> None:
    found = expect_refusal(**{name: value})
    assert (found.entry.number, found.facts["claim"]) == (90014, name)


@pytest.mark.parametrize("aud", [["a", ""], ["", "a"], ["a", 5], [["a"]], 5, {"a": 1}])
def test_audience_that_is_not_text_is_refused(aud: object) -> None:
    assert expect_refusal(aud=aud).facts["claim"] == "aud"


@pytest.mark.parametrize("nbf", [None, "1", True, []])
def test_nbf_that_is_not_a_number_is_refused(nbf: object) -> None:
    found = expect_refusal(nbf=nbf)
    assert (found.entry.number, found.facts["claim"]) == (90014, "nbf")


def test_first_error_in_order_is_returned() -> None:
    assert expect_refusal({"typ": "x", "alg": "x"}, iss=...).entry.number == 5002727
    assert expect_refusal({"alg": "x"}, iss=...).entry.number == 5002738
    assert expect_refusal({"alg": "RS256"}, iss=...).entry.number == 5002723
    assert expect_refusal(iss=..., sub=..., aud=..., exp=...).facts["claim"] == "iss"
    assert expect_refusal(sub=..., aud=..., exp=...).facts["claim"] == "sub"
    assert expect_refusal(aud=..., exp=..., nbf="x").facts["claim"] == "aud"
    assert expect_refusal(exp=..., nbf="x").facts["claim"] == "exp"


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "e30.e30", "e30.W10.AAAA"])
def test_malformed_token_error_names_the_reason(token: str) -> None:
    form = {"client_assertion": token}
    with pytest.raises(AadstsError) as caught:
        assertion.parse_assertion(
            TokenRequest(tenant="t", version=2, origin="https://o", form=form)
        )
    assert caught.value.entry.number == 50027
    assert caught.value.facts["reason"]


@pytest.mark.parametrize(
    ("key_id", "shown"), [("AAEC", "000102"), ("_w", "FF"), ("not base64!", "not base64!")]
)
def test_key_id_is_formatted_like_entra(key_id: str, shown: str) -> None:
    assert assertion.key_hex(key_id) == shown


@pytest.mark.parametrize(
    ("claims", "found"),
    [
        ({"iss": "i", "sub": "s", "aud": "a"}, ("i", "s", ("a",))),
        ({"iss": "i", "sub": "s", "aud": ["a", "b"]}, ("i", "s", ("a", "b"))),
        ({"iss": 1, "sub": "s", "aud": "a"}, None),
        ({"iss": "i", "sub": ["s"], "aud": "a"}, None),
        ({"iss": "i", "sub": "s", "aud": 1}, None),
        ({"iss": 1, "sub": 1, "aud": "a"}, None),
        ({"iss": "i", "sub": 1, "aud": 1}, None),
        ({"sub": "s", "aud": "a"}, None),
        ({"iss": "i", "aud": "a"}, None),
        ({"iss": "i", "sub": "s"}, None),
        ({}, None),
    ],
)
def test_peek_claim_needs_well_formed_claims(claims: dict[str, Any], found: object) -> None:
    assert assertion.peek_claim(jose.parse(encode_token(HEADER, claims))) == found

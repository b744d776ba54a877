"""A client assertion read: what is taken over from it to the letter, and which number each fault has."""

from typing import Any

import pytest

from podpass.crypto import jose
from podpass.exchange.client_auth import assertion
from podpass.exchange.errors.catalogue import Refused
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


def text(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return f"{jose.b64encode(jose.dumps(header))}.{jose.b64encode(jose.dumps(claims))}.AAAA"


def read(header: dict[str, Any] | None = None, **claims: Any) -> assertion.UnverifiedAssertion:
    kept = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not ...}
    token = jose.parse(text(HEADER if header is None else header, kept))
    return assertion.read_claims(token, ALGORITHMS)


def refused(header: dict[str, Any] | None = None, **claims: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        read(header, **claims)
    return caught.value


def test_every_claim_that_counts_is_taken_over() -> None:
    found = read(nbf=15.5)
    assert (found.issuer, found.subject, found.audiences) == ("issuer", "subject", ("audience",))
    assert (found.expires, found.issued, found.not_before, found.key_id) == (20, 10, 15.5, "key")
    assert (found.token.signature, found.token.alg) == (b"\0\0\0", "RS256")


def test_several_audiences_stay_several_and_in_their_order() -> None:
    assert read(aud=["b", "a"]).audiences == ("b", "a")


@pytest.mark.parametrize("issued", [..., None, "x", True, [], {}])
def test_an_assertion_that_does_not_say_when_it_was_made_is_as_old_as_can_be(issued: Any) -> None:
    assert read(iat=issued).issued == 0


def test_without_nbf_nothing_is_said_of_it() -> None:
    assert read().not_before is None
    assert read(nbf=0).not_before == 0


@pytest.mark.parametrize("typ", ["JWT", "jwt", "Jwt", "http://openid.net/specs/jwt/1.0"])
def test_the_types_of_a_json_web_token_are_read(typ: str) -> None:
    assert read({**HEADER, "typ": typ}).issuer == "issuer"


@pytest.mark.parametrize("typ", ["at+jwt", "", None, 5, ["JWT"], "JWT ", "XXJWTXX"])
def test_no_other_type_is(typ: object) -> None:
    found = refused({**HEADER, "typ": typ})
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
def test_a_key_is_named_by_kid_then_by_thumbprint(header: dict[str, Any], key_id: str) -> None:
    assert read({"alg": "RS256", **header}).key_id == key_id


@pytest.mark.parametrize("header", [{}, {"kid": 5}, {"kid": ["a"]}, {"x5t": {}}, {"x5t#S256": 1}])
def test_a_token_that_names_no_key_is_refused(header: dict[str, Any]) -> None:
    assert refused({"alg": "RS256", **header}).entry.number == 5002723


@pytest.mark.parametrize("alg", ["none", "", None, 5, "RS384", "rs256", ["RS256"]])
def test_an_algorithm_that_is_not_listed_is_refused_with_those_that_are(alg: object) -> None:
    found = refused({"alg": alg, "kid": "key"})
    assert found.entry.number == 5002738
    assert found.facts["supported"] == "RS256,ES256"
    assert found.facts["alg"] == alg
    assert refused({"kid": "key"}).facts["alg"] == ""


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "exp"])
@pytest.mark.parametrize("value", [..., None, "", [], {}, True, [5]])
def test_a_claim_that_must_be_there_is_named_when_it_is_not(name: str, value: Any) -> None:
    found = refused(**{name: value})
    assert (found.entry.number, found.facts["claim"]) == (90014, name)


@pytest.mark.parametrize("aud", [["a", ""], ["", "a"], ["a", 5], [["a"]], 5, {"a": 1}])
def test_a_list_of_audiences_holds_texts_only(aud: object) -> None:
    assert refused(aud=aud).facts["claim"] == "aud"


@pytest.mark.parametrize("nbf", [None, "1", True, []])
def test_a_begin_that_is_no_time_is_a_fault(nbf: object) -> None:
    found = refused(nbf=nbf)
    assert (found.entry.number, found.facts["claim"]) == (90014, "nbf")


def test_the_first_fault_in_order_is_told() -> None:
    assert refused({"typ": "x", "alg": "x"}, iss=...).entry.number == 5002727
    assert refused({"alg": "x"}, iss=...).entry.number == 5002738
    assert refused({"alg": "RS256"}, iss=...).entry.number == 5002723
    assert refused(iss=..., sub=..., aud=..., exp=...).facts["claim"] == "iss"
    assert refused(sub=..., aud=..., exp=...).facts["claim"] == "sub"
    assert refused(aud=..., exp=..., nbf="x").facts["claim"] == "aud"
    assert refused(exp=..., nbf="x").facts["claim"] == "exp"


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "e30.e30", "e30.W10.AAAA"])
def test_what_is_no_token_says_what_is_wrong_with_it(token: str) -> None:
    form = {"client_assertion": token}
    with pytest.raises(Refused) as caught:
        assertion.parse_assertion(
            TokenRequest(tenant="t", version=2, origin="https://o", form=form)
        )
    assert caught.value.entry.number == 50027
    assert caught.value.facts["reason"]


@pytest.mark.parametrize(
    ("key_id", "shown"), [("AAEC", "000102"), ("_w", "FF"), ("not base64!", "not base64!")]
)
def test_a_key_id_is_shown_as_entra_shows_it(key_id: str, shown: str) -> None:
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
def test_what_an_assertion_claims_is_told_if_it_has_the_shape(
    claims: dict[str, Any], found: object
) -> None:
    assert assertion.claim_of(jose.parse(text(HEADER, claims))) == found

"""Pure functions: matching a credential, parsing a scope, parsing a form."""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass import names
from podpass.crypto import jose
from podpass.directory.claims_expression import KubernetesIssuers
from podpass.directory.model import FederatedCredential, Identity
from podpass.exchange import scope, token_request
from podpass.exchange.client_auth import authenticator
from podpass.exchange.client_auth.assertion import UnverifiedAssertion, read_claims
from podpass.exchange.client_auth.match import match
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.origins import Origins
from tests import rsa_keys

ISSUER = "https://issuer.test/"
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.lists(st.text(max_size=3), max_size=2)
)
CLAIMS = st.dictionaries(st.sampled_from(["iss", "sub", "aud", "exp", "iat", "nbf"]), VALUES)
SIGNER = jose.SigningKey(kid="k", key=rsa_keys.KEY)


def credential(**changes: Any) -> FederatedCredential:
    values: dict[str, Any] = {"issuer": ISSUER, "subject": "sub", "audiences": ("aud",)}
    return FederatedCredential(**{"name": "one", **values, **changes})


def identity(*credentials: FederatedCredential) -> Identity:
    return Identity(tenant_id="t", client_id="c", object_id="o", name="n", credentials=credentials)


def assertion(**changes: Any) -> UnverifiedAssertion:
    claims = {"iss": ISSUER, "sub": "sub", "aud": "aud", "exp": 100, "iat": 1, **changes}
    return read_claims(jose.parse(SIGNER.sign(claims)), ("RS256",))


def expect_refusal(presented: UnverifiedAssertion, trusting: Identity) -> int:
    with pytest.raises(AadstsError) as caught:
        match(presented, trusting)
    return caught.value.entry.number


def test_matching_credential_among_many_is_found() -> None:
    others = [
        credential(name=str(n), **{part: f"other-{n}"})
        for n, part in enumerate(("issuer", "subject"))
    ]
    assert match(assertion(), identity(*others, credential())).name == "one"
    assert match(assertion(), identity(credential(), *others)).name == "one"


def test_error_number_names_the_first_part_that_differs() -> None:
    """Issuer, audience and subject must match in one and the same credential."""
    trusting = identity(
        credential(name="a", issuer="https://else.test/"),
        credential(name="b", subject="other"),
        credential(name="c", audiences=("other",)),
    )
    assert expect_refusal(assertion(), trusting) == 700213
    assert expect_refusal(assertion(aud="else"), trusting) == 700212
    assert expect_refusal(assertion(iss="else"), trusting) == 700211
    assert expect_refusal(assertion(), identity()) == 70025


def test_subject_of_a_credential_with_another_issuer_does_not_match() -> None:
    trusting = identity(
        credential(name="a", subject="other"), credential(name="b", issuer="https://else.test/")
    )
    assert expect_refusal(assertion(), trusting) == 700213


def test_wildcards_are_compared_literally() -> None:
    for pattern in ("*", "s*", "su?", "sub*", ".*"):
        assert expect_refusal(assertion(), identity(credential(subject=pattern))) == 700213
        assert match(assertion(sub=pattern), identity(credential(subject=pattern)))


def test_expression_matches_the_claims_if_no_subject_is_equal() -> None:
    issuer = "https://app.terraform.io"
    flexible = credential(
        issuer=issuer, name="flexible", subject="", expression="claims['sub'] matches 'org:a:*'"
    )
    exact = credential(issuer=issuer, subject="org:a:x")
    trusting = identity(flexible, exact)
    assert match(assertion(iss=issuer, sub="org:a:x"), trusting) == exact
    assert match(assertion(iss=issuer, sub="org:a:y"), trusting) == flexible
    assert expect_refusal(assertion(iss=issuer, sub="org:b:y"), trusting) == 7002131
    assert expect_refusal(assertion(iss=issuer, sub="org:b:y"), identity(exact)) == 700213
    # The text of an expression is no subject.
    assert expect_refusal(assertion(iss=issuer, sub=flexible.expression), trusting) == 7002131


def test_refusal_does_not_show_the_expression() -> None:
    issuer = "https://app.terraform.io"
    flexible = credential(issuer=issuer, subject="", expression="claims['sub'] matches 'hidden*'")
    with pytest.raises(AadstsError) as caught:
        match(assertion(iss=issuer, sub="other"), identity(flexible))
    assert "sub=other" in caught.value.message
    assert "hidden" not in caught.value.message


def test_log_has_every_compared_claim_and_the_message_has_those_that_differ() -> None:
    issuer = "https://token.actions.githubusercontent.com"
    expression = "claims['sub'] matches 'repo:a@1/b@2:*' and claims['repository_id'] eq '2'"
    flexible = credential(issuer=issuer, subject="", expression=expression)
    with pytest.raises(AadstsError) as caught:
        match(assertion(iss=issuer, sub="repo:c", repository_id="2"), identity(flexible))
    assert caught.value.record["claims"] == {"repository_id": "2", "sub": "repo:c"}
    assert "claims sub=repo:c." in caught.value.message
    with pytest.raises(AadstsError) as caught:
        match(assertion(iss=issuer, sub="repo:c"), identity(flexible))
    assert caught.value.record["claims"] == {"sub": "repo:c"}
    assert "repository_id=(missing), sub=repo:c" in caught.value.message


def test_expression_of_a_cluster_counts_only_if_the_operator_allows_it() -> None:
    flexible = credential(
        subject="", expression="claims['sub'] matches 'system:serviceaccount:env-*:sa'"
    )
    presented = assertion(sub="system:serviceaccount:env-1:sa")
    assert expect_refusal(presented, identity(flexible)) == 700213
    allowed = KubernetesIssuers(issuers=frozenset({ISSUER}))
    assert match(presented, identity(flexible), kubernetes=allowed) == flexible


def test_case_difference_is_reported_only_if_all_else_matches() -> None:
    assert expect_refusal(assertion(sub="SUB"), identity(credential())) == 7002138
    assert expect_refusal(assertion(sub="SUB", aud="x"), identity(credential())) == 700212


@given(st.text(max_size=20), st.text(max_size=20))
def test_only_equal_subjects_match(one: str, other: str) -> None:
    presented = dataclasses.replace(assertion(), subject=one)
    if one == other:
        assert match(presented, identity(credential(subject=other)))
    else:
        assert expect_refusal(presented, identity(credential(subject=other))) in {700213, 7002138}


@given(CLAIMS)
def test_claims_of_any_type_are_accepted_or_refused(claims: Mapping[str, Any]) -> None:
    try:
        found = read_claims(jose.parse(SIGNER.sign({**claims})), ("RS256",))
    except AadstsError as exc:
        assert exc.entry.number == 90014
        return
    assert isinstance(found.issuer, str)
    assert all(isinstance(each, str) for each in found.audiences)
    with contextlib.suppress(AadstsError):
        authenticator.check_lifetime(found, 90_000)
    with contextlib.suppress(AadstsError):
        authenticator.check_time(found, 1e9, 300)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=8))
def test_any_encoded_form_is_parsed_unchanged(form: dict[str, str]) -> None:
    assert token_request.parse_form(urlencode(form).encode()) == form


@given(st.binary(max_size=200))
def test_any_body_is_parsed_or_refused(body: bytes) -> None:
    try:
        form = token_request.parse_form(body)
    except AadstsError as exc:
        assert exc.entry.number == 9002313
        return
    read_elsewhere = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    assert dict(read_elsewhere) == form


def test_only_short_scopes_are_cached() -> None:
    """The cache of scopes is bounded, and long scopes are not cached."""
    scope._cached_resource.cache_clear()
    for length in (token_request.MAX_CACHED_CHARS, token_request.MAX_CACHED_CHARS + 1):
        name = "https://a.example/" + "x" * (length - len("https://a.example//.default"))
        request = token_request.TokenRequest(
            tenant="t", version=2, origin="o", form={"scope": f"{name}/.default"}
        )
        assert scope.requested_resource(request) == scope.requested_resource(request) == name
    cache = scope._cached_resource.cache_info()
    assert (cache.currsize, cache.hits, cache.maxsize) == (1, 1, 256)


def test_encodings_of_real_clients_are_parsed() -> None:
    body = b"client_assertion_type=urn:ietf:params&scope=a+b%20c&x="
    assert token_request.parse_form(body) == {
        "client_assertion_type": "urn:ietf:params",
        "scope": "a b c",
        "x": "",
    }
    assert token_request.parse_form(b"") == {}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://vault.azure.net/.default", "https://vault.azure.net"),
        ("https://vault.azure.net//.default", "https://vault.azure.net/"),
        ("api://c/.default openid", "api://c"),
        ("99999999-9999-4999-8999-999999999999/.default", "99999999-9999-4999-8999-999999999999"),
        ("a:b/.default a:b/.default", "a:b"),
    ],
)
def test_scope_names_its_resource(text: str, name: str) -> None:
    assert scope.resource_from_scope(text) == name


@given(st.text(max_size=40))
def test_any_scope_is_parsed_or_refused(text: str) -> None:
    try:
        assert scope.resource_from_scope(text)
    except AadstsError as exc:
        assert exc.entry.number in {70011, 1002012, 700022}


def test_azure_aliases_map_to_the_main_origin() -> None:
    azure = "https://login.microsoftonline.com"
    origins = Origins((azure, *(f"https://{alias}" for alias in names.LOGIN_ALIASES)))
    for alias in names.LOGIN_ALIASES:
        assert origins.for_host(alias) == azure
    assert origins.for_endpoint("https://sts.windows.net/t/oauth2") == "https://sts.windows.net"
    alone = Origins(("https://login.test", "https://login.windows.net"))
    assert alone.for_host("login.windows.net") == "https://login.windows.net"
    assert Origins(("https://login.windows.net", azure)).main == azure

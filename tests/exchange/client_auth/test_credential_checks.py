"""The pure checks of client authentication: times, certificates, one credential in a request."""

import base64
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from podpass import names
from podpass.clouds import PUBLIC
from podpass.crypto import jose
from podpass.directory.model import Identity, Tenant
from podpass.exchange.client_auth import authenticator, certificate, client_secret
from podpass.exchange.client_auth.assertion import UnverifiedAssertion
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.token_request import TokenRequest
from tests.exchange.client_auth.test_secrets import (
    DER,
    create_certificate,
    create_password,
    to_key_credential,
)
from tests.rsa_keys import KEY, OTHER_KEY

NOW = 1000.0
CLIENT = "33333333-3333-4333-8333-abcdefabcdef"
THUMBPRINT = jose.b64encode(hashlib.sha1(DER).digest())
IDENTITY = Identity(
    tenant_id="t",
    client_id=CLIENT,
    object_id="o",
    name="app",
    keys=(to_key_credential(DER, begins=1, expires=2000),),
)
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)


def assertion(header: dict[str, Any] | None = None, **changes: Any) -> UnverifiedAssertion:
    token = jose.UnverifiedToken(
        header=header or {"alg": "RS256", "x5t": THUMBPRINT},
        claims={},
        signed=b"text",
        signature=b"",
    )
    made = UnverifiedAssertion(
        issuer=CLIENT,
        subject=CLIENT,
        audiences=("a",),
        expires=NOW + 60,
        issued=NOW,
        not_before=None,
        key_id="k",
        token=token,
    )
    return replace(made, **changes)


def expect_refusal(step: Callable[..., object], *given: object) -> tuple[int, str]:
    with pytest.raises(AadstsError) as caught:
        step(*given)
    return caught.value.entry.number, caught.value.step


# ------------------------------------------------------------------------------------------ times


@pytest.mark.parametrize(
    ("changes", "early"),
    [
        ({"expires": NOW + 0.001}, 0),
        ({"issued": NOW}, 0),
        ({"issued": NOW + 300}, 300),
        ({"not_before": NOW + 300}, 300),
        ({"not_before": NOW, "issued": NOW - 5}, 0),
        ({"not_before": 0.0}, 0),
    ],
)
def test_assertion_is_valid_within_its_limits(changes: dict[str, Any], early: int) -> None:
    authenticator.check_time(assertion(**changes), NOW, early)


@pytest.mark.parametrize(
    ("changes", "early"),
    [
        ({"expires": NOW}, 300),
        ({"expires": NOW - 1}, 300),
        ({"issued": NOW + 0.001}, 0),
        ({"issued": NOW + 300.001}, 300),
        ({"not_before": NOW + 300.001, "issued": NOW - 5}, 300),
        ({"not_before": NOW - 5, "issued": NOW + 300.001}, 300),
    ],
)
def test_assertion_is_refused_outside_its_limits(changes: dict[str, Any], early: int) -> None:
    dead = assertion(**changes)
    assert expect_refusal(authenticator.check_time, dead, NOW, early) == (700024, "time")


def test_time_error_names_now_begin_and_end() -> None:
    with pytest.raises(AadstsError) as caught:
        authenticator.check_time(assertion(expires=60.0, not_before=30.0), 90.0, 5)
    assert [caught.value.facts[name] for name in ("now", "begins", "expires")] == [
        "1970-01-01T00:01:30Z",
        "1970-01-01T00:00:30Z",
        "1970-01-01T00:01:00Z",
    ]


def test_lifetime_may_equal_the_limit_but_not_exceed_it() -> None:
    authenticator.check_lifetime(assertion(expires=NOW + 100), 100)
    for expires, issued in ((NOW + 100.001, NOW), (NOW + 100, 0.0)):
        long = assertion(expires=expires, issued=issued)
        assert expect_refusal(authenticator.check_lifetime, long, 100) == (70023, "lifetime")


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_750_000_000.9, "2025-06-15T15:06:40Z"),
        (1e300, "1e+300"),
        (-1e300, "-1e+300"),
        (10**30, "outside the calendar"),
        (1e15 / 3, "3.33333e+14"),
    ],
)
def test_time_outside_the_calendar_is_formatted_as_a_number(seconds: float, written: str) -> None:
    assert authenticator.format_time(seconds) == written


def test_time_is_formatted_in_utc_in_every_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-9")
    time.tzset()
    try:
        assert authenticator.format_time(0) == "1970-01-01T00:00:00Z"
    finally:
        monkeypatch.undo()
        time.tzset()


# --------------------------------------------------------------------------------- proof token


def request(**form: str) -> TokenRequest:
    return TokenRequest(tenant="t", version=2, origin="https://o", form=form)


@pytest.mark.parametrize(
    "form",
    [
        {"client_secret": "s"},
        {"client_secret": "s", "client_assertion": " \n"},
        {"client_assertion": "a", "client_assertion_type": names.JWT_BEARER},
        {"client_assertion": " a ", "client_assertion_type": names.JWT_BEARER, "client_secret": ""},
    ],
)
def test_one_supported_credential_is_accepted(form: dict[str, str]) -> None:
    authenticator.check_credential_parameters(request(**form))


@pytest.mark.parametrize(
    ("form", "number"),
    [
        ({}, 7000216),
        ({"client_assertion": "  "}, 7000216),
        ({"client_assertion": "a", "client_secret": "s"}, 9002313),
        ({"client_assertion": "a"}, 900144),
        ({"client_assertion": "a", "client_assertion_type": "x"}, 9002313),
    ],
)
def test_missing_multiple_or_unknown_credentials_are_refused(
    form: dict[str, str], number: int
) -> None:
    assert expect_refusal(authenticator.check_credential_parameters, request(**form)) == (
        number,
        "credential",
    )


# --------------------------------------------------------------------------------------- secrets


def test_secret_is_valid_from_its_start_to_before_its_end() -> None:
    passwords = (
        create_password("other", key_id="1"),
        create_password("right", key_id="2", begins=10, expires=20),
    )
    identity = replace(IDENTITY, passwords=passwords)
    for now in (10.0, 19.9):
        assert client_secret.check_secret("right", identity, now) == "2"
    for now in (9.9, 20.0):
        assert expect_refusal(client_secret.check_secret, "right", identity, now) == (
            7000222,
            "credential",
        )
    for wrong in ("Right", "right ", "", "2"):
        assert expect_refusal(client_secret.check_secret, wrong, identity, 15.0)[0] == 7000215


# ---------------------------------------------------------------------------------- certificates


@pytest.mark.parametrize(
    ("issuer", "own"),
    [
        (CLIENT, True),
        (CLIENT.upper(), True),
        ("https://issuer.test/", False),
        (CLIENT + " ", False),
        ("", False),
        (None, False),
        ([CLIENT], False),
    ],
)
def test_assertion_with_client_id_as_issuer_is_self_issued(issuer: object, own: bool) -> None:
    token = jose.UnverifiedToken(header={}, claims={"iss": issuer}, signed=b"", signature=b"")
    assert certificate.is_self_issued(token) is own


def test_self_issued_assertion_must_name_the_client_and_tenant() -> None:
    for client in (CLIENT, CLIENT.upper()):
        certificate.check_claims(assertion(issuer=CLIENT.upper()), client, ["b", "a"])
    for issuer, subject in (("x", CLIENT), (CLIENT, "x"), ("x", "x")):
        other = assertion(issuer=issuer, subject=subject)
        found = expect_refusal(certificate.check_claims, other, CLIENT, ["a"])
        assert found[0] == 700021
    for audiences in (("b",), ("a", "b"), ("a", "a"), ("A",)):
        other = assertion(audiences=audiences)
        found = expect_refusal(certificate.check_claims, other, CLIENT, ["a"])
        assert found[0] == 700023


def test_tenant_endpoints_and_issuers_are_allowed_audiences() -> None:
    tenant = Tenant(id="t", domains=("d.test",))
    found = list(certificate.allowed_audiences(["https://o"], tenant, "D.test", PUBLIC))
    expected = {
        f"https://o/{name}/{rest}"
        for name in ("t", "d.test", "D.test")
        for rest in ("oauth2/v2.0/token", "oauth2/token", "oauth2/token?api-version=1.0", "v2.0")
    }
    assert set(found) == expected | {"https://sts.windows.net/t/"}
    assert len(found) == 13


SHA256 = jose.b64encode(hashlib.sha256(DER).digest())
SHA1_HEX = hashlib.sha1(DER).hexdigest()


@pytest.mark.parametrize(
    "header",
    [
        {"x5t": THUMBPRINT},
        {"x5t": THUMBPRINT + "="},
        {"x5t#S256": SHA256},
        {"x5t#S256": SHA256 + "=", "x5t": "wrong", "kid": "wrong"},
        {"x5t": THUMBPRINT, "kid": "wrong"},
        {"kid": THUMBPRINT},
        {"kid": SHA1_HEX},
        {"kid": SHA1_HEX.upper()},
    ],
)
def test_certificate_is_found_by_each_thumbprint_format(header: dict[str, Any]) -> None:
    other = to_key_credential(create_certificate(OTHER_KEY), key_id="other", begins=1, expires=2000)
    identity = replace(IDENTITY, keys=(other, *IDENTITY.keys))
    assert certificate.find_key(assertion(header), identity, NOW) is identity.keys[1]


@pytest.mark.parametrize(
    "header",
    [
        *({"alg": "RS256"}, {"x5t": "wrong", "kid": THUMBPRINT}),
        *({"x5t#S256": "wrong", "x5t": THUMBPRINT}, {"x5t": [THUMBPRINT]}, {"x5t": SHA256}),
        *({"x5t": THUMBPRINT + "X"}, {"x5t": "=" + THUMBPRINT}, {"x5t#S256": THUMBPRINT}),
        *({"kid": THUMBPRINT.lower()}, {"kid": SHA1_HEX + "0"}, {"kid": [SHA1_HEX]}),
        *({"x5t#S256": "=" + SHA256}, {"x5t#S256": SHA256 + "AA"}, {"x5t#S256": SHA256[:-1]}),
        *({"x5t#S256": SHA256[:20] + " " + SHA256[20:]}, {"x5t#S256": "ä"}),
    ],
)
def test_certificate_with_another_thumbprint_is_not_found(header: dict[str, Any]) -> None:
    found = expect_refusal(certificate.find_key, assertion(header), IDENTITY, NOW)
    assert found[0] == 700027


@pytest.mark.parametrize("letters", ["+", "/"])
def test_certificate_is_found_by_thumbprints_in_standard_base64(letters: str) -> None:
    """MSAL for Go sends `x5t#S256` in standard base64, in which two thirds of all digests differ."""
    for name, digest in (
        ("x5t#S256", hashlib.sha256),
        ("x5t", hashlib.sha1),
        ("kid", hashlib.sha1),
    ):
        while True:
            der = create_certificate(KEY)
            text = base64.b64encode(digest(der).digest()).decode()
            if letters in text:
                break
        identity = replace(IDENTITY, keys=(to_key_credential(der, begins=1, expires=2000),))
        for named in (text, text.rstrip("=")):
            assert certificate.find_key(assertion({name: named}), identity, NOW)


def test_certificate_is_valid_from_its_start_to_before_its_end() -> None:
    for now in (1.0, 1999.9):
        assert certificate.find_key(assertion(), IDENTITY, now)
    for now in (0.9, 2000.0):
        assert expect_refusal(certificate.find_key, assertion(), IDENTITY, now)[0] == 1000502


def sign_token(alg: str, key: Any, scheme: Any) -> UnverifiedAssertion:
    made = assertion({"alg": alg, "x5t": THUMBPRINT})
    return replace(
        made, token=replace(made.token, signature=key.sign(b"text", scheme, hashes.SHA256()))
    )


def test_signature_must_match_certificate_key_and_algorithm() -> None:
    [registered] = IDENTITY.keys
    certificate.check_signature(sign_token("RS256", KEY, padding.PKCS1v15()), registered)
    certificate.check_signature(sign_token("PS256", KEY, PSS), registered)
    for bad in (
        sign_token("RS256", OTHER_KEY, padding.PKCS1v15()),
        sign_token("RS256", KEY, PSS),
        sign_token("PS256", KEY, padding.PKCS1v15()),
        assertion(),
    ):
        found = expect_refusal(certificate.check_signature, bad, registered)
        assert found == (700027, "signature")


@pytest.mark.parametrize("bits", [1024, 2047])
def test_certificate_with_small_key_is_refused(bits: int) -> None:
    small = rsa.generate_private_key(65537, bits)
    good = sign_token("RS256", small, padding.PKCS1v15())
    registered = to_key_credential(create_certificate(small))
    assert expect_refusal(certificate.check_signature, good, registered)[0] == 700027


def test_certificate_without_rsa_key_is_refused() -> None:
    elliptic = to_key_credential(create_certificate(ec.generate_private_key(ec.SECP256R1())))
    good = sign_token("RS256", KEY, padding.PKCS1v15())
    for registered in (elliptic, to_key_credential(b"no certificate")):
        assert expect_refusal(certificate.check_signature, good, registered)[0] == 700027

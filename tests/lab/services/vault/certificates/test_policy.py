"""Policies of certificates: defaults, limits, merging, and the form in responses."""

from typing import Any

import pytest

from podpass.lab.services.vault.certificates import policy
from podpass.lab.services.vault.certificates.policy import parse, to_json
from podpass.lab.services.vault.errors import BadParameter

SELF = {"x509_props": {"subject": "CN=web"}, "issuer": {"name": "Self"}}


def test_defaults_of_a_self_signed_policy_are_those_that_azure_returns() -> None:
    # The body that a recording of azure-sdk-for-js sends, and the policy in its response.
    given = {
        "key_props": {},
        "secret_props": {},
        "x509_props": {"subject": "cn=MyCert", "sans": {}},
        "issuer": {"name": "Self"},
        "attributes": {},
    }
    assert to_json(parse(given)) == {
        "key_props": {"exportable": True, "kty": "RSA", "key_size": 2048, "reuse_key": False},
        "secret_props": {"contentType": "application/x-pkcs12"},
        "x509_props": {
            "subject": "cn=MyCert",
            "sans": {},
            "ekus": ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"],
            "key_usage": ["digitalSignature", "keyEncipherment"],
            "validity_months": 12,
            "basic_constraints": {"ca": False},
        },
        "lifetime_actions": [
            {"trigger": {"lifetime_percentage": 80}, "action": {"action_type": "AutoRenew"}}
        ],
        "issuer": {"name": "Self"},
    }


def test_policy_without_issuer_has_the_issuer_unknown_and_a_notice() -> None:
    found = parse({"x509_props": {"subject": "CN=web"}})
    assert found.is_merged
    assert [each.action for each in found.actions] == ["EmailContacts"]


@pytest.mark.parametrize("size", [2048, 3072, 4096])
def test_size_of_rsa_key_is_accepted(size: int) -> None:
    assert parse({**SELF, "key_props": {"kty": "RSA", "key_size": size}}).key.size == size


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521", "P-256K"])
def test_curve_is_accepted(curve: str) -> None:
    found = parse({**SELF, "key_props": {"kty": "EC", "crv": curve}})
    assert (found.key.curve, found.key.size) == (curve, None)
    assert parse(to_json(found)) == found


@pytest.mark.parametrize(
    "wrong",
    [
        {"key_props": {"kty": "RSA", "key_size": 1024}},
        {"key_props": {"kty": "RSA", "key_size": 16384}},
        {"key_props": {"kty": "RSA", "key_size": True}},
        {"key_props": {"kty": "EC", "crv": "P-224"}},
        {"key_props": {"kty": "RSA-HSM"}},
        {"key_props": {"kty": "oct"}},
        {"key_props": []},
        {"secret_props": {"contentType": "text/plain"}},
        {"x509_props": {"subject": "CN=" + "a" * policy.MAX_SUBJECT}},
        {"x509_props": {}},
        {"x509_props": {"subject": 1}},
        {"x509_props": {"subject": "CN=a", "ekus": ["serverAuth"]}},
        {"x509_props": {"subject": "CN=a", "ekus": ["1.2"] * (policy.MAX_EKUS + 1)}},
        {"x509_props": {"subject": "CN=a", "key_usage": ["signing"]}},
        {"x509_props": {"subject": "CN=a", "validity_months": 0}},
        {"x509_props": {"subject": "CN=a", "validity_months": policy.MAX_MONTHS + 1}},
        {"x509_props": {"subject": "CN=a", "sans": {"dns_names": "a"}}},
        {"x509_props": {"sans": {"dns_names": ["a"] * policy.MAX_SANS, "emails": ["a@b"]}}},
        {"x509_props": {"sans": {"ip_addresses": ["10.0.0.256"]}}},
        {"lifetime_actions": [{"trigger": {}, "action": {"action_type": "AutoRenew"}}]},
        {
            "lifetime_actions": [
                {"trigger": {"lifetime_percentage": 100}, "action": {"action_type": "AutoRenew"}}
            ]
        },
        {
            "lifetime_actions": [
                {"trigger": {"days_before_expiry": 325}, "action": {"action_type": "AutoRenew"}}
            ]
        },
        {"issuer": {"name": "a/b"}},
    ],
)
def test_wrong_policy_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadParameter):
        parse({**SELF, **wrong})


def test_renewal_without_issuer_is_refused() -> None:
    renew = {"trigger": {"lifetime_percentage": 80}, "action": {"action_type": "AutoRenew"}}
    with pytest.raises(BadParameter, match="AutoRenew"):
        parse({"x509_props": {"subject": "CN=a"}, "lifetime_actions": [renew]})


def test_days_before_expiry_are_at_most_27_for_each_month() -> None:
    action = {"trigger": {"days_before_expiry": 324}, "action": {"action_type": "AutoRenew"}}
    assert parse({**SELF, "lifetime_actions": [action]}).actions[0].days == 324


def test_change_of_policy_keeps_the_other_members() -> None:
    old = parse({**SELF, "key_props": {"kty": "EC", "crv": "P-384", "reuse_key": True}})
    new = parse({"x509_props": {"validity_months": 3}}, old)
    assert (new.months, new.subject, new.key) == (3, "CN=web", old.key)


def test_change_to_issuer_unknown_changes_the_renewal_to_a_notice() -> None:
    new = parse({"issuer": {"name": "Unknown"}}, parse(SELF))
    assert [each.action for each in new.actions] == ["EmailContacts"]


def test_type_of_issuer_is_kept() -> None:
    found = parse({**SELF, "issuer": {"name": "ca1", "cty": "OV-SSL", "cert_transparency": True}})
    assert to_json(found)["issuer"] == {"name": "ca1", "cty": "OV-SSL", "cert_transparency": True}


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"subject": "garbage"}, "subject"),
        ({"subject": "C=USA"}, "subject"),
        ({"subject": "CN=a", "ekus": ["1.99.1"]}, "ekus"),
        ({"subject": "CN=a", "sans": {"dns_names": ["é.com"]}}, "sans"),
    ],
)
def test_invalid_names_of_a_policy_are_refused_before_the_renewal(
    wrong: dict[str, Any], text: str
) -> None:
    for base in (None, parse(SELF)):
        with pytest.raises(BadParameter, match=text):
            parse({**SELF, "x509_props": wrong}, base)


def test_long_object_identifier_is_accepted() -> None:
    usage = "2.25.329800735698586629295641978511506172918"
    found = parse({**SELF, "x509_props": {"subject": "CN=a", "ekus": [usage]}})
    assert policy.from_json(to_json(found)) == found

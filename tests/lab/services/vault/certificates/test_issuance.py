"""Certificates and requests that the vault makes by a policy."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from podpass.lab.services.vault.certificates import issuance, names, views
from podpass.lab.services.vault.certificates.policy import KeyProperties, Policy, parse
from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.months import add_months

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
EC = KeyProperties(kty="EC", size=None, curve="P-256")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("CN=a.com", "CN=a.com"),
        ("cn=a.com , o=Contoso Ltd., C=US", "CN=a.com, O=Contoso Ltd., C=US"),
        ('CN="Contoso, Inc", S=WA', "CN=Contoso\\, Inc, S=WA"),
        ("CN=Contoso\\, Inc", "CN=Contoso\\, Inc"),
        ("E=a@b.c, CN=x", "E=a@b.c, CN=x"),
        ("CN=a+OU=b", "CN=a+OU=b"),
        ("", ""),
    ],
)
def test_subject_is_parsed_and_shown_as_windows_writes_it(given: str, shown: str) -> None:
    assert names.show_subject(names.parse_subject(given)) == shown


@pytest.mark.parametrize("given", ["web", "C=USA", "CN=", "XX=1"])
def test_wrong_subject_is_refused(given: str) -> None:
    with pytest.raises(BadParameter, match="subject"):
        names.parse_subject(given)


@pytest.mark.parametrize(
    ("months", "expected"), [(1, "2026-02-28"), (12, "2027-01-31"), (25, "2028-02-29")]
)
def test_months_end_at_the_last_day_of_a_shorter_month(months: int, expected: str) -> None:
    assert add_months(NOW, months).date().isoformat() == expected


def test_self_signed_certificate_has_what_the_policy_says() -> None:
    policy = parse(
        {
            "key_props": {"kty": "EC", "crv": "P-256"},
            "x509_props": {
                "subject": "CN=web, O=Contoso",
                "sans": {
                    "dns_names": ["web.example"],
                    "emails": ["a@b.c"],
                    "upns": ["u@b.c"],
                    "uris": ["spiffe://a/b"],
                    "ipAddresses": ["10.0.0.1", "::1"],
                },
                "ekus": ["1.3.6.1.5.5.7.3.2"],
                "key_usage": ["digitalSignature", "keyCertSign"],
                "validity_months": 3,
            },
            "issuer": {"name": "Self"},
        }
    )
    key = issuance.generate_key(policy.key)
    made = issuance.build_self_signed(policy, key, NOW)
    made.verify_directly_issued_by(made)
    assert made.not_valid_before_utc == datetime(2026, 1, 31, 11, 50, tzinfo=UTC)
    assert made.not_valid_after_utc == datetime(2026, 4, 30, 12, tzinfo=UTC)
    sans = views.find_extension(made, x509.SubjectAlternativeName)
    assert sans is not None
    assert sans.get_values_for_type(x509.DNSName) == ["web.example"]
    assert [str(each) for each in sans.get_values_for_type(x509.IPAddress)] == ["10.0.0.1", "::1"]
    upn = sans.get_values_for_type(x509.OtherName)[0]
    assert (upn.type_id.dotted_string, upn.value) == ("1.3.6.1.4.1.311.20.2.3", b"\x0c\x05u@b.c")
    usages = views.find_extension(made, x509.ExtendedKeyUsage)
    assert list(usages or ()) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert views.list_operations(made) == ("sign", "verify")


def test_request_has_the_names_and_usages_of_the_policy() -> None:
    policy = parse({"x509_props": {"subject": "CN=a", "sans": {"dns_names": ["a.b"]}}})
    key = issuance.generate_key(EC)
    made = issuance.build_request(policy, key)
    assert made.is_signature_valid
    assert made.public_key() == key.public_key()
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.b"]


def _issue(policy: Policy) -> tuple[x509.Certificate, x509.Certificate]:
    key, ca_key = issuance.generate_key(EC), issuance.generate_key(EC)
    ca = issuance.build_issuer("ca1", ca_key, NOW)
    request = issuance.build_request(policy, key)
    return issuance.sign_request(request, policy, (ca, ca_key), NOW), ca


def test_registered_issuer_signs_the_request() -> None:
    leaf, ca = _issue(Policy(subject="CN=web", sans={"dns_names": ("web.example",)}, issuer="ca1"))
    leaf.verify_directly_issued_by(ca)
    ca.verify_directly_issued_by(ca)
    assert names.show_subject(leaf.subject) == "CN=web"


def test_registered_issuer_never_signs_a_ca() -> None:
    leaf, _ = _issue(Policy(subject="CN=web", ca=True, issuer="ca1"))
    constraints = views.find_extension(leaf, x509.BasicConstraints)
    assert constraints is not None
    assert not constraints.ca


def test_certificate_does_not_outlive_its_issuer() -> None:
    leaf, ca = _issue(Policy(subject="CN=web", months=600, issuer="ca1"))
    assert leaf.not_valid_after_utc == ca.not_valid_after_utc

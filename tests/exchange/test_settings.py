"""Invalid settings are reported together, and checks of client credentials that need no directory."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from podpass.errors import SettingsError
from podpass.exchange import client_credentials
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.token_request import TokenRequest
from podpass.settings import AuthoritySettings, LocalSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user_token_seconds", 599),
        ("user_token_seconds", 86_400),
        ("propagation_seconds", -1),
        ("propagation_seconds", 3601),
        ("cloud", "azurecloud"),
        ("cloud", ""),
        ("private_issuers", ("10.0.0.0/33",)),
        ("private_issuers", ("10.0.0.1/8",)),
        ("private_issuers", ("0.0.0.0/0",)),
        ("private_issuers", ("::/0",)),
        ("private_issuers", ("*.internal",)),
        ("private_issuers", ("https://issuer.internal",)),
        ("private_issuers", ("",)),
        ("private_issuers", ("localhost",)),
        ("private_issuers", ("issuer.localhost",)),
        ("private_issuers", ("127.0.0.1",)),
        ("private_issuers", ("127.1",)),
        ("private_issuers", ("2130706433",)),
        ("private_issuers", ("0x7f.1",)),
        ("private_issuers", ("127.0x1",)),
        ("private_issuers", ("0.0.0.0",)),
        ("private_issuers", ("169.254.169.254",)),
        ("private_issuers", ("169.254.0.0/16",)),
        ("private_issuers", ("::ffff:0:0/96",)),
        ("administrators", ("anna@contoso.test",)),
        ("administrators", ("AAAAAAAA-2222-4222-8222-222222222222",)),
        ("assertion_algorithms", ()),
        ("assertion_algorithms", ("RS256", "HS256")),
        ("assertion_algorithms", ("none",)),
        ("pages_origin", "https://elsewhere.test"),
        ("pages_origin", "https://login.microsoftonline.com/path"),
    ],
)
def test_setting_out_of_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        AuthoritySettings(**{name: value})
    flag = next(each.metadata["flag"] for each in fields(AuthoritySettings) if each.name == name)
    assert (flag or name) in str(caught.value)
    assert "(" not in str(caught.value), "a list is shown as it was given"


def test_private_issuers_are_hosts_and_networks() -> None:
    named = ("kubernetes.default.svc", "10.20.0.0/16", "fd12::/48", "127.0.0.0/8", "10.20.0.7")
    assert AuthoritySettings(private_issuers=named).private_issuers == named


@pytest.mark.parametrize("algorithms", ["HS256", "RS256,none", "", "RS256, ES256"])
def test_local_instance_accepts_the_same_algorithms(algorithms: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        LocalSettings(data_dir=tmp_path, assertion_algorithms=algorithms)
    assert "--assertion-algorithm" in str(caught.value)


def test_pages_origin_may_be_any_configured_origin() -> None:
    origins = ("https://login.microsoftonline.com", "https://localhost:1")
    assert AuthoritySettings(origins=origins, pages_origin=origins[1]).pages_origin == origins[1]


GOOD = {"grant_type": "client_credentials", "client_id": "c", "scope": "s"}
V1 = {"grant_type": "client_credentials", "client_id": "c", "resource": "r"}


def request(form: dict[str, str], version: int = 2) -> TokenRequest:
    return TokenRequest(tenant="t", version=version, origin="https://o", form=form)


@pytest.mark.parametrize(("form", "version"), [(GOOD, 2), (V1, 1), ({**V1, "scope": "s"}, 1)])
def test_required_parameters_of_each_version_suffice(form: dict[str, str], version: int) -> None:
    client_credentials.check_request(request(form, version))


@pytest.mark.parametrize(
    ("form", "version", "number", "name"),
    [
        ({}, 2, 900144, "grant_type"),
        ({**GOOD, "grant_type": " "}, 2, 900144, "grant_type"),
        ({**GOOD, "grant_type": "password"}, 2, 70003, "grant"),
        ({**GOOD, "client_id": ""}, 2, 900144, "client_id"),
        ({**GOOD, "client_id": "\t"}, 2, 900144, "client_id"),
        ({**GOOD, "scope": ""}, 2, 900144, "scope"),
        ({**GOOD, "resource": "r"}, 2, 901002, ""),
        ({**GOOD, "resource": "r", "scope": ""}, 2, 901002, ""),
        (GOOD, 1, 900144, "resource"),
        ({**V1, "resource": " "}, 1, 900144, "resource"),
    ],
)
def test_missing_or_unsupported_parameter_is_named(
    form: dict[str, str], version: int, number: int, name: str
) -> None:
    with pytest.raises(AadstsError) as caught:
        client_credentials.check_request(request(form, version))
    assert caught.value.entry.number == number
    if number == 900144:
        assert caught.value.facts["name"] == name
    if number == 70003:
        assert caught.value.facts[name] == "password"

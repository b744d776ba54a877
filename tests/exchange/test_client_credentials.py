"""The checks of the client credentials grant that need no directory."""

import pytest

from podpass.exchange import client_credentials
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.token_request import TokenRequest

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

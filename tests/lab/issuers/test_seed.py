"""The sections `issuers:` and `pipelines:` of a seed, and what they refuse."""

from pathlib import Path
from typing import Any

import pytest

from podpass.errors import UsageError
from podpass.lab import services
from podpass.settings.azure import AzureSettings

URL = "https://issuer.example"


def test_issuers_and_platforms_are_read() -> None:
    text = f"issuers: [{{url: '{URL}', addresses: [10.0.0.0/8], ca_file: /ca.pem}}]\npipelines: [github]"
    seed = services.parse_seed(text, "seed.yaml")
    assert [each.name for each in seed.entries["issuers"]] == [URL]
    assert [each.name for each in seed.entries["pipelines"]] == ["github"]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{}", "url is missing"),
        ("{url: 'http://issuer.example'}", "url: want an https URL"),
        ("{url: 'https://issuer.example/?a'}", "url: want an https URL"),
        (f"{{url: '{URL}', server: 'https://u@h'}}", "server: want an https URL"),
        (f"{{url: '{URL}', server: 'https://h/'}}", "no final slash"),
        (f"{{url: '{URL}', ca_file: ca.pem}}", "ca_file: want an absolute path"),
        (f"{{url: '{URL}', addresses: [0.0.0.0/0]}}", "want a network such as"),
        (f"{{url: '{URL}', addresses: [169.254.0.0/16]}}", "want a network such as"),
        (f"{{url: '{URL}', folder: /f, ca_file: /ca}}", "omit server, ca_file and addresses"),
        (
            f"{{url: '{URL}', folder: /f, server: 'https://h'}}",
            "omit server, ca_file and addresses",
        ),
        (
            f"{{url: '{URL}', folder: /f, addresses: [10.0.0.0/8]}}",
            "omit server, ca_file and addresses",
        ),
        (f"{{url: '{URL}', server: 'https://h', token_file: /token}}", "'token_file'"),
        (f"{{url: '{URL}', password: x}}", "password"),
    ],
)
def test_wrong_issuer_is_refused_with_its_line(entry: str, problem: str) -> None:
    with pytest.raises(UsageError) as refused:
        services.parse_seed(f"issuers:\n  - {entry}\n", "seed.yaml")
    assert "seed.yaml:2:" in refused.value.message
    assert problem in refused.value.message


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            {"private_issuers": "0.0.0.0/0"},
            "--private-issuer 0.0.0.0/0: want host names, or networks",
        ),
        ({"private_issuers": "a.internal,169.254.169.254/32"}, "want host names, or networks"),
        ({"private_issuers": "localhost"}, "not localhost"),
        ({"issuer_ca_file": "/ca.pem"}, "--issuer-ca-file needs --private-issuer"),
    ],
)
def test_addresses_that_no_issuer_may_have_are_refused(given: dict[str, Any], problem: str) -> None:
    assert problem in " ".join(AzureSettings(data_dir=Path("/data"), **given).list_problems())
    allowed = AzureSettings(
        data_dir=Path("/data"), private_issuers="a.internal,127.0.0.0/8", issuer_ca_file="/ca.pem"
    )
    assert allowed.list_problems() == []


def test_unknown_platform_and_duplicate_issuer_are_refused() -> None:
    with pytest.raises(UsageError, match="'jenkins': want one of github"):
        services.parse_seed("pipelines: [jenkins]", "seed.yaml")
    with pytest.raises(UsageError, match="is already in line 2"):
        services.parse_seed(f"issuers:\n- {{url: '{URL}'}}\n- {{url: '{URL}'}}\n", "seed.yaml")

"""The address of Azurite and the keys of its accounts."""

import pytest

from podpass.errors import SettingsError
from podpass.settings import LocalSettings
from podpass.settings.storage import parse_accounts, parse_services

KEY = "a2V5IG9mIHRoZSBhY2NvdW50"


@pytest.mark.parametrize(
    ("text", "services"),
    [
        ("", {}),
        (
            "http://127.0.0.1:10000",
            {
                "blob": "http://127.0.0.1:10000",
                "queue": "http://127.0.0.1:10001",
                "table": "http://127.0.0.1:10002",
            },
        ),
        ("blob=http://azurite:10000", {"blob": "http://azurite:10000"}),
        (
            "table=https://[::1]:1,blob=http://a.b-c:2",
            {"table": "https://[::1]:1", "blob": "http://a.b-c:2"},
        ),
    ],
)
def test_address_of_azurite_names_its_services(text: str, services: dict[str, str]) -> None:
    assert parse_services(text) == services


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:10000",
        "http://127.0.0.1",
        "http://127.0.0.1:10000/account",
        "http://user@127.0.0.1:10000",
        "http://127.0.0.1:10000?x",
        "ftp://127.0.0.1:10000",
        "http://127.0.0.1:65535",
        "http://a b:1",
        "http://127.0.0.1:x",
        "file=http://127.0.0.1:10000",
        "blob=http://127.0.0.1:1,blob=http://127.0.0.1:2",
        "blob=",
    ],
)
def test_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--azurite"):
        parse_services(text)
    with pytest.raises(SettingsError, match="--azurite"):
        LocalSettings(data_dir=__file__, azurite=text)  # type: ignore[arg-type]


def test_accounts_have_the_form_that_azurite_reads() -> None:
    found = parse_accounts(f"orders:{KEY};logs:{KEY}:c2Vjb25k;")
    assert {name: key.reveal() for name, key in found.items()} == {"orders": KEY, "logs": KEY}
    assert KEY not in repr(found)


def test_empty_account_setting_means_the_default_account_of_azurite() -> None:
    assert list(parse_accounts("")) == ["devstoreaccount1"]


@pytest.mark.parametrize(
    "text", ["orders", "orders:", f"Orders:{KEY}", "orders:no base64", f":{KEY}"]
)
def test_wrong_account_is_refused_without_its_key(text: str) -> None:
    with pytest.raises(SettingsError, match="AZURITE_ACCOUNTS, entry 1: want") as refused:
        parse_accounts(text)
    assert KEY not in refused.value.message
    assert "no base64" not in refused.value.message

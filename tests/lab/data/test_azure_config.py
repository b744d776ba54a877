"""The instance's AZURE_CONFIG_DIR: written on the first start, then owned by az."""

import json
from pathlib import Path
from typing import Any

import msal
import pytest

from podpass.lab.data import azure_config
from podpass.lab.data.azure_config import AzAccount

ACCOUNT = AzAccount(
    tenant_id="11111111-1111-4111-8111-111111111111",
    tenant_name="podpass local",
    user_id="77777777-7777-4777-8777-777777777777",
    user_name="admin@podpass.test",
    subscription_id="22222222-2222-4222-8222-222222222222",
    subscription_name="podpass",
)


class Mint:
    """Creates numbered tokens; only the given ones are valid."""

    def __init__(self, *good: str) -> None:
        self.made = 0
        self.good = set(good)

    def __call__(self) -> str:
        self.made += 1
        return f"token-{self.made}"

    def works(self, token: str) -> bool:
        return token in self.good


def write(folder: Path, mint: Mint) -> bool:
    return azure_config.sign_in_administrator(
        folder, ACCOUNT, mint=mint, works=mint.works, clock=lambda: 1000.0
    )


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8-sig")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "azure"


def test_admin_is_signed_in_after_the_first_start(folder: Path) -> None:
    assert write(folder, Mint())
    (subscription,) = read(folder / "azureProfile.json")["subscriptions"]
    assert subscription["id"] == ACCOUNT.subscription_id
    assert subscription["user"] == {"name": ACCOUNT.user_name, "type": "user"}
    assert (subscription["isDefault"], subscription["environmentName"]) == (True, "AzureCloud")


def test_msal_finds_account_and_token_in_the_cache(folder: Path) -> None:
    write(folder, Mint())
    cache = msal.SerializableTokenCache()
    cache.deserialize((folder / "msal_token_cache.json").read_text())
    (account,) = cache.search("Account")
    assert account["username"] == ACCOUNT.user_name
    assert account["home_account_id"] == f"{ACCOUNT.user_id}.{ACCOUNT.tenant_id}"
    (token,) = cache.search(
        "RefreshToken", query={"home_account_id": account["home_account_id"], "family_id": "1"}
    )
    assert token["secret"] == "token-1"
    # The keys must be those of MSAL: otherwise MSAL would add entries instead of replacing ours.
    for kind, entries in read(folder / "msal_token_cache.json").items():
        for key, entry in entries.items():
            assert cache.key_makers[kind](**entry) == key


def test_files_are_readable_by_the_owner_only(folder: Path) -> None:
    write(folder, Mint())
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_second_start_does_not_change_the_az_files(folder: Path) -> None:
    mint = Mint("token-1")
    write(folder, mint)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert not write(folder, mint)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert mint.made == 1


def test_invalid_refresh_token_is_replaced(folder: Path) -> None:
    mint = Mint()
    write(folder, mint)
    assert write(folder, mint)
    (token,) = read(folder / "msal_token_cache.json")["RefreshToken"].values()
    assert token["secret"] == "token-2"


@pytest.mark.parametrize("left", ["", '{"half', "[]", "\xff"])
def test_truncated_profile_is_written_again(folder: Path, left: str) -> None:
    """A full disk truncates the file, and az only reports that it cannot be read."""
    mint = Mint()
    write(folder, mint)
    (folder / "azureProfile.json").write_text(left, "latin-1")
    assert write(folder, mint)
    (one,) = read(folder / "azureProfile.json")["subscriptions"]
    assert one["user"]["name"] == ACCOUNT.user_name


def test_signed_out_user_stays_signed_out(folder: Path) -> None:
    mint = Mint()
    write(folder, mint)
    # The content after `az logout` and `az account clear`.
    (folder / "azureProfile.json").write_text('{"installationId": "x", "subscriptions": []}')
    (folder / "msal_token_cache.json").unlink()
    assert not write(folder, mint)
    assert not (folder / "msal_token_cache.json").exists()


def test_user_without_refresh_token_stays_signed_out(folder: Path) -> None:
    mint = Mint()
    write(folder, mint)
    (folder / "msal_token_cache.json").write_text('{"RefreshToken": {}}')
    assert not write(folder, mint)


def test_sign_in_of_another_user_is_preserved(folder: Path) -> None:
    folder.mkdir()
    other = {"subscriptions": [{"tenantId": "t", "user": {"name": "someone", "type": "user"}}]}
    (folder / "azureProfile.json").write_text(json.dumps(other), "utf-8-sig")
    assert not write(folder, Mint())
    assert read(folder / "azureProfile.json") == other


def test_settings_changed_by_the_user_are_preserved(folder: Path) -> None:
    folder.mkdir()
    (folder / "config").write_text("[core]\noutput = table\n")
    write(folder, Mint())
    assert (folder / "config").read_text() == "[core]\noutput = table\n"


@pytest.mark.parametrize("text", ["{}", '{"subscriptions": 1}'])
def test_profile_without_subscriptions_is_not_changed(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "azureProfile.json").write_text(text)
    assert not write(folder, Mint())


def test_other_accounts_in_the_cache_survive_a_renewal(folder: Path) -> None:
    mint = Mint()
    write(folder, mint)
    cache = read(folder / "msal_token_cache.json")
    cache["RefreshToken"]["other"] = {"home_account_id": "b.c", "secret": "theirs"}
    cache["AccessToken"] = {"k": {"secret": "s"}}
    (folder / "msal_token_cache.json").write_text(json.dumps(cache))
    assert write(folder, mint)
    after = read(folder / "msal_token_cache.json")
    assert after["RefreshToken"]["other"]["secret"] == "theirs"
    assert after["AccessToken"] == cache["AccessToken"]

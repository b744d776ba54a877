"""The vault in a Host header, and invalid settings of a vault."""

import pytest

from podpass.errors import SettingsError
from podpass.lab.services.vault.errors import VaultNotFound
from podpass.lab.services.vault.hosts import parse_host
from podpass.lab.services.vault.settings import AZURE_VAULTS, VaultOrigin, VaultSettings

DIRECT = VaultOrigin(
    suffix="vault.localhost",
    authority="https://localhost:18443",
    resource="https://vault.localhost:18445",
)
ORIGINS = (AZURE_VAULTS, DIRECT)


@pytest.mark.parametrize(
    ("host", "vault", "base"),
    [
        ("demo.vault.azure.net", "demo", "https://demo.vault.azure.net"),
        ("Demo.Vault.Azure.Net:443", "demo", "https://demo.vault.azure.net"),
        ("demo.vault.localhost:18445", "demo", "https://demo.vault.localhost:18445"),
        # Some clients omit the port.
        ("demo.vault.localhost", "demo", "https://demo.vault.localhost:18445"),
        ("localhost", None, "https://localhost:18445"),
        ("127.0.0.1:9", None, "https://127.0.0.1:18445"),
        ("[::1]:18445", None, "https://[::1]:18445"),
    ],
)
def test_host_selects_vault_or_the_only_one(host: str, vault: str | None, base: str) -> None:
    place = parse_host(host, ORIGINS)
    assert (place.vault, place.base) == (vault, base)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        ":",
        "vault.azure.net",
        ".vault.azure.net",
        "a.b.vault.azure.net",
        "vault.localhost",
        "demo.vault.azure.net.evil",
        "demovault.azure.net",
        "evil.example",
        "[",
        "[::2]",
    ],
)
def test_other_host_is_refused(host: str | None) -> None:
    with pytest.raises(VaultNotFound) as caught:
        parse_host(host, ORIGINS)
    assert "vault.azure.net, vault.localhost" in caught.value.hint


def test_loopback_is_refused_without_localhost_origin() -> None:
    with pytest.raises(VaultNotFound):
        parse_host("localhost", (AZURE_VAULTS,))


def test_invalid_settings_are_refused_with_all_problems() -> None:
    bad = VaultOrigin(suffix="x", authority="http://a", resource="https://b/")
    with pytest.raises(SettingsError) as caught:
        VaultSettings(origins=(bad,), leeway_seconds=301)
    assert len(caught.value.problems) == 3
    with pytest.raises(SettingsError):
        VaultSettings(origins=())

"""The instance's AZURE_CONFIG_DIR, in which `az` is signed in as the administrator from the start.

az owns the files: podpass writes them once. If the user signs out or signs in with another account, the files
stay unchanged. Only the refresh token is replaced, if the administrator is still signed in and the token is
no longer valid.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podpass import files, names
from podpass.clock import Clock
from podpass.exchange.sign_in.well_known_clients import AZURE_CLI, FAMILY

_PROFILE = "azureProfile.json"
_TOKENS = "msal_token_cache.json"
_CONFIG = "config"
_TARGET = "https://management.core.windows.net//.default"
# No telemetry, no prompts, and tokens in a plain file that podpass can write. The HTTP cache is a pickle that
# another release of az cannot read, and it contains ports of an earlier start.
_SETTINGS = """[core]
collect_telemetry = false
survey_message = false
encrypt_token_cache = false
login_experience_v2 = off
use_msal_http_cache = false
error_recommendation = off
[auto-upgrade]
enable = false
[logging]
enable_log_file = false
[extension]
use_dynamic_install = no
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AzAccount:
    """The signed-in user, and the contents of `az account show`."""

    tenant_id: str
    tenant_name: str
    user_id: str
    user_name: str
    subscription_id: str
    subscription_name: str

    @property
    def home_id(self) -> str:
        """Return MSAL's id of the account."""
        return f"{self.user_id}.{self.tenant_id}"


def sign_in_administrator(
    folder: Path,
    account: AzAccount,
    *,
    mint: Callable[[], str],
    works: Callable[[str], bool],
    clock: Clock,
) -> bool:
    """Sign the administrator in to az, unless the user has signed in or out; return whether it did.

    `mint` creates a refresh token for Azure CLI; `works` returns whether one is valid. Raises OSError.
    """
    files.create_private_folder(folder)
    if not (folder / _CONFIG).exists():
        files.write_private(folder / _CONFIG, _SETTINGS.encode())
    profile = folder / _PROFILE
    # az truncates its files on a full disk, so a damaged profile does not mean that the user signed out.
    if not _is_valid(profile):
        # The profile is written last: if it exists, the next start assumes that the rest exists.
        _store_token(folder, account, mint(), clock)
        files.write_private(profile, _build_profile(account))
        return True
    if not _is_signed_in(profile, account):
        return False
    stored = _refresh_tokens(_read_json(folder / _TOKENS), account)
    # No refresh token: the user signed out.
    if not stored or any(works(token) for token in stored):
        return False
    _store_token(folder, account, mint(), clock)
    return True


def forget_access_tokens(folder: Path) -> None:
    """Remove the cached access tokens, which the services refuse after a reset of the cloud.

    Raises OSError.
    """
    cache = _read_json(folder / _TOKENS)
    if cache.pop("AccessToken", None):
        files.write_private(folder / _TOKENS, json.dumps(cache, indent=4).encode())


def create_signed_out(folder: Path) -> None:
    """Create a configuration of az in which no user is signed in. Raises OSError."""
    files.create_private_folder(folder)
    files.write_private(folder / _CONFIG, _SETTINGS.encode())


def signed_in_name(folder: Path) -> str | None:
    """Return the name of the user whose subscription az uses; None if no user is signed in."""
    listed = _read_json(folder / _PROFILE).get("subscriptions")
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and each.get("isDefault") and isinstance(each.get("user"), dict):
            return str(each["user"].get("name"))
    return None


def _build_profile(account: AzAccount) -> bytes:
    subscription = {
        "id": account.subscription_id,
        "name": account.subscription_name,
        "state": "Enabled",
        "user": {"name": account.user_name, "type": "user"},
        "isDefault": True,
        "tenantId": account.tenant_id,
        "environmentName": "AzureCloud",
        "homeTenantId": account.tenant_id,
        "tenantDefaultDomain": account.user_name.partition("@")[2],
        "tenantDisplayName": account.tenant_name,
        "managedByTenants": [],
    }
    installation = str(uuid.uuid5(uuid.UUID(account.tenant_id), "az"))
    profile = {"installationId": installation, "subscriptions": [subscription]}
    return json.dumps(profile).encode()


def _is_signed_in(profile: Path, account: AzAccount) -> bool:
    """Return whether the administrator is among the signed-in users of az."""
    listed = _read_json(profile).get("subscriptions")
    return any(
        isinstance(each, dict)
        and each.get("tenantId") == account.tenant_id
        and isinstance(user := each.get("user"), dict)
        and user.get("name") == account.user_name
        for each in (listed if isinstance(listed, list) else ())
    )


def _store_token(folder: Path, account: AzAccount, token: str, clock: Clock) -> None:
    cache = _read_json(folder / _TOKENS)
    for kind, key, entry in _cache_entries(account, token, str(int(clock()))):
        stored = cache.get(kind)
        cache[kind] = {**(stored if isinstance(stored, dict) else {}), key: entry}
    files.write_private(folder / _TOKENS, json.dumps(cache, indent=4).encode())


def _cache_entries(
    account: AzAccount, token: str, now: str
) -> list[tuple[str, str, dict[str, str]]]:
    """Return MSAL's cache entries: account, refresh token, and family membership of Azure CLI."""
    owner = {"home_account_id": account.home_id, "environment": names.LOGIN_HOST}
    signed_in = {
        **owner,
        "realm": "organizations",
        "local_account_id": account.user_id,
        "username": account.user_name,
        "authority_type": "MSSTS",
        "account_source": "password",
    }
    refresh = {
        **owner,
        "credential_type": "RefreshToken",
        "secret": token,
        "client_id": AZURE_CLI,
        "target": _TARGET,
        "last_modification_time": now,
        "family_id": FAMILY,
    }
    member = {"client_id": AZURE_CLI, "environment": names.LOGIN_HOST, "family_id": FAMILY}
    return [
        ("Account", f"{account.home_id}-{names.LOGIN_HOST}-organizations", signed_in),
        ("RefreshToken", _token_key(account), refresh),
        ("AppMetadata", f"appmetadata-{names.LOGIN_HOST}-{AZURE_CLI}", member),
    ]


def _token_key(account: AzAccount) -> str:
    return f"{account.home_id}-{names.LOGIN_HOST}-refreshtoken-{AZURE_CLI}--{_TARGET}"


def _refresh_tokens(cache: Mapping[str, Any], account: AzAccount) -> list[str]:
    """Return the refresh tokens that az would use."""
    stored = cache.get("RefreshToken")
    return [
        str(entry.get("secret", ""))
        for entry in (stored.values() if isinstance(stored, dict) else ())
        if isinstance(entry, dict) and entry.get("home_account_id") == account.home_id
    ]


def _is_valid(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text("utf-8-sig")), dict)
    except (OSError, ValueError):
        return False


def _read_json(path: Path) -> dict[str, Any]:
    """Read a file of az; an unreadable file counts as empty, as in az."""
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

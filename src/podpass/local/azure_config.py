"""The instance's AZURE_CONFIG_DIR: `az` finds its administrator signed in there from the start.

The files are az's own, so they are written once and then left to it: a user who signs out, or signs in as
somebody else, stays so. Only the refresh token is renewed, when the administrator is still the one signed
in and the token works no longer.
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
# Nothing is told to anybody, nothing is asked for on the terminal, and tokens lie where we write them. The
# HTTP cache is a pickle that another release of az cannot read, and remembers ports of an earlier start.
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
class Account:
    """Who is signed in, and what `az account show` says."""

    tenant_id: str
    tenant_name: str
    user_id: str
    user_name: str
    subscription_id: str
    subscription_name: str

    @property
    def home_id(self) -> str:
        """MSAL's name for the account."""
        return f"{self.user_id}.{self.tenant_id}"


def write(
    folder: Path,
    account: Account,
    *,
    mint: Callable[[], str],
    works: Callable[[str], bool],
    clock: Clock,
) -> bool:
    """Sign the administrator in, unless az has been used to sign somebody in or out; tell if it was done.

    Shapes:  `mint` makes a refresh token for Azure CLI; `works` tells whether one is still good.
    Errors:  OSError.
    """
    files.private_folder(folder)
    if not (folder / _CONFIG).exists():
        files.write_private(folder / _CONFIG, _SETTINGS.encode())
    profile = folder / _PROFILE
    # az cuts its files off on a full disk; what cannot be read says nothing about who signed out.
    if not _is_whole(profile):
        # The profile last: with it there, the next start takes the rest for granted.
        _put_token(folder, account, mint(), clock)
        files.write_private(profile, _profile(account))
        return True
    if not _is_signed_in(profile, account):
        return False
    held = _tokens_of(_read(folder / _TOKENS), account)
    # None at all: az was told to sign out.
    if not held or any(works(token) for token in held):
        return False
    _put_token(folder, account, mint(), clock)
    return True


def _profile(account: Account) -> bytes:
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


def _is_signed_in(profile: Path, account: Account) -> bool:
    """Tell whether az still has our administrator, and not only others."""
    listed = _read(profile).get("subscriptions")
    return any(
        isinstance(each, dict)
        and each.get("tenantId") == account.tenant_id
        and isinstance(user := each.get("user"), dict)
        and user.get("name") == account.user_name
        for each in (listed if isinstance(listed, list) else ())
    )


def _put_token(folder: Path, account: Account, token: str, clock: Clock) -> None:
    cache = _read(folder / _TOKENS)
    for kind, key, entry in _entries(account, token, str(int(clock()))):
        held = cache.get(kind)
        cache[kind] = {**(held if isinstance(held, dict) else {}), key: entry}
    files.write_private(folder / _TOKENS, json.dumps(cache, indent=4).encode())


def _entries(account: Account, token: str, now: str) -> list[tuple[str, str, dict[str, str]]]:
    """Make MSAL's entries: the account, its refresh token, and that Azure CLI is of the family."""
    whose = {"home_account_id": account.home_id, "environment": names.LOGIN_HOST}
    signed_in = {
        **whose,
        "realm": "organizations",
        "local_account_id": account.user_id,
        "username": account.user_name,
        "authority_type": "MSSTS",
        "account_source": "password",
    }
    refresh = {
        **whose,
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


def _token_key(account: Account) -> str:
    return f"{account.home_id}-{names.LOGIN_HOST}-refreshtoken-{AZURE_CLI}--{_TARGET}"


def _tokens_of(cache: Mapping[str, Any], account: Account) -> list[str]:
    """Find the refresh tokens az would use."""
    held = cache.get("RefreshToken")
    return [
        str(entry.get("secret", ""))
        for entry in (held.values() if isinstance(held, dict) else ())
        if isinstance(entry, dict) and entry.get("home_account_id") == account.home_id
    ]


def _is_whole(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text("utf-8-sig")), dict)
    except (OSError, ValueError):
        return False


def _read(path: Path) -> dict[str, Any]:
    """Read one of az's files; one that cannot be read counts as empty, as az itself takes it."""
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

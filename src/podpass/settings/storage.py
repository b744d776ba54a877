"""Settings of the storage accounts in front of Azurite."""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from podpass import names
from podpass.crypto.secret import Secret
from podpass.errors import SettingsError
from podpass.settings.fields import setting

# Azurite uses this account without its variable. Microsoft publishes the key, so it is not a secret.
_EMULATOR_ACCOUNT = "devstoreaccount1"
_EMULATOR_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_HOST = re.compile(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:.]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """Settings of the data plane of storage accounts.

    `services` maps `blob`, `queue` and `table` to the origin of Azurite's service; `keys` maps an account to
    its key in Azurite.
    """

    tenant_id: str = setting("tenant whose tokens are accepted")
    services: Mapping[str, str] = setting("origins of Azurite's services")
    keys: Mapping[str, Secret] = setting(
        "keys of the accounts in Azurite",
        shown="the account and the key of Azurite",
        default_factory=lambda: parse_accounts(""),
    )
    authority: str = setting(
        "origin of the authority in challenges", default=f"https://{names.LOGIN_HOST}"
    )


def parse_services(text: str) -> dict[str, str]:
    """Parse the value of `--azurite`; an empty text means no storage.

    `http://HOST:PORT` is the blob service, with the queue and table services on the next two ports as
    Azurite's own defaults; `blob=URL,queue=URL,table=URL` names each one. Raises SettingsError.
    """
    if not text:
        return {}
    if "=" not in text:
        scheme, host, port = _parse_origin(text)
        return {
            service: f"{scheme}://{host}:{port + offset}"
            for offset, service in enumerate(names.STORAGE_SERVICES)
        }
    found = {}
    for part in text.split(","):
        service, _, url = part.partition("=")
        if service not in names.STORAGE_SERVICES or service in found:
            known = ", ".join(names.STORAGE_SERVICES)
            raise SettingsError(
                [f"--azurite {part!r}: want each of {known} at most once, as NAME=URL"]
            )
        scheme, host, port = _parse_origin(url)
        found[service] = f"{scheme}://{host}:{port}"
    return found


def _parse_origin(url: str) -> tuple[str, str, int]:
    problem = SettingsError([f"--azurite {url[:80]!r}: must be http://HOST:PORT without a path"])
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise problem from None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not port or port > 65535 - 2:
        raise problem
    if (
        parts.path
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
        or not _HOST.fullmatch(host)
    ):
        raise problem
    return parts.scheme, f"[{host}]" if ":" in host else host, port


def parse_accounts(text: str) -> dict[str, Secret]:
    """Parse `AZURITE_ACCOUNTS`, which Azurite reads too; without it, Azurite has one account.

    `account:key;account:key:key`, with keys in base64; the first key is used. Raises SettingsError, without
    the value.
    """
    if not text.strip():
        return {_EMULATOR_ACCOUNT: Secret(_EMULATOR_KEY)}
    found = {}
    for number, part in enumerate(filter(None, text.strip().split(";")), 1):
        account, _, keys = part.partition(":")
        key = keys.partition(":")[0]
        if not _ACCOUNT.fullmatch(account) or not key or not _is_base64(key):
            form = "want account:key, with 3 to 24 lower-case letters and digits, and a base64 key"
            raise SettingsError([f"{names.ENV_AZURITE_ACCOUNTS}, entry {number}: {form}"])
        found[account] = Secret(key)
    return found


def _is_base64(text: str) -> bool:
    try:
        return bool(b64decode(text, validate=True))
    except Base64Error:
        return False

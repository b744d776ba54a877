"""The subscription that is selected in the Azure CLI, from its files."""

import configparser
import json
from collections.abc import Mapping
from pathlib import Path

from podpass.errors import UsageError
from podpass.guids import is_guid


class SubscriptionNotChosen(UsageError):
    """No option names a subscription, and none is selected in the Azure CLI."""


_MAX_PROFILE_BYTES = 16 * 1024 * 1024


def find_cli_subscription(environ: Mapping[str, str]) -> str:
    """Return the subscription that is selected in the Azure CLI, from its files.

    Raises SubscriptionNotChosen.
    """
    home = environ.get("AZURE_CONFIG_DIR") or str(Path(environ.get("HOME") or "~") / ".azure")
    folder = Path(home).expanduser()
    cloud = _read_ini(folder / "config", "cloud", "name") or "AzureCloud"
    found = _read_ini(folder / "clouds.config", cloud, "subscription") or _read_profile(
        folder / "azureProfile.json", cloud
    )
    if not is_guid(found):
        raise SubscriptionNotChosen(
            "--subscription-id is required (and must be a valid UUID)",
            hint="pass it, or select one: az account set --subscription NAME",
        )
    return found


def _read_ini(file: Path, section: str, key: str) -> str:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(_read_text(file))
        return parser.get(section, key)
    except (OSError, ValueError, configparser.Error):
        return ""


def _read_profile(file: Path, cloud: str) -> str:
    try:
        profile = json.loads(_read_text(file))
        return next(
            str(each["id"])
            for each in profile["subscriptions"]
            if each.get("isDefault") and each.get("environmentName") == cloud
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return ""


def _read_text(file: Path) -> str:
    from podpass.files import read_regular

    return read_regular(file, _MAX_PROFILE_BYTES).decode("utf-8-sig")

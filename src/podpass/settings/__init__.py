"""One frozen dataclass per process, read once from flags and environment; every problem named at once.

Precedence: flag, variable, default. `docs/settings.md` is made from these classes. A field is made by
`setting`, which holds what the page says: meaning, unit, flag, variable. A field without either is set by
whoever builds the class.
"""

from podpass.settings.authority import AuthoritySettings
from podpass.settings.authority_process import AuthorityProcessSettings
from podpass.settings.fields import describe, setting
from podpass.settings.local import LocalSettings
from podpass.settings.vault import AZURE_VAULTS, VaultOrigin, VaultSettings
from podpass.settings.webhook import WebhookSettings

__all__ = [
    "AZURE_VAULTS",
    "AuthorityProcessSettings",
    "AuthoritySettings",
    "LocalSettings",
    "VaultOrigin",
    "VaultSettings",
    "WebhookSettings",
    "describe",
    "setting",
]

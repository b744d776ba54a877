"""Settings: one frozen dataclass per process, read once from flags and environment variables.

A flag overrides a variable, a variable overrides the default. All problems are reported together. `setting`
declares a field with its meaning, unit, flag and variable; `docs/settings.md` is generated from this. A field
without flag and variable is set only in code.
"""

from podpass.settings.authority import AuthoritySettings
from podpass.settings.authority_process import AuthorityProcessSettings
from podpass.settings.cloud import CloudSettings
from podpass.settings.fields import describe, setting
from podpass.settings.local import LocalSettings
from podpass.settings.proxy import ProxyInitSettings, ProxySettings
from podpass.settings.storage import StorageSettings
from podpass.settings.webhook import WebhookSettings

__all__ = [
    "AuthorityProcessSettings",
    "AuthoritySettings",
    "CloudSettings",
    "LocalSettings",
    "ProxyInitSettings",
    "ProxySettings",
    "StorageSettings",
    "WebhookSettings",
    "describe",
    "setting",
]

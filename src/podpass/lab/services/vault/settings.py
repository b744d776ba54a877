"""Settings of the key vault."""

from dataclasses import dataclass

from podpass import names
from podpass.errors import SettingsError
from podpass.settings.fields import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultOrigin:
    """A host suffix of vaults, with the authority and the resource of its challenge.

    Vault hosts are `{vault}.{suffix}`; `authority` and `resource` are origins without a trailing slash:
    `https://login.microsoftonline.com`, `https://vault.azure.net`.
    """

    suffix: str
    authority: str
    resource: str


AZURE_VAULTS = VaultOrigin(
    suffix=names.VAULT_SUFFIX,
    authority=f"https://{names.LOGIN_HOST}",
    resource=f"https://{names.VAULT_SUFFIX}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSettings:
    """Settings of the key vault's data plane."""

    origins: tuple[VaultOrigin, ...] = setting(
        "host suffixes of vaults, each with the authority and the resource of its challenge; tokens for these"
        " resources and for Key Vault's own resource are accepted",
        default=(AZURE_VAULTS,),
    )
    leeway_seconds: int = setting(
        "maximum clock difference to the authority in seconds, 0 to 300", default=0
    )

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.leeway_seconds <= 300:
            problems.append(f"leeway_seconds {self.leeway_seconds}: must be 0 to 300")
        if not self.origins:
            problems.append("origins: at least one is required")
        problems += [
            f"origins {url!r}: must be https://host without a trailing slash"
            for origin in self.origins
            for url in (origin.authority, origin.resource)
            if not url.startswith("https://") or url.endswith("/")
        ]
        if problems:
            raise SettingsError(problems)

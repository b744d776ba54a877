"""Settings of the key vault."""

from dataclasses import dataclass

from podpass import names
from podpass.errors import SettingsError
from podpass.settings.fields import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultOrigin:
    """One way in which vaults are reached, and what its challenge says.

    Shapes:  hosts are `{vault}.{suffix}`; `authority` and `resource` are origins, without a slash at the
             end: `https://login.microsoftonline.com`, `https://vault.azure.net`.
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
        "host suffixes that vaults are reached under, each with the authority and the resource that its"
        " challenge names; tokens for these resources are accepted, and those for Key Vault's own",
        default=(AZURE_VAULTS,),
    )
    keys_url: str = setting(
        "address of the JWKS with the keys that access tokens are signed with",
        default=f"https://{names.LOGIN_HOST}/common/discovery/v2.0/keys",
    )
    leeway_seconds: int = setting(
        "by how many seconds this clock and the authority's may differ; 0 to 300", default=0
    )

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.leeway_seconds <= 300:
            problems.append(f"leeway_seconds {self.leeway_seconds}: want 0 to 300")
        if not self.origins:
            problems.append("origins: want one at least")
        problems += [
            f"origins {url!r}: want https://host without a slash at the end"
            for origin in self.origins
            for url in (origin.authority, origin.resource)
            if not url.startswith("https://") or url.endswith("/")
        ]
        if not self.keys_url.startswith("https://"):
            problems.append(f"keys_url {self.keys_url!r}: want an https URL")
        if problems:
            raise SettingsError(problems)

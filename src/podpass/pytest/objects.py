"""Identities and vaults of an instance, as tests use them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from podpass.kubernetes.service_account.names import USERNAME_PREFIX
from podpass.pytest.client import ServiceConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityHandle:
    """An identity of the directory.

    `accounts` are the ServiceAccounts, `NAMESPACE/NAME`, that its federated credentials trust.
    """

    name: str
    kind: str
    client_id: str
    principal_id: str
    tenant_id: str
    accounts: tuple[str, ...] = ()
    _control: ServiceConnection = field(repr=False, compare=False)

    @property
    def account(self) -> str:
        """Return the first ServiceAccount that the identity trusts. Raises ValueError."""
        if not self.accounts:
            raise ValueError(
                f"the identity {self.name} trusts no ServiceAccount of this instance; create it with"
                f" accounts=('NAMESPACE/NAME',)"
            )
        return self.accounts[0]

    def add_client_secret(self, *, expires_in: float = 3600, name: str = "tests") -> str:
        """Add a client secret to an application, and return it; a negative number makes an expired one."""
        given = {"client_id": self.client_id, "seconds": expires_in, "name": name}
        return str(self._control.request("POST", "/tests/client-secret", given)["secret"])


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultHandle:
    """A key vault."""

    name: str
    _control: ServiceConnection = field(repr=False, compare=False)

    @property
    def url(self) -> str:
        """Return the URL for a `SecretClient`."""
        return f"https://{self.name}.vault.azure.net"

    def expire(self, secret: str, *, expires_in: float = -60) -> None:
        """Change when a secret expires. As in Azure, the vault still returns an expired secret."""
        self._change(secret, seconds=expires_in)

    def disable(self, secret: str) -> None:
        """Disable a secret: the vault answers 403."""
        self._change(secret, enabled=False)

    def _change(self, secret: str, **change: Any) -> None:
        given = {"vault": self.name, "name": secret, **change}
        self._control.request("POST", "/tests/vault-secret", given)


def read_identity(
    row: Mapping[str, Any], issuer: str, control: ServiceConnection
) -> IdentityHandle:
    """Convert a row of the control API."""
    subjects = [
        str(each["subject"])
        for each in row["federated_credentials"]
        if each["issuer"] == issuer and each["subject"].startswith(USERNAME_PREFIX)
    ]
    return IdentityHandle(
        name=row["name"],
        kind=row["kind"],
        client_id=row["client_id"],
        principal_id=row["principal_id"],
        tenant_id=row["tenant_id"],
        accounts=tuple(each.removeprefix(USERNAME_PREFIX).replace(":", "/") for each in subjects),
        _control=control,
    )

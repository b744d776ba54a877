"""The container of the cloud half alone, for other containers with managed identities."""

import ipaddress
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from podpass import names
from podpass.directory.model import IdentityKind
from podpass.errors import UsageError
from podpass.lab.names.bundles import BUNDLE, CA, TRUST_STORE
from podpass.lab.names.injection import JAVA_STORE, BundleNames, build_variables
from podpass.lab.services import parse_seed
from podpass.pytest.instance import Seed, seed_text
from podpass.testcontainers.base import (
    FOLDER,
    IMAGE,
    READABLE,
    SEED_FILE,
    ContainerFailed,
    InstanceContainer,
)

_TRUST_FOLDER = Path("/tmp/trust")  # noqa: S108 of the image, which has one user
_FILES = (BUNDLE, CA, TRUST_STORE, JAVA_STORE)


class CloudContainer(InstanceContainer):
    """Azure for the other containers of a network, without a cluster.

    Each managed identity of the seed has a secret header value of its own. `azurite` is the address of an
    Azurite in the network, and `accounts` are its accounts with their keys, as in its variable
    `AZURITE_ACCOUNTS`.
    """

    def __init__(
        self,
        network: Network,
        image: str = IMAGE,
        *,
        seed: Seed = None,
        azurite: str = "",
        accounts: str = "",
        **more: Any,
    ) -> None:
        text = seed_text(seed)
        super().__init__(image, text, "the cloud half is ready", network=network, **more)
        self._headers = _create_headers(text)
        headers = ";".join(f"{name}={value}" for name, value in self._headers.items())
        self.with_envs(
            **{names.ENV_IDENTITY_HEADERS: headers, names.ENV_AZURITE_ACCOUNTS: accounts}
        )
        # Docker's default; other engines let only root listen on ports below 1024.
        self.with_kwargs(sysctls={"net.ipv4.ip_unprivileged_port_start": "0"})
        self.with_command(
            [
                *("podpass", "cloud", "serve", "--data-dir", str(FOLDER), "--seed", SEED_FILE),
                *("--listen", ":443", "--dns-listen", ":53", "--managed-identity-listen", ":80"),
                *("--trust-dir", str(_TRUST_FOLDER), "--azurite", azurite),
            ]
        )

    def configure(self, other: DockerContainer, identity: str = "") -> DockerContainer:
        """Let another container use Azure, with a managed identity of the seed; return it.

        `other` has not been started; its image needs no change. Raises UsageError if the seed has no such
        identity.
        """
        variables = build_variables(BundleNames())
        alias = self.join(other)
        if identity:
            variables |= self._identity_variables(alias, identity)
        other.with_envs(**variables)
        for name in _FILES:
            content = self.read_file(_TRUST_FOLDER / name)
            target = str(Path(BundleNames().mount_path, name))
            other.with_copy_into_container(content, target, READABLE)
        given = other._kwargs  # noqa: SLF001 `with_kwargs` would replace what the caller has given
        return other.with_kwargs(**{**given, "dns": [self.address]})

    @property
    def address(self) -> str:
        """Return the address in the network: that of the resolver and of all Azure names.

        Raises ContainerFailed if the engine has not given one.
        """
        container = self.get_wrapped_container()
        container.reload()
        networks: Mapping[str, Mapping[str, str]] = container.attrs["NetworkSettings"]["Networks"]
        assert self._network is not None
        try:
            return str(ipaddress.ip_address(networks[self._network.name]["IPAddress"]))
        except (KeyError, ValueError) as exc:
            raise ContainerFailed("the container has no address in its network") from exc

    def _identity_variables(self, alias: str, identity: str) -> dict[str, str]:
        if identity not in self._headers:
            raise UsageError(
                f"the seed has no managed identity {identity!r}",
                hint=f"it has: {', '.join(sorted(self._headers)) or 'none'}",
            )
        return {
            "IDENTITY_ENDPOINT": f"http://{alias}/msi/token",
            "IDENTITY_HEADER": self._headers[identity],
        }


def _create_headers(seed: str) -> dict[str, str]:
    """Create a header value for each managed identity of a seed. Raises UsageError if the seed is invalid."""
    found = parse_seed(seed, "seed").identities
    return {
        one.name: secrets.token_urlsafe(24)
        for one in found
        if one.kind is IdentityKind.MANAGED_IDENTITY
    }

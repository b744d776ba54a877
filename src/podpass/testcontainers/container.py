"""The container of an instance, and of the cloud half alone, and the settings of their clients."""

import ipaddress
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from podpass import files, names
from podpass.directory.model import IdentityKind
from podpass.errors import UsageError
from podpass.lab.data import azure_config, ca, kubeconfig, trust
from podpass.lab.data.datadir import DataDir, load_config, save_config
from podpass.lab.data.environment import pod_environment
from podpass.lab.data.ports import EXPOSED, SERVICES
from podpass.lab.names.bundles import BUNDLE, CA, TRUST_STORE
from podpass.lab.names.injection import JAVA_STORE, BundleNames, build_variables
from podpass.lab.services import parse_seed
from podpass.pytest.environment import workload_variables
from podpass.pytest.instance import Podpass, Seed, seed_text
from podpass.settings.local import ALL_ADDRESSES
from podpass.testcontainers.base import (
    FOLDER,
    IMAGE,
    READABLE,
    SEED_FILE,
    ContainerFailed,
    InstanceContainer,
)

_PORT_BASE = 18440
_PORTS = {name: _PORT_BASE + offset for offset, name in enumerate(SERVICES)}
_FOLDER = DataDir(FOLDER)
_CLIENT_FOLDER = DataDir(Path("/podpass"))


class PodpassContainer(InstanceContainer):
    """An instance of podpass in a container; `podpass` is its interface for tests."""

    def __init__(self, image: str = IMAGE, *, seed: Seed = None, **more: Any) -> None:
        super().__init__(image, seed_text(seed), "podpass is ready", **more)
        self._connected: Podpass | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.with_exposed_ports(*sorted(_PORTS[name] for name in EXPOSED))
        self.with_command(
            [
                *("podpass", "up", "--data-dir", str(_FOLDER.root)),
                *("--port-base", str(_PORT_BASE), "--listen", ALL_ADDRESSES),
                *("--for-tests", "-", "--seed", SEED_FILE),
            ]
        )

    @property
    def podpass(self) -> Podpass:
        """Return the instance: seeding, tokens, faults, `reset`, and the variables of programs on the host.

        Raises UsageError before the start.
        """
        if self._connected is None:
            raise UsageError("the container has not been started", hint="use `with`, or start()")
        return self._connected

    def start(self) -> Self:
        """Start the instance, and wait until it is ready.

        Raises ContainerFailed, with the last lines of its output.
        """
        super().start()
        self._folder = tempfile.TemporaryDirectory(prefix="podpass-")
        data_dir = self._copy_files(DataDir(Path(self._folder.name, "data")))
        self._connected = Podpass(_ContainerProcess(data_dir))
        return self

    def stop(self, force: bool = True, delete_volume: bool = True) -> None:
        """Remove the container and the copied files."""
        if self._connected is not None:
            self._connected.stop()
            self._connected = None
        super().stop(force, delete_volume)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def configure(self, other: DockerContainer, account: str = "") -> DockerContainer:
        """Let another container of the same network use the instance, as pods of a ServiceAccount; return it.

        `other` has not been started; its token is valid for one hour from now. Raises UsageError, if this
        container is in no network; InstanceRequestFailed.
        """
        alias = self.join(other)
        own = DataDir(self.podpass.data_dir)
        other.with_envs(**pod_environment(_CLIENT_FOLDER, _PORTS["gateway"], (alias,), alias))
        for source in (*own.public_files[:-1], *own.certs.iterdir()):
            target = _CLIENT_FOLDER.root / source.relative_to(own.root)
            other.with_copy_into_container(source.read_bytes(), str(target), READABLE)
        if account:
            self._give_identity(other, account)
        return other

    def _give_identity(self, other: DockerContainer, account: str) -> None:
        token = self.podpass.kubernetes.request_token(account)
        namespace, _, name = account.rpartition("/")
        found = self.podpass.kubernetes.get("ServiceAccount", name, namespace or "default")
        annotations = found["metadata"].get("annotations") or {}
        file = _CLIENT_FOLDER.path(Path(names.TOKEN_PATH).name)
        other.with_copy_into_container(token.encode(), str(file), READABLE)
        client_id = annotations.get(names.CLIENT_ID, "")
        tenant_id = annotations.get(names.TENANT_ID, self.podpass.tenant_id)
        other.with_envs(**workload_variables(client_id, tenant_id, file))

    def _copy_files(self, data_dir: DataDir) -> DataDir:
        """Copy what clients need, with the ports of the host; the CA's key stays in the container."""
        files.create_private_folder(data_dir.root)
        copied = (
            _FOLDER.path("instance.json"),
            _FOLDER.ca_file,
            _FOLDER.certificate(ca.ADMIN),
            _FOLDER.key(ca.ADMIN),
        )
        for source in copied:
            target = data_dir.root / source.relative_to(_FOLDER.root)
            files.create_private_folder(target.parent)
            files.write_private(target, self.read_file(source))
        ports = {name: int(self.get_exposed_port(_PORTS[name])) for name in EXPOSED}
        config = load_config(data_dir)
        config = replace(config, ports={**config.ports, **ports})
        save_config(data_dir, config)
        trust.write_stores(data_dir, {})
        azure_config.create_signed_out(data_dir.path("azure"))
        server = kubeconfig.render(data_dir, ca.ADMIN, config.url("kubernetes"))
        files.write_private(data_dir.kubeconfig, server.encode())
        return data_dir


class _ContainerProcess:
    """The instance of a container, which ends with its container."""

    def __init__(self, data_dir: DataDir) -> None:
        self.data_dir = data_dir

    def leave(self) -> None:
        """Do nothing: the container is stopped by its owner."""

    stop = leave


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

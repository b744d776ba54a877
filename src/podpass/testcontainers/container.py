"""The container of an instance, and the settings of its clients on the host and in other containers."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from testcontainers.core.container import DockerContainer

from podpass import files, names
from podpass.errors import UsageError
from podpass.lab.data import azure_config, ca, kubeconfig, trust
from podpass.lab.data.datadir import DataDir, load_config, save_config
from podpass.lab.data.environment import pod_environment
from podpass.lab.data.ports import EXPOSED, SERVICES
from podpass.pytest.environment import workload_variables
from podpass.pytest.instance import Podpass, Seed, seed_text
from podpass.settings.local import ALL_ADDRESSES
from podpass.testcontainers.base import FOLDER, IMAGE, READABLE, SEED_FILE, InstanceContainer

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

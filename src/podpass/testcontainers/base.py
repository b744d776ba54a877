"""What the containers of podpass share: the seed, the start, and the network of other containers."""

import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any, Self

from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from podpass import __version__
from podpass.errors import Error, UsageError

IMAGE = f"podpass:{__version__}"
FOLDER = Path("/tmp/podpass")  # noqa: S108 of the image, which has one user
SEED_FILE = "/tmp/seed.yaml"  # noqa: S108
READABLE = 0o444
_ALIAS = "podpass"
_READY_SECONDS = 120


class ContainerFailed(Error):
    """The instance did not start in its container."""

    code = "container_failed"


class InstanceContainer(DockerContainer):
    """A container of podpass with a seed, which is ready when it prints a text."""

    def __init__(self, image: str, seed: str, ready: str, **more: Any) -> None:
        super().__init__(image, **more)
        self.with_copy_into_container(seed.encode(), SEED_FILE, READABLE)
        self.waiting_for(LogMessageWaitStrategy(ready).with_startup_timeout(_READY_SECONDS))

    def start(self) -> Self:
        """Start the container, and wait until it is ready.

        Raises ContainerFailed, with the last lines of its output.
        """
        if self._network is not None and not self._network_aliases:
            self.with_network_aliases(_ALIAS)
        try:
            super().start()
        except (RuntimeError, TimeoutError) as exc:
            lines = b"\n".join(self.get_logs()).decode(errors="replace").strip().splitlines()
            self.stop()
            raise ContainerFailed(
                f"the instance did not start in its container: {' '.join(lines[-2:])}"
            ) from exc
        return self

    def join(self, other: DockerContainer) -> str:
        """Add another container, which has not been started, to the network; return this one's name in it.

        Raises UsageError, if this container is in no network.
        """
        if not isinstance(self._network, Network) or not self._network_aliases:
            raise UsageError(
                "other containers cannot reach this one",
                hint=f"give it a network: {type(self).__name__}(network=network)",
            )
        other.with_network(self._network)
        return self._network_aliases[0]

    def read_file(self, path: Path) -> bytes:
        """Return the content of a file of the container. Raises ContainerFailed if there is none."""
        chunks, _ = self.get_wrapped_container().get_archive(str(path))
        with tarfile.open(fileobj=BytesIO(b"".join(chunks))) as archive:
            for member in archive:
                if (content := archive.extractfile(member)) is not None:
                    return content.read()
        raise ContainerFailed(f"the container has no file {path}")

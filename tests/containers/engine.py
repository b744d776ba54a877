"""Released container engines in namespaces of their own: Docker Engine, and podman with Docker's API."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from tests.node.sandbox import Sandbox, sandbox, wait_until
from tests.node.sandbox_init import remove_cgroups

_READY_SECONDS = 60
_DOCKER = "/run/docker.sock"
_PODMAN = "/run/podman.sock"
_PODMAN_SETTINGS = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers Docker's API on a socket of its sandbox."""

    sandbox: Sandbox
    socket: str

    def run(
        self,
        *command: str | Path,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> "CompletedProcess[str]":
        """Run a program next to the engine, as on a developer's machine.

        Raises SandboxError, with its output.
        """
        given = {
            "DOCKER_HOST": f"unix://{self.socket}",
            # The image of the reaper is in a registry, which no test can reach.
            "TESTCONTAINERS_RYUK_DISABLED": "true",
            # Otherwise Testcontainers for Java starts a container if the machine is one itself.
            "TESTCONTAINERS_HOST_OVERRIDE": "localhost",
            **(variables or {}),
        }
        moved = ["--chdir", str(folder)] if folder else []
        words = ["env", *moved, *(f"{name}={value}" for name, value in given.items()), *command]
        return self.sandbox.run(*words, check=check)

    def load(self, archive: Path) -> None:
        """Load an image, as `docker load` does."""
        self.run("docker", "load", "--input", archive)


@contextlib.contextmanager
def docker_engine(prepare: Callable[[Sandbox], Sequence[str]] = lambda _: ()) -> Iterator[Engine]:
    """Run Docker Engine; `prepare` changes the sandbox first, and returns more options."""
    with sandbox() as box:
        more = prepare(box)
        command = ("dockerd", "--host", f"unix://{_DOCKER}", "--pidfile", "/run/docker.pid")
        places = ("--data-root", "/var/lib/docker", "--exec-root", "/run/docker")
        groups = ("--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", box.cgroup)
        with _running(box, "dockerd", [*command, *places, *groups, *more], _DOCKER) as engine:
            yield engine


@contextlib.contextmanager
def podman_engine() -> Iterator[Engine]:
    """Run podman's service; it creates a cgroup outside that of the sandbox, which is removed."""
    with contextlib.ExitStack() as stack:
        stack.callback(remove_cgroups, "libpod_parent")
        box = stack.enter_context(sandbox())
        settings = box.folder / "containers.conf"
        settings.write_text(_PODMAN_SETTINGS)
        command = ["podman", "system", "service", "--time", "0", f"unix://{_PODMAN}"]
        variables = {"CONTAINERS_CONF": str(settings), "TMPDIR": str(box.folder)}
        with _running(box, "podman", command, _PODMAN, variables) as engine:
            yield engine


@contextlib.contextmanager
def _running(
    box: Sandbox,
    name: str,
    command: Sequence[str],
    socket: str,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Engine]:
    service = box.start(name, command, variables)
    engine = Engine(box, socket)

    def answers() -> bool:
        assert box.exit_code(service) is None, service.log.read_text()[-2000:]
        return engine.run("docker", "version", check=False).returncode == 0

    wait_until(answers, _READY_SECONDS, name)
    try:
        yield engine
    finally:
        _remove_containers(engine)
        box.stop(service)


def _remove_containers(engine: Engine) -> None:
    """Remove what a failed test has left, whose processes the engine would wait for."""
    found = engine.run("docker", "ps", "--all", "--quiet", check=False).stdout.split()
    if found:
        engine.run("docker", "rm", "--force", "--volumes", *found, check=False)

"""The programs of the container tests: Debian packages, and images that are built here."""

import os
import shutil
import sys

from tests import debian
from tests.containers import images
from tests.node.programs import CannotRun

# Each program and the Debian package that has it.
_PACKAGES = {
    "docker-compose": "docker-compose",
    "dockerd": "docker.io",
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "podman": "podman",
    "runc": "runc",
}
_PATH = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin{os.pathsep}/sbin"


def missing_packages() -> list[str]:
    """Return the Debian packages that this machine lacks."""
    return sorted({each for name, each in _PACKAGES.items() if not shutil.which(name, path=_PATH)})


def install_packages() -> None:
    """Install the missing packages where that is possible."""
    debian.install(missing_packages())


def check_machine() -> None:
    """Check that this machine can run a container engine. Raises CannotRun."""
    if os.geteuid() != 0:
        raise CannotRun("a container engine needs root")
    if missing := missing_packages():
        raise CannotRun(f"{', '.join(missing)} not installed")


def main() -> None:
    """Install and build what is missing, because a build takes longer than a test may."""
    install_packages()
    try:
        check_machine()
        images.podpass_archive()
        images.client_layer()
    except CannotRun as exc:
        print(f"SKIPPED: container engines: {exc}", file=sys.stderr)


if __name__ == "__main__":
    main()

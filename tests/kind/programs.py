"""The programs of the tests with kind: Debian packages, and Go programs and images that are built here."""

import shutil
import sys

from bench.peers.build import CannotBuild, build_program
from tests import debian
from tests.containers import programs as containers
from tests.kind import node_image
from tests.node import images
from tests.node import programs as node
from tests.node.programs import CannotRun

_PACKAGE = "mmdebstrap"


def install_packages() -> None:
    """Install the missing packages where that is possible."""
    containers.install_packages()
    node.install_packages()
    debian.install([] if shutil.which(_PACKAGE) else [_PACKAGE])


def check_machine() -> None:
    """Check that this machine can run kind. Raises CannotRun."""
    containers.check_machine()
    node.check_machine()
    if not shutil.which(_PACKAGE):
        raise CannotRun(f"{_PACKAGE} not installed")
    if not node_image.DEBIAN.exists():
        raise CannotRun(
            f"{node_image.DEBIAN} is missing: the node's image is made of Debian's packages"
        )


def main() -> None:
    """Install and build what is missing, because a build takes longer than a test may."""
    install_packages()
    try:
        check_machine()
        build_program("kind")
        node_image.archive()
        images.podpass_archive()
    except (CannotBuild, CannotRun) as exc:
        print(f"SKIPPED: kind: {exc}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""One Docker Engine with kind's node image, and a developer's machine next to it."""

from collections.abc import Iterator

import pytest

from bench.peers.build import CannotBuild, build_program
from tests.containers.engine import Engine
from tests.kind import node_image
from tests.kind.engine import kind_engine
from tests.kind.programs import check_machine
from tests.node import user_machine
from tests.node.programs import CannotRun
from tests.node.sandbox import left_by
from tests.node.user_machine import UserMachine

_SECONDS = 900
# kind names its own image by a digest, which only the registry of kind has.
_KIND = """
case "$1 $2" in
    "create cluster") exec "{kind}" "$@" --image {image} ;;
    *) exec "{kind}" "$@" ;;
esac
"""


@pytest.fixture(scope="session")
def docker() -> Iterator[Engine]:
    """Run Docker Engine with the image of kind's nodes; at its end, nothing may be left on the machine."""
    try:
        check_machine()
        archive = node_image.archive()
    except (CannotBuild, CannotRun) as exc:
        pytest.skip(f"kind: {exc}")
    with kind_engine() as engine:
        engine.load(archive)
        yield engine
    assert left_by(engine.sandbox.folder.name) == []


@pytest.fixture(scope="session")
def machine(docker: Engine) -> UserMachine:
    """Provide a developer's machine with kind and Docker."""
    kind = _KIND.format(kind=build_program("kind"), image=node_image.NAME)
    variables = {"DOCKER_HOST": f"unix://{docker.socket}"}
    found = user_machine.prepare(docker.sandbox, kind, variables)
    found.seconds = _SECONDS
    return found

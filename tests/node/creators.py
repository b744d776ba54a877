"""Create pods continuously while a test changes the webhook."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from tests.node.images import ROOT
from tests.node.node import Node
from tests.node.sandbox import wait_until


@contextlib.contextmanager
def creating_pods(node: Node, namespace: str) -> Iterator[Callable[[], list[str]]]:
    """Create pods directly until the context ends; yields a function that returns a line for each."""
    files = (node.pki.ca, node.pki.certificate("admin"), node.pki.key("admin"))
    script = ["-m", "tests.node.pod_creator", node.pki.network.server, *map(str, files), namespace]
    name = f"creator-{namespace}"
    where = {"PYTHONPATH": str(ROOT)}
    # Without the lines of an earlier one: a program's output is appended.
    (node.sandbox.folder / f"{name}.log").unlink(missing_ok=True)
    service = node.sandbox.start(name, [sys.executable, *script], where)

    def created() -> list[str]:
        return service.log.read_text().splitlines()

    wait_until(lambda: len(created()) > 3, 60, "the first pods are created")
    try:
        yield created
    finally:
        node.sandbox.stop(service)

"""Clients that ignore proxy variables, in a pod: Node's fetch."""

import pytest

from tests.clients.installation import PROGRAMS, find_tool
from tests.journey.instance import Instance

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]


def test_fetch_of_node_reads_a_secret(instance: Instance) -> None:
    if instance.status["without_proxy"] != "served":
        pytest.skip("needs bubblewrap and the permission to listen on port 443")
    command = [find_tool("node"), str(PROGRAMS / "fetch.mjs"), "journey-vault"]
    assert instance.run_command("node-fetch", "web", command) == ("Succeeded", "hello\n")

"""Released SDKs, the oldest documented versions and the newest, as pods of an instance."""

from collections.abc import Callable

import pytest

from tests.clients.catalogue import CLIENTS, GRAPH, ClientPackage
from tests.clients.installation import PROGRAMS, find_tool
from tests.clients.program_output import parse_output
from tests.clients.toolchains import OLDEST
from tests.journey.instance import Instance

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

MINIMUM = {(each.language, each.package): each.version for each in CLIENTS if each.age == OLDEST}
CASES = [(client, style) for client in CLIENTS for style in client.styles]


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@pytest.mark.shows("pod")
@pytest.mark.parametrize(("client", "style"), CASES, ids=[f"{c.name}-{s}" for c, s in CASES])
def test_a_pod_reads_its_secret_and_gets_a_graph_token(
    instance: Instance,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    client: ClientPackage,
    style: str,
) -> None:
    host = [request.getfixturevalue("storage")] if client.storage else []
    command = [*client.command(), *host, style, f"{GRAPH}/.default"]
    # The storage listens on the loopback of the machine.
    phase, printed = instance.run_command(
        f"{client.name}-{style}", "web", command, hostNetwork=client.storage
    )
    assert phase == "Succeeded", printed
    said = parse_output(printed)
    record_property("version", said["version"])
    assert {name: said[name] for name in client.expected_output} == client.expected_output
    # The version that ran, as the library reports it.
    if client.version:
        assert said["version"] == client.version
    else:
        assert number(said["version"]) > number(MINIMUM.get((client.language, client.package), "0"))


def test_fetch_of_node_reads_a_secret(instance: Instance) -> None:
    if instance.status["without_proxy"] != "served":
        pytest.skip("needs bubblewrap and the permission to listen on port 443")
    command = [find_tool("node"), str(PROGRAMS / "fetch.mjs"), "journey-vault"]
    assert instance.run_command("node-fetch", "web", command) == ("Succeeded", "hello\n")

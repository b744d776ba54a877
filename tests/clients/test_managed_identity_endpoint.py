"""Released libraries of each language with the managed identity endpoint, without a cluster."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from podpass.diagnose.explain.recognition import recognize
from tests.clients import toolchains
from tests.clients.private_network import METADATA_ADDRESS, PrivateNetwork, private_network
from tests.clients.program_output import parse_output
from tests.clients.toolchains import NEWEST
from tests.journey.instance import Instance, started
from tests.run_program import run_text

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

SERVER = Path(__file__).with_name("endpoint_server.py")
HEADER, OTHER_HEADER = "0123456789abcdef-web", "0123456789abcdef-no-role"
PROGRAMS: Mapping[str, Callable[[], list[str]]] = {
    "Python": lambda: toolchains.python("managed_identity", NEWEST),
    "Node": lambda: toolchains.node("managed_identity", NEWEST),
    "Java": lambda: toolchains.java("ManagedIdentity", NEWEST),
    "Go": lambda: toolchains.go_managed(NEWEST),
}


@dataclass(frozen=True)
class Place:
    """An instance in a network namespace without routes: no library can reach a real metadata service."""

    instance: Instance
    network: PrivateNetwork

    @contextmanager
    def endpoint(self, address: str, port: int, *names: str, headers: str = "") -> Iterator[str]:
        """Serve the endpoint of the instance; yield its origin."""
        command = [sys.executable, str(SERVER), str(self.instance.data_dir), address, str(port)]
        with self.network.entered():
            running = subprocess.Popen(
                [*command, *names],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
        with running:
            assert running.stdin is not None
            assert running.stdout is not None
            running.stdin.write(headers)
            running.stdin.close()
            try:
                ready, number = running.stdout.readline().split()
                assert ready == "ready"
                yield f"http://{address}:{number}"
            finally:
                running.terminate()

    def run(self, command: list[str], variables: Mapping[str, str]) -> dict[str, str]:
        """Run a program in the environment of `podpass env`, without workload identity."""
        with self.network.entered():
            environ = json.loads(self.instance.podpass("env", "-o", "json").stdout)
            done = run_text(
                command,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": os.environ["HOME"],
                    **environ,
                    **variables,
                },
                timeout=240,
            )
        said = parse_output(done.stdout)
        assert said, done.stdout + done.stderr
        return said


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with private_network(SERVER) as network, ExitStack() as stack:
        with network.entered():
            instance = stack.enter_context(started(tmp_path_factory.mktemp("endpoint")))
        try:
            yield Place(instance, network)
        finally:
            with network.entered():
                stack.close()


@pytest.fixture(scope="module")
def app_service(place: Place) -> Iterator[str]:
    headers = f"web={HEADER};no-role={OTHER_HEADER}"
    with place.endpoint("127.0.0.1", 0, headers=headers) as origin:
        yield f"{origin}/msi/token"


@pytest.mark.parametrize("language", PROGRAMS)
def test_library_reads_the_secret_with_the_identity_of_its_header(
    place: Place, app_service: str, language: str
) -> None:
    said = place.run(
        [*PROGRAMS[language](), "managed", "default"],
        {"IDENTITY_ENDPOINT": app_service, "IDENTITY_HEADER": HEADER},
    )
    assert (said["managed"], said["default"]) == ("hello", "hello"), said


def test_net_reads_the_secret_with_the_identity_of_its_header(
    place: Place, app_service: str
) -> None:
    command = [*toolchains.azmcp(), "Azure.Identity", "default", "unused"]
    variables = {"IDENTITY_ENDPOINT": app_service, "IDENTITY_HEADER": HEADER}
    assert place.run(command, variables)["secret"] == "hello"


def test_identity_header_selects_its_identity_and_a_wrong_header_is_refused(
    place: Place, app_service: str
) -> None:
    command = [*PROGRAMS["Python"](), "managed"]
    other = {"IDENTITY_ENDPOINT": app_service, "IDENTITY_HEADER": OTHER_HEADER}
    assert "ForbiddenByRbac" in place.run(command, other)["managed"]
    wrong = {"IDENTITY_ENDPOINT": app_service, "IDENTITY_HEADER": f"{HEADER}x"}
    said = place.run(command, wrong)["managed"]
    assert "The identity header is missing or wrong" in said
    assert [each.sentence.id for each in recognize(said).findings] == ["imds_identity_header"]


@pytest.mark.parametrize("language", PROGRAMS)
def test_library_reads_the_secret_through_the_address_of_imds(place: Place, language: str) -> None:
    command = [*PROGRAMS[language](), "managed", "default"]
    # Node's library sends requests to this address through HTTPS_PROXY too.
    direct = dict.fromkeys(("NO_PROXY", "no_proxy"), f"127.0.0.1,localhost,{METADATA_ADDRESS}")
    with place.endpoint(METADATA_ADDRESS, 80, "web"):
        said = place.run(command, direct)
    assert (said["managed"], said["default"]) == ("hello", "hello"), said

"""Released clients get tokens from the migration sidecar, in each mode in which they reach it."""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients import sidecar_matrix
from tests.clients.installation import find_tool
from tests.clients.private_network import PrivateNetwork, private_network
from tests.clients.program_output import parse_output
from tests.clients.sidecar_clients import (
    ANNOTATIONS,
    DIRECT,
    MODES,
    SIDECAR_CLIENTS,
    VARIABLES,
    YES,
    SidecarClient,
)
from tests.clients.sidecar_reasons import ENV, CellReason
from tests.journey.instance import SECOND_CLIENT, Instance, started

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
# JVMs and `az` at the same time, on a machine with other work.
SECONDS = 240


@dataclass(frozen=True)
class SidecarInstance:
    """An instance in its own network namespace, with a sidecar at 127.0.0.1:8000."""

    instance: Instance
    network: PrivateNetwork


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SidecarInstance]:
    # The init container of the sidecar runs iptables.
    find_tool("iptables")
    with private_network() as network:
        stack = ExitStack()
        # Tests install clients from registries, so the thread is in the namespace only where it must be.
        with network.entered():
            instance = stack.enter_context(started(tmp_path_factory.mktemp("sidecar")))
        try:
            with network.entered():
                command = ["podpass", "proxy", "--proxy-port", "8000"]
                # On the network of the machine: pods of other modes reach it at 127.0.0.1.
                instance.create_pod("sidecar", "web", command, hostNetwork=True)
                instance.wait_for_log("sidecar", "starting the proxy server")
            yield SidecarInstance(instance, network)
        finally:
            with network.entered():
                stack.close()


@dataclass(frozen=True)
class Outcome:
    """The cell of one mode, the version that ran, and what the program printed."""

    text: str
    version: str
    printed: str


def run(
    place: SidecarInstance,
    client: SidecarClient,
    mode: str,
    command: list[str],
    more: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a client as a pod. The client requests a token without and a token with a client ID.

    `more` are variables besides those of the mode.
    """
    checks = [client.style, f"{client.style}={SECOND_CLIENT}"]
    words = [client.name, *mode.lower().split(), *(["more"] if more else [])]
    name = "-".join(words)
    is_annotated = mode in ANNOTATIONS
    with place.network.entered():
        place.instance.create_pod(
            name,
            "web",
            [*command, *checks],
            labels=None if is_annotated else {},
            annotations=dict(ANNOTATIONS.get(mode, {})),
            env={**VARIABLES.get(mode, {}), **(more or {})},
            hostNetwork=not is_annotated,
        )
        _, printed = place.instance.wait_for_end(name, SECONDS)
        log = place.instance.pod_log(name, "azwi-proxy") if is_annotated else ""
    said = parse_output(printed)
    text = sidecar_matrix.cell(
        said.get(checks[0]) == "hello",
        said.get(checks[1]) == "hello from the second",
        is_direct=is_annotated and "received token request" not in log,
    )
    return Outcome(text, said.get("version", ""), printed)


@pytest.mark.parametrize("client", SIDECAR_CLIENTS, ids=[each.name for each in SIDECAR_CLIENTS])
def test_client_gets_tokens_in_the_documented_modes(
    place: SidecarInstance,
    request: pytest.FixtureRequest,
    sidecar_rows: sidecar_matrix.SidecarRows,
    client: SidecarClient,
) -> None:
    command = client.command()
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda mode: run(place, client, mode, command), MODES))
    version, texts = found[0].version, [outcome.text for outcome in found]
    sidecar_rows.add(client, version, texts)
    problems = [
        problem
        for mode, outcome in zip(MODES, found, strict=True)
        for problem in find_problems(mode, outcome, client.reasons.get(mode))
    ]
    assert not problems, "\n".join(problems)
    assert not client.version or version == client.version
    if not request.config.getoption("--write-matrix"):
        assert sidecar_matrix.documented_row(client, PAGE.read_text()) == texts


def test_app_service_login_of_node_works_with_the_variable_of_the_guide(
    place: SidecarInstance,
) -> None:
    client = next(each for each in SIDECAR_CLIENTS if each.style == "nodeauth-app")
    outcome = run(place, client, ENV, client.command(), {"IDENTITY_SECRET": "any"})
    assert outcome.text == YES, outcome.printed


def find_problems(mode: str, outcome: Outcome, reason: CellReason | None) -> list[str]:
    """Return how a cell differs from its reason: only a cell that works has none."""
    if outcome.text == YES:
        return [] if reason is None else [f"{mode}: it works, although the page has a reason"]
    if reason is None:
        return [f"{mode} is {outcome.text!r}, without a reason\n{outcome.printed}"]
    # Only a client that does not ask the sidecar has a reason without an output.
    if (outcome.text == DIRECT) != (not reason.output):
        return [f"{mode} is {outcome.text!r}: {reason.text}\n{outcome.printed}"]
    if not re.search(reason.output, outcome.printed):
        return [f"{mode}: the client does not say {reason.output!r}\n{outcome.printed}"]
    return []

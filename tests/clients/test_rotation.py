"""Long-running clients: after a day their assertions were replaced and all their tokens have expired."""

import asyncio
import hashlib
from collections.abc import Iterator

import pytest

from tests.clients.catalogue import CLIENTS, GRAPH, MANAGEMENT, NOT_TRIED, ClientPackage
from tests.clients.program_output import parse_output
from tests.clients.rotation import AHEAD_SECONDS, RotationLab, RotationResult, run_lab
from tests.clients.storage import run_azurite

pytestmark = [
    pytest.mark.clients,
    pytest.mark.timeout(1800),
]  # the first test waits for all clients

LASTING = [client for client in CLIENTS if client.rotation != NOT_TRIED]
READERS = [client for client in LASTING if not client.keeps_first]
KEEPERS = [client for client in LASTING if client.keeps_first]
Day = dict[str, RotationResult | BaseException]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RotationLab]:
    with run_lab(tmp_path_factory.mktemp("rotation")) as made:
        yield made


@pytest.fixture(scope="module")
def host(running: RotationLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_azurite(running.instance, tmp_path_factory.mktemp("blobs"), running.environ) as where:
        yield where


@pytest.fixture(scope="module")
def day(running: RotationLab, request: pytest.FixtureRequest) -> Day:
    """Run all clients at once; the test of a client that cannot be installed is skipped with the reason."""
    found: Day = {}
    for client in selected_clients(request.session.items):
        try:
            place = [request.getfixturevalue("host")] if client.storage else []
            style = [client.long_lived, f"{GRAPH}/.default", f"{MANAGEMENT}/.default"]
            shift = [] if client.has_libc else [f"{AHEAD_SECONDS}s"]
            running.start_client(client, [*client.rotating(), *place, *style, *shift])
        except (pytest.skip.Exception, pytest.fail.Exception) as reason:
            found[client.name] = reason
        else:
            found[client.name] = RotationResult()
    started = [name for name, seen in found.items() if isinstance(seen, RotationResult)]
    running.wait(running.has_started, [each for each in CLIENTS if each.name in started])
    firsts = {name: running.assertion(name) for name in started}
    running.advance_one_day(started)
    running.wait(running.has_ended, started)
    for name in started:
        found[name] = RotationResult(
            running.phase(name), running.log(name), firsts[name], running.assertion(name)
        )
    return found


def selected_clients(items: list[pytest.Item]) -> list[ClientPackage]:
    """Return the clients of the selected tests."""
    named = " ".join(item.nodeid for item in items if "test_rotation" in item.nodeid)
    return [client for client in LASTING if f"[{client.name}]" in named] or LASTING[:1]


def result_of(client: ClientPackage, day: Day) -> RotationResult:
    """Return the result of a client, or raise the error of its installation."""
    seen = day[client.name]
    if isinstance(seen, BaseException):
        raise seen
    return seen


def granted_resources(running: RotationLab, assertion: str) -> list[str]:
    """Return the resources for which the instance issued tokens to an assertion."""
    mark = hashlib.sha256(assertion.encode()).hexdigest()[:12]
    return running.granted(mark)


@pytest.mark.shows("rotation")
@pytest.mark.parametrize("client", READERS, ids=[client.name for client in READERS])
def test_long_running_client_uses_the_rotated_assertion(
    running: RotationLab, day: Day, client: ClientPackage
) -> None:
    seen = result_of(client, day)
    assert seen.phase == "Succeeded", seen.printed
    assert parse_output(seen.printed)["later"] == client.says_later
    assert seen.second != seen.first
    assert granted_resources(running, seen.first)
    assert len(granted_resources(running, seen.second)) == 1


@pytest.mark.shows("rotation")
@pytest.mark.parametrize("client", KEEPERS, ids=[client.name for client in KEEPERS])
def test_client_that_keeps_its_first_assertion_is_refused(
    running: RotationLab, day: Day, client: ClientPackage
) -> None:
    """A program must recreate such an application object before its assertion expires."""
    seen = result_of(client, day)
    assert seen.phase == "Failed", "the client reads its assertion again: update the catalogue"
    assert "AADSTS700024" in seen.printed
    assert seen.second != seen.first
    assert granted_resources(running, seen.first)
    assert not granted_resources(running, seen.second)


def test_first_assertions_are_refused_after_their_expiry(running: RotationLab, day: Day) -> None:
    first = next(seen.first for seen in day.values() if isinstance(seen, RotationResult))
    status, answer = asyncio.run(running.instance.exchange(first, correlation_id="yesterday"))
    assert (status, answer["error_codes"]) == (401, [700024])

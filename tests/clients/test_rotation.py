"""Clients that have run since yesterday: their assertions were replaced, and all they got is over."""

import asyncio
import hashlib
from collections.abc import Iterator

import pytest

from tests.clients.answers import members
from tests.clients.catalogue import CLIENTS, GRAPH, MANAGEMENT, NOT_TRIED, Client
from tests.clients.rotation import AHEAD_SECONDS, Lab, Seen, lab
from tests.clients.storage import serving

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]  # the first waits for all

LASTING = [client for client in CLIENTS if client.rotation != NOT_TRIED]
READERS = [client for client in LASTING if not client.keeps_first]
KEEPERS = [client for client in LASTING if client.keeps_first]
Day = dict[str, Seen | BaseException]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("rotation")) as made:
        yield made


@pytest.fixture(scope="module")
def host(running: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(running.instance, tmp_path_factory.mktemp("blobs"), running.environ) as where:
        yield where


@pytest.fixture(scope="module")
def day(running: Lab, request: pytest.FixtureRequest) -> Day:
    """Run them all at once; a client that cannot be had keeps its reason until its own test."""
    found: Day = {}
    for client in asked_for(request.session.items):
        try:
            place = [request.getfixturevalue("host")] if client.storage else []
            style = [client.long_lived, f"{GRAPH}/.default", f"{MANAGEMENT}/.default"]
            shift = [] if client.has_libc else [f"{AHEAD_SECONDS}s"]
            running.begin(client, [*client.rotating(), *place, *style, *shift])
        except (pytest.skip.Exception, pytest.fail.Exception) as reason:
            found[client.name] = reason
        else:
            found[client.name] = Seen()
    started = [name for name, seen in found.items() if isinstance(seen, Seen)]
    running.wait(running.has_begun, [each for each in CLIENTS if each.name in started])
    firsts = {name: running.assertion(name) for name in started}
    running.a_day_passes(started)
    running.wait(running.has_ended, started)
    for name in started:
        found[name] = Seen(
            running.phase(name), running.log(name), firsts[name], running.assertion(name)
        )
    return found


def asked_for(items: list[pytest.Item]) -> list[Client]:
    """Give the clients that this session's tests are about."""
    named = " ".join(item.nodeid for item in items if "test_rotation" in item.nodeid)
    return [client for client in LASTING if f"[{client.name}]" in named] or LASTING[:1]


def of(client: Client, day: Day) -> Seen:
    """Give what was seen of a client, or end as its installation did."""
    seen = day[client.name]
    if isinstance(seen, BaseException):
        raise seen
    return seen


def presented(running: Lab, assertion: str) -> list[str]:
    """Give the resources that the instance granted for an assertion."""
    mark = hashlib.sha256(assertion.encode()).hexdigest()[:12]
    return running.granted(mark)


@pytest.mark.shows("rotation")
@pytest.mark.parametrize("client", READERS, ids=[client.name for client in READERS])
def test_a_long_lived_client_presents_the_assertion_that_replaced_its_first(
    running: Lab, day: Day, client: Client
) -> None:
    seen = of(client, day)
    assert seen.phase == "Succeeded", seen.printed
    assert members(seen.printed)["later"] == client.says_later
    assert seen.second != seen.first
    assert presented(running, seen.first)
    assert len(presented(running, seen.second)) == 1


@pytest.mark.shows("rotation")
@pytest.mark.parametrize("client", KEEPERS, ids=[client.name for client in KEEPERS])
def test_a_client_that_keeps_its_first_assertion_is_refused_for_it(
    running: Lab, day: Day, client: Client
) -> None:
    """Such an application has to be made anew before its assertion is over."""
    seen = of(client, day)
    assert seen.phase == "Failed", "it reads its assertion anew: say so in the catalogue"
    assert "AADSTS700024" in seen.printed
    assert seen.second != seen.first
    assert presented(running, seen.first)
    assert not presented(running, seen.second)


def test_the_first_assertions_are_worth_nothing_by_then(running: Lab, day: Day) -> None:
    first = next(seen.first for seen in day.values() if isinstance(seen, Seen))
    status, answer = asyncio.run(running.instance.exchange(first, correlation_id="yesterday"))
    assert (status, answer["error_codes"]) == (401, [700024])

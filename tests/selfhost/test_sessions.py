"""Released clients keep working across a key rotation, a database restart and the loss of a replica.

Each has one credential in one process during the whole scenario. An API with podpass's guard and PyJWT check
every token; both cache the published keys.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests import postgres
from tests.selfhost.scenario import ClientRecord, run_scenario
from tests.selfhost.sessions import CLIENTS, Session, SessionClient

pytestmark = [
    pytest.mark.selfhost,
    pytest.mark.timeout(900),  # the first test waits for all clients and their installation
    pytest.mark.asyncio(loop_scope="module"),
]
Records = dict[str, ClientRecord | BaseException]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def records(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Records]:
    """Run all clients at once; the test of a client that cannot be installed is skipped with the reason."""
    found: Records = {}
    with postgres.running() as database:
        async with AsyncExitStack() as stack:
            made = await stack.enter_async_context(
                run_scenario(tmp_path_factory.mktemp("selfhost"), database)
            )
            environ, sessions = made.environ(), dict[str, Session]()
            # All clients are installed before the first one starts: an installation blocks the event loop
            # of the load balancer, and a client's first request would time out.
            for client in CLIENTS:
                try:
                    sessions[client.name] = Session(client, environ)
                except (pytest.skip.Exception, pytest.fail.Exception) as reason:
                    found[client.name] = reason
            for session in sessions.values():
                await stack.enter_async_context(session)
            yield {**found, **await made.run(sessions)}


def record_of(client: SessionClient, records: Records) -> ClientRecord:
    """Return the record of a client, or raise the error of its installation."""
    seen = records[client.name]
    if isinstance(seen, BaseException):
        raise seen
    return seen


every_client = pytest.mark.parametrize("client", CLIENTS, ids=[each.name for each in CLIENTS])


@every_client
async def test_client_keeps_working_after_a_signing_key_rotation(
    records: Records, client: SessionClient
) -> None:
    seen = record_of(client, records)
    assert refused(seen, "begun", "key rotated") == {}
    assert seen.kids["begun"] != seen.kids["key rotated"]
    assert seen.first_token_later == 200, "tokens of the old key are refused"


@every_client
async def test_client_keeps_working_after_a_database_restart(
    records: Records, client: SessionClient
) -> None:
    """The client sends a request during the outage and retries."""
    seen = record_of(client, records)
    assert refused(seen, "database down", "database back") == {}
    assert seen.kids["database back"] == seen.kids["key rotated"]


@every_client
async def test_client_keeps_working_when_a_replica_is_killed_or_drained(
    records: Records, client: SessionClient
) -> None:
    seen = record_of(client, records)
    assert refused(seen, "replica killed", "replica back", "replica drained") == {}


def refused(seen: ClientRecord, *whens: str) -> dict[str, str]:
    """Return the errors and the refused tokens of a client."""
    return {when: seen.refused[when] for when in whens if when in seen.refused}

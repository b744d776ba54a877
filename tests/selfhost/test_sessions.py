"""Released clients keep their session: over a new key, a database that restarts, a replica that dies.

Each holds one credential in one process from beginning to end; every token is shown to an API behind
podpass's guard and to PyJWT, both with keys that they keep.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests import postgres
from tests.selfhost.sessions import CLIENTS, Client, Session
from tests.selfhost.story import Seen, story

pytestmark = [
    pytest.mark.selfhost,
    pytest.mark.timeout(900),  # the first waits for all, and for what has to be installed
    pytest.mark.asyncio(loop_scope="module"),
]
Told = dict[str, Seen | BaseException]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Told]:
    """Run them all at once; a client that cannot be had keeps its reason until its own test."""
    found: Told = {}
    with postgres.running() as database:
        async with AsyncExitStack() as stack:
            made = await stack.enter_async_context(
                story(tmp_path_factory.mktemp("selfhost"), database)
            )
            environ, sessions = made.environ(), dict[str, Session]()
            # All are installed before the first begins: meanwhile the balancer stands still, and a
            # client that asks as it begins would wait until its connection is given up.
            for client in CLIENTS:
                try:
                    sessions[client.name] = Session(client, environ)
                except (pytest.skip.Exception, pytest.fail.Exception) as reason:
                    found[client.name] = reason
            for session in sessions.values():
                await stack.enter_async_context(session)
            yield {**found, **await made.tell(sessions)}


def of(client: Client, told: Told) -> Seen:
    """Give what was seen of a client, or end as its installation did."""
    seen = told[client.name]
    if isinstance(seen, BaseException):
        raise seen
    return seen


every_client = pytest.mark.parametrize("client", CLIENTS, ids=[each.name for each in CLIENTS])


@every_client
async def test_a_client_goes_on_over_a_new_signing_key(told: Told, client: Client) -> None:
    seen = of(client, told)
    assert refused(seen, "begun", "key rotated") == {}
    assert seen.kids["begun"] != seen.kids["key rotated"]
    assert seen.first_token_later == 200, "a token of the old key is worth nothing"


@every_client
async def test_a_client_goes_on_over_a_restart_of_the_database(told: Told, client: Client) -> None:
    """It asks while the database is down, and waits for it."""
    seen = of(client, told)
    assert refused(seen, "database down", "database back") == {}
    assert seen.kids["database back"] == seen.kids["key rotated"]


@every_client
async def test_a_client_goes_on_when_a_replica_dies_or_is_drained(
    told: Told, client: Client
) -> None:
    seen = of(client, told)
    assert refused(seen, "replica killed", "replica back", "replica drained") == {}


def refused(seen: Seen, *whens: str) -> dict[str, str]:
    """Give what came instead of a token that is accepted."""
    return {when: seen.refused[when] for when in whens if when in seen.refused}

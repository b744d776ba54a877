"""One instance for all tests; its identity `web` owns the subscription and may write applications."""

from collections.abc import Iterator

import pytest

from tests.journey.instance import CLIENT, Instance, started
from tests.peers.rest import RestClient
from tests.peers.roles import grant_roles


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with started(tmp_path_factory.mktemp("peers")) as running:
        yield running


@pytest.fixture(scope="session")
def rest(instance: Instance) -> RestClient:
    return RestClient(instance)


@pytest.fixture(scope="session")
def principal(rest: RestClient) -> str:
    """Return the object id of `web`, with all roles that the programs need."""
    status, found = rest("GET", f"/v1.0/servicePrincipals(appId='{CLIENT}')")
    assert status == 200, found
    grant_roles(rest, found["id"])
    return str(found["id"])

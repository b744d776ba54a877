"""Workload identity disabled as by `az aks update`, and settings of `podpass up`."""

import ssl
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from podpass.crypto import jose
from tests.journey.instance import Instance, started

pytestmark = pytest.mark.processes

SHOW = ["sh", "-c", "echo client=$AZURE_CLIENT_ID"]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Yield a separate instance, because the test restarts it."""
    with started(tmp_path_factory.mktemp("switched")) as running:
        yield running


async def send_request(
    instance: Instance, method: str, path: str, body: Any = None
) -> tuple[int, Any]:
    """Send a request to Resource Manager as the administrator, below the subscription."""
    status = instance.status
    context = ssl.create_default_context(cafile=status["ca_file"])
    base = f"{status['resource_manager']}/subscriptions/{status['subscription_id']}"
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        token = await instance.admin_token(session)
        async with session.request(
            method,
            f"{base}/{path}?api-version=2026-06-01",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
        ) as answer:
            return answer.status, await answer.json(content_type=None)


CLUSTER = "resourceGroups/web/providers/Microsoft.ContainerService/managedClusters/mine"


async def switch(instance: Instance, on: bool) -> None:
    properties = {
        "agentPoolProfiles": [{"name": "pool", "count": 1, "mode": "System"}],
        "oidcIssuerProfile": {"enabled": True},
        "securityProfile": {"workloadIdentity": {"enabled": on}},
    }
    body = {"location": "eastus", "properties": properties}
    status, answer = await send_request(instance, "PUT", CLUSTER, body)
    assert status in (200, 201), answer
    shown = answer["properties"]["securityProfile"]["workloadIdentity"]["enabled"]
    assert shown is on


async def test_pods_get_identities_only_while_workload_identity_is_enabled(
    instance: Instance,
) -> None:
    assert (await send_request(instance, "PUT", "resourceGroups/web", {"location": "eastus"}))[
        0
    ] == 201
    await switch(instance, on=True)
    assert instance.run_command("before", "web", SHOW)[1].strip() != "client="
    await switch(instance, on=False)
    assert instance.run_command("off", "web", SHOW)[1].strip() == "client="
    instance.podpass("down")
    instance.up()
    assert instance.run_command("still-off", "web", SHOW)[1].strip() == "client="
    await switch(instance, on=True)
    assert instance.run_command("on", "web", SHOW)[1].strip() != "client="


async def test_deleting_the_managed_cluster_enables_workload_identity_again(
    instance: Instance,
) -> None:
    await switch(instance, on=False)
    assert (await send_request(instance, "DELETE", CLUSTER))[0] == 202
    assert instance.run_command("forgotten", "web", SHOW)[1].strip() != "client="


async def test_propagation_delay_of_up_reaches_the_token_service(
    instance: Instance,
) -> None:
    instance.podpass("down")
    instance.up("--propagation-delay", "3600")
    status, answer = await instance.exchange(instance.token("web"), correlation_id=str(uuid4()))
    assert (status, answer["error_codes"]) == (401, [70025])


async def test_assertion_algorithms_of_up_reach_the_token_service(
    instance: Instance,
) -> None:
    """A token with ES256 is refused for its algorithm, or, if ES256 is allowed, for its signature."""
    head, body, signature = instance.token("web").split(".")
    header = {**jose.loads_object(jose.b64decode(head)), "alg": "ES256"}
    changed = f"{jose.b64encode(jose.dumps(header))}.{body}.{signature}"
    for arguments, code in (((), 5002738), (("--assertion-algorithm", "RS256,ES256"), 7000274)):
        instance.podpass("down")
        instance.up(*arguments)
        answer = (await instance.exchange(changed, correlation_id=str(uuid4())))[1]
        assert answer["error_codes"] == [code]
        assert (await instance.exchange(instance.token("web"), correlation_id=str(uuid4())))[
            0
        ] == 200

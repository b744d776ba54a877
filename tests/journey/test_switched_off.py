"""Workload identity disabled as by `az aks update`, and settings of `podpass up`."""

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import trustme
from kubernetes import client

from podpass import names
from podpass.crypto import jose
from tests.imds.raw_server import RawServer, raw_server
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


async def test_propagation_delay_of_up_reaches_the_token_service(instance: Instance) -> None:
    instance.podpass("down")
    instance.up("--propagation-delay", "3600")
    status, answer = await instance.exchange(instance.token("web"), correlation_id=str(uuid4()))
    assert (status, answer["error_codes"]) == (401, [70025])


async def test_assertion_algorithms_of_up_reach_the_token_service(instance: Instance) -> None:
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


async def test_webhook_of_a_chart_is_kept_by_an_instance_without_the_built_in_webhook(
    instance: Instance,
) -> None:
    """Fails if a start, or enabling or disabling workload identity, writes or deletes the chart's webhook."""
    instance.podpass("down")
    instance.up("--no-webhook")
    assert instance.status["kubernetes"]["webhook"] == ""
    assert "left out by --no-webhook" in instance.podpass("status").stdout
    assert "left out by --no-webhook" in instance.podpass("up", "--detach").stderr
    hooks: Any = client.AdmissionregistrationV1Api(instance.kubernetes)
    assert not hooks.list_mutating_webhook_configuration().items
    service = {"name": "azure-wi-webhook-webhook-service", "namespace": "default"}
    entry = {
        "name": names.WEBHOOK_NAME,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": service},
        "failurePolicy": "Ignore",
        "sideEffects": "None",
    }
    body = {"metadata": {"name": names.WEBHOOK_CONFIGURATION}, "webhooks": [entry]}
    made = hooks.create_mutating_webhook_configuration(body)
    await send_request(instance, "PUT", "resourceGroups/web", {"location": "eastus"})
    await switch(instance, on=False)
    await switch(instance, on=True)
    instance.podpass("down")
    refused = instance.podpass("up", "--detach", "--port-base", "0", check=False)
    assert refused.returncode == 1
    assert "another webhook is registered as" in refused.stderr
    assert "podpass up --no-webhook" in refused.stderr
    instance.up("--no-webhook")
    [found] = hooks.list_mutating_webhook_configuration().items
    assert found.metadata.resource_version == made.metadata.resource_version
    hooks.delete_mutating_webhook_configuration(names.WEBHOOK_CONFIGURATION)


CUSTOM = """
from azure.identity import WorkloadIdentityCredential
credential = WorkloadIdentityCredential(enable_azure_proxy=True)
print(credential.get_token("https://vault.azure.net/.default").token)
"""


async def test_pod_with_the_annotation_uses_the_custom_token_endpoint_of_up(
    instance: Instance,
) -> None:
    ca, body = trustme.CA(), b'{"access_token":"bound","expires_in":9}'
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    instance.podpass("down")
    async with raw_server(RawServer(head.encode() + body), ca, "a1.ests.aks") as endpoint:
        instance.up(
            *("--custom-token-endpoint", f"https://localhost:{endpoint.port}"),
            *("--custom-token-endpoint-sni-name", "a1.ests.aks"),
            *("--custom-token-endpoint-ca-configmap", "binding-ca"),
        )
        data = {"ca.crt": ca.cert_pem.bytes().decode()}
        config_map = {"metadata": {"name": "binding-ca"}, "data": data}
        instance.core.create_namespaced_config_map("default", config_map)
        annotations = {"azure.workload.identity/use-identity-binding": "true"}
        instance.create_pod("bound", "web", ["python", "-c", CUSTOM], annotations=annotations)
        assert await asyncio.to_thread(instance.wait_for_end, "bound") == ("Succeeded", "bound\n")
        [request] = endpoint.requests
    token = request.decode().partition("client_assertion=")[2].partition("&")[0]
    claims = jose.loads_object(jose.b64decode(token.split(".")[1]))
    assert claims["aud"] == ["api://AKSIdentityBinding"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--custom-token-endpoint", "http://localhost"], "must be an https URL"),
        (["--no-webhook"], "omit --no-webhook"),
    ],
)
def test_invalid_custom_token_endpoint_is_refused_before_the_start(
    instance: Instance, arguments: list[str], message: str
) -> None:
    endpoint = ["--custom-token-endpoint", "https://localhost", *arguments]
    refused = instance.podpass("up", "--detach", *endpoint, check=False)
    assert refused.returncode == 2
    assert message in refused.stderr

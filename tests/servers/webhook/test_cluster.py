"""The process in front of an instance's own API server, which it is led to by its own least rights."""

import asyncio
import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from kubernetes import client, config

from podpass import names
from podpass.kubernetes.client import KubeClient
from podpass.local.registration import webhook_configuration
from tests.local.instances import Podpass
from tests.servers.webhook.running import Webhook, pod

ACCOUNT = {names.CLIENT_ID: "22222222-aaaa-4bbb-8ccc-000000000001"}
OTHER = {names.CLIENT_ID: "22222222-aaaa-4bbb-8ccc-000000000002"}


class Cluster:
    """What a user does with a cluster, through the official client."""

    def __init__(self, kubeconfig: str) -> None:
        connect: Any = config.new_client_from_config
        self._api = connect(kubeconfig)
        self.core: Any = client.CoreV1Api(self._api)
        self.registrations: Any = client.AdmissionregistrationV1Api(self._api)

    def put(self, name: str, annotations: dict[str, str]) -> None:
        body = {"metadata": {"name": name, "annotations": annotations}}
        self.core.create_namespaced_service_account("default", body)

    def drop(self, name: str) -> None:
        self.core.delete_namespaced_service_account(name, "default")

    def change(self, name: str, annotations: dict[str, str]) -> None:
        body = {"metadata": {"annotations": annotations}}
        self.core.patch_namespaced_service_account(name, "default", body)

    def pod(self, account: str, **spec: Any) -> dict[str, str]:
        """Create a pod by dry run, and give what its container was given."""
        made = self.core.create_namespaced_pod(
            "default", pod(account=account, **spec), dry_run="All"
        )
        return {one.name: one.value for one in made.spec.containers[0].env or []}

    def until_pod(self, account: str, client_id: str | None) -> None:
        """Wait until a pod gets this client id."""
        end = time.monotonic() + 20
        while self.pod(account).get("AZURE_CLIENT_ID") != client_id:
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.fixture(scope="module")
def instance(make_podpass: Callable[[], Podpass]) -> dict[str, Any]:
    made = make_podpass()
    return {**made.up(), "data_dir": made.data_dir}


@pytest.fixture(scope="module")
def cluster(instance: dict[str, Any]) -> Cluster:
    return Cluster(instance["kubernetes"]["kubeconfig"])


@pytest.fixture
def served(
    instance: dict[str, Any], cluster: Cluster, tmp_path: Path, ca: trustme.CA
) -> Iterator[Webhook]:
    """A webhook that the API server calls instead of the instance's own."""
    folder = tmp_path / "process"
    folder.mkdir()
    made = Webhook(folder, ca, Path(instance["data_dir"]) / "webhook.kubeconfig")
    made.write_certificate()
    made.start()
    body = webhook_configuration(made.url, ca.cert_pem.bytes())
    cluster.registrations.replace_mutating_webhook_configuration(names.WEBHOOK_CONFIGURATION, body)
    yield made
    made.stop()


@pytest.mark.usefixtures("served")
def test_a_pod_created_through_the_api_server_gets_its_accounts_identity(cluster: Cluster) -> None:
    cluster.put("first", ACCOUNT)
    environment = cluster.pod("first")
    assert environment["AZURE_CLIENT_ID"] == ACCOUNT[names.CLIENT_ID]
    assert environment["AZURE_FEDERATED_TOKEN_FILE"].endswith("/token/azure-identity-token")
    cluster.drop("first")


def test_an_account_is_known_the_moment_it_is_there_and_forgotten_when_it_is_gone(
    cluster: Cluster, served: Webhook
) -> None:
    for annotations in (ACCOUNT, OTHER, ACCOUNT, {}):
        cluster.put("fleeting", annotations)
        wanted = annotations.get(names.CLIENT_ID)
        # The watch may be a moment behind a successor; it must not stay behind.
        cluster.until_pod("fleeting", wanted)
        cluster.drop("fleeting")
    metrics = served.metrics()
    assert metrics['podpass_admission_requests_total{outcome="mutated",reason=""}'] >= 4


@pytest.mark.usefixtures("served")
def test_an_account_that_is_annotated_anew_counts_for_the_next_pod(cluster: Cluster) -> None:
    cluster.put("changing", ACCOUNT)
    assert cluster.pod("changing")["AZURE_CLIENT_ID"] == ACCOUNT[names.CLIENT_ID]
    cluster.change("changing", OTHER)
    cluster.until_pod("changing", OTHER[names.CLIENT_ID])
    cluster.drop("changing")


def test_the_api_server_sends_metadata_alone(instance: dict[str, Any]) -> None:
    """Ten thousand accounts are listed at a start: what is not asked for need not be read."""

    async def read() -> tuple[Any, Any]:
        path = Path(instance["data_dir"]) / "webhook.kubeconfig"
        async with KubeClient.from_kubeconfig(path) as kubernetes:
            pages = kubernetes.pages("/api/v1/serviceaccounts", metadata_only=True)
            items = [item async for page, _ in pages for item in page]
            one = "/api/v1/namespaces/default/serviceaccounts/default"
            return items, await kubernetes.get(one, metadata_only=True)

    items, one = asyncio.run(read())
    assert items
    assert {item["kind"] for item in [*items, one]} == {"PartialObjectMetadata"}


@pytest.mark.usefixtures("served")
def test_a_refusal_reaches_the_user_with_the_reason(cluster: Cluster) -> None:
    with pytest.raises(client.ApiException) as caught:
        cluster.pod("nobody")
    assert "nobody" in str(caught.value.body)


def test_a_certificate_the_api_server_does_not_trust_blocks_only_labelled_pods(
    cluster: Cluster, served: Webhook
) -> None:
    body = webhook_configuration(served.url, trustme.CA().cert_pem.bytes())
    assert base64.b64decode(body["webhooks"][0]["clientConfig"]["caBundle"])
    cluster.registrations.replace_mutating_webhook_configuration(names.WEBHOOK_CONFIGURATION, body)
    with pytest.raises(client.ApiException):
        cluster.pod("default")
    plain = pod(account="default")
    del plain["metadata"]["labels"]
    cluster.core.create_namespaced_pod("default", plain, dry_run="All")

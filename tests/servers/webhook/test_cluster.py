"""The process with the embedded API server of an instance, with its minimal permissions."""

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
from podpass.lab.cluster.registration import webhook_configuration
from tests.lab.instance.instances import Podpass
from tests.servers.webhook.running import Webhook, pod

pytestmark = pytest.mark.processes

ACCOUNT = {names.CLIENT_ID: "22222222-aaaa-4bbb-8ccc-000000000001"}
OTHER = {names.CLIENT_ID: "22222222-aaaa-4bbb-8ccc-000000000002"}


class Cluster:
    """A cluster that a user changes through the official client."""

    def __init__(self, kubeconfig: str) -> None:
        connect: Any = config.new_client_from_config
        self._api = connect(kubeconfig)
        self.core: Any = client.CoreV1Api(self._api)
        self.registrations: Any = client.AdmissionregistrationV1Api(self._api)

    def put(self, name: str, annotations: dict[str, str]) -> None:
        body = {"metadata": {"name": name, "annotations": annotations}}
        self.core.create_namespaced_service_account("default", body)

    def delete(self, name: str) -> None:
        self.core.delete_namespaced_service_account(name, "default")

    def change(self, name: str, annotations: dict[str, str]) -> None:
        body = {"metadata": {"annotations": annotations}}
        self.core.patch_namespaced_service_account(name, "default", body)

    def pod(self, account: str, **spec: Any) -> dict[str, str]:
        """Create a pod by dry run, and return the environment of its container."""
        made = self.core.create_namespaced_pod(
            "default", pod(account=account, **spec), dry_run="All"
        )
        return {one.name: one.value for one in made.spec.containers[0].env or []}

    def wait_for_pod(self, account: str, client_id: str | None) -> None:
        """Wait until a pod gets this client ID."""
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
    """Provide a webhook process that the API server calls instead of the instance's built-in one."""
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
def test_pod_created_through_the_api_server_gets_its_identity(cluster: Cluster) -> None:
    cluster.put("first", ACCOUNT)
    environment = cluster.pod("first")
    assert environment["AZURE_CLIENT_ID"] == ACCOUNT[names.CLIENT_ID]
    assert environment["AZURE_FEDERATED_TOKEN_FILE"].endswith("/token/azure-identity-token")
    cluster.delete("first")


def test_created_account_is_found_immediately_and_deleted_account_is_not(
    cluster: Cluster, served: Webhook
) -> None:
    for annotations in (ACCOUNT, OTHER, ACCOUNT, {}):
        cluster.put("fleeting", annotations)
        wanted = annotations.get(names.CLIENT_ID)
        # The watch may be late for the new account, but must catch up.
        cluster.wait_for_pod("fleeting", wanted)
        cluster.delete("fleeting")
    metrics = served.metrics()
    assert metrics['podpass_admission_requests_total{outcome="mutated",reason=""}'] >= 4


@pytest.mark.usefixtures("served")
def test_changed_annotation_applies_to_the_next_pod(cluster: Cluster) -> None:
    cluster.put("changing", ACCOUNT)
    assert cluster.pod("changing")["AZURE_CLIENT_ID"] == ACCOUNT[names.CLIENT_ID]
    cluster.change("changing", OTHER)
    cluster.wait_for_pod("changing", OTHER[names.CLIENT_ID])
    cluster.delete("changing")


def test_only_metadata_is_requested_from_the_api_server(instance: dict[str, Any]) -> None:
    """At the start ten thousand accounts are listed: only their metadata is needed."""

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
def test_user_gets_the_reason_of_a_refusal(cluster: Cluster) -> None:
    with pytest.raises(client.ApiException) as caught:
        cluster.pod("missing")
    assert "missing" in str(caught.value.body)


def test_untrusted_certificate_blocks_only_labelled_pods(cluster: Cluster, served: Webhook) -> None:
    body = webhook_configuration(served.url, trustme.CA().cert_pem.bytes())
    assert base64.b64decode(body["webhooks"][0]["clientConfig"]["caBundle"])
    cluster.registrations.replace_mutating_webhook_configuration(names.WEBHOOK_CONFIGURATION, body)
    with pytest.raises(client.ApiException):
        cluster.pod("default")
    plain = pod(account="default")
    del plain["metadata"]["labels"]
    cluster.core.create_namespaced_pod("default", plain, dry_run="All")

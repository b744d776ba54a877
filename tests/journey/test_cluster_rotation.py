"""Rotations of the keys and certificates of a running cluster, under a load of exchanges and pods."""

import asyncio
import base64
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from podpass.crypto import jose
from podpass.kubernetes.client import KubeClient, KubeError
from tests import processes
from tests.journey.instance import AUDIENCE, CLIENT, Instance, started

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]

CLUSTER = "resourceGroups/rotated/providers/Microsoft.ContainerService/managedClusters/mine"
KEYS, CERTIFICATES = "rotateServiceAccountSigningKeys", "rotateClusterCertificates"
VERSION = "api-version=2024-11-01"
# A program that runs since before the rotation, and opens a new connection for each token.
LOOP = """
import time
from azure.identity import WorkloadIdentityCredential
while True:
    with WorkloadIdentityCredential() as credential:
        credential.get_token("https://vault.azure.net/.default")
    print("token", flush=True)
    time.sleep(0.2)
"""


class Manager:
    """Resource Manager as the administrator; it trusts the CA that was valid when it was created."""

    def __init__(self, instance: Instance, session: aiohttp.ClientSession, token: str) -> None:
        self._session, self._token = session, token
        status = instance.status
        self._base = f"{status['resource_manager']}/subscriptions/{status['subscription_id']}"

    @classmethod
    @asynccontextmanager
    async def open(cls, instance: Instance) -> AsyncIterator["Manager"]:
        context = ssl.create_default_context(cafile=instance.status["ca_file"])
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield cls(instance, session, await instance.admin_token(session))

    async def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any, Any]:
        """Send a request below the subscription; return status, JSON and headers."""
        url = path if path.startswith("https:") else f"{self._base}/{path}?{VERSION}"
        headers = {"Authorization": f"Bearer {self._token}"}
        async with self._session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers

    async def create_cluster(self) -> None:
        await self.send("PUT", "resourceGroups/rotated", {"location": "eastus"})
        properties = {
            "agentPoolProfiles": [{"name": "pool", "count": 1, "mode": "System"}],
            "oidcIssuerProfile": {"enabled": True},
            "securityProfile": {"workloadIdentity": {"enabled": True}},
        }
        body = {"location": "eastus", "properties": properties}
        status, answer, _ = await self.send("PUT", CLUSTER, body)
        assert status in (200, 201), answer

    async def rotate(self, verb: str) -> list[str]:
        """Rotate, poll the operation as a client of Azure does, and return its states."""
        status, body, headers = await self.send("POST", f"{CLUSTER}/{verb}")
        assert status == 202, body
        states: list[str] = []
        for _ in range(600):
            _, body, _ = await self.send("GET", headers["Azure-AsyncOperation"])
            states.append(body["status"])
            if body["status"] != "InProgress":
                return states
            await asyncio.sleep(0.05)
        raise AssertionError("the operation did not end")

    async def kubeconfig(self, folder: Path) -> Path:
        """Return the file that `az aks get-credentials` writes."""
        _, body, _ = await self.send("POST", f"{CLUSTER}/listClusterUserCredential")
        path = folder / f"kubeconfig-{uuid4()}"
        path.write_bytes(base64.b64decode(body["kubeconfigs"][0]["value"]))
        return path


class Load:
    """Exchanges and pod creations that run during a rotation; counts successes and collects failures."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []
        self._stop = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        context = ssl.create_default_context(cafile=self._instance.status["ca_file"])
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as kept,
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, force_close=True)
            ) as fresh,
        ):
            tasks = [
                asyncio.create_task(self._exchange("kept", kept)),
                asyncio.create_task(self._exchange("fresh", fresh)),
                asyncio.create_task(self._create_pods()),
            ]
            await self.wait_for_more()
            try:
                yield self
                await self.wait_for_more()
            finally:
                self._stop = True
                await asyncio.gather(*tasks)

    async def wait_for_more(self, count: int = 5) -> None:
        """Wait until each kind of request has succeeded some more times."""
        before = dict(self.done)
        deadline = time.monotonic() + 120
        while any(
            self.done[kind] < before.get(kind, 0) + count for kind in ("kept", "fresh", "pod")
        ):
            assert time.monotonic() < deadline, (self.done, self.failures)
            await asyncio.sleep(0.02)

    async def _exchange(self, kind: str, session: aiohttp.ClientSession) -> None:
        status = self._instance.status
        url = f"{status['authority']}/{status['tenant_id']}/oauth2/v2.0/token"
        path = "/api/v1/namespaces/default/serviceaccounts/web/token"
        while not self._stop:
            try:
                # As kubectl does: the files of the kubeconfig are read again for each command.
                async with KubeClient.from_kubeconfig(
                    self._instance.data_dir / "kubeconfig"
                ) as kube:
                    spec = {"spec": {"audiences": [AUDIENCE]}}
                    assertion = (await kube.create(path, spec))["status"]["token"]
                form = {
                    "grant_type": "client_credentials",
                    "client_id": CLIENT,
                    "scope": "https://vault.azure.net/.default",
                    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    "client_assertion": assertion,
                }
                async with session.post(url, data=form) as answer:
                    assert answer.status == 200, await answer.text()
                self.done[kind] += 1
            except Exception as exc:  # noqa: BLE001 any failure is a result
                self.failures.append(f"{kind}: {exc!r}")

    async def _create_pods(self) -> None:
        path = "/api/v1/namespaces/default/pods"
        while not self._stop:
            container = {"name": "app", "image": "none"}
            pod = {
                "metadata": {
                    "generateName": "load-",
                    "labels": {"azure.workload.identity/use": "true"},
                },
                "spec": {
                    "schedulerName": "none",
                    "serviceAccountName": "web",
                    "containers": [container],
                },
            }
            try:
                async with KubeClient.from_kubeconfig(
                    self._instance.data_dir / "kubeconfig"
                ) as kube:
                    made = await kube.create(path, pod)
                env = {one["name"] for one in made["spec"]["containers"][0]["env"]}
                assert "AZURE_CLIENT_ID" in env, env
                self.done["pod"] += 1
            except Exception as exc:  # noqa: BLE001 any failure is a result
                self.failures.append(f"pod: {exc!r}")


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Yield a separate instance: its keys and certificates change."""
    with started(tmp_path_factory.mktemp("rotated")) as running:
        running.create_pod("loop", "web", ["python", "-c", LOOP])
        yield running


@pytest.fixture
async def manager(instance: Instance) -> AsyncIterator[Manager]:
    async with Manager.open(instance) as opened:
        await opened.create_cluster()
        yield opened


def _tokens(instance: Instance) -> int:
    return instance.pod_log("loop").count("token")


async def _wait_for_tokens(instance: Instance) -> None:
    """Wait until the program that runs since before the rotation has got more tokens."""
    before = await asyncio.to_thread(_tokens, instance)
    deadline = time.monotonic() + 120
    while await asyncio.to_thread(_tokens, instance) < before + 3:
        phase = instance.core.read_namespaced_pod("loop", "default").status.phase
        assert phase == "Running", instance.pod_log("loop")
        assert time.monotonic() < deadline, instance.pod_log("loop")
        await asyncio.sleep(0.2)


async def test_no_exchange_and_no_pod_fails_during_a_rotation_of_the_signing_keys(
    instance: Instance, manager: Manager
) -> None:
    instance.wait_for_log("loop", "token")
    old = jose.parse(instance.token("web")).kid
    async with Load(instance).running() as load:
        states = await manager.rotate(KEYS)
        assert jose.parse(instance.token("web")).kid != old
    assert load.failures == []
    assert (states[0], states[-1]) == ("InProgress", "Succeeded")
    await _wait_for_tokens(instance)


async def test_no_exchange_and_no_pod_fails_during_a_rotation_of_the_certificates(
    instance: Instance, manager: Manager, tmp_path: Path
) -> None:
    instance.wait_for_log("loop", "token")
    before, ca_pem = await manager.kubeconfig(tmp_path), _ca(instance)
    async with Load(instance).running() as load:
        states = await manager.rotate(CERTIFICATES)
    assert load.failures == []
    assert states[-1] == "Succeeded", states
    assert _ca(instance) != ca_pem
    await _wait_for_tokens(instance)
    assert instance.run_pod("after", "web") == ("Succeeded", "hello\n")
    assert _published_cas(instance) == {_ca(instance)}
    await _check_credentials(before, await manager.kubeconfig(tmp_path))
    assert not (instance.data_dir / "ca" / "next.pem").exists()
    async with Manager.open(instance) as again:
        assert (await again.rotate(CERTIFICATES))[-1] == "Succeeded"
    assert instance.run_pod("after-second", "web") == ("Succeeded", "hello\n")


def _ca(instance: Instance) -> str:
    return (instance.data_dir / "ca" / "ca.pem").read_text()


def _published_cas(instance: Instance) -> set[str]:
    """Return the CAs in the webhook's configuration, and in the ConfigMap of each namespace."""
    from kubernetes import client

    api: Any = client.AdmissionregistrationV1Api(instance.kubernetes)
    [configuration] = api.list_mutating_webhook_configuration().items
    bundles = {
        base64.b64decode(each.client_config.ca_bundle).decode() for each in configuration.webhooks
    }
    for each in instance.core.list_config_map_for_all_namespaces().items:
        if each.metadata.name == "kube-root-ca.crt":
            bundles.add(each.data["ca.crt"])
    return bundles


async def _check_credentials(old: Path, new: Path) -> None:
    """Check that the kubeconfig of before the rotation is refused, and the new one works."""
    async with KubeClient.from_kubeconfig(new) as kube:
        await kube.get("/api/v1/namespaces/default")
    async with KubeClient.from_kubeconfig(old) as kube:
        with pytest.raises(KubeError):
            await kube.get("/api/v1/namespaces/default")


@pytest.mark.parametrize("milliseconds", [0, 5, 20, 60])
async def test_rotation_is_completed_after_sigkill(instance: Instance, milliseconds: int) -> None:
    """Kill the instance while it rotates its certificates; the next start works with one CA."""
    async with Manager.open(instance) as manager:
        await manager.create_cluster()
        ca_pem = _ca(instance)
        status, _, _ = await manager.send("POST", f"{CLUSTER}/{CERTIFICATES}")
        assert status == 202
        await asyncio.sleep(milliseconds / 1000)
        processes.kill(instance.status["pids"]["podpass"])
    await asyncio.to_thread(instance.up)
    assert not (instance.data_dir / "ca" / "next.pem").exists()
    assert _published_cas(instance) == {_ca(instance)}
    assert _ca(instance) != ca_pem
    assert instance.run_pod(f"killed-{milliseconds}", "web") == ("Succeeded", "hello\n")


async def test_key_rotation_is_completed_after_sigkill(instance: Instance) -> None:
    async with Manager.open(instance) as manager:
        await manager.create_cluster()
        old = jose.parse(instance.token("web")).kid
        status, body, headers = await manager.send("POST", f"{CLUSTER}/{KEYS}")
        assert status == 202, body
        status, body, _ = await manager.send("POST", f"{CLUSTER}/{KEYS}")
        assert (status, body["error"]["code"]) == (409, "OperationNotAllowed")
        processes.kill(instance.status["pids"]["podpass"])
    await asyncio.to_thread(instance.up)
    async with Manager.open(instance) as manager:
        deadline = time.monotonic() + 60
        while (state := await manager.send("GET", headers["Azure-AsyncOperation"]))[1][
            "status"
        ] == "InProgress":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
    assert state[1]["status"] == "Succeeded"
    assert jose.parse(instance.token("web")).kid != old
    assert instance.run_pod("killed-keys", "web") == ("Succeeded", "hello\n")

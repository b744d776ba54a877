"""The harness itself: a plane that is killed and restarted, and a Service whose replicas come and go."""

import asyncio
import base64
import http.client
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from podpass.http.server import bind, read_body, respond, server_tls, serving
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.local import ca
from tests.control_plane import plane, service
from tests.control_plane.plane import Plane

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]
NAME, SPACE = "hook", "default"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with plane.running(tmp_path_factory.mktemp("plane") / "data") as found:
        yield found


@pytest.fixture
async def admin(running: Plane) -> AsyncIterator[KubeClient]:
    async with running.admin() as client:
        yield client


def _map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"a": "b"}}


CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
MAPS = f"/api/v1/namespaces/{SPACE}/configmaps"


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver", "kube-controller-manager"])
async def test_what_was_stored_outlives_the_death_of_each_program(
    running: Plane, admin: KubeClient, name: str
) -> None:
    await admin.create(MAPS, _map(f"before-{name}"))
    before = running.pids
    await asyncio.to_thread(running.kill, name)
    after = running.pids
    assert after[name] != before[name]
    assert {each for each in after if after[each] == before[each]} == after.keys() - {name}
    assert (await admin.get(f"{MAPS}/before-{name}"))["data"] == {"a": "b"}


@pytest.mark.parametrize(
    ("file", "is_let_in"), [(ca.ETCD_CLIENT, True), (ca.WEBHOOK, False), (ca.RUNTIME, False)]
)
def test_the_store_lets_in_the_api_server_alone(running: Plane, file: str, is_let_in: bool) -> None:
    """It holds every Secret and asks no role: all certificates of the authority would open it."""
    held = running.data_dir
    trust = ssl.create_default_context(cafile=str(held.ca_file))
    trust.load_cert_chain(held.certificate(file), held.key(file))
    where = next(each for each in _arguments(running.pids["etcd"]) if "listen-client" in each)
    port = int(where.rpartition(":")[2])
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=trust)
    try:
        connection.request("GET", "/version")
        answered = connection.getresponse().status == 200
    except OSError:
        answered = False
    finally:
        connection.close()
    assert answered is is_let_in


def _arguments(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


async def test_a_restart_of_the_api_server_keeps_address_and_objects(
    running: Plane, admin: KubeClient
) -> None:
    made = await admin.create(MAPS, _map("kept"))
    await asyncio.to_thread(running.restart_api_server)
    found = await admin.get(f"{MAPS}/kept")
    assert found["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


class Replicas:
    """Webhooks that allow everything and keep whose turn it was."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.bundle = base64.b64encode(authority.cert_pem.bytes()).decode()
        leaf = authority.issue_cert(f"{NAME}.{SPACE}.svc")
        leaf.cert_chain_pems[0].write_to_path(str(folder / "hook.pem"))
        leaf.private_key_pem.write_to_path(str(folder / "hook.key"))
        self._tls = server_tls(str(folder / "hook.pem"), str(folder / "hook.key"))
        self.asked: list[tuple[int, str]] = []

    async def start(self, stack: AsyncExitStack) -> int:
        sock = bind("127.0.0.1", 0)
        port = int(sock.getsockname()[1])

        async def app(_: Any, receive: Any, send: Any) -> None:
            request = json.loads(await read_body(receive, 1 << 22))["request"]
            self.asked.append((port, request["name"]))
            response = {"uid": request["uid"], "allowed": True}
            review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
            await respond(send, 200, json.dumps(review | {"response": response}).encode())

        await stack.enter_async_context(serving(app, sock, self._tls))
        return port

    def configuration(self) -> dict[str, Any]:
        """Register them as a chart does: by the name of their Service."""
        rule = {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "operations": ["CREATE"],
            "resources": ["configmaps"],
        }
        reference = {"name": NAME, "namespace": SPACE, "path": "/hook"}
        return {
            "metadata": {"name": NAME},
            "webhooks": [
                {
                    "name": "hook.example.com",
                    "clientConfig": {"service": reference, "caBundle": self.bundle},
                    "rules": [rule],
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                }
            ],
        }


async def test_a_webhook_is_reached_by_its_service_and_past_a_replica_that_is_gone(
    admin: KubeClient, tmp_path: Path
) -> None:
    spec = {"ports": [{"port": 443, "targetPort": 9443}]}
    made = await admin.create(
        f"/api/v1/namespaces/{SPACE}/services", {"metadata": {"name": NAME}, "spec": spec}
    )
    address = made["spec"]["clusterIP"]
    assert address.startswith("127.96.")
    replicas = Replicas(tmp_path)
    async with AsyncExitStack() as stack, AsyncExitStack() as first:
        ports = [await replicas.start(first), await replicas.start(stack)]
        endpoints = [("127.0.0.1", port) for port in ports]
        try:
            balancer = await stack.enter_async_context(service.serving(endpoints, address, 443))
        except PermissionError:
            pytest.skip("a Service's port below 1024 is for root alone here")
        await admin.create(CONFIGURATIONS, replicas.configuration())
        stack.push_async_callback(admin.delete, f"{CONFIGURATIONS}/{NAME}")
        await _until_asked(admin, replicas)
        assert replicas.asked[0][0] == ports[0]
        await first.aclose()
        await _taken(admin, "after")
        assert replicas.asked[-1] == (ports[1], "after")
        assert balancer.connections == dict.fromkeys(endpoints, 1)


async def _until_asked(admin: KubeClient, replicas: Replicas) -> None:
    for at in range(200):
        await _taken(admin, f"probe-{at}")
        if replicas.asked:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the API server does not call the webhook")


async def _taken(admin: KubeClient, name: str) -> None:
    """Make an object; a connection that ends at this very moment may cost one try."""
    try:
        await admin.create(MAPS, _map(name))
    except KubeError:
        await admin.create(MAPS, _map(name))

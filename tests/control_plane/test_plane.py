"""Tests of the helpers: a control plane that is killed and restarted, a Service whose replicas change."""

import asyncio
import http.client
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from podpass.http.server import bind, read_body, respond, serving
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.lab.cluster.control_plane.plane import VARIABLE
from podpass.lab.data import ca
from tests.control_plane import plane, service
from tests.control_plane.plane import PlaneThread
from tests.webhook_entries import build_entry, create_certificate

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]
NAME, SPACE = "hook", "default"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlaneThread]:
    with plane.running(tmp_path_factory.mktemp("plane") / "data") as found:
        yield found


@pytest.fixture
async def admin(running: PlaneThread) -> AsyncIterator[KubeClient]:
    async with running.admin() as client:
        yield client


def _map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"a": "b"}}


CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
MAPS = f"/api/v1/namespaces/{SPACE}/configmaps"


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver", "kube-controller-manager"])
async def test_stored_objects_survive_kill_9_of_each_program(
    running: PlaneThread, admin: KubeClient, name: str
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
def test_etcd_accepts_only_the_api_server(running: PlaneThread, file: str, is_let_in: bool) -> None:
    """etcd stores all Secrets and checks no RBAC, so other certificates of the CA must not give access."""
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


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver", "kube-controller-manager"])
def test_programs_have_variables_of_podpass_only(running: PlaneThread, name: str) -> None:
    """A proxy or a Go setting of the caller would change the programs' behaviour."""
    found = Path(f"/proc/{running.pids[name]}/environ").read_text().rstrip("\0").split("\0")
    variables = dict(each.split("=", 1) for each in found)
    assert len(variables.pop(VARIABLE)) == 24
    assert variables == {"GOGC": "200"}


def _arguments(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


async def test_a_restart_of_the_api_server_keeps_address_and_objects(
    running: PlaneThread, admin: KubeClient
) -> None:
    made = await admin.create(MAPS, _map("kept"))
    await asyncio.to_thread(running.restart_api_server)
    found = await admin.get(f"{MAPS}/kept")
    assert found["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


class WebhookReplicas:
    """Webhook replicas that allow everything and record which replica was called."""

    def __init__(self, folder: Path) -> None:
        self.bundle, self._tls = create_certificate(folder, f"{NAME}.{SPACE}.svc")
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
        """Return a webhook configuration that names their Service, as a chart has it."""
        reference = {"name": NAME, "namespace": SPACE, "path": "/hook"}
        client = {"service": reference, "caBundle": self.bundle}
        entry = build_entry("hook.example.com", client, "configmaps")
        return {"metadata": {"name": NAME}, "webhooks": [entry]}


async def test_webhook_is_called_through_its_service_and_dead_replicas_are_skipped(
    admin: KubeClient, tmp_path: Path
) -> None:
    spec = {"ports": [{"port": 443, "targetPort": 9443}]}
    made = await admin.create(
        f"/api/v1/namespaces/{SPACE}/services", {"metadata": {"name": NAME}, "spec": spec}
    )
    address = made["spec"]["clusterIP"]
    assert address.startswith("127.96.")
    replicas = WebhookReplicas(tmp_path)
    async with AsyncExitStack() as stack, AsyncExitStack() as first:
        ports = [await replicas.start(first), await replicas.start(stack)]
        endpoints = [("127.0.0.1", port) for port in ports]
        try:
            balancer = await stack.enter_async_context(
                service.run_service_proxy(endpoints, address, 443)
            )
        except PermissionError:
            pytest.skip("a port below 1024 needs root here")
        await admin.create(CONFIGURATIONS, replicas.configuration())
        stack.push_async_callback(admin.delete, f"{CONFIGURATIONS}/{NAME}")
        await _wait_until_called(admin, replicas)
        assert replicas.asked[0][0] == ports[0]
        await first.aclose()
        await _create_with_retry(admin, "after")
        assert replicas.asked[-1] == (ports[1], "after")
        assert balancer.connections == dict.fromkeys(endpoints, 1)


async def _wait_until_called(admin: KubeClient, replicas: WebhookReplicas) -> None:
    for at in range(200):
        await _create_with_retry(admin, f"probe-{at}")
        if replicas.asked:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the API server does not call the webhook")


async def _create_with_retry(admin: KubeClient, name: str) -> None:
    """Create an object; retry once, because a connection may end during the request."""
    try:
        await admin.create(MAPS, _map(name))
    except KubeError:
        await admin.create(MAPS, _map(name))

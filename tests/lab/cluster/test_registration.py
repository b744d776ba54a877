"""The version check before the registration, the permissions of the webhook, and the network of a pod."""

from typing import Any

import orjson
import pytest

from podpass.admission.sidecar import UnknownVersion
from podpass.http.server import Receive, Scope, Send, bind, respond, serving
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.client.config import Target
from podpass.lab.cluster.pod_access import pod_network
from podpass.lab.cluster.registration import apply_rbac, runs_native_sidecars
from podpass.lab.data import ca as authority
from podpass.lab.data.ports import SERVICES
from tests.kubeling.cluster import Live


async def _runs_native_sidecars(version: dict[str, Any]) -> bool:
    async def app(scope: Scope, _: Receive, send: Send) -> None:
        found = scope["path"] == "/version"
        await respond(send, 200 if found else 404, orjson.dumps(version))

    sock = bind("127.0.0.1", 0)
    target = Target(server=f"http://127.0.0.1:{sock.getsockname()[1]}")
    async with serving(app, sock, None), KubeClient(target) as client:
        return await runs_native_sidecars(client)


@pytest.mark.parametrize(("version", "native"), [("v1.31.9", False), ("v1.32.0+k3s1", True)])
async def test_native_sidecar_support_is_read_from_the_api_server_version(
    version: str, native: bool
) -> None:
    assert await _runs_native_sidecars({"gitVersion": version}) is native


async def test_a_server_without_a_version_is_an_error() -> None:
    with pytest.raises(UnknownVersion):
        await _runs_native_sidecars({})


@pytest.mark.parametrize(
    ("verb", "resource", "allowed"),
    [
        ("list", "serviceaccounts", True),
        ("watch", "serviceaccounts", True),
        ("create", "events", True),
        ("patch", "events", True),
        ("get", "secrets", False),
        ("list", "events", False),
        ("patch", "serviceaccounts", False),
    ],
)
async def test_webhook_of_the_instance_may_read_accounts_and_write_events(
    live: Live, verb: str, resource: str, allowed: bool
) -> None:
    async with KubeClient.from_kubeconfig(live.kubeconfig()) as admin:
        await apply_rbac(admin)
        asked = {"namespace": "default", "verb": verb, "resource": resource}
        review = await admin.create(
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            {
                "spec": {
                    "user": authority.CLIENTS[authority.WEBHOOK][0],
                    "resourceAttributes": asked,
                }
            },
        )
    assert review["status"]["allowed"] is allowed


def test_pod_reaches_the_services_of_the_instance_but_not_its_own_parts() -> None:
    ports = {name: 1000 + number for number, name in enumerate(SERVICES)}
    network = pod_network(ports, "127.254.1.2", 2000)
    reached = network.outbound
    # A key of `outbound` would be in use in the pod, which may serve HTTPS on all its addresses.
    assert network.shared == ("127.254.1.2", 443)
    assert all(port != 443 for _, port in reached)
    for name in ("kubernetes", "authority", "vault"):
        address = ("127.0.0.1", ports[name])
        assert reached[address] == address
    # The control API changes the instance; the webhook and the kubelet are called by the API server.
    for name in ("control", "webhook", "kubelet"):
        assert ("127.0.0.1", ports[name]) not in reached
    # The usual gateway connects to addresses of the machine.
    assert reached["127.0.0.1", ports["gateway"]] == ("127.0.0.1", 2000)
    assert ("127.0.0.1", ports["gateway"]) not in reached.values()
    custom = pod_network(ports, "127.254.1.2", 2000, "https://localhost:3000").outbound
    assert custom.items() - reached.items() == {(("127.0.0.1", 3000), ("127.0.0.1", 3000))}
    assert network.addresses == ("169.254.169.254",)
    assert "proxy-mode: env" in network.hint

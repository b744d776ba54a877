"""The version check before the registration of the webhook, and the permissions of the webhook."""

from typing import Any

import orjson
import pytest

from podpass.admission.sidecar import UnknownVersion
from podpass.http.server import Receive, Scope, Send, bind, respond, serving
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.client.config import Target
from podpass.lab.cluster.registration import apply_rbac, runs_native_sidecars
from podpass.lab.data import ca as authority
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

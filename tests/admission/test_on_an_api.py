"""Warnings and Events with the embedded API server, which calls the webhook by its registration."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from kubeling.cluster import UserInfo

from podpass import names
from podpass.admission import webhook_configuration as registration
from podpass.admission.events import RefusalRecorder
from podpass.admission.handler import create_app
from podpass.admission.service_accounts import ServiceAccountCache
from podpass.crypto.secret import Secret
from podpass.kubernetes.client import KubeClient, KubeError, Target
from podpass.lab.cluster.registration import apply_rbac, webhook_configuration
from podpass.lab.data import ca
from podpass.settings import WebhookSettings
from tests.admission.endpoint import Endpoint
from tests.kubeling.cluster import build_config, start_cluster

Function = Callable[..., Any]
Object = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"
EVENTS = "/api/v1/namespaces/default/events"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
USERS = {
    "admin": UserInfo(name="admin", uid="a", groups=("system:masters",)),
    "webhook": UserInfo(name=ca.CLIENTS[ca.WEBHOOK][0], uid="w", groups=()),
}
OWNER = {
    "apiVersion": "apps/v1",
    "kind": "ReplicaSet",
    "name": "web-1",
    "uid": "11111111-2222-4333-8444-555555555555",
    "controller": True,
}


class Api:
    """An API server with a webhook, and an administrator client."""

    def __init__(self, server: str, admin: KubeClient, webhook: Endpoint) -> None:
        self._server, self.admin, self.webhook = server, admin, webhook

    async def create(self, pod: Object, query: str = "") -> tuple[int, Object, list[str]]:
        headers = {"authorization": "Bearer admin"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self._server + PODS + query, json=pod, headers=headers) as answer,
        ):
            messages = answer.headers.getall("warning", [])
            return answer.status, await answer.json(), messages

    async def register_second_entry(self) -> None:
        """Register the second entry next to the first."""
        bundle = base64.b64encode(self.webhook.ca_pem).decode()
        config = {"url": self.webhook.url + names.ADVICE_PATH, "caBundle": bundle}
        entry = registration.build_advice_entry(config, ["kube-system"])
        path = f"{CONFIGURATIONS}/{names.WEBHOOK_CONFIGURATION}"
        both = [*(await self.admin.get(path))["webhooks"], entry]
        await self.admin.patch(path, {"webhooks": both})

    async def events(self) -> list[Object]:
        found, _ = await self.admin.list(EVENTS)
        return [event for event in found if event["reason"] == names.REFUSED_REASON]


@pytest.fixture
async def api(start: Function, settings: WebhookSettings, tmp_path: Path) -> AsyncIterator[Api]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        # ca.pem is for client certificates, which this test does not use.
        _, server = await start_cluster(stack, build_config(tmp_path, USERS))
        admin, own = [
            await enter(KubeClient(Target(server=server, token=Secret(user)))) for user in USERS
        ]
        await apply_rbac(admin)
        accounts = await enter(ServiceAccountCache(own))
        events = await enter(RefusalRecorder(own))
        webhook: Endpoint = await start(create_app(settings, accounts, events=events))
        await accounts.wait_ready()
        url = webhook.url + names.WEBHOOK_PATH
        registered = webhook_configuration(url, webhook.ca_pem)
        del registered["webhooks"][1:]  # the tests register the entries that warn
        await admin.create(CONFIGURATIONS, registered)
        account: Object = {"metadata": {"name": "web"}}
        account["metadata"]["annotations"] = {names.CLIENT_ID: "client"}
        await admin.create("/api/v1/namespaces/default/serviceaccounts", account)
        yield Api(server, admin, webhook)


def _pod(
    make_pod: Function, name: str = "app", *, label: str | None = "true", **more: Any
) -> Object:
    pod: Object = make_pod(name=name, serviceAccountName="web", **more)
    if label is not None:
        pod["metadata"]["labels"] = {names.USE_LABEL: label}
    return pod


async def test_client_that_applies_a_pod_gets_warnings(api: Api, make_pod: Function) -> None:
    status, made, messages = await api.create(_pod(make_pod))
    assert status == 201
    (warning,) = messages
    assert "azure.workload.identity/client-id = 'client' is not a GUID" in warning
    assert made["spec"]["volumes"][-1]["name"].startswith(names.VOLUME_PREFIX)


async def test_webhook_permissions_suffice_to_write_the_event(api: Api, make_pod: Function) -> None:
    pod = _pod(make_pod)
    pod["metadata"] |= {"annotations": {names.TOKEN_EXPIRATION: "1"}, "ownerReferences": [OWNER]}
    status, refusal, _ = await api.create(pod)
    assert status == 400
    status, _, _ = await api.create(pod, "?dryRun=All")
    assert status == 400
    while not (found := await api.events()):  # noqa: ASYNC110 there is no event for the condition
        await asyncio.sleep(0.01)
    (event,) = found
    assert event["involvedObject"]["uid"] == OWNER["uid"]
    assert event["count"] == 1, "a dry run has no side effects"
    assert event["message"] in refusal["message"]
    assert event["source"] == {"component": "podpass-webhook"}


async def test_dry_run_returns_warnings_and_stores_nothing(api: Api, make_pod: Function) -> None:
    status, made, messages = await api.create(_pod(make_pod), "?dryRun=All")
    assert (status, len(messages)) == (201, 1)
    assert made["spec"]["volumes"][-1]["name"].startswith(names.VOLUME_PREFIX)
    with pytest.raises(KubeError):
        await api.admin.get(f"{PODS}/app")


async def test_second_entry_warns_only_where_it_is_registered(api: Api, make_pod: Function) -> None:
    status, _, messages = await api.create(_pod(make_pod, "before", label=None))
    assert (status, messages) == (201, [])
    await api.register_second_entry()
    status, made, messages = await api.create(_pod(make_pod, "bare", label=None))
    assert (status, len(messages)) == (201, 1)
    assert "lacks the label azure.workload.identity/use" in messages[0]
    assert "env" not in made["spec"]["containers"][0]
    status, _, messages = await api.create(_pod(make_pod, "wrong", label="True"))
    assert (status, len(messages)) == (201, 1)
    assert "is not" in messages[0]
    _, _, messages = await api.create(_pod(make_pod, "labelled"))
    assert "GUID" in messages[0]
    assert len(messages) == 1


async def test_unavailable_second_entry_blocks_no_pod(api: Api, make_pod: Function) -> None:
    await api.register_second_entry()
    path = f"{CONFIGURATIONS}/{names.WEBHOOK_CONFIGURATION}"
    entries = (await api.admin.get(path))["webhooks"]
    entries[1]["clientConfig"]["url"] = "https://127.0.0.1:1/warn-v1-pod"
    await api.admin.patch(path, {"webhooks": entries})
    status, _, messages = await api.create(_pod(make_pod, label=None))
    assert (status, messages) == (201, [])

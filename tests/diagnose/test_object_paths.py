"""Names of a caller in the requests of each reader: a name reaches no object of another kind or name."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from podpass.diagnose.doctor.cloud_facts import request_token
from podpass.facts import Unread
from podpass.kubernetes.client import KubeClient
from podpass.lab.install.pod_facts import NoSuchPod, read_pod
from podpass.provision.service_accounts import ServiceAccountClient
from tests.kubeling.cluster import Live, live, ring, serve

__all__ = ["live", "ring", "serve"]

# Without quotes, the client resolves the dots: the path is then that of the ServiceAccount `victim`.
VICTIM = "../serviceaccounts/victim"


@pytest.fixture
async def admin(live: Live) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(live.kubeconfig()) as client:
        about = {"metadata": {"name": "victim"}}
        await client.create("/api/v1/namespaces/default/serviceaccounts", about)
        yield client


async def _request_token(client: KubeClient) -> object:
    found = await request_token(client, "default", VICTIM, "api://AzureADTokenExchange")
    return None if isinstance(found, Unread) else found


async def _read_pod(client: KubeClient) -> object:
    try:
        return await read_pod(client, "default", VICTIM)
    except NoSuchPod:
        return None


async def _find_account(client: KubeClient) -> object:
    return await ServiceAccountClient(client).find("default", VICTIM)


async def _delete_account(client: KubeClient) -> object:
    path = "/api/v1/namespaces/default/serviceaccounts/victim"
    uid = (await client.get(path))["metadata"]["uid"]
    return await ServiceAccountClient(client).delete("default", VICTIM, uid) or None


@pytest.mark.parametrize("read", [_request_token, _read_pod, _find_account, _delete_account])
async def test_name_with_dots_reaches_no_other_object(
    admin: KubeClient, read: Callable[[KubeClient], Awaitable[Any]]
) -> None:
    assert await read(admin) is None

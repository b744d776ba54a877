"""Reading the objects of a cluster once, with the rights of the caller."""

import asyncio
from typing import Any

from podpass.facts import Unread
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.objects import Preview
from podpass.kubernetes.reader import ObjectReader

_DENIED = (
    403,
    {"kind": "Status", "message": "pods is forbidden\nsecond line", "reason": "Forbidden"},
)


async def test_object_is_read_once_for_all_readers(server: Any) -> None:
    server.handler = lambda _: (200, {"metadata": {"name": "web"}})
    async with KubeClient.from_kubeconfig(server.kubeconfig({"token": "hush"})) as client:
        reader = ObjectReader(client)
        found = await asyncio.gather(*(reader.find("Pod", "web", "n") for _ in range(5)))
        other = await reader.find("Pod", "api", "n")
    assert [each and each["metadata"]["name"] for each in found] == ["web"] * 5  # type: ignore[index]
    assert other is not None
    assert [each.path for each in server.requests] == [
        "/api/v1/namespaces/n/pods/web",
        "/api/v1/namespaces/n/pods/api",
    ]


async def test_missing_object_is_none_and_a_refused_one_is_a_value_with_the_reason(
    server: Any,
) -> None:
    async with KubeClient.from_kubeconfig(server.kubeconfig({"token": "hush"})) as client:
        server.handler = lambda _: (404, {"kind": "Status", "message": "not found"})
        reader = ObjectReader(client)
        assert await reader.find("Pod", "web", "n") is None
        assert await reader.exists("Secret", "web", "n") is False
        assert await reader.list("MutatingAdmissionPolicy") == ()
        assert isinstance(await reader.jwks(), Unread)
        server.handler = lambda _: _DENIED
        reader = ObjectReader(client)
        for reading in (
            reader.find("Pod", "web", "n"),
            reader.exists("Secret", "web", "n"),
            reader.list("Pod", "n"),
            reader.discovery(),
            reader.read_log("n", "web", {}),
        ):
            assert await reading == Unread("pods is forbidden")


async def test_refusal_by_admission_is_not_the_lack_of_a_right(server: Any) -> None:
    async with KubeClient.from_kubeconfig(server.kubeconfig({"token": "hush"})) as client:
        reader = ObjectReader(client)
        server.handler = lambda _: _DENIED
        assert await reader.preview("n", {}) == Unread("no dry run of the pod: pods is forbidden")
        refusal = 'admission webhook "deny.example.com" denied the request: no'
        server.handler = lambda _: (403, {"kind": "Status", "message": refusal})
        assert await reader.preview("n", {}) == Preview(refusal=refusal)
    assert {each.query["dryRun"] for each in server.requests} == {"All"}

"""Rotations of the managed cluster, over HTTP."""

import asyncio
from typing import Any

import pytest

from podpass.lab.cluster.backend import ClusterOperationRefused
from tests.lab.services.clusters.test_resource_manager import ALL, ON, ONE, SUB, cluster

KEYS, CERTIFICATES = "rotateServiceAccountSigningKeys", "rotateClusterCertificates"
BOTH = pytest.mark.parametrize("verb", [KEYS, CERTIFICATES])


@pytest.fixture(autouse=True)
async def group(manager: Any) -> str:
    return str(await manager.group())


async def _poll(manager: Any, headers: Any, name: str = "Azure-AsyncOperation") -> Any:
    path = headers[name].removeprefix("https://management.azure.com")
    return await manager.send("GET", path, version=None)


@BOTH
async def test_rotation_is_an_audited_long_running_operation(manager: Any, verb: str) -> None:
    await manager.send("PUT", ONE, cluster(**ON))
    status, body, headers = await manager.send("POST", f"{ONE}/{verb}")
    assert (status, body, headers["Retry-After"]) == (202, None, "1")
    await asyncio.sleep(0)
    assert (await _poll(manager, headers))[1]["status"] == "Succeeded"
    assert (await _poll(manager, headers, "Location"))[0] == 200
    assert manager.cluster.rotations == [{KEYS: "keys", CERTIFICATES: "certificates"}[verb]]
    [entry] = await manager.directory.audit.list(limit=1)
    assert (entry.actor_name, entry.target) == ("admin@contoso.example", ONE)
    assert entry.action == f"Microsoft.ContainerService/managedClusters/{verb}/action"


async def test_rotation_of_keys_is_in_progress_until_the_new_key_signs(manager: Any) -> None:
    await manager.send("PUT", ONE, cluster(**ON))
    manager.cluster.signs_at = manager.clock() + 6
    _, _, headers = await manager.send("POST", f"{ONE}/{KEYS}")
    _, body, polled = await _poll(manager, headers)
    assert (body["status"], "endTime" in body, polled["Retry-After"]) == ("InProgress", False, "1")
    status, _, polled = await _poll(manager, headers, "Location")
    assert (status, polled["Location"]) == (202, headers["Location"])
    manager.clock.now += 6
    assert (await _poll(manager, headers))[1]["status"] == "Succeeded"


async def test_other_writes_are_refused_during_a_rotation_of_certificates(manager: Any) -> None:
    await manager.send("PUT", ONE, cluster(**ON))
    manager.cluster.rotated.clear()
    _, _, headers = await manager.send("POST", f"{ONE}/{CERTIFICATES}")
    assert (await _poll(manager, headers))[1]["status"] == "InProgress"
    for method, path, sent in (
        ("POST", f"{ONE}/{CERTIFICATES}", None),
        ("POST", f"{ONE}/{KEYS}", None),
        ("PUT", ONE, cluster(**ON)),
        ("DELETE", ONE, None),
    ):
        status, body, _ = await manager.send(method, path, sent)
        assert (status, body["error"]["code"]) == (409, "OperationNotAllowed"), (method, path)
    assert (await manager.send("GET", ONE))[0] == 200
    manager.cluster.rotated.set()
    await asyncio.sleep(0)
    assert (await _poll(manager, headers))[1]["status"] == "Succeeded"
    assert (await manager.send("POST", f"{ONE}/{KEYS}"))[0] == 202


async def test_failed_rotation_shows_its_reason_and_can_be_repeated(manager: Any) -> None:
    await manager.send("PUT", ONE, cluster(**ON))
    manager.cluster.broken = True
    _, _, headers = await manager.send("POST", f"{ONE}/{CERTIFICATES}")
    await asyncio.sleep(0)
    _, body, _ = await _poll(manager, headers)
    assert body["status"] == "Failed"
    assert body["error"] == {"code": "OperationFailed", "message": "the disk is full"}
    assert (await _poll(manager, headers, "Location"))[0] == 409
    manager.cluster.broken = False
    assert (await manager.send("POST", f"{ONE}/{CERTIFICATES}"))[0] == 202


@BOTH
@pytest.mark.parametrize(
    ("status", "code"), [(409, "OperationNotAllowed"), (501, "NotImplemented")]
)
async def test_refused_rotation_returns_the_message_of_the_cluster_and_changes_nothing(
    manager: Any, verb: str, status: int, code: str
) -> None:
    await manager.send("PUT", ONE, cluster(**ON))
    before = await manager.directory.audit.list(limit=10)
    manager.cluster.refusal = ClusterOperationRefused("A rotation is in progress", status=status)
    found, body, _ = await manager.send("POST", f"{ONE}/{verb}")
    assert (found, body["error"]["code"]) == (status, code)
    assert body["error"]["message"] == "A rotation is in progress."
    assert manager.cluster.rotations == []
    assert await manager.directory.audit.list(limit=10) == before
    manager.cluster.refusal = None
    assert (await manager.send("POST", f"{ONE}/{verb}"))[0] == 202


@BOTH
async def test_rotation_of_a_missing_cluster_or_without_a_role_is_refused(
    manager: Any, verb: str
) -> None:
    status, body, _ = await manager.send("POST", f"{ONE}/{verb}")
    assert (status, body["error"]["code"]) == (404, "ResourceNotFound")
    await manager.send("PUT", ONE, cluster(**ON))
    for path, code in (
        (f"{ALL}/other/{verb}", "ResourceNotFound"),
        (f"{ALL.replace('/rg/', '/none/')}/aks/{verb}", "ResourceGroupNotFound"),
        (f"{ONE}/{verb}".replace(SUB[-36:], "0" * 8 + SUB[-28:]), "SubscriptionNotFound"),
    ):
        status, body, _ = await manager.send("POST", path)
        assert (status, body["error"]["code"]) == (404, code)
    await manager.add_caller("reader", "Reader")
    status, body, _ = await manager.send("POST", f"{ONE}/{verb}", caller="reader")
    assert (status, body["error"]["code"]) == (403, "AuthorizationFailed")
    assert manager.cluster.rotations == []


async def test_keys_are_not_rotated_without_an_issuer(manager: Any) -> None:
    off: dict[str, Any] = {"oidcIssuerProfile": {"enabled": False}}
    await manager.send("PUT", ONE, cluster(**off))
    assert await manager.refused("POST", f"{ONE}/{KEYS}") == "400 OIDCIssuerNotEnabled"
    assert manager.cluster.rotations == []

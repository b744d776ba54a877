"""Attack: the stolen credential of a node requests tokens that no pod of the node needs.

`tests/control_plane/contract/test_node_tokens.py` compares all messages with those of a real API server.
"""

from typing import Any

import pytest

from kubeling.apiserver.request import UserInfo

TOKENS = "/api/v1/namespaces/default/serviceaccounts/default/token"
PODS = "/api/v1/namespaces/default/pods"
DRIVERS = "/apis/storage.k8s.io/v1/csidrivers"
AUDIENCE = "api://AzureADTokenExchange"
USERS = {
    "admin-token": UserInfo(name="admin", uid="admin", groups=("system:masters",)),
    "node-token": UserInfo(name="system:node:n1", uid="n1", groups=("system:nodes",)),
    "nameless": UserInfo(name="system:node:", uid="", groups=("system:nodes",)),
}


@pytest.fixture
async def cluster(serve: Any) -> Any:
    return await serve(tokens=USERS)


async def _pod(cluster: Any, node: str = "n1", *more: Any) -> dict[str, Any]:
    source = {"serviceAccountToken": {"path": "t", "audience": AUDIENCE}}
    spec = {
        "nodeName": node,
        "automountServiceAccountToken": False,
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "tokens", "projected": {"sources": [source]}}, *more],
    }
    made = await cluster.call("POST", PODS, {"metadata": {"name": "p"}, "spec": spec})
    assert made.status == 201, made.text
    return {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made.body["metadata"]["uid"]}


async def _request(
    cluster: Any, ref: Any, *audiences: str, token: str = "node-token"
) -> tuple[int, str]:
    body = {"spec": {"audiences": list(audiences), "boundObjectRef": ref}}
    reply = await cluster.call("POST", TOKENS, body, token=token)
    return reply.status, str(reply.body.get("message", ""))


async def test_node_gets_tokens_only_for_audiences_that_its_pod_names(cluster: Any) -> None:
    ref = await _pod(cluster)
    assert (await _request(cluster, ref, AUDIENCE))[0] == 201
    for audiences in (("api://stolen",), (), (AUDIENCE, "api://stolen")):
        status, message = await _request(cluster, ref, *audiences)
        assert (status, message[:40]) == (403, 'serviceaccounts "default" is forbidden: ')
        if len(audiences) < 2:
            assert (await _request(cluster, ref, *audiences, token="admin-token"))[0] == 201


async def test_node_gets_tokens_for_audiences_of_a_csi_driver(cluster: Any) -> None:
    spec = {"tokenRequests": [{"audience": "api://csi"}]}
    made = await cluster.call("POST", DRIVERS, {"metadata": {"name": "driver"}, "spec": spec})
    assert made.body["spec"]["volumeLifecycleModes"] == ["Persistent"]
    volumes = [{"name": name, "csi": {"driver": name}} for name in ("driver", "missing")]
    ref = await _pod(cluster, "n1", *volumes)
    assert (await _request(cluster, ref, "api://csi"))[0] == 201
    assert (await _request(cluster, ref, "api://other"))[0] == 403


@pytest.mark.parametrize("seconds", [599, 2**32 + 1])
async def test_invalid_token_requests_of_a_csi_driver_are_refused(
    cluster: Any, seconds: int
) -> None:
    requests = [{"audience": "a"}, {"audience": "a", "expirationSeconds": seconds}]
    body = {"metadata": {"name": "driver"}, "spec": {"tokenRequests": requests}}
    reply = await cluster.call("POST", DRIVERS, body)
    assert reply.status == 422
    assert {cause["field"] for cause in reply.body["details"]["causes"]} == {
        "spec.tokenRequests[1].audience",
        "spec.tokenRequests[1].expirationSeconds",
    }


async def test_node_gets_tokens_only_of_its_own_pods(cluster: Any) -> None:
    ref = await _pod(cluster, "n2")
    status, message = await _request(cluster, ref, AUDIENCE)
    assert status == 403
    assert message.endswith("node requested token bound to a pod scheduled on a different node")


async def test_node_gets_only_tokens_that_are_bound_to_the_uid_of_a_pod(cluster: Any) -> None:
    ref = await _pod(cluster)
    other = "00000000-0000-4000-8000-000000000000"
    for given in (None, ref | {"kind": "Node"}, ref | {"uid": ""}, ref | {"uid": other}):
        assert (await _request(cluster, given, AUDIENCE))[0] == 403
    assert (await _request(cluster, ref | {"name": "none"}, AUDIENCE))[0] == 404


async def test_node_without_a_name_gets_no_token(cluster: Any) -> None:
    status, message = await _request(cluster, await _pod(cluster), AUDIENCE, token="nameless")
    assert status == 403
    assert message.endswith('could not determine node from user "system:node:"')


async def test_node_creates_no_pod_that_chooses_an_account_or_an_audience(cluster: Any) -> None:
    """Attack: the stolen credential of a node creates a pod, and requests the token of its account."""
    spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}
    source = {"serviceAccountToken": {"path": "t", "audience": AUDIENCE}}
    projected = [{"name": "t", "projected": {"sources": [source]}}]
    csi = [{"name": "t", "csi": {"driver": "d"}}]
    mirror = {"name": "m", "annotations": {"kubernetes.io/config.mirror": "1"}}
    for metadata, more, reason in (
        ({"name": "m"}, {}, "can only create mirror pods"),
        (mirror, {"nodeName": "n2"}, "with spec.nodeName set to itself"),
        (mirror, {"serviceAccountName": "default"}, "that reference a service account"),
        (mirror, {"volumes": projected}, "that reference tokens"),
        (mirror, {"volumes": csi}, "that reference tokens"),
    ):
        body = {"metadata": metadata, "spec": spec | more}
        reply = await cluster.call("POST", PODS, body, token="node-token")
        assert reply.status == 403, more
        assert reply.body["message"].endswith(reason)
    made = await cluster.call("POST", PODS, {"metadata": mirror, "spec": spec}, token="node-token")
    assert made.status == 201, made.text
    uid = made.body["metadata"]["uid"]
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "m", "uid": uid}
    for audiences in ((), (AUDIENCE,)):
        assert (await _request(cluster, ref, *audiences))[0] == 403

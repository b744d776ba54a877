"""Tokens that a node requests: both servers refuse the same requests with the same messages."""

import re
from typing import Any

import pytest

from podpass.crypto import jose
from tests.control_plane.contract.api import (
    ADMIN,
    NODE,
    NODE_NAME,
    Api,
    check_refused,
    pod,
    unique_name,
)
from tests.kubeling.cluster import Reply

AUDIENCE = "api://AzureADTokenExchange"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
DRIVERS = "/apis/storage.k8s.io/v1/csidrivers"
UID = "00000000-0000-4000-8000-000000000000"
BINDING = "contract-nodes"


@pytest.fixture(autouse=True)
async def node_role(api: Api) -> None:
    """Bind the role of nodes: only the node authorizer of a whole cluster does without it."""
    body = {
        "metadata": {"name": BINDING},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "system:node",
        },
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}
        ],
    }
    reply = await api.call("POST", f"{RBAC}/clusterrolebindings", body)
    assert reply.status in (201, 409), reply.text


async def _pod(api: Api, *volumes: Any, node: str = NODE_NAME) -> dict[str, Any]:
    """Create a pod on a node; return the reference that binds a token to it."""
    made = await api.create(
        "pods", pod(nodeName=node, automountServiceAccountToken=False, volumes=list(volumes))
    )
    return {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]}


def _projected(*audiences: str) -> dict[str, Any]:
    sources = [
        {"serviceAccountToken": {"path": f"t{at}", "expirationSeconds": 3600, "audience": audience}}
        for at, audience in enumerate(audiences)
    ]
    return {"name": "tokens", "projected": {"sources": sources}}


async def _request(
    api: Api, ref: Any, *audiences: str, account: str = "default", token: str = NODE
) -> Reply:
    """Request a token; a server that has not seen the pod or the role yet is asked again."""
    body = {"spec": {"audiences": list(audiences), "boundObjectRef": ref}}
    path = api.path("serviceaccounts", account, "token")
    return await api.wait_for(
        path, lambda reply: not _is_stale(reply), "POST", body=body, token=token
    )


def _is_stale(reply: Reply) -> bool:
    message = str(reply.body.get("message", ""))
    return message == 'pod "p" not found' or "cannot create resource" in message


def _message(api: Api, reply: Reply) -> str:
    message = str(check_refused(reply, 403, "Forbidden")["message"])
    assert reply.body["details"] == {"name": "default", "kind": "serviceaccounts"}
    return message.replace(api.namespace, "NAMESPACE")


async def _unauthorized(api: Api, quoted: str) -> str:
    """Return the message for an audience that neither a volume nor RBAC allows.

    The embedded server has the words of 1.37; those of 1.34 are longer.
    """
    found = re.match(r"v1\.([0-9]+)\.", (await api.get("/version"))["gitVersion"])
    assert found
    user, prefix = f"system:node:{NODE_NAME}", 'serviceaccounts "default" is forbidden:'
    if int(found[1]) > 34:
        return f"{prefix} {user} is not authorized to request tokens for audience {quoted}"
    return (
        f"{prefix} audience {quoted} not found in pod spec volume, {user} is not authorized to request"
        " tokens for this audience"
    )


async def test_node_gets_a_token_for_an_audience_of_the_pods_volumes(api: Api) -> None:
    ref = await _pod(api, _projected(AUDIENCE, "other"))
    for audience in (AUDIENCE, "other"):
        reply = await _request(api, ref, audience)
        assert reply.status == 201, reply.text
        assert jose.parse(reply.body["status"]["token"]).claims["aud"] == [audience]


@pytest.mark.parametrize(
    ("audience", "quoted"),
    [
        ("api://stolen", '"api://stolen"'),
        ('quo"te', r'"quo\"te"'),
        ("*", '"*"'),
        ("line\n", r'"line\n"'),
        ("\x00\x7f\u200b\U000e0001é", r'"\x00\x7f\u200b\U000e0001é"'),
    ],
    ids=["stolen", "quote", "wildcard", "newline", "unprintable"],
)
async def test_node_gets_no_token_for_another_audience(
    api: Api, audience: str, quoted: str
) -> None:
    ref = await _pod(api, _projected(AUDIENCE))
    message = _message(api, await _request(api, ref, audience))
    assert message == await _unauthorized(api, quoted)
    reply = await _request(api, ref, audience, token=ADMIN)
    assert reply.status == 201, reply.text


async def test_node_gets_no_token_for_the_api_server_that_the_pod_does_not_mount(api: Api) -> None:
    ref = await _pod(api, _projected(AUDIENCE))
    assert _message(api, await _request(api, ref)) == await _unauthorized(api, '""')


async def test_node_gets_a_token_for_the_api_server_that_the_pod_mounts(api: Api) -> None:
    source = {"serviceAccountToken": {"path": "token"}}
    ref = await _pod(api, {"name": "api", "projected": {"sources": [source]}})
    reply = await _request(api, ref)
    assert reply.status == 201, reply.text
    assert jose.parse(reply.body["status"]["token"]).claims["aud"] == [
        "https://kubernetes.default.svc"
    ]


async def test_node_gets_no_token_with_two_audiences(api: Api) -> None:
    ref = await _pod(api, _projected(AUDIENCE, "other"))
    assert _message(api, await _request(api, ref, AUDIENCE, "other")) == (
        'serviceaccounts "default" is forbidden: node may only request 0 or 1 audiences'
    )


async def test_node_gets_a_token_for_an_audience_of_a_csi_driver(api: Api) -> None:
    driver = unique_name("driver")
    spec = {"tokenRequests": [{"audience": AUDIENCE}], "volumeLifecycleModes": ["Ephemeral"]}
    made = await api.call("POST", DRIVERS, {"metadata": {"name": driver}, "spec": spec})
    assert made.status == 201, made.text
    try:
        ref = await _pod(api, {"name": "v", "csi": {"driver": driver}})
        path = api.path("serviceaccounts", "default", "token")
        body = {"spec": {"audiences": [AUDIENCE], "boundObjectRef": ref}}
        await api.wait_for(path, lambda reply: reply.status == 201, "POST", body=body, token=NODE)
        message = _message(api, await _request(api, ref, "other"))
        assert message == await _unauthorized(api, '"other"')
    finally:
        await api.call("DELETE", f"{DRIVERS}/{driver}")


@pytest.mark.parametrize(
    ("volumes", "reason"),
    [
        ([{"csi": {"driver": "none.a"}}], 'csidriver.storage.k8s.io "none.a" not found'),
        (
            [{"csi": {"driver": f"none.{name}"}} for name in "aba"],
            (
                '[csidriver.storage.k8s.io "none.a" not found, '
                'csidriver.storage.k8s.io "none.b" not found]'
            ),
        ),
        (
            [{"persistentVolumeClaim": {"claimName": "none"}}],
            'persistentvolumeclaim "none" not found',
        ),
    ],
    ids=["driver", "drivers", "claim"],
)
async def test_missing_object_of_a_volume_is_named(
    api: Api, volumes: list[dict[str, Any]], reason: str
) -> None:
    named = [{"name": f"v{at}", **volume} for at, volume in enumerate(volumes)]
    ref = await _pod(api, *named, _projected(AUDIENCE))
    reply = await _request(api, ref, AUDIENCE)
    assert reply.status == 201, reply.text
    assert _message(api, await _request(api, ref, "other")) == (
        f'serviceaccounts "default" is forbidden: error validating audience "other": {reason}'
    )


async def test_node_gets_a_token_for_an_audience_that_rbac_allows(api: Api) -> None:
    ref = await _pod(api, _projected(AUDIENCE))
    name = unique_name("audiences")
    rule = {
        "apiGroups": [""],
        "resources": ["api://more"],
        "verbs": ["request-serviceaccounts-token-audience"],
    }
    await api.create("roles", {"metadata": {"name": name}, "rules": [rule]})
    await api.create(
        "rolebindings",
        {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}
            ],
        },
    )
    path = api.path("serviceaccounts", "default", "token")
    body = {"spec": {"audiences": ["api://more"], "boundObjectRef": ref}}
    await api.wait_for(path, lambda reply: reply.status == 201, "POST", body=body, token=NODE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (None, "node requested token not bound to a pod"),
        ({"kind": "Secret"}, "node requested token not bound to a pod"),
        ({"apiVersion": ""}, "node requested token not bound to a pod"),
        ({"name": ""}, "node requested token not bound to a pod"),
        ({"uid": ""}, "node requested token with a pod binding without a uid"),
        (
            {"uid": UID},
            (
                f"the UID in the bound object reference ({UID}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            ),
        ),
    ],
)
async def test_node_gets_only_tokens_that_are_bound_to_a_pod(
    api: Api, change: Any, reason: str
) -> None:
    ref = await _pod(api, _projected(AUDIENCE))
    given = None if change is None else ref | change
    message = _message(api, await _request(api, given, AUDIENCE))
    assert message == f'serviceaccounts "default" is forbidden: {reason}'


async def test_node_gets_no_token_of_a_pod_on_another_node(api: Api) -> None:
    ref = await _pod(api, _projected(AUDIENCE), node="n2")
    assert _message(api, await _request(api, ref, AUDIENCE)) == (
        'serviceaccounts "default" is forbidden: '
        "node requested token bound to a pod scheduled on a different node"
    )


async def test_missing_pod_is_reported_before_a_missing_account(api: Api) -> None:
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "none", "uid": UID}
    found = check_refused(await _request(api, ref, AUDIENCE, account="missing"), 404, "NotFound")
    assert found["message"] == 'pod "none" not found'
    assert found["details"] == {"name": "none", "kind": "pod"}

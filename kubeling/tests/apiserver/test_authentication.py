"""Authentication with certificates, static tokens and account tokens, and when tokens become invalid."""

import asyncio
import time
from typing import Any

import pytest

from kubeling.service_account.claims import ObjectRef, make_claims
from kubeling.service_account.signer import RsaSigner

WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


async def whoami(live: Any, token: str | None) -> Any:
    response = await live.call("POST", WHO, {}, token=token)
    return response.body["status"]["userInfo"] if response.status == 201 else response.status


async def create_default_token(live: Any, **spec: Any) -> str:
    response = await live.call("POST", f"{ACCOUNT}/token", {"spec": spec})
    assert response.status == 201, response.text
    return str(response.body["status"]["token"])


async def create_pod_token(live: Any) -> str:
    made = await live.call("POST", "/api/v1/namespaces/default/pods", POD)
    uid = made.body["metadata"]["uid"]
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}
    return await create_default_token(live, boundObjectRef=ref)


def forge_token(live: Any, signer: RsaSigner, **changes: Any) -> str:
    account = live.cluster.store.get(_kind("ServiceAccount"), "default", "default")
    claims: dict[str, Any] = {
        "issuer": live.config.issuer,
        "namespace": "default",
        "account": ObjectRef(name="default", uid=account["metadata"]["uid"]),
        "audiences": live.config.audiences,
        "seconds": 600,
        "now": time.time(),
        "jti": "7d5f5b5e-0000-4000-8000-000000000000",
    }
    return signer.sign(make_claims(**(claims | changes)))


def _kind(name: str) -> Any:
    from kubeling.apiserver.kinds import kind_by_name

    return kind_by_name(name)


async def test_account_token_gives_the_account(live: Any) -> None:
    user = await whoami(live, await create_default_token(live))
    assert user["username"] == "system:serviceaccount:default:default"
    assert user["groups"] == [
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated",
    ]
    assert user["extra"]["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")


async def test_pod_bound_token_gives_the_pod(live: Any) -> None:
    extra = (await whoami(live, await create_pod_token(live)))["extra"]
    assert extra["authentication.kubernetes.io/pod-name"] == ["p"]
    assert len(extra["authentication.kubernetes.io/pod-uid"]) == 1


async def test_token_is_invalid_after_its_pod_is_deleted(live: Any) -> None:
    """Fails if bound objects are not read: a stolen token would stay valid after its pod is deleted."""
    token = await create_pod_token(live)
    assert await whoami(live, token) != 401
    await live.call("DELETE", "/api/v1/namespaces/default/pods/p")
    assert await whoami(live, token) == 401


async def test_token_is_invalid_for_a_new_pod_of_the_same_name(live: Any) -> None:
    """Fails if only the pod's name is compared."""
    token = await create_pod_token(live)
    await live.call("DELETE", "/api/v1/namespaces/default/pods/p")
    await live.call("POST", "/api/v1/namespaces/default/pods", POD)
    assert await whoami(live, token) == 401


async def test_token_becomes_invalid_when_its_account_is_deleted(live: Any) -> None:
    """Fails if the account's uid is not compared: a controller recreates the default account."""
    token = await create_default_token(live)
    await live.call("DELETE", ACCOUNT)
    for _ in range(50):
        if (await live.call("GET", ACCOUNT)).status == 200:
            break
        await asyncio.sleep(0.05)
    assert await whoami(live, token) == 401


async def test_token_for_another_audience_is_refused(live: Any) -> None:
    """Fails if the audience is not checked: a token for Entra would authenticate at the cluster."""
    token = await create_default_token(live, audiences=["api://AzureADTokenExchange"])
    assert await whoami(live, token) == 401


async def test_token_is_refused_at_its_expiry(serve: Any, signer: RsaSigner) -> None:
    now = [time.time()]
    live = await serve(clock=lambda: now[0])
    token = forge_token(live, signer, now=now[0])
    now[0] = int(now[0]) + 599
    assert await whoami(live, token) != 401
    now[0] += 1
    assert await whoami(live, token) == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://other.example/"},
        {"account": ObjectRef(name="default", uid="0")},
        {"account": ObjectRef(name="nobody", uid="0")},
        {"namespace": "nowhere"},
        {"pod": ObjectRef(name="never", uid="0")},
        {"now": time.time() + 3600},
    ],
    ids=["issuer", "account uid", "account", "namespace", "pod", "not yet valid"],
)
async def test_signed_token_with_other_claims_is_refused(
    live: Any, signer: RsaSigner, changes: dict[str, Any]
) -> None:
    assert await whoami(live, forge_token(live, signer, **changes)) == 401


async def test_token_signed_with_an_unknown_key_is_refused(live: Any) -> None:
    """Fails if signatures are not checked."""
    assert await whoami(live, forge_token(live, RsaSigner())) == 401


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "e30.e30.", "admin-toke", "x" * 20000])
async def test_invalid_token_is_refused_on_public_paths_too(live: Any, token: str) -> None:
    response = await live.call("GET", "/version", token=token)
    assert (response.status, response.body["reason"]) == (401, "Unauthorized")
    assert (await live.call("GET", "/version", token=None)).status == 200


async def test_token_review_returns_user_and_audiences(live: Any) -> None:
    token = await create_default_token(live, audiences=["a", "b"])
    review = {"spec": {"token": token, "audiences": ["b", "c"]}}
    response = await live.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
    status = response.body["status"]
    assert status["authenticated"] is True
    assert status["audiences"] == ["b"]
    assert status["user"]["username"] == "system:serviceaccount:default:default"


async def test_token_is_invalid_one_minute_after_the_grace_period_of_its_pod(
    serve: Any, signer: RsaSigner
) -> None:
    """Fails if tokens are valid until the pod is removed: a failed kubelet never removes it."""
    now = [float(int(time.time()))]
    live = await serve(clock=lambda: now[0])
    pods = "/api/v1/namespaces/default/pods"
    await live.call("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "n"}
    made = await live.call("POST", pods, {"metadata": {"name": "p"}, "spec": spec})
    uid = made.body["metadata"]["uid"]
    token = forge_token(live, signer, now=now[0], pod=ObjectRef(name="p", uid=uid))
    gone = await live.call("DELETE", f"{pods}/p?gracePeriodSeconds=30")
    assert gone.body["metadata"]["deletionGracePeriodSeconds"] == 30
    now[0] += 30 + 60
    assert await whoami(live, token) != 401
    now[0] += 1
    assert await whoami(live, token) == 401
    assert (await live.call("GET", f"{pods}/p")).status == 200

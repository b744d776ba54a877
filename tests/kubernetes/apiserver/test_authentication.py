"""Authentication with certificates, static tokens and account tokens, and when tokens become invalid."""

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from podpass.assertion.keys import KeyRing
from podpass.kubernetes.service_account.claims import ObjectRef, make_claims

WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


async def who(live: Any, token: str | None) -> Any:
    answer = await live.call("POST", WHO, {}, token=token)
    return answer.body["status"]["userInfo"] if answer.status == 201 else answer.status


async def token_of_default(live: Any, **spec: Any) -> str:
    answer = await live.call("POST", f"{ACCOUNT}/token", {"spec": spec})
    assert answer.status == 201, answer.text
    return str(answer.body["status"]["token"])


async def pod_token(live: Any) -> str:
    made = await live.call("POST", "/api/v1/namespaces/default/pods", POD)
    uid = made.body["metadata"]["uid"]
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}
    return await token_of_default(live, boundObjectRef=ref)


def forged(live: Any, ring: KeyRing, **changes: Any) -> str:
    account = live.cluster.store.get(_kind("ServiceAccount"), "default", "default")
    given: dict[str, Any] = {
        "issuer": live.config.issuer,
        "namespace": "default",
        "account": ObjectRef(name="default", uid=account["metadata"]["uid"]),
        "audiences": live.config.audiences,
        "seconds": 600,
        "now": time.time(),
        "jti": "7d5f5b5e-0000-4000-8000-000000000000",
    }
    return ring.sign(make_claims(**(given | changes)))


def _kind(name: str) -> Any:
    from podpass.kubernetes.apiserver.kinds import kind_by_name

    return kind_by_name(name)


async def test_client_certificate_gives_user_and_groups(live: Any, tmp_path: Path) -> None:
    leaf = live.ca.issue_cert(common_name="podpass-admin", organization_name="system:masters")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    context = ssl.create_default_context(cafile=str(live.ca_file))
    context.load_cert_chain(str(tmp_path / "client.pem"))
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.post(live.server + WHO, json={}) as answer,
    ):
        assert answer.status == 201
        user = (await answer.json())["status"]["userInfo"]
    await asyncio.sleep(0)
    assert user == {
        "username": "podpass-admin",
        "groups": ["system:masters", "system:authenticated"],
    }


async def test_account_token_gives_the_account(live: Any) -> None:
    user = await who(live, await token_of_default(live))
    assert user["username"] == "system:serviceaccount:default:default"
    assert user["groups"] == [
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated",
    ]
    assert user["extra"]["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")


async def test_pod_bound_token_gives_the_pod(live: Any) -> None:
    extra = (await who(live, await pod_token(live)))["extra"]
    assert extra["authentication.kubernetes.io/pod-name"] == ["p"]
    assert len(extra["authentication.kubernetes.io/pod-uid"]) == 1


async def test_token_is_invalid_after_its_pod_is_deleted(live: Any) -> None:
    """Fails if bound objects are not read: a stolen token would stay valid after its pod is deleted."""
    token = await pod_token(live)
    assert await who(live, token) != 401
    await live.call("DELETE", "/api/v1/namespaces/default/pods/p")
    assert await who(live, token) == 401


async def test_token_is_invalid_for_a_new_pod_of_the_same_name(live: Any) -> None:
    """Fails if only the pod's name is compared."""
    token = await pod_token(live)
    await live.call("DELETE", "/api/v1/namespaces/default/pods/p")
    await live.call("POST", "/api/v1/namespaces/default/pods", POD)
    assert await who(live, token) == 401


async def test_token_becomes_invalid_when_its_account_is_deleted(live: Any) -> None:
    """Fails if the account's uid is not compared: a controller recreates the default account."""
    token = await token_of_default(live)
    await live.call("DELETE", ACCOUNT)
    for _ in range(50):
        if (await live.call("GET", ACCOUNT)).status == 200:
            break
        await asyncio.sleep(0.05)
    assert await who(live, token) == 401


async def test_token_for_another_audience_is_refused(live: Any) -> None:
    """Fails if the audience is not checked: a token for Entra would authenticate at the cluster."""
    token = await token_of_default(live, audiences=["api://AzureADTokenExchange"])
    assert await who(live, token) == 401


async def test_token_is_refused_at_its_expiry(serve: Any, ring: KeyRing) -> None:
    now = [time.time()]
    live = await serve(clock=lambda: now[0])
    token = forged(live, ring, now=now[0])
    now[0] = int(now[0]) + 599
    assert await who(live, token) != 401
    now[0] += 1
    assert await who(live, token) == 401


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
    live: Any, ring: KeyRing, changes: dict[str, Any]
) -> None:
    assert await who(live, forged(live, ring, **changes)) == 401


async def test_token_of_a_withdrawn_key_is_refused(serve: Any, tmp_path: Path) -> None:
    """Fails if a withdrawn key still verifies tokens."""
    ring = KeyRing.open(tmp_path / "keys")
    live = await serve(signer=ring)
    token, old = forged(live, ring), ring.active.kid
    ring.rotate()
    assert await who(live, token) != 401
    ring.retire(old)
    assert await who(live, token) == 401


async def test_token_signed_with_an_unknown_key_is_refused(live: Any, tmp_path: Path) -> None:
    """Fails if signatures are not checked."""
    stranger = KeyRing.open(tmp_path / "stranger")
    assert await who(live, forged(live, stranger)) == 401


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "e30.e30.", "admin-toke", "x" * 20000])
async def test_invalid_token_is_refused_on_public_paths_too(live: Any, token: str) -> None:
    answer = await live.call("GET", "/version", token=token)
    assert (answer.status, answer.body["reason"]) == (401, "Unauthorized")
    assert (await live.call("GET", "/version", token=None)).status == 200


async def test_token_review_returns_user_and_audiences(live: Any) -> None:
    token = await token_of_default(live, audiences=["a", "b"])
    review = {"spec": {"token": token, "audiences": ["b", "c"]}}
    answer = await live.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
    status = answer.body["status"]
    assert status["authenticated"] is True
    assert status["audiences"] == ["b"]
    assert status["user"]["username"] == "system:serviceaccount:default:default"


async def test_token_is_invalid_one_minute_after_the_grace_period_of_its_pod(
    serve: Any, ring: KeyRing
) -> None:
    """Fails if tokens are valid until the pod is removed: a failed kubelet never removes it."""
    now = [float(int(time.time()))]
    live = await serve(clock=lambda: now[0])
    pods = "/api/v1/namespaces/default/pods"
    await live.call("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "n"}
    made = await live.call("POST", pods, {"metadata": {"name": "p"}, "spec": spec})
    uid = made.body["metadata"]["uid"]
    token = forged(live, ring, now=now[0], pod=ObjectRef(name="p", uid=uid))
    gone = await live.call("DELETE", f"{pods}/p?gracePeriodSeconds=30")
    assert gone.body["metadata"]["deletionGracePeriodSeconds"] == 30
    now[0] += 30 + 60
    assert await who(live, token) != 401
    now[0] += 1
    assert await who(live, token) == 401
    assert (await live.call("GET", f"{pods}/p")).status == 200

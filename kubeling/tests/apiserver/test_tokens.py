"""The `serviceaccounts/token` subresource: claims, lifetimes and log entries."""

import logging
from typing import Any

import pytest

from kubeling.secret import fingerprint
from tests import tokens

TOKEN = "/api/v1/namespaces/default/serviceaccounts/web/token"
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
async def web(live: Any) -> Any:
    """Return a cluster with the account `web`."""
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    await live.call("POST", accounts, {"metadata": {"name": "web"}})
    return live


async def request_token(live: Any, **spec: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    answer = await live.call("POST", TOKEN, {"spec": spec})
    assert answer.status == 201, answer.text
    return answer.body, dict(tokens.parse(answer.body["status"]["token"]).claims)


async def bound_pod(live: Any, node: str = "") -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "i"}], "serviceAccountName": "web"}
    if node:
        await live.call("POST", "/api/v1/nodes", {"metadata": {"name": node}})
        spec["nodeName"] = node
    made = await live.call("POST", PODS, {"metadata": {"name": "p"}, "spec": spec})
    uid = made.body["metadata"]["uid"]
    return {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}


async def test_pod_bound_token_names_pod_and_node(web: Any) -> None:
    ref = await bound_pod(web, "n")
    _, claims = await request_token(
        web, audiences=["api://AzureADTokenExchange"], boundObjectRef=ref
    )
    output = claims["kubernetes.io"]
    assert output["pod"] == {"name": "p", "uid": ref["uid"]}
    assert output["node"]["name"] == "n"
    assert output["serviceaccount"]["name"] == "web"
    assert claims["sub"] == "system:serviceaccount:default:web"
    assert claims["iss"] == web.config.issuer


async def test_default_projected_token_is_valid_for_a_year_and_warns_after_an_hour(
    web: Any,
) -> None:
    body, claims = await request_token(
        web, expirationSeconds=3607, boundObjectRef=await bound_pod(web)
    )
    assert claims["exp"] - claims["iat"] == 365 * 24 * 3600
    assert claims["kubernetes.io"]["warnafter"] - claims["iat"] == 3607
    assert body["spec"]["expirationSeconds"] == 3607


async def test_token_for_entra_is_not_extended(web: Any) -> None:
    """Fails if tokens for other audiences are extended too."""
    ref = await bound_pod(web)
    _, claims = await request_token(
        web, audiences=["x"], expirationSeconds=3607, boundObjectRef=ref
    )
    assert claims["exp"] - claims["iat"] == 3607
    assert "warnafter" not in claims["kubernetes.io"]


async def test_token_can_be_bound_only_to_pods_secrets_and_nodes(web: Any) -> None:
    for ref in (
        {"kind": "ConfigMap", "name": "kube-root-ca.crt"},
        {"kind": "Pod", "apiVersion": "v2"},
    ):
        answer = await web.call("POST", TOKEN, {"spec": {"boundObjectRef": ref}})
        assert (answer.status, answer.body["reason"]) == (400, "BadRequest")


async def test_signing_is_logged_without_the_token(
    web: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails if the log contains a token."""
    logging.getLogger("kubeling").propagate = True
    ref = await bound_pod(web)
    with caplog.at_level(logging.DEBUG, "kubeling"):
        body, _ = await request_token(
            web, audiences=["api://AzureADTokenExchange"], boundObjectRef=ref
        )
    (hop,) = [vars(record) for record in caplog.records if record.msg.startswith("token_")]
    assert (hop["pod"], hop["namespace"], hop["account"]) == ("p", "default", "web")
    assert hop["sub"] == "system:serviceaccount:default:web"
    assert hop["audience"] == "api://AzureADTokenExchange"
    assert "its account" in hop["checked"]
    assert hop["took_ms"] >= 0
    token = body["status"]["token"]
    assert not [record for record in caplog.records if token[:40] in str(vars(record))]


ALWAYS = ["account exists", "lifetime"]


@pytest.mark.parametrize(
    ("given", "checked"),
    [
        (None, []),
        (("Pod", True), ["bound object exists", "its uid", "its account"]),
        (("Pod", False), ["bound object exists", "its account"]),
        (("Secret", True), ["bound object exists", "its uid"]),
        (("Secret", False), ["bound object exists"]),
        (("Node", False), ["bound object exists"]),
    ],
)
async def test_log_names_only_checks_that_were_made(
    web: Any, caplog: pytest.LogCaptureFixture, given: tuple[str, bool] | None, checked: list[str]
) -> None:
    """Fails if the log names a check that was not made."""
    logging.getLogger("kubeling").propagate = True
    await bound_pod(web, "n")
    secrets = "/api/v1/namespaces/default/secrets"
    await web.call("POST", secrets, {"metadata": {"name": "s"}})
    places = {"Pod": f"{PODS}/p", "Secret": f"{secrets}/s", "Node": "/api/v1/nodes/n"}
    spec: dict[str, Any] = {"audiences": ["x"]}
    if given:
        meta = (await web.call("GET", places[given[0]])).body["metadata"]
        uid = {"uid": meta["uid"]} if given[1] else {}
        ref = {"kind": given[0], "apiVersion": "v1", "name": meta["name"], **uid}
        spec["boundObjectRef"] = ref
    with caplog.at_level(logging.DEBUG, "kubeling"):
        await request_token(web, **spec)
    (hop,) = [vars(record) for record in caplog.records if record.msg.startswith("token_")]
    assert list(hop["checked"]) == ALWAYS + checked


async def test_token_is_not_bound_to_a_pod_of_another_account(web: Any) -> None:
    """Fails if the pod's account is not compared: a token could name a pod of another account."""
    ref = await bound_pod(web)
    path = TOKEN.replace("/web/", "/default/")
    answer = await web.call("POST", path, {"spec": {"boundObjectRef": ref}})
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")
    assert "different serviceaccount" in answer.body["message"]


async def test_requested_lifetime_is_limited_to_one_day(web: Any) -> None:
    """Fails if the lifetime is not limited: a token could be valid longer than a key rotation takes."""
    day = 24 * 3600
    answer = await web.call("POST", TOKEN, {"spec": {"expirationSeconds": day + 1}})
    claims = tokens.parse(answer.body["status"]["token"]).claims
    assert answer.body["spec"]["expirationSeconds"] == claims["exp"] - claims["iat"] == day
    (warning,) = answer.warnings
    assert f"{day + 1} seconds shortened to {day} seconds" in warning
    exact = await web.call("POST", TOKEN, {"spec": {"expirationSeconds": day}})
    assert (exact.status, exact.warnings) == (201, [])


async def test_token_and_its_refusal_are_hops_of_the_pod(
    web: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ref = await bound_pod(web)
    answer = await web.call("POST", TOKEN, {"spec": {"audiences": ["a"], "boundObjectRef": ref}})
    wrong = {"audiences": ["a"], "boundObjectRef": ref, "expirationSeconds": 9}
    refused = await web.call("POST", TOKEN, {"spec": wrong})
    assert refused.status == 422
    signed, hop = [vars(each) for each in caplog.records if each.msg.startswith("token_")][-2:]
    token = answer.body["status"]["token"]
    assert signed["token_sha256"] == fingerprint(token)
    assert (signed["pod"], signed["uid"], signed["outcome"]) == ("p", ref["uid"], "signed")
    assert (hop["pod"], hop["uid"], hop["outcome"]) == ("p", ref["uid"], "refused")
    assert hop["code"] == "Invalid"
    assert "less than 10 minutes" in hop["cause"]
    assert token not in caplog.text + str([vars(each) for each in caplog.records])

"""`serviceaccounts/token`: what is signed, for how long, and what the log tells of it."""

import logging
from typing import Any

import pytest

from podpass import jose

TOKEN = "/api/v1/namespaces/default/serviceaccounts/web/token"
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
async def web(live: Any) -> Any:
    """A cluster with the account `web`."""
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    await live.call("POST", accounts, {"metadata": {"name": "web"}})
    return live


async def ask(live: Any, **spec: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    answer = await live.call("POST", TOKEN, {"spec": spec})
    assert answer.status == 201, answer.text
    return answer.body, dict(jose.parse(answer.body["status"]["token"]).claims)


async def bound_pod(live: Any, node: str = "") -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "i"}], "serviceAccountName": "web"}
    if node:
        await live.call("POST", "/api/v1/nodes", {"metadata": {"name": node}})
        spec["nodeName"] = node
    made = await live.call("POST", PODS, {"metadata": {"name": "p"}, "spec": spec})
    uid = made.body["metadata"]["uid"]
    return {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}


async def test_a_pods_token_names_its_pod_and_its_node(web: Any) -> None:
    ref = await bound_pod(web, "n")
    _, claims = await ask(web, audiences=["api://AzureADTokenExchange"], boundObjectRef=ref)
    told = claims["kubernetes.io"]
    assert told["pod"] == {"name": "p", "uid": ref["uid"]}
    assert told["node"]["name"] == "n"
    assert told["serviceaccount"]["name"] == "web"
    assert claims["sub"] == "system:serviceaccount:default:web"
    assert claims["iss"] == web.config.issuer


async def test_the_default_projected_token_lives_a_year_and_warns_after_an_hour(web: Any) -> None:
    body, claims = await ask(web, expirationSeconds=3607, boundObjectRef=await bound_pod(web))
    assert claims["exp"] - claims["iat"] == 365 * 24 * 3600
    assert claims["kubernetes.io"]["warnafter"] - claims["iat"] == 3607
    assert body["spec"]["expirationSeconds"] == 3607


async def test_a_token_for_entra_is_never_longer_than_asked(web: Any) -> None:
    """Fails if the extension of the default token reaches tokens of other audiences."""
    ref = await bound_pod(web)
    _, claims = await ask(web, audiences=["x"], expirationSeconds=3607, boundObjectRef=ref)
    assert claims["exp"] - claims["iat"] == 3607
    assert "warnafter" not in claims["kubernetes.io"]


async def test_only_pods_secrets_and_nodes_can_be_bound_to(web: Any) -> None:
    for ref in (
        {"kind": "ConfigMap", "name": "kube-root-ca.crt"},
        {"kind": "Pod", "apiVersion": "v2"},
    ):
        answer = await web.call("POST", TOKEN, {"spec": {"boundObjectRef": ref}})
        assert (answer.status, answer.body["reason"]) == (400, "BadRequest")


async def test_signing_is_a_hop_of_the_journey_and_shows_no_token(
    web: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails if a token gets into the log."""
    logging.getLogger("podpass").propagate = True
    ref = await bound_pod(web)
    with caplog.at_level(logging.DEBUG, "podpass"):
        body, _ = await ask(web, audiences=["api://AzureADTokenExchange"], boundObjectRef=ref)
    (hop,) = [vars(record) for record in caplog.records if getattr(record, "hop", False)]
    assert hop["stage"] == "assertion"
    assert (hop["pod"], hop["namespace"], hop["account"]) == ("p", "default", "web")
    assert hop["sub"] == "system:serviceaccount:default:web"
    assert hop["audience"] == "api://AzureADTokenExchange"
    assert "its account" in hop["checked"]
    assert hop["took_ms"] >= 0
    token = body["status"]["token"]
    assert not [record for record in caplog.records if token[:40] in str(vars(record))]

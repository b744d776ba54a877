"""Validating webhooks: called concurrently after mutating webhooks, with the object to be stored."""

import asyncio
from typing import Any

import pytest

from tests.apiserver.webhook_server import LABELLED, PODS, annotate, patch, pod

GROUP = "/apis/admissionregistration.k8s.io/v1"
DENIED = {"allowed": False, "status": {"message": "not here"}}


async def configure(live: Any, kind: str, *specs: Any, name: str = "v") -> None:
    body = {"metadata": {"name": name}, "webhooks": list(specs)}
    made = await live.call("POST", f"{GROUP}/{kind}webhookconfigurations", body)
    assert made.status == 201, made.text


async def test_validating_webhook_gets_the_mutated_object(live: Any, hook: Any) -> None:
    mutating, validating = await hook(patch(annotate("by", "m"))), await hook()
    await configure(live, "mutating", mutating.spec())
    await configure(live, "validating", validating.spec())
    made = await live.call("POST", PODS, pod())
    assert made.status == 201
    (asked,) = validating.requests
    assert asked["object"]["metadata"]["annotations"] == {"by": "m"}
    assert asked["object"]["metadata"]["uid"] == made.body["metadata"]["uid"]
    assert (asked["operation"], asked["name"], asked["oldObject"]) == ("CREATE", "p", None)


async def test_validating_webhook_gets_the_generated_name(live: Any, hook: Any) -> None:
    validating = await hook()
    await configure(live, "validating", validating.spec())
    body = pod(generateName="g-")
    del body["metadata"]["name"]
    made = await live.call("POST", PODS, body)
    assert validating.requests[0]["name"] == made.body["metadata"]["name"]


async def test_denied_object_is_refused_and_not_stored(live: Any, hook: Any) -> None:
    validating = await hook(DENIED)
    await configure(live, "validating", validating.spec())
    refused = await live.call("POST", PODS, pod())
    assert refused.status == 400
    assert refused.body["message"] == (
        'admission webhook "h.example.com" denied the request: not here'
    )
    assert (await live.call("GET", f"{PODS}/p")).status == 404


async def test_patch_of_a_validating_webhook_refuses_the_request(live: Any, hook: Any) -> None:
    validating = await hook(patch(annotate("by", "v")))
    await configure(live, "validating", validating.spec())
    made = await live.call("POST", PODS, pod())
    assert made.status == 500
    assert "a validating webhook must not return a patch" in made.body["message"]


async def test_validating_webhooks_are_called_concurrently_and_their_warnings_are_sent(
    live: Any, hook: Any
) -> None:
    """Fails if the calls are not concurrent: each webhook responds only after both were called."""
    both = asyncio.Barrier(2)
    hooks = []
    for number in range(2):
        one = await hook({"allowed": True, "warnings": [f"warned by {number}"]})
        one.barrier = both
        hooks.append(one)
    await configure(live, "validating", *(h.spec(f"h{n}.example.com") for n, h in enumerate(hooks)))
    made = await live.call("POST", PODS, pod())
    assert made.status == 201, made.text
    assert sorted(made.warnings) == ['299 - "warned by 0"', '299 - "warned by 1"']


async def test_first_denial_in_order_is_returned(live: Any, hook: Any) -> None:
    slow, quick = await hook(DENIED), await hook({"allowed": False})
    slow.seconds = 0.3
    specs = [slow.spec("a.example.com"), quick.spec("b.example.com")]
    await configure(live, "validating", *specs)
    refused = await live.call("POST", PODS, pod())
    assert 'webhook "a.example.com"' in refused.body["message"]
    assert (len(slow.requests), len(quick.requests)) == (1, 1)


@pytest.mark.parametrize(("policy", "status"), [("Fail", 500), ("Ignore", 201)])
async def test_failing_webhook_refuses_unless_its_policy_is_ignore(
    live: Any, hook: Any, policy: str, status: int
) -> None:
    validating = await hook()
    validating.status = 503
    await configure(live, "validating", validating.spec(failurePolicy=policy))
    assert (await live.call("POST", PODS, pod())).status == status


async def test_validating_webhook_gets_updates_and_deletions(live: Any, hook: Any) -> None:
    validating = await hook()
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["UPDATE", "DELETE"],
        "resources": ["pods"],
    }
    await configure(live, "validating", validating.spec(rules=[rule]))
    await live.call("POST", PODS, pod())
    merge = "application/merge-patch+json"
    change = {"metadata": {"annotations": {"a": "b"}}}
    await live.call("PATCH", f"{PODS}/p", change, content_type=merge)
    validating.response = DENIED
    assert (await live.call("DELETE", f"{PODS}/p")).status == 400
    update, delete = validating.requests
    assert update["oldObject"]["metadata"].get("annotations") is None
    assert update["object"]["metadata"]["annotations"] == {"a": "b"}
    assert (delete["operation"], delete["object"]) == ("DELETE", None)
    assert delete["oldObject"]["metadata"]["name"] == "p"
    assert (await live.call("GET", f"{PODS}/p")).status == 200


async def test_dry_run_is_validated_by_webhooks_and_an_invalid_object_is_not(
    live: Any, hook: Any
) -> None:
    validating = await hook()
    await configure(live, "validating", validating.spec())
    assert (await live.call("POST", f"{PODS}?dryRun=All", pod())).status == 201
    assert validating.requests[0]["dryRun"] is True
    wrong = {"metadata": {"name": "w", "labels": LABELLED}, "spec": {"containers": []}}
    assert (await live.call("POST", PODS, wrong)).status == 422
    assert len(validating.requests) == 1


async def test_webhook_configurations_are_not_sent_to_webhooks(live: Any, hook: Any) -> None:
    """Fails if a webhook can refuse a change of its own configuration."""
    validating = await hook(DENIED)
    everything = {
        "apiGroups": ["*"],
        "apiVersions": ["*"],
        "operations": ["*"],
        "resources": ["*/*"],
    }
    await configure(live, "validating", validating.spec(rules=[everything], objectSelector={}))
    gone = await live.call("DELETE", f"{GROUP}/validatingwebhookconfigurations/v")
    assert gone.status == 200


async def test_webhook_gets_a_scale_for_the_scale_subresource(live: Any, hook: Any) -> None:
    validating = await hook(DENIED)
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["deployments/scale"],
    }
    await configure(live, "validating", validating.spec(rules=[rule], objectSelector={}))
    path = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"app": "d"}}, "spec": pod()["spec"]}
    selector = {"matchLabels": {"app": "d"}}
    spec = {"replicas": 0, "selector": selector, "template": template}
    await live.call("POST", path, {"metadata": {"name": "d"}, "spec": spec})
    merge = "application/merge-patch+json"
    scaled = {"spec": {"replicas": 3}}
    refused = await live.call("PATCH", f"{path}/d/scale", scaled, content_type=merge)
    assert refused.status == 400
    (asked,) = validating.requests
    assert asked["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert (asked["subResource"], asked["object"]["spec"]) == ("scale", {"replicas": 3})
    assert (await live.call("GET", f"{path}/d")).body["spec"]["replicas"] == 0

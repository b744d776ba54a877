"""Webhooks that only judge: asked after those that change, all at once, about what would be stored."""

import asyncio
from typing import Any

import pytest

from tests.kubernetes.apiserver.hooks import LABELLED, PODS, annotate, patch, pod

GROUP = "/apis/admissionregistration.k8s.io/v1"
DENIED = {"allowed": False, "status": {"message": "not here"}}


async def configure(live: Any, kind: str, *specs: Any, name: str = "v") -> None:
    body = {"metadata": {"name": name}, "webhooks": list(specs)}
    made = await live.call("POST", f"{GROUP}/{kind}webhookconfigurations", body)
    assert made.status == 201, made.text


async def test_they_judge_what_the_others_have_made(live: Any, hook: Any) -> None:
    changes, judges = await hook(patch(annotate("by", "m"))), await hook()
    await configure(live, "mutating", changes.spec())
    await configure(live, "validating", judges.spec())
    made = await live.call("POST", PODS, pod())
    assert made.status == 201
    (asked,) = judges.asked
    assert asked["object"]["metadata"]["annotations"] == {"by": "m"}
    assert asked["object"]["metadata"]["uid"] == made.body["metadata"]["uid"]
    assert (asked["operation"], asked["name"], asked["oldObject"]) == ("CREATE", "p", None)


async def test_a_generated_name_is_known_to_them(live: Any, hook: Any) -> None:
    judges = await hook()
    await configure(live, "validating", judges.spec())
    body = pod(generateName="g-")
    del body["metadata"]["name"]
    made = await live.call("POST", PODS, body)
    assert judges.asked[0]["name"] == made.body["metadata"]["name"]


async def test_one_that_denies_refuses_and_nothing_is_stored(live: Any, hook: Any) -> None:
    judges = await hook(DENIED)
    await configure(live, "validating", judges.spec())
    refused = await live.call("POST", PODS, pod())
    assert refused.status == 400
    assert refused.body["message"] == (
        'admission webhook "h.example.com" denied the request: not here'
    )
    assert (await live.call("GET", f"{PODS}/p")).status == 404


async def test_what_they_patch_is_not_believed(live: Any, hook: Any) -> None:
    judges = await hook(patch(annotate("by", "v")))
    await configure(live, "validating", judges.spec())
    made = await live.call("POST", PODS, pod())
    assert "annotations" not in made.body["metadata"]


async def test_all_are_asked_at_once_and_warn(live: Any, hook: Any) -> None:
    """Fails if one waited for the other: each answers only when both were asked."""
    both = asyncio.Barrier(2)
    hooks = []
    for number in range(2):
        one = await hook({"allowed": True, "warnings": [f"warned by {number}"]})
        one.both = both
        hooks.append(one)
    await configure(live, "validating", *(h.spec(f"h{n}.example.com") for n, h in enumerate(hooks)))
    made = await live.call("POST", PODS, pod())
    assert made.status == 201, made.text
    assert sorted(made.warnings) == ['299 - "warned by 0"', '299 - "warned by 1"']


async def test_the_first_refusal_in_their_order_is_told(live: Any, hook: Any) -> None:
    slow, quick = await hook(DENIED), await hook({"allowed": False})
    slow.seconds = 0.3
    specs = [slow.spec("a.example.com"), quick.spec("b.example.com")]
    await configure(live, "validating", *specs)
    refused = await live.call("POST", PODS, pod())
    assert 'webhook "a.example.com"' in refused.body["message"]
    assert (len(slow.asked), len(quick.asked)) == (1, 1)


@pytest.mark.parametrize(("policy", "status"), [("Fail", 500), ("Ignore", 201)])
async def test_one_that_fails_refuses_or_is_passed_over(
    live: Any, hook: Any, policy: str, status: int
) -> None:
    judges = await hook()
    judges.status = 503
    await configure(live, "validating", judges.spec(failurePolicy=policy))
    assert (await live.call("POST", PODS, pod())).status == status


async def test_they_see_changes_and_deletions(live: Any, hook: Any) -> None:
    judges = await hook()
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["UPDATE", "DELETE"],
        "resources": ["pods"],
    }
    await configure(live, "validating", judges.spec(rules=[rule]))
    await live.call("POST", PODS, pod())
    merge = "application/merge-patch+json"
    change = {"metadata": {"annotations": {"a": "b"}}}
    await live.call("PATCH", f"{PODS}/p", change, content_type=merge)
    judges.answer = DENIED
    assert (await live.call("DELETE", f"{PODS}/p")).status == 400
    update, delete = judges.asked
    assert update["oldObject"]["metadata"].get("annotations") is None
    assert update["object"]["metadata"]["annotations"] == {"a": "b"}
    assert (delete["operation"], delete["object"]) == ("DELETE", None)
    assert delete["oldObject"]["metadata"]["name"] == "p"
    assert (await live.call("GET", f"{PODS}/p")).status == 200


async def test_a_dry_run_is_judged_and_a_wrong_object_is_not(live: Any, hook: Any) -> None:
    judges = await hook()
    await configure(live, "validating", judges.spec())
    assert (await live.call("POST", f"{PODS}?dryRun=All", pod())).status == 201
    assert judges.asked[0]["dryRun"] is True
    wrong = {"metadata": {"name": "w", "labels": LABELLED}, "spec": {"containers": []}}
    assert (await live.call("POST", PODS, wrong)).status == 422
    assert len(judges.asked) == 1


async def test_configurations_themselves_are_judged_by_nobody(live: Any, hook: Any) -> None:
    """A webhook could otherwise make the configuration that calls it unchangeable."""
    judges = await hook(DENIED)
    everything = {
        "apiGroups": ["*"],
        "apiVersions": ["*"],
        "operations": ["*"],
        "resources": ["*/*"],
    }
    await configure(live, "validating", judges.spec(rules=[everything], objectSelector={}))
    gone = await live.call("DELETE", f"{GROUP}/validatingwebhookconfigurations/v")
    assert gone.status == 200


async def test_the_scale_of_a_workload_is_shown_as_a_scale(live: Any, hook: Any) -> None:
    judges = await hook(DENIED)
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["deployments/scale"],
    }
    await configure(live, "validating", judges.spec(rules=[rule], objectSelector={}))
    path = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"app": "d"}}, "spec": pod()["spec"]}
    selector = {"matchLabels": {"app": "d"}}
    spec = {"replicas": 0, "selector": selector, "template": template}
    await live.call("POST", path, {"metadata": {"name": "d"}, "spec": spec})
    merge = "application/merge-patch+json"
    scaled = {"spec": {"replicas": 3}}
    refused = await live.call("PATCH", f"{path}/d/scale", scaled, content_type=merge)
    assert refused.status == 400
    (asked,) = judges.asked
    assert asked["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert (asked["subResource"], asked["object"]["spec"]) == ("scale", {"replicas": 3})
    assert (await live.call("GET", f"{path}/d")).body["spec"]["replicas"] == 0

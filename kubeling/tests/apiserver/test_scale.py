"""The scale subresource of workloads."""

from typing import Any

import pytest

PATH = "/apis/apps/v1/namespaces/default/deployments"
SCALE = f"{PATH}/d/scale"
MERGE = "application/merge-patch+json"


@pytest.fixture
async def scaled(live: Any) -> Any:
    container = {"name": "c", "image": "i"}
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [container]}}
    expression = {"key": "app", "operator": "In", "values": ["d", "e"]}
    selector = {"matchLabels": {"app": "d"}, "matchExpressions": [expression]}
    spec = {"replicas": 0, "paused": True, "selector": selector, "template": template}
    made = await live.call("POST", PATH, {"metadata": {"name": "d"}, "spec": spec})
    assert made.status == 201, made.text
    return live


async def test_scale_has_replicas_and_selector(scaled: Any) -> None:
    found = (await scaled.call("GET", SCALE)).body
    assert (found["kind"], found["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert found["spec"] == {}
    assert found["status"]["selector"] == "app=d,app in (d,e)"


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (MERGE, {"spec": {"replicas": 2}}),
        ("application/strategic-merge-patch+json", {"spec": {"replicas": 2}}),
        (
            "application/json-patch+json",
            [{"op": "add", "path": "/spec/replicas", "value": 2}],
        ),
    ],
)
async def test_patch_scales_and_increments_the_generation(
    scaled: Any, media_type: str, body: Any
) -> None:
    done = await scaled.call("PATCH", SCALE, body, content_type=media_type)
    assert (done.status, done.body["spec"]) == (200, {"replicas": 2})
    workload = (await scaled.call("GET", f"{PATH}/d")).body
    assert (workload["spec"]["replicas"], workload["metadata"]["generation"]) == (2, 2)
    owners = [each for each in workload["metadata"]["managedFields"] if "subresource" in each]
    assert any(
        each["subresource"] == "scale" and each["fieldsV1"]["f:spec"] == {"f:replicas": {}}
        for each in owners
    )


async def test_apply_owns_the_replicas_and_conflicts_with_another_manager(scaled: Any) -> None:
    body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 3}}
    apply = "application/apply-patch+yaml"
    refused = await scaled.call("PATCH", f"{SCALE}?fieldManager=hpa", body, content_type=apply)
    assert (refused.status, refused.body["reason"]) == (409, "Conflict")
    forced = f"{SCALE}?fieldManager=hpa&force=true"
    done = await scaled.call("PATCH", forced, body, content_type=apply)
    assert (done.status, done.body["spec"]) == (200, {"replicas": 3})
    workload = (await scaled.call("GET", f"{PATH}/d")).body
    assert (workload["spec"]["replicas"], workload["metadata"]["generation"]) == (3, 2)
    (owner,) = (e for e in workload["metadata"]["managedFields"] if e["manager"] == "hpa")
    assert (owner["operation"], owner["subresource"]) == ("Apply", "scale")
    assert owner["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    again = await scaled.call("PATCH", f"{SCALE}?fieldManager=hpa", body, content_type=apply)
    assert (again.status, again.body["spec"]) == (200, {"replicas": 3})


async def test_scale_with_an_old_revision_is_refused(scaled: Any) -> None:
    read = (await scaled.call("GET", SCALE)).body
    await scaled.call("PATCH", SCALE, {"spec": {"replicas": 1}}, content_type=MERGE)
    read["spec"]["replicas"] = 5
    assert (await scaled.call("PUT", SCALE, read)).status == 409
    del read["metadata"]["resourceVersion"]
    done = await scaled.call("PUT", SCALE, read)
    assert (done.status, done.body["spec"]) == (200, {"replicas": 5})


async def test_invalid_number_of_replicas_is_refused(scaled: Any) -> None:
    refused = await scaled.call("PATCH", SCALE, {"spec": {"replicas": -1}}, content_type=MERGE)
    assert (refused.status, refused.body["details"]["kind"]) == (422, "Scale")
    assert refused.body["details"]["causes"][0]["field"] == "spec.replicas"
    wrong = await scaled.call("PATCH", SCALE, {"spec": {"replicas": "x"}}, content_type=MERGE)
    assert (wrong.status, wrong.body["reason"]) == (422, "Invalid")


async def test_dry_run_scales_nothing(scaled: Any) -> None:
    path = f"{SCALE}?dryRun=All"
    done = await scaled.call("PATCH", path, {"spec": {"replicas": 4}}, content_type=MERGE)
    assert done.body["spec"] == {"replicas": 4}
    assert (await scaled.call("GET", SCALE)).body["spec"] == {}


async def test_missing_workload_and_invalid_patch_are_refused(scaled: Any) -> None:
    assert (await scaled.call("GET", f"{PATH}/nope/scale")).status == 404
    body = {"spec": {"replicas": 1}}
    missing = await scaled.call("PATCH", f"{PATH}/nope/scale", body, content_type=MERGE)
    assert missing.status == 404
    assert (await scaled.call("PATCH", SCALE, body, content_type="text/plain")).status == 415
    jobs = "/apis/batch/v1/namespaces/default/jobs/j/scale"
    assert (await scaled.call("GET", jobs)).status == 404

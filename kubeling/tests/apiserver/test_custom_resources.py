"""Custom resources on the embedded API server; what a real one does too is in the contract tests."""

import asyncio
import gc
import json
from collections.abc import Callable
from typing import Any

import pytest

from kubeling.apiserver import schema
from kubeling.apiserver.customresources.served_kinds import version_order
from kubeling.apiserver.validation import openapi_schema
from tests.apiserver.custom_resources import (
    DEFINITIONS,
    GROUP,
    TEXT,
    definition,
    establish,
    new_object,
    objects_path,
    until,
)
from tests.apiserver.kubectl import Kubectl, kubectl
from tests.conftest import Live

__all__ = ["kubectl"]

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
APPLY = "application/apply-patch+yaml"


async def test_objects_are_served_after_a_restart(serve: Callable[..., Any]) -> None:
    live = await serve()
    body = definition()
    path = await establish(live, body)
    assert (await live.call("POST", path, new_object(body, text="x"))).status == 201
    # Another cluster on a copy of the database: the first request must find the kind.
    copy = live.folder / "copy.db"
    live.cluster.store._database.execute(f"VACUUM INTO '{copy}'")
    again = await serve(database=copy)
    reply = await again.call("GET", f"{path}/a")
    assert (reply.status, reply.body["spec"]) == (200, {"text": "x"})


async def test_two_clusters_in_one_process_have_their_own_kinds(serve: Callable[..., Any]) -> None:
    one = await serve()
    two = await serve(database=one.folder / "two.db")
    a, b = definition(value=TEXT), definition(value={"type": "integer"})
    path = await establish(one, a)
    assert (await two.call("GET", path)).status == 404
    await establish(two, b)
    for live, value in ((one, "x"), (two, 1)):
        reply = await live.call(
            "PATCH",
            f"{path}/a?fieldManager=m",
            new_object(a, value=value),
            content_type=APPLY,
        )
        assert reply.status == 201, reply.text
    assert (await one.call("POST", path, new_object(a, "b", value=1))).status == 422


@pytest.mark.parametrize("kind", ["Pod", "Service", "Namespace", "Job", "Role", "Node", "Event"])
async def test_rules_of_a_built_in_kind_do_not_apply_to_a_custom_kind_of_its_name(
    live: Live, kind: str
) -> None:
    body = definition(kind, text=TEXT)
    path = await establish(live, body)
    reply = await live.call("POST", path, new_object(body, text="x"))
    assert (reply.status, reply.body["spec"]) == (201, {"text": "x"}), reply.text
    assert reply.body["metadata"].get("labels") is None
    change = {"spec": {"text": "y"}}
    merge = "application/merge-patch+json"
    changed = await live.call("PATCH", f"{path}/a", change, content_type=merge)
    assert changed.body["spec"] == change["spec"]
    assert (await live.call("DELETE", f"{path}/a")).body["kind"] == "Status"


def owner_of(made: Any) -> dict[str, Any]:
    """Return the reference of a dependent to an object."""
    uid = made["metadata"]["uid"]
    return {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "name": "a", "uid": uid}


async def test_dependent_of_a_custom_resource_is_collected(live: Live) -> None:
    body = definition()
    path = await establish(live, body)
    made = (await live.call("POST", path, new_object(body))).body
    owner = owner_of(made)
    dependent = {"metadata": {"name": "m", "ownerReferences": [owner]}}
    assert (await live.call("POST", CONFIG_MAPS, dependent)).status == 201
    owned = new_object(body, "b") | {"metadata": {"name": "b", "ownerReferences": [owner]}}
    assert (await live.call("POST", path, owned)).status == 201
    await live.call("DELETE", f"{path}/a")
    await until(live, f"{CONFIG_MAPS}/m", 404)
    await until(live, f"{path}/b", 404)


async def test_foreground_deletion_waits_for_custom_dependents(live: Live) -> None:
    body = definition()
    path = await establish(live, body)
    made = (await live.call("POST", path, new_object(body))).body
    owner = owner_of(made) | {"blockOwnerDeletion": True}
    held = {"name": "b", "ownerReferences": [owner], "finalizers": ["example.com/hold"]}
    await live.call("POST", path, new_object(body) | {"metadata": held})
    await live.call("DELETE", f"{path}/a?propagationPolicy=Foreground")
    events = await live.call("GET", f"{path}?watch=true&timeoutSeconds=1")
    assert "deletionTimestamp" in events.text
    assert (await live.call("GET", f"{path}/a")).status == 200
    merge = "application/merge-patch+json"
    await live.call("PATCH", f"{path}/b", {"metadata": {"finalizers": None}}, content_type=merge)
    await until(live, f"{path}/a", 404)


async def test_schema_types_of_a_deleted_definition_are_released(live: Live) -> None:
    def custom_types() -> set[str]:
        gc.collect()
        return {name for name in schema.types() if name.startswith(schema.CUSTOM)}

    before = custom_types()
    body = definition("Gadget")
    path = await establish(live, body)
    await live.call(
        "PATCH", f"{path}/a?fieldManager=m", new_object(body, text="x"), content_type=APPLY
    )
    assert custom_types() - before
    await live.call("DELETE", f"{DEFINITIONS}/{body['metadata']['name']}")
    await until(live, path, 404)
    # The table of kinds and the controllers' index hold the definition until they look again.
    while custom_types() - before:
        await live.call("GET", "/apis")
        await asyncio.sleep(0.01)


async def test_pattern_takes_linear_time(live: Live) -> None:
    """A backtracking engine needs 2**5000 steps for this text, and accepts the second pattern."""
    body = definition(text=TEXT | {"pattern": "^(a|a)*$"})
    path = await establish(live, body)
    reply = await live.call("POST", path, new_object(body, text="a" * 5000 + "b"))
    assert reply.status == 422
    backtracking = definition("Other", text=TEXT | {"pattern": "^(?=a)a$"})
    refused = await live.call("POST", DEFINITIONS, backtracking)
    assert refused.status == 422
    assert refused.body["details"]["causes"][0]["field"].endswith("[text].pattern")


async def test_schema_that_references_another_document_is_refused(live: Live) -> None:
    body = definition(text=TEXT | {"$ref": "https://other.example/schema"})
    assert (await live.call("POST", DEFINITIONS, body)).status == 422


async def test_number_of_causes_is_bounded(live: Live) -> None:
    body = definition(items={"type": "array", "items": TEXT})
    path = await establish(live, body)
    reply = await live.call("POST", path, new_object(body, items=[1] * 5000))
    assert len(reply.body["details"]["causes"]) == openapi_schema.MAX_CAUSES


async def test_messages_name_supported_values_and_required_fields(live: Live) -> None:
    """Operators and their tests compare these texts of the real API server."""
    mode = TEXT | {"enum": ["on", "off"]}
    item = {"type": "object", "properties": {"mode": mode}, "required": ["mode"]}
    body = definition(items={"type": "array", "items": item})
    path = await establish(live, body)
    reply = await live.call("POST", path, new_object(body, items=[{"mode": "x"}, {}]))
    assert reply.status == 422
    assert {each["message"] for each in reply.body["details"]["causes"]} == {
        'Unsupported value: "x": supported values: "on", "off"',
        "Required value",
    }


async def test_definition_with_an_incomplete_condition_can_be_deleted(live: Live) -> None:
    body = definition()
    path = await establish(live, body)
    name = f"{DEFINITIONS}/{body['metadata']['name']}"
    change = {"status": {"conditions": [{"message": "updated"}]}}
    merge = "application/merge-patch+json"
    changed = await live.call("PATCH", f"{name}/status", change, content_type=merge)
    assert changed.status == 200, changed.text
    assert (await live.call("DELETE", name)).status == 200
    await until(live, path, 404)


async def test_openapi_v2_leaves_out_what_kubectl_would_refuse(live: Live) -> None:
    """Fails if kubectl would refuse nulls or undeclared fields that the schema accepts."""
    keeps = {"x-kubernetes-preserve-unknown-fields": True}
    inner = {"type": "object", "properties": {"text": TEXT}}
    body = definition(
        open=inner | keeps,
        maybe=inner | {"nullable": True},
        list={"type": "array", "items": TEXT} | keeps,
        plain=inner,
    )
    spec = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["required"] = ["maybe", "plain"]
    free = definition("Free")
    root = {"type": "object", "properties": {"text": TEXT}} | keeps
    free["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": root}
    for each in (body, free):
        await establish(live, each)
    found = (await live.call("GET", "/openapi/v2")).body["definitions"]
    made = found["com.example.stable.v1.Widget"]["properties"]["spec"]
    assert made["required"] == ["plain"]
    assert made["properties"] == {"open": keeps, "maybe": {}, "list": keeps, "plain": inner}
    assert set(found["com.example.stable.v1.Free"]) == {"type", "x-kubernetes-group-version-kind"}


async def test_protobuf_is_refused(live: Live) -> None:
    path = await establish(live, definition())
    kind = "application/vnd.kubernetes.protobuf"
    assert (await live.call("POST", path, b"k8s\x00", content_type=kind)).status == 415


async def test_webhook_conversion_is_accepted_with_a_warning(live: Live) -> None:
    body = definition()
    client = {"url": "https://localhost/convert"}
    webhook = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
    body["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    body["spec"]["versions"].append(body["spec"]["versions"][0] | {"name": "v2", "storage": False})
    reply = await live.call("POST", DEFINITIONS, body)
    assert reply.status == 201, reply.text
    assert "does not call conversion webhooks" in "".join(reply.warnings)


async def test_kubectl_applies_gets_and_explains(live: Live, kubectl: Kubectl) -> None:
    body = definition()
    column = {"name": "Text", "type": "string", "jsonPath": ".spec.text"}
    body["spec"]["versions"][0]["additionalPrinterColumns"] = [column]
    await kubectl("apply", "-f", "-", given=json.dumps(body))
    await kubectl("wait", "--for=condition=Established", f"crd/{body['metadata']['name']}")
    await until(live, objects_path(body), 200)
    given = json.dumps(new_object(body, text="x"))
    assert "created" in (await kubectl("apply", "-f", "-", given=given)).out
    assert "unchanged" in (await kubectl("apply", "-f", "-", given=given)).out
    given = json.dumps(new_object(body, text="y"))
    assert (
        "serverside-applied"
        in (
            await kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=given)
        ).out
    )
    lines = (await kubectl("get", "xwi")).out.splitlines()
    assert [line.split() for line in lines] == [["NAME", "TEXT"], ["a", "y"]]
    assert "FIELDS:\n  text" in (await kubectl("explain", "widget.spec")).out
    await kubectl("label", "widget/a", "k=v")
    assert "a" in (await kubectl("get", "widgets", "-l", "k=v", "-o", "name")).out
    await kubectl("delete", f"crd/{body['metadata']['name']}")
    assert (await live.call("GET", objects_path(body))).status == 404


@pytest.mark.parametrize(
    ("versions", "ordered"),
    [
        (["v1", "v10", "v2"], ["v10", "v2", "v1"]),
        (["v1alpha1", "v1beta2", "v1beta10", "v1"], ["v1", "v1beta10", "v1beta2", "v1alpha1"]),
        (["foo", "v1alpha1", "bar"], ["v1alpha1", "bar", "foo"]),
    ],
)
def test_versions_are_sorted_by_priority(versions: list[str], ordered: list[str]) -> None:
    assert sorted(versions, key=version_order) == ordered

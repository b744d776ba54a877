"""Custom resources: defaults, pruning, validation, patches, subresources, columns and watches."""

import asyncio
import json
from typing import Any

import pytest

from tests.control_plane.contract.api import (
    ADMIN,
    ALICE,
    APPLY,
    JSON,
    STRATEGIC,
    Api,
    check_refused,
)
from tests.control_plane.contract.custom_resources import (
    CRON,
    CustomApi,
    definition,
    establish,
    small_version,
    unique_group,
)

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
RBAC = "rbac.authorization.k8s.io"
DEFAULTS = {"cron": CRON, "image": "busybox", "replicas": 1}
TEXT = {"type": "string"}


def _fields(body: Any, manager: str) -> Any:
    """Return the fieldsV1 of a manager."""
    (found,) = [each for each in body["metadata"]["managedFields"] if each["manager"] == manager]
    return found["fieldsV1"]


async def test_object_gets_defaults_and_loses_undeclared_fields(api: Api, jobs: CustomApi) -> None:
    template = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "no": 1},
        "x": {"y": 1},
    }
    body = jobs.body(no=1, steps=[{"name": "x"}], free={"any": {"thing": 1}}, template=template)
    body |= {"status": {"phase": "from a client"}, "extra": 1}
    reply = await api.call("POST", jobs.path(), body)
    assert reply.status == 201, reply.text
    assert reply.body["spec"] == DEFAULTS | {
        "steps": [{"name": "x", "retries": 3}],
        "free": {"any": {"thing": 1}},
        "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "x": {"y": 1}},
    }
    assert "status" not in reply.body
    assert "extra" not in reply.body
    assert reply.body["metadata"]["generation"] == 1
    unknown = ("extra", "spec.no", "spec.template.metadata.no")
    assert all(any(f'\\"{name}\\"' in each for each in reply.warnings) for name in unknown)


async def test_strict_validation_refuses_undeclared_fields(api: Api, jobs: CustomApi) -> None:
    path = f"{jobs.path()}?fieldValidation=Strict"
    body = check_refused(await api.call("POST", path, jobs.body(no=1)), 400, "BadRequest")
    assert 'unknown field "spec.no"' in body["message"]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"args": None}, {}),
        ({"image": None}, {}),
        ({"free": None}, {}),
        ({"labels": {"a": None}}, {"labels": {}}),
        ({"note": None}, {"note": None}),
        ({"free": {"a": None}}, {"free": {"a": None}}),
        ({"args": [], "labels": {}, "selector": {}}, {"args": [], "labels": {}, "selector": {}}),
    ],
    ids=str,
)
async def test_null_is_kept_only_where_the_schema_allows_it(
    jobs: CustomApi, given: Any, stored: Any
) -> None:
    assert (await jobs.create(**given))["spec"] == DEFAULTS | stored


@pytest.mark.parametrize(
    ("spec", "field", "reason"),
    [
        ({"cron": "never"}, "spec.cron", "FieldValueInvalid"),
        ({"cron": None}, "spec.cron", "FieldValueRequired"),
        ({"replicas": 11}, "spec.replicas", "FieldValueInvalid"),
        ({"port": 1.5}, "spec.port", "FieldValueTypeInvalid"),
        ({"labels": {"a": 1}}, "spec.labels.a", "FieldValueTypeInvalid"),
        ({"args": "x"}, "spec.args", "FieldValueTypeInvalid"),
        ({"args": [None]}, "spec.args[0]", "FieldValueTypeInvalid"),
        ({"mode": "c"}, "spec.mode", "FieldValueNotSupported"),
        ({"steps": [{"run": "a"}]}, "spec.steps[0].name", "FieldValueRequired"),
        ({"steps": [{"name": "x"}, {"name": "x"}]}, "spec.steps[1]", "FieldValueDuplicate"),
        ({"tags": ["a", "a"]}, "spec.tags[1]", "FieldValueDuplicate"),
        ({"template": {"kind": "Pod"}}, "spec.template.apiVersion", "FieldValueRequired"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
async def test_invalid_object_is_refused_with_the_field(
    api: Api, jobs: CustomApi, spec: Any, field: str, reason: str
) -> None:
    reply = await api.call("POST", jobs.path(), jobs.body(**spec))
    body = check_refused(reply, 422, "Invalid", field)
    assert [each["reason"] for each in body["details"]["causes"]] == [reason]
    details = {name: body["details"][name] for name in ("name", "group", "kind")}
    assert details == {"name": "a", "group": jobs.group, "kind": "Job"}


async def test_invalid_time_is_refused(api: Api, jobs: CustomApi) -> None:
    reply = await api.call("POST", jobs.path(), jobs.body(when="tomorrow"))
    check_refused(reply, 422, "Invalid", "spec.when")
    assert (await jobs.create(when="2020-01-01T00:00:00Z"))["spec"]["when"]


async def test_body_of_another_type_is_refused(api: Api, jobs: CustomApi) -> None:
    wrong_kind = await api.call("POST", jobs.path(), jobs.body() | {"kind": "Other"})
    check_refused(wrong_kind, 422, "Invalid", "kind")
    without = jobs.body()
    del without["kind"]
    check_refused(await api.call("POST", jobs.path(), without), 400, "BadRequest")
    version = jobs.body() | {"apiVersion": f"{jobs.group}/v2"}
    check_refused(await api.call("POST", jobs.path(), version), 400, "BadRequest")
    labels = jobs.body() | {"metadata": {"name": "a", "labels": {"a": 1}}}
    check_refused(await api.call("POST", jobs.path(), labels), 400, "BadRequest")


async def test_merge_and_json_patch_change_an_object(api: Api, jobs: CustomApi) -> None:
    await jobs.create()
    reply = await api.patch(jobs.path("a"), {"spec": {"image": "z", "replicas": None}})
    assert reply.body["spec"] == DEFAULTS | {"image": "z"}
    assert reply.body["metadata"]["generation"] == 2
    steps = [{"op": "replace", "path": "/spec/replicas", "value": 5}]
    reply = await api.patch(jobs.path("a"), steps, JSON)
    assert reply.body["spec"] == DEFAULTS | {"image": "z", "replicas": 5}
    refused = await api.patch(jobs.path("a"), {"spec": {"replicas": 50}})
    check_refused(refused, 422, "Invalid", "spec.replicas")


async def test_strategic_merge_patch_is_an_unsupported_media_type(
    api: Api, jobs: CustomApi
) -> None:
    await jobs.create()
    for path in (jobs.path("a"), jobs.path("a", "scale")):
        reply = await api.patch(path, {"spec": {"replicas": 2}}, STRATEGIC)
        body = check_refused(reply, 415, "UnsupportedMediaType")
        assert "application/apply-patch+yaml" in body["message"] or path.endswith("scale")


async def test_update_must_name_the_revision(api: Api, jobs: CustomApi) -> None:
    missing = await api.call("PUT", jobs.path("a"), jobs.body())
    check_refused(missing, 404, "NotFound")
    live = await jobs.create()
    reply = await api.call("PUT", jobs.path("a"), jobs.body())
    check_refused(reply, 422, "Invalid", "metadata.resourceVersion")
    live["spec"] = {"cron": "5 * * * *"}
    changed = await api.call("PUT", jobs.path("a"), live)
    assert changed.body["spec"] == DEFAULTS | {"cron": "5 * * * *"}
    check_refused(await api.call("PUT", jobs.path("a"), live), 409, "Conflict")


async def test_status_and_spec_are_written_by_different_paths(api: Api, jobs: CustomApi) -> None:
    await jobs.create()
    both = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"image": "z"},
        "status": {"phase": "x", "no": 1},
    }
    reply = await api.patch(jobs.path("a", "status"), both)
    assert (reply.body["spec"], reply.body["status"]) == (DEFAULTS, {"phase": "x"})
    assert reply.body["metadata"]["generation"] == 1
    assert "labels" not in reply.body["metadata"]
    both["status"] = {"phase": "y"}
    reply = await api.patch(jobs.path("a"), both)
    assert (reply.body["spec"]["image"], reply.body["status"]) == ("z", {"phase": "x"})
    refused = await api.patch(jobs.path("a", "status"), {"status": {"phase": 1}})
    causes = check_refused(refused, 422, "Invalid")["details"]["causes"]
    # Kubernetes 1.29 omits the parent from the path of a status field.
    assert [each["field"].removeprefix("status.") for each in causes] == ["phase"]


async def test_scale_reads_and_writes_the_paths_of_the_definition(
    api: Api, jobs: CustomApi
) -> None:
    await jobs.create(replicas=5)
    await api.patch(jobs.path("a", "status"), {"status": {"replicas": 2, "selector": "a=b"}})
    found = await api.get(jobs.path("a", "scale"))
    assert (found["kind"], found["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (found["spec"], found["status"]) == ({"replicas": 5}, {"replicas": 2, "selector": "a=b"})
    reply = await api.patch(jobs.path("a", "scale"), {"spec": {"replicas": 3}})
    assert reply.body["spec"] == {"replicas": 3}
    live = await api.get(jobs.path("a"))
    assert (live["spec"]["replicas"], live["metadata"]["generation"]) == (3, 2)
    refused = await api.patch(jobs.path("a", "scale"), {"spec": {"replicas": 50}})
    check_refused(refused, 422, "Invalid", "spec.replicas")


async def test_created_fields_belong_to_the_creator(jobs: CustomApi) -> None:
    made = await jobs.create(
        query="?fieldManager=m", steps=[{"name": "x"}], note=None, free={"a": {"b": 1}}
    )
    item: dict[str, Any] = {".": {}, "f:name": {}, "f:retries": {}}
    assert _fields(made, "m") == {
        "f:spec": {
            ".": {},
            "f:cron": {},
            "f:image": {},
            "f:replicas": {},
            "f:note": {},
            "f:free": {".": {}, "f:a": {".": {}, "f:b": {}}},
            "f:steps": {".": {}, 'k:{"name":"x"}': item},
        }
    }


async def test_apply_merges_by_the_list_types_of_the_schema(api: Api, jobs: CustomApi) -> None:
    spec: dict[str, Any] = {"steps": [{"name": "x", "run": "1"}], "tags": ["t"], "args": ["a"]}
    spec |= {"selector": {"a": "1"}, "labels": {"l": "1"}, "free": {"deep": {"er": 1}}}
    reply = await api.apply(jobs.path("a"), jobs.body(**spec), "one")
    assert reply.status == 201, reply.text
    assert _fields(reply.body, "one") == {
        "f:spec": {
            "f:cron": {},
            "f:steps": {'k:{"name":"x"}': {".": {}, "f:name": {}, "f:run": {}}},
            "f:tags": {'v:"t"': {}},
            "f:args": {},
            "f:selector": {},
            "f:labels": {"f:l": {}},
            "f:free": {"f:deep": {".": {}, "f:er": {}}},
        }
    }
    other = jobs.body(steps=[{"name": "y"}], tags=["u"])
    reply = await api.apply(jobs.path("a"), other, "two")
    assert [each["name"] for each in reply.body["spec"]["steps"]] == ["x", "y"]
    assert reply.body["spec"]["tags"] == ["t", "u"]
    changed = jobs.body(steps=[{"name": "x", "run": "2"}], args=["z"], selector={"b": "2"})
    changed["spec"]["cron"] = "1 * * * *"
    body = check_refused(await api.apply(jobs.path("a"), changed, "two"), 409, "Conflict")
    assert [each["field"] for each in body["details"]["causes"]] == [
        ".spec.args",
        ".spec.cron",
        ".spec.selector",
        '.spec.steps[name="x"].run',
    ]
    reply = await api.apply(jobs.path("a"), jobs.body(), "one")
    assert [each["name"] for each in reply.body["spec"]["steps"]] == ["y"]
    assert reply.body["spec"]["tags"] == ["u"]
    assert reply.body["spec"].keys().isdisjoint({"args", "selector", "labels", "free"})


async def test_undeclared_field_cannot_be_applied(api: Api, jobs: CustomApi) -> None:
    reply = await api.patch(f"{jobs.path('a')}?fieldManager=one", jobs.body(no=1), APPLY)
    assert reply.status == 500
    assert ".spec.no: field not declared in schema" in reply.body["message"]


async def test_printer_columns_are_in_the_table(api: Api, jobs: CustomApi) -> None:
    await jobs.create(steps=[{"name": "w", "run": "0"}, {"name": "x", "run": "1"}])
    table = await api.get(jobs.path(), accept=TABLE)
    columns = [
        (each["name"], each["type"], each["priority"]) for each in table["columnDefinitions"]
    ]
    assert columns == [
        ("Name", "string", 0),
        ("Cron", "string", 0),
        ("Replicas", "integer", 0),
        ("Age", "date", 0),
        ("Run", "string", 1),
        ("Mode", "string", 1),
    ]
    (row,) = table["rows"]
    age = row["cells"].pop(3)
    assert row["cells"] == ["a", CRON, 1, "1", None]
    assert age.endswith("s")


async def test_only_declared_fields_can_be_selected(api: Api, jobs: CustomApi) -> None:
    await jobs.create("a", mode="a")
    await jobs.create("b", mode="b")
    found = await api.get(f"{jobs.path()}?fieldSelector=spec.mode%3Db")
    assert [each["metadata"]["name"] for each in found["items"]] == ["b"]
    assert [(each["kind"], each["apiVersion"]) for each in found["items"]] == [
        ("Job", f"{jobs.group}/v1")
    ]
    reply = await api.call("GET", f"{jobs.path()}?fieldSelector=spec.image%3Db")
    check_refused(reply, 400, "BadRequest")


async def test_watch_reports_each_change_with_the_type(api: Api, jobs: CustomApi) -> None:
    made = await jobs.create()
    await api.patch(jobs.path("a"), {"spec": {"image": "z"}})
    await api.call("DELETE", jobs.path("a"))
    query = f"&resourceVersion={made['metadata']['resourceVersion']}"
    events = await api.watch(jobs.path(), query)
    assert [each["type"] for each in events] == ["MODIFIED", "DELETED"]
    assert {(each["object"]["kind"], each["object"]["apiVersion"]) for each in events} == {
        ("Job", f"{jobs.group}/v1")
    }


async def test_watch_ends_when_the_definition_is_deleted(api: Api, jobs: CustomApi) -> None:
    live = await api.get(jobs.path())
    query = f"watch=true&timeoutSeconds=600&resourceVersion={live['metadata']['resourceVersion']}"
    url = f"{api.server.url}{jobs.path()}?{query}"
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with api.session.get(url, headers=headers) as stream:
        assert stream.status == 200
        await api.call("DELETE", jobs.definition_path)
        await asyncio.wait_for(stream.read(), 60)


async def test_deletion_of_a_custom_resource_returns_a_status(api: Api, jobs: CustomApi) -> None:
    uid = (await jobs.create())["metadata"]["uid"]
    reply = await api.call("DELETE", jobs.path("a"))
    details = {"name": "a", "group": jobs.group, "kind": "jobs", "uid": uid}
    assert (reply.body["kind"], reply.body["details"]) == ("Status", details)


async def test_finalizer_without_a_domain_is_accepted_with_a_warning(
    api: Api, jobs: CustomApi
) -> None:
    body = jobs.body()
    body["metadata"]["finalizers"] = ["finalizer.keda.sh"]
    reply = await api.call("POST", jobs.path(), body)
    assert reply.status == 201
    assert "finalizer.keda.sh" in "".join(reply.warnings)
    assert (await api.call("DELETE", jobs.path("a"))).body["kind"] == "Job"
    await api.patch(jobs.path("a"), {"metadata": {"finalizers": []}})
    assert (await api.call("GET", jobs.path("a"))).status == 404


async def test_value_that_does_not_change_is_not_validated_again(api: Api) -> None:
    versions = [small_version("v1", storage=True, old=TEXT, new=TEXT)]
    made = await establish(api, definition(unique_group(), versions=versions))
    body = made.body("g", old="long", new="a")
    del body["spec"]["cron"]
    assert (await api.call("POST", made.path(), body)).status == 201
    short = TEXT | {"maxLength": 1}
    added = {"type": "integer", "default": 7}
    spec = {"versions": [small_version("v1", storage=True, old=short, new=short, added=added)]}
    assert (await made.change_definition(spec)).status == 200
    # An object from before the change is read with the new default.
    await api.wait_for(
        made.path("g"),
        lambda reply: (
            reply.status == 200 and reply.body["spec"] == {"old": "long", "new": "a", "added": 7}
        ),
    )
    reply = await api.patch(made.path("g"), {"spec": {"new": "b"}})
    assert reply.status == 200, reply.text
    refused = await api.patch(made.path("g"), {"spec": {"old": "longer"}})
    check_refused(refused, 422, "Invalid", "spec.old")
    await api.call("DELETE", made.definition_path)


async def test_role_allows_a_custom_kind(api: Api, jobs: CustomApi) -> None:
    body = check_refused(await api.call("GET", jobs.path(), token=ALICE), 403, "Forbidden")
    assert f'cannot list resource "jobs" in API group "{jobs.group}"' in body["message"]
    rule = {"apiGroups": [jobs.group], "resources": ["jobs"], "verbs": ["list"]}
    await api.create("roles", {"metadata": {"name": "r"}, "rules": [rule]})
    binding = {
        "metadata": {"name": "r"},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "apiGroup": RBAC, "name": "alice"}],
    }
    await api.create("rolebindings", binding)
    await api.wait_for(jobs.path(), lambda reply: reply.status == 200, token=ALICE)
    refused = await api.call("POST", jobs.path(), jobs.body(), token=ALICE)
    check_refused(refused, 403, "Forbidden")


async def test_deletion_of_a_namespace_deletes_its_custom_resources(
    api: Api, jobs: CustomApi
) -> None:
    await jobs.create()
    await api.call("DELETE", f"/api/v1/namespaces/{api.namespace}")
    await api.wait_for(jobs.path("a"), lambda reply: reply.status == 404)
    await api.wait_for(f"/api/v1/namespaces/{api.namespace}", lambda reply: reply.status == 404)


async def test_cluster_scoped_kind_has_no_namespace(api: Api) -> None:
    versions = [small_version("v1", storage=True, a=TEXT)]
    body = definition(unique_group(), scope="Cluster", versions=versions)
    made = await establish(api, body)
    path = f"/apis/{made.group}/v1/jobs"
    sent = made.body() | {"spec": {"a": "x"}}
    reply = await api.call("POST", path, sent)
    assert reply.status == 201
    assert "namespace" not in reply.body["metadata"]
    assert (await api.call("GET", f"{path}/a")).status == 200
    assert (await api.call("GET", made.path("a"))).status == 404
    await api.call("DELETE", made.definition_path)

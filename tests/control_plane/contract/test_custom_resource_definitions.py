"""CustomResourceDefinitions: their validation, names, versions, conditions and deletion."""

from typing import Any

import pytest

from tests.control_plane.contract.api import Api, check_refused
from tests.control_plane.contract.custom_resources import (
    DEFINITIONS,
    CustomApi,
    definition,
    establish,
    is_true,
    small_version,
    unique_group,
    version,
)

TEXT = {"type": "string"}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


def _schema(**spec: Any) -> dict[str, Any]:
    """Return a definition whose schema has this `spec`."""
    schema = {"type": "object", "properties": {"spec": spec}}
    body = definition(unique_group())
    body["spec"]["versions"] = [
        version(schema={"openAPIV3Schema": schema}, selectableFields=[], subresources={})
    ]
    return body


async def test_new_definition_is_established_with_its_names(api: Api) -> None:
    body = definition(unique_group())
    reply = await api.call("POST", DEFINITIONS, body)
    assert reply.status == 201
    names: dict[str, Any] = {
        "plural": "jobs",
        "singular": "job",
        "kind": "Job",
        "listKind": "JobList",
    }
    names |= {"shortNames": ["myjo"], "categories": ["all"]}
    assert reply.body["spec"]["names"] == names
    assert reply.body["spec"]["conversion"] == {"strategy": "None"}
    assert reply.body["metadata"]["generation"] == 1
    assert reply.body["status"]["storedVersions"] == ["v1"]
    path = f"{DEFINITIONS}/{body['metadata']['name']}"
    found = await api.wait_for(path, lambda reply: is_true(reply.body, "Established"))
    status = found.body["status"]
    assert status["acceptedNames"] == names
    assert [(each["type"], each["reason"]) for each in status["conditions"]] == [
        ("NamesAccepted", "NoConflicts"),
        ("Established", "InitialNamesAccepted"),
    ]
    await api.call("DELETE", path)


async def test_kind_is_in_discovery(api: Api, jobs: CustomApi) -> None:
    group = await api.get(f"/apis/{jobs.group}")
    assert [each["version"] for each in group["versions"]] == ["v1"]
    found = {each["name"]: each for each in (await api.get(f"/apis/{jobs.group}/v1"))["resources"]}
    assert found.keys() == {"jobs", "jobs/status", "jobs/scale"}
    verbs = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
    expected = {
        "name": "jobs",
        "singularName": "job",
        "namespaced": True,
        "kind": "Job",
        "verbs": verbs,
        "shortNames": ["myjo"],
        "categories": ["all"],
    }
    assert found["jobs"].pop("storageVersionHash")
    assert found["jobs"] == expected
    assert found["jobs/status"] == {
        "name": "jobs/status",
        "singularName": "",
        "namespaced": True,
        "kind": "Job",
        "verbs": ["get", "patch", "update"],
    }


async def test_kind_is_in_aggregated_discovery(api: Api, jobs: CustomApi) -> None:
    groups = (await api.get("/apis", accept=AGGREGATED))["items"]
    (found,) = [each for each in groups if each["metadata"]["name"] == jobs.group]
    (resource,) = found["versions"][0]["resources"]
    kind = {"group": jobs.group, "version": "v1", "kind": "Job"}
    assert (resource["resource"], resource["responseKind"]) == ("jobs", kind)
    assert {each["subresource"]: each["responseKind"] for each in resource["subresources"]} == {
        "status": kind,
        "scale": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
    }


async def test_schema_is_in_openapi(api: Api, jobs: CustomApi) -> None:
    path = f"apis/{jobs.group}/v1"
    root = await api.wait_for("/openapi/v3", lambda reply: path in reply.body["paths"])
    document = await api.get(root.body["paths"][path]["serverRelativeURL"])
    name = ".".join([*reversed(jobs.group.split(".")), "v1", "Job"])
    found = document["components"]["schemas"][name]
    gvk = {"group": jobs.group, "version": "v1", "kind": "Job"}
    assert found["x-kubernetes-group-version-kind"] == [gvk]
    assert found["properties"]["spec"]["properties"]["cron"]["type"] == "string"
    assert "ObjectMeta" in str(found["properties"]["metadata"])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"versions": []}, id="no version"),
        pytest.param({"versions": [version("v1"), version("v2")]}, id="two storage versions"),
        pytest.param({"versions": [version(storage=False)]}, id="no storage version"),
        pytest.param(
            {"versions": [version("v1"), version("v1", storage=False)]}, id="a version twice"
        ),
        pytest.param({"versions": [version("V1")]}, id="capital in a version"),
        pytest.param({"versions": [version(schema=None)]}, id="no schema"),
        pytest.param({"scope": "Somewhere"}, id="unknown scope"),
        pytest.param({"preserveUnknownFields": True}, id="preserveUnknownFields"),
        pytest.param({"conversion": {"strategy": "Webhook"}}, id="webhook without client"),
        pytest.param({"names": {"plural": "Jobs", "kind": "Job"}}, id="capital in the plural"),
        pytest.param(
            {
                "versions": [
                    version(additionalPrinterColumns=[{"name": "a", "type": "x", "jsonPath": ".a"}])
                ]
            },
            id="unknown type of a column",
        ),
        pytest.param(
            {
                "versions": [
                    version(
                        additionalPrinterColumns=[{"name": "a", "type": "string", "jsonPath": "a"}]
                    )
                ]
            },
            id="relative path of a column",
        ),
        pytest.param(
            {
                "versions": [
                    version(
                        subresources={
                            "scale": {"specReplicasPath": ".a.b", "statusReplicasPath": ".status.b"}
                        }
                    )
                ]
            },
            id="scale outside the spec",
        ),
    ],
)
async def test_invalid_definition_is_refused(api: Api, changes: Any) -> None:
    body = definition(unique_group(), **changes)
    check_refused(await api.call("POST", DEFINITIONS, body), 422, "Invalid")


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"properties": {"a": TEXT}}, id="no type"),
        pytest.param({"type": "text"}, id="unknown type"),
        pytest.param({"type": "array"}, id="array without items"),
        pytest.param(
            {"type": "object", "properties": {"a": TEXT}, "additionalProperties": TEXT},
            id="properties and additionalProperties",
        ),
        pytest.param({"type": "array", "items": TEXT, "uniqueItems": True}, id="uniqueItems"),
        pytest.param(
            {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "items": {"type": "object", "properties": {"a": TEXT}},
            },
            id="map without keys",
        ),
        pytest.param(
            {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["a"],
                "items": {"type": "object", "properties": {"a": TEXT}},
            },
            id="optional key",
        ),
        pytest.param({"type": "string", "default": 1}, id="default of another type"),
        pytest.param({"type": "string", "pattern": "(["}, id="invalid pattern"),
        pytest.param({"type": "string", "pattern": "(?=a)"}, id="pattern with lookahead"),
        pytest.param(
            {"type": "object", "anyOf": [{"properties": {"a": TEXT}}]}, id="type in anyOf"
        ),
    ],
)
async def test_schema_that_is_not_structural_is_refused(api: Api, spec: Any) -> None:
    check_refused(await api.call("POST", DEFINITIONS, _schema(**spec)), 422, "Invalid")


async def test_metadata_in_a_schema_may_restrict_only_names(api: Api) -> None:
    body = _schema(type="object")
    schema = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    short = {"type": "string", "maxLength": 3}
    schema["properties"]["metadata"] = {"type": "object", "properties": {"name": short}}
    path = f"{DEFINITIONS}?dryRun=All"
    assert (await api.call("POST", path, body)).status == 201
    schema["properties"]["metadata"]["properties"]["labels"] = {"type": "object"}
    check_refused(await api.call("POST", path, body), 422, "Invalid")


async def test_name_must_be_plural_and_group(api: Api) -> None:
    body = definition(unique_group()) | {"metadata": {"name": "other"}}
    check_refused(await api.call("POST", DEFINITIONS, body), 422, "Invalid", "metadata.name")


@pytest.mark.parametrize(
    ("group", "field"),
    [("nodot", "spec.group"), ("a.k8s.io", "metadata.annotations[api-approved.kubernetes.io]")],
)
async def test_group_must_be_a_domain_that_is_not_protected(
    api: Api, group: str, field: str
) -> None:
    reply = await api.call("POST", DEFINITIONS, definition(group))
    check_refused(reply, 422, "Invalid", field)


async def test_names_of_another_definition_are_not_accepted(api: Api, jobs: CustomApi) -> None:
    names = {"plural": "others", "kind": "Job", "shortNames": ["oth"]}
    body = definition(jobs.group, "others", "Job", names=names)
    assert (await api.call("POST", DEFINITIONS, body)).status == 201
    path = f"{DEFINITIONS}/others.{jobs.group}"
    found = await api.wait_for(path, lambda reply: bool(reply.body["status"]["conditions"]))
    conditions = found.body["status"]["conditions"]
    assert [(each["type"], each["status"], each["reason"]) for each in conditions] == [
        ("NamesAccepted", "False", "ListKindConflict"),
        ("Established", "False", "NotAccepted"),
    ]
    assert found.body["status"]["acceptedNames"] == {"plural": "others", "kind": ""} | (
        {"shortNames": ["oth"]} if "shortNames" in found.body["status"]["acceptedNames"] else {}
    )
    await api.call("DELETE", jobs.definition_path)
    await api.wait_for(path, lambda reply: is_true(reply.body, "Established"))
    await api.call("DELETE", path)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scope": "Cluster"}, "spec.scope"),
        ({"names": {"plural": "jobs", "kind": "Other"}}, "spec.names.kind"),
    ],
)
async def test_scope_and_kind_cannot_change(jobs: CustomApi, change: Any, field: str) -> None:
    check_refused(await jobs.change_definition(change), 422, "Invalid", field)


async def test_update_must_name_the_revision(api: Api, jobs: CustomApi) -> None:
    body = definition(jobs.group)
    reply = await api.call("PUT", jobs.definition_path, body)
    check_refused(reply, 422, "Invalid", "metadata.resourceVersion")


async def test_versions_are_ordered_by_stability(api: Api) -> None:
    versions = [
        small_version("v1alpha1"),
        small_version("v1", storage=True),
        small_version("v10"),
        small_version("v2beta1"),
    ]
    body = definition(unique_group(), versions=versions)
    made = await establish(api, body)
    group = await api.get(f"/apis/{made.group}")
    assert [each["version"] for each in group["versions"]] == ["v10", "v1", "v2beta1", "v1alpha1"]
    assert group["preferredVersion"]["version"] == "v10"
    await api.call("DELETE", made.definition_path)


async def test_object_is_stored_in_one_version_and_read_in_all(api: Api) -> None:
    old = small_version("v1alpha1", old=TEXT, both=TEXT)
    old |= {"deprecated": True, "deprecationWarning": "use v1"}
    new = small_version("v1", storage=True, new=TEXT | {"default": "n"}, both=TEXT)
    made = await establish(api, definition(unique_group(), versions=[old, new]))
    body = made.body("g", "v1alpha1", old="o", both="b")
    del body["spec"]["cron"]
    reply = await api.call("POST", made.path(version="v1alpha1"), body)
    assert reply.status == 201
    assert any("use v1" in each for each in reply.warnings)
    assert reply.body["apiVersion"] == f"{made.group}/v1alpha1"
    # A field that the storage version does not declare is lost.
    assert reply.body["spec"] == {"both": "b"}
    read = await api.call("GET", made.path("g"))
    assert read.body["spec"] == {"both": "b", "new": "n"}
    assert read.warnings == []
    listed = await api.get(made.path(version="v1alpha1"))
    assert [each["spec"] for each in listed["items"]] == [{"both": "b"}]
    assert listed["items"][0]["apiVersion"] == f"{made.group}/v1alpha1"
    await api.call("DELETE", made.definition_path)


async def test_former_storage_version_must_stay(jobs: CustomApi) -> None:
    reply = await jobs.change_definition({"versions": [version("v2")]})
    check_refused(reply, 422, "Invalid", "status.storedVersions[0]")
    reply = await jobs.change_definition({"versions": [version(storage=False), version("v2")]})
    assert reply.status == 200, reply.text
    assert reply.body["status"]["storedVersions"] == ["v1", "v2"]
    assert reply.body["metadata"]["generation"] == 2


async def test_deleted_definition_waits_for_its_objects(api: Api, jobs: CustomApi) -> None:
    body = jobs.body()
    body["metadata"]["finalizers"] = ["example.com/wait"]
    assert (await api.call("POST", jobs.path(), body)).status == 201
    await jobs.create("b")
    reply = await api.call("DELETE", jobs.definition_path)
    assert reply.status == 200
    assert reply.body["metadata"]["finalizers"] == [CLEANUP]
    assert is_true(reply.body, "Terminating")
    await api.wait_for(jobs.path("b"), lambda reply: reply.status == 404)
    refused = await api.wait_for(
        jobs.path(), lambda reply: reply.status == 403, "POST", body=jobs.body("c")
    )
    check_refused(refused, 403, "Forbidden")
    waiting = await api.get(jobs.definition_path)
    assert waiting["status"]["conditions"][-1]["type"] == "Terminating"
    await api.patch(jobs.path("a"), {"metadata": {"finalizers": None}})
    await api.wait_for(jobs.definition_path, lambda reply: reply.status == 404)
    await api.wait_for(jobs.path(), lambda reply: reply.status == 404)


async def test_definition_with_cel_rules_is_accepted(api: Api) -> None:
    rule = {"rule": "self.a > 1", "message": "too small"}
    body = _schema(
        type="object", properties={"a": {"type": "integer"}}, **{"x-kubernetes-validations": [rule]}
    )
    reply = await api.call("POST", f"{DEFINITIONS}?dryRun=All", body)
    assert reply.status == 201
    # The embedded API does not evaluate them, and says so.
    assert bool(reply.warnings) is not api.server.is_real

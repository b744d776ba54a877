from collections.abc import Iterator
from typing import Any

import pytest

from kubeling.apiserver import kinds, release
from kubeling.apiserver.kinds import KINDS
from kubeling.apiserver.read import openapi
from tests.apiserver.recorded import recorded_body

GVK = "x-kubernetes-group-version-kind"
VERSIONS = kinds.group_versions()


def references(node: Any) -> Any:
    """Yield every `$ref` of a document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for each in node.values():
            yield from references(each)
    elif isinstance(node, list):
        for each in node:
            yield from references(each)


def component(document: Any, name: str) -> Any:
    return document["components"]["schemas"][openapi.full_name(name)]


def test_root_lists_every_group_and_version() -> None:
    paths = openapi.v3_root()["paths"]
    assert next(iter(paths)) == "api/v1"
    assert "apis/rbac.authorization.k8s.io/v1" in paths
    assert len(paths) == len(VERSIONS)
    url = paths["api/v1"]["serverRelativeURL"]
    assert url.startswith("/openapi/v3/api/v1?hash=")
    assert openapi.v3_root() == openapi.v3_root()


@pytest.mark.parametrize("version", VERSIONS)
def test_document_has_no_unresolved_reference(version: Any) -> None:
    document = openapi.v3(*version)
    assert document is not None
    held = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= held


def empty_members(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (name for name, each in node.items() if each in ([], {}))
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from empty_members(each)


@pytest.mark.parametrize("version", VERSIONS)
def test_document_has_no_empty_list_or_object(version: Any) -> None:
    """Go's types lose these, so that a client would write another document than it read."""
    assert list(empty_members(openapi.v3(*version))) == []


def test_version_two_has_no_unresolved_reference() -> None:
    document = openapi.v2()
    assert set(references(document)) <= {
        f"#/definitions/{name}" for name in document["definitions"]
    }


def test_unknown_group_has_no_document() -> None:
    assert openapi.v3("nope.example", "v1") is None


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.stored], ids=lambda kind: kind.kind
)
def test_patch_operation_lists_its_query_parameters(kind: Any) -> None:
    document = openapi.v3(kind.group, kind.version)
    assert document is not None
    gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    patches = [each["patch"] for each in document["paths"].values() if "patch" in each]
    found = next(each for each in patches if each[GVK] == gvk)
    asked = {each["name"] for each in found["parameters"] if each["in"] == "query"}
    assert {"fieldValidation", "dryRun", "fieldManager", "force"} <= asked
    media = found["requestBody"]["content"]
    assert "application/strategic-merge-patch+json" in media
    assert "application/apply-patch+yaml" in media
    assert component(document, kind.schema_name)[GVK] == [gvk]


def test_lists_have_their_merge_rules() -> None:
    document = openapi.v3("", "v1")
    containers = component(document, "PodSpec")["properties"]["containers"]
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-list-type"] == "map"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    volumes = component(document, "PodSpec")["properties"]["volumes"]
    assert volumes["x-kubernetes-patch-strategy"] == "merge,retainKeys"
    tolerations = component(document, "PodSpec")["properties"]["tolerations"]
    assert "x-kubernetes-patch-strategy" not in tolerations
    finalizers = component(document, "ObjectMeta")["properties"]["finalizers"]
    assert finalizers["x-kubernetes-list-type"] == "set"
    assert "x-kubernetes-patch-merge-key" not in finalizers


def test_types_have_their_json_schema_types() -> None:
    document = openapi.v3("", "v1")
    assert component(document, "Secret")["properties"]["data"] == {
        "type": "object",
        "additionalProperties": {"type": "string", "format": "byte"},
    }
    assert component(document, "Container")["required"] == ["name"]
    port = component(document, "ServicePort")["properties"]["targetPort"]
    assert port["format"] == "int-or-string"


def test_types_have_the_names_of_the_real_api_server() -> None:
    assert openapi.full_name("Pod") == "io.k8s.api.core.v1.Pod"
    assert openapi.full_name("ObjectMeta") == "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    assert openapi.full_name("Role") == "io.k8s.api.rbac.v1.Role"
    full_names = {openapi.full_name(name) for name in release.types()}
    assert len(full_names) == len(release.types())


def test_reviews_can_only_be_created() -> None:
    document = openapi.v3("authentication.k8s.io", "v1")
    assert document is not None
    path = document["paths"]["/apis/authentication.k8s.io/v1/tokenreviews"]
    assert set(path) == {"post"}
    assert not any(name.endswith("{name}") for name in document["paths"])


def test_item_path_has_the_methods_of_its_verbs() -> None:
    document = openapi.v3("", "v1")
    assert document is not None
    item = document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]
    assert set(item) == {"parameters", "get", "put", "patch", "delete"}
    assert [each["name"] for each in item["parameters"]] == ["namespace", "name"]
    recorded = {each["name"] for each in recorded_body("core resources")["resources"]}
    served = {path.rpartition("/")[2] for path in document["paths"] if not path.endswith("}")}
    assert served <= recorded

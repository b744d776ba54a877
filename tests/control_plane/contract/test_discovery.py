"""Discovery: versions, groups, resources, schemas."""

from typing import Any

import pytest

from tests.control_plane.contract.api import Api, check_refused

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
GROUPS = {
    *("apps", "authentication.k8s.io", "authorization.k8s.io", "batch", "coordination.k8s.io"),
    *("policy", "rbac.authorization.k8s.io", "admissionregistration.k8s.io"),
}


async def _resources(api: Api, path: str) -> dict[str, Any]:
    return {each["name"]: each for each in (await api.get(path))["resources"]}


async def test_version_has_the_format_that_clients_parse(api: Api) -> None:
    version = await api.get("/version")
    assert version["gitVersion"].startswith(f"v{version['major']}.{version['minor']}.")


async def test_the_core_group_has_one_version(api: Api) -> None:
    found = await api.get("/api")
    assert (found["kind"], found["versions"]) == ("APIVersions", ["v1"])


async def test_api_groups_are_listed_with_a_preferred_version(api: Api) -> None:
    found = {each["name"]: each for each in (await api.get("/apis"))["groups"]}
    assert found.keys() >= GROUPS
    assert found["apps"]["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}


async def test_pods_and_their_subresources_have_the_verbs_that_clients_look_for(api: Api) -> None:
    found = await _resources(api, "/api/v1")
    pods = found["pods"]
    assert (pods["kind"], pods["namespaced"], pods["singularName"]) == ("Pod", True, "pod")
    assert pods["shortNames"] == ["po"]
    assert set(pods["verbs"]) == {
        *("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
    }
    assert found["pods/log"]["verbs"] == ["get"]
    assert found["pods/binding"]["kind"] == "Binding"
    token = found["serviceaccounts/token"]
    assert (token["group"], token["version"], token["kind"]) == (
        *("authentication.k8s.io", "v1", "TokenRequest"),
    )


async def test_deployments_can_be_scaled(api: Api) -> None:
    scale = (await _resources(api, "/apis/apps/v1"))["deployments/scale"]
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")


@pytest.mark.parametrize("path", ["/api", "/apis"])
async def test_aggregated_discovery_is_returned_on_request(api: Api, path: str) -> None:
    reply = await api.call("GET", path, accept=AGGREGATED)
    assert reply.body["kind"] == "APIGroupDiscoveryList"
    assert reply.headers["content-type"] == AGGREGATED
    versions = [version for item in reply.body["items"] for version in item["versions"]]
    assert all(version["resources"] for version in versions)


async def test_unknown_group_is_not_found(api: Api) -> None:
    assert (await api.call("GET", "/apis/none.example/v1")).status == 404
    assert (
        await api.call("GET", f"/apis/apps/v1/namespaces/{api.namespace}/nothings")
    ).status == 404


async def test_schema_of_each_group_is_published_under_a_url_with_its_hash(api: Api) -> None:
    paths = (await api.get("/openapi/v3"))["paths"]
    assert paths.keys() >= {"api/v1", "apis/apps/v1"}
    address = paths["api/v1"]["serverRelativeURL"]
    assert address.startswith("/openapi/v3/api/v1?hash=")
    schemas = (await api.get(address))["components"]["schemas"]
    assert "spec" in schemas["io.k8s.api.core.v1.Pod"]["properties"]


async def test_schema_contains_list_types_and_merge_keys(api: Api) -> None:
    document = await api.get("/openapi/v2")
    containers = document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
async def test_health_endpoints_need_no_authentication(api: Api, path: str) -> None:
    reply = await api.call("GET", path, token=None)
    assert (reply.status, reply.text) == (200, "ok")


async def test_unsupported_method_is_refused_with_405(api: Api) -> None:
    for method, path in (("PUT", api.path("pods")), ("DELETE", "/api/v1/configmaps")):
        refused = check_refused(await api.call(method, path, {}), 405, "MethodNotAllowed")
        assert (
            refused["message"] == "the server does not allow this method on the requested resource"
        )

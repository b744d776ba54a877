"""RBAC: roles, bindings, impersonation, and no privilege escalation."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.control_plane.contract.api import ALICE, Api, check_refused, config_map, pod

AUTHORIZATION = "/apis/authorization.k8s.io/v1"
RBAC = "rbac.authorization.k8s.io"
SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def _role(
    name: str, *verbs: str, resource: str = "configmaps", names: Sequence[str] = ()
) -> dict[str, Any]:
    rule: dict[str, Any] = {"apiGroups": [""], "resources": [resource], "verbs": list(verbs)}
    if names:
        rule["resourceNames"] = list(names)
    return {"metadata": {"name": name}, "rules": [rule]}


def _binding(role: str, kind: str = "Role") -> dict[str, Any]:
    return {
        "metadata": {"name": role},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
        "subjects": [{"kind": "User", "apiGroup": RBAC, "name": "alice"}],
    }


async def _allow(api: Api, role: dict[str, Any]) -> None:
    """Bind alice to a role in this namespace, and wait until the server uses it."""
    await api.create("roles", role)
    await api.create("rolebindings", _binding(role["metadata"]["name"]))
    rule = role["rules"][0]
    for verb in rule["verbs"]:
        asked = {
            "namespace": api.namespace,
            "verb": verb,
            "resource": rule["resources"][0],
            "group": rule["apiGroups"][0],
            "name": rule.get("resourceNames", [""])[0],
        }
        await api.wait_for(
            f"{AUTHORIZATION}/selfsubjectaccessreviews",
            lambda reply: reply.body["status"]["allowed"],
            "POST",
            body={"spec": {"resourceAttributes": asked}},
            token=ALICE,
        )


async def test_without_a_role_nothing_is_allowed(api: Api) -> None:
    body = check_refused(await api.call("GET", api.path("pods"), token=ALICE), 403, "Forbidden")
    assert 'User "alice" cannot list resource "pods" in API group ""' in body["message"]
    assert body["details"] == {"kind": "pods"}


async def test_a_role_allows_its_verbs_in_its_namespace_alone(api: Api) -> None:
    await _allow(api, _role("reader", "get", "list"))
    assert (await api.call("GET", api.path("configmaps"), token=ALICE)).status == 200
    reply = await api.call("POST", api.path("configmaps"), config_map(), token=ALICE)
    check_refused(reply, 403, "Forbidden")
    check_refused(await api.call("GET", "/api/v1/configmaps", token=ALICE), 403, "Forbidden")


@pytest.mark.parametrize(
    ("selector", "status"),
    [
        ("", 403),
        ("?fieldSelector=metadata.name%3Dmine", 200),
        ("?fieldSelector=metadata.name%3D%3Dmine", 200),
        ("?fieldSelector=metadata.name%3Dother", 403),
        ("?fieldSelector=metadata.name!%3Dmine", 403),
        ("?fieldSelector=metadata.name%3Dmine,metadata.name%3Dother", 200),
        # Only the first parameter counts.
        ("?fieldSelector=metadata.name%3Dmine&fieldSelector=metadata.name%3Dother", 200),
        ("?fieldSelector=metadata.name%3Dother&fieldSelector=metadata.name%3Dmine", 403),
    ],
)
async def test_role_for_one_name_allows_the_list_of_this_name_only(
    api: Api, selector: str, status: int
) -> None:
    await api.create("configmaps", config_map("other"))
    await _allow(api, _role("named", "list", "deletecollection", names=["mine"]))
    reply = await api.call("GET", api.path("configmaps") + selector, token=ALICE)
    assert reply.status == status
    if status == 200:
        assert reply.body["items"] == []
    # The deletion of a collection has no name, whatever it selects.
    reply = await api.call("DELETE", api.path("configmaps") + selector, token=ALICE)
    body = check_refused(reply, 403, "Forbidden")
    assert body["message"].startswith("configmaps is forbidden: ")


async def test_role_for_an_invalid_name_does_not_allow_a_list_by_that_name(api: Api) -> None:
    await _allow(api, _role("named", "list", names=["a/b"]))
    path = api.path("configmaps") + "?fieldSelector=metadata.name%3Da%2Fb"
    body = check_refused(await api.call("GET", path, token=ALICE), 403, "Forbidden")
    assert body["message"].startswith("configmaps is forbidden: ")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_path_of_namespaces_below_a_namespace_is_not_found(api: Api, method: str) -> None:
    await _allow(api, _role("all", "list", "create", "deletecollection", resource="namespaces"))
    body = {"metadata": {"name": "stolen"}} if method == "POST" else None
    reply = await api.call(method, api.path("namespaces"), body, token=ALICE)
    check_refused(reply, 404, "NotFound")


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_status_of_a_missing_object_creates_nothing(api: Api, method: str) -> None:
    path = api.path("pods", "ghost", "status")
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ghost"}, "spec": {}}
    reply = await (api.apply(path, body, "m") if method == "PATCH" else api.call("PUT", path, body))
    check_refused(reply, 404, "NotFound")


async def test_forbidden_object_is_not_reported_as_missing(api: Api) -> None:
    check_refused(await api.call("GET", api.path("secrets", "none"), token=ALICE), 403, "Forbidden")


async def test_self_subject_access_review_returns_own_permissions(api: Api) -> None:
    await _allow(api, _role("reader", "get"))
    path = f"{AUTHORIZATION}/selfsubjectrulesreviews"
    reply = await api.call("POST", path, {"spec": {"namespace": api.namespace}}, token=ALICE)
    rules = reply.body["status"]["resourceRules"]
    assert {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]} in rules


async def test_subject_access_review_returns_permissions_of_another_user(api: Api) -> None:
    asked = {"namespace": api.namespace, "verb": "list", "resource": "pods"}
    for user, groups, allowed in (("alice", [], False), ("eve", ["system:masters"], True)):
        spec = {"resourceAttributes": asked, "user": user, "groups": groups}
        reply = await api.call("POST", f"{AUTHORIZATION}/subjectaccessreviews", {"spec": spec})
        assert reply.body["status"]["allowed"] is allowed


async def test_administrator_can_impersonate_a_user(api: Api) -> None:
    reply = await api.call("POST", SELF, {}, impersonate_user="bob", impersonate_group="devs")
    user = reply.body["status"]["userInfo"]
    assert (user["username"], user["groups"]) == ("bob", ["devs", "system:authenticated"])
    reply = await api.call("GET", api.path("pods"), impersonate_user="bob")
    check_refused(reply, 403, "Forbidden")


async def test_impersonated_account_has_its_groups(api: Api) -> None:
    account = f"system:serviceaccount:{api.namespace}:default"
    reply = await api.call("POST", SELF, {}, impersonate_user=account)
    assert set(reply.body["status"]["userInfo"]["groups"]) == {
        *(
            "system:serviceaccounts",
            f"system:serviceaccounts:{api.namespace}",
            "system:authenticated",
        )
    }


async def test_impersonation_requires_permission(api: Api) -> None:
    reply = await api.call("GET", api.path("pods"), token=ALICE, impersonate_user="admin")
    body = check_refused(reply, 403, "Forbidden")
    assert "impersonate" in body["message"]


async def test_role_with_permissions_that_the_user_lacks_is_refused(api: Api) -> None:
    await api.create("roles", _role("writer", "create", "update", resource="roles"))
    role = _role("author", "create")
    role["rules"][0] |= {"apiGroups": [RBAC], "resources": ["roles"]}
    await _allow(api, role)
    reply = await api.call("POST", api.path("roles"), _role("more", "get"), token=ALICE)
    body = check_refused(reply, 403, "Forbidden")
    assert "attempting to grant RBAC permissions not currently held" in body["message"]


async def test_binding_to_a_role_with_permissions_that_the_user_lacks_is_refused(api: Api) -> None:
    role = _role("binder", "create")
    role["rules"][0] |= {"apiGroups": [RBAC], "resources": ["rolebindings"]}
    await _allow(api, role)
    await api.create("roles", _role("secret-reader", "get", resource="secrets"))
    reply = await api.call("POST", api.path("rolebindings"), _binding("secret-reader"), token=ALICE)
    check_refused(reply, 403, "Forbidden")


async def test_role_of_a_binding_cannot_change(api: Api) -> None:
    await api.create("roles", _role("one", "get"))
    await api.create("rolebindings", _binding("one"))
    change = {"roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "two"}}
    reply = await api.patch(api.path("rolebindings", "one"), change)
    check_refused(reply, 422, "Invalid", "roleRef")


async def test_role_without_verbs_is_refused(api: Api) -> None:
    check_refused(
        await api.call("POST", api.path("roles"), _role("none")), 422, "Invalid", "rules[0].verbs"
    )


@pytest.mark.parametrize("form", ["Table", "PartialObjectMetadata"])
async def test_review_has_metadata_and_no_table(api: Api, form: str) -> None:
    review = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
    accept = f"application/json;as={form};v=v1;g=meta.k8s.io"
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    reply = await api.call("POST", path, review, accept=accept)
    if form == "Table":
        check_refused(reply, 406, "NotAcceptable")
        reply = await api.call("POST", path, review, accept=f"{accept},application/json")
        assert (reply.status, reply.body["kind"]) == (201, "SelfSubjectAccessReview")
    else:
        assert (reply.status, reply.body["kind"]) == (201, form)


@pytest.mark.parametrize("subresource", ["token", "eviction", "binding"])
async def test_subresource_without_a_table_is_not_acceptable(api: Api, subresource: str) -> None:
    await api.create("pods", pod("a"))
    plural, name = ("serviceaccounts", "default") if subresource == "token" else ("pods", "a")
    bodies: dict[str, Any] = {
        "token": {"spec": {}},
        "eviction": {"metadata": {"name": "a"}},
        "binding": {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}},
    }
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    path = api.path(plural, name, subresource)
    check_refused(
        await api.call("POST", path, bodies[subresource], accept=accept), 406, "NotAcceptable"
    )
    assert "nodeName" not in (await api.get(api.path("pods", "a")))["spec"]

"""Who may what: roles, bindings, impersonation, and nobody gives more than he has."""

from typing import Any

from tests.control_plane.contract.api import ALICE, Api, config_map, refused

AUTHORIZATION = "/apis/authorization.k8s.io/v1"
RBAC = "rbac.authorization.k8s.io"
SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def _role(name: str, *verbs: str, resource: str = "configmaps") -> dict[str, Any]:
    rule = {"apiGroups": [""], "resources": [resource], "verbs": list(verbs)}
    return {"metadata": {"name": name}, "rules": [rule]}


def _binding(role: str, kind: str = "Role") -> dict[str, Any]:
    return {
        "metadata": {"name": role},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
        "subjects": [{"kind": "User", "apiGroup": RBAC, "name": "alice"}],
    }


async def _allow(api: Api, role: dict[str, Any]) -> None:
    """Give alice a role here, and wait until the server heeds it."""
    await api.create("roles", role)
    await api.create("rolebindings", _binding(role["metadata"]["name"]))
    rule = role["rules"][0]
    for verb in rule["verbs"]:
        asked = {
            "namespace": api.space,
            "verb": verb,
            "resource": rule["resources"][0],
            "group": rule["apiGroups"][0],
        }
        await api.until(
            f"{AUTHORIZATION}/selfsubjectaccessreviews",
            lambda reply: reply.body["status"]["allowed"],
            "POST",
            body={"spec": {"resourceAttributes": asked}},
            token=ALICE,
        )


async def test_without_a_role_nothing_is_allowed(api: Api) -> None:
    body = refused(await api.call("GET", api.path("pods"), token=ALICE), 403, "Forbidden")
    assert 'User "alice" cannot list resource "pods" in API group ""' in body["message"]
    assert body["details"] == {"kind": "pods"}


async def test_a_role_allows_its_verbs_in_its_namespace_alone(api: Api) -> None:
    await _allow(api, _role("reader", "get", "list"))
    assert (await api.call("GET", api.path("configmaps"), token=ALICE)).status == 200
    reply = await api.call("POST", api.path("configmaps"), config_map(), token=ALICE)
    refused(reply, 403, "Forbidden")
    refused(await api.call("GET", "/api/v1/configmaps", token=ALICE), 403, "Forbidden")


async def test_what_is_forbidden_is_not_told_to_be_missing(api: Api) -> None:
    refused(await api.call("GET", api.path("secrets", "none"), token=ALICE), 403, "Forbidden")


async def test_a_review_of_oneself_says_what_one_may(api: Api) -> None:
    await _allow(api, _role("reader", "get"))
    path = f"{AUTHORIZATION}/selfsubjectrulesreviews"
    reply = await api.call("POST", path, {"spec": {"namespace": api.space}}, token=ALICE)
    rules = reply.body["status"]["resourceRules"]
    assert {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]} in rules


async def test_a_review_of_another_says_what_he_may(api: Api) -> None:
    asked = {"namespace": api.space, "verb": "list", "resource": "pods"}
    for user, groups, allowed in (("alice", [], False), ("eve", ["system:masters"], True)):
        spec = {"resourceAttributes": asked, "user": user, "groups": groups}
        reply = await api.call("POST", f"{AUTHORIZATION}/subjectaccessreviews", {"spec": spec})
        assert reply.body["status"]["allowed"] is allowed


async def test_an_administrator_acts_as_another(api: Api) -> None:
    reply = await api.call("POST", SELF, {}, impersonate_user="bob", impersonate_group="devs")
    user = reply.body["status"]["userInfo"]
    assert (user["username"], user["groups"]) == ("bob", ["devs", "system:authenticated"])
    reply = await api.call("GET", api.path("pods"), impersonate_user="bob")
    refused(reply, 403, "Forbidden")


async def test_who_acts_as_an_account_has_its_groups(api: Api) -> None:
    account = f"system:serviceaccount:{api.space}:default"
    reply = await api.call("POST", SELF, {}, impersonate_user=account)
    assert set(reply.body["status"]["userInfo"]["groups"]) == {
        *("system:serviceaccounts", f"system:serviceaccounts:{api.space}", "system:authenticated"),
    }


async def test_acting_as_another_takes_a_right(api: Api) -> None:
    reply = await api.call("GET", api.path("pods"), token=ALICE, impersonate_user="admin")
    body = refused(reply, 403, "Forbidden")
    assert "impersonate" in body["message"]


async def test_nobody_gives_more_than_he_has(api: Api) -> None:
    await api.create("roles", _role("writer", "create", "update", resource="roles"))
    role = _role("author", "create")
    role["rules"][0] |= {"apiGroups": [RBAC], "resources": ["roles"]}
    await _allow(api, role)
    reply = await api.call("POST", api.path("roles"), _role("more", "get"), token=ALICE)
    body = refused(reply, 403, "Forbidden")
    assert "attempting to grant RBAC permissions not currently held" in body["message"]


async def test_who_may_make_bindings_still_may_bind_only_what_he_has(api: Api) -> None:
    role = _role("binder", "create")
    role["rules"][0] |= {"apiGroups": [RBAC], "resources": ["rolebindings"]}
    await _allow(api, role)
    await api.create("roles", _role("secret-reader", "get", resource="secrets"))
    reply = await api.call("POST", api.path("rolebindings"), _binding("secret-reader"), token=ALICE)
    refused(reply, 403, "Forbidden")


async def test_a_binding_keeps_the_role_it_names(api: Api) -> None:
    await api.create("roles", _role("one", "get"))
    await api.create("rolebindings", _binding("one"))
    change = {"roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "two"}}
    reply = await api.patch(api.path("rolebindings", "one"), change)
    refused(reply, 422, "Invalid", "roleRef")


async def test_a_role_needs_verbs(api: Api) -> None:
    refused(
        await api.call("POST", api.path("roles"), _role("none")), 422, "Invalid", "rules[0].verbs"
    )

"""Who may do what: roles and bindings as they are stored, and what a cluster grants from its start."""

from typing import Any

import pytest

RBAC = "/apis/rbac.authorization.k8s.io/v1"
PODS = "/api/v1/namespaces/default/pods"


async def bind(
    live: Any, rules: list[dict[str, Any]], *, everywhere: bool = False, subject: Any = None
) -> None:
    """Give rules to alice, in `default` or everywhere."""
    where = RBAC if everywhere else f"{RBAC}/namespaces/default"
    kind = "ClusterRole" if everywhere else "Role"
    plural = kind.lower()
    role = await live.call(
        "POST", f"{where}/{plural}s", {"metadata": {"name": "r"}, "rules": rules}
    )
    assert role.status == 201, role.text
    binding = {
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "r"},
        "subjects": [subject or {"kind": "User", "name": "alice"}],
    }
    made = await live.call("POST", f"{where}/{plural}bindings", binding)
    assert made.status == 201, made.text


async def alice(live: Any, method: str, path: str, body: Any = None, **headers: str) -> int:
    return int((await live.call(method, path, body, token="alice-token", **headers)).status)


async def may(live: Any, user: str, groups: list[str], **attributes: str) -> bool:
    spec = {"user": user, "groups": groups, "resourceAttributes": attributes}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return bool((await live.call("POST", path, {"spec": spec})).body["status"]["allowed"])


async def test_nobody_may_anything_that_was_not_granted(live: Any) -> None:
    """Fails if RBAC is not asked."""
    assert await alice(live, "GET", PODS) == 403
    assert await alice(live, "GET", "/api/v1/nodes") == 403
    assert await alice(live, "GET", "/metrics") == 403
    refused = await live.call("GET", f"{PODS}/x", token="alice-token")
    assert refused.body["message"] == (
        'pods "x" is forbidden: User "alice" cannot get resource "pods" in API group "" in the '
        'namespace "default"'
    )


async def test_a_role_counts_in_its_namespace_only(live: Any) -> None:
    await bind(live, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])
    assert await alice(live, "GET", PODS) == 200
    assert await alice(live, "GET", "/api/v1/namespaces/kube-system/pods") == 403
    assert await alice(live, "GET", "/api/v1/pods") == 403
    assert await alice(live, "GET", f"{PODS}?watch=1&timeoutSeconds=1") == 403


async def test_a_cluster_role_counts_everywhere(live: Any) -> None:
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["list"]}]
    await bind(live, rules, everywhere=True)
    assert await alice(live, "GET", "/api/v1/pods") == 200
    assert await alice(live, "GET", "/api/v1/nodes") == 200
    assert await alice(live, "GET", "/api/v1/nodes/x") == 403


async def test_a_rule_may_name_its_objects(live: Any) -> None:
    """Fails if resourceNames are not compared."""
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}
    await bind(live, [rule | {"resourceNames": ["kube-root-ca.crt"]}])
    maps = "/api/v1/namespaces/default/configmaps"
    assert await alice(live, "GET", f"{maps}/kube-root-ca.crt") == 200
    assert await alice(live, "GET", f"{maps}/other") == 403
    assert await alice(live, "GET", maps) == 403
    assert await alice(live, "GET", f"{maps}?fieldSelector=metadata.name%3Dkube-root-ca.crt") == 200


async def test_a_resource_does_not_grant_its_parts(live: Any) -> None:
    """Fails if `pods` counted for `pods/log`."""
    await bind(live, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}])
    assert await alice(live, "GET", f"{PODS}/x/log") == 403
    assert await alice(live, "PATCH", f"{PODS}/x/status", {}) == 403
    token = "/api/v1/namespaces/default/serviceaccounts/default/token"
    assert await alice(live, "POST", token, {}) == 403


async def test_rights_go_with_their_binding_at_once(live: Any) -> None:
    await bind(live, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])
    assert await alice(live, "GET", PODS) == 200
    await live.call("DELETE", f"{RBAC}/namespaces/default/rolebindings/b")
    assert await alice(live, "GET", PODS) == 403


async def test_groups_and_accounts_can_be_bound(live: Any) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    await bind(live, rules, subject={"kind": "Group", "name": "devs"})
    assert await alice(live, "GET", PODS) == 200
    binding = f"{RBAC}/namespaces/default/rolebindings/b"
    account = {"kind": "ServiceAccount", "name": "default", "namespace": "kube-system"}
    change = {"subjects": [account]}
    await live.call("PATCH", binding, change, content_type="application/merge-patch+json")
    user = "system:serviceaccount:kube-system:default"
    assert await may(live, user, [], verb="list", resource="pods", namespace="default")
    assert not await may(live, "default", [], verb="list", resource="pods", namespace="default")
    assert await alice(live, "GET", PODS) == 403


async def test_roles_are_collected_by_label(live: Any) -> None:
    role = {
        "metadata": {
            "name": "more",
            "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"},
        },
        "rules": [{"apiGroups": ["x.example"], "resources": ["things"], "verbs": ["get"]}],
    }
    await live.call("POST", f"{RBAC}/clusterroles", role)
    binding = {
        "metadata": {"name": "viewers"},
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "alice"}],
    }
    await live.call("POST", f"{RBAC}/clusterrolebindings", binding)
    assert await may(live, "alice", [], verb="get", group="x.example", resource="things")
    assert await alice(live, "GET", PODS) == 200
    assert not await may(live, "alice", [], verb="get", resource="secrets", namespace="default")


async def test_nodes_may_what_a_kubelet_does(live: Any) -> None:
    node = ["system:nodes"]
    for verb, resource, part in (
        ("create", "nodes", ""),
        ("patch", "nodes", "status"),
        ("watch", "pods", ""),
        ("patch", "pods", "status"),
        ("create", "serviceaccounts", "token"),
        ("get", "secrets", ""),
        ("create", "events", ""),
    ):
        asked = {"verb": verb, "resource": resource, "subresource": part}
        assert await may(live, "system:node:n", node, **asked), asked
    assert not await may(live, "system:node:n", node, verb="create", resource="secrets")


async def test_anyone_known_may_ask_what_the_api_has_and_what_they_may(live: Any) -> None:
    for path in ("/api", "/apis", "/openapi/v3", "/version", "/healthz"):
        assert await alice(live, "GET", path) == 200
    rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    answer = await live.call("POST", rules, {"spec": {"namespace": "default"}}, token="alice-token")
    assert answer.body["status"]["incomplete"] is False
    assert answer.body["status"]["nonResourceRules"]
    assert (await live.call("GET", "/api", token=None)).status == 403


async def test_acting_for_another_needs_the_right_to(live: Any) -> None:
    """Fails if the Impersonate headers are believed from anyone."""
    assert await alice(live, "GET", PODS, impersonate_user="admin") == 403
    masters = {"impersonate_user": "x", "impersonate_group": "system:masters"}
    assert await alice(live, "GET", PODS, **masters) == 403
    as_alice = await live.call("GET", PODS, impersonate_user="alice")
    assert as_alice.status == 403
    await bind(
        live,
        [
            {
                "apiGroups": [""],
                "resources": ["users"],
                "resourceNames": ["bob"],
                "verbs": ["impersonate"],
            }
        ],
        everywhere=True,
    )
    who = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    answer = await live.call("POST", who, {}, token="alice-token", impersonate_user="bob")
    assert answer.body["status"]["userInfo"] == {
        "username": "bob",
        "groups": ["system:authenticated"],
    }
    assert await alice(live, "POST", who, {}, impersonate_user="carol") == 403
    assert await alice(live, "POST", who, {}, **(masters | {"impersonate_user": "bob"})) == 403


async def test_a_local_review_asks_about_its_namespace_only(live: Any) -> None:
    path = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews"
    attributes = {"verb": "get", "resource": "pods", "namespace": "kube-system"}
    answer = await live.call(
        "POST", path, {"spec": {"user": "u", "resourceAttributes": attributes}}
    )
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")


@pytest.mark.parametrize(
    ("header", "resource"),
    [
        ({"impersonate_extra_scopes": "all"}, {"resources": ["userextras/scopes"]}),
        ({"impersonate_uid": "u-1"}, {"resources": ["uids"]}),
    ],
)
async def test_extras_and_uid_of_another_need_rights_of_their_own(
    live: Any, header: dict[str, str], resource: dict[str, Any]
) -> None:
    """Fails if who may act for a user may also say what else that user is."""
    who = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    user = {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}
    await bind(live, [user], everywhere=True)
    assert await alice(live, "POST", who, {}, impersonate_user="bob") == 201
    assert await alice(live, "POST", who, {}, impersonate_user="bob", **header) == 403
    value = next(iter(header.values()))
    extra = {"apiGroups": ["authentication.k8s.io"], "verbs": ["impersonate"]}
    rules = [user, extra | resource | {"resourceNames": [value]}]
    change = {"rules": rules}
    merge = "application/merge-patch+json"
    await live.call("PATCH", f"{RBAC}/clusterroles/r", change, content_type=merge)
    assert await alice(live, "POST", who, {}, impersonate_user="bob", **header) == 201
    other = dict.fromkeys(header, "other")
    assert await alice(live, "POST", who, {}, impersonate_user="bob", **other) == 403

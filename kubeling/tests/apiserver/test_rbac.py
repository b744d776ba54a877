"""RBAC: stored roles and bindings, and the default roles of a cluster."""

from typing import Any

import pytest

from kubeling.apiserver.auth import rbac
from kubeling.apiserver.auth.rbac import AuthorizerAttributes, RbacAuthorizer
from kubeling.apiserver.request import UserInfo
from tests.apiserver.counted_text import CountedText

RBAC = "/apis/rbac.authorization.k8s.io/v1"
PODS = "/api/v1/namespaces/default/pods"


async def grant(
    live: Any, rules: list[dict[str, Any]], *, everywhere: bool = False, subject: Any = None
) -> None:
    """Grant rules to alice, in `default` or in every namespace."""
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


async def status_for_alice(
    live: Any, method: str, path: str, body: Any = None, **headers: str
) -> int:
    return int((await live.call(method, path, body, token="alice-token", **headers)).status)


async def is_allowed(live: Any, user: str, groups: list[str], **attributes: str) -> bool:
    spec = {"user": user, "groups": groups, "resourceAttributes": attributes}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return bool((await live.call("POST", path, {"spec": spec})).body["status"]["allowed"])


async def test_request_without_a_grant_is_forbidden(live: Any) -> None:
    """Fails if requests are not authorized."""
    assert await status_for_alice(live, "GET", PODS) == 403
    assert await status_for_alice(live, "GET", "/api/v1/nodes") == 403
    assert await status_for_alice(live, "GET", "/metrics") == 403
    refused = await live.call("GET", f"{PODS}/x", token="alice-token")
    assert refused.body["message"] == (
        'pods "x" is forbidden: User "alice" cannot get resource "pods" in API group "" in the '
        'namespace "default"'
    )


async def test_binding_of_another_user_grants_nothing(live: Any) -> None:
    """Fails if the name of a User subject is not compared."""
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    await grant(live, rules, subject={"kind": "User", "name": "bob"})
    assert await is_allowed(live, "bob", [], verb="list", resource="pods", namespace="default")
    assert await status_for_alice(live, "GET", PODS) == 403


async def test_role_is_valid_only_in_its_namespace(live: Any) -> None:
    await grant(live, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])
    assert await status_for_alice(live, "GET", PODS) == 200
    assert await status_for_alice(live, "GET", "/api/v1/namespaces/kube-system/pods") == 403
    assert await status_for_alice(live, "GET", "/api/v1/pods") == 403
    assert await status_for_alice(live, "GET", f"{PODS}?watch=1&timeoutSeconds=1") == 403


async def test_cluster_role_is_valid_in_every_namespace(live: Any) -> None:
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["list"]}]
    await grant(live, rules, everywhere=True)
    assert await status_for_alice(live, "GET", "/api/v1/pods") == 200
    assert await status_for_alice(live, "GET", "/api/v1/nodes") == 200
    assert await status_for_alice(live, "GET", "/api/v1/nodes/x") == 403


async def test_rule_of_another_api_group_grants_nothing(live: Any) -> None:
    """Fails if the API groups of a rule are not compared."""
    await grant(live, [{"apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"]}])
    assert await status_for_alice(live, "GET", PODS) == 403
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    assert await status_for_alice(live, "GET", deployments) == 200


async def test_resource_names_limit_a_rule(live: Any) -> None:
    """Fails if resourceNames are not compared."""
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}
    await grant(live, [rule | {"resourceNames": ["kube-root-ca.crt"]}])
    maps = "/api/v1/namespaces/default/configmaps"
    assert await status_for_alice(live, "GET", f"{maps}/kube-root-ca.crt") == 200
    assert await status_for_alice(live, "GET", f"{maps}/other") == 403
    assert await status_for_alice(live, "GET", maps) == 403
    assert (
        await status_for_alice(
            live, "GET", f"{maps}?fieldSelector=metadata.name%3Dkube-root-ca.crt"
        )
        == 200
    )


async def test_rule_for_a_resource_does_not_include_its_subresources(live: Any) -> None:
    """Fails if a rule for `pods` allows `pods/log`."""
    await grant(live, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}])
    assert await status_for_alice(live, "GET", f"{PODS}/x/log") == 403
    assert await status_for_alice(live, "PATCH", f"{PODS}/x/status", {}) == 403
    token = "/api/v1/namespaces/default/serviceaccounts/default/token"
    assert await status_for_alice(live, "POST", token, {}) == 403


async def test_permissions_end_with_their_binding(live: Any) -> None:
    await grant(live, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])
    assert await status_for_alice(live, "GET", PODS) == 200
    await live.call("DELETE", f"{RBAC}/namespaces/default/rolebindings/b")
    assert await status_for_alice(live, "GET", PODS) == 403


async def test_groups_and_service_accounts_can_be_subjects(live: Any) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    await grant(live, rules, subject={"kind": "Group", "name": "devs"})
    assert await status_for_alice(live, "GET", PODS) == 200
    binding = f"{RBAC}/namespaces/default/rolebindings/b"
    account = {"kind": "ServiceAccount", "name": "default", "namespace": "kube-system"}
    change = {"subjects": [account]}
    await live.call("PATCH", binding, change, content_type="application/merge-patch+json")
    user = "system:serviceaccount:kube-system:default"
    assert await is_allowed(live, user, [], verb="list", resource="pods", namespace="default")
    assert not await is_allowed(
        live, "default", [], verb="list", resource="pods", namespace="default"
    )
    assert await status_for_alice(live, "GET", PODS) == 403


@pytest.mark.parametrize("everywhere", [False, True])
async def test_account_of_the_same_name_in_another_namespace_is_not_the_subject(
    live: Any, everywhere: bool
) -> None:
    """Fails if only the name of a ServiceAccount subject is compared."""
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    account = {"kind": "ServiceAccount", "name": "builder", "namespace": "kube-system"}
    await grant(live, rules, everywhere=everywhere, subject=account)
    attributes = {"verb": "list", "resource": "pods", "namespace": "default"}
    prefix = "system:serviceaccount"
    assert await is_allowed(live, f"{prefix}:kube-system:builder", [], **attributes)
    assert not await is_allowed(live, f"{prefix}:default:builder", [], **attributes)
    assert not await is_allowed(live, f"{prefix}:kube-public:builder", [], **attributes)


async def test_cluster_roles_are_aggregated_by_label(live: Any) -> None:
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
    assert await is_allowed(live, "alice", [], verb="get", group="x.example", resource="things")
    assert await status_for_alice(live, "GET", PODS) == 200
    assert not await is_allowed(
        live, "alice", [], verb="get", resource="secrets", namespace="default"
    )


async def test_nodes_have_the_permissions_of_a_kubelet(live: Any) -> None:
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
        attributes = {"verb": verb, "resource": resource, "subresource": part}
        assert await is_allowed(live, "system:node:n", node, **attributes), attributes
    assert not await is_allowed(live, "system:node:n", node, verb="create", resource="secrets")


async def test_authenticated_user_may_read_discovery_and_own_permissions(live: Any) -> None:
    for path in ("/api", "/apis", "/openapi/v3", "/version", "/healthz"):
        assert await status_for_alice(live, "GET", path) == 200
    rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    response = await live.call(
        "POST", rules, {"spec": {"namespace": "default"}}, token="alice-token"
    )
    assert response.body["status"]["incomplete"] is False
    assert response.body["status"]["nonResourceRules"]
    assert (await live.call("GET", "/api", token=None)).status == 403


async def test_impersonation_needs_a_permission(live: Any) -> None:
    """Fails if the Impersonate headers are accepted without authorization."""
    assert await status_for_alice(live, "GET", PODS, impersonate_user="admin") == 403
    masters = {"impersonate_user": "x", "impersonate_group": "system:masters"}
    assert await status_for_alice(live, "GET", PODS, **masters) == 403
    as_alice = await live.call("GET", PODS, impersonate_user="alice")
    assert as_alice.status == 403
    await grant(
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
    response = await live.call("POST", who, {}, token="alice-token", impersonate_user="bob")
    assert response.body["status"]["userInfo"] == {
        "username": "bob",
        "groups": ["system:authenticated"],
    }
    assert await status_for_alice(live, "POST", who, {}, impersonate_user="carol") == 403
    assert (
        await status_for_alice(live, "POST", who, {}, **(masters | {"impersonate_user": "bob"}))
        == 403
    )


async def test_local_review_of_another_namespace_is_refused(live: Any) -> None:
    path = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews"
    attributes = {"verb": "get", "resource": "pods", "namespace": "kube-system"}
    response = await live.call(
        "POST", path, {"spec": {"user": "u", "resourceAttributes": attributes}}
    )
    assert (response.status, response.body["reason"]) == (422, "Invalid")


@pytest.mark.parametrize(
    ("header", "resource"),
    [
        ({"impersonate_extra_scopes": "all"}, {"resources": ["userextras/scopes"]}),
        ({"impersonate_uid": "u-1"}, {"resources": ["uids"]}),
    ],
)
async def test_impersonated_extra_and_uid_need_their_own_permissions(
    live: Any, header: dict[str, str], resource: dict[str, Any]
) -> None:
    """Fails if the permission to impersonate a user includes its extra fields and its uid."""
    who = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    user = {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}
    await grant(live, [user], everywhere=True)
    assert await status_for_alice(live, "POST", who, {}, impersonate_user="bob") == 201
    assert await status_for_alice(live, "POST", who, {}, impersonate_user="bob", **header) == 403
    value = next(iter(header.values()))
    extra = {"apiGroups": ["authentication.k8s.io"], "verbs": ["impersonate"]}
    rules = [user, extra | resource | {"resourceNames": [value]}]
    change = {"rules": rules}
    merge = "application/merge-patch+json"
    await live.call("PATCH", f"{RBAC}/clusterroles/r", change, content_type=merge)
    assert await status_for_alice(live, "POST", who, {}, impersonate_user="bob", **header) == 201
    other = dict.fromkeys(header, "other")
    assert await status_for_alice(live, "POST", who, {}, impersonate_user="bob", **other) == 403


async def test_unchanged_binding_is_not_parsed_again(
    live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if each request, or each change of a role, reads every subject of every binding."""
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    await grant(live, [everything])
    assert await status_for_alice(live, "GET", PODS) == 200
    parsed: list[str] = []
    parse = rbac._parse_binding

    def recorded(obj: Any) -> Any:
        parsed.append(obj["metadata"]["name"])
        return parse(obj)

    monkeypatch.setattr(rbac, "_parse_binding", recorded)
    binding = {
        "metadata": {"name": "many"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": f"u{at}"} for at in range(500)]
        + [{"kind": "Group", "name": "devs"}, {"kind": "User", "name": "alice"}],
    }
    made = await live.call("POST", f"{RBAC}/namespaces/default/rolebindings", binding)
    assert made.status == 201
    await live.call("DELETE", f"{RBAC}/namespaces/default/rolebindings/b")
    assert await status_for_alice(live, "GET", PODS) == 200
    assert parsed == ["many"]
    [first] = list(live.cluster._rbac.grants(UserInfo(name="alice", groups=("devs",)), "default"))
    assert first.reason.endswith('to Group "devs"')


async def test_bindings_of_other_namespaces_are_not_read(live: Any) -> None:
    """Fails if a request reads every binding of the cluster."""
    await grant(live, [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}])
    binding = (await live.call("GET", f"{RBAC}/namespaces/default/rolebindings/b")).body
    user, read = UserInfo(name="alice"), 0

    class CountedName(str):
        def __hash__(self) -> int:
            nonlocal read
            read += 1
            return super().__hash__()

        __eq__ = str.__eq__

    for at in range(30):
        await live.call("POST", "/api/v1/namespaces", {"metadata": {"name": f"ns{at}"}})
        body = {name: binding[name] for name in ("roleRef", "subjects")}
        body["metadata"] = {"name": "b"}
        made = await live.call("POST", f"{RBAC}/namespaces/ns{at}/rolebindings", body)
        assert made.status == 201, made.text
    authorizer = RbacAuthorizer(live.cluster.store)
    in_default, everywhere = (len(list(authorizer.grants(user, at))) for at in ("default", ""))
    assert (in_default, everywhere) == (1, 0)
    found = list(authorizer.grants(UserInfo(name=CountedName("alice")), "default"))
    assert len(found) == 1
    assert 0 < read < 30


async def test_authorization_by_a_rule_of_many_verbs_takes_constant_time(live: Any) -> None:
    """Fails if a rule is searched as a list: a role of a megabyte delayed every other request."""
    verbs = [f"v{at}" for at in range(3000)]
    await grant(live, [{"verbs": verbs, "apiGroups": ["g"], "resources": ["r"]}])
    authorizer = RbacAuthorizer(live.cluster.store)
    user = UserInfo(name="alice", groups=("devs",))
    CountedText.compared = 0
    attributes = AuthorizerAttributes(
        verb=CountedText("v2999"), group="g", resource="r", namespace="default"
    )
    assert authorizer.authorize(user, attributes) is not None
    assert CountedText.compared < 100


async def test_rules_of_a_role_are_read_once_for_all_its_bindings(
    live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await grant(live, [{"verbs": ["get"], "apiGroups": ["g"], "resources": ["r"]}])
    first = (await live.call("GET", f"{RBAC}/namespaces/default/rolebindings/b")).body
    for at in range(30):
        more = {"metadata": {"name": f"more{at}"}}
        body = {**{name: first[name] for name in ("roleRef", "subjects")}, **more}
        made = await live.call("POST", f"{RBAC}/namespaces/default/rolebindings", body)
        assert made.status == 201, made.text
    read = 0

    def allows(_rule: Any, _attributes: Any) -> bool:
        nonlocal read
        read += 1
        return False

    monkeypatch.setattr(rbac, "_rule_allows", allows)
    authorizer = RbacAuthorizer(live.cluster.store)
    attributes = AuthorizerAttributes(verb="get", group="g", resource="other", namespace="default")
    assert authorizer.authorize(UserInfo(name="alice"), attributes) is None
    assert read == 1
    assert len(authorizer.rules(UserInfo(name="alice"), "default")) == 1

"""Escalation prevention: users write roles and bindings only within their own permissions."""

from typing import Any

import pytest

from kubeling.apiserver.auth.rbac import RbacAuthorizer, check_escalation, is_covered
from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.request import UserInfo
from kubeling.apiserver.status import StatusError
from tests.apiserver.counted_text import CountedText

GROUP = "rbac.authorization.k8s.io"
RBAC = f"/apis/{GROUP}/v1"
HERE = f"{RBAC}/namespaces/default"
READ = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
WRITE_RBAC = {
    "apiGroups": [GROUP],
    "resources": ["roles", "rolebindings", "clusterroles", "clusterrolebindings"],
    "verbs": ["create", "update", "patch", "get"],
}
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"


def role(kind: str, *rules: Any, name: str = "mine", **more: Any) -> dict[str, Any]:
    about = {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": name}}
    return {**about, "rules": list(rules), **more}


def binding(kind: str, of: str, name: str = "mine", ref: str = "ClusterRole") -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": kind,
        "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": ref, "name": of},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": "alice"}],
    }


async def grant(live: Any, *rules: Any, name: str = "grant") -> None:
    made = await live.call("POST", f"{RBAC}/clusterroles", role("ClusterRole", *rules, name=name))
    assert made.status == 201, made.text
    body = binding("ClusterRoleBinding", name, name)
    made = await live.call("POST", f"{RBAC}/clusterrolebindings", body)
    assert made.status == 201, made.text


@pytest.fixture
async def writer(live: Any) -> Any:
    """Return a cluster in which alice reads pods and writes roles and bindings."""
    await grant(live, READ, WRITE_RBAC)
    return live


async def status_for_alice(live: Any, method: str, path: str, body: Any, **headers: str) -> int:
    return int((await live.call(method, path, body, token="alice-token", **headers)).status)


KINDS = [("Role", f"{HERE}/roles"), ("ClusterRole", f"{RBAC}/clusterroles")]


@pytest.mark.parametrize(("kind", "path"), KINDS)
async def test_role_with_rules_of_its_writer_is_accepted(writer: Any, kind: str, path: str) -> None:
    assert await status_for_alice(writer, "POST", path, role(kind, READ)) == 201
    assert (
        await status_for_alice(writer, "PUT", f"{path}/mine", role(kind, READ | {"verbs": ["get"]}))
        == 200
    )


async def assert_not_created(writer: Any, method: str, path: str, body: dict[str, Any]) -> None:
    """Check that alice may not create the object `mine`."""
    more = {"content_type": APPLY} if method == "APPLY" else {}
    verb, end = {
        "APPLY": ("PATCH", "/mine?fieldManager=x"),
        "PUT": ("PUT", "/mine"),
        "DRY": ("POST", "?dryRun=All"),
        "POST": ("POST", ""),
    }[method]
    assert await status_for_alice(writer, verb, path + end, body, **more) == 403
    assert (await writer.call("GET", f"{path}/mine")).status == 404


@pytest.mark.parametrize(("kind", "path"), KINDS)
@pytest.mark.parametrize("method", ["POST", "PUT", "APPLY", "DRY"])
async def test_new_role_with_uncovered_rules_is_refused(
    writer: Any, kind: str, path: str, method: str
) -> None:
    """Fails without the check: a user who may write roles could grant themselves everything."""
    await assert_not_created(writer, method, path, role(kind, READ, SECRETS))


@pytest.mark.parametrize(("kind", "path"), KINDS)
async def test_changed_role_with_uncovered_rules_is_refused(
    writer: Any, kind: str, path: str
) -> None:
    """Fails if only the creation is checked."""
    assert await status_for_alice(writer, "POST", path, role(kind, READ)) == 201
    one, wide = f"{path}/mine", role(kind, SECRETS)
    assert await status_for_alice(writer, "PUT", one, wide) == 403
    assert (
        await status_for_alice(writer, "PATCH", one, {"rules": [SECRETS]}, content_type=MERGE)
        == 403
    )
    forced = f"{one}?fieldManager=x&force=true"
    assert await status_for_alice(writer, "PATCH", forced, wide, content_type=APPLY) == 403
    assert (await writer.call("GET", one)).body["rules"][0]["resources"] == ["pods"]


async def test_refusal_names_the_uncovered_rules(writer: Any) -> None:
    refused = await writer.call(
        "POST", f"{HERE}/roles", role("Role", READ, SECRETS), token="alice-token"
    )
    assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
    assert refused.body["details"] == {"name": "mine", "group": GROUP, "kind": "roles"}
    message = refused.body["message"]
    assert message.startswith(f'roles.{GROUP} "mine" is forbidden: user "alice" (groups=["devs"')
    assert "secrets" in message
    assert "pods" not in message


async def test_escalate_permission_allows_any_rule(live: Any) -> None:
    escalate = {"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["escalate"]}
    await grant(live, WRITE_RBAC, escalate)
    assert await status_for_alice(live, "POST", f"{HERE}/roles", role("Role", SECRETS)) == 201
    body = role("ClusterRole", SECRETS)
    assert await status_for_alice(live, "POST", f"{RBAC}/clusterroles", body) == 403


BINDINGS = [
    ("RoleBinding", f"{HERE}/rolebindings"),
    ("ClusterRoleBinding", f"{RBAC}/clusterrolebindings"),
]


@pytest.mark.parametrize(("kind", "path"), BINDINGS)
@pytest.mark.parametrize("method", ["POST", "PUT", "APPLY"])
async def test_binding_to_an_uncovered_role_is_refused(
    writer: Any, kind: str, path: str, method: str
) -> None:
    """Fails without the check: one binding to cluster-admin grants everything."""
    await assert_not_created(writer, method, path, binding(kind, "cluster-admin"))


@pytest.mark.parametrize(("kind", "path"), BINDINGS)
async def test_changed_binding_to_an_uncovered_role_is_refused(
    writer: Any, kind: str, path: str
) -> None:
    body = binding(kind, "cluster-admin") | {"subjects": []}
    assert (await writer.call("POST", path, body)).status == 201
    one, mine = f"{path}/mine", binding(kind, "cluster-admin")
    change = {"subjects": mine["subjects"]}
    assert await status_for_alice(writer, "PATCH", one, change, content_type=MERGE) == 403
    assert await status_for_alice(writer, "PUT", one, mine) == 403
    # Metadata that deletion needs may be changed without the permissions of the role.
    finalizers = {"metadata": {"finalizers": ["example.com/f"]}}
    assert await status_for_alice(writer, "PATCH", one, finalizers, content_type=MERGE) == 200


@pytest.mark.parametrize(("kind", "path"), BINDINGS)
async def test_covered_role_may_be_bound_and_a_missing_role_may_not(
    writer: Any, kind: str, path: str
) -> None:
    """Fails if a binding can name a missing role: the role would later be granted without a check."""
    assert await status_for_alice(writer, "POST", path, binding(kind, "grant")) == 201
    assert await status_for_alice(writer, "POST", path, binding(kind, "later", "other")) == 404


async def test_bind_permission_allows_only_the_named_role(live: Any) -> None:
    bind = {"apiGroups": [GROUP], "resources": ["clusterroles"], "verbs": ["bind"]}
    await grant(live, WRITE_RBAC, bind | {"resourceNames": ["view"]})
    path = f"{HERE}/rolebindings"
    assert await status_for_alice(live, "POST", path, binding("RoleBinding", "view")) == 201
    assert (
        await status_for_alice(live, "POST", path, binding("RoleBinding", "edit", "other")) == 403
    )


async def test_namespaced_permissions_do_not_cover_a_cluster_role(live: Any) -> None:
    await grant(live, WRITE_RBAC)
    await live.call("POST", f"{HERE}/roles", role("Role", SECRETS, name="held"))
    body = binding("RoleBinding", "held", "held", ref="Role")
    assert (await live.call("POST", f"{HERE}/rolebindings", body)).status == 201
    assert await status_for_alice(live, "POST", f"{HERE}/roles", role("Role", SECRETS)) == 201
    assert (
        await status_for_alice(live, "POST", f"{RBAC}/clusterroles", role("ClusterRole", SECRETS))
    ) == 403
    elsewhere = f"{RBAC}/namespaces/kube-system/roles"
    assert await status_for_alice(live, "POST", elsewhere, role("Role", SECRETS)) == 403


async def test_aggregation_rule_needs_every_permission(writer: Any) -> None:
    """Fails if an aggregationRule is not checked: it could select the rules of cluster-admin."""
    rule = {"clusterRoleSelectors": [{"matchLabels": {"x": "y"}}]}
    body = role("ClusterRole", READ, aggregationRule=rule)
    assert await status_for_alice(writer, "POST", f"{RBAC}/clusterroles", body) == 403
    await writer.call(
        "POST", f"{RBAC}/clusterrolebindings", binding("ClusterRoleBinding", "cluster-admin", "all")
    )
    assert await status_for_alice(writer, "POST", f"{RBAC}/clusterroles", body) == 201


async def test_apply_and_put_need_the_create_permission_for_a_new_object(live: Any) -> None:
    """Fails if the permission to update includes the permission to create."""
    change = {"apiGroups": ["", GROUP], "resources": ["configmaps", "roles"]}
    await grant(live, change | {"verbs": ["patch", "update", "get"]})
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}}
    path = "/api/v1/namespaces/default/configmaps/m?fieldManager=x&force=true"
    refused = await live.call("PATCH", path, body, token="alice-token", content_type=APPLY)
    assert refused.status == 403
    assert 'cannot create resource "configmaps"' in refused.body["message"]
    assert await status_for_alice(live, "PUT", f"{HERE}/roles/mine", role("Role")) == 403
    assert (await live.call("PATCH", path, body, content_type=APPLY)).status == 201
    assert await status_for_alice(live, "PATCH", path, body, content_type=APPLY) == 200


def rule(verbs: str, groups: str, resources: str, names: str = "") -> dict[str, Any]:
    def read(text: str) -> list[str]:
        return ["" if each == "core" else each for each in text.split()]

    made = {"verbs": read(verbs), "apiGroups": read(groups), "resources": read(resources)}
    return made | ({"resourceNames": read(names)} if names else {})


PODS = rule("get list", "core", "pods")


@pytest.mark.parametrize(
    ("held", "wanted", "expected"),
    [
        ([PODS], PODS, True),
        ([], PODS, False),
        ([rule("get", "core", "pods"), rule("list", "core", "pods")], PODS, True),
        ([rule("get", "core", "pods"), rule("list", "apps", "pods")], PODS, False),
        (
            [rule("get", "core", "a"), rule("list", "core", "b")],
            rule("get list", "core", "a b"),
            False,
        ),
        ([rule("*", "*", "*")], rule("get bind", "core x", "pods pods/log", "n"), True),
        ([rule("get", "core", "pods")], rule("*", "core", "pods"), False),
        ([rule("get", "core", "pods")], rule("get", "*", "pods"), False),
        ([rule("get", "core", "pods")], rule("get", "core", "*"), False),
        ([rule("get", "core", "pods")], rule("get", "core", "pods/log"), False),
        ([rule("get", "core", "*/log")], rule("get", "core", "pods/log"), True),
        ([rule("get", "core", "pods", "a")], rule("get", "core", "pods"), False),
        ([rule("get", "core", "pods", "a")], rule("get", "core", "pods", "a b"), False),
        ([rule("get", "core", "pods")], rule("get", "core", "pods", "a b"), True),
        (
            [{"verbs": ["get"], "nonResourceURLs": ["/a/*"]}],
            {"verbs": ["get"], "nonResourceURLs": ["/a/b", "/a/b/*"]},
            True,
        ),
        (
            [{"verbs": ["get"], "nonResourceURLs": ["/a/*"]}],
            {"verbs": ["get"], "nonResourceURLs": ["/a", "/a/b"]},
            False,
        ),
        ([rule("*", "*", "*")], {"verbs": ["get"], "nonResourceURLs": ["/a"]}, False),
    ],
)
def test_each_permission_of_a_rule_must_be_covered(held: Any, wanted: Any, expected: bool) -> None:
    assert is_covered(held, wanted) is expected


def test_rule_with_a_billion_permissions_is_checked_fast() -> None:
    """Hangs if each permission is checked separately."""
    many = " ".join(f"x{at}" for at in range(1000))
    assert is_covered([rule("*", "*", "*")], rule(many, many, many, many))
    assert not is_covered([PODS], rule(many, many, many, many))


def test_many_narrow_rules_are_checked_fast() -> None:
    """Fails if every combination is checked: there are more combinations than the limit."""

    def narrow(count: int) -> tuple[list[Any], Any]:
        names = [f"x{at}" for at in range(count)]
        held = [rule(name, "*", "*") for name in names]
        held += [rule("*", name, "*") for name in names] + [rule("*", "*", name) for name in names]
        return held, rule(*[" ".join(names)] * 3)

    few, wanted = narrow(40)
    assert is_covered(few, wanted)
    many, wanted = narrow(50)
    assert not is_covered(many, wanted)
    assert is_covered([*many, rule("*", "*", "*")], wanted)


async def test_escalation_check_of_many_verbs_takes_linear_time(live: Any) -> None:
    """Fails if granted values are lists: 16,000 verbs stopped the whole instance for 8 seconds."""
    verbs = [f"v{at}" for at in range(3000)]
    await grant(live, {"apiGroups": ["g"], "resources": ["r"], "verbs": verbs})
    rbac = RbacAuthorizer(live.cluster.store)
    user = UserInfo(name="alice", groups=("devs",))
    rule = {"apiGroups": ["g"], "resources": ["r"], "verbs": [*map(CountedText, verbs[::-1])]}
    CountedText.compared = 0
    check_escalation(
        rbac, user, kind_by_name("ClusterRole"), {"metadata": {"name": "r"}, "rules": [rule]}, None
    )
    assert CountedText.compared < 20 * len(verbs)


async def test_role_with_too_many_url_comparisons_is_refused(live: Any) -> None:
    """Fails without the count: a pattern can be a prefix, so it cannot be looked up."""
    urls = [f"/page{at}" for at in range(1000)]
    await grant(live, {"nonResourceURLs": urls, "verbs": ["get"]})
    rbac = RbacAuthorizer(live.cluster.store)
    user = UserInfo(name="alice", groups=("devs",))
    made = {"metadata": {"name": "r"}, "rules": [{"nonResourceURLs": urls, "verbs": ["get"]}]}
    with pytest.raises(StatusError) as caught:
        check_escalation(rbac, user, kind_by_name("ClusterRole"), made, None)
    assert caught.value.status == 403
    few = {"metadata": {"name": "r"}, "rules": [{"nonResourceURLs": urls[:50], "verbs": ["get"]}]}
    check_escalation(rbac, user, kind_by_name("ClusterRole"), few, None)


async def test_role_above_the_comparison_limit_is_refused(live: Any) -> None:
    """Fails without the limit: hundreds of thousands of values would be compared with every granted rule."""
    await grant(live, READ, WRITE_RBAC, *[READ] * 100)
    rbac = RbacAuthorizer(live.cluster.store)
    user = UserInfo(name="alice", groups=("devs",))
    made = {"metadata": {"name": "r"}, "rules": [READ] * 10_000}
    with pytest.raises(StatusError) as caught:
        check_escalation(rbac, user, kind_by_name("ClusterRole"), made, None)
    assert caught.value.status == 403
    check_escalation(rbac, user, kind_by_name("ClusterRole"), made | {"rules": [READ] * 100}, None)

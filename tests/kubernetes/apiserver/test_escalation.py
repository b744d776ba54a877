"""Who may write roles and bindings, and how far: never further than their own rights."""

from typing import Any

import pytest

from podpass.kubernetes.apiserver.auth.escalation import check, covered
from podpass.kubernetes.apiserver.auth.rbac import Rbac
from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.request import User
from podpass.kubernetes.apiserver.status import StatusError

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
    """A cluster in which alice reads pods and writes roles and bindings."""
    await grant(live, READ, WRITE_RBAC)
    return live


async def alice(live: Any, method: str, path: str, body: Any, **headers: str) -> int:
    return int((await live.call(method, path, body, token="alice-token", **headers)).status)


KINDS = [("Role", f"{HERE}/roles"), ("ClusterRole", f"{RBAC}/clusterroles")]


@pytest.mark.parametrize(("kind", "path"), KINDS)
async def test_a_role_may_grant_what_its_writer_holds(writer: Any, kind: str, path: str) -> None:
    assert await alice(writer, "POST", path, role(kind, READ)) == 201
    assert await alice(writer, "PUT", f"{path}/mine", role(kind, READ | {"verbs": ["get"]})) == 200


@pytest.mark.parametrize(("kind", "path"), KINDS)
@pytest.mark.parametrize("method", ["POST", "PUT", "APPLY", "DRY"])
async def test_a_new_role_grants_nothing_its_writer_lacks(
    writer: Any, kind: str, path: str, method: str
) -> None:
    """Fails without the check: whoever may write roles would take the whole cluster."""
    body = role(kind, READ, SECRETS)
    match method:
        case "APPLY":
            where = f"{path}/mine?fieldManager=x"
            assert await alice(writer, "PATCH", where, body, content_type=APPLY) == 403
        case "PUT":
            assert await alice(writer, "PUT", f"{path}/mine", body) == 403
        case "DRY":
            assert await alice(writer, "POST", f"{path}?dryRun=All", body) == 403
        case _:
            assert await alice(writer, "POST", path, body) == 403
    assert (await writer.call("GET", f"{path}/mine")).status == 404


@pytest.mark.parametrize(("kind", "path"), KINDS)
async def test_a_role_is_not_widened_beyond_its_writer(writer: Any, kind: str, path: str) -> None:
    """Fails if only the creation is looked at."""
    assert await alice(writer, "POST", path, role(kind, READ)) == 201
    one, wide = f"{path}/mine", role(kind, SECRETS)
    assert await alice(writer, "PUT", one, wide) == 403
    assert await alice(writer, "PATCH", one, {"rules": [SECRETS]}, content_type=MERGE) == 403
    forced = f"{one}?fieldManager=x&force=true"
    assert await alice(writer, "PATCH", forced, wide, content_type=APPLY) == 403
    assert (await writer.call("GET", one)).body["rules"][0]["resources"] == ["pods"]


async def test_the_refusal_says_what_is_lacking(writer: Any) -> None:
    refused = await writer.call(
        "POST", f"{HERE}/roles", role("Role", READ, SECRETS), token="alice-token"
    )
    assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
    assert refused.body["details"] == {"name": "mine", "group": GROUP, "kind": "roles"}
    message = refused.body["message"]
    assert message.startswith(f'roles.{GROUP} "mine" is forbidden: user "alice" (groups=["devs"')
    assert "secrets" in message
    assert "pods" not in message


async def test_who_may_escalate_may_grant_anything(live: Any) -> None:
    escalate = {"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["escalate"]}
    await grant(live, WRITE_RBAC, escalate)
    assert await alice(live, "POST", f"{HERE}/roles", role("Role", SECRETS)) == 201
    body = role("ClusterRole", SECRETS)
    assert await alice(live, "POST", f"{RBAC}/clusterroles", body) == 403


BINDINGS = [
    ("RoleBinding", f"{HERE}/rolebindings"),
    ("ClusterRoleBinding", f"{RBAC}/clusterrolebindings"),
]


@pytest.mark.parametrize(("kind", "path"), BINDINGS)
@pytest.mark.parametrize("method", ["POST", "PUT", "APPLY"])
async def test_a_binding_gives_no_role_its_writer_does_not_hold(
    writer: Any, kind: str, path: str, method: str
) -> None:
    """Fails without the check: one binding of cluster-admin would be enough."""
    body = binding(kind, "cluster-admin")
    match method:
        case "APPLY":
            where = f"{path}/mine?fieldManager=x"
            assert await alice(writer, "PATCH", where, body, content_type=APPLY) == 403
        case "PUT":
            assert await alice(writer, "PUT", f"{path}/mine", body) == 403
        case _:
            assert await alice(writer, "POST", path, body) == 403
    assert (await writer.call("GET", f"{path}/mine")).status == 404


@pytest.mark.parametrize(("kind", "path"), BINDINGS)
async def test_nobody_adds_themselves_to_a_binding_beyond_them(
    writer: Any, kind: str, path: str
) -> None:
    body = binding(kind, "cluster-admin") | {"subjects": []}
    assert (await writer.call("POST", path, body)).status == 201
    one, mine = f"{path}/mine", binding(kind, "cluster-admin")
    change = {"subjects": mine["subjects"]}
    assert await alice(writer, "PATCH", one, change, content_type=MERGE) == 403
    assert await alice(writer, "PUT", one, mine) == 403
    # What is only needed to get rid of it may be written by who may write it at all.
    finalizers = {"metadata": {"finalizers": ["example.com/f"]}}
    assert await alice(writer, "PATCH", one, finalizers, content_type=MERGE) == 200


@pytest.mark.parametrize(("kind", "path"), BINDINGS)
async def test_a_held_role_may_be_bound_and_one_that_is_not_there_may_not(
    writer: Any, kind: str, path: str
) -> None:
    """Fails if a binding may wait for a role: it would take effect unchecked."""
    assert await alice(writer, "POST", path, binding(kind, "grant")) == 201
    assert await alice(writer, "POST", path, binding(kind, "later", "other")) == 404


async def test_who_may_bind_a_role_may_give_it_and_no_other(live: Any) -> None:
    bind = {"apiGroups": [GROUP], "resources": ["clusterroles"], "verbs": ["bind"]}
    await grant(live, WRITE_RBAC, bind | {"resourceNames": ["view"]})
    path = f"{HERE}/rolebindings"
    assert await alice(live, "POST", path, binding("RoleBinding", "view")) == 201
    assert await alice(live, "POST", path, binding("RoleBinding", "edit", "other")) == 403


async def test_rights_in_one_namespace_do_not_cover_a_role_of_the_cluster(live: Any) -> None:
    await grant(live, WRITE_RBAC)
    await live.call("POST", f"{HERE}/roles", role("Role", SECRETS, name="held"))
    body = binding("RoleBinding", "held", "held", ref="Role")
    assert (await live.call("POST", f"{HERE}/rolebindings", body)).status == 201
    assert await alice(live, "POST", f"{HERE}/roles", role("Role", SECRETS)) == 201
    assert (await alice(live, "POST", f"{RBAC}/clusterroles", role("ClusterRole", SECRETS))) == 403
    elsewhere = f"{RBAC}/namespaces/kube-system/roles"
    assert await alice(live, "POST", elsewhere, role("Role", SECRETS)) == 403


async def test_only_who_holds_everything_may_collect_roles_by_label(writer: Any) -> None:
    """Fails if an aggregationRule passes: it would collect cluster-admin's rules."""
    rule = {"clusterRoleSelectors": [{"matchLabels": {"x": "y"}}]}
    body = role("ClusterRole", READ, aggregationRule=rule)
    assert await alice(writer, "POST", f"{RBAC}/clusterroles", body) == 403
    await writer.call(
        "POST", f"{RBAC}/clusterrolebindings", binding("ClusterRoleBinding", "cluster-admin", "all")
    )
    assert await alice(writer, "POST", f"{RBAC}/clusterroles", body) == 201


async def test_apply_and_put_make_objects_only_for_who_may_create(live: Any) -> None:
    """Fails if the right to change counts as the right to make."""
    change = {"apiGroups": ["", GROUP], "resources": ["configmaps", "roles"]}
    await grant(live, change | {"verbs": ["patch", "update", "get"]})
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}}
    path = "/api/v1/namespaces/default/configmaps/m?fieldManager=x&force=true"
    refused = await live.call("PATCH", path, body, token="alice-token", content_type=APPLY)
    assert refused.status == 403
    assert 'cannot create resource "configmaps"' in refused.body["message"]
    assert await alice(live, "PUT", f"{HERE}/roles/mine", role("Role")) == 403
    assert (await live.call("PATCH", path, body, content_type=APPLY)).status == 201
    assert await alice(live, "PATCH", path, body, content_type=APPLY) == 200


def rule(verbs: str, groups: str, resources: str, names: str = "") -> dict[str, Any]:
    def read(text: str) -> list[str]:
        return ["" if each == "core" else each for each in text.split()]

    made = {"verbs": read(verbs), "apiGroups": read(groups), "resources": read(resources)}
    return made | ({"resourceNames": read(names)} if names else {})


PODS = rule("get list", "core", "pods")


@pytest.mark.parametrize(
    ("held", "wanted", "is_covered"),
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
def test_each_single_right_of_a_rule_must_be_held(held: Any, wanted: Any, is_covered: bool) -> None:
    assert covered(held, wanted) is is_covered


def test_a_rule_of_a_billion_rights_is_looked_at_in_no_time() -> None:
    """Hangs if each right is looked at by itself."""
    many = " ".join(f"x{at}" for at in range(1000))
    assert covered([rule("*", "*", "*")], rule(many, many, many, many))
    assert not covered([PODS], rule(many, many, many, many))


def test_many_narrow_rules_cannot_keep_the_server_busy() -> None:
    """Fails if every combination is tried: each is held, and there are more of them than are counted."""

    def narrow(count: int) -> tuple[list[Any], Any]:
        names = [f"x{at}" for at in range(count)]
        held = [rule(name, "*", "*") for name in names]
        held += [rule("*", name, "*") for name in names] + [rule("*", "*", name) for name in names]
        return held, rule(*[" ".join(names)] * 3)

    few, wanted = narrow(40)
    assert covered(few, wanted)
    many, wanted = narrow(50)
    assert not covered(many, wanted)
    assert covered([*many, rule("*", "*", "*")], wanted)


async def test_a_role_too_large_to_be_compared_is_refused(live: Any) -> None:
    """Fails without the bound: hundreds of thousands of values, each against every held rule."""
    await grant(live, READ, WRITE_RBAC, *[READ] * 100)
    rbac = Rbac(live.cluster.store)
    user = User(name="alice", groups=("devs",))
    made = {"metadata": {"name": "r"}, "rules": [READ] * 10_000}
    with pytest.raises(StatusError) as caught:
        check(rbac, user, named("ClusterRole"), made, None)
    assert caught.value.status == 403
    check(rbac, user, named("ClusterRole"), made | {"rules": [READ] * 100}, None)

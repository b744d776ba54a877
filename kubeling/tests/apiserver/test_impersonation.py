"""Impersonation of user, groups, uid and extra fields: each needs its own permission, and is logged."""

import json
import logging
from typing import Any

import pytest

from tests.apiserver.kubectl import Kubectl, kubectl

__all__ = ["kubectl"]

WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ACCOUNT = "system:serviceaccount:default:default"


async def review_self(live: Any, *headers: tuple[str, str], token: str = "admin-token") -> Any:
    """Send a SelfSubjectReview; a header may be given more than once."""
    sent_headers = [
        ("authorization", f"Bearer {token}"),
        ("content-type", "application/json"),
        *headers,
    ]
    async with live.session.post(live.server + WHO, data=b"{}", headers=sent_headers) as response:
        return response.status, json.loads(await response.read())


async def whoami(live: Any, *headers: tuple[str, str]) -> Any:
    status, body = await review_self(live, *headers)
    assert status == 201, body
    return body["status"]["userInfo"]


_ALICE = {"kind": "User", "name": "alice"}
_ASKING = {
    "verbs": ["create"],
    "apiGroups": ["authentication.k8s.io"],
    "resources": ["selfsubjectreviews"],
}


async def grant(live: Any, *rules: dict[str, Any], to: dict[str, str] = _ALICE) -> None:
    """Grant rules to alice; the default verb is impersonate."""
    rules = tuple({"verbs": ["impersonate"], "apiGroups": [""], **rule} for rule in rules)
    await live.call("DELETE", f"{RBAC}/clusterroles/r")
    await live.call("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "r"}, "rules": rules})
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}
    subject = {"apiGroup": ref["apiGroup"], **to}
    body = {"metadata": {"name": "r"}, "roleRef": ref, "subjects": [subject]}
    await live.call("POST", f"{RBAC}/clusterrolebindings", body)


async def test_impersonation_header_may_repeat_and_a_comma_does_not_separate_values(
    live: Any,
) -> None:
    """Fails if lines are joined: the group `a,system:masters` would be two groups, one of them privileged."""
    found = await whoami(
        live,
        ("Impersonate-User", "bob"),
        ("Impersonate-Group", "devs"),
        ("Impersonate-Group", "a,system:masters"),
        ("Impersonate-Extra-scopes", "read"),
        ("Impersonate-Extra-scopes", "write,all"),
        ("Impersonate-Extra-acme.com%2Fproject", "p"),
        ("Impersonate-Uid", "u-1"),
    )
    assert found == {
        "username": "bob",
        "uid": "u-1",
        "groups": ["devs", "a,system:masters", "system:authenticated"],
        "extra": {"scopes": ["read", "write,all"], "acme.com/project": ["p"]},
    }


@pytest.mark.parametrize(
    ("name", "groups", "found"),
    [
        ("bob", [], ["system:authenticated"]),
        ("bob", ["system:unauthenticated"], ["system:unauthenticated"]),
        ("system:anonymous", [], ["system:unauthenticated"]),
        (ACCOUNT, ["devs"], ["devs", "system:authenticated"]),
        (
            ACCOUNT,
            [],
            ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
        ),
    ],
)
async def test_impersonated_user_gets_the_groups_of_its_kind(
    live: Any, name: str, groups: list[str], found: list[str]
) -> None:
    await grant(live, _ASKING, to={"kind": "Group", "name": "system:unauthenticated"})
    asked = [("Impersonate-Group", group) for group in groups]
    assert (await whoami(live, ("Impersonate-User", name), *asked))["groups"] == found


async def test_impersonation_of_an_account_needs_its_own_permission(live: Any) -> None:
    await grant(live, {"resources": ["serviceaccounts"], "resourceNames": ["default"]})
    as_account = ("Impersonate-User", ACCOUNT)
    assert (await review_self(live, as_account, token="alice-token"))[0] == 201
    assert (await review_self(live, ("Impersonate-User", "bob"), token="alice-token"))[0] == 403


@pytest.mark.parametrize(
    "name", ["default:a b", ":default", "default:", "DEFAULT:default", "a:b:c"]
)
async def test_malformed_account_name_is_a_user(live: Any, name: str) -> None:
    """Fails if names are not parsed: the permission to impersonate accounts does not include these names."""
    await grant(live, {"resources": ["serviceaccounts"]})
    odd = ("Impersonate-User", f"system:serviceaccount:{name}")
    assert (await review_self(live, odd, token="alice-token"))[0] == 403


async def test_each_group_and_each_extra_value_needs_a_permission(live: Any) -> None:
    group = "authentication.k8s.io"
    await grant(
        live,
        {"resources": ["users", "groups"], "resourceNames": ["bob", "devs"]},
        {"apiGroups": [group], "resources": ["userextras/scopes"], "resourceNames": ["read"]},
        {"apiGroups": [group], "resources": ["uids"], "resourceNames": ["u-1"]},
    )
    bob = ("Impersonate-User", "bob")
    fine = [("Impersonate-Group", "devs"), ("Impersonate-Extra-Scopes", "read")]
    fine.append(("Impersonate-Uid", "u-1"))
    assert (await review_self(live, bob, *fine, token="alice-token"))[0] == 201
    for one_more in (
        ("Impersonate-Group", "ops"),
        ("Impersonate-Extra-Scopes", "write"),
        ("Impersonate-Extra-Other", "read"),
        ("Impersonate-Uid", "u-2"),
    ):
        asked = [bob, *(each for each in fine if each[0] != "Impersonate-Uid"), one_more]
        status, body = await review_self(live, *asked, token="alice-token")
        assert (status, body["reason"]) == (403, "Forbidden")


async def test_impersonated_group_without_a_user_is_refused(live: Any) -> None:
    for header in (
        ("Impersonate-Group", "devs"),
        ("Impersonate-Uid", "u"),
        ("Impersonate-Extra-A", "b"),
    ):
        status, body = await review_self(live, header)
        assert (status, body["reason"]) == (500, "InternalError")
        assert "without impersonating a user" in body["message"]


async def test_permissions_of_the_impersonated_user_apply(live: Any) -> None:
    pods = "/api/v1/namespaces/default/pods"
    assert (await live.call("GET", pods, impersonate_user="alice")).status == 403
    masters = {"impersonate_user": "alice", "impersonate_group": "system:masters"}
    assert (await live.call("GET", pods, **masters)).status == 200


async def test_impersonation_is_logged_with_both_users(
    live: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "kubeling.apiserver.auth.impersonation"):
        await whoami(live, ("Impersonate-User", "bob"))
    found = [record for record in caplog.records if record.message == "user_impersonated"]
    assert [(record.user, record.as_user) for record in found] == [("admin", "bob")]  # type: ignore[attr-defined]  # from `extra`


async def test_kubectl_impersonates_with_as(kubectl: Kubectl) -> None:
    how = ("--as", "bob", "--as-group", "devs", "--as-group", "ops", "--as-uid", "u-1")
    output = json.loads((await kubectl("auth", "whoami", "-o", "json", *how)).out)
    assert output["status"]["userInfo"] == {
        "username": "bob",
        "uid": "u-1",
        "groups": ["devs", "ops", "system:authenticated"],
    }
    refused = await kubectl("get", "pods", *how, code=1)
    assert 'User "bob" cannot list resource "pods"' in refused.err

"""Webhooks: who is called, in which order, and what becomes of their answers and their failures."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.control_plane.contract.api import Api, Reply, config_map, refused
from tests.control_plane.contract.hooks import (
    VALIDATING,
    Hooks,
    labelled,
    labelled_map,
    patched,
)


@pytest.fixture
async def hooks(api: Api, tmp_path: Path) -> AsyncIterator[Hooks]:
    async with AsyncExitStack() as stack:
        yield Hooks(api, tmp_path, stack)


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"https://127.0.0.1:{unused.getsockname()[1]}/hook"


async def _post(api: Api, body: Any = None, query: str = "") -> Reply:
    return await api.call("POST", api.path("configmaps") + query, body or labelled_map())


async def test_a_webhook_is_told_who_does_what(api: Api, hooks: Hooks) -> None:
    one = await hooks.start()
    await hooks.register(hooks.spec(one.url, timeoutSeconds=7))
    assert (await _post(api)).status == 201
    (asked,) = one.asked
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    resource = {"group": "", "version": "v1", "resource": "configmaps"}
    assert (asked["kind"], asked["requestKind"]) == (kind, kind)
    assert (asked["resource"], asked["requestResource"]) == (resource, resource)
    assert (asked["operation"], asked["name"], asked["namespace"]) == ("CREATE", "m", api.space)
    assert asked["userInfo"]["username"] == "admin"
    assert (asked["dryRun"], asked["oldObject"]) == (False, None)
    assert asked["object"]["data"] == {"a": "b"}
    assert one.queries == ["timeout=7s"]


async def test_a_webhook_sees_the_options_as_they_were_given(api: Api, hooks: Hooks) -> None:
    one = await hooks.start()
    await hooks.register(hooks.spec(one.url))
    await _post(api)
    await _post(api, labelled_map("by"), "?fieldManager=me")
    plain = {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}
    assert [asked["options"] for asked in one.asked] == [plain, plain | {"fieldManager": "me"}]


async def test_a_webhook_sees_a_patch_as_the_update_it_is(api: Api, hooks: Hooks) -> None:
    one = await hooks.start()
    spec = hooks.spec(one.url)
    spec["rules"][0]["operations"] = ["UPDATE"]
    await hooks.register(spec)
    await _post(api)
    path = api.path("configmaps", "m")
    await api.patch(f"{path}?fieldManager=me&fieldValidation=Strict", {"data": {"a": "2"}})
    assert one.asked[0]["options"] == {
        "kind": "UpdateOptions",
        "apiVersion": "meta.k8s.io/v1",
        "fieldManager": "me",
        "fieldValidation": "Strict",
    }


async def test_its_patch_is_what_is_stored(api: Api, hooks: Hooks) -> None:
    one = await hooks.start(labelled("by", "hook"))
    await hooks.register(hooks.spec(one.url))
    await _post(api)
    found = await api.get(api.path("configmaps", "m"))
    assert found["metadata"]["labels"]["by"] == "hook"


async def test_webhooks_are_called_in_the_order_they_are_listed_and_see_what_was_done(
    api: Api, hooks: Hooks
) -> None:
    one, two = await hooks.start(labelled("one")), await hooks.start(labelled("two"))
    await hooks.register(hooks.spec(one.url, "b.example.com"), hooks.spec(two.url, "a.example.com"))
    made = await _post(api)
    assert made.body["metadata"]["labels"].keys() >= {"one", "two"}
    assert "two" not in one.asked[0]["object"]["metadata"]["labels"]
    assert "one" in two.asked[0]["object"]["metadata"]["labels"]


async def test_a_webhook_is_called_again_when_a_later_one_changed_something_if_it_wants(
    api: Api, hooks: Hooks
) -> None:
    one, two = await hooks.start(), await hooks.start(labelled("two"))
    first = hooks.spec(one.url, "a.example.com", reinvocationPolicy="IfNeeded")
    await hooks.register(first, hooks.spec(two.url, "b.example.com"))
    await _post(api)
    seen = [asked["object"]["metadata"]["labels"] for asked in one.asked]
    assert ["two" in labels for labels in seen] == [False, True]
    assert len(two.asked) == 1


async def test_a_webhook_that_never_wants_is_called_once(api: Api, hooks: Hooks) -> None:
    one, two = await hooks.start(), await hooks.start(labelled("two"))
    first = hooks.spec(one.url, "a.example.com", reinvocationPolicy="Never")
    await hooks.register(first, hooks.spec(two.url, "b.example.com"))
    await _post(api)
    assert len(one.asked) == 1


async def test_warnings_reach_whoever_asked(api: Api, hooks: Hooks) -> None:
    one = await hooks.start({"allowed": True, "warnings": ["mind the gap", "and the door"]})
    await hooks.register(hooks.spec(one.url))
    assert (await _post(api)).warnings == ['299 - "mind the gap"', '299 - "and the door"']


async def test_long_warnings_are_cut_and_those_with_lines_are_not_sent(
    api: Api, hooks: Hooks
) -> None:
    one = await hooks.start({"allowed": True, "warnings": ["two\nlines", "short"]})
    await hooks.register(hooks.spec(one.url))
    assert (await _post(api)).warnings == ['299 - "short"']
    one.answer = {"allowed": True, "warnings": ["x" * 5000]}
    assert (await _post(api, labelled_map("long"))).warnings == [f'299 - "{"x" * 256}"']


async def test_many_warnings_are_cut_and_the_last_of_them_are_not_sent(
    api: Api, hooks: Hooks
) -> None:
    warnings = [f"{number:02}{'x' * 300}" for number in range(30)]
    one = await hooks.start({"allowed": True, "warnings": warnings})
    await hooks.register(hooks.spec(one.url))
    wanted = [f'299 - "{warning[:256]}"' for warning in warnings[:16]]
    assert (await _post(api)).warnings == wanted


async def test_warnings_that_no_header_could_hold_are_not_sent(api: Api, hooks: Hooks) -> None:
    warnings = ["", "a", "a", "tab\there", 'a "quote"', "a\\slash", "\u00e9"]
    one = await hooks.start({"allowed": True, "warnings": warnings})
    await hooks.register(hooks.spec(one.url))
    wanted = ['299 - "a"', '299 - "a \\"quote\\""', '299 - "a\\\\slash"', '299 - "\u00e9"']
    assert (await _post(api)).warnings == wanted


async def test_a_refusal_keeps_its_code_and_words(api: Api, hooks: Hooks) -> None:
    status = {"code": 403, "message": "not on a Friday", "reason": "Forbidden"}
    one = await hooks.start({"allowed": False, "status": status, "warnings": ["told you"]})
    await hooks.register(hooks.spec(one.url))
    reply = await _post(api)
    body = refused(reply, 403, "Forbidden")
    assert body["message"] == (
        'admission webhook "hook.example.com" denied the request: not on a Friday'
    )
    assert reply.warnings == ['299 - "told you"']


async def test_a_refusal_tells_its_causes(api: Api, hooks: Hooks) -> None:
    causes = [{"field": "a", "message": "b", "reason": "Odd"}]
    details = {"name": "n", "kind": "k", "causes": causes, "retryAfterSeconds": 3}
    status = {"code": 422, "message": "no", "reason": "Invalid", "details": details}
    one = await hooks.start({"allowed": False, "status": status})
    await hooks.register(hooks.spec(one.url))
    reply = await _post(api)
    assert refused(reply, 422, "Invalid", "a")["details"] == details
    assert reply.headers["retry-after"] == "3"


@pytest.mark.parametrize(
    "odd",
    [{"status": "x"}, {"status": {"code": "x"}}, {"warnings": "x"}, {"warnings": [1]}],
    ids=["status", "code", "warnings", "warning"],
)
async def test_an_answer_of_other_types_is_a_failure(
    api: Api, hooks: Hooks, odd: dict[str, Any]
) -> None:
    one = await hooks.start({"allowed": False, **odd})
    await hooks.register(hooks.spec(one.url))
    body = refused(await _post(api), 500, "InternalError")
    assert 'failed calling webhook "hook.example.com"' in body["message"]


@pytest.mark.parametrize("status", [None, {"message": "no"}, {"code": 200}])
async def test_a_refusal_without_a_code_is_a_bad_request(
    api: Api, hooks: Hooks, status: dict[str, Any] | None
) -> None:
    one = await hooks.start({"allowed": False} | ({"status": status} if status else {}))
    await hooks.register(hooks.spec(one.url))
    reply = await _post(api)
    assert reply.status == 400
    assert "hook.example.com" in reply.body["message"]


async def test_a_webhook_that_is_away_closes_or_opens_as_it_says(
    api: Api, hooks: Hooks, nobody: str
) -> None:
    ignored = hooks.spec(nobody, "a.example.com", failurePolicy="Ignore")
    await hooks.register(ignored)
    assert (await _post(api, labelled_map("open"))).status == 201
    await hooks.register(hooks.spec(nobody, "b.example.com", failurePolicy="Fail"))
    body = refused(await _post(api, labelled_map("closed")), 500, "InternalError")
    assert 'failed calling webhook "b.example.com"' in body["message"]
    assert (await _post(api, config_map("unlabelled"))).status == 201


async def test_failing_closed_is_what_happens_when_nothing_is_said(
    api: Api, hooks: Hooks, nobody: str
) -> None:
    await hooks.register(hooks.spec(nobody))
    assert (await _post(api)).status == 500


async def test_a_certificate_of_another_authority_is_a_failure(
    api: Api, hooks: Hooks, tmp_path: Path
) -> None:
    one = await hooks.start()
    async with AsyncExitStack() as stack:
        folder = tmp_path / "other"
        folder.mkdir()
        other = Hooks(api, folder, stack)
        client = {"url": one.url, "caBundle": other.bundle}
        await hooks.register(hooks.spec(one.url, clientConfig=client))
        body = refused(await _post(api), 500, "InternalError")
    assert "certificate" in body["message"]
    assert not one.asked


async def test_a_webhook_that_takes_too_long_is_a_failure(api: Api, hooks: Hooks) -> None:
    one = await hooks.start()
    one.seconds = 3
    await hooks.register(hooks.spec(one.url, timeoutSeconds=1))
    body = refused(await _post(api), 500, "InternalError")
    assert 'failed calling webhook "hook.example.com"' in body["message"]


async def test_a_patch_that_does_not_fit_is_a_failure_of_the_server(api: Api, hooks: Hooks) -> None:
    one = await hooks.start(patched({"op": "remove", "path": "/data/none"}))
    await hooks.register(hooks.spec(one.url))
    refused(await _post(api), 500, "InternalError")


@pytest.mark.parametrize(
    "half", [{"patchType": "JSONPatch"}, {"patch": "W10="}], ids=["type", "patch"]
)
async def test_half_a_patch_is_a_failure(api: Api, hooks: Hooks, half: dict[str, Any]) -> None:
    one = await hooks.start({"allowed": True, **half})
    await hooks.register(hooks.spec(one.url))
    refused(await _post(api), 500, "InternalError")


async def test_in_the_older_version_a_patch_needs_no_type(api: Api, hooks: Hooks) -> None:
    answer = labelled("by", "hook")
    del answer["patchType"]
    one = await hooks.start(answer)
    await hooks.register(hooks.spec(one.url, admissionReviewVersions=["v1beta1"]))
    assert (await _post(api)).body["metadata"]["labels"]["by"] == "hook"


async def test_an_answer_to_another_question_is_a_failure(api: Api, hooks: Hooks) -> None:
    one = await hooks.start({"allowed": True, "uid": "00000000-0000-4000-8000-000000000000"})
    await hooks.register(hooks.spec(one.url))
    refused(await _post(api), 500, "InternalError")


async def test_selectors_decide_who_is_called(api: Api, hooks: Hooks) -> None:
    one = await hooks.start()
    elsewhere = {
        "matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [api.space]}
        ]
    }
    two = await hooks.start()
    await hooks.register(
        hooks.spec(one.url, "a.example.com"),
        hooks.spec(two.url, "b.example.com", namespaceSelector=elsewhere),
    )
    await _post(api, labelled_map("with"))
    await _post(api, config_map("without"))
    assert [asked["name"] for asked in one.asked] == ["with"]
    assert not two.asked


async def test_a_change_is_matched_by_its_old_labels_too(api: Api, hooks: Hooks) -> None:
    one = await hooks.start()
    spec = hooks.spec(one.url)
    spec["rules"][0]["operations"] = ["UPDATE", "DELETE"]
    await hooks.register(spec)
    await _post(api)
    path = api.path("configmaps", "m")
    await api.patch(path, {"metadata": {"labels": {"hook": None}}})
    assert [asked["operation"] for asked in one.asked] == ["UPDATE"]
    assert one.asked[0]["oldObject"]["metadata"]["labels"] == {"hook": "yes"}
    await api.patch(path, {"metadata": {"labels": {"hook": "yes"}}})
    await api.call("DELETE", path)
    assert one.asked[-1]["operation"] == "DELETE"
    assert one.asked[-1]["object"] is None
    assert one.asked[-1]["oldObject"]["metadata"]["name"] == "m"


async def test_a_dry_run_calls_those_without_side_effects_and_tells_them(
    api: Api, hooks: Hooks
) -> None:
    one = await hooks.start()
    await hooks.register(hooks.spec(one.url))
    assert (await _post(api, query="?dryRun=All")).status == 201
    assert [asked["dryRun"] for asked in one.asked] == [True]


@pytest.mark.parametrize("effects", ["Some", "Unknown"])
async def test_a_webhook_with_side_effects_cannot_be_registered(
    api: Api, hooks: Hooks, effects: str
) -> None:
    assert api
    reply = await hooks.try_to_register(hooks.spec("https://127.0.0.1:1/hook", sideEffects=effects))
    refused(reply, 422, "Invalid", "webhooks[0].sideEffects")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"clientConfig": {"url": "http://127.0.0.1:1"}}, "webhooks[0].clientConfig.url"),
        ({"clientConfig": {}}, "webhooks[0].clientConfig"),
        ({"timeoutSeconds": 31}, "webhooks[0].timeoutSeconds"),
        ({"failurePolicy": "Perhaps"}, "webhooks[0].failurePolicy"),
        ({"name": "no-dots"}, "webhooks[0].name"),
        ({"admissionReviewVersions": []}, "webhooks[0].admissionReviewVersions"),
    ],
    ids=["plain", "nowhere", "patience", "policy", "name", "versions"],
)
async def test_a_registration_that_cannot_be_is_refused(
    api: Api, hooks: Hooks, changes: dict[str, Any], field: str
) -> None:
    assert api
    reply = await hooks.try_to_register(hooks.spec("https://127.0.0.1:1/hook", **changes))
    refused(reply, 422, "Invalid", field)


async def test_a_condition_decides_before_anybody_is_called(api: Api, hooks: Hooks) -> None:
    one = await hooks.start()
    condition = {"name": "named", "expression": 'object.metadata.name == "yes"'}
    await hooks.register(hooks.spec(one.url, matchConditions=[condition]))
    await _post(api, labelled_map("no"))
    await _post(api, labelled_map("yes"))
    assert [asked["name"] for asked in one.asked] == ["yes"]


async def test_who_validates_sees_what_the_others_made_and_changes_nothing(
    api: Api, hooks: Hooks
) -> None:
    one, two = await hooks.start(labelled("one")), await hooks.start()
    await hooks.register(hooks.spec(one.url))
    await hooks.register(hooks.spec(two.url), to=VALIDATING)
    assert (await _post(api)).status == 201
    assert two.asked[0]["object"]["metadata"]["labels"]["one"] == "x"
    two.answer = {"allowed": False, "status": {"message": "no", "code": 403}}
    reply = await _post(api, labelled_map("refused"))
    assert reply.status == 403
    assert 'admission webhook "hook.example.com" denied the request: no' in reply.body["message"]


@pytest.mark.parametrize("answer", [labelled("x"), {"allowed": True, "patchType": "JSONPatch"}])
async def test_who_validates_fails_by_a_patch(
    api: Api, hooks: Hooks, answer: dict[str, Any]
) -> None:
    one = await hooks.start(answer)
    await hooks.register(hooks.spec(one.url), to=VALIDATING)
    refused(await _post(api), 500, "InternalError")


async def test_a_pods_webhook_sees_what_the_api_made_of_it(api: Api, hooks: Hooks) -> None:
    one = await hooks.start()
    spec = hooks.spec(one.url)
    spec["rules"][0]["resources"] = ["pods"]
    await hooks.register(spec)
    body = {
        "metadata": {"generateName": "web-", "labels": {"hook": "yes"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "schedulerName": "nobody"},
    }
    made = await api.create("pods", body)
    seen = one.asked[0]
    assert seen.get("name", "") in ("", made["metadata"]["name"])
    assert seen["object"]["spec"]["serviceAccountName"] == "default"
    assert seen["object"]["spec"]["restartPolicy"] == "Always"
    assert seen["object"]["spec"]["volumes"][0]["name"].startswith("kube-api-access-")

"""Admission webhooks: which are called, in which order, and the effect of their responses and failures."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.control_plane.contract.api import Api, check_refused, config_map
from tests.control_plane.contract.hooks import (
    VALIDATING,
    Webhooks,
    label_response,
    labelled_config_map,
    patch_response,
)
from tests.kubeling.cluster import Reply


@pytest.fixture
async def hooks(api: Api, tmp_path: Path) -> AsyncIterator[Webhooks]:
    async with AsyncExitStack() as stack:
        yield Webhooks(api, tmp_path, stack)


@pytest.fixture
def closed_url() -> str:
    """Return a URL on which no server listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"https://127.0.0.1:{unused.getsockname()[1]}/hook"


async def _post(api: Api, body: Any = None, query: str = "") -> Reply:
    return await api.call("POST", api.path("configmaps") + query, body or labelled_config_map())


async def test_review_names_user_operation_and_resource(api: Api, hooks: Webhooks) -> None:
    one = await hooks.start()
    await hooks.register(hooks.spec(one.url, timeoutSeconds=7))
    assert (await _post(api)).status == 201
    (asked,) = one.asked
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    resource = {"group": "", "version": "v1", "resource": "configmaps"}
    assert (asked["kind"], asked["requestKind"]) == (kind, kind)
    assert (asked["resource"], asked["requestResource"]) == (resource, resource)
    assert (asked["operation"], asked["name"], asked["namespace"]) == ("CREATE", "m", api.namespace)
    assert asked["userInfo"]["username"] == "admin"
    assert (asked["dryRun"], asked["oldObject"]) == (False, None)
    assert asked["object"]["data"] == {"a": "b"}
    assert one.queries == ["timeout=7s"]


async def test_review_contains_the_request_options(api: Api, hooks: Webhooks) -> None:
    one = await hooks.start()
    await hooks.register(hooks.spec(one.url))
    await _post(api)
    await _post(api, labelled_config_map("by"), "?fieldManager=me")
    plain = {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}
    assert [asked["options"] for asked in one.asked] == [plain, plain | {"fieldManager": "me"}]


async def test_review_of_a_patch_is_an_update(api: Api, hooks: Webhooks) -> None:
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


async def test_patched_object_is_stored(api: Api, hooks: Webhooks) -> None:
    one = await hooks.start(label_response("by", "hook"))
    await hooks.register(hooks.spec(one.url))
    await _post(api)
    found = await api.get(api.path("configmaps", "m"))
    assert found["metadata"]["labels"]["by"] == "hook"


async def test_webhooks_are_called_in_order_and_receive_earlier_patches(
    api: Api, hooks: Webhooks
) -> None:
    one, two = await hooks.start(label_response("one")), await hooks.start(label_response("two"))
    await hooks.register(hooks.spec(one.url, "b.example.com"), hooks.spec(two.url, "a.example.com"))
    made = await _post(api)
    assert made.body["metadata"]["labels"].keys() >= {"one", "two"}
    assert "two" not in one.asked[0]["object"]["metadata"]["labels"]
    assert "one" in two.asked[0]["object"]["metadata"]["labels"]


async def test_webhook_with_reinvocation_policy_is_called_again_after_a_later_change(
    api: Api, hooks: Webhooks
) -> None:
    one, two = await hooks.start(), await hooks.start(label_response("two"))
    first = hooks.spec(one.url, "a.example.com", reinvocationPolicy="IfNeeded")
    await hooks.register(first, hooks.spec(two.url, "b.example.com"))
    await _post(api)
    seen = [asked["object"]["metadata"]["labels"] for asked in one.asked]
    assert ["two" in labels for labels in seen] == [False, True]
    assert len(two.asked) == 1


async def test_webhook_with_reinvocation_policy_never_is_called_once(
    api: Api, hooks: Webhooks
) -> None:
    one, two = await hooks.start(), await hooks.start(label_response("two"))
    first = hooks.spec(one.url, "a.example.com", reinvocationPolicy="Never")
    await hooks.register(first, hooks.spec(two.url, "b.example.com"))
    await _post(api)
    assert len(one.asked) == 1


async def test_warnings_are_returned_to_the_client(api: Api, hooks: Webhooks) -> None:
    one = await hooks.start({"allowed": True, "warnings": ["mind the gap", "and the door"]})
    await hooks.register(hooks.spec(one.url))
    assert (await _post(api)).warnings == ['299 - "mind the gap"', '299 - "and the door"']


async def test_long_warnings_are_truncated_and_multiline_warnings_are_not_sent(
    api: Api, hooks: Webhooks
) -> None:
    one = await hooks.start({"allowed": True, "warnings": ["two\nlines", "short"]})
    await hooks.register(hooks.spec(one.url))
    assert (await _post(api)).warnings == ['299 - "short"']
    one.answer = {"allowed": True, "warnings": ["x" * 5000]}
    assert (await _post(api, labelled_config_map("long"))).warnings == [f'299 - "{"x" * 256}"']


async def test_many_warnings_are_truncated_and_the_last_ones_are_not_sent(
    api: Api, hooks: Webhooks
) -> None:
    warnings = [f"{number:02}{'x' * 300}" for number in range(30)]
    one = await hooks.start({"allowed": True, "warnings": warnings})
    await hooks.register(hooks.spec(one.url))
    wanted = [f'299 - "{warning[:256]}"' for warning in warnings[:16]]
    assert (await _post(api)).warnings == wanted


async def test_warnings_that_are_invalid_in_a_header_are_not_sent(
    api: Api, hooks: Webhooks
) -> None:
    warnings = ["", "a", "a", "tab\there", 'a "quote"', "a\\slash", "\u00e9"]
    one = await hooks.start({"allowed": True, "warnings": warnings})
    await hooks.register(hooks.spec(one.url))
    wanted = ['299 - "a"', '299 - "a \\"quote\\""', '299 - "a\\\\slash"', '299 - "\u00e9"']
    assert (await _post(api)).warnings == wanted


async def test_refusal_keeps_its_code_and_message(api: Api, hooks: Webhooks) -> None:
    status = {"code": 403, "message": "not on a Friday", "reason": "Forbidden"}
    one = await hooks.start({"allowed": False, "status": status, "warnings": ["second thought"]})
    await hooks.register(hooks.spec(one.url))
    reply = await _post(api)
    body = check_refused(reply, 403, "Forbidden")
    assert body["message"] == (
        'admission webhook "hook.example.com" denied the request: not on a Friday'
    )
    assert reply.warnings == ['299 - "second thought"']


async def test_refusal_contains_its_causes(api: Api, hooks: Webhooks) -> None:
    causes = [{"field": "a", "message": "b", "reason": "Odd"}]
    details = {"name": "n", "kind": "k", "causes": causes, "retryAfterSeconds": 3}
    status = {"code": 422, "message": "no", "reason": "Invalid", "details": details}
    one = await hooks.start({"allowed": False, "status": status})
    await hooks.register(hooks.spec(one.url))
    reply = await _post(api)
    assert check_refused(reply, 422, "Invalid", "a")["details"] == details
    assert reply.headers["retry-after"] == "3"


@pytest.mark.parametrize(
    "odd",
    [{"status": "x"}, {"status": {"code": "x"}}, {"warnings": "x"}, {"warnings": [1]}],
    ids=["status", "code", "warnings", "warning"],
)
async def test_response_with_wrong_types_is_a_failure(
    api: Api, hooks: Webhooks, odd: dict[str, Any]
) -> None:
    one = await hooks.start({"allowed": False, **odd})
    await hooks.register(hooks.spec(one.url))
    body = check_refused(await _post(api), 500, "InternalError")
    assert 'failed calling webhook "hook.example.com"' in body["message"]


@pytest.mark.parametrize("status", [None, {"message": "no"}, {"code": 200}])
async def test_refusal_without_a_code_is_a_bad_request(
    api: Api, hooks: Webhooks, status: dict[str, Any] | None
) -> None:
    one = await hooks.start({"allowed": False} | ({"status": status} if status else {}))
    await hooks.register(hooks.spec(one.url))
    reply = await _post(api)
    assert reply.status == 400
    assert "hook.example.com" in reply.body["message"]


async def test_unavailable_webhook_follows_its_failure_policy(
    api: Api, hooks: Webhooks, closed_url: str
) -> None:
    ignored = hooks.spec(closed_url, "a.example.com", failurePolicy="Ignore")
    await hooks.register(ignored)
    assert (await _post(api, labelled_config_map("open"))).status == 201
    await hooks.register(hooks.spec(closed_url, "b.example.com", failurePolicy="Fail"))
    body = check_refused(await _post(api, labelled_config_map("closed")), 500, "InternalError")
    url, port = f"{closed_url}?timeout=10s", urlsplit(closed_url).port
    cause = f'Post "{url}": dial tcp 127.0.0.1:{port}: connect: connection refused'
    begin = (
        'Internal error occurred: failed calling webhook "b.example.com": failed to call webhook'
    )
    assert body["message"] == f"{begin}: {cause}"
    assert (await _post(api, config_map("unlabelled"))).status == 201


async def test_default_failure_policy_is_fail(api: Api, hooks: Webhooks, closed_url: str) -> None:
    await hooks.register(hooks.spec(closed_url))
    assert (await _post(api)).status == 500


async def test_webhook_certificate_of_another_ca_is_a_failure(
    api: Api, hooks: Webhooks, tmp_path: Path
) -> None:
    one = await hooks.start()
    async with AsyncExitStack() as stack:
        folder = tmp_path / "other"
        folder.mkdir()
        other = Webhooks(api, folder, stack)
        client = {"url": one.url, "caBundle": other.bundle}
        await hooks.register(hooks.spec(one.url, clientConfig=client))
        body = check_refused(await _post(api), 500, "InternalError")
    words = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    assert f'Post "{one.url}?timeout=10s": {words}' in body["message"]
    assert not one.asked


async def test_a_webhook_that_takes_too_long_is_a_failure(api: Api, hooks: Webhooks) -> None:
    one = await hooks.start()
    one.seconds = 3
    await hooks.register(hooks.spec(one.url, timeoutSeconds=1))
    body = check_refused(await _post(api), 500, "InternalError")
    assert 'failed calling webhook "hook.example.com"' in body["message"]
    assert body["message"].endswith(f'Post "{one.url}?timeout=1s": context deadline exceeded')


async def test_patch_that_cannot_be_applied_is_an_internal_error(api: Api, hooks: Webhooks) -> None:
    one = await hooks.start(patch_response({"op": "remove", "path": "/data/none"}))
    await hooks.register(hooks.spec(one.url))
    check_refused(await _post(api), 500, "InternalError")


@pytest.mark.parametrize(
    "half", [{"patchType": "JSONPatch"}, {"patch": "W10="}], ids=["type", "patch"]
)
async def test_patch_without_type_or_type_without_patch_is_a_failure(
    api: Api, hooks: Webhooks, half: dict[str, Any]
) -> None:
    one = await hooks.start({"allowed": True, **half})
    await hooks.register(hooks.spec(one.url))
    check_refused(await _post(api), 500, "InternalError")


async def test_patch_in_v1beta1_needs_no_type(api: Api, hooks: Webhooks) -> None:
    answer = label_response("by", "hook")
    del answer["patchType"]
    one = await hooks.start(answer)
    await hooks.register(hooks.spec(one.url, admissionReviewVersions=["v1beta1"]))
    assert (await _post(api)).body["metadata"]["labels"]["by"] == "hook"


async def test_response_with_another_uid_is_a_failure(api: Api, hooks: Webhooks) -> None:
    one = await hooks.start({"allowed": True, "uid": "00000000-0000-4000-8000-000000000000"})
    await hooks.register(hooks.spec(one.url))
    check_refused(await _post(api), 500, "InternalError")


async def test_selectors_decide_which_webhooks_are_called(api: Api, hooks: Webhooks) -> None:
    one = await hooks.start()
    elsewhere = {
        "matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [api.namespace]}
        ]
    }
    two = await hooks.start()
    await hooks.register(
        hooks.spec(one.url, "a.example.com"),
        hooks.spec(two.url, "b.example.com", namespaceSelector=elsewhere),
    )
    await _post(api, labelled_config_map("with"))
    await _post(api, config_map("without"))
    assert [asked["name"] for asked in one.asked] == ["with"]
    assert not two.asked


async def test_selector_also_matches_the_old_labels(api: Api, hooks: Webhooks) -> None:
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


async def test_dry_run_calls_webhooks_without_side_effects(api: Api, hooks: Webhooks) -> None:
    one = await hooks.start()
    await hooks.register(hooks.spec(one.url))
    assert (await _post(api, query="?dryRun=All")).status == 201
    assert [asked["dryRun"] for asked in one.asked] == [True]


@pytest.mark.parametrize("effects", ["Some", "Unknown"])
async def test_a_webhook_with_side_effects_cannot_be_registered(
    api: Api, hooks: Webhooks, effects: str
) -> None:
    assert api
    reply = await hooks.try_to_register(hooks.spec("https://127.0.0.1:1/hook", sideEffects=effects))
    check_refused(reply, 422, "Invalid", "webhooks[0].sideEffects")


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
async def test_invalid_webhook_configuration_is_refused(
    api: Api, hooks: Webhooks, changes: dict[str, Any], field: str
) -> None:
    assert api
    reply = await hooks.try_to_register(hooks.spec("https://127.0.0.1:1/hook", **changes))
    check_refused(reply, 422, "Invalid", field)


async def test_match_condition_is_evaluated_before_the_webhook_is_called(
    api: Api, hooks: Webhooks
) -> None:
    one = await hooks.start()
    condition = {"name": "named", "expression": 'object.metadata.name == "yes"'}
    await hooks.register(hooks.spec(one.url, matchConditions=[condition]))
    await _post(api, labelled_config_map("no"))
    await _post(api, labelled_config_map("yes"))
    assert [asked["name"] for asked in one.asked] == ["yes"]


async def test_validating_webhook_receives_the_mutated_object(api: Api, hooks: Webhooks) -> None:
    one, two = await hooks.start(label_response("one")), await hooks.start()
    await hooks.register(hooks.spec(one.url))
    await hooks.register(hooks.spec(two.url), to=VALIDATING)
    assert (await _post(api)).status == 201
    assert two.asked[0]["object"]["metadata"]["labels"]["one"] == "x"
    two.answer = {"allowed": False, "status": {"message": "no", "code": 403}}
    reply = await _post(api, labelled_config_map("refused"))
    assert reply.status == 403
    assert 'admission webhook "hook.example.com" denied the request: no' in reply.body["message"]


@pytest.mark.parametrize(
    "answer", [label_response("x"), {"allowed": True, "patchType": "JSONPatch"}]
)
async def test_validating_webhook_that_returns_a_patch_is_a_failure(
    api: Api, hooks: Webhooks, answer: dict[str, Any]
) -> None:
    one = await hooks.start(answer)
    await hooks.register(hooks.spec(one.url), to=VALIDATING)
    check_refused(await _post(api), 500, "InternalError")


async def test_webhook_of_pods_receives_defaults_and_token_volume(
    api: Api, hooks: Webhooks
) -> None:
    one = await hooks.start()
    spec = hooks.spec(one.url)
    spec["rules"][0]["resources"] = ["pods"]
    await hooks.register(spec)
    body = {
        "metadata": {"generateName": "web-", "labels": {"hook": "yes"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "schedulerName": "none"},
    }
    made = await api.create("pods", body)
    seen = one.asked[0]
    assert seen.get("name", "") in ("", made["metadata"]["name"])
    assert seen["object"]["spec"]["serviceAccountName"] == "default"
    assert seen["object"]["spec"]["restartPolicy"] == "Always"
    assert seen["object"]["spec"]["volumes"][0]["name"].startswith("kube-api-access-")

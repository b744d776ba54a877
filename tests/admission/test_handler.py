"""The webhook over real TLS: requests of an API server and of other clients."""

import asyncio
import base64
import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from podpass import names
from podpass.admission.handler import create_app
from podpass.settings import WebhookSettings
from tests.admission.endpoint import Endpoint

Function = Callable[..., Any]
Start = Callable[..., Any]
CLIENT = {names.CLIENT_ID: "00000000-0000-4000-8000-000000000001"}
LEGACY = {names.LEGACY_TOKEN_PATH: "true"}
OLD_PATH = "/var/run/secrets/azure/tokens"


class Forgetful:
    """A ServiceAccount reader that raises an unexpected error."""

    async def read_annotations(self, namespace: str, name: str) -> Mapping[str, str]:
        raise ZeroDivisionError(f"secret detail of {namespace}/{name}")


async def test_pod_is_mutated(
    webhook: Endpoint, make_pod: Function, mutate_pod: Function, log_lines: Function
) -> None:
    response = await webhook.review(make_pod())
    assert (response["uid"], response["allowed"]) == ("u-1", True)
    assert json.loads(base64.b64decode(response["patch"])) == mutate_pod(make_pod(), CLIENT)
    account, admission = (line for line in log_lines() if line.get("hop"))
    assert (account["stage"], admission["stage"]) == ("account", "admission")
    assert account["asked"] == "ServiceAccount default/default"
    assert account["client_id"] == CLIENT[names.CLIENT_ID]
    assert (admission["outcome"], admission["operations"]) == ("mutated", 3)
    for line in (account, admission):
        assert (line["pod"], line["namespace"], line["account"]) == ("app", "default", "default")
        assert line["correlation_id"] == "u-1"
        assert line["checked"]


async def test_log_marks_a_dry_run(
    webhook: Endpoint, make_pod: Function, log_lines: Function
) -> None:
    assert (await webhook.review(make_pod(), dryRun=True))["allowed"]
    assert [line.get("dry_run") for line in log_lines() if line.get("hop")] == [True, True]
    await webhook.review(make_pod())
    assert [line.get("dry_run") for line in log_lines() if line.get("hop")][-2:] == [None, None]


async def test_complete_pod_is_allowed_without_patch(
    webhook: Endpoint, make_pod: Function, mutate_pod: Function, mutate_and_apply: Function
) -> None:
    pod = make_pod()
    response = await webhook.review(mutate_and_apply(pod, mutate_pod(pod, CLIENT)))
    assert response == {"uid": "u-1", "allowed": True, "status": {"metadata": {}, "code": 200}}


async def test_audit_log_has_the_client_id_of_a_changed_pod(
    webhook: Endpoint, make_pod: Function
) -> None:
    """An API server prefixes keys with the webhook's name and a slash, and drops those with a slash."""
    response = await webhook.review(make_pod())
    assert response["auditAnnotations"] == {
        "podpass.mutated": "true",
        "podpass.client-id": CLIENT[names.CLIENT_ID],
    }
    assert not [key for key in response["auditAnnotations"] if "/" in key]
    without = await webhook.review(make_pod(serviceAccountName="plain"))
    assert without["auditAnnotations"] == {"podpass.mutated": "true"}


async def test_long_client_id_is_truncated_in_the_audit_log(
    start: Start, settings: WebhookSettings, known_accounts: Function, make_pod: Function
) -> None:
    accounts = known_accounts({"default/default": {names.CLIENT_ID: "x" * 10_000}})
    response = await (await start(create_app(settings, accounts))).review(make_pod())
    assert response["auditAnnotations"]["podpass.client-id"] == "x" * 64


async def test_warnings_are_returned_and_logged(
    webhook: Endpoint, make_pod: Function, log_lines: Function
) -> None:
    response = await webhook.review(make_pod({names.PREFIX + "skip-container": "web"}))
    (warning,) = response["warnings"]
    assert "did you mean skip-containers?" in warning
    assert log_lines()[-1]["warnings"] == [warning]
    assert response["allowed"]


async def test_correct_pod_has_no_warnings(webhook: Endpoint, make_pod: Function) -> None:
    response = await webhook.review(make_pod())
    assert "warnings" not in response


async def test_refusal_for_the_account_names_the_pod_too(
    start: Start, settings: WebhookSettings, known_accounts: Function, make_pod: Function
) -> None:
    wrong = {names.TOKEN_EXPIRATION: "60"}
    webhook = await start(create_app(settings, known_accounts({"default/web": wrong})))
    pod = make_pod(name="", serviceAccountName="web")
    pod["metadata"]["generateName"] = "shop-6d4c-"
    message = (await webhook.review(pod))["status"]["message"]
    assert message.startswith("Pod default/shop-6d4c- (prefix): ServiceAccount default/web: ")
    for part in (names.TOKEN_EXPIRATION, "'60'", "from 3600 to 86400"):
        assert part in message


async def test_refusal_of_an_invalid_list_names_the_pod(
    webhook: Endpoint, make_pod: Function
) -> None:
    message = (await webhook.review(make_pod(volumes={})))["status"]["message"]
    assert message.startswith("Pod default/app: volumes is not a list")


async def test_missing_account_is_refused_and_found_after_creation(
    start: Start, settings: WebhookSettings, known_accounts: Function, make_pod: Function
) -> None:
    accounts = known_accounts({})
    webhook = await start(create_app(settings, accounts))
    pod = make_pod(serviceAccountName="late")
    response = await webhook.review(pod)
    assert (response["allowed"], response["status"]["code"]) == (False, 400)
    assert "ServiceAccount default/late does not exist" in response["status"]["message"]
    assert "create it" in response["status"]["message"]
    accounts.known["default/late"] = CLIENT
    assert (await webhook.review(pod))["allowed"]


async def test_refusal_names_object_annotation_value_and_fix_and_is_logged(
    webhook: Endpoint, make_pod: Function, log_lines: Function
) -> None:
    response = await webhook.review(make_pod({names.TOKEN_EXPIRATION: "1h"}))
    message = response["status"]["message"]
    for part in ("Pod default/app", names.TOKEN_EXPIRATION, "'1h'", "from 3600 to 86400"):
        assert part in message
    (line,) = log_lines()
    assert (line["level"], line["event"], line["code"]) == (
        "warning",
        "account_refused",
        "bad_annotation",
    )
    assert line["outcome"] == "refused"
    assert line["correlation_id"] == "u-1"


async def test_used_mount_path_is_refused_in_the_admission_stage(
    webhook: Endpoint, make_pod: Function, log_lines: Function
) -> None:
    mounts = [{"name": "own", "mountPath": names.MOUNT_PATH}]
    response = await webhook.review(make_pod(containers=[{"name": "web", "volumeMounts": mounts}]))
    assert response["status"]["code"] == 400
    assert [line["stage"] for line in log_lines()] == ["account", "admission"]


async def test_v1beta1_review_gets_a_v1beta1_response(
    webhook: Endpoint, make_pod: Function
) -> None:
    document = {
        "apiVersion": "admission.k8s.io/v1beta1",
        "kind": "AdmissionReview",
        "request": {"uid": "u", "namespace": "default", "object": make_pod()},
    }
    _, content = await webhook.send(json.dumps(document).encode())
    assert json.loads(content)["apiVersion"] == "admission.k8s.io/v1beta1"


async def test_internal_error_is_denied_with_the_correlation_id_of_the_log(
    start: Start, settings: WebhookSettings, make_pod: Function, log_lines: Function
) -> None:
    webhook = await start(create_app(settings, Forgetful()))
    response = await webhook.review(make_pod())
    assert (response["allowed"], response["status"]["code"]) == (False, 500)
    assert "u-1" in response["status"]["message"]
    assert "secret detail" not in response["status"]["message"]
    line = log_lines()[-1]
    assert (line["event"], line["correlation_id"]) == ("admission_failed", "u-1")
    assert "ZeroDivisionError" in line["traceback"]


async def test_other_paths_are_not_found(webhook: Endpoint) -> None:
    for path in ("/", "/healthz", "/readyz"):  # probes use another port
        assert (await webhook.get(path))[0] == 404
    assert (await webhook.send(b"{}", path="/mutate-v1-pod/"))[0] == 404


async def test_response_is_one_tls_record(webhook: Endpoint, make_pod: Function) -> None:
    """Head and body in two writes are two records and two packets for each pod."""
    request = {"uid": "u", "namespace": "default", "object": make_pod()}
    body = json.dumps({"request": request}).encode()
    head = f"POST {names.WEBHOOK_PATH}?timeout=5s HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"

    def first_record() -> bytes:
        with webhook.connect() as connection:
            connection.sendall(head.encode() + body)
            return connection.recv(16 * 1024)  # at most one record

    received = await asyncio.to_thread(first_record)
    assert json.loads(received.partition(b"\r\n\r\n")[2])["response"]["allowed"]


# The token at its path before azure-workload-identity 1.6.0.


def _paths(container: Any) -> list[str]:
    return [mount["mountPath"] for mount in container.get("volumeMounts", [])]


def test_token_is_at_both_paths_from_one_volume(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    pod = make_pod(LEGACY | {names.INJECT_PROXY: "true"})
    changed = mutate_and_apply(pod, mutate_pod(pod))
    spec = changed["spec"]
    (volume,) = spec["volumes"]
    new, old = (source["serviceAccountToken"] for source in volume["projected"]["sources"])
    assert (new["path"], old["path"]) == ("token/azure-identity-token", "azure-identity-token")
    assert {**new, "path": ""} == {**old, "path": ""}
    for container in (*spec["initContainers"], *spec["containers"]):
        assert _paths(container) == [names.MOUNT_PATH, OLD_PATH]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"]}
        assert all(mount["readOnly"] for mount in container["volumeMounts"])
    assert mutate_pod(changed) == []


@pytest.mark.parametrize("first", ["old", "new"])
def test_second_pass_keeps_the_mounts_in_any_order(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function, first: str
) -> None:
    pod = make_pod(LEGACY)
    changed = mutate_and_apply(pod, mutate_pod(pod))
    if first == "old":
        changed["spec"]["containers"][0]["volumeMounts"].reverse()
    assert mutate_pod(changed) == []


def test_the_setting_applies_to_pods_without_the_annotation(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function, settings: WebhookSettings
) -> None:
    legacy = dataclasses.replace(settings, legacy_token_path=True)
    for annotations, wanted in (({}, True), ({names.LEGACY_TOKEN_PATH: "false"}, False)):
        pod = make_pod(annotations)
        (container,) = mutate_and_apply(pod, mutate_pod(pod, {}, legacy))["spec"]["containers"]
        assert (OLD_PATH in _paths(container)) is wanted
    pod = make_pod()
    assert OLD_PATH not in _paths(mutate_and_apply(pod, mutate_pod(pod))["spec"]["containers"][0])


def test_user_volume_mounted_at_the_legacy_path_is_unchanged(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    own = {"name": "links", "mountPath": OLD_PATH}
    pod = make_pod(LEGACY, containers=[{"name": "web", "volumeMounts": [own]}])
    (container,) = mutate_and_apply(pod, mutate_pod(pod))["spec"]["containers"]
    assert container["volumeMounts"][0] == own
    assert _paths(container) == [OLD_PATH, names.MOUNT_PATH]

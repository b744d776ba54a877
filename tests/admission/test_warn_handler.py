"""The second entry warns about pods without the label; it changes and refuses nothing."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from podpass import names
from podpass.admission.handler import create_app
from podpass.admission.service_accounts import AccountUnreadable
from podpass.settings import WebhookSettings
from tests.admission.endpoint import Endpoint

Function = Callable[..., Any]


async def _send_review(webhook: Endpoint, pod: Any, **request: Any) -> dict[str, Any]:
    response = await webhook.review(pod, path=names.ADVICE_PATH, **request)
    assert response["allowed"] is True
    assert set(response) <= {"uid", "allowed", "status", "warnings"}, "no patch, no audit"
    return response


async def test_pod_without_label_is_warned_about(webhook: Endpoint, make_pod: Function) -> None:
    response = await _send_review(webhook, make_pod())
    (warning,) = response["warnings"]
    assert "ServiceAccount default/default has a client ID" in warning
    assert response["uid"] == "u-1"


async def test_other_pods_get_no_warning(webhook: Endpoint, make_pod: Function) -> None:
    labelled = make_pod()
    labelled["metadata"]["labels"] = {names.USE_LABEL: "true"}
    for pod in (labelled, make_pod(serviceAccountName="plain"), make_pod(serviceAccountName="no")):
        assert "warnings" not in await _send_review(webhook, pod)
    for request in ({"operation": "UPDATE"}, {"operation": "DELETE"}, {"subResource": "binding"}):
        assert "warnings" not in await _send_review(webhook, make_pod(), **request)


async def test_pod_refused_by_the_first_entry_is_allowed_by_the_second(
    webhook: Endpoint, make_pod: Function
) -> None:
    await _send_review(webhook, make_pod({names.TOKEN_EXPIRATION: "bad"}, containers=7))
    await _send_review(webhook, make_pod(), namespace="other")
    await _send_review(webhook, None)
    await _send_review(webhook, make_pod(), resource={"resource": "deployments"})


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b" " * 4_000_000, b'{"request":{"uid":"u","namespace":[]}}']
)
async def test_warn_endpoint_allows_malformed_reviews(webhook: Endpoint, body: bytes) -> None:
    response = await webhook.answer(body, path=names.ADVICE_PATH)
    assert response["allowed"] is True
    assert response["uid"] == ("u" if b'"u"' in body else "")


async def test_response_has_the_version_of_the_request(webhook: Endpoint) -> None:
    body = b'{"apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"u","operation":"X"}}'
    _, content = await webhook.send(body, path=names.ADVICE_PATH)
    assert json.loads(content)["apiVersion"] == "admission.k8s.io/v1beta1"


@pytest.mark.parametrize("error", [AccountUnreadable("no"), ZeroDivisionError("detail")])
async def test_internal_error_does_not_block_the_pod(
    start: Function,
    settings: WebhookSettings,
    make_pod: Function,
    log_lines: Function,
    error: Exception,
) -> None:
    class Troubled:
        async def read_annotations(self, namespace: str, name: str) -> Mapping[str, str]:
            assert (namespace, name) == ("default", "default")
            raise error

    webhook = await start(create_app(settings, Troubled()))
    assert "warnings" not in await _send_review(webhook, make_pod())
    assert log_lines()[-1]["event"] in ("warnings_skipped", "warnings_failed")


async def test_label_as_annotation_is_warned_about_for_every_account(
    webhook: Endpoint, make_pod: Function
) -> None:
    pod = make_pod({names.USE_LABEL: "true"}, serviceAccountName="plain")
    (warning,) = (await _send_review(webhook, pod))["warnings"]
    assert warning == f"{names.USE_LABEL} is a label of the pod; as an annotation it has no effect"


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
@pytest.mark.parametrize("kind", ["Deployment", "CronJob"])
async def test_pod_template_without_the_label_is_warned_about(
    webhook: Endpoint, make_pod: Function, kind: str, operation: str
) -> None:
    """A controller creates the pods of a workload, so only this warning reaches the user."""

    async def send(labels: Mapping[str, str]) -> dict[str, Any]:
        pod = make_pod()
        template = {"metadata": {"labels": labels}, "spec": pod["spec"]}
        spec: dict[str, Any] = {"template": template}
        if kind == "CronJob":
            spec = {"jobTemplate": {"spec": spec}}
        workload = {"kind": kind, "metadata": {"labels": {names.USE_LABEL: "true"}}, "spec": spec}
        response = await webhook.review(
            workload,
            path=names.WORKLOAD_ADVICE_PATH,
            operation=operation,
            resource={"group": "apps", "version": "v1", "resource": "deployments"},
        )
        assert response["allowed"] is True
        return dict(response)

    (warning,) = (await send({names.USE_LABEL: "True"}))["warnings"]
    assert "label azure.workload.identity/use = 'True' is not" in warning
    assert "warnings" not in await send({names.USE_LABEL: "true"})


@pytest.mark.parametrize("body", [b"", b"{}", b'{"request":{"uid":"u","object":{"spec":[]}}}'])
async def test_any_workload_is_allowed(webhook: Endpoint, body: bytes) -> None:
    response = await webhook.answer(body, path=names.WORKLOAD_ADVICE_PATH)
    assert response["allowed"] is True


async def test_pod_without_the_label_is_logged_as_a_skipped_hop_with_the_warning_as_cause(
    webhook: Endpoint, make_pod: Function, log_lines: Function
) -> None:
    (warning,) = (await _send_review(webhook, make_pod()))["warnings"]
    hop = log_lines()[-1]
    assert (hop["event"], hop["stage"], hop["hop"]) == ("admission_skipped", "admission", True)
    assert (hop["outcome"], hop["cause"], hop["account"]) == ("skipped", warning, "default")
    await _send_review(webhook, make_pod({}, serviceAccountName="plain"))
    assert log_lines()[-1] == hop
